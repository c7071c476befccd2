"""Embeddings of a stream: push blocks of samples, get the embeddings of the segments that they complete."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

from soundscene.backbone.encoder import Backbone
from soundscene.signal.segments import SegmentStream
from soundscene.types import Samples


@dataclass(frozen=True)
class SegmentEmbeddings:
    """Embeddings of segments of one recording.

    Attributes:
        embeddings: [segment, feature].
        start_s: [segment], seconds from the start of the recording.
        silent: [segment], true for digital silence.
    """

    embeddings: Float32[np.ndarray, "segment feature"]
    start_s: Float64[np.ndarray, " segment"]
    silent: Bool[np.ndarray, " segment"]


class EmbeddingStream:
    """Process one recording block by block in constant memory, on the same grid of segments as the networks' images.

    Args:
        backbone: Of the rate of the samples.
        segment_s: Length of a segment, seconds.
        segment_hop_s: Seconds from one segment's start to the next, by default their length.
        last_piece: Share of a segment that the uncovered rest must fill to be used.
    """

    def __init__(
        self, backbone: Backbone, segment_s: float, segment_hop_s: float | None = None, last_piece: float = 0.5
    ) -> None:
        rate = backbone.sample_rate
        hop = None if segment_hop_s is None else round(segment_hop_s * rate)
        self._backbone = backbone
        self._segments = SegmentStream(rate, round(segment_s * rate), hop, last_piece, channels=1)

    def push(self, samples: Samples) -> SegmentEmbeddings:
        """Return the embeddings of the segments that these samples complete."""
        return self._embed(*self._segments.push(samples[None]))

    def flush(self) -> SegmentEmbeddings:
        """Return the embedding of the last segment, if the rest is long enough; the stream cannot be used afterwards."""
        return self._embed(*self._segments.flush())

    def _embed(
        self, waves: Float32[np.ndarray, "segment 1 sample"], start_s: Float64[np.ndarray, " segment"]
    ) -> SegmentEmbeddings:
        return SegmentEmbeddings(self._backbone.embed(waves[:, 0]), start_s, np.asarray(~waves[:, 0].any(axis=1)))
