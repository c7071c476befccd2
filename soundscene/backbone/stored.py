"""A backbone as it is stored: facts and tensors, in a file of its own or inside a model."""

import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from soundscene.errors import BackboneError
from soundscene.tensors import digest, read_tensors, write_tensors
from soundscene.texts import LONGEST, short

FORMAT = "backbone of soundscene"
VERSION = 1
BackboneKind = Literal["yamnet", "onnx"]
TEXTS = ("name", "licence", "source", "source_sha256")  # facts that are texts

_RATES = (2000, 384000)


@dataclass(frozen=True)
class StoredBackbone:
    """Weights of a backbone, and what they are.

    Attributes:
        kind: Which module builds it.
        facts: `name`, `sample_rate` in Hz, `licence`, `source` and `source_sha256` (of the file it was read from).
        tensors: Weights by name.
    """

    kind: BackboneKind
    facts: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def name(self) -> str:
        """Name, as the facts give it."""
        return self.facts["name"]

    @property
    def sample_rate(self) -> int:
        """Rate of the samples it reads, Hz."""
        return self.facts["sample_rate"]

    @property
    def digest(self) -> str:
        """SHA-256 of kind, rate and weights: two backbones of one digest give the same embeddings."""
        return digest(json.dumps([self.kind, self.sample_rate]), self.tensors)

    def header(self) -> dict[str, Any]:
        """Return what stands beside the tensors, as plain values."""
        return {"version": VERSION, "kind": self.kind, **self.facts}

    def save(self, path: Path) -> None:
        """Write it atomically as safetensors.

        Raises:
            BackboneError: The file cannot be written.
        """
        write_tensors(path, FORMAT, self.header(), self.tensors, BackboneError)

    @classmethod
    def load(cls, path: Path) -> "StoredBackbone":
        """Read a file that `save` has written. Its weights are checked when the backbone is built.

        Raises:
            BackboneError: The file is missing, damaged, of something else, or of a newer version.
        """
        missing = "no such file; make it by `soundscene backbone yamnet` or `soundscene backbone onnx`, with --out FILE"
        header, tensors = read_tensors(path, FORMAT, missing, BackboneError)
        try:
            return cls.of(header, tensors)
        except ValueError as error:
            raise BackboneError(f"{path}: {error}") from None

    @classmethod
    def of(cls, header: dict[str, Any], tensors: dict[str, Tensor]) -> "StoredBackbone":
        """Make it of a header and tensors that were read.

        Args:
            header: From `header`.
            tensors: By name.

        Raises:
            ValueError: The header lacks something, or is of a newer version.
        """
        version = header.get("version")
        if type(version) is not int or version < 1:
            raise ValueError(f"backbone of version {short(repr(version))}")
        if version > VERSION:
            raise ValueError(f"written in format {version}, this soundscene reads up to {VERSION}; upgrade soundscene")
        kind: Any = header.get("kind")
        if kind not in get_args(BackboneKind):
            raise ValueError(f"backbone of kind {short(repr(kind))}, expected one of {', '.join(get_args(BackboneKind))}")
        for name in TEXTS:
            if not isinstance(header.get(name), str):
                raise ValueError(f"backbone whose {name} is {short(repr(header.get(name)))}, expected a text")
        rate = header.get("sample_rate")
        if type(rate) is not int or not _RATES[0] <= rate <= _RATES[1]:
            raise ValueError(
                f"backbone of sample rate {short(repr(rate))}, expected whole hertz from {_RATES[0]} to {_RATES[1]}"
            )
        return cls(kind, {name: value for name, value in header.items() if name not in ("version", "kind")}, tensors)


def data_folder() -> Path:
    """Return the folder of the user's data: SOUNDSCENE_DATA, or where the system keeps such data."""
    if folder := os.environ.get("SOUNDSCENE_DATA"):
        return Path(folder).expanduser()
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "soundscene"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "soundscene"
    folder = os.environ.get("XDG_DATA_HOME", "")
    # a relative path there is invalid by the XDG specification, and to be ignored
    return (Path(folder) if os.path.isabs(folder) else Path.home() / ".local" / "share") / "soundscene"


def installed(kind: str) -> Path:
    """Return where `soundscene backbone` puts a backbone of a kind."""
    return data_folder() / "backbones" / f"{kind}.safetensors"


def find(kind: BackboneKind, given: Path | None = None) -> StoredBackbone:
    """Load a backbone from a given file, or from the user's data folder.

    Args:
        kind: Which one.
        given: File, by default the one in the data folder.

    Raises:
        BackboneError: It is not there, which the message says how to change, is of another kind, or cannot be used.
    """
    path = installed(kind) if given is None else given
    if given is None and not path.exists():
        raise BackboneError(
            f"system {kind} needs its pretrained weights, and {path} is not there: take {kind}.tflite from its publisher "
            f"(docs/guide/transfer.md) and run `soundscene backbone {kind} --from {kind}.tflite`, or give --backbone FILE"
        )
    stored = StoredBackbone.load(path)
    if stored.kind != kind:
        hint = f"; for this one, name the system backbone in place of {kind}" if given else ""
        raise BackboneError(f"{path}: holds a backbone of kind {stored.kind}, expected {kind}{hint}")
    return stored


def check_weights(module: torch.nn.Module, tensors: dict[str, Tensor]) -> None:
    """Compare names, shapes, types and values of weights with what a network needs.

    Args:
        module: The network, on the meta device.
        tensors: By name, unpacked.

    Raises:
        ValueError: They differ, or are no weights of a network.
    """
    needed = module.state_dict()
    for name, tensor in needed.items():
        if name not in tensors:
            raise ValueError(f"{name} is missing")
        if tensors[name].shape != tensor.shape or not tensors[name].is_floating_point():
            sizes = (" x ".join(map(str, t.shape)) or "one number" for t in (tensors[name], tensor))
            raise ValueError("{} is {}, expected {} of floats".format(name, *sizes))
        largest = float(tensors[name].abs().max()) if tensors[name].numel() else 0.0
        if not math.isfinite(largest) or largest > 1e6:
            raise ValueError(f"{name} holds values that no training gives")
    if unknown := sorted(tensors.keys() - needed.keys()):
        raise ValueError(f"{short(unknown[0])} belongs to no layer")


def one_line(error: Exception) -> str:
    """Return the message of a library's error in one line, cut where it is long."""
    return " ".join(str(error).split())[:LONGEST]
