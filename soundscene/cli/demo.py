"""`soundscene demo`: a corpus, two networks with two heads each, predictions, and a picture of the attention."""

import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from soundscene.bundle import load_model, save_model
from soundscene.cli.terminal import wrapped
from soundscene.data.corpus import Corpus, read_corpus
from soundscene.data.manifest import Manifest
from soundscene.data.scan import scan
from soundscene.data.splits import check_leakage, deal_folds
from soundscene.errors import AudioError, ManifestError
from soundscene.explanation.segment import attention_picture
from soundscene.model import Model
from soundscene.pipeline import evaluate_on_images
from soundscene.predictor import load
from soundscene.recipe import Recipe
from soundscene.render.corpus import render_corpus
from soundscene.render.scenes import SCENES
from soundscene.scoring.evaluation import Evaluation
from soundscene.systems.calibration import HEADS
from soundscene.systems.neural import train
from soundscene.texts import show
from soundscene.training.device import make_fabric
from soundscene.types import Split

N_PER_SCENE = 30
DURATION_S = 6.0
TEST_FOLD = "1"
NAMES = {"att-crnn": "Att-CRNN", "cnn": "CNN baseline"}

Bar = Callable[..., AbstractContextManager[Callable[..., None]]]
"""A context that gives (done, in all, note="") -> None; the command line's progress bar."""


@dataclass(frozen=True)
class DemoResult:
    """Results of the demo.

    Attributes:
        evaluations: Scores by kind of network.
        model: Model file of the Att-CRNN.
        picture: Picture of its attention.
        seconds: Total time.
    """

    evaluations: dict[str, Evaluation]
    model: Path
    picture: Path
    seconds: float


def run_demo(
    corpus: Path | None,
    folder: Path,
    seed: int,
    out: Console,
    bar: Bar,
    recipe: Recipe | None = None,
    n_per_scene: int = N_PER_SCENE,
) -> DemoResult:
    """Train on four fifths of a corpus, print scores on the rest, and leave everything in `folder`.

    Args:
        corpus: Folder of real recordings, one subfolder per scene; by default they are rendered.
        folder: Where audio, models and picture go.
        seed: Seed of rendering and training.
        out: Where to print.
        bar: Makes progress bars.
        recipe: By default `Recipe.small()`.
        n_per_scene: Rendered recordings of each scene.

    Raises:
        SceneError: The corpus cannot be used.
    """
    started = time.perf_counter()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ManifestError(f"{folder}: cannot be created ({error.strerror}); choose another folder") from None
    recipe = (recipe or Recipe.small()).with_settings([f"training.seed={seed}"])
    split = _corpus(corpus, folder, seed, out, bar, n_per_scene)
    with bar("reading audio") as reading:
        hop = recipe.training.segment_hop_s
        training = read_corpus(split.train, recipe, hop, progress=reading)
        testing = read_corpus(split.test, recipe)
    hashes = {r.path: h for c in (training, testing) for r, h in zip(c.recordings, c.content_hash, strict=True)}
    check_leakage(split, hashes)
    out.print(f"\n{len(split.train)} training recordings, {len(split.test)} held-out test recordings")
    evaluations, models = {}, {}
    for kind, name in NAMES.items():
        models[kind] = folder / f"{kind}.safetensors"
        out.print(f"training the {name}, {recipe.training.epochs} epochs ...")
        trained = _train(recipe.with_settings([f"network.kind={kind}"]), training, name, bar)
        save_model(trained, models[kind])
        evaluations[kind] = evaluate_on_images(trained, testing)
    out.print(_table(evaluations, split, testing, rendered=corpus is None))
    _predict(models["att-crnn"], split, out)
    picture = folder / "attention.png"
    sound = _correctly_classified(models["att-crnn"], testing)
    attention_picture(load_model(models["att-crnn"]), sound, picture)
    seconds = time.perf_counter() - started
    out.print("\n" + wrapped(show(f"Attention of the network: {picture} (of {sound.name})"), out))
    out.print(f"Try it: soundscene predict {models['att-crnn']} YOUR_FILES    ({seconds:.0f} s)", highlight=False)
    return DemoResult(evaluations, models["att-crnn"], picture, seconds)


