"""What a backbone is: a frozen network of somebody else's that turns samples into embeddings, one for each segment."""

from collections.abc import Callable
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
from jaxtyping import Float32

Pooling = Literal["mean", "mean+max", "mean+std"]
"""How a segment's embedding is made of those of the patches in it."""

LEVEL = 1.0  # of a segment's mel magnitudes, where a backbone sets one; chosen on ESC-10 (docs/decisions/0105)

POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


@runtime_checkable
class Backbone(Protocol):
    """A frozen network. Whatever has these five can be a backbone."""

    @property
    def name(self) -> str:
        """Name for reports."""
        ...

    @property
    def sample_rate(self) -> int:
        """Rate of the samples it reads, Hz."""
        ...

    @property
    def n_features(self) -> int:
        """Size of an embedding."""
        ...

    def prepare(self, waves: Float32[np.ndarray, "segment sample"]) -> Float32[np.ndarray, "segment ..."]:
        """Return what `embed` reads of each segment: the samples themselves, or an image of them.

        It runs beside the decoding, in several threads.

        Args:
            waves: Segments of one length, mono, at `sample_rate`, nominally from -1 to 1.
        """
        ...

    def embed(self, prepared: Float32[np.ndarray, "segment ..."]) -> Float32[np.ndarray, "segment feature"]:
        """Return an embedding for each segment, which depends on that segment's samples only.

        Args:
            prepared: From `prepare`.
        """
        ...


@runtime_checkable
class VaryingBackbone(Protocol):
    """A backbone whose prepared segments can be varied as training images are; one that reads samples need not."""

    def vary(
        self,
        prepared: Float32[np.ndarray, "segment ..."],
        change: Callable[[Float32[np.ndarray, "segment 1 band frame"]], Float32[np.ndarray, "segment 1 band frame"]],
    ) -> Float32[np.ndarray, "segment ..."] | None:
        """Return what would be prepared of segments whose sound is changed; None where that cannot be told.

        Args:
            prepared: From `prepare`.
            change: Changes log power of one channel.
        """
        ...


def pool(patches: Float32[np.ndarray, "segment patch feature"], how: Pooling) -> Float32[np.ndarray, "segment pooled"]:
    """Make one embedding of the embeddings of a segment's patches.

    Args:
        patches: Embeddings.
        how: The mean, or the mean and beside it the largest value or the deviation of each feature.
    """
    mean = patches.mean(axis=1)
    if how == "mean":
        return mean
    return np.concatenate([mean, patches.max(axis=1) if how == "mean+max" else patches.std(axis=1)], axis=1)


def widening(how: Pooling) -> int:
    """Return how many times larger a pooled embedding is than a patch's."""
    return 1 if how == "mean" else 2
