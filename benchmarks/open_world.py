"""Sounds of unknown scenes: each scene of a corpus left out once, the scores of unfamiliarity compared.

    python -m benchmarks.open_world MANIFEST --test fold=1 [--together 1] [--recipe small] [--set KEY=VALUE ...]
                                    [--systems NAMES] [--backbone FILE] [--cache CACHE] [--csv FILE]

One training for each scene, or for each `--together` scenes, on the others (without the test part). Then recordings are
scored: those of the scenes left out are unknown, the test recordings of the others known. With `--together 1` the unknown
ones are those of the test part. With more, all recordings of the scenes left out are taken, since no network has heard any
of them, and each scene has a row of its own. CACHE keeps the images, as for `robust.py`. `--systems` names the members of
each model, as that of `train`; without it there is one, the recipe's network. The energy is left out where a member is a
frozen backbone.

Thresholds are set on the training groups that `calibration.held_out` keeps from the network (raise it, or nothing can be
refused: see `threshold_that_keeps`). Printed: AUROC; the share of unknown recordings accepted where 95 % of known test
recordings are; the share of known and of unknown ones really kept at the threshold.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from benchmarks.robust_members import MemberRecipes
from benchmarks.robust_shifts import corpus_as_it_is
from soundscene.data.corpus import Corpus, read_features
from soundscene.data.manifest import Manifest, parse_test
from soundscene.model import Model
from soundscene.recipe import Recipe
from soundscene.scoring.unfamiliarity import KEEP, Kind, auroc, probability_score, threshold_that_keeps
from soundscene.systems.calibration import learn_familiarity, predict, unfamiliarity
from soundscene.systems.neural import train_members
from soundscene.types import Split

Score = Literal["probability"] | Kind
SCORES: tuple[Score, ...] = ("probability", *get_args(Kind))
WITHOUT_ENERGY: tuple[Score, ...] = ("probability", "mahalanobis", "relative-mahalanobis")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--test", default="fold=1")
    parser.add_argument("--recipe", default="small")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--together", type=int, default=1, help="scenes that one training leaves out")
    parser.add_argument("--systems")
    parser.add_argument("--backbone", type=Path)
    parser.add_argument("--cache", type=Path, help="folder of images")
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    recipe = Recipe.load(arguments.recipe).with_settings(arguments.settings)
    listed = Manifest.read(arguments.manifest)
    split = listed.split(*parse_test(arguments.test))
    members = MemberRecipes.of(recipe, arguments.systems, arguments.backbone)
    if arguments.cache:
        corpus = corpus_as_it_is(listed.recordings, members, arguments.cache)
    else:
        corpus = read_features(listed.recordings, members.audio, members.source(training=True))
    of_systems = f"systems {arguments.systems}, " if arguments.systems else ""
    print(
        f"{arguments.manifest.parent.name}, test {arguments.test}, {arguments.together} scene(s) left out at a time, "
        f"{of_systems}recipe {' '.join([arguments.recipe, *arguments.settings])}, seed {recipe.training.seed}, "
        f"torch {torch.__version__}"
    )
    print("| left out | known | unknown | held out | score | AUROC | unknown accepted at 95 % | known kept | unknown kept |")
    print("|---|---|---|---|---|---|---|---|---|")
    rows = []
    n_groups = -(-len(listed.scenes) // arguments.together)
    for number in range(n_groups):
        # every n-th, so that scenes beside each other in the alphabet, which may be alike, are not left out together
        rows += left_out(listed.scenes[number::n_groups], split, members, corpus)
    for name in SCORES:
        of_name = [row for row in rows if row["score"] == name]
        if not of_name:
            continue
        means = [np.mean([row[key] for row in of_name]) for key in list(of_name[0])[3:]]
        print(f"| mean of {len(of_name)} | | | | {name} |", " | ".join(f"{value:.3f}" for value in means), "|")
    if arguments.csv:
        with arguments.csv.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)


def left_out(scenes: Sequence[str], split: Split, members: MemberRecipes, corpus: Corpus) -> list[dict[str, Any]]:
    """Train on the other scenes and score these, one row for each of them and each score.

    Args:
        scenes: One for unknown recordings of the test part only, several for all their recordings.
        split: Training and test part.
        members: Of the model.
        corpus: All recordings.
    """
    part = corpus.take([r for r in split.train if r.scene not in scenes])
    trained = train_members(members.recipes, part, backbones=members.backbones)
    audible = {r.path for i, r in enumerate(corpus.recordings) if corpus.voting[corpus.recording == i].any()}
    held = [r for r in trained.held if r.path in audible]
    held_paths = {r.path for r in trained.held}
    used = [r for r in split.train if r.scene not in scenes and r.path not in held_paths]
    unheard = split.test if len(scenes) == 1 else corpus.recordings
    known = [r for r in split.test if r.scene not in scenes and r.path in audible]
    unknown = [r for r in unheard if r.scene in scenes and r.path in audible]
    parts = [corpus.take(part) for part in (used, held, [*known, *unknown])]
    rows: list[dict[str, Any]] = []
    for name in SCORES if not members.backbones else WITHOUT_ENERGY:
        of_held, of_test = scores(trained.model, name, *parts)
        for scene in scenes:
            of_scene = of_test[len(known) :][[r.scene == scene for r in unknown]]
            row = measure(of_test[: len(known)], of_scene, of_held)
            rows.append({"left out": scene, "score": name, "held out": len(held)} | row)
            print("|", scene, "|", len(known), "|", len(of_scene), "|", len(held), "|", name, "|", end=" ")
            print(" | ".join(f"{value:.3f}" for value in row.values()), "|", flush=True)
    return rows


def scores(bundle: Model, name: Score, trained: Corpus, held: Corpus, test: Corpus) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the held-out and of the test recordings; trained: those that trained the network."""
    if name == "probability":
        of_held, of_test = (predict(bundle, part, bundle.head) for part in (held, test))
        return probability_score(of_held.calibrated), probability_score(of_test.calibrated)
    found = learn_familiarity(bundle, bundle.embed(trained.of_members(trained.voting)), trained, held, name)
    return found.calibration_scores, unfamiliarity(replace(bundle, familiarity=found), test)


def measure(known: np.ndarray, unknown: np.ndarray, held: np.ndarray) -> dict[str, float]:
    """The four figures of a row."""
    at_test = float(np.quantile(known, KEEP, method="higher"))  # as if the test part were known: a figure, not a threshold
    threshold = threshold_that_keeps(held, KEEP)
    return {
        "auroc": auroc(known, unknown),
        "accepted": float((unknown <= at_test).mean()),
        "known kept": float((known <= threshold).mean()),
        "unknown kept": float((unknown <= threshold).mean()),
    }


if __name__ == "__main__":
    sys.exit(main())
