"""Two plain classifiers that measure how hard a corpus is: a network has to beat them before its attention means anything.

nearest-mean     mean log-mel spectrum of the recording, Euclidean distance to the mean of each scene. It knows nothing
                 of time: where it does well, the mean spectrum is enough.
band-statistics  mean, deviation, 10 % and 90 % quantiles, and deviation of frame-to-frame differences of each log-mel
                 band; standardised, RBF support vector machine (C = 10). The strength of modulation, not its order.

    python benchmarks/baselines.py MANIFEST [--column fold]

prints the accuracy by recording with each value of the column as the test part, and the mean of them.
"""

import argparse
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Float64
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from soundscene.audio.files import read_samples
from soundscene.data.manifest import Manifest
from soundscene.errors import AudioWarning, ManifestError
from soundscene.recipe import AudioRecipe, Recipe
from soundscene.systems.baselines import statistics
from soundscene.types import Recording


def predict_baseline(name: str, train: Sequence[Recording], test: Sequence[Recording]) -> np.ndarray:
    """Names of the scenes [recording] that a baseline predicts for the test recordings, in their order.

    name: a key of `BASELINES`. Features are computed once per file and process, so further folds cost no decoding.
    Raises `ManifestError` for an unknown baseline, `AudioError` for a file that cannot be read.
    """
    if name not in BASELINES:
        raise ManifestError(f"no baseline {name!r}; there are {', '.join(BASELINES)}")
    scenes = np.array([recording.scene for recording in train])
    return BASELINES[name](_features(train), scenes, _features(test))


def _nearest_mean(
    train: Float64[np.ndarray, "row 5 band"], scenes: np.ndarray, test: Float64[np.ndarray, "query 5 band"]
) -> np.ndarray:
    names = np.unique(scenes)
    centres = np.stack([train[scenes == name, 0].mean(axis=0) for name in names])
    return names[np.linalg.norm(test[:, None, 0] - centres, axis=2).argmin(axis=1)]


def _band_statistics(
    train: Float64[np.ndarray, "row 5 band"], scenes: np.ndarray, test: Float64[np.ndarray, "query 5 band"]
) -> np.ndarray:
    machine = make_pipeline(StandardScaler(), SVC(C=10, gamma="scale"))
    return machine.fit(train.reshape(len(train), -1), scenes).predict(test.reshape(len(test), -1))


BASELINES: Mapping[str, Callable[..., np.ndarray]] = MappingProxyType(
    {"nearest-mean": _nearest_mean, "band-statistics": _band_statistics}
)
"""Name -> (training statistics, their scenes, test statistics) -> scenes."""


def _features(recordings: Sequence[Recording]) -> Float64[np.ndarray, "recording 5 band"]:
    # the time of change is part of the key: a corpus rendered anew under the same name is read anew
    return np.stack([_statistics(r.path, r.path.stat().st_mtime_ns) for r in recordings])


@cache
def _statistics(path: Path, changed_ns: int) -> Float64[np.ndarray, "5 band"]:
    """What the system `band-statistics` reads of a recording, by the default recipe."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioWarning)  # notes on the sound are not wanted here
        samples = read_samples(path, AudioRecipe())
    return statistics(samples, Recipe()).astype(np.float64)


def accuracies(manifest: Manifest, column: str) -> dict[str, dict[str, float]]:
    """Baseline -> value of the column -> accuracy by recording with that value as the test part."""
    values = sorted({r.columns.get(column, "") for r in manifest.recordings})
    table: dict[str, dict[str, float]] = {name: {} for name in BASELINES}
    for value in values:
        split = manifest.split(column, value)
        truth = np.array([recording.scene for recording in split.test])
        for name in BASELINES:
            table[name][value] = float(np.mean(predict_baseline(name, split.train, split.test) == truth))
    return table


def main() -> None:
    """Print the table of a manifest."""
    parser = argparse.ArgumentParser(description="How hard is a corpus for two plain classifiers?")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--column", default="fold", help="each of its values is the test part once (default: fold)")
    arguments = parser.parse_args()
    for name, by_value in accuracies(Manifest.read(arguments.manifest), arguments.column).items():
        cells = "  ".join(f"{arguments.column}={value} {accuracy:.3f}" for value, accuracy in by_value.items())
        print(f"{name:16s} {cells}  mean {np.mean(list(by_value.values())):.3f}")


if __name__ == "__main__":
    main()
