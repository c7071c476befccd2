"""YAMNet as a backbone: read from the published TensorFlow Lite file, and computed by PyTorch."""

import hashlib
import os
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from soundscene.backbone.encoder import LEVEL, Pooling, pool, widening
from soundscene.backbone.packing import pack, unpack
from soundscene.backbone.stored import StoredBackbone, check_weights
from soundscene.backbone.tflite import (
    CONV_2D,
    DEPTHWISE_CONV_2D,
    FULLY_CONNECTED,
    KINDS,
    DamagedError,
    Layer,
    read_layers,
)
from soundscene.errors import BackboneError
from soundscene.network.yamnet import FILTERS, LAYERS, N_CLASSES, YAMNet
from soundscene.signal.patches import (
    HOP,
    N_BANDS,
    N_FFT,
    PATCH_HOP,
    PATCH_SAMPLES,
    SAMPLE_RATE,
    LogMelPatches,
    cut_patches,
    from_log_power,
    to_log_power,
)

KNOWN = {"687f226c147a2caab4706fbbab5e9cecb14b9a368264bf61108078b1fddf68f5": "int8, 3,959,752 bytes"}
"""Digests of the files that soundscene was measured with."""

LICENCE = "Apache-2.0"
SOURCE = "YAMNet, tensorflow/models, research/audioset/yamnet"

_LARGEST_FILE = 1 << 28  # bytes; the network in float32 has 15 million
_MOST_FILTERS = 4 * FILTERS
_AT_ONCE = 16  # segments: their patches and the network's activations stay in the cache


class YamnetBackbone:
    """Compute embeddings of segments with YAMNet.

    A segment's embedding is pooled from those of its patches of 0.96 s, which lie wholly inside the segment, one every
    0.48 s (`signal.patches`).

    Args:
        stored: Weights.
        pooling: How the embeddings of patches become one.
        patch_hop_s: Seconds from one patch to the next, by default 0.48.
        level: That each segment is brought to (`LogMelPatches`); None keeps it, as in the published code.

    Raises:
        BackboneError: The weights are not YAMNet's.
    """

    def __init__(
        self,
        stored: StoredBackbone,
        pooling: Pooling = "mean",
        patch_hop_s: float | None = None,
        level: float | None = LEVEL,
    ) -> None:
        self.name = stored.name
        self.sample_rate = SAMPLE_RATE
        self.pooling: Pooling = pooling
        self.network = _build(stored)
        self.n_parameters = sum(p.numel() for p in self.network.parameters())
        self.n_features = widening(pooling) * self.network.n_features
        self.patch_hop = PATCH_HOP if patch_hop_s is None else round(patch_hop_s * SAMPLE_RATE / HOP)
        if self.patch_hop < 1:
            raise BackboneError(f"patches every {patch_hop_s} s: allowed are 0.01 s or more")
        self.patch_s = PATCH_SAMPLES / SAMPLE_RATE
        self.patch_hop_s = self.patch_hop * HOP / SAMPLE_RATE
        self.level = level
        self._images = lru_cache(4)(partial(LogMelPatches, patch_hop=self.patch_hop, level=level))

    def prepare(self, waves: Float32[np.ndarray, "segment sample"]) -> Float32[np.ndarray, "segment image_frame band"]:
        """Return the log-mel image of each segment.

        Args:
            waves: Segments of one length at 16 kHz.
        """
        return self._images(waves.shape[1])(waves)

    @torch.inference_mode()
    def embed(self, prepared: Float32[np.ndarray, "segment image_frame band"]) -> Float32[np.ndarray, "segment feature"]:
        """Return the pooled embedding of each segment.

        Args:
            prepared: Log-mel images.
        """
        rows = [np.zeros((0, self.n_features), np.float32)]
        for at in range(0, len(prepared), _AT_ONCE):
            patches = torch.from_numpy(cut_patches(prepared[at : at + _AT_ONCE], self.patch_hop).copy())
            embeddings = self.network.embed(patches.flatten(0, 1))
            rows.append(pool(embeddings.unflatten(0, patches.shape[:2]).numpy(), self.pooling))
        return np.concatenate(rows)

    def vary(
        self,
        prepared: Float32[np.ndarray, "segment image_frame band"],
        change: Callable[[Float32[np.ndarray, "segment 1 band frame"]], Float32[np.ndarray, "segment 1 band frame"]],
    ) -> Float32[np.ndarray, "segment image_frame band"]:
        """Return the images of segments whose sound is changed.

        Args:
            prepared: Log-mel images.
            change: Changes log power of one channel.
        """
        return from_log_power(change(to_log_power(prepared)), self.level)


def from_tflite(path: Path) -> StoredBackbone:
    """Read the published weights from a TensorFlow Lite file, with 8-bit integers or with floats.

    Args:
        path: File of the publisher, such as yamnet.tflite.

    Raises:
        BackboneError: The file is missing, damaged, or of another network.
    """
    data = _read(path)
    try:
        layers = read_layers(data)
        network = _network(layers)
    except DamagedError as error:
        raise BackboneError(
            f"{path}: not the network YAMNet as TensorFlow Lite ({error}); take the file of the publisher, and copy it again"
        ) from None
    facts = {
        "name": "YAMNet",
        "sample_rate": SAMPLE_RATE,
        "licence": LICENCE,
        "source": SOURCE,
        "source_sha256": hashlib.sha256(data).hexdigest(),
    }
    stored = StoredBackbone("yamnet", facts, pack(network.state_dict()))
    _build(stored)  # values beyond what a training gives are refused now, not when a model is trained
    return stored


