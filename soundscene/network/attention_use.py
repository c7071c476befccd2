"""What a network does with its attention: how far the weights are from uniform, and what it predicts without them."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from soundscene.network.attention import Uniform
from soundscene.network.models import AttCRNN, Network

_BATCH = 64


def learns_attention(network: Network) -> bool:
    """Tell whether a network has an attention vector that is learnt.

    Args:
        network: Of any kind.
    """
    pool = network.attention if isinstance(network, AttCRNN) else None
    return pool is not None and not (isinstance(pool.spatial, Uniform) and isinstance(pool.temporal, Uniform))


@torch.inference_mode()
def entropies(network: AttCRNN, images: Float[Tensor, "segment channel band frame"]) -> tuple[float, float]:
    """Return the mean entropy of spatial and temporal attention as shares of the largest, that of uniform weights.

    Args:
        network: One with attention, in evaluation mode.
        images: From the front-end, at least one.

    Returns:
        Spatial and temporal share, 0 (all weight on one vector) to 1 (uniform).
    """
    both = [[_share(weights) for weights in network.attend(batch)] for batch in _batches(network, images)]
    spatial, temporal = (torch.cat(shares).mean() for shares in zip(*both, strict=True))
    return float(spatial), float(temporal)


@torch.inference_mode()
def embed_uniform(
    network: AttCRNN, images: Float[Tensor, "segment channel band frame"]
) -> Float[Tensor, "segment embedding"]:
    """Return embeddings with uniform weights in place of the learnt ones: what attention is worth to a trained network.

    Args:
        network: One with attention, in evaluation mode.
        images: From the front-end.

    Raises:
        ValueError: The network has no attention.
    """
    if network.attention is None:
        raise ValueError("the network pools the last states of its GRUs and has no attention")
    pooled = [torch.zeros(0, network.softmax.in_features)]
    for batch in _batches(network, images):
        z = network.recur(network.standardise(batch))
        spatial, temporal = z.new_full((len(z), z.shape[2]), 1 / z.shape[2]), z.new_full(z.shape[:2], 1 / z.shape[1])
        pooled.append(network.attention.pool(z, spatial, temporal).cpu())
    return torch.cat(pooled)


def _batches(
    network: Network, images: Float[Tensor, "segment channel band frame"]
) -> Iterator[Float[Tensor, "batch channel band frame"]]:
    device = network.softmax.weight.device
    return (batch.to(device) for batch in images.split(_BATCH) if len(batch))


def _share(weights: Float[Tensor, "segment vector"]) -> Float[Tensor, " segment"]:
    weights = weights.cpu().double()  # some devices have no float64
    return torch.special.entr(weights).sum(dim=1) / math.log(max(weights.shape[1], 2))
