"""The commands as functions, with the command line's defaults.

    soundscene.scan("folder").to_frame()
    soundscene.train("manifest.csv", "model.safetensors", test="fold=1")
    soundscene.evaluate("model.safetensors", "manifest.csv", test="fold=1")
    soundscene.predict("model.safetensors", ["street.wav", (samples, 44100)]).to_frame()

A model is a file, or what `soundscene.load` returned. Notes of a prediction are in it. Unlike methods of `Predictor`, these
functions warn of nothing.
"""

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float32

from soundscene import timelines
from soundscene.arguments import (
    CorpusLike,
    as_list,
    as_manifest,
    as_path,
    check_number,
    check_test,
    checked_source,
    each_source,
    is_many,
)
from soundscene.audio.arrays import source_name
from soundscene.batch.embeddings import check_suffix, join_embeddings
from soundscene.data.scan import N_FOLDS
from soundscene.data.table import ScanResult, scan_recordings
from soundscene.errors import AudioError, SceneError, check_choice
from soundscene.extras import require
from soundscene.loading import AnyPredictor, ModelLike, PathLike, load_any, load_predictor
from soundscene.model import Model
from soundscene.prediction import Predictions, ScenePrediction
from soundscene.predictor import Predictor, load
from soundscene.recipe import Recipe
from soundscene.scoring.evaluation import Evaluation
from soundscene.types import Head, Timeline

if TYPE_CHECKING:
    from soundscene.systems.saved import SavedSystem

CORES = os.cpu_count() or 1
ERRORS, PER = ("raise", "keep"), ("recording", "segment")


def scan(
    source: PathLike,
    out: PathLike | None = None,
    *,
    group: str | None = None,
    folds: int = N_FOLDS,
    seed: int = 0,
    layout: str | None = None,
    split_files: PathLike | None = None,
    columns: Mapping[str, str] | None = None,
    force: bool = False,
) -> ScanResult:
    """Make a manifest of a folder of recordings: scenes by folder, groups by name, folds by group.

    Args:
        source: Folder of recordings; a CSV to group; the zip of LITIS.
        out: Manifest (CSV) to write; by default no file is written.
        group: Which files are excerpts of one recording: "stem", "parent", "none" or a regular expression.
        folds: Folds to deal, by recording.
        seed: Of the folds.
        layout: Of a published corpus; by default found.
        split_files: Folder of split files of LITIS.
        columns: Names in a CSV, by the name that a column gets here, such as {"scene": "habitat"}.
        force: Whether to replace a manifest that differs.

    Returns:
        The rows, as a manifest and a data frame; `train` and `evaluate` take it. Its `unreadable` says what cannot be read.

    Raises:
        ManifestError: There is nothing to find, or the manifest cannot be written.
    """
    place = None if out is None else as_path("out", out, "a file to write")
    found = scan_recordings(
        as_path("source", source, "a folder, a CSV, or the zip of LITIS"),
        place,
        group=group,
        n_folds=folds,
        seed=seed,
        layout=layout,
        split_files=None if split_files is None else Path(split_files),
        columns=columns,
    )
    if place is not None:
        found.write(place, force=force)
    return found


def train(
    manifest: CorpusLike,
    out: PathLike,
    *,
    test: str | None = None,
    systems: str | Sequence[str] = (),
    recipe: str | Recipe | None = None,
    settings: str | Sequence[str] = (),
    device: str = "auto",
    skip_broken: bool = False,
    workers: int = CORES,
    backbone: PathLike | None = None,
    licence: str | None = None,
) -> Predictor:
    """Train a model from a manifest; call it again with the same arguments to resume.

    Args:
        manifest: CSV with the columns path and scene, and better also group; or what `scan` returned, or a folder, which is
            scanned.
        out: Model file (.safetensors) to write.
        test: Rows to leave out, such as "fold=1".
        systems: Members of the model, such as ["att-crnn-mel", "att-crnn-gammatone"], or one. By default, without a
            recipe, what `soundscene train` chooses.
        recipe: A recipe, its name or TOML file. By default, networks that `systems` names start from "small".
        settings: Changes of recipe values, such as ["training.epochs=30"].
        device: "auto", "cpu", "cuda" or "mps".
        skip_broken: Leave out unreadable recordings; the model's provenance does not list them.
        workers: Threads that read audio.
        backbone: File of a frozen backbone; by default the one that `soundscene backbone` wrote.
        licence: Licence of the recordings whose rows state none in a column licence.

    Returns:
        The model, ready to predict. Notes, such as what was chosen where no systems are given, are in its
        `model.provenance["notes"]`.

    Raises:
        SceneError: Of any kind; before the training where it can be known before.
    """
    require("soundscene.train", "train")
    from soundscene.pipeline import train_on_manifest
    from soundscene.systems.choice import training_recipes
    from soundscene.training.device import make_fabric

    check_test(test)
    place = as_path("out", out, "a model file to write (.safetensors)")
    recipes, notes = training_recipes(as_list(systems), recipe, as_list(settings))
    train_on_manifest(
        as_manifest(manifest),
        place,
        recipes,
        test=test,
        fabric=make_fabric(device),
        workers=workers,
        skipped=(lambda why: None) if skip_broken else None,
        backbone=None if backbone is None else as_path("backbone", backbone, "a file"),
        licence=licence,
        notes=notes,
    )
    return load(place)


