"""Accuracy of the neural systems and of the baselines on a corpus, every value of a column once as the test part.

    python benchmarks/accuracy.py run MANIFEST --out RESULTS [--column fold] [--values 1,2] [--systems att-crnn,cnn]
                                      [--recipe small] [--set key=value] [--robust]
    python benchmarks/accuracy.py report RESULTS

`run` writes one JSON file per (system, value) into RESULTS, beside and renamed; one that is there is not trained again,
so a killed run resumes, and several processes may share the values. `report` prints Markdown tables.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from baselines import BASELINES, predict_baseline
from jaxtyping import Float32
from lightning_fabric import Fabric

from soundscene.audio.files import gate_array, read_samples
from soundscene.data.corpus import Corpus, read_corpus
from soundscene.data.manifest import Manifest
from soundscene.data.splits import check_leakage
from soundscene.member import networks_of
from soundscene.model import Model
from soundscene.pipeline import as_dict, evaluate_on_images
from soundscene.recipe import FRONT_END, Recipe
from soundscene.scoring.intervals import paired_difference
from soundscene.signal.frontend import FrontEnd
from soundscene.systems.calibration import HEADS, predict
from soundscene.systems.neural import train

VARIANTS = {"-10 dB": (0.1**0.5, 22050), "+10 dB": (10**0.5, 22050), "16 kHz": (1.0, 16000), "8 kHz": (1.0, 8000)}
SHARES = ("segment accuracy", "recording accuracy", "macro F1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run")
    run_parser.add_argument("manifest", type=Path)
    run_parser.add_argument("--out", type=Path, required=True)
    run_parser.add_argument("--column", default="fold")
    run_parser.add_argument("--values", default="", help="comma-separated; by default all")
    run_parser.add_argument("--systems", default="att-crnn,cnn")
    run_parser.add_argument("--recipe", default="small")
    run_parser.add_argument("--set", action="append", default=[], dest="settings")
    run_parser.add_argument("--robust", action="store_true")
    report_parser = commands.add_parser("report")
    report_parser.add_argument("results", type=Path, nargs="+")
    arguments = parser.parse_args()
    if arguments.command == "run":
        run(arguments)
    else:
        for results in arguments.results:
            report(results)


def run(arguments: argparse.Namespace) -> None:
    manifest = Manifest.read(arguments.manifest)
    recipe = Recipe.load(arguments.recipe).with_settings(arguments.settings)
    corpus = cached_images(manifest, recipe, arguments.out)
    values = (
        arguments.values.split(",")
        if arguments.values
        else sorted({_value(r, arguments.column) for r in manifest.recordings})
    )
    for value in values:
        split = manifest.split(arguments.column, value)
        check_leakage(split, {r.path: h for r, h in zip(corpus.recordings, corpus.content_hash, strict=True)})
        for system in arguments.systems.split(","):
            path = arguments.out / f"{system}_{arguments.column}={value.replace('/', '_')}.json"
            if path.exists():
                continue
            started = time.perf_counter()
            fabric = Fabric(accelerator="cpu", devices=1)
            result = train(recipe.with_settings([f"network.kind={system}"]), corpus.take(split.train), fabric=fabric)
            seconds = time.perf_counter() - started
            test = corpus.take(split.test)
            row = {
                "corpus": arguments.manifest.parent.name, "column": arguments.column, "value": value, "system": system,
                "recipe": arguments.recipe, "settings": arguments.settings, "seed": recipe.training.seed,
                "epoch": result.model.provenance["epoch"], "seconds": round(seconds, 1),
                "threads": torch.get_num_threads(), "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                "torch": torch.__version__, **scores(result.model, test), "loss": [h["loss"] for h in result.history],
            }  # fmt: skip
            truth = [r.scene for r in split.test]
            row["baselines"] = {
                name: (predict_baseline(name, split.train, split.test) == truth).tolist() for name in BASELINES
            }
            if arguments.robust:
                row["robust"] = {name: robust(result.model, test, *how) for name, how in VARIANTS.items()}
            write(path, row)
            print(
                path.name,
                {h: round(row["evaluation"]["heads"][h]["recording"]["accuracy"], 4) for h in HEADS},
                f"{seconds:.0f} s",
                flush=True,
            )


def scores(bundle: Model, test: Corpus) -> dict[str, Any]:
    """Metrics, and the recording posteriors from which pooled scores and paired differences are made."""
    truth = [bundle.scenes.index(r.scene) for r in test.recordings]
    posteriors = {}
    for head in HEADS:
        predictions = predict(bundle, test, head)
        posteriors[head] = {
            "product": predictions.recording.round(5).tolist(),
            "calibrated": predictions.calibrated.round(5).tolist(),
        }
    return {
        "evaluation": as_dict(evaluate_on_images(bundle, test)),
        "temperature": bundle.temperature,
        "recordings": [r.path.name for r in test.recordings],
        "groups": [r.group for r in test.recordings],
        "truth": truth,
        "posteriors": posteriors,
    }


def robust(bundle: Model, test: Corpus, gain: float, rate: int) -> dict[str, float]:
    """Accuracy by recording of each head when the test recordings are louder, softer, or of a lower rate."""
    audio = bundle.audio
    front_end = FrontEnd(audio, networks_of(bundle.members)[0].recipe.features)
    right = dict.fromkeys(HEADS, 0)
    for recording in test.recordings:
        samples = read_samples(recording.path, audio) * np.float32(gain)
        if rate != audio.sample_rate:
            low: Float32[np.ndarray, " sample"] = soxr.resample(samples, audio.sample_rate, rate)
            samples = gate_array(low, rate, audio)
        found = front_end(samples)
        embeddings = bundle.embed((found.images[~found.silent],))
        for head in HEADS:
            fused = bundle.classify(embeddings, head).sum(axis=0)
            right[head] += bundle.scenes[int(fused.argmax())] == recording.scene
    return {head: n / len(test.recordings) for head, n in right.items()}


def cached_images(manifest: Manifest, recipe: Recipe, out: Path) -> Corpus:
    """Images of the whole corpus, kept as arrays in RESULTS so that processes that share the folder decode once."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / ("images.npz" if FRONT_END == 1 else f"images-{FRONT_END}.npz")  # other versions make other images
    if path.exists():
        held = np.load(path)
        texts = json.loads(str(held["texts"]))
        return Corpus(
            manifest.recordings, held["images"], held["recording"], held["start_s"], held["silent"], held["regular"],
            tuple(texts["hash"]), tuple(texts["duration"]), tuple(tuple(n) for n in texts["notes"]),
        )  # fmt: skip
    corpus = read_corpus(manifest.recordings, recipe, recipe.training.segment_hop_s)
    texts = {"hash": corpus.content_hash, "duration": corpus.duration_s, "notes": corpus.notes}
    atomic_path = out / f"{path.stem}.{os.getpid()}.tmp.npz"
    np.savez(
        atomic_path, images=corpus.features, recording=corpus.recording, start_s=corpus.start_s, silent=corpus.silent,
        regular=corpus.regular, texts=np.array(json.dumps(texts)),
    )  # fmt: skip
    os.replace(atomic_path, path)
    return corpus


