"""Train a model from a manifest, and evaluate one on a manifest: the commands `train` and `evaluate` as functions."""

import csv
import glob
import io
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from lightning_fabric import Fabric
from lightning_fabric.loggers.tensorboard import TensorBoardLogger

from soundscene.audio.files import content_hash
from soundscene.audio.trial import Trial
from soundscene.bundle import save_model
from soundscene.data.corpus import Corpus, notes_of, read_features, reason, recordings_of, refuse_unreadable
from soundscene.data.licences import licence_facts
from soundscene.data.manifest import Manifest, parse_test
from soundscene.data.splits import check_leakage, check_two_scenes, group_rule
from soundscene.errors import AudioError, BundleError, ManifestError, TrainingError
from soundscene.files import write_atomic
from soundscene.jobs.lock import locked
from soundscene.member import BackboneMember, name_of
from soundscene.model import Model
from soundscene.network.models import Network, check_bands
from soundscene.recipe import Recipe
from soundscene.scoring.evaluation import Evaluation, HeadScores, leakage_note
from soundscene.scoring.metrics import Metrics, evaluate
from soundscene.systems.calibration import HEADS, predict
from soundscene.systems.neural import MemberStepCallback, TrainedModel, train_members
from soundscene.systems.saved import HASH_DIGITS
from soundscene.systems.transfer import members_of, training_source
from soundscene.types import Head, Split

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

_LONGEST_FOLDER_NAME = 200  # characters


def train_on_manifest(
    manifest: Path | Manifest,
    out: Path,
    recipe: Recipe | Mapping[str, Recipe],
    *,
    test: str | None = None,
    fabric: Fabric | None = None,
    workers: int = 2,
    read_progress: Progress | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    on_step: MemberStepCallback | None = None,
    skipped: Callable[[str], None] | None = None,
    backbone: Path | None = None,
    licence: str | None = None,
    notes: Sequence[str] = (),
) -> Model:
    """Train on a manifest and save the model.

    The folder `out`.run holds a checkpoint from which a second call resumes, history.csv and TensorBoard's events. Several
    members have a folder each in it. Those that are finished are not trained again.

    Args:
        manifest: The manifest, or its CSV with a row per recording.
        out: File of the model.
        recipe: Settings of audio, features, network, training and calibration; or those of each member, by name.
        test: Rows to leave out, as "fold=1". By default all rows are trained on.
        fabric: Device, precision and processes.
        workers: Threads that read sound.
        read_progress: Called after each recording that was read.
        on_epoch: Called after each epoch with its row of the history; of several members, with the name under "member".
        on_step: Called before each step.
        skipped: Called with why a recording cannot be used, which is then left out. By default that is an error.
        backbone: File of the frozen backbone of a member, see `file_of`; by default the user's data folder has YAMNet.
        licence: Licence of the recordings whose rows state none.
        notes: What the model's provenance is to note before what the training notes.

    Raises:
        SceneError: Of any kind, before the training where it can be known before.
    """
    fabric = fabric or Fabric(devices=1)
    run = out.with_name(f"{out.name}.run")
    recipes = {name_of(recipe): recipe} if isinstance(recipe, Recipe) else dict(recipe)
    backbones = members_of(recipes, backbone)
    recipes |= {name: member.recipe for name, member in backbones.items()}
    for name, one in recipes.items():
        if name not in backbones:
            check_bands(one)
    listed = Manifest.of(manifest)
    split = listed.split(*parse_test(test)) if test else Split(listed.recordings, ())
    check_two_scenes({recording.scene for recording in split.train})
    _check_writable(out, run)  # makes a folder, which a refusal of what was asked for would leave behind
    with _locked(out, run) if fabric.global_rank == 0 else nullcontext(False) as killed:
        if fabric.broadcast(killed):
            split = _without_crashes(split, run / "crashed", skipped)
        first = next(iter(recipes.values()))
        front_end = training_source(recipes, backbones)
        corpus = read_features(split.train, first.audio, front_end, workers, read_progress, skipped=skipped)
        _check_scenes(split, corpus)
        _guard(split, corpus)
        with _one_line(run):
            facts = {**_provenance(corpus, listed.path, test, licence), "notes": [*notes]}
            return _train(out, run, recipes, backbones, corpus, facts, fabric, on_epoch, on_step)


