"""Predictions of a model: a path, an array with its rate, or a list of them -> `ScenePrediction`."""

import sys
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, overload

import numpy as np
from jaxtyping import Float32, Float64

from soundscene.audio.arrays import ArrayLike, RateLike, as_source
from soundscene.audio.files import AudioArray, AudioFile
from soundscene.audio.gate import AudioSummary
from soundscene.errors import AudioError, AudioWarning, BundleError, RecipeError, SceneError, unexpected
from soundscene.live import DEFAULT_WINDOW_S, Listener, Update, array_arrivals, listen
from soundscene.prediction import ScenePrediction, SegmentPrediction
from soundscene.recipe import FRONT_END
from soundscene.scene_model import BATCH, SceneModel
from soundscene.scoring.fusion import product, temper
from soundscene.scoring.unfamiliarity import KEEP
from soundscene.signal.meter import RangeMeter, metered
from soundscene.signal.ranges import sound_notes
from soundscene.signal.streams import FeatureStream, segment_batches
from soundscene.threads import in_order, one_blas_thread, read_ahead
from soundscene.types import Head, Samples, SegmentFeatures

Source = str | Path | tuple[ArrayLike, RateLike] | Mapping[str, Any]
"""A file, samples [sample] or [channel, sample] with their rate in Hz, or what else `audio.arrays.as_source` takes."""

FEW = 32  # recordings of one call for which an exported model does not load the compiled front-end
_Blocks = Generator[Samples, None, None]
_Through = Callable[[_Blocks], _Blocks]


