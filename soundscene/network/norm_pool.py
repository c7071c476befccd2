"""ReLU, batch norm, max pooling of bands and dropout in one pass over a convolution's output (section 2.2, Table 1).

PyTorch's kernels for the four pass over the large activation some ten times, forward and backward. They took a third of a
training step, the matrix products two fifths (docs/decisions/0062). Batch norm after ReLU is an affine map of each channel.
So pooling can come first: the largest of four bands where the channel's factor is positive, the smallest where it is
negative. The map itself is then applied to a quarter of the values. The gradient is the same, up to rounding.

Only for float32 on a CPU. Elsewhere the layers run as PyTorch has them. Results do not depend on the number of threads.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_POOL = 4  # bands per pooled band: Table 1, and the kernels below are written for it

# A diverged training must end by the check of its loss, not by numpy's warnings.
_DIVERGED = np.errstate(over="ignore", invalid="ignore")

Values = Float32[np.ndarray, "batch band frame channel"]


def norm_pool(
    x: Float[Tensor, "batch channel band frame"], norm: nn.BatchNorm2d, dropout: float
) -> Float[Tensor, "batch channel pooled frame"]:
    """Compute dropout(max_pool(norm(relu(x)))), pooling 4 bands, and update the running statistics of `norm` in training.

    The dropout masks are not those of `nn.Dropout`, but a seed repeats them: each call draws two numbers from PyTorch's
    global generator, and the mask of each element is a hash of them and of its index.

    Args:
        x: Output of a convolution for which `fits` is true.
        norm: Batch norm, in training or evaluation mode.
        dropout: Dropout probability.

    Returns:
        Activation [batch, channel, band // 4, frame].
    """
    weight, bias, eps = norm.weight, norm.bias, norm.eps
    if not norm.training:
        return _NormPool.apply(x, weight, bias, norm.running_mean, norm.running_var, eps, 0.0, (0, 0), False)[0]
    words = torch.randint(2**32, (2,)).tolist() if dropout else [0, 0]
    pooled, mean, variance = _NormPool.apply(x, weight, bias, None, None, eps, dropout, tuple(words), True)
    n = x.numel() // x.shape[1]
    with torch.no_grad():  # as nn.BatchNorm2d does: the running variance is the unbiased one
        momentum = norm.momentum or 0.0
        norm.running_mean.lerp_(mean, momentum)  # type: ignore[union-attr]
        norm.running_var.lerp_(variance * (n / max(n - 1, 1)), momentum)  # type: ignore[union-attr]
        norm.num_batches_tracked.add_(1)  # type: ignore[union-attr]
    return pooled


def fits(x: Tensor) -> bool:
    """Tell whether `norm_pool` can take x: float32 on a CPU, whole groups of bands, not being traced or compiled."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.shape[2] % _POOL == 0
        and type(x) in (Tensor, nn.Parameter)
        and not (torch.compiler.is_compiling() or torch.jit.is_tracing())  # pyright: ignore[reportPrivateImportUsage]
    )