def _train(
    out: Path,
    run: Path,
    recipes: Mapping[str, Recipe],
    backbones: Mapping[str, BackboneMember],
    corpus: Corpus,
    provenance: dict[str, Any],
    fabric: Fabric,
    on_epoch: Callable[[dict[str, Any]], None] | None,
    on_step: MemberStepCallback | None,
) -> Model:
    """Train on a corpus and save the model, its history and TensorBoard's events."""
    folders = {name: run if len(recipes) == 1 else run / _folder_name(name) for name in recipes}
    logs = {
        name: TensorBoardLogger(folder, name="", version="tensorboard")
        for name, folder in folders.items()
        if fabric.global_rank == 0 and name not in backbones
    }

    def log_epoch(name: str, row: dict[str, float], network: Network) -> None:
        if name in logs:
            logs[name].log_metrics({k: v for k, v in row.items() if k != "epoch"}, step=int(row["epoch"]))
        if on_epoch:
            on_epoch(row if len(recipes) == 1 else {"member": name, **row})

    result = train_members(
        recipes,
        corpus,
        fabric=fabric,
        checkpoint=lambda name: folders[name] / "checkpoint.safetensors",
        on_epoch=log_epoch,
        on_step=on_step if fabric.global_rank == 0 else None,
        provenance=provenance,
        backbones=backbones,
    )
    own = result.model.provenance
    own["notes"] = [*provenance["notes"], *own["notes"]]
    if fabric.global_rank == 0:
        for log in logs.values():
            log.finalize("success")
        _write_history(run / "history.csv", result)
        save_model(result.model, out)
        for folder in folders.values():
            (folder / "checkpoint.safetensors").unlink(missing_ok=True)  # the model is complete
    fabric.barrier()
    return result.model


def _provenance(corpus: Corpus, manifest: Path, test: str | None, licence: str | None) -> dict[str, Any]:
    """Return what a model records of the recordings that it is trained on."""
    return {
        "manifest": manifest.name,
        "test": test or "none: trained on all rows",
        "groups": group_rule(corpus.recordings),
        "trained_on": sorted(h[:HASH_DIGITS] for h in corpus.content_hash),
        **licence_facts(corpus.recordings, licence),
    }


def _folder_name(member: str) -> str:
    """Return the name of a member's folder; settings in its name may hold what no folder may be named."""
    return re.sub(r"[^\w.+=@-]+", "_", member)[:_LONGEST_FOLDER_NAME]


@contextmanager
def _one_line(run: Path) -> Iterator[None]:
    """Turn what TensorBoard's writer raises, also in its own thread, into one error: the folder may vanish, or fill up."""
    hook = threading.excepthook

    def quiet(failure: threading.ExceptHookArgs) -> None:
        if not (isinstance(failure.exc_value, OSError) and type(failure.thread).__name__ == "_AsyncWriterThread"):
            hook(failure)

    threading.excepthook = quiet
    try:
        yield
    except (OSError, ValueError) as error:
        cause = error.__cause__ if isinstance(error, ValueError) else error  # Lightning wraps it
        if not isinstance(cause, OSError):
            raise
        why = cause.strerror or cause
        raise TrainingError(
            f"{run}: cannot be written ({why}); was it removed, or is the disk full? Rerun to resume"
        ) from None
    finally:
        threading.excepthook = hook


def _check_writable(out: Path, run: Path) -> None:
    """Refuse a place that the model cannot be written to before hours of training, not after them."""
    if os.path.isdir(out):
        raise BundleError(f"{out}: is a folder; name the model's file, for example {out / 'model.safetensors'}")
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleError(f"{out}: cannot be written there ({error.strerror}: {error.filename})") from None
    for folder in (out.parent, run):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise BundleError(f"{out}: cannot be written there (no permission to write in {folder})")


@contextmanager
def _locked(out: Path, run: Path) -> Iterator[bool]:
    """Keep other trainings of the same model out, and remove the unfinished files of killed ones; yield as `locked`."""
    with locked(run / "lock") as killed:
        for unfinished in (*out.parent.glob(f"{glob.escape(out.name)}.*.tmp"), *run.glob("*.tmp"), *run.glob("*/*.tmp")):
            with suppress(OSError):
                unfinished.unlink()
        yield killed or (run / "crashed").exists()


def _without_crashes(split: Split, mark: Path, skipped: Callable[[str], None] | None) -> Split:
    """Leave out, or refuse, the recordings that crash their decoder: the last training has died, perhaps of one.

    A file marks that there are some, for the next training.
    """
    crashes: dict[Path, str] = {}
    with closing(Trial()) as trial:
        for recording in (*split.train, *split.test):
            if crash := trial.crash(recording.path):
                crashes[recording.path] = reason(recording, crash)
    if not crashes:
        mark.unlink(missing_ok=True)
        return split
    mark.touch()
    if skipped is None:
        refuse_unreadable(list(crashes.values()), len(split.train) + len(split.test))
    for why in crashes.values():
        assert skipped
        skipped(why)
    train, test = (tuple(r for r in part if r.path not in crashes) for part in (split.train, split.test))
    return Split(train, test)


def _check_scenes(split: Split, corpus: Corpus) -> None:
    """Refuse a training that would lose a scene because all its recordings are unreadable."""
    lost = sorted({r.scene for r in split.train} - {r.scene for r in corpus.recordings})
    if lost:
        raise ManifestError(f"without the recordings that cannot be used, nothing is left of {', '.join(lost)}; repair them")


