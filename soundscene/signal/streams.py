"""Streams of features: samples of one recording in, block by block, features of its segments out; several of them joined."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from soundscene.errors import AudioError
from soundscene.types import Samples, SegmentFeatures, take_features

AFTER_SILENCE_NOTE = (
    "sound follows digital silence, where soundscene 0.1, which trained this model, computed other images: its "
    "prediction may differ; retrain the model"
)
_SAME_START_S = 1e-3  # members at another rate may round the start of a segment


@runtime_checkable
class FeatureStream(Protocol):
    """What turns the samples of one recording into features of its segments, block by block.

    The grid of segments is that of `SegmentStream` at the rate of the samples. A member of a model that needs another rate,
    or no noise-subtracted channel, brings a stream of its own; `JoinedFrontEnd` lets it run beside the others.
    """

    def push(self, samples: Samples) -> SegmentFeatures:
        """Return the features of the segments that these samples complete; a stream may hold some back."""
        ...

    def flush(self) -> SegmentFeatures:
        """Return the features of the rest, the last segment among them."""
        ...

    def notes(self, trained_with: int) -> tuple[str, ...]:
        """Return why a prediction may be worse, as far as the stream knows; see `FrontEndStream.notes`."""
        ...


@runtime_checkable
class FeatureSource(Protocol):
    """What makes a stream for each recording."""

    def stream(self) -> FeatureStream:
        """Return a new stream for one recording."""
        ...


def check_finite(block: Samples, n_before: int, sample_rate: int) -> None:
    """Refuse samples that are no finite numbers.

    Args:
        block: Samples.
        n_before: Samples of the recording before them.
        sample_rate: In Hz.

    Raises:
        AudioError: A sample is NaN or infinite; the message names the first.
    """
    finite = np.isfinite(block)
    if not finite.all():
        at = int(np.argmin(finite))
        raise AudioError(
            f"sample {n_before + at} ({(n_before + at) / sample_rate:.3f} s) is {block[at]}; samples must be finite "
            f"numbers, nominally from -1 to 1: a damaged recording, or a division by zero before"
        )


class JoinedFrontEnd:
    """Let several front-ends receive the same samples, and join their features segment by segment.

    Args:
        sources: Front-ends on one grid of segments; start times and silence are those of the first.
        order: For each member of the model, its place among the features of all sources, one after the other.
    """

    def __init__(self, sources: Sequence[FeatureSource], order: Sequence[int]) -> None:
        self._sources = tuple(sources)
        self._order = tuple(order)

    def stream(self) -> "JoinedStream":
        """Return a new stream for one recording."""
        return JoinedStream([source.stream() for source in self._sources], self._order)


class JoinedStream:
    """Features of the segments that all streams have completed; what one has ahead of the others waits."""

    def __init__(self, streams: Sequence[FeatureStream], order: Sequence[int]) -> None:
        self._streams = tuple(streams)
        self._order = tuple(order)
        self._waiting: list[SegmentFeatures] | None = None

    def push(self, samples: Samples) -> SegmentFeatures:
        """Return the features of the segments that every stream has completed by now."""
        return self._join(lambda stream: stream.push(samples))

    def flush(self) -> SegmentFeatures:
        """Return the features of the rest.

        Raises:
            RuntimeError: The streams have cut the recording into different segments.
        """
        rest = self._join(lambda stream: stream.flush())
        if self._waiting and any(len(piece.start_s) for piece in self._waiting):
            raise RuntimeError("the front-ends of this model do not agree on the segments of the recording")
        return rest

    def notes(self, trained_with: int) -> tuple[str, ...]:
        """Return the notes of all streams, each once."""
        return tuple(dict.fromkeys(note for stream in self._streams for note in stream.notes(trained_with)))

    def _join(self, step: Callable[[FeatureStream], SegmentFeatures]) -> SegmentFeatures:
        new = [step(stream) for stream in self._streams]
        held = [join_segments(pair) for pair in zip(self._waiting, new, strict=True)] if self._waiting else new
        n = min(len(piece.start_s) for piece in held)
        starts = held[0].start_s[:n]
        if any(np.abs(piece.start_s[:n] - starts).max(initial=0) > _SAME_START_S for piece in held):
            raise RuntimeError("the front-ends of this model do not agree on the segments of the recording")
        self._waiting = [_part(piece, slice(n, None)) for piece in held]
        everything = [array for piece in held for array in take_features(piece.features, slice(n))]
        return SegmentFeatures(tuple(everything[place] for place in self._order), starts, held[0].silent[:n])


def _part(piece: SegmentFeatures, chosen: slice) -> SegmentFeatures:
    return SegmentFeatures(take_features(piece.features, chosen), piece.start_s[chosen], piece.silent[chosen])


def segment_batches(stream: FeatureStream, blocks: Iterable[Samples], size: int) -> Iterator[SegmentFeatures]:
    """Yield the segments of a recording in batches, in constant memory.

    Args:
        stream: A fresh stream, which is flushed at the end.
        blocks: Mono samples at the recipe's rate, in blocks of any size.
        size: Segments in a batch, or up to one block's segments more. The last batch may be smaller, or empty.
    """
    waiting: list[SegmentFeatures] = []
    for block in blocks:
        waiting.append(stream.push(block))
        if sum(len(piece.start_s) for piece in waiting) >= size:
            yield join_segments(waiting)
            waiting = []
    yield join_segments([*waiting, stream.flush()])


def join_segments(pieces: Sequence[SegmentFeatures]) -> SegmentFeatures:
    """Concatenate segments, of one recording or of several, in their order."""
    if len(pieces) == 1:
        return pieces[0]
    by_member = list(zip(*(piece.features for piece in pieces), strict=True))
    joined = {key: np.concatenate(key_arrays) for key, key_arrays in {_ids(a): a for a in by_member}.items()}
    return SegmentFeatures(
        tuple(joined[_ids(arrays)] for arrays in by_member),  # members that share arrays go on sharing
        np.concatenate([piece.start_s for piece in pieces]),
        np.concatenate([piece.silent for piece in pieces]),
    )


def _ids(arrays: Iterable[np.ndarray]) -> tuple[int, ...]:
    return tuple(map(id, arrays))
