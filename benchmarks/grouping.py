"""Precision and recall of the groups that `scan` finds by name, over the naming schemes of many programs.

    python -m benchmarks.grouping

Of each scheme: files, recordings, groups found, and over all pairs of files of one scene the precision (share of joined
pairs that are of one recording) and recall (share of pairs of one recording that are joined), over ten seeds.
"""

from pathlib import PurePosixPath

import numpy as np

from soundscene.data.grouping import FileName, group_by_name
from tests.support.names import SCHEMES, files_of, pair_scores

SEEDS = range(10)


def named(scene: str, path: str) -> FileName:
    """A file as `scan` sees it."""
    parts = PurePosixPath(path)
    return FileName(scene, "/".join(parts.parts[1:-1]), parts.stem)


def scores(scheme: str, seed: int) -> tuple[int, int, int, float, float]:
    """Files, recordings, groups, precision and recall."""
    rows = files_of(scheme, seed)
    found = group_by_name([named(scene, path) for scene, path, _ in rows]).groups
    truth = [f"{scene}/{recording}" for scene, _, recording in rows]
    precision, recall, _ = pair_scores(truth, list(found))
    return len(rows), len(set(truth)), len(set(found)), precision, recall


def main() -> None:
    """Print the table."""
    print(f"{'scheme':<46} files recordings groups precision recall")
    for scheme in SCHEMES:
        mean = np.mean([scores(scheme, seed) for seed in SEEDS], axis=0)
        print(f"{scheme:<46} {mean[0]:5.0f} {mean[1]:10.0f} {mean[2]:6.0f} {mean[3]:9.3f} {mean[4]:6.3f}")


if __name__ == "__main__":
    main()
