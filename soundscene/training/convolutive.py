"""Convolutive non-negative matrix factorisation: a recording is a sum of shifted patches, each of several slices.

    X_hat[band, t] = sum over patches k and lags l of W[k, band, l] H[k, t - l]

Euclidean cost, an L1 penalty on the activations, patches of norm one: multiplicative updates of Smaragdis 2007 with the
normalisation inside the cost (Eggert and Koerner 2004), because rescaling a patch afterwards changes the penalty.
A recording is an entry of a batch, so no patch reaches from one into another. A patch may begin before a recording and
end behind it. What is padding behind a short recording is masked.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor
from torch.nn import functional

_EPSILON = 1e-9


def padded(
    recordings: Sequence[Float32[np.ndarray, "_ band"]],
) -> tuple[Float32[Tensor, "recording band slice"], Bool[Tensor, "recording slice"]]:
    """Join recordings of any length to one batch.

    Args:
        recordings: Slices of each, one or more.

    Returns:
        The batch, zero behind the end of each recording, and where sound is.
    """
    longest = max(len(one) for one in recordings)
    batch = torch.zeros(len(recordings), recordings[0].shape[1], longest)
    mask = torch.zeros(len(recordings), longest, dtype=torch.bool)
    for i, one in enumerate(recordings):
        batch[i, :, : len(one)] = torch.from_numpy(np.ascontiguousarray(one.T))
        mask[i, : len(one)] = True
    return batch, mask


def fit_patches(
    batch: Float32[Tensor, "recording band slice"],
    mask: Bool[Tensor, "recording slice"],
    n_patches: int,
    length: int,
    penalty: float,
    iterations: int,
    generator: torch.Generator,
    costs: list[float] | None = None,
) -> Float32[Tensor, "patch band lag"]:
    """Learn patches of norm one.

    Args:
        batch: Non-negative, from `padded`.
        mask: From `padded`.
        n_patches: Number of patches.
        length: Slices of a patch.
        penalty: Of the L1 norm of the activations.
        iterations: Updates of activations and patches in turn.
        generator: Draws the patches to begin with.
        costs: Takes the cost before each iteration, if given.
    """
    weight = _norm_one(torch.rand(n_patches, batch.shape[1], length, generator=generator) + 0.1)
    sound = batch * mask[:, None]
    active = torch.ones(len(batch), n_patches, batch.shape[2] + length - 1)
    for _ in range(iterations):
        if costs is not None:
            costs.append(_cost(sound, mask, weight, active, penalty))
        active = _activations(sound, mask, weight, active, penalty)
        weight = _patches(sound, mask, weight, active)
    return weight


def encode(
    batch: Float32[Tensor, "recording band slice"],
    mask: Bool[Tensor, "recording slice"],
    weight: Float32[Tensor, "patch band lag"],
    penalty: float,
    iterations: int,
) -> Float32[Tensor, "recording patch shift"]:
    """Find the activations of given patches. Those of a recording do not depend on the others in the batch.

    Args:
        batch: From `padded`.
        mask: From `padded`.
        weight: From `fit_patches`.
        penalty: As in `fit_patches`.
        iterations: Updates.

    Returns:
        Of each patch for each place that it can begin at, from `lag - 1` slices before the recording.
    """
    sound = batch * mask[:, None]
    active = torch.ones(len(batch), len(weight), batch.shape[2] + weight.shape[2] - 1)
    for _ in range(iterations):
        active = _activations(sound, mask, weight, active, penalty)
    reached = functional.conv1d(mask[:, None].float(), torch.ones(1, 1, weight.shape[2]), padding=weight.shape[2] - 1) > 0
    return active * reached  # elsewhere nothing pulls them away from one


def rebuild(
    weight: Float32[Tensor, "patch band lag"], active: Float32[Tensor, "recording patch shift"]
) -> Float32[Tensor, "recording band slice"]:
    """Return the sum of all shifted patches.

    Args:
        weight: From `fit_patches`.
        active: From `encode`.
    """
    return functional.conv_transpose1d(active, weight, padding=weight.shape[2] - 1)


def _activations(sound: Tensor, mask: Tensor, weight: Tensor, active: Tensor, penalty: float) -> Tensor:
    edge = weight.shape[2] - 1
    wanted = functional.conv1d(sound, weight, padding=edge)
    given = functional.conv1d(rebuild(weight, active) * mask[:, None], weight, padding=edge)
    return active * wanted / (given + penalty + _EPSILON)


def _patches(sound: Tensor, mask: Tensor, weight: Tensor, active: Tensor) -> Tensor:
    guess = rebuild(weight, active) * mask[:, None]
    n, length = sound.shape[2], weight.shape[2]
    wanted, given = torch.empty_like(weight), torch.empty_like(weight)
    for lag in range(length):
        shifted = active[:, :, length - 1 - lag : length - 1 - lag + n]
        wanted[:, :, lag] = torch.einsum("nbt,nkt->kb", sound, shifted)
        given[:, :, lag] = torch.einsum("nbt,nkt->kb", guess, shifted)
    along_wanted, along_given = ((x * weight).sum(dim=(1, 2), keepdim=True) for x in (wanted, given))
    return _norm_one(weight * (wanted + weight * along_given) / (given + weight * along_wanted + _EPSILON))


def _cost(sound: Tensor, mask: Tensor, weight: Tensor, active: Tensor, penalty: float) -> float:
    rest = sound - rebuild(weight, active) * mask[:, None]
    return float(0.5 * rest.square().sum() + penalty * active.sum())


def _norm_one(weight: Tensor) -> Tensor:
    return weight / weight.square().sum(dim=(1, 2), keepdim=True).sqrt().clamp_min(_EPSILON)
