"""How much a change of the sound costs: one model file per test part, its predictions as they are and under shifts.

    python -m benchmarks.robust run MANIFEST --cache CACHE --model-folder FOLDER [--splits by=fold] [--parts N] [--folds N]
                                    [--systems NAMES] [--backbone FILE] [--recipe small] [--set KEY=VALUE ...]
                                    [--shifts "16 kHz,-20 dB"]
    python -m benchmarks.robust compare FOLDER OTHER

`run` trains one model per value of a column (by=fold; by=source leaves one source out; `--parts 5` deals the values into
five parts), keeps it in FOLDER, and predicts the recordings of its test part, as they are and under the shifts of
`robust_shifts.py`. Predictions are pooled over the parts, so that each recording counts once. A model that is there is not
trained again, a prediction that is there is not made again; all models share the features and the sound in CACHE.
`--systems` names the members of each model, as that of `train`; without it there is one, the recipe's network.
`--folds 1` trains the first part only.

Printed and written to FOLDER as robust.json and robust.md, for each head that a member has and each shift: accuracy by
recording, points lost with their 95 % interval (paired, bootstrap over groups), log loss, and calibration error, alone and
minus the mean of 1,000 draws from a perfectly calibrated model with the same confidences. `compare` does the same for two
folders, OTHER minus FOLDER, on the recordings and shifts that both have.
"""

import argparse
import hashlib
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64
from lightning_fabric import Fabric

from benchmarks.robust_members import MemberRecipes
from benchmarks.robust_shifts import AS_IT_IS, SHIFTS, corpus_as_it_is, shifted_corpus, slug, write_arrays
from soundscene.bundle import load_model, save_model
from soundscene.data.corpus import Corpus
from soundscene.data.manifest import Manifest
from soundscene.data.splits import check_leakage, group_folds
from soundscene.errors import AudioWarning, ManifestError, SceneError
from soundscene.member import BackboneMember, NetworkMember
from soundscene.model import Model
from soundscene.recipe import Recipe
from soundscene.scoring.intervals import Interval, paired_difference
from soundscene.scoring.metrics import CALIBRATION_BINS, PROBABILITY_FLOOR, expected_calibration_error
from soundscene.systems.calibration import HEADS, predict
from soundscene.systems.neural import train_members
from soundscene.types import Recording, Split

DRAWS = 1000
POSTERIOR = Float64[np.ndarray, "recording scene"]


