"""YAMNet and what reads its embeddings as a graph: segments at 16 kHz in, pooled embeddings and log posteriors out."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from soundscene.backbone.encoder import Pooling
from soundscene.backbone.packing import SCALE
from soundscene.backbone.yamnet import YamnetBackbone
from soundscene.errors import SceneError
from soundscene.export.graph import F32, F64, INT, Graph
from soundscene.export.spectra import Halves, add_power, add_spectra
from soundscene.member import BackboneMember
from soundscene.network.yamnet import same_padding
from soundscene.signal.patches import HOP, LARGEST_GAIN, N_FFT, OFFSET, PATCH, WINDOW, LogMelPatches
from soundscene.signal.windows import hann


def backbone_of(member: BackboneMember) -> YamnetBackbone:
    """Return the backbone of a member that can be exported.

    Args:
        member: The member.

    Raises:
        SceneError: It is another one than YAMNet, or has no softmax layer.
    """
    if not isinstance(member.backbone, YamnetBackbone):
        raise SceneError(
            f"export: member {member.name} is a backbone of kind {member.stored.kind}, and only YAMNet is exported; use the "
            "model file as it is"
        )
    if member.softmax is None:
        raise SceneError(f"export: member {member.name} has no softmax layer, as an older soundscene trained it; retrain it")
    return member.backbone


def patches_of(member: BackboneMember) -> LogMelPatches:
    """Return what makes the images of a member.

    Args:
        member: The member.
    """
    backbone = backbone_of(member)
    return LogMelPatches(round(member.audio.segment_s * backbone.sample_rate), backbone.patch_hop, backbone.level)


def storage_of(member: BackboneMember) -> str:
    """Return how the weights of a member are kept in a graph, "int8" or "float32": integers where they are stored so.

    Args:
        member: The member.
    """
    return "int8" if any(name.endswith(SCALE) for name in member.stored.tensors) else "float32"


def add_patches(g: Graph, patches: LogMelPatches, waves: str) -> str:
    """Add the log-mel images [segment, frame, band] of one segment or more, `signal.patches.LogMelPatches`.

    Args:
        g: The graph.
        patches: Its settings.
        waves: [segment, sample] at 16 kHz.
    """
    n_frames, lacking = patches.n_frames, (patches.n_frames - 1) * HOP + WINDOW - patches.segment_samples
    if lacking > 0:
        waves = g.op("Pad", waves, g.ints(0, 0, 0, lacking))
    waves = g.cast(waves, F64)
    starts = g.op("Mul", g.op("Unsqueeze", g.range(n_frames), g.ints(1)), g.constant(HOP, INT))
    centre = WINDOW // 2
    before, after = (
        g.op("Gather", waves, g.op("Add", starts, g.range(stop, start)), axis=1)
        for start, stop in ((0, centre), (centre, WINDOW))
    )
    parts = add_spectra(g, Halves(before, after, 3, two_hops=False), hann(WINDOW), N_FFT, F64)
    bands = [g.op("MatMul", g.op("Sqrt", add_power(g, part)), g.constant(patches.filters[part.bins], F64)) for part in parts]
    mel = g.cast(g.op("Add", *bands), F32)
    if patches.level is not None:
        mean = g.op("ReduceMean", g.op("Mul", mel, mel), g.ints(1, 2), keepdims=1)
        rms = g.op("Sqrt", mean)
        gain = g.op("Min", g.op("Div", g.constant(patches.level, F32), rms), g.constant(LARGEST_GAIN, F32))
        mel = g.op("Mul", mel, g.op("Where", g.op("Greater", rms, g.constant(0.0, F32)), gain, g.constant(1.0, F32)))
    return g.op("Log", g.op("Add", mel, g.constant(OFFSET, F32)))


def add_embedding(g: Graph, member: BackboneMember, images: str) -> str:
    """Add the pooled embedding [segment, feature] of each segment, `backbone.yamnet.YamnetBackbone`.

    Args:
        g: The graph.
        member: Its weights stay in 8 bits where they are stored so.
        images: [segment, frame, band].
    """
    backbone, patches = backbone_of(member), patches_of(member)
    places = backbone.patch_hop * np.arange(patches.n_patches)[:, None] + np.arange(PATCH)
    x = g.op("Gather", images, g.constant(places, INT), axis=1)  # [segment, patch, frame, band]
    n_bands = patches.filters.shape[1]
    x = g.op("Reshape", x, g.ints(-1, 1, PATCH, n_bands))
    network, sizes = backbone.network, (PATCH, n_bands)
    x, sizes = _convolve(g, member.stored.tensors, "first", network.first, x, sizes)
    for number, (depthwise, pointwise) in enumerate(zip(network.depthwise, network.pointwise, strict=True)):
        x, sizes = _convolve(g, member.stored.tensors, f"depthwise.{number}", depthwise, x, sizes)
        x, sizes = _convolve(g, member.stored.tensors, f"pointwise.{number}", pointwise, x, sizes)
    each = g.op("ReduceMean", x, g.ints(2, 3), keepdims=0)
    each = g.op("Reshape", each, g.ints(-1, patches.n_patches, network.n_features))
    return _pooled(g, each, backbone.pooling)


def add_softmax_layer(g: Graph, layer: nn.Linear, embedding: str) -> str:
    """Add the log posterior [segment, scene] of a softmax layer, in float64.

    Args:
        g: The graph.
        layer: Its weights, float64.
        embedding: [segment, feature].
    """
    weight, bias = (g.constant(tensor.detach().numpy(), F64) for tensor in (layer.weight, layer.bias))
    return g.op("LogSoftmax", g.op("Gemm", g.cast(embedding, F64), weight, bias, transB=1), axis=-1)


def _convolve(
    g: Graph, tensors: Mapping[str, Tensor], name: str, layer: Any, x: str, sizes: tuple[int, int]
) -> tuple[str, tuple[int, int]]:
    """A convolution and ReLU, and the height and width of the result."""
    stride, kernel = layer.stride[0], layer.kernel_size[0]
    pads = [(0, 0) if kernel == 1 else (1, 1) if stride == 1 else same_padding(size, stride) for size in sizes]
    (top, bottom), (left, right) = pads
    y = g.op(
        "Conv",
        x,
        _weight(g, tensors, f"{name}.weight"),
        g.constant(layer.bias.detach().numpy(), F32),
        kernel_shape=[kernel, kernel],
        strides=[stride, stride],
        pads=[top, left, bottom, right],
        group=layer.groups,
    )
    return g.op("Relu", y), (-(-sizes[0] // stride), -(-sizes[1] // stride))


def _weight(g: Graph, tensors: Mapping[str, Tensor], name: str) -> str:
    """A weight as it is stored: integers with a scale for each output, or floats, which --int8 leaves as they are."""
    stored, scale = tensors[name], tensors.get(name + SCALE)
    if scale is not None:
        return g.integers(stored.numpy(), scale.numpy())
    return g.constant(stored.float().numpy(), F32)


def _pooled(g: Graph, each: str, how: Pooling) -> str:
    """[segment, patch, feature] -> [segment, pooled], `backbone.encoder.pool`."""
    mean = g.op("ReduceMean", each, g.ints(1), keepdims=1)
    flat = g.op("Squeeze", mean, g.ints(1))
    if how == "mean":
        return flat
    if how == "mean+max":
        return g.op("Concat", flat, g.op("ReduceMax", each, g.ints(1), keepdims=0), axis=1)
    offset = g.op("Sub", each, mean)
    variance = g.op("ReduceMean", g.op("Mul", offset, offset), g.ints(1), keepdims=0)
    return g.op("Concat", flat, g.op("Sqrt", variance), axis=1)