def evaluate(model: ModelLike, manifest: CorpusLike, *, test: str | None = None, workers: int = CORES) -> Evaluation:
    """Score a model on a manifest, by segment and by recording, with both heads.

    Args:
        model: File or predictor; also a file of another system, such as HOG.
        manifest: CSV with the columns path and scene; or what `scan` returned, or a folder, which is scanned.
        test: Rows to score, such as "fold=1"; by default all.
        workers: Threads that read audio.

    Returns:
        Accuracy, F1, log loss and calibration error of each head, by segment and by recording.

    Raises:
        SceneError: Of any kind.
    """
    require("soundscene.evaluate", "train")
    check_test(test)
    predictor = load_any(model, "soundscene.evaluate")
    if isinstance(predictor, Predictor):
        from soundscene.pipeline import evaluate_on_manifest

        return evaluate_on_manifest(_trained(predictor), as_manifest(manifest), test=test, workers=workers)
    from soundscene.systems.saved_evaluation import evaluate_system

    return evaluate_system(_saved(predictor, "evaluated"), as_manifest(manifest), test=test, workers=workers)


def predict(
    model: ModelLike, source: Any, *, workers: int = CORES, errors: Literal["raise", "keep"] = "raise"
) -> ScenePrediction | Predictions:
    """Predict a recording, or each of several.

    Args:
        model: File or predictor; also a file of another system, such as HOG.
        source: A file, a folder, (samples, sample rate) or {"array": ..., "sampling_rate": ...}; or a list of them,
            but not of folders.
        workers: Files at a time.
        errors: Whether an unreadable source of several ends the call, or its error stands in its place.

    Returns:
        A prediction for one recording; a list for a folder or several.

    Raises:
        AudioError: A recording cannot be used.
        SceneError: The model cannot be loaded.
    """
    check_choice("errors", errors, ERRORS)
    predictor = load_any(model, "soundscene.predict")
    if not is_many(source):
        return predictor.predict(checked_source(source), warn=False)
    predictions = Predictions()
    for prediction in _each(predictor, list(each_source(source)), workers):
        if isinstance(prediction, SceneError) and errors == "raise":
            raise prediction
        predictions.append(prediction)
    return predictions


def timeline(model: ModelLike, source: Any, *, stay_s: float = timelines.DEFAULT_STAY_S) -> Timeline:
    """Segment a long recording into scenes over time.

    Args:
        model: File or predictor; also a file of another system that has segments, such as a temporal transformer.
        source: A recording, as in `predict`.
        stay_s: Expected stay in a scene, in seconds.

    Returns:
        Stretches of one scene, with their probability, and the changes between them.

    Raises:
        SceneError: Of any kind.
    """
    predictor = load_any(model, "soundscene.timeline")
    if not isinstance(predictor, Predictor):
        from soundscene.systems.segment_model import segment_predictor

        name = os.fspath(model) if isinstance(model, str | os.PathLike) else "model"
        predictor = segment_predictor(_saved(predictor, "segmented"), name)
    check_number("stay_s", stay_s, 0.0)
    timelines.check_stay(predictor.model, stay_s)
    return timelines.timeline(predictor.predict(checked_source(source), warn=False), predictor.model, predictor.head, stay_s)


def explain(
    model: ModelLike,
    source: Any,
    out: PathLike,
    *,
    head: Head | None = None,
    scene: str | None = None,
    member: str | None = None,
    from_s: float = 0.0,
    segments: int | None = None,
) -> Path:
    """Draw the attention and attribution behind the prediction of a recording.

    Args:
        model: File or predictor.
        source: A recording, as in `predict`.
        out: Picture to write: .png, .svg, or .html (a page).
        head: Classifier, by default the recipe's choice.
        scene: Scene to attribute, by default the predicted one.
        member: Member of the model to draw, by default the first with attention.
        from_s: Start of the picture, in seconds.
        segments: Segments to draw, by default 15.

    Returns:
        The path of the picture.

    Raises:
        SceneError: Of any kind.
    """
    require("soundscene.explain", "explain")
    from soundscene.explanation.recording import SEGMENTS
    from soundscene.explanation.write import explain_recording

    place = as_path("out", out, "a picture to write")
    check_number("from_s", from_s, 0.0)
    most = SEGMENTS if segments is None else segments
    check_number("segments", most, 1.0)
    explain_recording(_trained(model), source, place, head=head, scene=scene, from_s=from_s, most=int(most), member=member)
    return place


