"""An encoder of anybody's as a backbone: an ONNX file, computed by ONNX Runtime (extra `onnx`).

What the file must have: one input of float32, [sample] or [batch, sample], mono at one rate; and a first output of floats,
[feature], [batch, feature] or [batch, time, feature], which is averaged over time. An input of a fixed number of samples is
a patch: a segment is cut into patches of that length, by default every half of it, and shorter segments are extended by
zeros. An input of any number of samples gets the whole segment. The rate is in the file's metadata as `sample_rate`, or is
given.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32

from soundscene.backbone.encoder import Pooling, pool, widening
from soundscene.backbone.stored import StoredBackbone, one_line
from soundscene.errors import BackboneError, SceneError
from soundscene.extras import require
from soundscene.onnx_runtime import import_onnxruntime
from soundscene.texts import fold_name, short

CONTENT = "onnx"  # tensor that holds the file's bytes
_LARGEST_FILE = 1 << 29  # bytes
_LONGEST_PATCH_S = 60.0
_AT_ONCE = 32  # patches computed at a time
_MOST_FEATURES = 8192  # pooled: unknown detection holds matrices of features x features
_SAME, _ALIKE = 1e-6, 1e-2  # of the largest value: rows of one input, and rows computed alone and beside another

_Axes = Literal["none", "one", "many"]  # examples that the input takes at a time; "none" has no axis for them


class OnnxBackbone:
    """Compute embeddings of segments with an ONNX file.

    Args:
        stored: The file and its rate.
        pooling: How the embeddings of patches become one.
        patch_hop_s: Seconds from one patch to the next, for an input of fixed length; by default half a patch.
        probe: Whether to compute it on noise, and refuse it where rows depend on each other, on chance or on a length.

    Raises:
        BackboneError: ONNX Runtime cannot load the file, or it has other inputs and outputs.
    """

    def __init__(
        self,
        stored: StoredBackbone,
        pooling: Pooling = "mean",
        patch_hop_s: float | None = None,
        probe: bool = False,
    ) -> None:
        self.name = stored.name
        self.sample_rate = stored.sample_rate
        self.pooling: Pooling = pooling
        content = stored.tensors.get(CONTENT)
        if content is None or content.dtype != torch.uint8 or content.ndim != 1 or len(stored.tensors) != 1:
            raise BackboneError(
                f"backbone {short(self.name)}: holds no ONNX file; make it again by `soundscene backbone onnx`"
            )
        self._session = _session(self.name, content.numpy().tobytes())
        self._input, self._axes, self._patch = _input(self.name, self._session, self.sample_rate)
        self._output = self._session.get_outputs()[0].name
        half = max(1, (self._patch or self.sample_rate) // 2)
        self._hop = half if patch_hop_s is None else max(1, round(patch_hop_s * self.sample_rate))
        self.patch_hop_s = self._hop / self.sample_rate if self._patch else None
        self.patch_s = self._patch / self.sample_rate
        size = self._patch or self.sample_rate
        self._width = 0  # not known yet
        self._width = self._run(np.zeros((1, size), np.float32)).shape[1]
        self.n_features = widening(pooling) * self._width
        if self.n_features > _MOST_FEATURES:
            raise BackboneError(
                f"backbone {short(self.name)}: an embedding has {self.n_features} features, allowed are {_MOST_FEATURES}: "
                "unknown detection holds matrices of features x features"
            )
        if probe:
            self._probe(size)

    def prepare(self, waves: Float32[np.ndarray, "segment sample"]) -> Float32[np.ndarray, "segment sample"]:
        """Return the samples: what a file in ONNX does with them is its own.

        Args:
            waves: Segments of one length at the backbone's rate.
        """
        return waves

    def embed(self, prepared: Float32[np.ndarray, "segment sample"]) -> Float32[np.ndarray, "segment feature"]:
        """Return the pooled embedding of each segment.

        Args:
            prepared: Segments of one length at the backbone's rate.
        """
        waves = prepared
        if len(waves) == 0:
            return np.zeros((0, self.n_features), np.float32)
        size = self._patch or waves.shape[1]
        if waves.shape[1] < size:
            waves = np.pad(waves, ((0, 0), (0, size - waves.shape[1])))
        patches = np.lib.stride_tricks.sliding_window_view(waves, size, axis=1)[:, :: self._hop]
        flat = patches.reshape(-1, size)
        rows = np.concatenate([self._run(flat[at : at + _AT_ONCE]) for at in range(0, len(flat), _AT_ONCE)])
        return pool(rows.reshape(len(waves), patches.shape[1], -1), self.pooling)

    def _probe(self, size: int) -> None:
        """Compute noise of `size` samples a row, twice, jointly and of another length, and compare."""
        who = f"backbone {short(self.name)}"
        noise = np.random.default_rng(0).normal(0, [[0.1], [0.01]], (2, size)).astype(np.float32)  # loud and soft
        apart, again = (np.concatenate([self._run(row[None]) for row in noise]) for _ in range(2))
        if not _close(apart, again, _SAME):
            raise BackboneError(
                f"{who}: gives other features each time for the same samples, so it draws at random; export it in "
                "evaluation mode"
            )
        try:
            together = self._run(noise)
        except BackboneError as error:
            raise BackboneError(f"{error}; if it can take one example at a time only, export it so: [1, sample]") from None
        if not _close(apart, together, _ALIKE):
            raise BackboneError(
                f"{who}: the features of an example depend on the others of its batch; export it in evaluation mode, or "
                "for one example at a time: [1, sample]"
            )
        if not self._patch:
            self._run(np.tile(noise[:1], 2))

    def _run(self, patches: Float32[np.ndarray, "patch sample"]) -> Float32[np.ndarray, "patch feature"]:
        """Compute patches, together where the input has an axis for it."""
        patches = np.ascontiguousarray(patches)
        try:
            if self._axes == "many":
                found = self._session.run([self._output], {self._input: patches})[0]
            else:
                inputs = patches[:, None] if self._axes == "one" else patches
                outputs = [self._session.run([self._output], {self._input: patch})[0] for patch in inputs]
                found = np.concatenate(outputs) if self._axes == "one" else np.stack(outputs)
        except Exception as error:  # ONNX Runtime has no public class of its errors
            raise BackboneError(f"backbone {short(self.name)}: ONNX Runtime cannot compute it ({one_line(error)})") from None
        found = np.asarray(found)
        if found.ndim == 3:
            found = found.mean(axis=1)
        if found.ndim != 2 or len(found) != len(patches) or found.dtype.kind != "f" or not found.shape[1]:
            raise BackboneError(
                f"backbone {short(self.name)}: its first output is {found.dtype} of shape {list(found.shape)} for "
                f"{len(patches)} patches, expected floats [batch, feature] or [batch, time, feature]"
            )
        if self._width and found.shape[1] != self._width:
            raise BackboneError(
                f"backbone {short(self.name)}: gives {found.shape[1]} features for {patches.shape[1]} samples, and "
                f"{self._width} for another number of them; expected one number for all, [batch, feature] or [batch, time, "
                "feature]"
            )
        with np.errstate(over="ignore"):
            found = found.astype(np.float32)
        if not np.isfinite(found).all():
            peak = float(np.abs(patches[~np.isfinite(found).all(axis=1)]).max())
            raise BackboneError(
                f"backbone {short(self.name)}: gives values that are not finite for samples of a peak of {peak:.3g}"
            )
        return found


def from_onnx(
    path: Path, sample_rate: int | None = None, name: str | None = None, licence: str = "not stated"
) -> StoredBackbone:
    """Take an ONNX file as a backbone, and compute silence and noise with it.

    Args:
        path: The file, without external data.
        sample_rate: Rate of the samples it reads, Hz; by default the one in its metadata.
        name: Name for reports, by default the file's.
        licence: Licence of the weights, for reports.

    Raises:
        BackboneError: The file is missing, ONNX Runtime cannot compute it, or its rate is not known.
        SceneError: ONNX Runtime is not installed.
    """
    if not os.path.isfile(path):
        raise BackboneError(f"{path}: {'is a folder' if os.path.isdir(path) else 'no such file'}, expected an ONNX file")
    try:
        if not 0 < path.stat().st_size <= _LARGEST_FILE:
            raise BackboneError(f"{path}: {path.stat().st_size} bytes, expected an ONNX file of at most {_LARGEST_FILE}")
        data = path.read_bytes()
    except OSError as error:
        raise BackboneError(f"{path}: cannot be read ({error.strerror or error})") from None
    name = fold_name(name or path.stem) or "onnx"
    session = _session(str(path), data)
    rate = sample_rate if sample_rate is not None else _rate(path, session.get_modelmeta().custom_metadata_map)
    digest = hashlib.sha256(data).hexdigest()
    header: Mapping[str, Any] = {
        "version": 1,
        "kind": "onnx",
        "name": name,
        "sample_rate": rate,
        "licence": licence,
        "source": path.name,
        "source_sha256": digest,
    }
    content = {CONTENT: torch.frombuffer(bytearray(data), dtype=torch.uint8)}
    try:
        stored = StoredBackbone.of(dict(header), content)
    except ValueError as error:
        raise BackboneError(f"{path}: {error}") from None
    OnnxBackbone(stored, probe=True)
    return stored


def _close(one: Float32[np.ndarray, "row feature"], other: Float32[np.ndarray, "row feature"], share: float) -> bool:
    return bool((np.abs(one - other).max(axis=1) <= share * np.abs(one).max(axis=1)).all())


def _rate(path: Path, metadata: Mapping[str, str]) -> int:
    text = metadata.get("sample_rate", "").strip()
    whole = text.removesuffix(".0")
    if not (whole.isascii() and whole.isdigit() and len(whole) < 10):
        held = f"has `sample_rate` = {short(repr(text))}, which" if text else "has no `sample_rate`, and"
        raise BackboneError(
            f"{path}: its metadata {held} does not tell the rate that it reads; give it by --sample-rate, in Hz"
        )
    return int(whole)


def _session(name: str, content: bytes) -> Any:
    """Load an ONNX file, which ONNX Runtime checks."""
    require("a backbone in ONNX", "onnx")
    from soundscene.backbone.onnx_file import check_whole  # needs ONNX

    check_whole(name, content)
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.load_model_format", "ONNX")  # its other format was not checked
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors come as exceptions
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except SceneError:
        raise
    except Exception as error:  # of a C++ library, by classes that are not public
        raise BackboneError(f"{short(name)}: not an ONNX file that ONNX Runtime can load ({one_line(error)})") from None


def _input(name: str, session: Any, sample_rate: int) -> tuple[str, _Axes, int]:
    """Return the input's name, how many examples it takes at a time, and the length of a patch, 0 for any."""
    inputs = session.get_inputs()
    shape = list(inputs[0].shape) if inputs else []
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(shape) not in (1, 2):
        found = ", ".join(f"{short(i.name)} {i.type} {i.shape}" for i in inputs[:4]) or "none"
        raise BackboneError(
            f"backbone {short(name)}: its inputs are {short(found)}, expected one of float32 samples, [sample] or "
            "[batch, sample]"
        )
    if len(shape) == 2 and isinstance(shape[0], int) and shape[0] != 1:
        raise BackboneError(
            f"backbone {short(name)}: its input takes exactly {shape[0]} examples, expected any number or one"
        )
    patch = shape[-1] if isinstance(shape[-1], int) else 0
    if patch < 0 or patch > _LONGEST_PATCH_S * sample_rate:
        raise BackboneError(f"backbone {short(name)}: its input has {patch} samples, allowed are {_LONGEST_PATCH_S:g} s")
    axes: _Axes = "none" if len(shape) == 1 else "one" if isinstance(shape[0], int) else "many"
    return inputs[0].name, axes, patch
