"""Sounds of unknown scenes: each scene of a corpus left out in turn, three scores of unfamiliarity compared.

    python benchmarks/open_world.py MANIFEST --test fold=1 [--recipe small] [--set KEY=VALUE ...] [--csv FILE]

For each scene, one training on the others (without the test part), then every test recording is scored: those of the scene
left out are unknown, the others known. Thresholds are set on the training groups that `calibration.held_out` keeps from the
network (raise it, or nothing can be refused: see `threshold_that_keeps`). Printed: AUROC; the share of unknown recordings
accepted where 95 % of known test recordings are; the share of known and of unknown ones really kept at the threshold.
"""

import argparse
import csv
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from soundscene.data.corpus import Corpus, read_corpus
from soundscene.data.manifest import Manifest, parse_test
from soundscene.model import Model
from soundscene.recipe import Recipe
from soundscene.scoring.unfamiliarity import KEEP, Kind, auroc, probability_score, threshold_that_keeps
from soundscene.systems.calibration import learn_familiarity, predict, unfamiliarity
from soundscene.systems.neural import train

Score = Literal["probability"] | Kind
SCORES: tuple[Score, ...] = ("probability", *get_args(Kind))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--test", default="fold=1")
    parser.add_argument("--recipe", default="small")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    recipe = Recipe.load(arguments.recipe).with_settings(arguments.settings)
    listed = Manifest.read(arguments.manifest)
    split = listed.split(*parse_test(arguments.test))
    corpus = read_corpus([*split.train, *split.test], recipe, None)
    audible = {r.path for i, r in enumerate(corpus.recordings) if corpus.voting[corpus.recording == i].any()}
    print(
        f"{arguments.manifest.parent.name}, test {arguments.test}, {recipe.training.epochs} epochs, "
        f"seed {recipe.training.seed}, torch {torch.__version__}"
    )
    print("| left out | known | unknown | held out | score | AUROC | unknown accepted at 95 % | known kept | unknown kept |")
    print("|---|---|---|---|---|---|---|---|---|")
    rows = []
    for scene in listed.scenes:
        known = [r for r in split.train if r.scene != scene]
        trained = train(recipe, corpus.take(known))
        held_paths = {r.path for r in trained.held}
        used = [r for r in known if r.path not in held_paths]
        test = [r for r in split.test if r.path in audible]
        held = [r for r in trained.held if r.path in audible]
        parts = [corpus.take(part) for part in (used, held, test)]
        unknown = np.array([r.scene == scene for r in test])
        for name in SCORES:
            of_held, of_test = scores(trained.model, name, *parts)
            row = measure(of_test[~unknown], of_test[unknown], of_held)
            rows.append({"left out": scene, "score": name, "held out": len(held)} | row)
            print("|", scene, "|", (~unknown).sum(), "|", unknown.sum(), "|", len(held), "|", name, "|", end=" ")
            print(" | ".join(f"{value:.3f}" for value in row.values()), "|", flush=True)
    for name in SCORES:
        of_name = [row for row in rows if row["score"] == name]
        means = [np.mean([row[key] for row in of_name]) for key in list(of_name[0])[3:]]
        print(f"| mean of {len(of_name)} | | | | {name} |", " | ".join(f"{value:.3f}" for value in means), "|")
    if arguments.csv:
        with arguments.csv.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)


def scores(bundle: Model, name: Score, trained: Corpus, held: Corpus, test: Corpus) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the held-out and of the test recordings; trained: those that trained the network."""
    if name == "probability":
        of_held, of_test = (predict(bundle, part, bundle.head) for part in (held, test))
        return probability_score(of_held.calibrated), probability_score(of_test.calibrated)
    found = learn_familiarity(bundle, bundle.embed((trained.features[trained.voting],)), trained, held, name)
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
