"""Networks, heads and unfamiliarity as graphs: images in, embedding, attention and log posteriors out.

All of it is of one segment or more. A GRU of no segments ends the process of ONNX Runtime, and no caller can catch that.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from soundscene.export.graph import F32, F64, INT, Graph
from soundscene.network.attention import AttentionScore, SpatioTemporalAttentionPool
from soundscene.network.blocks import KERNELS, POOL, BidirectionalGRU, ConvStack, FrameProjection
from soundscene.network.models import AttCRNN, CNNBaseline, Network
from soundscene.network.svm import CalibratedSVM
from soundscene.scoring.unfamiliarity import SceneGaussians


@dataclass(frozen=True)
class NetworkOutputs:
    """Outputs of a network.

    Attributes:
        embedding: [segment, feature].
        logits: [segment, scene], of the softmax layer.
        temporal: Attention [segment, frame]; None for the CNN baseline.
        spatial: Attention [segment, recurrent]; None for the CNN baseline.
    """

    embedding: str
    logits: str
    temporal: str | None
    spatial: str | None


def add_network(g: Graph, network: Network, images: str) -> NetworkOutputs:
    """Add a network.

    Args:
        g: The graph.
        network: Its weights.
        images: [segment, 2, band, frame].
    """
    standardise = network.standardise
    kept = g.cut(images, 0, len(standardise.mean), 1)
    limit = standardise.clamp
    x = g.op("Mul", g.op("Sub", kept, _f32(g, standardise.mean)), _f32(g, standardise.inverse_deviation))
    x = g.op("Clip", x, g.constant(-limit, F32), g.constant(limit, F32))
    x = _convolutions(g, network.convolutions, x)
    temporal = spatial = None
    if isinstance(network, AttCRNN):
        o = g.op("Transpose", x, perm=[0, 3, 1, 2])  # [segment, frame, filter, band]
        o = g.op("Reshape", o, g.op("Concat", g.op("Shape", o, start=0, end=2), g.ints(-1), axis=0))
        z = _states(g, network.recurrent, o) if isinstance(network.recurrent, BidirectionalGRU) else o
        if network.attention is None:  # the state of each direction that has heard the whole segment
            hidden = network.softmax.in_features // 2
            last, first = (g.op("Gather", z, g.constant(frame, INT), axis=1) for frame in (-1, 0))
            heard = g.op("Concat", g.cut(last, 0, hidden, 1), g.cut(first, hidden, 2 * hidden, 1), axis=1)
            embedding = _projected(g, network.recurrent, heard)
        else:
            z = _projected(g, network.recurrent, z)
            embedding, temporal, spatial = _attention(g, network.attention, z, network.softmax.in_features)
    else:
        assert isinstance(network, CNNBaseline)
        embedding = g.op("ReduceMean" if network.mean else "ReduceMax", x, g.ints(2, 3), keepdims=0)
    return NetworkOutputs(embedding, _dense(g, network.softmax, embedding), temporal, spatial)


def _convolutions(g: Graph, stack: ConvStack, x: str) -> str:
    for block, kernel in zip(stack.blocks, KERNELS, strict=True):
        convolution, norm = block.convolution, block.norm
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert convolution.bias is not None
        before, after = (kernel - 1) // 2, kernel // 2
        x = g.op(
            "Conv",
            x,
            g.weight(_array(convolution.weight)),
            _f32(g, convolution.bias),
            kernel_shape=[kernel, kernel],
            pads=[before, before, after, after],
        )
        # Batch norm stays between ReLU and pooling: its weight may be negative, and then the least becomes the largest.
        statistics = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        x = g.op("BatchNormalization", g.op("Relu", x), *(_f32(g, t) for t in statistics), epsilon=norm.eps)
        x = g.op("MaxPool", x, kernel_shape=[POOL, 1], strides=[POOL, 1])
    return x


def _states(g: Graph, recurrent: BidirectionalGRU, o: str) -> str:
    """[segment, frame, feature] -> states of the last layer [segment, frame, 2 hidden], forward first; (2) and (3)."""
    hidden = recurrent.hidden
    x = g.op("Transpose", o, perm=[1, 0, 2])  # the operator wants frames first
    for layer in recurrent.layers:
        parts = {
            name: np.stack([_gates(getattr(layer, f"{name}_l0{way}"), hidden) for way in ("", "_reverse")])
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        weights = [_stacked(g, parts[name]) for name in ("weight_ih", "weight_hh")]
        bias = g.constant(np.concatenate([parts["bias_ih"], parts["bias_hh"]], axis=1), F32)
        # linear_before_reset: the reset gate acts after the recurrent product, as in PyTorch
        y = g.op("GRU", x, *weights, bias, hidden_size=hidden, direction="bidirectional", linear_before_reset=1)
        x = g.op("Reshape", g.op("Transpose", y, perm=[0, 2, 1, 3]), g.ints(0, 0, 2 * hidden))
    return g.op("Transpose", x, perm=[1, 0, 2])


def _projected(g: Graph, recurrent: BidirectionalGRU | FrameProjection, x: str) -> str:
    """[..., feature] -> [..., 2 hidden], equation (1), which puts backward first."""
    weight = _array(recurrent.projection.weight)
    if isinstance(recurrent, BidirectionalGRU):  # the operator puts forward first: the columns are exchanged instead
        weight = np.concatenate([weight[:, recurrent.hidden :], weight[:, : recurrent.hidden]], axis=1)
    product = g.op("MatMul", x, g.op("Transpose", g.weight(weight), perm=[1, 0]))
    return g.op("Add", product, _f32(g, recurrent.projection.bias))


def _gates(rows: Tensor, hidden: int) -> np.ndarray:
    """Reorder the gates r, z, n of PyTorch to z, r, h of ONNX."""
    r, z, n = np.split(_array(rows), [hidden, 2 * hidden])
    return np.concatenate([z, r, n])


def _stacked(g: Graph, weight: np.ndarray) -> str:
    """A weight [direction, row, column], quantised by direction and row."""
    rows = g.weight(weight.reshape(-1, weight.shape[-1]))
    return g.op("Reshape", rows, g.ints(*weight.shape))


def _attention(g: Graph, pool: SpatioTemporalAttentionPool, z: str, width: int) -> tuple[str, str, str]:
    """Embedding [segment, recurrent] of equation (9), temporal and spatial attention."""
    temporal = _score(g, pool.temporal, z, pool.n_frames)
    spatial = _score(g, pool.spatial, g.op("Transpose", z, perm=[0, 2, 1]), width)
    mask = g.op("Mul", g.op("Unsqueeze", temporal, g.ints(2)), g.op("Unsqueeze", spatial, g.ints(1)))  # (8)
    if pool.scale == "mean-preserving":
        scaled = g.op("Mul", g.op("Mul", mask, g.constant(pool.n_frames * width, F32)), z)
        return g.op("ReduceMean", g.op("Tanh", scaled), g.ints(1), keepdims=0), temporal, spatial
    printed = g.op("ReduceSum", g.op("Tanh", g.op("Mul", mask, z)), g.ints(1), keepdims=0)
    return (g.op("Mul", printed, g.constant(width, F32)) if pool.scale == "printed-2h" else printed), temporal, spatial


def _score(g: Graph, score: nn.Module, vectors: str, n: int) -> str:
    """Weights [segment, vector] of n vectors, equations (4)-(7)."""
    if not isinstance(score, AttentionScore):  # uniform
        shape = g.op("Concat", g.op("Shape", vectors, start=0, end=1), g.ints(n), axis=0)
        return g.op("Expand", g.constant(1 / n, F32), shape)
    hidden = g.op("MatMul", vectors, g.op("Transpose", g.weight(_array(score.project.weight)), perm=[1, 0]))
    hidden = g.op("Tanh", g.op("Add", hidden, _f32(g, score.project.bias)))
    scores = g.op("MatMul", hidden, _f32(g, score.context))
    return g.op("Softmax", g.op("Div", scores, g.constant(score.temperature, F32)), axis=-1)


def _dense(g: Graph, layer: nn.Linear, x: str) -> str:
    return g.op("Gemm", x, g.weight(_array(layer.weight)), _f32(g, layer.bias), transB=1)


def add_softmax(g: Graph, logits: str) -> str:
    """Add the log posterior [segment, scene] of the softmax layer, in float64.

    Args:
        g: The graph.
        logits: [segment, scene].
    """
    return g.op("LogSoftmax", g.cast(logits, F64), axis=-1)


def add_svm(g: Graph, svm: CalibratedSVM, embedding: str) -> str:
    """Add the log posterior [segment, scene] of the calibrated SVM, in float64 as in `network.svm`.

    Args:
        g: The graph.
        svm: Its weights. An offset of infinity is a probability of zero.
        embedding: [segment, feature].
    """
    weight, bias, slope, offset = (_array(getattr(svm, name)) for name in ("weight", "bias", "slope", "offset"))
    distance = g.op("Gemm", g.cast(embedding, F64), g.constant(weight, F64), g.constant(bias, F64), transB=1)
    a = g.op("Neg", g.op("Add", g.op("Mul", g.constant(slope, F64), distance), g.constant(offset, F64)))
    # log(1 / (1 + exp(-a))), where neither branch overflows
    tail = g.op("Log", g.op("Add", g.constant(1.0, F64), g.op("Exp", g.op("Neg", g.op("Abs", a)))))
    return g.op("LogSoftmax", g.op("Sub", g.op("Min", a, g.constant(0.0, F64)), tail), axis=-1)


def add_product(g: Graph, log_posteriors: list[str]) -> str:
    """Add the product rule over members, `scoring.fusion.fuse_systems`; that of one member is as it is.

    Args:
        g: The graph.
        log_posteriors: [segment, scene] of each member.
    """
    if len(log_posteriors) == 1:
        return log_posteriors[0]
    total = log_posteriors[0]
    for other in log_posteriors[1:]:
        total = g.op("Add", total, other)
    return add_renormalised(g, total)


def add_renormalised(g: Graph, scores: str) -> str:
    """Add the log posterior of log scores; uniform where every scene is excluded.

    Args:
        g: The graph.
        scores: [..., scene].
    """
    best = g.op("ReduceMax", scores, g.ints(-1), keepdims=1)
    excluded = g.op("Equal", best, g.constant(-np.inf, F64))
    return g.op("LogSoftmax", g.op("Where", excluded, g.constant(0.0, F64), scores), axis=-1)


def add_distance(g: Graph, gaussians: SceneGaussians, embedding: str) -> str:
    """Add the squared distance [segment] to the nearest scene, per feature, less that to the background if there is one.

    Args:
        g: The graph.
        gaussians: Means and precision, whose values are float32.
        embedding: [segment, feature].
    """
    x = g.op("Unsqueeze", g.cast(embedding, F64), g.ints(1))
    mean = g.cast(g.constant(gaussians.mean, F32), F64)
    offset = g.op("Sub", x, mean)  # [segment, scene, feature]
    turned = g.op("MatMul", offset, g.cast(g.constant(gaussians.precision, F32), F64))
    squared = g.op("ReduceSum", g.op("Mul", turned, offset), g.ints(2), keepdims=0)
    nearest = g.op("ReduceMin", squared, g.ints(1), keepdims=0)
    distance = g.op("Div", nearest, g.constant(gaussians.mean.shape[1], F64))
    if gaussians.background is None:
        return distance
    return g.op("Sub", distance, add_distance(g, gaussians.background, embedding))


def add_energy(g: Graph, logits: str) -> str:
    """Add -logsumexp of logits, [segment], `scoring.unfamiliarity.energy_score`.

    Args:
        g: The graph.
        logits: [segment, scene].
    """
    return g.op("Neg", g.op("ReduceLogSumExp", g.cast(logits, F64), g.ints(1), keepdims=0))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy()


def _f32(g: Graph, tensor: Tensor | None) -> str:
    assert tensor is not None
    return g.constant(_array(tensor), F32)
