"""What the rows of a folder were made with, as its run.json says; rows of two models must not stand in one folder."""

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from soundscene.batch.rows import FORMS, ShardFormat
from soundscene.bundle import Head
from soundscene.errors import SceneError
from soundscene.predictor import Predictor

RUN = "run.json"
_WORDS = {"model": "model", "head": "--head", "form": "--format", "scenes": "scenes"}


@dataclass(frozen=True)
class BatchConfig:
    """With what: SHA-256 of the model's file, head, form of the shards, scenes in order, version of soundscene."""

    model: str
    head: Head
    form: ShardFormat
    scenes: tuple[str, ...]
    soundscene: str

    @classmethod
    def by(cls, model: Path, predictor: Predictor, form: ShardFormat) -> "BatchConfig":
        """What rows of this predictor, read from the file `model`, are made with."""
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
        return cls(digest, predictor.head, form, predictor.scenes, version("soundscene"))

    def to_json(self) -> str:
        """The text of run.json."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def check(self, text: str, where: str) -> "BatchConfig":
        """What run.json says, where rows of both may stand in one folder.

        Raises: `SceneError` that says what differs, or that it is not ours.
        """
        try:
            there = _read(json.loads(text))
        except (ValueError, KeyError, TypeError) as error:
            raise SceneError(f"{where}: damaged, or not of soundscene ({error}); choose another folder") from None
        for name, word in _WORDS.items():
            before, now = getattr(there, name), getattr(self, name)
            if before != now:
                raise SceneError(
                    f"{where}: the rows there were made with {word} {_short(before)}, these would be with {_short(now)}; "
                    "choose another folder, or run it as before"
                )
        return there


def _read(found: dict[str, Any]) -> BatchConfig:
    if found["form"] not in FORMS:
        raise ValueError(f"its form is {found['form']!r}")
    return BatchConfig(found["model"], found["head"], found["form"], tuple(found["scenes"]), found["soundscene"])


def _short(value: Any) -> str:
    """Enough of a value to tell it from another."""
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return (
        text if len(text) <= 40 and not isinstance(value, tuple) else f"{text[:12]}..." if isinstance(value, str) else text
    )
