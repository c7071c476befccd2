"""What a model costs on a small device: parameters, bytes as stored, products a second by layer, and the DCASE limits.

The DCASE challenge (task 1, low-complexity acoustic scene classification, 2022) allows 128 kB of parameters and 30 million
multiply-accumulate operations (MAC) for one second of sound.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from soundscene.backbone.packing import SCALE
from soundscene.export.backbone import backbone_of, patches_of
from soundscene.export.model_graph import members_of
from soundscene.member import BackboneMember, NetworkMember
from soundscene.model import Model
from soundscene.network.blocks import KERNELS, POOL
from soundscene.signal.patches import PATCH

MOST_BYTES = 128_000  # of parameters
MOST_MACS = 30e6  # for one second


@dataclass(frozen=True)
class LayerCost:
    """A layer of a member.

    Attributes:
        name: Member and layer.
        parameters: Number of its weights and biases, as `info` counts them.
        bytes: Of these and of the statistics of batch norm, in 32 bits; those of a backbone as it is stored.
        int8_bytes: The same, where weights are kept in 8 bits with a scale for each output.
        macs: Multiply-accumulate operations for one second of sound.
    """

    name: str
    parameters: int
    bytes: int
    int8_bytes: int
    macs: float


def layers(model: Model) -> list[LayerCost]:
    """List the layers of a model's networks. Front-end, resampler and SVM are not counted, as in the challenge.

    Args:
        model: The model.

    Raises:
        SceneError: A member cannot be exported.
    """
    return [
        layer
        for member in members_of(model)
        for layer in (_layers(member) if isinstance(member, NetworkMember) else _backbone(member))
    ]


def fits(found: list[LayerCost], int8: bool) -> bool:
    """Tell whether a model keeps both limits.

    Args:
        found: Its layers.
        int8: Whether its weights are kept in 8 bits, else in 32.
    """
    size = sum(layer.int8_bytes if int8 else layer.bytes for layer in found)
    return size <= MOST_BYTES and sum(layer.macs for layer in found) <= MOST_MACS


def _layers(member: NetworkMember) -> Iterator[LayerCost]:
    features, seconds = member.recipe.features, member.audio.segment_s
    frames = member.audio.segment_samples // features.hop
    network = member.network
    bands = features.n_bands
    for number, (block, kernel) in enumerate(zip(network.convolutions.blocks, KERNELS, strict=True), 1):
        convolution, norm = block.convolution, block.norm
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        macs = kernel * kernel * convolution.in_channels * convolution.out_channels * bands * frames
        yield _layer(f"{member.name} convolution {number}", [convolution, norm], macs / seconds)
        bands //= POOL
    gru = getattr(network, "recurrent", None)
    if gru is not None:
        for number, layer in enumerate(getattr(gru, "layers", []), 1):
            macs = sum(p.numel() for name, p in layer.named_parameters() if name.startswith("weight")) * frames
            yield _layer(f"{member.name} GRU {number}", [layer], macs / seconds)
        yield _layer(f"{member.name} projection", [gru.projection], gru.projection.weight.numel() * frames / seconds)
    attention = getattr(network, "attention", None)
    if attention is not None:
        width = network.softmax.in_features
        macs = 3 * frames * width  # the mask and its product with the recurrent output
        for part, n in ((attention.temporal, frames), (attention.spatial, width)):
            macs += n * sum(p.numel() for p in part.parameters())
        yield _layer(f"{member.name} attention", [attention], macs / seconds)
    yield _layer(f"{member.name} softmax layer", [network.softmax], network.softmax.weight.numel() / seconds)


def _backbone(member: BackboneMember) -> Iterator[LayerCost]:
    """The layers of YAMNet, for all patches of a segment, and the softmax layer on its embeddings."""
    network, patches = backbone_of(member).network, patches_of(member)
    height, width = PATCH, patches.filters.shape[1]
    pairs = [
        [("first", network.first)],
        *(
            [(f"depthwise.{n}", d), (f"pointwise.{n}", p)]
            for n, (d, p) in enumerate(zip(network.depthwise, network.pointwise, strict=True))
        ),
    ]
    for number, convolutions in enumerate(pairs, 1):
        cost, n, size = 0.0, 0, 0
        for name, layer in convolutions:
            assert isinstance(layer, nn.Conv2d)
            height, width = -(-height // layer.stride[0]), -(-width // layer.stride[0])
            cost += layer.weight.numel() * height * width
            n += sum(p.numel() for p in layer.parameters())
            packed = f"{name}.weight{SCALE}" in member.stored.tensors  # else in floats, as small weights always are
            size += layer.weight.numel() * (1 if packed else 4) + 4 * len(layer.weight) * (2 if packed else 1)
        yield LayerCost(f"{member.name} layer {number}", n, size, size, cost * patches.n_patches / member.audio.segment_s)
    if member.softmax is not None:  # kept in floats
        n, weights = sum(p.numel() for p in member.softmax.parameters()), member.softmax.weight.numel()
        yield LayerCost(f"{member.name} softmax layer", n, 4 * n, 4 * n, weights / member.audio.segment_s)


def _layer(name: str, modules: list[nn.Module], macs: float) -> LayerCost:
    parameters = [p for module in modules for p in module.parameters()]
    statistics = sum(b.numel() for module in modules for key, b in module.named_buffers() if key.startswith("running"))
    n = sum(p.numel() for p in parameters)
    # weights of two axes or more in 8 bits, with a float for each output; all else in floats
    int8 = sum(p.numel() + 4 * len(p) if p.ndim > 1 else 4 * p.numel() for p in parameters) + 4 * statistics
    return LayerCost(name, n, 4 * (n + statistics), int8, macs)
