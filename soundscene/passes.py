"""A recording on its way through a model: blocks of samples in, its prediction out; and many files in parallel."""

import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import chain, islice
from typing import TypeVar

import numpy as np

from soundscene.audio.gate import AudioSummary
from soundscene.errors import AudioError, SceneError
from soundscene.prediction import ScenePrediction, SegmentPrediction
from soundscene.scene_model import BATCH, SceneModel
from soundscene.scoring.fusion import product, temper
from soundscene.signal.meter import RangeMeter
from soundscene.signal.ranges import sound_notes
from soundscene.signal.streams import FeatureSource, FeatureStream, join_segments
from soundscene.texts import counted
from soundscene.threads import in_order, one_blas_thread, read_ahead
from soundscene.types import Head, Samples, SegmentFeatures

T = TypeVar("T")
R = TypeVar("R")
Through = Callable[[Generator[T, None, None]], Generator[T, None, None]]
"""What blocks go through on their way: a thread that reads ahead, or a stop."""


class ModelPass:
    """One recording through one model. Memory grows by one posterior per segment.

    Args:
        name: Source of the prediction.
        model: The model.
        front_end: Its front-end.
        head: Classifier.
        threshold: Score of unfamiliarity at or below which a recording counts as known.
        meter: Receives the same samples, from whoever decodes them.
        progress: Called with the seconds of sound that are done.
    """

    def __init__(
        self,
        name: str,
        model: SceneModel,
        front_end: FeatureSource,
        head: Head,
        threshold: float | None,
        meter: RangeMeter,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self._name, self._model, self._threshold = name, model, threshold
        self._head: Head = head
        self._meter, self._progress = meter, progress
        self._stream = front_end.stream()
        self._waiting: list[SegmentFeatures] = []
        self._starts: list[float] = []
        self._rows = [np.zeros((0, len(model.scenes)))]
        self._n_silent = 0
        self._unfamiliarity = 0.0  # summed, because a recording may last for hours

    def push(self, block: np.ndarray) -> None:
        """Accept the next mono samples at the model's rate; segments are computed `BATCH` at a time.

        Args:
            block: [sample].
        """
        self._waiting.append(self._stream.push(block))
        if sum(len(piece.start_s) for piece in self._waiting) >= BATCH:
            self._classify(join_segments(self._waiting))
            self._waiting = []

    def finish(self, read: AudioSummary) -> ScenePrediction:
        """Return the prediction, after the last block.

        Args:
            read: What is known of the recording after reading.

        Raises:
            AudioError: The recording is digital silence throughout.
        """
        self._classify(join_segments([*self._waiting, self._stream.flush()]))
        if not self._starts:
            raise AudioError(f"{self._name}: every segment is digital silence; was the microphone connected?")
        model, head = self._model, self._head
        log_posterior = np.concatenate(self._rows)
        fused = temper(product(log_posterior), model.temperature[head])
        length = model.audio.segment_s
        segments = tuple(
            SegmentPrediction(start, start + length, np.exp(row))
            for start, row in zip(self._starts, log_posterior, strict=True)
        )
        score = self._unfamiliarity / len(self._starts) if model.familiarity else None
        notes = recording_notes(model, self._meter, read, self._stream, head, self._n_silent)
        return ScenePrediction(
            self._name, read.duration_s, model.scenes, np.exp(fused), segments, notes, score, self._threshold
        )

    def _classify(self, piece: SegmentFeatures) -> None:
        voting = ~piece.silent
        self._n_silent += int(piece.silent.sum())
        self._starts.extend(piece.start_s[voting].tolist())
        embeddings = self._model.embed(piece.take(voting))
        self._rows.append(self._model.classify(embeddings, self._head))
        if self._progress and len(piece.start_s):
            self._progress(float(piece.start_s[-1]) + self._model.audio.segment_s)
        if self._model.familiarity:
            self._unfamiliarity += float(self._model.unfamiliarity(embeddings).sum())


def recording_notes(
    model: SceneModel,
    meter: RangeMeter,
    read: AudioSummary,
    stream: FeatureStream,
    head: Head | None = None,
    n_silent: int = 0,
) -> tuple[str, ...]:
    """Return what may make the prediction of a recording worse, wherever it is said.

    Args:
        model: The model.
        meter: Has received the samples of the recording at the model's rate.
        read: What is known of the recording after reading.
        stream: Has made its features.
        head: Classifier; None if nothing is to be said of members that lack it.
        n_silent: Number of its segments that are digital silence and did not vote.
    """
    found = meter.measures() if model.usual else None
    notes = sound_notes(model.usual, found, read.notes, read.rate_notes, read.sample_rate, model.audio.sample_rate)
    notes += (f"{counted(n_silent, 'segment')} of digital silence did not vote",) if n_silent else ()
    lacking = model.lacking(head) if head else None
    return (*notes, *stream.notes(model.front_end), *((lacking,) if lacking else ()))


def each_file(attempt: Callable[[Through, T], R], files: Iterable[T], workers: int) -> Iterator[R]:
    """Yield attempt(through, file) of each file, in the order given, by several threads.

    While the iterator is open, PyTorch uses one thread in threads that are new to it, and BLAS one in all; its end, or
    closing it, restores both. A single file uses all cores.

    Args:
        attempt: Function of what its blocks go through and of a file; it raises nothing.
        files: Paths, or what else `attempt` takes; a few per worker are read ahead of the results.
        workers: Threads, each of which processes a whole file.
    """
    rest = iter(files)
    first = list(islice(rest, 2))
    if len(first) == 1:
        with one_blas_thread():
            yield attempt(read_ahead, first[0])
        return
    stop = threading.Event()
    work = partial(attempt, partial(_until, stop))
    torch = sys.modules.get("torch")  # an exported model needs none
    # of this thread; each worker has its own, but new threads inherit it
    n_threads = torch.get_num_threads() if torch else 0
    begin = partial(torch.set_num_threads, 1) if torch else None
    try:
        yield from in_order(work, chain(first, rest), workers, begin, stop)
    finally:
        if torch:
            torch.set_num_threads(n_threads)


def checked(
    check: Callable[[float], None], sample_rate: int, blocks: Generator[Samples, None, None]
) -> Generator[Samples, None, None]:
    """Yield blocks of samples, until `check` raises an error.

    Args:
        check: Called with the seconds decoded so far.
        sample_rate: Hz.
        blocks: Of a recording.
    """
    n = 0
    with closing(blocks):
        for block in blocks:
            n += len(block)
            check(n / sample_rate)
            yield block


def without_memory(error: SceneError) -> SceneError:
    """Return an error without what keeps the blocks and images of its recording in memory."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


def _until(stop: threading.Event, blocks: Generator[T, None, None]) -> Generator[T, None, None]:
    """The blocks until `stop` is set; a file may last for hours."""
    with closing(blocks):
        for block in blocks:
            if stop.is_set():
                raise AudioError("stopped before its end")
            yield block
