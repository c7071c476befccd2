"""Predictions of a model: a path, an array with its rate, or a list of them -> `ScenePrediction`."""

import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, get_args, overload

import numpy as np
from jaxtyping import Float32, Float64

from soundscene.audio.arrays import ArrayLike, RateLike
from soundscene.audio.files import AudioArray, AudioFile, open_source
from soundscene.errors import (
    AudioError,
    AudioWarning,
    BackboneError,
    BundleError,
    RecipeError,
    SceneError,
    check_choice,
    unexpected,
)
from soundscene.hub import opened
from soundscene.live import DEFAULT_WINDOW_S, Listener, Update, array_arrivals, listen
from soundscene.passes import ModelPass, Through, checked, each_file, without_memory
from soundscene.prediction import Predictions, ScenePrediction
from soundscene.recipe import FRONT_END
from soundscene.scene_model import BATCH, SceneModel
from soundscene.scoring.unfamiliarity import KEEP
from soundscene.signal.meter import RangeMeter, metered
from soundscene.signal.streams import segment_batches
from soundscene.threads import one_blas_thread, read_ahead
from soundscene.types import Head, Samples, SegmentFeatures

Source = str | Path | tuple[ArrayLike, RateLike] | Mapping[str, Any]
"""A file, samples [sample] or [channel, sample] with their rate in Hz, or what else `audio.arrays.as_source` takes."""

FEW = 32  # recordings of one call for which an exported model does not load the compiled front-end
_Through = Through[Samples]


