"""`soundscene push`: a model on the Hugging Face Hub, with a card made from its file and from an evaluation."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from soundscene.cli.corpus import open_corpus
from soundscene.cli.models import check_model
from soundscene.cli.options import CORES, OUTPUT, AnyModelArgument, ColumnsOption, TestOption, WorkersOption, extra_of
from soundscene.cli.outputs import keep_inputs
from soundscene.cli.terminal import bar, say, tell
from soundscene.errors import SceneError
from soundscene.extras import require


def push(
    model: AnyModelArgument,
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Repository; made where it is missing.")],
    manifest: Annotated[
        Path | None,
        typer.Option("--on", metavar="MANIFEST", help="Evaluate on this CSV or folder; its scores are in the card."),
    ] = None,
    test: TestOption = None,
    columns: ColumnsOption = None,
    licence: Annotated[
        str | None, typer.Option("--licence", metavar="ID", help="Licence of the model, such as apache-2.0.")
    ] = None,
    exported: Annotated[
        Path | None,
        typer.Option("--onnx", metavar="FILE", help="Also push this exported model, which predicts without PyTorch."),
    ] = None,
    revision: Annotated[str | None, typer.Option(metavar="BRANCH", help="Branch to write to. Default: main.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    card: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the card here and push nothing.", rich_help_panel=OUTPUT),
    ] = None,
    workers: WorkersOption = CORES,
) -> None:
    """Put a model on the Hugging Face Hub, with a card.

    The card states licence, data, split, accuracy by scene, calibration and limits, as recorded.

    Without --on, it says that the accuracy is not recorded. MODEL may be an exported file, whose card knows less.
    """
    check_model("push", model, [repo])
    _check_repo(model, repo)
    extras = [extra_of(model), *(["onnx"] if exported else []), *(["hub"] if card is None else [])]
    require("push", *extras, *(["train"] if manifest else []))
    if manifest is None and (test is not None or columns is not None):
        raise SceneError("--test and --columns are for the recordings of --on MANIFEST")
    listed = None if manifest is None else manifest / "manifest.csv"
    keep_inputs({"--card": card}, [model, manifest, listed, exported])
    from soundscene.files import write_atomic
    from soundscene.publish import make_card
    from soundscene.publish import push as push_model

    corpus = None if manifest is None else open_corpus(manifest, columns)
    with bar("evaluating" if manifest else "reading the model", at_once=True):
        text = make_card(model, repo, corpus, test=test, licence=licence, workers=workers, exported=exported)
    if card is not None:
        write_atomic(card, text.encode("utf-8", "backslashreplace"))
        say(f"{card}: card of {model}; nothing was pushed")
        return
    say(push_model(model, repo, text, private=private, revision=revision, exported=exported, note=tell))


def _check_repo(model: Path, repo: str) -> None:
    """Refuse a file in the place of the repository; its path may look like owner/name."""
    if os.path.isfile(repo):
        words = ["--on", repo] if Path(repo).suffix.lower() in (".csv", ".tsv") else []
        meant = shlex.join(["soundscene", "push", str(model), "OWNER/NAME", *words])
        raise SceneError(f"{repo}: is a file, expected the name of a repository: {meant}")