def without_classes(stored: StoredBackbone) -> StoredBackbone:
    """Return the weights without the last layer, which only names AudioSet's classes."""
    tensors = {name: tensor for name, tensor in stored.tensors.items() if not name.startswith("logits.")}
    return StoredBackbone(stored.kind, stored.facts, tensors)


def _read(path: Path) -> bytes:
    if not os.path.isfile(path):
        what = "is a folder, expected a file" if os.path.isdir(path) else "no such file"
        raise BackboneError(f"{path}: {what}; docs/guide/transfer.md says where the publisher has yamnet.tflite")
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise BackboneError(f"{path}: {path.stat().st_size} bytes, YAMNet has at most {_LARGEST_FILE}; is it that file?")
        return path.read_bytes()
    except OSError as error:
        raise BackboneError(f"{path}: cannot be read ({error.strerror or error})") from None


def _network(layers: list[Layer]) -> YAMNet:
    """Fill the network, after the kinds, shapes, strides and activations of all layers were compared with YAMNet's."""
    if layers and layers[0].kind == FULLY_CONNECTED and layers[0].weight.shape == (N_BANDS, N_FFT // 2 + 1):
        layers = layers[1:]  # the mel matrix; ours is exact
    kinds = [CONV_2D, *[DEPTHWISE_CONV_2D, CONV_2D] * len(LAYERS), FULLY_CONNECTED]
    if len(layers) != len(kinds):
        raise DamagedError(f"{len(layers)} layers with weights, YAMNet has {len(kinds)}")
    filters = len(layers[0].weight)
    if filters > _MOST_FILTERS:
        raise DamagedError(f"{filters} filters in the first layer, YAMNet has {FILTERS}")
    with torch.random.fork_rng(devices=[]):
        network = YAMNet(filters, N_CLASSES)
    pairs = zip(network.depthwise, network.pointwise, strict=True)
    modules: list[Any] = [network.first, *(module for pair in pairs for module in pair), network.logits]
    for number, (layer, module, kind) in enumerate(zip(layers, modules, kinds, strict=True), 1):
        _fill(f"layer {number}", layer, module, kind)
    return network


@torch.no_grad()
def _fill(name: str, layer: Layer, module: nn.Conv2d | nn.Linear, kind: int) -> None:
    if layer.kind != kind:
        raise DamagedError(f"{name} is a {KINDS[layer.kind]}, expected a {KINDS[kind]}")
    weight = torch.from_numpy(layer.weight)
    if weight.ndim != (2 if kind == FULLY_CONNECTED else 4):
        raise DamagedError(f"{name} has weights of {weight.ndim} axes")
    if kind != FULLY_CONNECTED:
        # TensorFlow Lite: [out, height, width, in], or [1, height, width, channel] of a depthwise one
        weight = weight.permute((0, 3, 1, 2) if kind == CONV_2D else (3, 0, 1, 2))
        stride = module.stride[0] if isinstance(module, nn.Conv2d) else 1
        if (layer.stride, layer.same, layer.relu) != (stride, True, True):
            raise DamagedError(f"{name} has stride {layer.stride}, or another padding or activation than YAMNet's")
    needed = module.weight
    if weight.shape != needed.shape:
        shapes = (" x ".join(map(str, shape)) for shape in (weight.shape, needed.shape))
        raise DamagedError("{} has weights {}, expected {}".format(name, *shapes))
    if layer.bias is None or module.bias is None or len(layer.bias) != len(needed):
        raise DamagedError(f"{name} has no bias of {len(needed)} values")
    module.weight.copy_(weight)
    module.bias.copy_(torch.from_numpy(layer.bias))


def _build(stored: StoredBackbone) -> YAMNet:
    try:
        tensors = unpack(stored.tensors)
        if stored.sample_rate != SAMPLE_RATE:
            raise ValueError(f"its sample rate is {stored.sample_rate}, YAMNet's is {SAMPLE_RATE}")
        first = tensors.get("first.weight")
        if first is None or not 1 <= len(first) <= _MOST_FILTERS:
            raise ValueError(f"its first layer is missing, or has not 1 to {_MOST_FILTERS} filters")
        n_classes = N_CLASSES if "logits.weight" in tensors else 0
        with torch.device("meta"):  # shapes without memory
            check_weights(YAMNet(len(first), n_classes), tensors)
        with torch.random.fork_rng(devices=[]):
            network = YAMNet(len(first), n_classes)
        network.load_state_dict(tensors)
    except (ValueError, TypeError, RuntimeError) as error:
        raise BackboneError(f"the weights of {stored.name} are not YAMNet's ({error}); make the file again") from None
    network.requires_grad_(False)
    return network.to(memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]