class Predictor:
    """A trained model that predicts; made by `soundscene.load`.

    Args:
        model: The model.
        head: Classifier, "svm" or "softmax"; by default the recipe's choice.
        keep: Share of recordings of known scenes that shall not be `ScenePrediction.unknown`, between 0 and 1.
        front_end: Version of the front-end; an earlier one only to finish a folder of rows that was begun with it.

    Attributes:
        model: What was trained: members, scenes, recipe.
        head: Classifier that predicts.
        keep: As given.

    Raises:
        ValueError: `keep` is out of range.
        SceneError: There is no such head.
    """

    def __init__(self, model: SceneModel, head: Head | None = None, keep: float = KEEP, front_end: int = FRONT_END) -> None:
        if head is not None:
            check_choice("head", head, get_args(Head))
        self.model = model
        self.head: Head = head or model.head
        self.keep = keep
        self._threshold = model.familiarity.threshold(keep) if model.familiarity else None
        self._version = front_end
        self._front_end = model.build_front_end(version=front_end)
        self._many: Predictor | None = None
        self._building = threading.Lock()

    def __repr__(self) -> str:
        """Return one line: members, head and scenes."""
        scenes = ", ".join(self.scenes[:5]) + (f" and {len(self.scenes) - 5} more" if len(self.scenes) > 5 else "")
        members = ", ".join(self.model.member_names)
        return f"<Predictor {members}; {self.head} head; {len(self.scenes)} scenes: {scenes}>"

    def __reduce__(self) -> tuple[type["Predictor"], tuple[SceneModel, Head, float, int]]:
        """Copy and pickle what it is built from: `clone` of scikit-learn copies parameters, and a lock cannot be copied."""
        return Predictor, (self.model, self.head, self.keep, self._version)

    def with_front_end(self, version: int) -> "Predictor":
        """Return the same predictor with another version of the front-end, see `recipe.FRONT_END`."""
        return self if version == self._version else Predictor(self.model, self.head, self.keep, version)

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names of the scenes, in the order of every posterior."""
        return self.model.scenes

    @property
    def embedding_sizes(self) -> tuple[int, ...]:
        """Length of the embedding of each member."""
        nothing = self._front_end.stream().flush()
        found = self.model.embed(nothing.take(~nothing.silent))
        return tuple(rows.shape[1] for rows in self.model.embeddings_of(found))

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

        Args:
            source: A path, samples with their rate, or a mapping, as in `predict`; or a list of them.

        Returns:
            The prediction; of a list its `Predictions`.

        Raises:
            AudioError: A recording cannot be used; the message says why.
        """
        if not isinstance(source, list):
            return _warned(self.predict(source, warn=False))
        found: Any = Predictions()
        for item in source:
            found.append(_warned(self.predict(item, warn=False)))
        return found

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
        return _warned(prediction) if warn else prediction

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
        with one_blas_thread():
            return self._embed(*self._sound(source, check))

    def members_named(self, name: str | None) -> list[int]:
        """Return the places of the members with a name: one, or all without a name.

        Raises:
            SceneError: The model has no such member.
        """
        names = self.model.member_names
        if name is not None and name not in names:
            raise SceneError(f"member {name!r}: the model has {', '.join(names)}")
        return [place for place, own in enumerate(names) if name in (None, own)]

    def start(self, name: str, meter: RangeMeter, progress: Callable[[float], None] | None = None) -> ModelPass:
        """Start the pass of one recording through the model, for who decodes it.

        Args:
            name: Source of the prediction.
            meter: Receives the same samples.
            progress: Called with the seconds of sound that are done.
        """
        return ModelPass(name, self.model, self._front_end, self.head, self._threshold, meter, progress)

    def _embed(
        self, name: str, sound: AudioFile | AudioArray, through: _Through
    ) -> tuple[Float64[np.ndarray, " segment"], list[Float32[np.ndarray, "segment _"]]]:
        starts: list[float] = []
        rows: list[list[Float32[np.ndarray, "segment _"]]] = [[] for _ in self.model.member_names]
        with closing(self._pieces(sound, through)) as pieces:
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

        def work(through: _Through, job: tuple[int, str | Path]) -> tuple[str | Path, ScenePrediction | SceneError]:
            number, path = job
            return (self if number < FEW else self._for_many())._attempt(through, path)

        yield from each_file(work, enumerate(paths), workers)

    def embed_each(
        self, paths: Iterable[str | Path], workers: int = 1, segments: bool = False
    ) -> Iterator[tuple[str | Path, list[Float32[np.ndarray, "*_"]] | SceneError]]:
        """Compute one embedding per file and member, the mean over its segments, in parallel, as `predict_each` does.

        Args:
            paths: Files.
            workers: Threads.
            segments: Whether to keep the embeddings of all segments, [segment, embedding], in place of their mean.

        Yields:
            Each path with its embedding by each member, or with the error that says why there is none.
        """

        def attempt(through: _Through, path: str | Path) -> tuple[str | Path, list[Float32[np.ndarray, "*_"]] | SceneError]:
            try:
                _, of_members = self._embed(str(path), AudioFile(path, self.model.audio), through)
                return path, of_members if segments else [rows.mean(axis=0) for rows in of_members]
            except SceneError as error:
                return path, without_memory(error)
            except Exception as error:
                return path, unexpected(str(path), error)

        yield from each_file(attempt, paths, workers)

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
        name, sound = open_source(source, self.model.audio)
        if check:
            return name, sound, partial(checked, check, self.model.audio.sample_rate)
        return name, sound, iter if isinstance(sound, AudioArray) else read_ahead

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
            return path, without_memory(error)
        except Exception as error:
            return path, unexpected(str(path), error)

    def _predict(
        self,
        name: str,
        sound: AudioFile | AudioArray,
        through: _Through,
        progress: Callable[[float], None] | None = None,
    ) -> ScenePrediction:
        meter = RangeMeter(self.model.audio.sample_rate)
        run = self.start(name, meter, progress)
        with closing(through(metered(sound.blocks(), meter) if self.model.usual else sound.blocks())) as blocks:
            try:
                for block in blocks:
                    run.push(block)
                return run.finish(sound.summary)
            except BackboneError as error:
                raise AudioError(f"{name}: {error}") from None

    def _pieces(self, sound: AudioFile | AudioArray, through: _Through = iter) -> Generator[SegmentFeatures, None, None]:
        """Segments in batches of `BATCH`: one by one, most of the processor would be idle."""
        with closing(through(sound.blocks())) as blocks:
            yield from segment_batches(self._front_end.stream(), blocks, BATCH)


def load(path: str | Path, head: Head | None = None, keep: float = KEEP, device: str = "cpu") -> Predictor:
    """Load a model.

    Args:
        path: Model file (.safetensors), or an exported one (.onnx), which needs no PyTorch; or one on the Hugging Face Hub,
            hf://owner/name[/file][@revision][#sha256=digest], see `soundscene.hub`.
        head: Classifier, "svm" or "softmax"; by default the recipe's choice.
        keep: Share of recordings of known scenes that shall not be `ScenePrediction.unknown`, between 0 and 1.
        device: Where networks compute: "cpu", "cuda", "mps", or "auto", which is a GPU if there is one.

    Returns:
        The model, which predicts where it is called, as in `model("street.wav")`.

    Raises:
        BundleError: The file is missing, damaged, foreign or of a newer version, or a saved system, which only
            `soundscene.predict`, `evaluate` and `timeline` take, the last where it has segments.
        SceneError: There is no such device or head.
    """
    with opened(path) as file:
        return _load(file, head, keep, device)


def _load(path: Path, head: Head | None, keep: float, device: str) -> Predictor:
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


def _warned(prediction: ScenePrediction) -> ScenePrediction:
    """Warn of the notes of a prediction, at the line that called the method which calls this."""
    for note in prediction.notes:
        warnings.warn(f"{prediction.source}: {note}", AudioWarning, stacklevel=3)
    return prediction
