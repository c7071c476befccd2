"""How many recordings a scene are enough: accuracy of several systems by the number of training recordings.

    python -m benchmarks.learning_curves run MANIFEST --cache CACHE --out FOLDER [--column fold] [--folds N]
                                         [--sizes 5,10,20,all] [--systems NAMES] [--recipe small] [--set KEY=VALUE ...]
    python -m benchmarks.learning_curves report FOLDER [FOLDER ...] --plot FILE.svg

`run` draws, for each value of the column as the test part, so many recordings of each scene from the rest: groups in a
random order, of which the first rows are taken, so that a smaller draw is part of a larger one. A scene with fewer has all
it has. Systems: yamnet and att-crnn-mel, each a model of its own with its temperature; fusion, the model of both; and
band-statistics of
`baselines.py`. The fused model has the members of the two, as `train --systems att-crnn-mel,yamnet` would train them. One
file of predictions for each (size, value, system) in FOLDER: one that is there is not made again.

`report` pools the test parts, prints a table of accuracy by recording with its 95 % interval (bootstrap by group) and of log
loss, for the test parts that all systems have, and draws a picture of all folders.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from benchmarks.baselines import predict_baseline
from benchmarks.robust import splits
from benchmarks.robust_members import MemberRecipes
from benchmarks.robust_shifts import corpus_as_it_is, slug, write_arrays
from soundscene.data.corpus import Corpus
from soundscene.data.manifest import Manifest
from soundscene.data.splits import hold_out
from soundscene.errors import AudioWarning
from soundscene.member import BackboneMember
from soundscene.model import Model
from soundscene.recipe import Recipe
from soundscene.scoring.intervals import mean_interval
from soundscene.scoring.metrics import PROBABILITY_FLOOR
from soundscene.systems.backbone import fit_member
from soundscene.systems.calibration import calibrate, predict
from soundscene.systems.neural import train_members
from soundscene.types import Recording, Split

NETWORK, BACKBONE, FUSION, BANDS = "att-crnn-mel", "yamnet", "fusion", "band-statistics"
SYSTEMS = (BACKBONE, FUSION, NETWORK, BANDS)
ALL = "all"
SEED = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run")
    run_parser.add_argument("manifest", type=Path)
    run_parser.add_argument("--cache", type=Path, required=True)
    run_parser.add_argument("--out", type=Path, required=True)
    run_parser.add_argument("--column", default="fold")
    run_parser.add_argument("--folds", type=int, default=0, help="the first so many test parts only (0: all)")
    run_parser.add_argument("--sizes", default="5,10,20,all")
    run_parser.add_argument("--systems", default=",".join(SYSTEMS))
    run_parser.add_argument("--recipe", default="small")
    run_parser.add_argument("--set", action="append", default=[], dest="settings")
    report_parser = commands.add_parser("report")
    report_parser.add_argument("folders", type=Path, nargs="+")
    report_parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", AudioWarning)
    if arguments.command == "run":
        run(arguments)
    else:
        report(arguments.folders, arguments.plot)
    return 0


# --- training ---------------------------------------------------------------------------------------------------------


def run(arguments: argparse.Namespace) -> None:
    """Train and predict what is not there yet, small training parts first."""
    manifest = Manifest.read(arguments.manifest)
    recipe = Recipe.load(arguments.recipe).with_settings([*arguments.settings, "calibration.head=softmax"])
    members = MemberRecipes.of(recipe, f"{NETWORK},{BACKBONE}")
    wanted = [name.strip() for name in arguments.systems.split(",")]
    folder: Path = arguments.out
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"corpus": arguments.manifest.parent.name, "recipe": " ".join([arguments.recipe, *arguments.settings])}
    (folder / "run.json").write_text(json.dumps(facts | {"seed": SEED, "sizes": arguments.sizes.split(",")}), "utf-8")
    corpus = corpus_as_it_is(manifest.recordings, members, arguments.cache)
    parts = list(splits(manifest, f"by={arguments.column}", 0))[: arguments.folds or None]
    for size in arguments.sizes.split(","):
        for name, split in parts:
            drawn = Split(draw(split.train, size), split.test)
            missing = [s for s in wanted if not (folder / file_name(size, name, s)).exists()]
            if missing:
                started = time.perf_counter()
                _fill(folder, size, name, drawn, corpus, members, missing)
                took = time.perf_counter() - started
                print(f"{size}, {name}: {len(drawn.train)} recordings, {', '.join(missing)}, {took:.0f} s", flush=True)


def draw(recordings: Sequence[Recording], size: str) -> tuple[Recording, ...]:
    """So many recordings of each scene, group by group in a random order that does not depend on the number.

    Args:
        recordings: Of the training side.
        size: A number, or "all".
    """
    if size == ALL:
        return tuple(recordings)
    chosen: list[Recording] = []
    for scene in sorted({r.scene for r in recordings}):
        of_scene = [r for r in recordings if r.scene == scene]
        groups = sorted({r.group for r in of_scene})
        order = np.random.default_rng([SEED, len(groups)]).permutation(len(groups))
        chosen += [r for i in order for r in of_scene if r.group == groups[i]][: int(size)]
    return tuple(chosen)


def _fill(
    folder: Path, size: str, name: str, split: Split, corpus: Corpus, members: MemberRecipes, systems: Sequence[str]
) -> None:
    """Train what some systems need, and keep the predictions of each."""
    truth = np.array([r.scene for r in split.test])
    base: dict[str, np.ndarray] = {"truth": truth, "groups": np.array([r.group for r in split.test])}
    if BANDS in systems:
        right = predict_baseline(BANDS, split.train, split.test) == truth
        write_arrays(folder / file_name(size, name, BANDS), right=right.astype(np.float64), **base)
    if not {NETWORK, BACKBONE, FUSION} & set(systems):
        return
    models = _models(members, corpus.take(split.train), need_network=bool({NETWORK, FUSION} & set(systems)))
    test = corpus.take(split.test)
    for system in models.keys() & set(systems):
        columns = {NETWORK: [0], BACKBONE: [1], FUSION: [0, 1]}[system]
        posterior = predict(models[system], _of(test, columns), "softmax").calibrated
        right = np.array(models[system].scenes)[posterior.argmax(axis=1)] == truth
        of_truth = posterior[np.arange(len(truth)), [models[system].scenes.index(scene) for scene in truth]]
        loss = -np.maximum(of_truth, np.log(PROBABILITY_FLOOR))
        write_arrays(folder / file_name(size, name, system), right=right.astype(np.float64), loss=loss, **base)


def _models(members: MemberRecipes, train: Corpus, need_network: bool) -> dict[str, Model]:
    """The network's model, the backbone's, and that of both: each with what `train_members` fits to the held-out part."""
    recipe = members.recipes[NETWORK]
    kept, held, _ = hold_out(train.recordings, recipe.calibration.held_out, np.random.default_rng(recipe.training.seed))
    part, held_part = train.take(kept), train.take(held)
    scenes = tuple(sorted({r.scene for r in train.recordings}))
    backbone, embeddings, _ = fit_member(members.backbones[BACKBONE], _of(part, [1]), scenes)
    blank = Model(scenes, (backbone,), {"softmax": 1.0, "svm": 1.0})
    models = {BACKBONE: calibrate(blank, [embeddings], _of(part, [1]), _of(held_part, [1]))}
    if need_network:
        trained = train_members({NETWORK: recipe}, _of(train, [0]), fabric=Fabric(accelerator="cpu", devices=1)).model
        models[NETWORK] = trained
        models[FUSION] = fused(trained, backbone, embeddings, part, held_part)
    return models


def fused(network: Model, backbone: BackboneMember, embeddings: np.ndarray, part: Corpus, held: Corpus) -> Model:
    """The model of a trained network and a fitted backbone.

    Args:
        network: Model of the network alone, trained on `part` with `held` held out.
        backbone: Fitted to `part`.
        embeddings: Of the voting segments of `part`, by the backbone.
        part: With the features of both, the network's first.
        held: Likewise.
    """
    both = replace(network, members=(*network.members, backbone))
    of_network = network.members[0].embed(part.features[part.voting])
    return calibrate(both, [of_network, embeddings], part, held)


def _of(corpus: Corpus, columns: Sequence[int]) -> Corpus:
    """The corpus with the features of some members."""
    features = (corpus.features, *corpus.further)
    return replace(corpus, features=features[columns[0]], further=tuple(features[i] for i in columns[1:]))


def file_name(size: str, name: str, system: str) -> str:
    """File of the predictions of a system trained on so many recordings a scene."""
    return f"{size}-{slug(name)}-{system}.npz"


# --- report -----------------------------------------------------------------------------------------------------------


def report(folders: Sequence[Path], plot: Path | None) -> None:
    """Print the table of each folder, and draw them side by side."""
    curves: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for folder in folders:
        facts = json.loads((folder / "run.json").read_text("utf-8"))
        curves[facts["corpus"]] = {system: rows for system in SYSTEMS if (rows := _curve(folder, facts["sizes"], system))}
        print(f"\n{facts['corpus']}; recipe {facts['recipe']}, seed {facts['seed']}\n")
        print("| recordings a scene | " + " | ".join(curves[facts["corpus"]]) + " |")
        print("|---" * (1 + len(curves[facts["corpus"]])) + "|")
        for size in facts["sizes"]:
            cells = [_cell(next((r for r in rows if r["size"] == size), None)) for rows in curves[facts["corpus"]].values()]
            print(f"| {size} | " + " | ".join(cells) + " |")
    if plot is not None:
        from benchmarks.learning_curves_figure import draw_curves

        draw_curves(curves, plot)


def _curve(folder: Path, sizes: Sequence[str], system: str) -> list[dict[str, Any]]:
    """Accuracy with its interval, and log loss, for each size that there is."""
    rows: list[dict[str, Any]] = []
    for size in sizes:
        held = [np.load(path) for path in sorted(folder.glob(f"{size}-*-{system}.npz"))]
        if not held:
            continue
        right, groups = (np.concatenate([h[key] for h in held]) for key in ("right", "groups"))
        interval = mean_interval(right, groups, np.random.default_rng(0))
        loss = float(np.concatenate([h["loss"] for h in held]).mean()) if "loss" in held[0] else None
        rows.append({"size": size, "accuracy": interval, "loss": loss, "folds": len(held), "recordings": len(right)})
    return rows


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    accuracy = row["accuracy"]
    loss = "" if row["loss"] is None else f"; {row['loss']:.2f}"
    folds = f"{row['folds']} fold" + ("s" if row["folds"] > 1 else "")
    return f"{accuracy.estimate:.3f} ({accuracy.low:.3f} to {accuracy.high:.3f}){loss}; {folds}"


if __name__ == "__main__":
    sys.exit(main())
