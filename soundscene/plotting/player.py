"""A player on a page: the sound as data, and a cursor that moves over the panels of a picture.

The page still fetches nothing. Its content security policy allows this one script by its hash, and sound as data.
"""

import base64
import hashlib
import io
import wave
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files

import numpy as np

from soundscene.types import Samples


@dataclass(frozen=True)
class TimePanel:
    """Where a panel over time is: edges in units of the SVG, and the seconds at its left and right edge."""

    left: float
    right: float
    top: float
    bottom: float
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Player:
    """Sound that a page plays.

    Attributes:
        wav: Content of a WAV file.
        starts_s: Second of the recording at which it starts.
        panels: Panels that the cursor moves over.
        picture: Name of the picture with these panels.
    """

    wav: bytes
    starts_s: float
    panels: Sequence[TimePanel]
    picture: str

    @classmethod
    def of(cls, samples: Samples, sample_rate: int, starts_s: float, panels: Sequence[TimePanel], picture: str) -> "Player":
        """Return a player of samples, in 16 bits.

        Args:
            samples: [sample], mono.
            sample_rate: Hz.
            starts_s: Second of the recording at which they start.
            panels: Panels that the cursor moves over.
            picture: Name of the picture with these panels.
        """
        content = io.BytesIO()
        with wave.open(content, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(sample_rate)
            file.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())
        return cls(content.getvalue(), starts_s, panels, picture)

    @property
    def source(self) -> str:
        """The sound as a data URL."""
        return f"data:audio/wav;base64,{base64.b64encode(self.wav).decode()}"

    @property
    def data(self) -> dict[str, object]:
        """What the script needs to know."""
        return {"startsS": self.starts_s, "picture": self.picture, "panels": [asdict(panel) for panel in self.panels]}


def script() -> str:
    """Return the script of the player."""
    return files("soundscene.plotting").joinpath("player.js").read_text(encoding="utf-8")


def script_source() -> str:
    """Return what a content security policy says to allow this script and no other."""
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    return f"'sha256-{digest}'"
