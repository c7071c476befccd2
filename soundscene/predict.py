"""Predictor: a path, an array with its rate, or a list of them -> `ScenePrediction`."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from soundscene.bundle import BATCH, Head, ModelBundle
from soundscene.data.audio import AudioArray, AudioFile
from soundscene.errors import AudioError, AudioWarning
from soundscene.scoring.fusion import product, temper
from soundscene.signal.frontend import FrontEnd, join_segments
from soundscene.types import ScenePrediction, SegmentImages, SegmentPrediction

Source = str | Path | tuple[Shaped[np.ndarray, "..."], int]
"""A file, or samples [sample] or [channel, sample] with their rate in Hz."""


class Predictor:
    """A model ready to answer; made by `soundscene.load`.

    Arguments: bundle; head: "svm" or "softmax", by default the recipe's.
    """

    def __init__(self, bundle: ModelBundle, head: Head | None = None) -> None:
        self.bundle = bundle
        self.head: Head = head or bundle.recipe.calibration.head
        self._front_end = FrontEnd(bundle.recipe.audio, bundle.recipe.features)

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names of the scenes, in the order of every posterior."""
        return self.bundle.scenes

    def __call__(self, source: Source | list[Source]) -> ScenePrediction | list[ScenePrediction]:
        """Answer for one source, or a list of answers for a list of sources.

        Raises: `AudioError` for a sound that cannot be used; the message says why.
        """
        if isinstance(source, list):
            return [self.predict(one) for one in source]
        return self.predict(source)  # type: ignore[arg-type]

    def predict(self, source: Source) -> ScenePrediction:
        """Answer for one source; memory does not grow with its length beyond one posterior per segment.

        Raises: `AudioError`; warns by `AudioWarning` of what may make the answer worse (it is in `notes` too).
        """
        if isinstance(source, tuple):
            samples, sample_rate = source
            sound = AudioArray(np.asarray(samples), sample_rate, self.bundle.recipe.audio)
            name = "array"
        else:
            sound = AudioFile(source, self.bundle.recipe.audio)
            name = str(source)
        starts: list[float] = []
        rows = [np.zeros((0, len(self.scenes)))]
        n_silent = 0
        for piece in self._pieces(sound):
            voting = ~piece.silent
            n_silent += int(piece.silent.sum())
            starts.extend(piece.start_s[voting].tolist())
            rows.append(self.bundle.classify(self.bundle.embed(piece.images[voting]), self.head))
        if not starts:
            raise AudioError(f"{name}: every segment is digital silence; was the microphone connected?")
        log_posterior = np.concatenate(rows)
        fused = temper(product(log_posterior), self.bundle.temperature[self.head])
        length = self.bundle.recipe.audio.segment_s
        segments = (
            SegmentPrediction(start, start + length, np.exp(row)) for start, row in zip(starts, log_posterior, strict=True)
        )
        notes = (*sound.notes, f"{n_silent} segment(s) of digital silence did not vote") if n_silent else sound.notes
        for note in notes:
            warnings.warn(f"{name}: {note}", AudioWarning, stacklevel=2)
        return ScenePrediction(name, sound.duration_s, self.scenes, np.exp(fused), tuple(segments), notes)

    def _pieces(self, sound: AudioFile | AudioArray) -> Iterator[SegmentImages]:
        """Segments in batches of `BATCH`: a network that reads them one by one wastes most of the processor."""
        stream = self._front_end.stream()
        waiting: list[SegmentImages] = []
        for block in sound.blocks():
            waiting.append(stream.push(block))
            if sum(len(piece.start_s) for piece in waiting) >= BATCH:
                yield join_segments(waiting)
                waiting = []
        yield join_segments([*waiting, stream.flush()])


def load(path: str | Path, head: Head | None = None) -> Predictor:
    """Read a bundle and give a callable that predicts; raises `BundleError`."""
    return Predictor(ModelBundle.load(Path(path)), head)