def embed(
    model: ModelLike,
    source: Any,
    *,
    member: str | None = None,
    per: Literal["recording", "segment"] = "recording",
    workers: int = CORES,
    errors: Literal["raise", "keep"] = "raise",
    out: PathLike | None = None,
) -> Float32[np.ndarray, "row embedding"]:
    """Compute embeddings: what the heads of a model read.

    Args:
        model: File or predictor.
        source: A recording, a folder, or several recordings, as in `predict`.
        member: Name of a member; by default the embeddings of all members, one after the other.
        per: A row per recording, the mean over its segments, or a row per segment.
        workers: Files at a time.
        errors: Whether an unreadable source ends the call, or a row of NaN stands in its place.
        out: File to write as well (.npy, .parquet, .csv), with the path of each row, as `soundscene embed` does. A row of
            NaN is not written.

    Returns:
        [recording or segment, embedding], in the order of the sources.

    Raises:
        AudioError: A recording cannot be used.
        SceneError: The model has no such member, or the file cannot be written.
    """
    check_choice("per", per, PER)
    check_choice("errors", errors, ERRORS)
    place = None if out is None else as_path("out", out, "a file to write")
    predictor = load_predictor(model)
    chosen = predictor.members_named(member)
    if place is not None:
        require("soundscene.embed", *(["parquet"] if place.suffix.lower() == ".parquet" else []))
        check_suffix(place)
    rows: list[tuple[str, Float32[np.ndarray, "row embedding"] | None]] = []
    with closing(_embed_each(predictor, list(each_source(source)), workers)) as pairs:
        for one, of_members in pairs:
            if isinstance(of_members, SceneError):
                if errors == "raise" or not isinstance(of_members, AudioError):
                    raise of_members
                rows.append((source_name(one), None))
            else:
                joined = np.concatenate([of_members[i] for i in chosen], axis=1)
                rows.append((source_name(one), joined if per == "segment" else joined.mean(axis=0, keepdims=True)))
    if place is not None:
        found = [(name, vector) for name, vectors in rows if vectors is not None for vector in vectors]
        join_embeddings(found).write(place)
    width = sum(predictor.embedding_sizes[i] for i in chosen)
    nothing = np.full((1, width), np.nan, np.float32)
    return np.concatenate([np.zeros((0, width), np.float32), *(nothing if v is None else v for _, v in rows)])


def _trained(model: ModelLike) -> Model:
    found = load_predictor(model).model
    if not isinstance(found, Model):
        raise SceneError("an exported model only predicts; give the model file (.safetensors)")
    return found


def _saved(predictor: AnyPredictor, done: str) -> "SavedSystem":
    from soundscene.systems.saved import SavedSystem

    if not isinstance(predictor, SavedSystem):
        raise SceneError(f"a model of type {type(predictor).__name__}: only models of soundscene are {done}")
    return predictor


def _each(predictor: AnyPredictor, sources: Sequence[Any], workers: int) -> Iterator[ScenePrediction | SceneError]:
    """Predict each source; files in parallel."""
    if all(isinstance(source, str | os.PathLike) for source in sources):
        for path, found in predictor.predict_each([os.fspath(s) for s in sources], workers):
            yield _named(found, path)
        return
    for source in sources:
        try:
            yield predictor.predict(checked_source(source), warn=False)
        except AudioError as error:
            yield _named(error, source)


def _named(found: ScenePrediction | SceneError, source: Any) -> ScenePrediction | SceneError:
    """Give an error the name of its recording, which a prediction has already."""
    if isinstance(found, SceneError):
        found.source = source_name(source)
    return found


def _embed_each(
    predictor: Predictor, sources: Sequence[Any], workers: int
) -> Generator[tuple[Any, list[Float32[np.ndarray, "segment _"]] | SceneError], None, None]:
    """Yield each source with the embeddings of its segments by each member; files in parallel."""
    if all(isinstance(source, str | os.PathLike) for source in sources):
        yield from predictor.embed_each([os.fspath(s) for s in sources], workers, segments=True)
        return
    for source in sources:
        try:
            yield source, predictor.embed(checked_source(source))[1]
        except AudioError as error:
            yield source, error
