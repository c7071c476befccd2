"""The attention vectors of a network as numbers: weights over time, and over its recurrent features."""

import numpy as np
import torch
from jaxtyping import Float32

from soundscene.errors import BundleError
from soundscene.member import NetworkMember
from soundscene.network.attention import Uniform
from soundscene.network.models import AttCRNN
from soundscene.scene_model import BATCH

NO_ATTENTION = "this model pools without attention, as the CNN baseline does, and has none to show"


def attention(
    member: NetworkMember, images: Float32[np.ndarray, "segment 2 band frame"]
) -> tuple[Float32[np.ndarray, "segment recurrent"], Float32[np.ndarray, "segment frame"]]:
    """Return spatial and temporal attention vectors, equations (4) and (5); each row sums to one.

    Args:
        member: One with attention.
        images: From the front-end.

    Raises:
        BundleError: The network has no attention.
    """
    if not (isinstance(member.network, AttCRNN) and member.has_attention):
        raise BundleError(NO_ATTENTION)
    with torch.inference_mode():
        batches = [member.network.attend(batch) for batch in torch.from_numpy(images).split(BATCH)]
    spatial, temporal = (torch.cat(vectors).numpy() for vectors in zip(*batches, strict=True))
    return spatial, temporal


def learnt(member: NetworkMember) -> tuple[bool, bool]:
    """Return whether spatial and temporal attention were learnt; others are uniform by the recipe (network.pooling)."""
    pool = member.network.attention if isinstance(member.network, AttCRNN) else None
    if pool is None:
        return False, False
    return not isinstance(pool.spatial, Uniform), not isinstance(pool.temporal, Uniform)


def without_attention(member: NetworkMember) -> str:
    """Say why a network has no attention, behind "the member ... "; "" where it has.

    Args:
        member: A network.
    """
    if member.has_attention:
        return ""
    if member.recipe.network.kind == "cnn":
        return "is the CNN baseline, which has no attention"
    return "takes the last states of its GRUs (network.pooling=last), so it has no attention"
