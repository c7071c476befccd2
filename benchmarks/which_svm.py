"""Which linear SVM replaces the softmax layer: liblinear one-vs-rest (ours) against libsvm one-against-one.

    python benchmarks/which_svm.py embeddings.npz

The file holds embeddings float32 [segment, feature], labels int [segment], groups [segment], and the masks train and test
bool [segment]. Without a file, embedding-like data are simulated. Numbers of record: docs/decisions/0030-which-svm.md.
"""

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from soundscene.scoring.fusion import product_by_recording
from soundscene.scoring.metrics import evaluate
from soundscene.training.calibrate import fit_svm

Data = dict[str, np.ndarray]
FOLDS, SEED = 5, 0


def simulate(n_scenes: int = 10, n_groups: int = 16, n_segments: int = 12, n_features: int = 256) -> Data:
    """Tanh features: a centre a scene, a shift a place, noise a segment; a quarter of the places is for the test.

    Test places are shifted twice as far: the network was fitted to the others and has drawn them to their centres.
    """
    generator = np.random.default_rng(SEED)
    groups = np.repeat(np.arange(n_scenes * n_groups), n_segments)
    labels, test = groups // n_groups, groups % 4 == 0
    shift = 0.30 * generator.standard_normal((n_scenes * n_groups, n_features))
    shift[::4] *= 2
    centres = 0.12 * generator.standard_normal((n_scenes, n_features))
    noise = 0.5 * generator.standard_normal((len(groups), n_features))
    embeddings = np.tanh(centres[labels] + shift[groups] + noise).astype(np.float32)
    return {"embeddings": embeddings, "labels": labels, "groups": groups, "train": ~test, "test": test}


def ours(train: Data, n_scenes: int, c: float) -> Callable[[np.ndarray], np.ndarray]:
    """Liblinear, squared hinge, one-vs-rest, Platt by group: what the package ships."""
    head, notes = fit_svm(train["embeddings"], train["labels"], train["groups"], n_scenes, c, FOLDS, SEED)
    for note in notes:
        print("note:", note)
    return lambda x: head(torch.from_numpy(x)).numpy()


def libsvm_by_group(train: Data, n_scenes: int, c: float) -> Callable[[np.ndarray], np.ndarray]:
    """Libsvm, hinge, one-against-one votes as one-vs-rest scores, the same Platt by the same folds."""
    x, y = train["embeddings"].astype(np.float64), train["labels"]
    splits = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED).split(x, y, train["groups"]))
    svm = make_pipeline(StandardScaler(), SVC(kernel="linear", C=c, cache_size=1000))
    model = CalibratedClassifierCV(svm, method="sigmoid", cv=splits, ensemble=False)  # pyright: ignore[reportArgumentType]
    return _in_logs(model.fit(x, y).predict_proba, np.unique(y), n_scenes)


def libsvm_its_own(train: Data, n_scenes: int, c: float) -> Callable[[np.ndarray], np.ndarray]:
    """Libsvm as the first author's other code runs it: one-against-one, its own Platt by segment, pairwise coupling."""
    x, y = train["embeddings"].astype(np.float64), train["labels"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # scikit-learn deprecates probability=True, for good reasons
        svm = SVC(kernel="linear", C=c, cache_size=1000, random_state=SEED).set_params(probability=True)
        model = make_pipeline(StandardScaler(), svm).fit(x, y)
    return _in_logs(model.predict_proba, np.unique(y), n_scenes)


def _in_logs(
    predict: Callable[[np.ndarray], np.ndarray], classes: np.ndarray, n_scenes: int
) -> Callable[[np.ndarray], np.ndarray]:
    def log_posterior_of(x: np.ndarray) -> np.ndarray:
        log_posterior = np.full((len(x), n_scenes), -np.inf)
        with np.errstate(divide="ignore"):
            log_posterior[:, classes] = np.log(predict(x.astype(np.float64)))
        return log_posterior

    return log_posterior_of


def main() -> None:
    """Fit each on the training part and print its scores on the test part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", help="npz with embeddings, labels, groups, train, test")
    parser.add_argument("--c", type=float, nargs="+", default=[0.1, 0.01, 0.001])
    arguments = parser.parse_args()
    data: Data = dict(np.load(arguments.file)) if arguments.file else simulate()
    n_scenes = int(data["labels"].max()) + 1
    train, test = ({k: data[k][data[part]] for k in ("embeddings", "labels", "groups")} for part in ("train", "test"))
    # The prediction of a whole group and scene stands for a recording's: the file does not say which segments make one.
    pairs, index = np.unique(
        np.stack([np.unique(test["groups"], return_inverse=True)[1], test["labels"]]), axis=1, return_inverse=True
    )
    print(f"{len(train['labels'])} segments train, {len(test['labels'])} test in {pairs.shape[1]} groups, {n_scenes} scenes")
    print(f"{'':15s} {'C':>6s}  segment: accuracy  log loss  group: accuracy  log loss   fit s  ratio")
    for c in arguments.c:
        base = 0.0
        for fit in (ours, libsvm_by_group, libsvm_its_own):
            start = time.perf_counter()
            classify = fit(train, n_scenes, c)
            seconds = time.perf_counter() - start
            base = base or seconds
            posterior = classify(test["embeddings"])
            by_segment = evaluate(posterior, test["labels"], n_scenes)
            by_group = evaluate(product_by_recording(posterior, index.ravel(), pairs.shape[1]), pairs[1], n_scenes)
            print(
                f"{fit.__name__:15s} {c:6g} {by_segment.accuracy:18.4f} {by_segment.log_loss:9.4f} "
                f"{by_group.accuracy:16.4f} {by_group.log_loss:9.4f} {seconds:7.2f} {seconds / base:6.1f}"
            )


if __name__ == "__main__":
    main()
