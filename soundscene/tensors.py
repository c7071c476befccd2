"""Named tensors with a header of JSON in one safetensors file: written whole, and checked when it is read.

safetensors detects a file that is too short, but no flipped bit, so a SHA-256 of the header and of all tensors is stored.
There is no pickle in such a file: loading a stranger's runs no code.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from soundscene.errors import SceneError
from soundscene.files import url_hint, write_atomic
from soundscene.recipe import FRONT_END
from soundscene.texts import parse_json, short


def write_tensors(
    path: Path, kind: str, header: dict[str, Any], tensors: dict[str, Tensor], error: type[SceneError]
) -> None:
    """Write a file atomically.

    Args:
        path: Name of the file.
        kind: What the file is, for whoever reads it.
        header: Plain values.
        tensors: By name.
        error: Class of the error to raise.

    Raises:
        SceneError: The file cannot be written; of the class `error`.
    """
    text = json.dumps(header, sort_keys=True)
    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    write_atomic(path, save(tensors, {"format": kind, "header": text, "sha256": digest(text, tensors)}), error)


def read_tensors(path: Path, kind: str, missing: str, error: type[SceneError]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read what `write_tensors` has written.

    Args:
        path: Name of the file.
        kind: What the file must be.
        missing: What to do if there is no such file.
        error: Class of the error to raise.

    Returns:
        The header and the tensors.

    Raises:
        SceneError: The file is missing, damaged, or something else; of the class `error`.
    """
    if not os.path.isfile(path):
        if os.path.exists(path):
            missing = "is a folder, expected a file" if os.path.isdir(path) else "is not a regular file"
        raise error(f"{path}: {url_hint(path) or missing}")
    metadata, tensors = open_tensors(path, kind, error)
    if metadata.get("format") != kind:
        raise error(f"{path}: a .safetensors file, but not a {kind}")
    try:
        header = parse_json(metadata["header"])
        if not isinstance(header, dict):
            raise TypeError
    except (KeyError, TypeError, ValueError):
        raise error(f"{path}: its header is damaged; copy the file again") from None
    if metadata.get("sha256") != digest(metadata["header"], tensors):
        raise error(f"{path}: differs from what was saved (checksum); copy the file again")
    return header, tensors


def open_tensors(path: Path, kind: str, error: type[SceneError]) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read metadata and tensors of any safetensors file, unchecked.

    Args:
        path: Name of a file that is there.
        kind: What it should be, for a message.
        error: Class of the error to raise.

    Raises:
        SceneError: It is no such file, or cannot be read; of the class `error`.
    """
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except MemoryError:
        raise error(f"{path}: larger than the memory that is left; is it a {kind}?") from None
    except (SafetensorError, TypeError, ValueError, RuntimeError, AttributeError) as found:  # types that PyTorch lacks
        raise error(f"{path}: damaged or not a .safetensors file ({short(str(found))}); copy it again") from None
    except OSError as found:
        raise error(f"{path}: cannot be read ({found.strerror or found})") from None


def digest(header: str, tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of a header and of names, types, shapes and bytes of tensors.

    Args:
        header: Text.
        tensors: By name, on the CPU.
    """
    found = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        found.update(f"{name}{tensors[name].dtype}{tuple(tensors[name].shape)}".encode())
        if tensors[name].numel():  # one without values has no bytes to view
            found.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)  # NumPy lacks some types
    return found.hexdigest()


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors with a prefix before their names.

    Args:
        prefix: Such as "svm/".
        tensors: By name.
    """
    return {f"{prefix}{name}": t for name, t in tensors.items()}


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors under a prefix, without it.

    Args:
        tensors: By name.
        prefix: Such as "svm/".
    """
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def known_front_end(stored: Any) -> int:
    """Check a stored version of the front-end.

    Args:
        stored: From a header.

    Raises:
        ValueError: This soundscene does not know it.
    """
    if type(stored) is not int or not 1 <= stored <= FRONT_END:  # True is 1 as well
        raise ValueError(f"front_end is {stored!r}, this soundscene knows 1 to {FRONT_END}")
    return stored
