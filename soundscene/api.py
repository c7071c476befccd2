"""The commands as functions, with the command line's defaults.

    soundscene.scan("folder").to_frame()
    soundscene.train("manifest.csv", "model.safetensors", test="fold=1")
    soundscene.evaluate("model.safetensors", "manifest.csv", test="fold=1")
    soundscene.predict("model.safetensors", ["street.wav", (samples, 44100)]).to_frame()

A model is a file, or what `soundscene.load` returned. Notes of a prediction are in it. Unlike methods of `Predictor`, these
functions warn of nothing.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from soundscene import timelines
from soundscene.audio.arrays import as_source
from soundscene.audio.folders import FolderSearch, sound_files
from soundscene.batch.embeddings import check_suffix, join_embeddings
from soundscene.data.manifest import Manifest
from soundscene.data.scan import N_FOLDS
from soundscene.data.source import read_source
from soundscene.data.table import ScanResult, scan_recordings
from soundscene.errors import AudioError, SceneError
from soundscene.extras import require
from soundscene.loading import AnyPredictor, ModelLike, PathLike, load_any, load_predictor
from soundscene.model import Model
from soundscene.prediction import Predictions, ScenePrediction
from soundscene.predictor import Predictor, Source, load
from soundscene.recipe import Recipe
from soundscene.scoring.evaluation import Evaluation
from soundscene.types import Head, Timeline

CorpusLike = PathLike | Manifest | ScanResult
CORES = os.cpu_count() or 1


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
    place = None if out is None else Path(out)
    found = scan_recordings(
        source,
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
    systems: Sequence[str] = (),
    recipe: str | Recipe | None = None,
    settings: Sequence[str] = (),
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
        systems: Members of the model, such as ["att-crnn-mel", "att-crnn-gammatone"]. By default, without a recipe, what
            `soundscene train` chooses.
        recipe: A recipe, its name or TOML file.
        settings: Changes of recipe values, such as ["training.epochs=30"].
        device: "auto", "cpu", "cuda" or "mps".
        skip_broken: Leave out unreadable recordings; the model's provenance does not list them.
        workers: Threads that read audio.
        backbone: File of a frozen backbone; by default the one that `soundscene backbone` wrote.
        licence: Licence of the recordings whose rows state none in a column licence.

    Returns:
        The model, ready to predict.

    Raises:
        SceneError: Of any kind; before the training where it can be known before.
    """
    require("soundscene.train", "train")
    from soundscene.pipeline import train_on_manifest
    from soundscene.systems.catalogue import training_recipes
    from soundscene.training.device import make_fabric

    recipes, _ = training_recipes(systems, recipe, settings)
    train_on_manifest(
        _manifest(manifest),
        Path(out),
        recipes,
        test=test,
        fabric=make_fabric(device),
        workers=workers,
        skipped=(lambda why: None) if skip_broken else None,
        backbone=Path(backbone) if backbone else None,
        licence=licence,
    )
    return load(out)


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
    predictor = load_any(model, "soundscene.evaluate")
    if isinstance(predictor, Predictor):
        from soundscene.pipeline import evaluate_on_manifest

        return evaluate_on_manifest(_trained(predictor), _manifest(manifest), test=test, workers=workers)
    from soundscene.systems.saved import SavedSystem
    from soundscene.systems.saved_evaluation import evaluate_system

    assert isinstance(predictor, SavedSystem)
    return evaluate_system(predictor, _manifest(manifest), test=test, workers=workers)


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
    predictor = load_any(model, "soundscene.predict")
    if not _is_many(source):
        return predictor.predict(as_source(source), warn=False)
    predictions = Predictions()
    for prediction in _each(predictor, list(_sources(source)), workers):
        if isinstance(prediction, SceneError) and errors == "raise":
            raise prediction
        predictions.append(prediction)
    return predictions


def timeline(model: ModelLike, source: Source, *, stay_s: float = timelines.DEFAULT_STAY_S) -> Timeline:
    """Segment a long recording into scenes over time.

    Args:
        model: File or predictor.
        source: A recording, as in `predict`.
        stay_s: Expected stay in a scene, in seconds.

    Returns:
        Stretches of one scene, with their probability, and the changes between them.

    Raises:
        SceneError: Of any kind.
    """
    predictor = load_predictor(model)
    timelines.check_stay(predictor.model, stay_s)
    return timelines.timeline(predictor.predict(as_source(source), warn=False), predictor.model, predictor.head, stay_s)