def write(path: Path, row: dict[str, Any]) -> None:
    atomic_path = path.with_suffix(f".{os.getpid()}.tmp")
    atomic_path.write_text(json.dumps(row), encoding="utf-8")
    os.replace(atomic_path, path)


def _value(recording: Any, column: str) -> str:
    return recording.columns.get(column, "")


# --- report ---------------------------------------------------------------------------------------------------------------


def report(results: Path) -> None:
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))]
    for row in rows:
        row.setdefault("baselines", row.get("judges", {}))  # their name in older files
    first = rows[0]
    n = len({r["value"] for r in rows})
    recipe = f"{first['recipe']} {' '.join(first['settings'])}".strip()
    print(f"\n### {first['corpus']}: {n} test parts by `{first['column']}`, recipe {recipe}")
    machine = f"{first['machine']}, threads {first['threads']}, torch {first['torch']}"
    print(f"\nlast epoch ({first['epoch']}), seed {first['seed']}, {machine}\n")
    columns = [
        "system",
        "head",
        "segment acc.",
        "recording acc. (by part)",
        "macro F1",
        "log loss: segment; product -> tempered",
    ]
    columns += ["ECE: segment; product -> tempered", "seconds a part"]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for system in sorted({r["system"] for r in rows}):
        mine = [r for r in rows if r["system"] == system]
        for head in HEADS:
            print_head(system, head, mine)
    for name in first["baselines"]:
        right = [r["baselines"][name] for r in rows if r["system"] == rows[0]["system"]]
        parts = [np.mean(r) for r in right]
        print(f"| {name} | - | - | {np.mean(parts):.3f} ({', '.join(f'{p:.3f}' for p in parts)}) | - | - | - | - |")
    print_differences(rows)
    print_robust(rows)


