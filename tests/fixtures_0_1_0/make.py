# type: ignore  (the modules below are those of 0.1.0; later versions have them elsewhere)
# ruff: noqa: I001  (a module that is gone is sorted as one of others)
"""Write the fixtures of this folder; to be run with the code of 0.1.0, commit 348e7dc, and with no other.

`python make.py [FOLDER]`, from a clone of that commit with one thread (OMP_NUM_THREADS=1); FOLDER: by default this one.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.torch
import soundfile
import torch
from lightning_fabric import Fabric

import soundscene
from soundscene.bundle import FORMAT, ModelBundle, _digest
from soundscene.cli.app import main
from soundscene.experiment.folder import RunFolder
from soundscene.experiment.plan import Plan
from soundscene.experiment.worker import do
from soundscene.pipeline import as_dict, evaluate_on_manifest, train_on_manifest
from soundscene.recipe import Recipe
from soundscene.render.corpus import render_recording
from soundscene.timeline import rows, timeline

COMMIT = "348e7dc"
RATE = 22050
SCENES = ("night_crickets", "office", "rain")
RMS = 20  # of the sound in steps of 16 bits: quiet, so that FLAC packs it well
HOME = "/home/user/corpus"  # in place of the folder that the fixtures were made in
SMALL = {
    "network.filters": "[4, 4, 4]",
    "network.hidden": "4",
    "network.attention": "4",
    "training.batch_size": "10",
    "training.epochs": "12",
    "training.learning_rate": "0.01",
}
MODELS = {
    "att_crnn": ("fold=1", {}),
    "cnn_gammatone": (None, {"network.kind": "cnn", "features.kind": "gammatone"}),
    "softmax": (
        "fold=2",
        {
            "network.pooling": "temporal",
            "network.noise_subtracted": "false",
            "network.attention_scale": "printed",
            "training.mixing": "none",
            "training.keep": "best",
            "training.seed": "3",
            "calibration.head": "softmax",
        },
    ),
}
RUN_RECIPE = """base = "small"

[audio]
last_piece = 0.4

[features]
window = 2048
hop = 2048

[network]
filters = [4, 4, 4]
hidden = 4
attention = 4

[training]
epochs = 4
batch_size = 10
learning_rate = 0.01
gain_db = 3.0
seed = 5

[calibration]
svm_c = 0.2
"""
RUN_WORDS = ("--splits", "by=part", "--workers", "1", "--threads", "1", "--device", "cpu")
HEARD = ("rain/0.flac", "office/1.flac", "extra/narrow.flac", "extra/half_silent.flac")
LOCK = '{"pid": @PID@, "host": "@HOST@", "started": "@STARTED@"}'


def command(*words: object) -> int:
    """Exit code of a command line."""
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        return end.code or 0
    return 0


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> None:
    """Samples of RMS `RMS` as 16-bit FLAC."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.round(samples).astype(np.int16), rate, format="FLAC", subtype="PCM_16", compression_level=1.0)


def sound(scene: str, seconds: float, number: int, rate: int = RATE) -> np.ndarray:
    """A rendered recording at the level of the fixtures."""
    x = render_recording(scene, seconds, rate, np.random.default_rng([number, len(scene)]))
    return x / np.sqrt(np.mean(x**2)) * RMS


