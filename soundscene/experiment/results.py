"""One file per task: who was asked, what was true, what was said. Tables and fusions need nothing else.

A result is a .safetensors file: the arrays as tensors, everything else as JSON in its header; no pickle in it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from soundscene.errors import TrainingError

FORMAT = "soundscene result"
VERSION = 1


@dataclass(frozen=True)
class HeadPosteriors:
    """Log posteriors by one head.

    segment [segment, scene] ([0, scene] where the system hears recordings as a whole); recording [recording, scene] by the
    product rule; calibrated [recording, scene] after the temperature; held [held, scene], before the temperature, of the
    recordings by which it was fitted.
    """

    segment: Float32[np.ndarray, "segment scene"]
    recording: Float64[np.ndarray, "recording scene"]
    calibrated: Float64[np.ndarray, "recording scene"]
    held: Float64[np.ndarray, "held scene"]


@dataclass(frozen=True)
class SplitResult:
    """What one system, trained with one seed on the training part of one split, said of its test part.

    system, title: for files and for tables; choices: the system's settings; scenes: order of every last axis. recordings,
    groups, truth, duration_s [recording]: of the test part, paths as in the manifest (systems that share a split share
    their order); recording_of, start_s [segment] and truth of its recording: of the voting segments. held_recordings,
    held_truth [held]: training recordings that were set aside; epoch: the one that was tested (0: the system has none);
    history: a row an epoch, `test_accuracy` (by segment) and `test_log_loss` among them; embedding [segment, feature] of
    the test part, [segment, 0] where there is none; notes: compromises; facts: versions, machine, threads, seconds, sizes.
    """

    system: str
    title: str
    split: str
    seed: int
    choices: Mapping[str, Any]
    scenes: tuple[str, ...]
    recordings: tuple[str, ...]
    groups: tuple[str, ...]
    truth: Int64[np.ndarray, " recording"]
    duration_s: Float64[np.ndarray, " recording"]
    recording_of: Int64[np.ndarray, " segment"]
    start_s: Float64[np.ndarray, " segment"]
    heads: Mapping[str, HeadPosteriors]
    held_recordings: tuple[str, ...]
    held_truth: Int64[np.ndarray, " held"]
    embedding: Float32[np.ndarray, "segment feature"]
    epoch: int
    history: list[dict[str, float]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The file."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        for head, said in self.heads.items():
            arrays |= {f"{head}/{name}": getattr(said, name) for name in SAID}
        rest = {name: getattr(self, name) for name in PLAIN} | {"heads": list(self.heads)}
        header = {"format": FORMAT, "version": str(VERSION), "result": json.dumps(rest)}
        return save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, header)

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> "SplitResult":
        """Read a file back; `name` is for the message.

        Raises: `TrainingError` for a file that is damaged, foreign, or from a newer version.
        """
        try:
            length = int.from_bytes(content[:8], "little")
            header = json.loads(content[8 : 8 + length])["__metadata__"]
            if header["format"] != FORMAT or int(header["version"]) > VERSION:
                raise ValueError(f"{header['format']}, version {header['version']}")
            arrays = {key: _array(entry) for key, entry in deserialize(content)}
            rest = json.loads(header["result"])
            heads = {head: HeadPosteriors(*(arrays[f"{head}/{field}"] for field in SAID)) for head in rest.pop("heads")}
            for key in ("scenes", "recordings", "groups", "held_recordings", "notes"):
                rest[key] = tuple(rest[key])
            values: dict[str, Any] = rest | {key: arrays[key] for key in ARRAYS} | {"heads": heads}
            return cls(**values)
        except (SafetensorError, KeyError, TypeError, ValueError, IndexError) as error:
            raise TrainingError(
                f"{name}: not a result of ours, or damaged ({' '.join(str(error).split())[:150]}); delete it, and the same "
                "experiment makes it again"
            ) from None


SAID = ("segment", "recording", "calibrated", "held")
ARRAYS = ("truth", "duration_s", "recording_of", "start_s", "held_truth", "embedding")
PLAIN = (
    *(
        "system",
        "title",
        "split",
        "seed",
        "choices",
        "scenes",
        "recordings",
        "groups",
        "held_recordings",
        "epoch",
        "history",
    ),
    *("notes", "facts"),
)
_TYPES = {"F32": np.float32, "F64": np.float64, "I64": np.int64}


def _array(entry: Mapping[str, Any]) -> np.ndarray:
    return np.frombuffer(entry["data"], _TYPES[entry["dtype"]]).reshape(entry["shape"]).copy()