def print_head(system: str, head: str, rows: Sequence[dict[str, Any]]) -> None:
    heads = [r["evaluation"]["heads"][head] for r in rows]

    def mean(part: str, metric: str) -> float:
        return float(np.mean([h[part][metric] for h in heads]))

    parts = ", ".join(f"{h['recording']['accuracy']:.3f}" for h in heads)
    numbers = [
        f"{mean('segment', m):.3f}; {mean('recording', m):.3f} -> {mean('calibrated', m):.3f}"
        for m in ("log_loss", "calibration_error")
    ]
    seconds = np.median([r["seconds"] for r in rows])
    print(
        f"| {system} | {head} | {mean('segment', 'accuracy'):.3f} | {mean('recording', 'accuracy'):.3f} ({parts}) | "
        f"{mean('recording', 'macro_f1'):.3f} | {numbers[0]} | {numbers[1]} | {seconds:.0f} |"
    )


def print_differences(rows: Sequence[dict[str, Any]]) -> None:
    """Pooled over the test parts, each recording tested once: differences of accuracy with intervals by group."""
    right: dict[str, np.ndarray] = {}
    groups: list[str] = []
    for system in sorted({r["system"] for r in rows}):
        mine = [r for r in rows if r["system"] == system]
        groups = [g for r in mine for g in r["groups"]]
        for head in HEADS:
            right[f"{system} {head}"] = np.concatenate(
                [np.array(r["posteriors"][head]["product"]).argmax(1) == r["truth"] for r in mine]
            ).astype(float)
        for name in mine[0]["baselines"]:
            right[name] = np.concatenate([r["baselines"][name] for r in mine]).astype(float)
    pairs = [
        ("att-crnn svm", "band-statistics"), ("att-crnn softmax", "band-statistics"), ("cnn svm", "band-statistics"),
        ("att-crnn svm", "cnn svm"), ("att-crnn softmax", "cnn softmax"), ("att-crnn svm", "att-crnn softmax"),
        ("att-crnn svm", "nearest-mean"),
    ]  # fmt: skip
    print("\n| paired difference of recording accuracy | points | 95 % interval (bootstrap over groups) |\n|---|---|---|")
    for one, other in pairs:
        if one in right and other in right:
            d = paired_difference(right[one], right[other], groups, np.random.default_rng(0))
            print(f"| {one} - {other} | {100 * d.estimate:+z.1f} | {100 * d.low:+z.1f} to {100 * d.high:+z.1f} |")


def print_robust(rows: Sequence[dict[str, Any]]) -> None:
    tested = [r for r in rows if "robust" in r]
    if not tested:
        return
    print(
        "\n| test recordings | "
        + " | ".join(f"{s} {h}" for s in sorted({r["system"] for r in tested}) for h in HEADS)
        + " |"
    )
    print("|---" * (1 + 2 * len({r["system"] for r in tested})) + "|")
    for name in ("as they are", *VARIANTS):
        cells = []
        for system in sorted({r["system"] for r in tested}):
            for head in HEADS:
                mine = [r for r in tested if r["system"] == system]
                if name == "as they are":
                    values = [r["evaluation"]["heads"][head]["recording"]["accuracy"] for r in mine]
                else:
                    values = [r["robust"][name][head] for r in mine]
                cells.append(f"{np.mean(values):.3f}")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