def _corpus(corpus: Path | None, folder: Path, seed: int, out: Console, bar: Bar, n_per_scene: int) -> Split:
    """Rendered recordings, or the user's, split by the fold column of a manifest.csv in the folder or by seeded folds."""
    if corpus is None:
        text = (
            f"Rendering {n_per_scene} recordings of {DURATION_S:g} s for each of ten scenes. The audio is SYNTHETIC: the "
            "scores below show that everything works, not how well it works on real recordings."
        )
        out.print(wrapped(text, out, 0))
        rendered = folder / "rendered"
        if _is_rendered(rendered):
            shutil.rmtree(rendered)
        with bar("rendering") as rendering:
            listed = render_corpus(rendered, n_per_scene, DURATION_S, seed, progress=rendering)
        return Manifest.read(listed).split("fold", TEST_FOLD)
    listed = corpus / "manifest.csv"
    if listed.exists():
        manifest = Manifest.read(listed)
        if all("fold" in r.columns for r in manifest.recordings):
            out.print(show(f"{listed}: testing on its fold {TEST_FOLD}"), highlight=False)
            return manifest.split("fold", TEST_FOLD)
    else:
        manifest, notes = scan(corpus)
        for note in notes:
            out.print(wrapped(show(f"note: {note}"), out), highlight=False)
        if any("fold" in r.columns for r in manifest.recordings):
            return manifest.split("fold", TEST_FOLD)
    rows, notes = deal_folds(manifest.recordings, np.random.default_rng(seed))
    for note in notes:
        out.print(wrapped(show(f"note: {note}"), out), highlight=False)
    return Manifest(manifest.path, rows).split("fold", TEST_FOLD)


def _is_rendered(folder: Path) -> bool:
    """Whether a folder was rendered by an earlier demo; anything else is the user's, and never deleted."""
    return folder.is_dir() and {entry.name for entry in folder.iterdir()} == {*SCENES, "manifest.csv"}


def _train(recipe: Recipe, corpus: Corpus, name: str, bar: Bar) -> Model:
    with bar(f"training {name}") as training:

        def epoch(row: dict[str, float], network: Any) -> None:
            training(int(row["epoch"]), recipe.training.epochs, f"loss {row['loss']:.4f}")

        return train(recipe, corpus, fabric=make_fabric("cpu"), on_epoch=epoch, provenance={"manifest": "demo"}).model


def _table(evaluations: dict[str, Evaluation], split: Split, testing: Corpus, rendered: bool) -> Table:
    audio = "SYNTHETIC audio" if rendered else "your recordings"
    table = Table(title=f"accuracy on {len(split.test)} held-out recordings ({audio})", title_justify="left", box=SIMPLE)
    for name in ("network", "head", "2-s segment", "recording", "log loss", "ECE"):
        table.add_column(name, justify="left" if name in ("network", "head") else "right")
    for kind, evaluation in evaluations.items():
        for head in HEADS:
            scores = evaluation.scores[head]
            table.add_row(
                NAMES[kind], head, f"{scores.segment.accuracy:.1%}", f"{scores.recording.accuracy:.1%}",
                f"{scores.calibrated.log_loss:.2f}", f"{scores.calibrated.calibration_error:.2f}",
            )  # fmt: skip
    return table


def _predict(model: Path, split: Split, out: Console) -> None:
    """Predict a few files by the public API, from the saved model."""
    predictor = load(model)
    table = Table(title=f"soundscene predict {model.name} ...", title_justify="left", box=SIMPLE)
    for name in ("file", "true scene", "prediction", "probability"):
        table.add_column(name)
    step = max(1, len(split.test) // 5)
    for recording in split.test[::step][:6]:
        with suppress(AudioError):  # digital silence
            prediction = predictor.predict(recording.path)
            table.add_row(recording.path.name, recording.scene, prediction.scene, f"{prediction.probability:.2f}")
    out.print(table)


def _correctly_classified(model: Path, testing: Corpus) -> Path:
    """A test recording whose scene was predicted correctly, or the first one if none was."""
    predictor = load(model)
    for recording in testing.recordings:
        try:
            if predictor.predict(recording.path).scene == recording.scene:
                return recording.path
        except AudioError:  # digital silence
            continue
    return testing.recordings[0].path
