"""The page of file formats: columns and keys are those of the code. One without a remark here fails the build."""

from collections.abc import Iterable

import numpy as np

from docs_site.commands import escape
from soundscene import timelines
from soundscene.batch import rows as batch_rows
from soundscene.bundle import FORMAT, SYSTEM_VERSION, VERSION
from soundscene.cli import listen_run
from soundscene.cli import rows as printed_rows
from soundscene.data.columns import ALIASES, SEPARATORS, SPOKEN
from soundscene.prediction import ScenePrediction
from soundscene.stored_recipe import LATER

_SECONDS = "seconds from the start of the recording or stream"
REMARKS = {
    "path": "of the recording, as it was given",
    "scene": "the most probable one",
    "probability": "of that scene",
    "duration_s": "length of the recording in seconds",
    "unfamiliarity": "larger is less familiar; empty if the model has no unknown detection",
    "unfamiliarity_threshold": "above it a recording is unknown",
    "unknown": "whether it is less familiar than the threshold",
    "error": "why there is no prediction; the other columns are empty then",
    "notes": "what may make the prediction worse",
    "posterior": "probability of each scene, by name",
    "start_s": _SECONDS,
    "end_s": _SECONDS,
    "change_probability": "that the scene changed within six seconds of start_s; empty for the first span",
    "start_time": "time of day, if it is known when the recording began",
    "end_time": "the same of the end",
    "n_segments": "segments in the window that voted",
    "silent": "whether all samples of the segment are zero",
    "lost_s": "seconds of the segment that never arrived",
    "segment_scene": "the most probable scene of the last segment alone",
    "segment_probability": "its probability",
    "latency_s": "seconds from the last block of the segment to the prediction",
    "delay_s": "seconds from the end of the segment to the prediction",
    "dropouts": "how often the device has discarded audio so far",
    "overruns": "how often the queue was full so far",
}
_MANIFEST = {
    "path": "of the file; relative to the CSV, or absolute",
    "scene": "its label",
    "group": "the recording, place or day that it belongs to; a row without one is its own group",
    "fold": "in which fold it is tested",
}


def formats_page() -> str:
    """Return the Markdown of the page."""
    example = ScenePrediction("", 0.0, ("a",), np.ones(1), ())
    separators = ", ".join(SPOKEN[separator] for separator in SEPARATORS)
    blocks = [
        "# File formats",
        "Numbers are seconds, hertz or probabilities. Every file is written whole under its name, or not at all.",
        "## Manifest",
        f"A CSV, UTF-8 or UTF-16, separated by {separators}. Other columns are kept and can name a test part "
        "(`--test COLUMN=VALUE`). The licences in a column `licence` or `license` are counted into the model.",
        table(("column", "also called", ""), ((name, ", ".join(ALIASES[name][1:]), _MANIFEST[name]) for name in ALIASES)),
        "## Predictions printed, or in one file",
        "`predict --format csv`, `--out FILE.csv`, `.jsonl` or `.parquet`. Behind these columns stands the probability of "
        "each scene under its name; a scene with the name of a column has the column `p(NAME)`. With several models the "
        "column `model` comes first.",
        columns(printed_rows.COLUMNS),
        "`predict --format json` and `jsonl`, and `ScenePrediction.to_dict`:",
        columns(example.to_dict()),
        "## Folder of predictions",
        "`predict --out FOLDER`: shards `part-00000.csv` (or `.jsonl`, `.parquet`), each whole, and `run.json`, which says "
        "what they were computed with. Rerun the command to resume. Behind these columns: the probability of each scene.",
        columns(batch_rows.COLUMNS),
        "## Timeline",
        "`timeline --format csv`, `json` or `--out`: a row for each stretch of one scene.",
        columns(timelines.COLUMNS),
        "## Live",
        "`listen --format csv` and `jsonl`: a row for each prediction.",
        columns(listen_run.COLUMNS),
        "## Embeddings",
        "`embed --out FILE.csv` or `.parquet`: the column `path`, then `e0`, `e1` and so on. A `.npy` holds the matrix, "
        "and `X.paths.csv` beside `X.npy` the path of each row.",
        "## Run folder",
        "`experiment --out FOLDER`: `plan.json` (recordings, splits, systems, seeds), and a safetensors file for each "
        "training with all predictions of its test part: [experiment.results](api/soundscene.experiment.results.rst).",
        "## Model",
        f"A safetensors file; no code is run when it is loaded. Its metadata are `format` (`{FORMAT}`), `bundle` (JSON: "
        "scenes, recipe of each member, temperatures, provenance) and `sha256`, of the JSON and all tensors. "
        "`soundscene info MODEL` shows them. Version 1 is a model of one network that soundscene 0.1 can "
        f"compute, which 0.1 reads (`{LATER}`: keys of the recipe that 0.1 lacks and only training needs), "
        f"{VERSION} one of several members or with a pretrained backbone, and {SYSTEM_VERSION} another system of Table 3. "
        "An exported model (`.onnx`): "
        "[a model outside of Python](../guide/export.md).",
    ]
    return "\n\n".join(blocks) + "\n"


def columns(names: Iterable[str]) -> str:
    """Return the table of columns with their remarks.

    Args:
        names: Of the columns, in order.
    """
    return table(("column", ""), ((name, REMARKS[name]) for name in names))


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table; the first cell of each row is code.

    Args:
        head: Titles.
        rows: Cells.
    """
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| `{first}` | {' | '.join(map(escape, rest))} |" for first, *rest in rows]
    return "\n".join(lines)
