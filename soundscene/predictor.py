"""Predictor: a path, an array with its rate, or a list of them -> `ScenePrediction`."""

import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Shaped

from soundscene.audio.files import AudioArray, AudioFile
from soundscene.bundle import BATCH, Head, ModelBundle
from soundscene.errors import AudioError, AudioWarning, SceneError
from soundscene.live import DEFAULT_WINDOW_S, Listener, Update, array_arrivals, listen
from soundscene.scoring.fusion import product, temper
from soundscene.scoring.unfamiliarity import KEEP
from soundscene.signal.frontend import FrontEnd, join_segments
from soundscene.threads import in_order, one_blas_thread, read_ahead
from soundscene.types import Samples, ScenePrediction, SegmentImages, SegmentPrediction

Source = str | Path | tuple[Shaped[np.ndarray, "..."], int]
"""A file, or samples [sample] or [channel, sample] with their rate in Hz."""

_Blocks = Generator[Samples, None, None]
_Through = Callable[[_Blocks], _Blocks]


class Predictor:
    """A model ready to answer; made by `soundscene.load`.

    Arguments: bundle; head: "svm" or "softmax", by default the recipe's; keep: share of recordings of known scenes that
    shall not be `ScenePrediction.unknown`, between 0 and 1 (ValueError).
    """

    def __init__(self, bundle: ModelBundle, head: Head | None = None, keep: float = KEEP) -> None:
        self.bundle = bundle
        self.head: Head = head or bundle.recipe.calibration.head
        self.keep = keep
        self._threshold = bundle.familiarity.threshold(keep) if bundle.familiarity else None
        self._front_end = FrontEnd(bundle.recipe.audio, bundle.recipe.features)

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names of the scenes, in the order of every posterior."""
        return self.bundle.scenes

    @property
    def unknown_lack(self) -> str | None:
        """Why no answer can be `unknown`, and what to do, in one line; None where one can."""
        if self.bundle.familiarity is None:
            return "nothing is called unknown: the model was made before soundscene could notice it; train it again"
        return self.bundle.familiarity.lack(self.keep)

    def __call__(self, source: Source | list[Source]) -> ScenePrediction | list[ScenePrediction]:
        """Answer for one source, or a list of answers for a list of sources.

        Raises: `AudioError` for a sound that cannot be used; the message says why.
        """
        if isinstance(source, list):
            return [self.predict(one) for one in source]
        return self.predict(source)  # type: ignore[arg-type]

    def predict(self, source: Source) -> ScenePrediction:
        """Answer for one source; memory does not grow with its length beyond one posterior per segment.

        A file is decoded by a second thread, ahead of the rest.
        Raises: `AudioError`; warns by `AudioWarning` of what may make the answer worse (it is in `notes` too).
        """
        with one_blas_thread():
            if isinstance(source, tuple):
                samples, sample_rate = source
                sound = AudioArray(np.asarray(samples), sample_rate, self.bundle.recipe.audio)
                answer = self._answer("array", sound, iter)
            else:
                answer = self._answer(str(source), AudioFile(source, self.bundle.recipe.audio), read_ahead)
        for note in answer.notes:
            warnings.warn(f"{answer.source}: {note}", AudioWarning, stacklevel=2)
        return answer

    def predict_each(
        self, paths: Iterable[str | Path], workers: int = 1
    ) -> Iterator[tuple[str | Path, ScenePrediction | SceneError]]:
        """Each path with its answer, or with the error that says why there is none, in the order given.

        paths: any number of files; a few to a worker are taken ahead of the answers. workers: threads, each of which
        answers for a whole file on one core, with the one model; a lone file has the machine to itself, as in `predict`.
        Memory grows with the workers, not with the files. What may make an answer worse is in its `notes` only.
        Between two answers PyTorch keeps to one thread in threads that are new to it, and BLAS in all; closing the
        iterator, or its end, puts both back.
        """
        rest = iter(paths)
        first = list(islice(rest, 2))
        if len(first) == 1:
            with one_blas_thread():
                yield self._attempt(read_ahead, first[0])
            return
        stop = threading.Event()
        work = partial(self._attempt, partial(_until, stop))
        n_threads = torch.get_num_threads()  # of this thread; the workers have their own, but new threads take theirs over
        try:
            yield from in_order(work, chain(first, rest), workers, partial(torch.set_num_threads, 1), stop)
        finally:
            torch.set_num_threads(n_threads)

    def stream(
        self,
        blocks: Iterable[Shaped[np.ndarray, "..."]],
        sample_rate: int,
        hop_s: float | None = None,
        window_s: float = DEFAULT_WINDOW_S,
    ) -> Iterator[Update]:
        """Answers while the sound goes on: one every hop_s seconds, over the last window_s seconds; memory does not grow.

        blocks: arrays [sample] or [channel, sample] of any size, empty ones too, of an iterator that may never end;
        sample_rate: Hz; hop_s: by default a segment (2 s), 0.01 to 3600; window_s: a segment to 3600.
        Segments are those of `predict`, the last piece among them if the blocks end; their posteriors agree within 1e-5,
        because the network reads segments one by one here and 64 at a time there. Silence is no error. An answer
        needs sound beyond the end of its segment: 16 to 32 ms (noise frames) at the recipe's rate, to 75 ms where sound of
        16 kHz or more is resampled, 150 ms from 8 kHz; `Update.heard_s` has it.
        Raises: `SceneError` for a hop or a window out of range; while listening `AudioError` for samples that are not finite
        and blocks of another shape. Notes are in the updates, not warned of.
        """
        return listen(Listener(self.bundle, self.head, sample_rate, hop_s, window_s, keep=self.keep), array_arrivals(blocks))

    def _attempt(self, through: _Through, path: str | Path) -> tuple[str | Path, ScenePrediction | SceneError]:
        """The answer for a file, warning of nothing: the filters of warnings belong to all threads together."""
        try:
            return path, self._answer(str(path), AudioFile(path, self.bundle.recipe.audio), through)
        except SceneError as error:
            error.__traceback__ = error.__context__ = None  # they hold on to the blocks and images of the recording
            return path, error

    def _answer(self, name: str, sound: AudioFile | AudioArray, through: _Through) -> ScenePrediction:
        starts: list[float] = []
        rows = [np.zeros((0, len(self.scenes)))]
        n_silent = 0
        unfamiliarity = 0.0  # summed, because a recording may last for hours
        with closing(self._pieces(sound, through)) as pieces:
            for piece in pieces:
                voting = ~piece.silent
                n_silent += int(piece.silent.sum())
                starts.extend(piece.start_s[voting].tolist())
                embeddings = self.bundle.embed(piece.images[voting])
                rows.append(self.bundle.classify(embeddings, self.head))
                if self.bundle.familiarity:
                    unfamiliarity += float(self.bundle.unfamiliarity(embeddings).sum())
        if not starts:
            raise AudioError(f"{name}: every segment is digital silence; was the microphone connected?")
        log_posterior = np.concatenate(rows)
        fused = temper(product(log_posterior), self.bundle.temperature[self.head])
        length = self.bundle.recipe.audio.segment_s
        segments = (
            SegmentPrediction(start, start + length, np.exp(row)) for start, row in zip(starts, log_posterior, strict=True)
        )
        notes = (*sound.notes, f"{n_silent} segment(s) of digital silence did not vote") if n_silent else sound.notes
        score = unfamiliarity / len(starts) if self.bundle.familiarity else None
        posterior = np.exp(fused)
        return ScenePrediction(
            name, sound.duration_s, self.scenes, posterior, tuple(segments), notes, score, self._threshold
        )

    def _pieces(self, sound: AudioFile | AudioArray, through: _Through = iter) -> Generator[SegmentImages, None, None]:
        """Segments in batches of `BATCH`: a network that reads them one by one wastes most of the processor."""
        stream = self._front_end.stream()
        waiting: list[SegmentImages] = []
        with closing(through(sound.blocks())) as blocks:
            for block in blocks:
                waiting.append(stream.push(block))
                if sum(len(piece.start_s) for piece in waiting) >= BATCH:
                    yield join_segments(waiting)
                    waiting = []
        yield join_segments([*waiting, stream.flush()])


def _until(stop: threading.Event, blocks: _Blocks) -> _Blocks:
    """The blocks as long as somebody waits for the answer; a file may last for hours."""
    with closing(blocks):
        for block in blocks:
            if stop.is_set():
                raise AudioError("stopped before its end")
            yield block


def load(path: str | Path, head: Head | None = None, keep: float = KEEP) -> Predictor:
    """Read a bundle and give a callable that predicts; arguments as for `Predictor`; raises `BundleError`."""
    return Predictor(ModelBundle.load(Path(path)), head, keep)