class _NormPool(torch.autograd.Function):
    """Forward and backward pass of `norm_pool`.

    With r = relu(x), xhat = (r - mean) / sqrt(variance + eps), y = weight xhat + bias = factor r + offset, the output is the
    largest y of four bands, times the dropout mask over 1 - p. Without running statistics the batch's own are used and
    returned. Only one of four bands has a gradient, so the backward pass needs its position (one byte per output)
    instead of the normalised activation.
    """

    @staticmethod
    @_DIVERGED
    def forward(  # type: ignore[override]
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        eps: float,
        dropout: float,
        words: tuple[int, int],
        training: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        values = _rows(x)
        if running_mean is None or running_var is None:
            mean, variance = _statistics(values)
        else:
            mean, variance = running_mean.double().numpy(), running_var.double().numpy()
        # Batch norm as one affine map of each channel, composed in float64 and applied in float32.
        factor = weight.detach().double().numpy() / np.sqrt(variance + eps)
        offset = bias.detach().double().numpy() - mean * factor
        batch, bands, frames, channels = values.shape
        pooled = torch.empty(batch, bands // _POOL, frames, channels)
        winner = np.empty(pooled.shape, np.uint8)  # which of its four bands each output came from
        mask = np.array([*words, int(dropout * 2**32)], np.uint32)
        args = (*_single(factor, offset), mask, np.float32(1 / (1 - dropout)), pooled.numpy())
        _by_parts(lambda start, stop: _pool(values, start, stop, *args, winner), batch)  # pyright: ignore
        ctx.save_for_backward(x, weight)
        ctx.rest = (winner, mean, variance, eps, dropout, mask, training)
        mean, variance = (torch.from_numpy(moment) for moment in _single(mean, variance))
        ctx.mark_non_differentiable(mean, variance)
        return pooled.permute(0, 3, 1, 2), mean, variance

    @staticmethod
    @once_differentiable
    @_DIVERGED
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        winner, mean, variance, eps, dropout, mask, training = ctx.rest
        values, pooled = _rows(x), _rows(gradient)
        batch, bands, frames, channels = values.shape
        inverse = 1 / np.sqrt(variance + eps)
        keep = np.float32(1 / (1 - dropout))
        # First pass: d_bias = sum dy and d_weight = sum dy xhat, where dy is zero but for the winner of each four bands.
        sums = np.zeros((batch, 2, channels))
        around = _single(mean, inverse)
        _by_parts(lambda start, stop: _gradient_sums(values, pooled, winner, start, stop, mask, keep, *around, sums), batch)  # pyright: ignore
        d_bias, d_weight = sums.sum(axis=0)
        # Second pass. Mean and variance depend on every x of a channel, which gives batch norm's two further terms:
        #   dr = scale (dy - sum(dy) / n - xhat sum(dy xhat) / n),  scale = weight / sqrt(variance + eps)
        # With xhat = (r - mean) inverse this is linear in r, so that xhat need not be stored: dr = scale dy - a - b r,
        #   b = scale inverse sum(dy xhat) / n,  a = scale sum(dy) / n - b mean.
        # ReLU then passes dr where x > 0. Running statistics are constants: no such terms, n infinite.
        n = batch * bands * frames if training else np.inf
        scale = weight.detach().double().numpy() * inverse
        b = scale * inverse * d_weight / n
        a = scale * d_bias / n - b * mean
        dx = torch.empty(values.shape)
        args = (mask, keep, *_single(scale, a, b), dx.numpy())
        _by_parts(lambda start, stop: _gradient(values, pooled, winner, start, stop, *args), batch)  # pyright: ignore
        to_weight = [torch.from_numpy(d) for d in _single(d_weight, d_bias)]
        return dx.permute(0, 3, 1, 2), *to_weight, None, None, None, None, None, None


def _rows(x: Tensor) -> Values:
    """Return the same values as [batch, band, frame, channel], without a copy where x is channels-last."""
    return x.detach().permute(0, 2, 3, 1).contiguous().numpy()


def _single(*vectors: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(vector.astype(np.float32) for vector in vectors)


def _statistics(values: Values) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and (biased) variance of each channel after ReLU, in float64."""
    sums = np.zeros((len(values), 2, values.shape[3]))
    _by_parts(lambda start, stop: _sums(values, start, stop, sums), len(values))
    mean, square = sums.sum(axis=0) / (values.size // values.shape[3])
    return mean, np.maximum(square - mean * mean, 0)


def _by_parts(work: Callable[[int, int], None], batch: int) -> None:
    """Run work(start, stop) over a batch, in as many threads as PyTorch uses.

    Each example has its own output and its own row of sums, so the number of threads changes no bit.
    """
    threads = min(torch.get_num_threads(), batch)
    if threads <= 1:
        work(0, batch)
        return
    edges = [batch * i // threads for i in range(threads + 1)]
    list(_pool_of(threads).map(work, edges[:-1], edges[1:]))


@cache
def _pool_of(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "norm-pool")


# --- compiled loops; values are [batch, band, frame, channel], and the innermost loop runs over channels ---------------


@numba.njit(cache=True, nogil=True)
@no_type_check
def _sums(values, start, stop, sums):
    for b in range(start, stop):
        for m in range(values.shape[1]):
            for t in range(values.shape[2]):
                for c in range(values.shape[3]):
                    x = values[b, m, t, c]
                    x = np.float64(np.float32(0) if x < np.float32(0) else x)  # this way round a NaN stays one
                    sums[b, 0, c] += x
                    sums[b, 1, c] += x * x


@numba.njit(inline="always")
@no_type_check
def _kept(index, mask):
    """Tell whether dropout keeps an element: a hash of its index and of the call's two numbers, against the probability."""
    h = np.uint32(np.uint32(index) * np.uint32(0x9E3779B9) + mask[0])
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D))
    h = np.uint32((h ^ (h >> np.uint32(15)) ^ mask[1]) * np.uint32(0x846CA68B))
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D))
    return np.uint32(h ^ (h >> np.uint32(15))) >= mask[2]