class Predictor:
    """A trained model that predicts; made by `soundscene.load`.

    Args:
        model: The model.
        head: Classifier, "svm" or "softmax"; by default the recipe's choice.
        keep: Share of recordings of known scenes that shall not be `ScenePrediction.unknown`, between 0 and 1.
        front_end: Version of the front-end; an earlier one only to finish a folder of rows that was begun with it.

    Raises:
        ValueError: `keep` is out of range.
    """

    def __init__(self, model: SceneModel, head: Head | None = None, keep: float = KEEP, front_end: int = FRONT_END) -> None:
        self.model = model
        self.head: Head = head or model.head
        self.keep = keep
        self._threshold = model.familiarity.threshold(keep) if model.familiarity else None
        self._version = front_end
        self._front_end = model.build_front_end(version=front_end)
        self._many: Predictor | None = None
        self._building = threading.Lock()
        lacking = model.lacking(self.head)
        self._model_notes = (lacking,) if lacking else ()

    def __repr__(self) -> str:
        """Return one line: members, head and scenes."""
        scenes = ", ".join(self.scenes[:5]) + (f" and {len(self.scenes) - 5} more" if len(self.scenes) > 5 else "")
        members = ", ".join(self.model.member_names)
        return f"<Predictor {members}; {self.head} head; {len(self.scenes)} scenes: {scenes}>"

    def with_front_end(self, version: int) -> "Predictor":
        """Return the same predictor with another version of the front-end, see `recipe.FRONT_END`."""
        return self if version == self._version else Predictor(self.model, self.head, self.keep, version)

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names of the scenes, in the order of every posterior."""
        return self.model.scenes

    @property
    def why_unknown_unavailable(self) -> str | None:
        """Why no recording can be `unknown`, and what to do, in one line; None where one can."""
        if self.model.familiarity is None:
            return "unknown detection unavailable: the model was saved by an older version; retrain it"
        return self.model.familiarity.why_unavailable(self.keep)

    @property
    def bundle(self) -> SceneModel:
        """Deprecated name of `model`, until 0.3."""
        warnings.warn("Predictor.bundle is now model; the old name leaves in 0.3", DeprecationWarning, stacklevel=2)
        return self.model

    @property
    def unknown_lack(self) -> str | None:
        """Deprecated name of `why_unknown_unavailable`, until 0.3."""
        warnings.warn(
            "Predictor.unknown_lack is now why_unknown_unavailable; the old name leaves in 0.3",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.why_unknown_unavailable

    @overload
    def __call__(self, source: Source) -> ScenePrediction: ...

    @overload
    def __call__(self, source: list[Source]) -> list[ScenePrediction]: ...

    def __call__(self, source: Source | list[Source]) -> ScenePrediction | list[ScenePrediction]:
        """Predict one source, or each of a list of sources.

        Raises:
            AudioError: A recording cannot be used; the message says why.
        """
        if isinstance(source, list):
            return [self.predict(item) for item in source]
        return self.predict(source)

    def predict(
        self,
        source: Source,
        warn: bool = True,
        progress: Callable[[float], None] | None = None,
        check: Callable[[float], None] | None = None,
    ) -> ScenePrediction:
        """Predict one source.

        A second thread decodes a file, without `check`. Memory grows with the length by one posterior per segment.

        Args:
            source: A file, samples with their rate, or what else `audio.arrays.as_source` takes.
            warn: Whether to warn of the notes of the prediction.
            progress: Called with the seconds of sound that are done.
            check: Called with the seconds of sound decoded so far, after each block; what it raises ends the prediction.

        Raises:
            AudioError: The recording cannot be used; the message says why.

        Warns:
            AudioWarning: Something may make the prediction worse; it is in `notes` too.
        """
        with one_blas_thread():
            prediction = self._predict(*self._sound(source, check), progress)
        for note in prediction.notes if warn else ():
            warnings.warn(f"{prediction.source}: {note}", AudioWarning, stacklevel=2)
        return prediction

    def embed(
        self, source: Source, check: Callable[[float], None] | None = None
    ) -> tuple[Float64[np.ndarray, " segment"], list[Float32[np.ndarray, "segment _"]]]:
        """Compute what the heads of each member read, for every voting segment of a source.

        Args:
            source: As in `predict`.
            check: As in `predict`.

        Returns:
            Start of each segment in seconds, and for each member its embeddings [segment, embedding].

        Raises:
            AudioError: The recording cannot be used, or is digital silence throughout.
        """
        name, sound, through = self._sound(source, check)
        starts: list[float] = []
        rows: list[list[Float32[np.ndarray, "segment _"]]] = [[] for _ in self.model.member_names]
        with one_blas_thread(), closing(self._pieces(sound, through)) as pieces:
            for piece in pieces:
                starts.extend(piece.start_s[~piece.silent].tolist())
                found = self.model.embeddings_of(self.model.embed(piece.take(~piece.silent)))
                for of_member, embeddings in zip(rows, found, strict=True):
                    of_member.append(embeddings)
        if not starts:
            raise AudioError(f"{name}: every segment is digital silence; was the microphone connected?")
        return np.array(starts), [np.concatenate(of_member) for of_member in rows]

    def predict_each(
        self, paths: Iterable[str | Path], workers: int = 1
    ) -> Iterator[tuple[str | Path, ScenePrediction | SceneError]]:
        """Predict any number of files in parallel, in the order given.

        Memory grows with the workers, not with the files. While the iterator is open, PyTorch uses one thread in threads
        that are new to it, and BLAS one in all; its end, or closing it, restores both.

        Args:
            paths: Files; a few per worker are read ahead of the predictions.
            workers: Threads, each of which predicts a whole file on one core. A single file uses all cores, as in
                `predict`.

        Yields:
            Each path with its prediction, or with the error that says why there is none. Nothing is warned of; see
            `ScenePrediction.notes`.
        """
        rest = iter(paths)
        first = list(islice(rest, 2))
        if len(first) == 1:
            with one_blas_thread():
                yield self._attempt(read_ahead, first[0])
            return
        stop = threading.Event()
        through = partial(_until, stop)

        def work(job: tuple[int, str | Path]) -> tuple[str | Path, ScenePrediction | SceneError]:
            number, path = job
            return (self if number < FEW else self._for_many())._attempt(through, path)

        torch = sys.modules.get("torch")  # an exported model needs none
        # of this thread; each worker has its own, but new threads inherit it
        n_threads = torch.get_num_threads() if torch else 0
        begin = partial(torch.set_num_threads, 1) if torch else None
        try:
            yield from in_order(work, enumerate(chain(first, rest)), workers, begin, stop)
        finally:
            if torch:
                torch.set_num_threads(n_threads)

    def stream(
        self,
        blocks: Iterable[ArrayLike],
        sample_rate: RateLike,
        hop_s: float | None = None,
        window_s: float = DEFAULT_WINDOW_S,
    ) -> Iterator[Update]:
        """Predict a stream: one prediction every hop_s seconds, over the last window_s seconds, in constant memory.

        Segments are those of `predict`, the last piece included if the blocks end. Their posteriors agree within 1e-5:
        the network reads segments one by one here and 64 at a time there. Silence is no error. A prediction needs audio
        beyond the end of its segment: 16 to 32 ms (noise frames) at the recipe's rate, up to 75 ms where audio of 16 kHz
        or more is resampled, 150 ms from 8 kHz.

        Args:
            blocks: Arrays [sample] or [channel, sample] of any size, from an iterator that may never end.
            sample_rate: Sample rate of the blocks in Hz.
            hop_s: Seconds between predictions, 0.01 to 3600; by default a segment (2 s).
            window_s: Seconds that a prediction covers, from a segment to 3600.

        Yields:
            The predictions; notes are in them, not warned of.

        Raises:
            SceneError: The hop or the window is out of range.
            AudioError: A block has samples that are not finite, or another shape than those before.
        """
        return listen(Listener(self.model, self.head, sample_rate, hop_s, window_s, keep=self.keep), array_arrivals(blocks))

    def _sound(
        self, source: Source, check: Callable[[float], None] | None = None
    ) -> tuple[str, AudioFile | AudioArray, _Through]:
        """Return the name of a source, what reads it, and what it is read through: a file in a thread of its own."""
        given = as_source(source)
        if check:
            through = partial(checked, check, self.model.audio.sample_rate)
            sound = AudioArray(*given, self.model.audio) if isinstance(given, tuple) else AudioFile(given, self.model.audio)
            return "array" if isinstance(given, tuple) else str(given), sound, through
        if isinstance(given, tuple):
            return "array", AudioArray(*given, self.model.audio), iter
        return str(given), AudioFile(given, self.model.audio), read_ahead

    def _for_many(self) -> "Predictor":
        with self._building:
            if self._many is None:
                model = self.model.for_many()
                self._many = self if model is self.model else Predictor(model, self.head, self.keep, self._version)
            return self._many

    def _attempt(self, through: _Through, path: str | Path) -> tuple[str | Path, ScenePrediction | SceneError]:
        """Predict a file without warnings, whose filters all threads share."""
        try:
            return path, self._predict(str(path), AudioFile(path, self.model.audio), through)
        except SceneError as error:
            error.__traceback__ = error.__context__ = error.__cause__ = (
                None  # they keep the blocks and images of the recording in memory
            )
            return path, error
        except Exception as error:
            return path, unexpected(str(path), error)

    def _predict(
        self,
        name: str,
        sound: AudioFile | AudioArray,
        through: _Through,
        progress: Callable[[float], None] | None = None,
    ) -> ScenePrediction:
        starts: list[float] = []
        rows = [np.zeros((0, len(self.scenes)))]
        n_silent = 0
        unfamiliarity = 0.0  # summed, because a recording may last for hours
        stream, meter = self._front_end.stream(), RangeMeter(self.model.audio.sample_rate)
        with closing(self._pieces(sound, through, stream, meter)) as pieces:
            for piece in pieces:
                voting = ~piece.silent
                n_silent += int(piece.silent.sum())
                starts.extend(piece.start_s[voting].tolist())
                embeddings = self.model.embed(piece.take(voting))
                rows.append(self.model.classify(embeddings, self.head))
                if progress and len(piece.start_s):
                    progress(float(piece.start_s[-1]) + self.model.audio.segment_s)
                if self.model.familiarity:
                    unfamiliarity += float(self.model.unfamiliarity(embeddings).sum())
        if not starts:
            raise AudioError(f"{name}: every segment is digital silence; was the microphone connected?")
        log_posterior = np.concatenate(rows)
        fused = temper(product(log_posterior), self.model.temperature[self.head])
        length = self.model.audio.segment_s
        segments = (
            SegmentPrediction(start, start + length, np.exp(row)) for start, row in zip(starts, log_posterior, strict=True)
        )
        notes = self._notes(sound.summary, meter)
        notes += (f"{n_silent} segment(s) of digital silence did not vote",) if n_silent else ()
        notes = (*notes, *stream.notes(self.model.front_end), *self._model_notes)
        score = unfamiliarity / len(starts) if self.model.familiarity else None
        posterior = np.exp(fused)
        return ScenePrediction(
            name, sound.duration_s, self.scenes, posterior, tuple(segments), notes, score, self._threshold
        )

    def _notes(self, read: AudioSummary, meter: RangeMeter) -> tuple[str, ...]:
        found = meter.measures() if self.model.usual else None
        model_hz = self.model.audio.sample_rate
        return sound_notes(self.model.usual, found, read.notes, read.rate_notes, read.sample_rate, model_hz)

    def _pieces(
        self,
        sound: AudioFile | AudioArray,
        through: _Through = iter,
        stream: FeatureStream | None = None,
        meter: RangeMeter | None = None,
    ) -> Generator[SegmentFeatures, None, None]:
        """Segments in batches of `BATCH`: one by one, most of the processor would be idle."""
        native = metered(sound.blocks(), meter) if meter and self.model.usual else sound.blocks()
        with closing(through(native)) as blocks:
            yield from segment_batches(stream or self._front_end.stream(), blocks, BATCH)


def _until(stop: threading.Event, blocks: _Blocks) -> _Blocks:
    """The blocks until `stop` is set; a file may last for hours."""
    with closing(blocks):
        for block in blocks:
            if stop.is_set():
                raise AudioError("stopped before its end")
            yield block


def checked(check: Callable[[float], None], sample_rate: int, blocks: _Blocks) -> _Blocks:
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


def load(path: str | Path, head: Head | None = None, keep: float = KEEP, device: str = "cpu") -> Predictor:
    """Load a model.

    Args:
        path: Model file (.safetensors), or an exported one (.onnx), which needs no PyTorch.
        head: Classifier, "svm" or "softmax"; by default the recipe's choice.
        keep: Share of recordings of known scenes that shall not be `ScenePrediction.unknown`, between 0 and 1.
        device: Where networks compute: "cpu", "cuda", "mps", or "auto", which is a GPU if there is one.

    Returns:
        A callable: `model("street.wav")` predicts.

    Raises:
        BundleError: The file is missing, damaged, foreign or of a newer version, or a saved system, which only
            `soundscene.predict` and `evaluate` take.
        SceneError: There is no such device.
    """
    path = Path(path)
    if path.suffix.lower() == ".onnx":
        from soundscene.graph_model import load_graph

        if device not in ("auto", "cpu"):
            raise SceneError(f"device {device!r}: an exported model computes on the CPU; give the model file (.safetensors)")
        return Predictor(load_graph(path), head, keep)
    from soundscene.bundle import load_model
    from soundscene.compute import place

    model = place(load_model(path), device)
    try:
        return Predictor(model, head, keep)
    except RecipeError as error:
        raise BundleError(f"{path}: its recipe cannot be computed ({error}); retrain the model") from None
