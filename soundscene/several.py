"""Predictions of several models over one decoding pass: each file is opened, decoded and resampled once."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from soundscene.audio.files import SharedFile
from soundscene.audio.gate import AudioSummary
from soundscene.errors import AudioError, SceneError, unexpected
from soundscene.passes import ModelPass, Through, each_file, without_memory
from soundscene.prediction import ScenePrediction
from soundscene.predictor import Predictor
from soundscene.signal.meter import RangeMeter

Results = list[ScenePrediction | SceneError]
"""Of one recording: for each model its prediction, or the error that says why there is none."""


def predict_each_by_all(
    predictors: Sequence[Predictor], paths: Iterable[str | Path], workers: int = 1
) -> Iterator[tuple[str | Path, Results]]:
    """Predict files by several models, in parallel and in the order given, as `Predictor.predict_each` does by one.

    Each file is decoded once, whatever the number of models. It is mixed and resampled once for each audio recipe among
    them. Predictions are those of each model alone.

    Args:
        predictors: The models.
        paths: Files.
        workers: Threads, each of which predicts a whole file.

    Yields:
        Each path with a result for each model.
    """

    def attempt(through: Through, path: str | Path) -> tuple[str | Path, Results]:
        try:
            return path, _predict(predictors, path, through)
        except SceneError as error:
            return path, [without_memory(error) for _ in predictors]
        except Exception as error:
            return path, [unexpected(str(path), error) for _ in predictors]

    yield from each_file(attempt, paths, workers)


def _predict(predictors: Sequence[Predictor], path: str | Path, through: Through) -> Results:
    audios = list(dict.fromkeys(predictor.model.audio for predictor in predictors))
    meters = [RangeMeter(audio.sample_rate) for audio in audios]
    places = [audios.index(predictor.model.audio) for predictor in predictors]
    measured = {place for place, predictor in zip(places, predictors, strict=True) if predictor.model.usual}
    runs = [predictor.start(str(path), meters[place]) for place, predictor in zip(places, predictors, strict=True)]
    sound = SharedFile(path, audios)
    failures: dict[int, SceneError] = {}
    with closing(through(sound.blocks())) as groups:
        for blocks in groups:
            for place in measured:
                meters[place].push(blocks[place])
            for number, (run, place) in enumerate(zip(runs, places, strict=True)):
                if len(blocks[place]) and number not in failures:
                    try:
                        run.push(blocks[place])
                    except SceneError as error:  # of this model alone, such as weights that give no number
                        failures[number] = without_memory(error)
    return [
        failures.get(number) or _finish(run, sound.results[place])
        for number, (run, place) in enumerate(zip(runs, places, strict=True))
    ]


def _finish(run: ModelPass, read: AudioSummary | AudioError) -> ScenePrediction | SceneError:
    if isinstance(read, AudioError):
        return without_memory(read)
    try:
        return run.finish(read)
    except SceneError as error:
        return without_memory(error)