def make_corpus(folder: Path) -> None:
    """Five recordings of each scene, the first of them with a last piece; beside them sound that gives notes and errors."""
    lines = ["path,scene,group,fold,part"]
    for scene in SCENES:
        for number in range(5):
            write(folder / scene / f"{number}.flac", sound(scene, 2.05 if number else 3.1, number))
            part = {0: "1", 1: "2"}.get(number, "")
            lines.append(f"{scene}/{number}.flac,{scene},{scene}-{number},{1 + number},{part}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    write(folder / "extra" / "narrow.flac", sound("rain", 2.05, 7, 8000), 8000)
    half = np.concatenate([np.zeros(2 * RATE), sound("office", 2.05, 8)])
    write(folder / "extra" / "half_silent.flac", half)
    write(folder / "extra" / "silent.flac", np.zeros(3 * RATE))
    (folder / "extra" / "broken.wav").write_text("this is no sound\n")


def make_models(folder: Path, manifest: Path) -> None:
    """Three models as 0.1.0 writes them, and two whose recipes lack keys, as of earlier writers."""
    folder.mkdir()
    for name, (test, changes) in MODELS.items():
        recipe = Recipe.small().with_settings([f"{key}={value}" for key, value in (SMALL | changes).items()])
        with tempfile.TemporaryDirectory() as place:
            made = Path(place) / "model.safetensors"
            fabric = Fabric(accelerator="cpu", devices=1)
            train_on_manifest(manifest, made, recipe, test=test, fabric=fabric, workers=1)
            shutil.copy(made, folder / f"{name}.safetensors")
    whole = folder / "att_crnn.safetensors"
    forget(whole, folder / "earlier.safetensors", lambda section, name, value: name in ("pooling", "noise_subtracted"), True)
    default = Recipe().to_dict()
    forget(whole, folder / "sparse.safetensors", lambda section, name, value: value == default[section][name], False)


def forget(source: Path, target: Path, lacks: object, without_familiarity: bool) -> None:
    """Write a model again without some keys of its recipe, with a checksum that is right."""
    with safetensors.safe_open(source, "pt") as file:
        header = json.loads(file.metadata()["bundle"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    kept = {s: {n: v for n, v in part.items() if not lacks(s, n, v)} for s, part in header["recipe"].items()}
    header["recipe"] = {section: part for section, part in kept.items() if part}
    if without_familiarity:  # as before c9aa9a4
        del header["familiarity"]
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("familiarity/")}
    text = json.dumps(header, sort_keys=True)
    metadata = {"format": FORMAT, "bundle": text, "sha256": _digest(text, tensors)}
    target.write_bytes(safetensors.torch.save(tensors, metadata))


def answers(models: Path, corpus: Path) -> dict:
    """What 0.1.0 says by each model."""
    found = {}
    for path in sorted(models.iterdir()):
        predictor = soundscene.load(path)
        bundle: ModelBundle = predictor.bundle
        half = soundscene.load(path, keep=0.5)
        test = MODELS.get(path.stem, ("fold=1",))[0]
        found[path.stem] = {
            "scenes": list(predictor.scenes),
            "head": predictor.head,
            "temperature": dict(bundle.temperature),
            "recipe": bundle.recipe.to_dict(),
            "unknown_lack": predictor.unknown_lack,
            "predict": {name: predictor.predict(name).to_dict(with_segments=True) for name in HEARD},
            "threshold_of_keep_0.5": half.predict(HEARD[0]).unfamiliarity_threshold,
            "other_head": soundscene.load(path, "softmax" if predictor.head == "svm" else "svm").predict(HEARD[0]).to_dict(),
            "evaluate_test": test,
            "evaluate": as_dict(evaluate_on_manifest(bundle, corpus / "manifest.csv", test=test, workers=1)),
        }
    return found


def long_answers(model: Path) -> dict:
    """Timeline and stream of the recordings of the corpus one after another, which the test joins again."""
    samples = np.concatenate([soundfile.read(f"{s}/{n}.flac", dtype="int16")[0] for s in SCENES for n in range(5)])
    soundfile.write("long.flac", samples, RATE, subtype="PCM_16")
    predictor = soundscene.load(model)
    said = predictor.predict("long.flac")
    spans = list(rows(timeline(said, predictor.bundle, predictor.head, 6.0)))
    updates = [
        {
            "start_s": u.start_s,
            "end_s": u.end_s,
            "segment_posterior": u.segment_posterior.tolist(),
            "posterior": u.posterior.tolist(),
            "n_segments": u.n_segments,
            "silent": u.silent,
            "unfamiliarity": u.unfamiliarity,
            "notes": list(u.notes),
        }
        for u in predictor.stream(np.array_split(samples, 50), RATE, hop_s=1.0, window_s=10.0)
    ]
    Path("long.flac").unlink()
    return {"duration_s": said.duration_s, "timeline_stay_6": spans, "stream_hop_1_window_10": updates}


def make_run(folder: Path, corpus: Path) -> None:
    """A run of three systems on two splits: four results, one training killed in its third epoch, one not begun."""
    (folder / "recipe.toml").write_text(RUN_RECIPE)
    with tempfile.TemporaryDirectory() as place:
        out, whole = Path(place) / "run", Path(place) / "whole"
        words = ("--recipe", folder / "recipe.toml", "--systems", "att-crnn-mel,cnn-mel,hog", *RUN_WORDS)
        assert command("experiment", corpus / "manifest.csv", "--out", out, *words) == 0
        shutil.copytree(out, whole)
        plan, run = Plan.read(out), RunFolder(out)
        waiting = [task for task in plan.tasks() if task.split == "part=2" and task.system != "hog"]
        for task in waiting:
            (out / "results" / f"{task.name}.safetensors").unlink()
            run.model(task).unlink()
        kill(run, plan, waiting[0])
        for part in out.glob("store/*"):
            if not part.name.startswith("images-mel-"):
                shutil.rmtree(part)  # large, and nobody needs it
        for journal in out.glob("store/*/journal.jsonl"):
            journal.write_text(journal.read_text().replace(str(corpus.resolve()), HOME))
        replace(plan, root=HOME).write(out)
        for model in out.glob("models/*"):
            if "part=2" in model.name or "hog" in model.name:
                model.unlink()  # large, and read by nobody
        shutil.copytree(out, folder / "run")
        assert command("report", out, "--out", Path(place) / "report") == 0
        shutil.copy(Path(place) / "report" / "csv" / "table2.csv", folder / "expected" / "table2.csv")
        for task in waiting:
            target = folder / "expected" / "results" / f"{task.name}.safetensors"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(whole / "results" / target.name, target)


def kill(run: RunFolder, plan: Plan, task: object) -> None:
    """End a training in its third epoch, after that was written to the diary and before its checkpoint was."""

    def end(row: dict) -> None:
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    try:
        do(run, plan, task, Fabric(accelerator="cpu", devices=1), end)
    except KeyboardInterrupt:
        return
    raise AssertionError("it was not killed")


def make_rows(folder: Path) -> None:
    """Folders of `predict --out` with rows for about half of the recordings, and the rows of all; paths are relative."""
    everything, first = ["rain", "office", "night_crickets", "extra"], ["rain", "extra"]
    model = folder / "models" / "att_crnn.safetensors"
    for form in ("csv", "jsonl"):
        words = ("--format", form, "--workers", "1")
        assert command("predict", model, *first, "--out", folder / f"rows_{form}", "--shard", 4, *words) == 3
        with tempfile.TemporaryDirectory() as place:
            assert command("predict", model, *everything, "--out", place, *words) == 3
            (shard,) = Path(place).glob("part-*")
            shutil.copy(shard, folder / "expected" / f"rows.{form}")


def make(folder: Path) -> None:
    """Everything but this file and README.md."""
    words = ["git", "-C", str(Path(soundscene.__file__).parent), "rev-parse", "--short", "HEAD"]
    here = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    assert here == COMMIT, f"this is {here}, the fixtures are those of {COMMIT}"
    torch.set_num_threads(1)
    for name in ("corpus", "models", "expected", "run", "rows_csv", "rows_jsonl"):
        shutil.rmtree(folder / name, ignore_errors=True)
    corpus = folder / "corpus"
    make_corpus(corpus)
    make_models(folder / "models", corpus / "manifest.csv")
    os.chdir(corpus)  # so that paths in answers and rows are relative
    (folder / "expected").mkdir()
    said = {"models": answers(folder / "models", corpus), "long": long_answers(folder / "models" / "att_crnn.safetensors")}
    (folder / "expected" / "answers.json").write_text(json.dumps(said, indent=1) + "\n")
    make_run(folder, corpus)
    make_rows(folder)
    (folder / "lock.json").write_text(LOCK)
    (folder / ".gitattributes").write_text("* -text\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path(__file__).resolve().parent)
