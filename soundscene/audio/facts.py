"""What the header of a sound file says, without decoding it: how long, at what rate, how many channels."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import soundfile

from soundscene.audio.decoders import open_decoder
from soundscene.audio.quiet import quiet
from soundscene.errors import AudioError, unexpected


@dataclass(frozen=True)
class AudioFacts:
    """What a header says.

    Attributes:
        sample_rate: Hz.
        n_channels: None where only decoding tells.
        duration_s: Seconds, None where only decoding tells. A header may be wrong; `AudioFile` says what is there.
    """

    sample_rate: int
    n_channels: int | None = None
    duration_s: float | None = None


def audio_facts(path: Path) -> AudioFacts:
    """Read the header of a sound file.

    Args:
        path: Of the file.

    Raises:
        AudioError: It is no sound file, or its decoder is not installed.
    """
    try:
        with quiet(True):
            found = soundfile.info(str(path))
        if found.frames > 0:
            return AudioFacts(found.samplerate, found.channels, found.frames / found.samplerate)
        return AudioFacts(found.samplerate, found.channels)
    except (soundfile.LibsndfileError, OSError, ValueError):
        pass  # another format, or a fault that the decoder's own message names
    try:
        with ExitStack() as stack:
            return AudioFacts(open_decoder(path, stack).sample_rate)
    except AudioError:
        raise
    except Exception as error:  # of a decoder: whatever a file does, the others are listed
        raise unexpected(str(path), error) from error
