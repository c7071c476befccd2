"""`soundscene evaluate` and `soundscene info`: how good a model is, and what it consists of."""

import json
import sys

from soundscene.cli.corpus import open_corpus
from soundscene.cli.options import (
    CORES,
    ColumnsOption,
    JsonOption,
    ManifestArgument,
    ModelArgument,
    TestOption,
    WorkersOption,
)
from soundscene.cli.terminal import bar, print_json, say, tell
from soundscene.extras import require


def evaluate(
    model: ModelArgument,
    manifest: ManifestArgument,
    test: TestOption = None,
    columns: ColumnsOption = None,
    workers: WorkersOption = CORES,
    as_json: JsonOption = False,
) -> None:
    """Score a model on a manifest.

    Scores are by segment and by recording, with the softmax layer and with the SVM.
    """
    require("evaluate", "train")
    from soundscene.bundle import load_model
    from soundscene.cli.tables import confusion_table, print_table, score_table
    from soundscene.pipeline import as_dict, evaluate_on_manifest

    loaded = load_model(model)
    corpus = open_corpus(manifest, columns)
    with bar("reading audio") as reading:
        result = evaluate_on_manifest(loaded, corpus, test=test, workers=workers, read_progress=reading)
    for note in result.notes:
        tell(note)
    if result.n_trained_on:
        tell(
            f"{result.n_trained_on} of {result.n_recordings} recordings are in the model's training set: scores are "
            "optimistic; use --test with the rows that training left out"
        )
    if as_json:
        print_json(as_dict(result))
        return
    print_table(score_table(result), sys.stdout)
    print_table(confusion_table(result, loaded.head), sys.stdout)


def info(model: ModelArgument, as_json: JsonOption = False) -> None:
    """Show a model's scenes, recipe and provenance."""
    require("info", "torch")
    from soundscene.bundle import load_model
    from soundscene.cli.tables import model_facts

    facts = model_facts(load_model(model))
    if as_json:
        print_json(facts)
        return
    members = {f"member {member.pop('name')}": member for member in facts.pop("members")}
    sections = members | {f"recipe.{name}": values for name, values in facts.pop("recipe").items()}
    for key, value in (facts | sections).items():
        say(f"{key:<26}{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
