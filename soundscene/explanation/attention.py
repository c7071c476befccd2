"""The attention vectors of a model as numbers: where in time it listened, and to which of its recurrent features."""

import numpy as np
import torch
from jaxtyping import Float32

from soundscene.bundle import BATCH, ModelBundle
from soundscene.errors import BundleError
from soundscene.network.attention import Uniform
from soundscene.network.models import AttCRNN

NO_ATTENTION = "this model is the CNN baseline, which pools by its maximum and has no attention to show"


def attention(
    bundle: ModelBundle, images: Float32[np.ndarray, "segment 2 band frame"]
) -> tuple[Float32[np.ndarray, "segment recurrent"], Float32[np.ndarray, "segment frame"]]:
    """Spatial and temporal attention vectors, equations (4)-(5); each row sums to one.

    Raises: `BundleError` for a CNN baseline, which has none.
    """
    if not isinstance(bundle.network, AttCRNN):
        raise BundleError(NO_ATTENTION)
    with torch.inference_mode():
        found = [bundle.network.attend(piece) for piece in torch.from_numpy(images).split(BATCH)]
    spatial, temporal = (torch.cat(vectors).numpy() for vectors in zip(*found, strict=True))
    return spatial, temporal


def has_attention(bundle: ModelBundle) -> bool:
    """Whether there is anything for `attention` to find."""
    return isinstance(bundle.network, AttCRNN)


def learnt(bundle: ModelBundle) -> tuple[bool, bool]:
    """Whether spatial and temporal attention were learnt; the others are uniform by the recipe (network.pooling)."""
    if not isinstance(bundle.network, AttCRNN):
        return False, False
    pool = bundle.network.attention
    return not isinstance(pool.spatial, Uniform), not isinstance(pool.temporal, Uniform)