def explain(
    model: ModelLike, source: PathLike, out: PathLike, *, head: Head | None = None, scene: str | None = None
) -> Path:
    """Draw the attention and attribution behind the prediction of an audio file.

    Args:
        model: File or predictor.
        source: Audio file.
        out: Picture to write: .png, .svg, or .html (a page).
        head: Classifier, by default the recipe's choice.
        scene: Scene to attribute, by default the predicted one.

    Returns:
        The path of the picture.

    Raises:
        SceneError: Of any kind.
    """
    require("soundscene.explain", "explain")
    from soundscene.explanation.write import explain_recording

    explain_recording(_trained(model), Path(source), Path(out), head=head, scene=scene)
    return Path(out)


def embed(
    model: ModelLike,
    source: Any,
    *,
    member: str | None = None,
    per: Literal["recording", "segment"] = "recording",
    errors: Literal["raise", "keep"] = "raise",
    out: PathLike | None = None,
) -> Float32[np.ndarray, "row embedding"]:
    """Compute embeddings: what the heads of a model read.

    Args:
        model: File or predictor.
        source: A recording, a folder, or several recordings, as in `predict`.
        member: Name of a member; by default the embeddings of all members, one after the other.
        per: A row per recording, the mean over its segments, or a row per segment.
        errors: Whether an unreadable source ends the call, or a row of NaN stands in its place.
        out: File to write as well (.npy, .parquet, .csv), with the path of each row, as `soundscene embed` does. A row of
            NaN is not written.

    Returns:
        [recording or segment, embedding], in the order of the sources.

    Raises:
        AudioError: A recording cannot be used.
        SceneError: The model has no such member, or the file cannot be written.
    """
    predictor = load_predictor(model)
    chosen = predictor.members_named(member)
    if out is not None:
        require("soundscene.embed", *(["parquet"] if Path(out).suffix.lower() == ".parquet" else []))
        check_suffix(Path(out))
    rows: list[tuple[str, Float32[np.ndarray, "row embedding"] | None]] = []
    for one in _sources(source):
        try:
            given = as_source(one)
            joined = np.concatenate([predictor.embed(given)[1][i] for i in chosen], axis=1)
            rows.append((_name(given), joined if per == "segment" else joined.mean(axis=0, keepdims=True)))
        except AudioError:
            if errors == "raise":
                raise
            rows.append((_name(one), None))
    found = [(name, vectors) for name, vectors in rows if vectors is not None]
    if out is not None:
        table = join_embeddings([(name, vector) for name, vectors in found for vector in vectors])
        table.write(Path(out))
    width = found[0][1].shape[1] if found else 0
    nothing = np.full((1, width), np.nan, np.float32)
    return np.concatenate([np.zeros((0, width), np.float32), *(nothing if v is None else v for _, v in rows)])


def _trained(model: ModelLike) -> Model:
    found = load_predictor(model).model
    if not isinstance(found, Model):
        raise SceneError("an exported model only predicts; give the model file (.safetensors)")
    return found


def _manifest(corpus: CorpusLike) -> Manifest:
    if isinstance(corpus, ScanResult):
        return corpus.manifest
    return corpus if isinstance(corpus, Manifest) else read_source(corpus)[0]


def _is_many(source: Any) -> bool:
    """Whether a source is several: a folder, a list, an array of paths, a column of a data frame, a data set."""
    if isinstance(source, str | os.PathLike):
        return os.path.isdir(source)
    return not (isinstance(source, tuple | dict) or hasattr(source, "get_all_samples")) and isinstance(source, Iterable)


def _sources(source: Any) -> Iterable[Any]:
    """Return the recordings of a source, one or several."""
    if isinstance(source, str | os.PathLike) and os.path.isdir(source):
        return sound_files([Path(source)], FolderSearch())
    several: Any = source if _is_many(source) else [source]
    return several


def _name(source: Any) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else "array"


def _each(predictor: AnyPredictor, sources: Sequence[Any], workers: int) -> Iterator[ScenePrediction | SceneError]:
    """Predict each source; files in parallel."""
    if all(isinstance(source, str | os.PathLike) for source in sources):
        yield from (prediction for _, prediction in predictor.predict_each([os.fspath(s) for s in sources], workers))
        return
    for source in sources:
        try:
            yield predictor.predict(as_source(source), warn=False)
        except AudioError as error:
            yield error
