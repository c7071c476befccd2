"""Push a model to the Hugging Face Hub, with a card made from its file and from an evaluation."""

import hashlib
from pathlib import Path

from soundscene.bundle import is_system, load_model
from soundscene.data.manifest import Manifest
from soundscene.errors import BundleError
from soundscene.extras import require
from soundscene.hub import check_repo, upload
from soundscene.model_card import CardFacts, model_card
from soundscene.model_facts import model_facts
from soundscene.scoring.evaluation import Evaluation


def make_card(
    model: Path,
    repo: str,
    corpus: Manifest | None = None,
    *,
    test: str | None = None,
    licence: str | None = None,
    workers: int = 1,
) -> str:
    """Return the card of a model file; makes no request.

    Args:
        model: Model file (.safetensors).
        repo: owner/name.
        corpus: Recordings to evaluate it on; without them the card has no accuracy.
        test: Their test part, such as "fold=1".
        licence: Identifier of the model's licence, such as "apache-2.0".
        workers: Threads that read audio.

    Raises:
        SceneError: The model cannot be read, or not be evaluated.
    """
    repo = check_repo(repo)
    if model.suffix.lower() == ".onnx":
        raise BundleError(f"{model}: an exported model does not record its training; push the model file (.safetensors)")
    if is_system(model):
        require("push", "experiment")
        from soundscene.systems.saved import load_system
        from soundscene.systems.saved_evaluation import evaluate_system

        saved = load_system(model)
        facts, head, usual = saved.facts, saved.head, None
        scores = None if corpus is None else evaluate_system(saved, corpus, test=test, workers=workers)
    else:
        loaded = load_model(model)
        facts, head, usual = model_facts(loaded), loaded.head, loaded.usual
        scores: Evaluation | None = None
        if corpus is not None:
            require("push", "train")
            from soundscene.pipeline import evaluate_on_manifest

            scores = evaluate_on_manifest(loaded, corpus, test=test, workers=workers)
    content = model.read_bytes()
    digest, name = hashlib.sha256(content).hexdigest(), "" if corpus is None else corpus.path.name
    return model_card(CardFacts(repo, digest, len(content), facts, head, usual, licence, scores, name, test))


def push(model: Path, repo: str, card: str, *, private: bool = False, revision: str | None = None) -> str:
    """Write a model and its card to a repository of the Hub.

    Args:
        model: Model file.
        repo: owner/name.
        card: From `make_card`.
        private: Whether a new repository is private.
        revision: Branch; by default the main one.

    Returns:
        The reference of this commit, hf://owner/name@commit.

    Raises:
        BundleError: The Hub refuses it, or cannot be reached.
    """
    repo = check_repo(repo)
    return f"hf://{repo}@{upload(repo, model, card, private=private, revision=revision)}"
