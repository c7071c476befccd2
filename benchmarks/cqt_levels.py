"""Whether the classifier or the description makes CQT + HOG weak on textures (docs/decisions/0110).

    python -m benchmarks.cqt_levels MANIFEST

The manifest needs the columns group and fold. The description of `cqt-hog`, and the mean levels of the same constant-Q image
by rows of cells, are classified in three plain ways, standardised, on the folds: nearest mean, linear SVM and SVM with a
Gaussian kernel. Nothing is chosen.
"""

import argparse
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from sklearn.model_selection import PredefinedSplit, cross_val_score
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from soundscene.audio.files import AudioFile
from soundscene.data.manifest import Manifest
from soundscene.recipe import Recipe
from soundscene.systems.constant_q import hop_samples, levels, magnitudes
from soundscene.systems.cqt_hog import CqtHogSettings, columns, describe
from soundscene.types import Recording

WAYS = {
    "nearest mean": NearestCentroid(),
    "linear SVM, C = 0.001": SVC(kernel="linear", C=0.001),
    "linear SVM, C = 0.1": SVC(kernel="linear", C=0.1),
    "Gaussian SVM, C = 3": SVC(C=3),
}


def main() -> None:
    """Print the accuracy of each description in each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    recordings = Manifest.read(parser.parse_args().manifest).recordings
    scenes = [recording.scene for recording in recordings]
    folds = PredefinedSplit(np.unique([r.columns["fold"] for r in recordings], return_inverse=True)[1])
    sizes = np.bincount(folds.test_fold)
    described = zip(*map(descriptions, recordings), strict=True)
    for name, vectors in zip(("description of cqt-hog", "mean levels"), described, strict=True):
        for way, classifier in WAYS.items():
            each = cross_val_score(make_pipeline(StandardScaler(), classifier), np.stack(vectors), scenes, cv=folds)
            print(f"{name}, {len(vectors[0])} values, {way}: {100 * np.average(each, weights=sizes):.1f} %")


def descriptions(recording: Recording) -> tuple[Float64[np.ndarray, " feature"], Float64[np.ndarray, " row"]]:
    """Return the description of `cqt-hog` of a recording, and the mean level of each row of cells of its image."""
    recipe, settings = Recipe.small(), CqtHogSettings()
    rate = recipe.audio.sample_rate
    samples = np.concatenate(list(AudioFile(recording.path, recipe.audio).blocks()))
    magnitude = magnitudes(samples, rate, settings.transform)
    image = levels(magnitude[:, : 1 + len(samples) // hop_samples(rate, settings.transform)], settings.range_db)
    return describe(image, settings).astype(np.float64), columns(image, settings)[1].mean(axis=0)


if __name__ == "__main__":
    main()