@numba.njit(cache=True, nogil=True)
@no_type_check
def _pool(values, start, stop, factor, offset, mask, keep, out, place):
    # A negative factor reverses the order, so the winner is the smallest: the largest after a change of sign.
    sign = np.where(factor < 0, np.float32(-1), np.float32(1))
    zero = np.float32(0)
    shape = out.shape
    for b in range(start, stop):
        for m in range(shape[1]):
            for t in range(shape[2]):
                row0, row1 = values[b, 4 * m, t], values[b, 4 * m + 1, t]
                row2, row3 = values[b, 4 * m + 2, t], values[b, 4 * m + 3, t]
                result, where = out[b, m, t], place[b, m, t]
                first = ((b * shape[1] + m) * shape[2] + t) * shape[3]
                for c in range(shape[3]):
                    x0 = sign[c] * (zero if row0[c] < zero else row0[c])
                    x1 = sign[c] * (zero if row1[c] < zero else row1[c])
                    x2 = sign[c] * (zero if row2[c] < zero else row2[c])
                    x3 = sign[c] * (zero if row3[c] < zero else row3[c])
                    # Two rounds of a tournament; the lower band wins a tie, as in max_pool2d.
                    best01, at01 = (x1, np.uint8(1)) if x1 > x0 else (x0, np.uint8(0))
                    best23, at23 = (x3, np.uint8(3)) if x3 > x2 else (x2, np.uint8(2))
                    best, at = (best23, at23) if best23 > best01 else (best01, at01)
                    where[c] = at
                    result[c] = factor[c] * (sign[c] * best) + offset[c]
                if mask[2] > 0:
                    for c in range(shape[3]):
                        result[c] = result[c] * keep if _kept(first + c, mask) else zero


@numba.njit(cache=True, nogil=True)
@no_type_check
def _gradient_sums(values, gradient, place, start, stop, mask, keep, mean, inverse, sums):
    shape = gradient.shape
    zero, two = np.float32(0), np.uint8(2)
    total, products = np.empty((2, shape[3]), np.float32)
    for b in range(start, stop):
        for m in range(shape[1]):
            total[:] = zero  # sums over frames in float32, sums of those in float64
            products[:] = zero
            for t in range(shape[2]):
                row0, row1 = values[b, 4 * m, t], values[b, 4 * m + 1, t]
                row2, row3 = values[b, 4 * m + 2, t], values[b, 4 * m + 3, t]
                dy, where = gradient[b, m, t], place[b, m, t]
                first = ((b * shape[1] + m) * shape[2] + t) * shape[3]
                for c in range(shape[3]):
                    x01 = row0[c] if where[c] == np.uint8(0) else row1[c]
                    x23 = row2[c] if where[c] == two else row3[c]
                    x = x01 if where[c] < two else x23
                    xhat = ((zero if x < zero else x) - mean[c]) * inverse[c]
                    d = dy[c] * keep if _kept(first + c, mask) else zero
                    total[c] += d
                    products[c] += d * xhat
            for c in range(shape[3]):
                sums[b, 0, c] += total[c]
                sums[b, 1, c] += products[c]


@numba.njit(cache=True, nogil=True)
@no_type_check
def _gradient(values, gradient, place, start, stop, mask, keep, scale, a, slope, dx):
    shape = gradient.shape
    zero = np.float32(0)
    for b in range(start, stop):
        for m in range(shape[1]):
            for t in range(shape[2]):
                dy, where = gradient[b, m, t], place[b, m, t]
                first = ((b * shape[1] + m) * shape[2] + t) * shape[3]
                row0, row1 = values[b, 4 * m, t], values[b, 4 * m + 1, t]
                row2, row3 = values[b, 4 * m + 2, t], values[b, 4 * m + 3, t]
                dx0, dx1 = dx[b, 4 * m, t], dx[b, 4 * m + 1, t]
                dx2, dx3 = dx[b, 4 * m + 2, t], dx[b, 4 * m + 3, t]
                for c in range(shape[3]):
                    d = scale[c] * (dy[c] * keep if _kept(first + c, mask) else zero)
                    x0, x1, x2, x3 = row0[c], row1[c], row2[c], row3[c]
                    d0 = (d if where[c] == np.uint8(0) else zero) - a[c] - slope[c] * x0
                    d1 = (d if where[c] == np.uint8(1) else zero) - a[c] - slope[c] * x1
                    d2 = (d if where[c] == np.uint8(2) else zero) - a[c] - slope[c] * x2
                    d3 = (d if where[c] == np.uint8(3) else zero) - a[c] - slope[c] * x3
                    dx0[c] = zero if x0 <= zero else d0
                    dx1[c] = zero if x1 <= zero else d1
                    dx2[c] = zero if x2 <= zero else d2
                    dx3[c] = zero if x3 <= zero else d3