@dataclass(frozen=True)
class Pooled:
    """Predictions of one head for one kind of sound, pooled over the parts.

    posterior: natural logs, with the temperature; truth: numbers of scenes; groups and names: of each recording.
    """

    posterior: POSTERIOR
    truth: Int64[np.ndarray, " recording"]
    groups: list[str]
    names: list[str]

    @property
    def right(self) -> Float64[np.ndarray, " recording"]:
        """1 where the most probable scene is the true one, else 0."""
        return (self.posterior.argmax(axis=1) == self.truth).astype(np.float64)

    @property
    def loss(self) -> Float64[np.ndarray, " recording"]:
        """Log loss of each recording, in nats."""
        of_truth = self.posterior[np.arange(len(self.truth)), self.truth]
        return -np.maximum(of_truth, np.log(PROBABILITY_FLOOR))

    def take(self, names: Sequence[str]) -> "Pooled":
        """The same of some recordings, in their order."""
        place = {name: i for i, name in enumerate(self.names)}
        rows = np.array([place[name] for name in names])
        return Pooled(self.posterior[rows], self.truth[rows], [self.groups[i] for i in rows], list(names))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run")
    run_parser.add_argument("manifest", type=Path)
    run_parser.add_argument("--cache", type=Path, required=True)
    run_parser.add_argument("--model-folder", type=Path, required=True)
    run_parser.add_argument("--splits", default="by=fold", help="by=COLUMN: each value once as the test part")
    run_parser.add_argument("--parts", type=int, default=0, help="deal the values into so many parts (0: one part each)")
    run_parser.add_argument("--folds", type=int, default=0, help="the first so many parts only (0: all)")
    run_parser.add_argument("--systems", help="members of each model, as of train")
    run_parser.add_argument("--backbone", type=Path, help="file of the frozen backbone among them")
    run_parser.add_argument("--recipe", default="small")
    run_parser.add_argument("--set", action="append", default=[], dest="settings")
    run_parser.add_argument("--shifts", default=",".join(SHIFTS), help="comma-separated names; by default all")
    compare_parser = commands.add_parser("compare")
    compare_parser.add_argument("folder", type=Path)
    compare_parser.add_argument("other", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", AudioWarning)
    try:
        if arguments.command == "run":
            run(arguments)
        else:
            compare(arguments.folder, arguments.other)
    except SceneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(arguments: argparse.Namespace) -> None:
    manifest = Manifest.read(arguments.manifest)
    recipe = Recipe.load(arguments.recipe).with_settings(arguments.settings)
    members = MemberRecipes.of(recipe, arguments.systems, arguments.backbone)
    shifts = [name.strip() for name in arguments.shifts.split(",") if name.strip()]
    if unknown := [name for name in shifts if name not in SHIFTS]:
        raise ManifestError(f"--shifts {unknown[0]!r}: there are {', '.join(SHIFTS)}")
    parts = list(splits(manifest, arguments.splits, arguments.parts))
    chosen = parts[: arguments.folds or None]
    folder: Path = arguments.model_folder
    folder.mkdir(parents=True, exist_ok=True)
    corpus = corpus_as_it_is(manifest.recordings, members, arguments.cache)
    hashes = {r.path: h for r, h in zip(corpus.recordings, corpus.content_hash, strict=True)}
    models: dict[str, tuple[Path, Split]] = {}
    for name, split in chosen:
        check_leakage(split, hashes)
        models[name] = make_model(folder, name, split, members, corpus), split
    for shift in (AS_IT_IS, *shifts):
        shifted: Corpus | None = corpus if shift == AS_IT_IS else None
        for name, (path, split) in models.items():
            kept = prediction_file(folder, name, shift, path)
            if kept.exists():
                continue
            if shifted is None:
                shifted = shifted_corpus(manifest.recordings, members, shift, arguments.cache)
            keep_prediction(kept, load_model(path), shifted.take(split.test))
    facts = {
        "corpus": arguments.manifest.parent.name,
        "split": f"{arguments.splits}, {len(chosen)} of {len(parts)} parts: {', '.join(models)}",
        "recipe": " ".join([arguments.recipe, *arguments.settings]),
        "seed": recipe.training.seed,
        "systems": arguments.systems or "",
        "epoch": ", ".join(sorted({epoch for path, _ in models.values() for epoch in epochs_of(load_model(path))})),
        "heads": [*HEADS],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "models": {name: str(path.name) for name, (path, _) in models.items()},
        "shifts": [AS_IT_IS, *shifts],
    }
    report(folder, facts)


# --- parts and models -------------------------------------------------------------------------------------------------


def splits(manifest: Manifest, text: str, n_parts: int) -> Iterator[tuple[str, Split]]:
    """Test parts by the values of a column, with their names; a scene that only the test part has is left out of it.

    Args:
        manifest: The corpus.
        text: As "by=fold".
        n_parts: Parts that the values are dealt into, 0 for one part each.
    """
    by, _, column = text.partition("=")
    if by != "by" or not column:
        raise ManifestError(f"--splits {text!r}: expected by=COLUMN, for example by=fold")
    values = [value or "" for value in manifest.values(column)]
    parts = dict(zip(values, values, strict=True))
    if n_parts:
        of_row, _, notes = group_folds(values, [r.scene for r in manifest.recordings], n_parts, np.random.default_rng(0))
        for note in notes:
            print(f"note: {note}")
        parts = {value: str(part + 1) for value, part in zip(values, of_row, strict=True)}
    for part in sorted(set(parts.values())):
        inside = [parts[value] == part for value in values]
        test = [r for r, own in zip(manifest.recordings, inside, strict=True) if own]
        rest = tuple(r for r, own in zip(manifest.recordings, inside, strict=True) if not own)
        known = {r.scene for r in rest}
        if lost := sorted({r.scene for r in test} - known):
            print(f"note: {column} {part}: no training recording of {', '.join(lost)}, left out of the test")
        if tested := tuple(r for r in test if r.scene in known):
            yield f"{column}={part}", Split(rest, tested)


def make_model(folder: Path, name: str, split: Split, members: MemberRecipes, corpus: Corpus) -> Path:
    """The model of a part, trained unless it is there."""
    path = folder / f"{slug(name)}.safetensors"
    if path.exists():
        found = load_model(path)
        if recipes_of(found) != members.recipes or found.provenance.get("test") != name:
            raise ManifestError(f"{path}: was trained with other settings, or for another part; use another --model-folder")
        return path
    started = time.perf_counter()
    checkpoints = {member: folder / f"{slug(name)}-{slug(member)}.checkpoint" for member in members.recipes}
    result = train_members(
        members.recipes,
        corpus.take(split.train),
        fabric=Fabric(accelerator="cpu", devices=1),
        checkpoint=checkpoints.get,
        provenance={"manifest": split.train[0].path.parent.parent.name, "test": name},
        backbones=members.backbones,
    )
    save_model(result.model, path)
    for checkpoint in checkpoints.values():
        checkpoint.unlink(missing_ok=True)
    print(f"{path.name}: {len(split.train)} recordings, {time.perf_counter() - started:.0f} s", flush=True)
    return path


def recipes_of(model: Model) -> dict[str, Recipe]:
    """The recipe of each member by its name."""
    return {m.name: m.recipe for m in model.members if isinstance(m, NetworkMember | BackboneMember)}


def epochs_of(model: Model) -> list[str]:
    """Epoch of each network of a model; a frozen backbone has none."""
    facts = model.provenance
    of_members = facts.get("members", {"": facts}).values()
    return [str(of_member["epoch"]) for of_member in of_members if of_member.get("epoch")] or ["none"]


def prediction_file(folder: Path, part: str, shift: str, model: Path) -> Path:
    """Where predictions are kept; those of another model have another name."""
    return folder / "predictions" / f"{slug(part)}-{slug(shift)}-{_digest(model)}.npz"


def keep_prediction(path: Path, model: Model, test: Corpus) -> None:
    """Predict the recordings of a test part by both heads, and write that."""
    arrays: dict[str, np.ndarray] = {head: predict(model, test, head).calibrated for head in HEADS}
    truth = np.array([model.scenes.index(r.scene) for r in test.recordings], dtype=np.int64)
    names = np.array([_name(r) for r in test.recordings])
    groups = np.array([r.group for r in test.recordings])
    write_arrays(path, truth=truth, names=names, groups=groups, **arrays)


def _name(recording: Recording) -> str:
    return f"{recording.path.parent.name}/{recording.path.name}"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def pooled(folder: Path, facts: dict[str, Any], shift: str, head: str) -> Pooled:
    """The predictions of all parts for one kind of sound.

    Args:
        folder: Of the models.
        facts: Of the run.
        shift: Its name, or `AS_IT_IS`.
        head: "softmax" or "svm".
    """
    held = [np.load(prediction_file(folder, part, shift, folder / model)) for part, model in facts["models"].items()]
    posterior, truth, groups, names = (np.concatenate([h[key] for h in held]) for key in (head, "truth", "groups", "names"))
    return Pooled(posterior.astype(np.float64), truth.astype(np.int64), groups.tolist(), names.tolist())


# --- figures ----------------------------------------------------------------------------------------------------------


def excess_calibration_error(posterior: POSTERIOR, truth: Int64[np.ndarray, " recording"]) -> tuple[float, float]:
    """Calibration error, and what of it is more than a perfectly calibrated model with the same confidences would show.

    With few recordings the error of a perfect model is not zero, because right and wrong are draws; its mean over 1,000 of
    them is subtracted.

    Args:
        posterior: Natural logs.
        truth: Numbers of the scenes.
    """
    error = expected_calibration_error(posterior, truth)
    top = np.exp(posterior.max(axis=1))
    bins = np.clip(np.ceil(top * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    inside = np.eye(CALIBRATION_BINS)[bins]
    drawn = np.random.default_rng(0).random((DRAWS, len(top))) < top
    perfect = np.abs((top - drawn) @ inside).sum(axis=1) / len(top)
    return error, error - float(perfect.mean())


def row(plain: Pooled, shifted: Pooled) -> dict[str, Any]:
    """The figures of one head under one shift; `lost` and `loss_more` are paired with the sound as it is."""
    draws = np.random.default_rng(0)
    error, excess = excess_calibration_error(shifted.posterior, shifted.truth)
    return {
        "recordings": len(shifted.truth),
        "accuracy": float(shifted.right.mean()),
        "points_lost": _points(paired_difference(plain.right, shifted.right, plain.groups, draws)),
        "log_loss": float(shifted.loss.mean()),
        "mean_probability": float(np.exp(shifted.posterior.max(axis=1)).mean()),
        "calibration_error": error,
        "calibration_excess": excess,
    }


def _points(interval: Interval) -> list[float]:
    return [100 * interval.estimate, 100 * interval.low, 100 * interval.high]


# --- reports ----------------------------------------------------------------------------------------------------------


def report(folder: Path, facts: dict[str, Any]) -> None:
    """Print the tables of a run and write them."""
    rows: dict[str, dict[str, Any]] = {}
    lines = [
        f"{facts['corpus']}, {facts['split']}; {_systems(facts)}recipe {facts['recipe']}, epoch {facts['epoch']}, "
        f"seed {facts['seed']}; {facts['machine']}"
    ]
    for head in facts["heads"]:
        plain = pooled(folder, facts, AS_IT_IS, head)
        rows[head] = {shift: row(plain, pooled(folder, facts, shift, head)) for shift in facts["shifts"]}
        lines += ["", f"### {head}, {len(plain.truth)} recordings", ""]
        lines.append(
            "| sound | accuracy | points lost (95 %) | target | log loss | mean p | calibration error | over perfect |"
        )
        lines.append("|---|---|---|---|---|---|---|---|")
        lines += [_line(shift, figures) for shift, figures in rows[head].items()]
    print("\n".join(lines), flush=True)
    (folder / "robust.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "robust.json").write_text(json.dumps({**facts, "figures": rows}, indent=1), encoding="utf-8")


def _systems(facts: dict[str, Any]) -> str:
    return f"systems {facts['systems']}, " if facts.get("systems") else ""


def _line(shift: str, figures: dict[str, Any]) -> str:
    lost, low, high = figures["points_lost"]
    target = SHIFTS[shift].target if shift in SHIFTS else None
    change = "-" if shift == AS_IT_IS else f"{lost:+z.1f} ({low:+z.1f} to {high:+z.1f})"
    return (
        f"| {shift} | {figures['accuracy']:.3f} | {change} | {'-' if target is None else f'{target:g}'} | "
        f"{figures['log_loss']:.3f} | {figures['mean_probability']:.3f} | {figures['calibration_error']:.3f} | "
        f"{figures['calibration_excess']:+z.3f} |"
    )


def compare(folder: Path, other: Path) -> None:
    """Print the differences of two folders, paired by recording; the other one's minus the first one's."""
    facts, others = (json.loads((f / "robust.json").read_text(encoding="utf-8")) for f in (folder, other))
    for f, known in ((folder, facts), (other, others)):
        print(
            f"{f.name}: {known['corpus']}, {known['split']}; {_systems(known)}recipe {known['recipe']}, seed {known['seed']}"
        )
    of_each = (known.get("heads", HEADS) for known in (facts, others))  # runs before there were systems have both
    for head in sorted(set.intersection(*map(set, of_each))):
        print(f"\n### {head}\n\n| sound | accuracy | points gained (95 %) | log loss | difference (95 %) | over perfect |")
        print("|---|---|---|---|---|---|")
        for shift in (s for s in facts["shifts"] if s in others["shifts"]):
            first, second = pooled(folder, facts, shift, head), pooled(other, others, shift, head)
            names = [name for name in first.names if name in set(second.names)]
            if not names:
                raise ManifestError(f"{folder} and {other} have no recording in common; were they made of one corpus?")
            first, second = first.take(names), second.take(names)
            print(_difference(shift, first, second))


def _difference(shift: str, first: Pooled, second: Pooled) -> str:
    points = _points(paired_difference(second.right, first.right, first.groups, np.random.default_rng(0)))
    loss = paired_difference(second.loss, first.loss, first.groups, np.random.default_rng(0))
    excess = [excess_calibration_error(p.posterior, p.truth)[1] for p in (first, second)]
    return (
        f"| {shift} | {first.right.mean():.3f} -> {second.right.mean():.3f} | "
        f"{points[0]:+z.1f} ({points[1]:+z.1f} to {points[2]:+z.1f}) | "
        f"{first.loss.mean():.3f} -> {second.loss.mean():.3f} | "
        f"{loss.estimate:+z.3f} ({loss.low:+z.3f} to {loss.high:+z.3f}) | {excess[0]:+z.3f} -> {excess[1]:+z.3f} |"
    )


if __name__ == "__main__":
    sys.exit(main())
