"""scikit-learn on real recordings: check_estimator, clone, and a grid search by group of CalibratedSVC on frozen features.

    python -m benchmarks.grid_search MANIFEST [--backbone yamnet.safetensors] [--folds 5] [--checks] [--json FILE]

Features are one vector a recording: the embeddings of a frozen backbone, or, without one, band statistics, which need no
file. They are computed once. The search is nested: an outer fold by group gives the accuracy, and for each of them an
inner grid search by group chooses C, so that no recording of a test group has part in the choice. `groups` reach the
splitters and `CalibratedSVC.fit` by metadata routing. Times are of this process, in seconds of CPU and of the clock.
"""

import argparse
import json
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from soundscene.data.manifest import Manifest
from soundscene.errors import AudioWarning
from soundscene.estimators import CalibratedSVC, SceneFeatures
from soundscene.model import Model
from soundscene.predictor import Predictor
from soundscene.recipe import Recipe
from soundscene.scoring.intervals import mean_interval
from soundscene.systems.transfer import members_of

C = [0.001, 0.01, 0.1, 1.0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--backbone", type=Path, help="file that `soundscene backbone` wrote; default: band statistics")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--checks", action="store_true", help="also run scikit-learn's estimator checks")
    parser.add_argument("--json", type=Path, help="write the results here")
    args = parser.parse_args()
    warnings.simplefilter("ignore", AudioWarning)
    sklearn.set_config(enable_metadata_routing=True)
    times: dict[str, tuple[float, float]] = {}
    facts: dict[str, Any] = {"scikit-learn": sklearn.__version__, "C": C}

    if args.checks:
        with timed(times, "check_estimator"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = check_estimator(CalibratedSVC(), on_fail=None, on_skip=None)
        facts["checks"] = dict(Counter(result["status"] for result in results))
    rows = Manifest.read(args.manifest).recordings
    paths, groups = [row.path for row in rows], np.array([row.group for row in rows])
    scenes = np.array([row.scene for row in rows])
    frozen: Any = clone(SceneFeatures(model=predictor_of(args.backbone, sorted(set(scenes))) if args.backbone else None))
    with timed(times, "features"):
        X = frozen.fit_transform(paths)
    facts |= {"recordings": len(rows), "groups": len(set(groups)), "features": list(X.shape)}

    with timed(times, "nested grid search"):
        right, chosen = nested(X, scenes, groups, args.folds)
    found = mean_interval(right, list(groups), np.random.default_rng(0))
    facts |= {"chosen C": chosen, "accuracy": found.estimate, "interval": [found.low, found.high]}
    with timed(times, "grid search on all"):
        search = grid(args.folds).fit(X, scenes, groups=groups)
    facts["inner accuracy by C"] = dict(zip(C, search.cv_results_["mean_test_score"].tolist(), strict=True))
    facts["seconds"] = {name: {"cpu": round(cpu, 1), "clock": round(clock, 1)} for name, (cpu, clock) in times.items()}
    text = json.dumps(facts, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")
    return 0


def grid(folds: int) -> GridSearchCV:
    """A search for C by group: in a pipeline, as a user would have it, whose first step leaves the vectors as they are."""
    svc = CalibratedSVC().set_fit_request(groups=True)  # pyright: ignore[reportAttributeAccessIssue]
    pipeline = make_pipeline(FunctionTransformer(), svc)
    return GridSearchCV(pipeline, {"calibratedsvc__C": C}, cv=GroupKFold(folds))


def nested(X: np.ndarray, y: np.ndarray, groups: np.ndarray, folds: int) -> tuple[np.ndarray, list[float]]:
    """Whether each recording was right when its group was tested, and the C of each outer fold."""
    right, chosen = np.zeros(len(y), bool), []
    for train, test in GroupKFold(folds).split(X, y, groups):
        assert not set(groups[train]) & set(groups[test])
        search: Any = clone(grid(folds))
        search.fit(X[train], y[train], groups=groups[train])
        right[test] = search.predict(X[test]) == y[test]
        chosen.append(search.best_params_["calibratedsvc__C"])
    return right, chosen


def predictor_of(backbone: Path, scenes: list[str]) -> Predictor:
    """A model of a frozen backbone without trained heads, whose embeddings are the features."""
    (member,) = members_of({"yamnet": Recipe.small()}, backbone).values()
    return Predictor(Model(tuple(scenes), (member,), {"svm": 1.0, "softmax": 1.0}), "svm")


@contextmanager
def timed(times: dict[str, tuple[float, float]], name: str) -> Iterator[None]:
    cpu, clock = time.process_time(), time.perf_counter()
    yield
    times[name] = (time.process_time() - cpu, time.perf_counter() - clock)


if __name__ == "__main__":
    raise SystemExit(main())
