"""Push a model to the Hugging Face Hub, with a card made from its file and from an evaluation."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from soundscene.data.manifest import Manifest
from soundscene.errors import BundleError
from soundscene.extras import require
from soundscene.graph_model import SUFFIX, load_graph
from soundscene.hub import EXPORTED_FILE, MODEL_FILE, check_repo, upload
from soundscene.model_card import CardFacts, PushedFile, model_card
from soundscene.scoring.evaluation import Evaluation
from soundscene.signal.ranges import TrainingRange
from soundscene.texts import short, show
from soundscene.types import Head


def make_card(
    model: Path,
    repo: str,
    corpus: Manifest | None = None,
    *,
    test: str | None = None,
    licence: str | None = None,
    workers: int = 1,
    exported: Path | None = None,
) -> str:
    """Return the card of a model file; makes no request.

    Args:
        model: Model file (.safetensors), or an exported one (.onnx), whose card says what its metadata say.
        repo: owner/name.
        corpus: Recordings to evaluate it on; without them the card has no accuracy.
        test: Their test part, such as "fold=1".
        licence: Identifier of the model's licence, such as "apache-2.0".
        workers: Threads that read audio.
        exported: Exported file that is pushed beside the model file.

    Raises:
        SceneError: A file cannot be read, the model not be evaluated, or the exported file is of another model.
    """
    repo = check_repo(repo)
    if is_exported(model):
        if exported is not None or corpus is not None:
            what = "--on evaluates a model file" if corpus is not None else "--onnx goes with a model file"
            raise BundleError(
                f"{model}: is an exported model, and {what}: soundscene push MODEL.safetensors {repo} --onnx {model}"
            )
        graph = load_graph(model)
        return model_card(CardFacts(repo, _pushed(model), graph.facts.to_facts(), graph.head, graph.usual, licence))
    beside, weights = (None, "") if exported is None else _beside(exported, model)
    facts, head, usual, scores = _of_model_file(model, corpus, test, workers)
    name = "" if corpus is None else corpus.path.name
    return model_card(CardFacts(repo, _pushed(model), facts, head, usual, licence, scores, name, test, beside, weights))


def _of_model_file(
    model: Path, corpus: Manifest | None, test: str | None, workers: int
) -> tuple[dict[str, Any], Head, TrainingRange | None, Evaluation | None]:
    """Return facts, head, range and scores of a model file; what needs PyTorch is imported here."""
    from soundscene.bundle import is_system, load_model

    if is_system(model):
        require("push", "experiment")
        from soundscene.systems.saved import load_system
        from soundscene.systems.saved_evaluation import evaluate_system

        saved = load_system(model)
        scores = None if corpus is None else evaluate_system(saved, corpus, test=test, workers=workers)
        return saved.facts, saved.head, None, scores
    from soundscene.model_facts import model_facts

    loaded = load_model(model)
    scores = None
    if corpus is not None:
        require("push", "train")
        from soundscene.pipeline import evaluate_on_manifest

        scores = evaluate_on_manifest(loaded, corpus, test=test, workers=workers)
    return model_facts(loaded), loaded.head, loaded.usual, scores


def is_exported(model: Path) -> bool:
    """Whether a file is an exported model, by its suffix.

    Args:
        model: The file.
    """
    return model.suffix.lower() == SUFFIX


def _pushed(path: Path) -> PushedFile:
    content = path.read_bytes()
    return PushedFile(hashlib.sha256(content).hexdigest(), len(content))


def _beside(exported: Path, model: Path) -> tuple[PushedFile, str]:
    """Check that an exported file is of this very model; return what it is, and its weights."""
    facts = load_graph(exported).facts
    own = hashlib.sha256(model.read_bytes()).hexdigest()
    if facts.digest != own:
        raise BundleError(
            f"{exported}: was exported from another model file (SHA-256 {show(short(facts.digest))}), {model} has {own}; "
            f"export it again: soundscene export {model} --out {exported}"
        )
    return _pushed(exported), facts.weights


def push(
    model: Path,
    repo: str,
    card: str,
    *,
    private: bool = False,
    revision: str | None = None,
    exported: Path | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> str:
    """Write a model and its card to a repository of the Hub.

    Args:
        model: Model file, or an exported one.
        repo: owner/name.
        card: From `make_card`.
        private: Whether a new repository is private.
        revision: Branch; by default the main one.
        exported: Exported file of the same model, to be beside it.
        note: Called with a sentence on what was removed.

    Returns:
        The reference of this commit, hf://owner/name@commit.

    Raises:
        BundleError: The Hub refuses it, or cannot be reached; or an exported model alone would be beside a model file.
    """
    repo = check_repo(repo)
    files = {EXPORTED_FILE if is_exported(model) else MODEL_FILE: model}
    files |= {} if exported is None else {EXPORTED_FILE: exported}
    commit, removed = upload(repo, files, card, private=private, revision=revision)
    for name in removed:
        note(f"hf://{repo}: {name}, which was of another model, is removed; --onnx FILE pushes a new one")
    return f"hf://{repo}@{commit}"