def _guard(split: Split, corpus: Corpus) -> None:
    """Check by content that no test recording is trained on. One that is unreadable is the evaluation's concern."""
    hashes = {r.path: h for r, h in zip(corpus.recordings, corpus.content_hash, strict=True)}
    for recording in split.test:
        with suppress(AudioError):
            hashes[recording.path] = content_hash(recording.path)
    check_leakage(split, hashes)


def _write_history(path: Path, result: TrainedModel) -> None:
    text = io.StringIO()
    names = dict.fromkeys(name for row in result.history for name in row)  # one member may have a validation part
    table = csv.DictWriter(text, fieldnames=list(names))
    table.writeheader()
    table.writerows(result.history)
    write_atomic(path, text.getvalue().encode(), TrainingError)


def evaluate_on_manifest(
    model: Model,
    manifest: Path | Manifest,
    *,
    test: str | None = None,
    workers: int = 2,
    read_progress: Progress | None = None,
    skipped: Callable[[str], None] | None = None,
) -> Evaluation:
    """Score both heads of a model on recordings of a manifest.

    Args:
        model: The model.
        manifest: The manifest, or its CSV with a row per recording.
        test: Rows to score, as "fold=1". By default all rows.
        workers: Threads that read sound.
        read_progress: Called after each recording that was read.
        skipped: Called with why a recording cannot be used, which is then left out. By default that is an error.

    Raises:
        ManifestError: If a recording's scene is unknown to the model.
    """
    recordings = recordings_of(manifest, test, model.scenes)
    front_end = model.build_front_end()
    trained_with, usual = model.front_end, model.usual
    corpus = read_features(recordings, model.audio, front_end, workers, read_progress, trained_with, skipped, usual)
    return evaluate_on_images(model, corpus)


def evaluate_on_images(model: Model, corpus: Corpus) -> Evaluation:
    """Score both heads of a model on images of a corpus. Recordings of digital silence are left out.

    Args:
        model: The model.
        corpus: Features of recordings for each member, read without overlap.

    Raises:
        ManifestError: If no recording is left.
    """
    audible = [r for i, r in enumerate(corpus.recordings) if corpus.voting[corpus.recording == i].any()]
    if not audible:
        raise ManifestError("there is nothing to score: every segment of every recording is digital silence")
    lacking = (note for head in HEADS if (note := model.lacking(head)))
    notes = (*leakage_note(model.provenance), *notes_of(corpus, len(audible)), *lacking)
    corpus = corpus.take(audible)
    truth = np.array([model.scenes.index(r.scene) for r in corpus.recordings], dtype=np.int64)
    n = len(model.scenes)
    scores: dict[str, HeadScores] = {}
    log_posterior: dict[str, Float64[np.ndarray, "recording scene"]] = {}
    for head in HEADS:
        predictions = predict(model, corpus, head)
        scores[head] = HeadScores(
            evaluate(predictions.segment, truth[predictions.recording_of], n),
            evaluate(predictions.recording, truth, n),
            evaluate(predictions.calibrated, truth, n),
        )
        log_posterior[head] = predictions.calibrated
    trained_on = set(model.provenance.get("trained_on", ()))
    n_trained_on = sum(h[:HASH_DIGITS] in trained_on for h in corpus.content_hash)
    return Evaluation(
        scores,
        model.scenes,
        len(audible),
        n_trained_on,
        notes,
        corpus.recordings,
        truth,
        log_posterior,
        corpus.native_hz,
    )


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    """Return values for JSON, which has no NaN."""
    return {name: None if value != value else value for name, value in values.items()}


def as_dict(
    evaluation: Evaluation, head: Head | None = None, parts: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """Convert an evaluation to plain values for JSON.

    Args:
        evaluation: The scores.
        head: Classifier of the scores of `parts`.
        parts: Columns to score by: the value of each recording.
    """

    def plain(metrics: Metrics) -> dict[str, Any] | None:
        if metrics.n == 0:
            return None
        names = ("n", "accuracy", "macro_f1", "macro_precision", "log_loss", "calibration_error")
        return {name: getattr(metrics, name) for name in names} | {"confusion": metrics.confusion.tolist()}

    by = {
        column: [asdict(part) for part in evaluation.by_value(values, head)]
        for column, values in (parts or {}).items()
        if head
    }
    return {
        "scenes": list(evaluation.scenes),
        "recordings": evaluation.n_recordings,
        "trained_on": evaluation.n_trained_on,
        "heads": {
            name: {
                "segment": plain(s.segment),
                "recording": plain(s.recording),
                "calibrated": plain(s.calibrated),
                "by_scene": [_without_nan(asdict(score)) for score in evaluation.by_scene(name)],
            }
            for name, s in evaluation.scores.items()
        },
        "notes": list(evaluation.notes),
    } | ({"by": by} if by else {})
