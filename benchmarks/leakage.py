"""What excerpts of one recording on both sides of a split do to the accuracy.

    python benchmarks/leakage.py MANIFEST [--seeds 0,1,2] [--folds 5]

The manifest needs a column `group` with the recording that each excerpt was cut from. The corpus is dealt into folds twice
for each seed, by the same function: once by group, once with every excerpt as its own group. A classifier that learns
nothing but band statistics (benchmarks/baselines.py) is trained on all folds but one and tested on that one; the difference
of the two accuracies is leakage. Its interval resamples groups.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from baselines import predict_baseline
from jaxtyping import Float64

from soundscene.data.manifest import Manifest
from soundscene.data.splits import deal_folds
from soundscene.scoring.intervals import mean_interval, paired_difference
from soundscene.types import Recording

BASELINE = "band-statistics"


def main() -> None:
    """Print both accuracies and their difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--seeds", default="0,1,2", help="of the folds, comma-separated (default: 0,1,2)")
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    seeds = [int(text) for text in arguments.seeds.split(",")]
    grouped = Manifest.read(arguments.manifest).recordings
    ungrouped = [replace(recording, group=str(recording.path)) for recording in grouped]
    groups = np.array([recording.group for recording in grouped])
    sizes = Counter(groups.tolist())
    siblings = np.array([sizes[group] > 1 for group in groups])
    print(
        f"{len(grouped)} excerpts of {len(sizes)} recordings; {siblings.sum()} have another excerpt of theirs in the corpus"
    )
    honest = mean_correct(grouped, arguments.folds, seeds)
    leaking = mean_correct(ungrouped, arguments.folds, seeds)
    for name, chosen in (("all excerpts", np.ones(len(grouped), bool)), ("those with another excerpt", siblings)):
        draws = np.random.default_rng(0)
        part = groups[chosen]
        for label, correct in (("grouped", honest), ("ungrouped", leaking)):
            interval = mean_interval(correct[chosen], part, draws)
            print(f"{name:28s} {label:10s} {interval.estimate:.3f}  {interval.low:.3f} to {interval.high:.3f}")
        gain = paired_difference(leaking[chosen], honest[chosen], part, draws)
        print(f"{name:28s} difference {gain.estimate:+.3f}  {gain.low:+.3f} to {gain.high:+.3f}")


def mean_correct(recordings: Sequence[Recording], n_folds: int, seeds: Sequence[int]) -> Float64[np.ndarray, " excerpt"]:
    """Share of the seeds for which each excerpt is classified correctly when its fold is the test part.

    Args:
        recordings: excerpts; their groups decide what may not be split.
        n_folds: number of folds.
        seeds: one deal of folds each.
    """
    correct = np.zeros((len(seeds), len(recordings)))
    for row, seed in enumerate(seeds):
        dealt, _ = deal_folds(recordings, np.random.default_rng(seed), n_folds)
        folds = np.array([recording.columns["fold"] for recording in dealt])
        for fold in np.unique(folds):
            train = [recording for recording, other in zip(dealt, folds, strict=True) if other != fold]
            test = [recording for recording, other in zip(dealt, folds, strict=True) if other == fold]
            correct[row, folds == fold] = predict_baseline(BASELINE, train, test) == np.array(
                [recording.scene for recording in test]
            )
    return correct.mean(axis=0)


if __name__ == "__main__":
    main()
