"""The timeline of a long recording: its scenes over time, their changes, and the probability of both.

A `ScenePrediction` has a posterior every two seconds, from which the decoder (`scoring.decoding`) makes spans. Accuracy and
cost: docs/decisions/0070-timeline.md.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from jaxtyping import Float64
from scipy.special import log_softmax

from soundscene.errors import SceneError
from soundscene.extras import require
from soundscene.files import atomic_path
from soundscene.prediction import ScenePrediction
from soundscene.scene_model import SceneModel
from soundscene.scoring.decoding import Decoded, StickyScenes, change_probability, decode
from soundscene.scoring.metrics import PROBABILITY_FLOOR
from soundscene.texts import csv_cell, show
from soundscene.types import Change, Head, Span, Timeline

DEFAULT_STAY_S = 120.0  # chosen on rendered sound (0070)
LONGEST_STAY_S = 1e9  # thirty years, as good as for ever
NEAR = 3  # segments to each side of a change within which it counts as detected: 6 s
COLUMNS = ("path", "start_s", "end_s", "scene", "probability", "change_probability", "start_time", "end_time")
SILENCE = "(silence)"  # in the place of a scene, where no span is


def timeline(
    prediction: ScenePrediction,
    model: SceneModel,
    head: Head,
    stay_s: float = DEFAULT_STAY_S,
    started: datetime | None = None,
) -> Timeline:
    """Decode the segments of a prediction into spans of scenes.

    Posteriors are tempered by the head's temperature. A probability below 1e-15 counts as 1e-15, so that no single segment
    rules a scene out. A silence shorter than stay_s between two segments of one scene belongs to its span. A longer one, and
    any between two scenes, belongs to none.

    Args:
        prediction: Prediction of a recording.
        model: The model that made it.
        head: The head that made it.
        stay_s: Expected stay in a scene, in seconds.
        started: When the recording began.

    Raises:
        SceneError: If the stay is too short or not finite.
    """
    check_stay(model, stay_s)
    start_s = np.array([segment.start_s for segment in prediction.segments], np.float64)
    end_s = np.array([segment.end_s for segment in prediction.segments], np.float64)
    posterior = np.stack([segment.posterior for segment in prediction.segments]).astype(np.float64)
    decoded = decode(np.log(np.maximum(posterior, PROBABILITY_FLOOR)), start_s, _hidden_markov(model, head, stay_s))
    spans, changes = _spans(decoded, end_s, prediction.scenes)
    return Timeline(
        source=prediction.source,
        duration_s=float(prediction.duration_s),
        scenes=prediction.scenes,
        stay_s=stay_s,
        spans=spans,
        changes=changes,
        start_s=start_s,
        end_s=end_s,
        posterior=posterior,
        marginal=np.exp(decoded.log_marginal),
        notes=prediction.notes,
        tempered=np.exp(log_softmax(decoded.log_emission, axis=1)),
        started=started,
    )


def check_stay(model: SceneModel, stay_s: float) -> None:
    """Check an expected stay.

    Args:
        model: The model.
        stay_s: Expected stay in a scene, in seconds.

    Raises:
        SceneError: If `timeline` would refuse it.
    """
    segment_s, n = model.audio.segment_s, len(model.scenes)
    shortest_s = segment_s * n / (n - 1)
    if not shortest_s <= stay_s <= LONGEST_STAY_S:
        raise SceneError(
            f"an expected stay of {stay_s:g} s: allowed are {shortest_s:.4g} s (every segment on its own) to "
            f"{LONGEST_STAY_S:g} s; minutes are usual"
        )


def training_prior(model: SceneModel, head: Head) -> Float64[np.ndarray, " scene"]:
    """Return the prior of each scene that the posteriors of a head hold, see `model.Model.training_prior`.

    Args:
        model: The model.
        head: "softmax" or "svm".
    """
    return model.training_prior(head)


def _hidden_markov(model: SceneModel, head: Head, stay_s: float) -> StickyScenes:
    prior = np.log(training_prior(model, head))
    return StickyScenes(prior, stay_s, model.audio.segment_s, model.temperature[head])


def _spans(
    decoded: Decoded, end_s: Float64[np.ndarray, " segment"], scenes: tuple[str, ...]
) -> tuple[tuple[Span, ...], tuple[Change, ...]]:
    """Cut the path where the scene changes and where silence lasts longer than a stay."""
    start_s, path = decoded.start_s, decoded.path
    silence_s = start_s[1:] - end_s[:-1]
    cuts = np.flatnonzero((np.diff(path) != 0) | (silence_s > decoded.model.stay_s)) + 1
    bounds = [0, *cuts.tolist(), len(path)]
    # The last piece of a recording overlaps the segment before: a span ends where the next one begins.
    closing = np.append(np.minimum(end_s[:-1], start_s[1:]), end_s[-1])
    probability = np.exp(decoded.log_marginal[np.arange(len(path)), path])
    spans = [
        Span(float(start_s[i]), float(closing[j - 1]), scenes[path[i]], float(probability[i:j].mean()))
        for i, j in pairwise(bounds)
    ]
    changes = []
    for left, at, right in zip(bounds, bounds[1:], bounds[2:], strict=False):
        if path[at - 1] != path[at]:
            probability_of_change = change_probability(decoded, at, min(NEAR, at - left), min(NEAR, right - at))
            changes.append(Change(float(start_s[at]), scenes[path[at - 1]], scenes[path[at]], probability_of_change))
    return tuple(spans), tuple(changes)


# --- as rows and files ------------------------------------------------------------------------------------------------


def rows(decoded: Timeline) -> Iterator[dict[str, Any]]:
    """Yield a row per span, with the keys of `COLUMNS`.

    The change_probability is that of the change from the span before, as in `Change`. It is None for the first span, and
    after a long silence in which the scene stayed the same.
    """
    change_probabilities = {change.time_s: change.probability for change in decoded.changes}
    for span in decoded.spans:
        numbers = (span.start_s, span.end_s, span.scene, span.probability, change_probabilities.get(span.start_s))
        times = (wall_time(decoded, span.start_s), wall_time(decoded, span.end_s))
        yield dict(zip(COLUMNS, (decoded.source, *numbers, *times), strict=True))


def wall_time(decoded: Timeline, seconds: float) -> str | None:
    """Return a second of a recording as a time of the day in ISO 8601; None where nobody knows when it began.

    Args:
        decoded: The timeline.
        seconds: From the start of the recording.
    """
    if decoded.started is None:
        return None
    return (decoded.started + timedelta(seconds=seconds)).isoformat(timespec="seconds")


def shares(decoded: Sequence[Timeline]) -> list[tuple[str, float, float]]:
    """Return how long each scene lasts in one or several recordings, and its share of their time, the longest first.

    What no span covers counts as `SILENCE`, but for a rest at the end that is too short for a segment, which does not count.
    Every scene of the model is in the list.

    Args:
        decoded: Timelines of one model.

    Returns:
        Name, seconds and share of each scene.
    """
    seconds = dict.fromkeys((scene for line in decoded for scene in line.scenes), 0.0)
    for span in (span for line in decoded for span in line.spans):
        seconds[span.scene] += span.end_s - span.start_s
    total = sum(_judged_s(line) for line in decoded)
    silent = total - sum(seconds.values())
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    if silent > 1e-3 * total:
        ordered.append((SILENCE, silent))
    return [(scene, s, s / total if total else 0.0) for scene, s in ordered]


def _judged_s(line: Timeline) -> float:
    """Return the seconds of a recording without a rest at its end that is shorter than a segment."""
    rest_s, segment_s = line.duration_s - line.end_s[-1], line.end_s[0] - line.start_s[0]
    return float(line.end_s[-1] if rest_s < segment_s else line.duration_s)


def write_csv(decoded: Timeline, stream: TextIO, safe: bool = False, header: bool = True) -> None:
    """Write a header and a line per span, seconds to the millisecond, what is missing empty.

    Args:
        decoded: The timeline.
        stream: Text file to write to.
        safe: Whether no cell may be taken for a formula by a spreadsheet.
        header: Whether to write the header: not for a second recording in one file.
    """
    writer = csv.writer(stream, lineterminator="\n")
    if header:
        writer.writerow(COLUMNS)
    for row in rows(decoded):
        seconds, change = (f"{row['start_s']:.3f}", f"{row['end_s']:.3f}"), row["change_probability"]
        change_cell = "" if change is None else f"{change:.6f}"
        path, scene = csv_cell(row["path"], safe), csv_cell(row["scene"], safe)
        times = (row["start_time"] or "", row["end_time"] or "")
        writer.writerow([path, *seconds, scene, f"{row['probability']:.6f}", change_cell, *times])


def json_rows(decoded: Timeline) -> Iterator[dict[str, Any]]:
    """Yield the rows of `rows` for JSON, numbers to six digits."""
    for row in rows(decoded):
        yield {k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}


def write_json_lines(decoded: Timeline, stream: TextIO) -> None:
    """Write a line of JSON (ASCII) per span, a missing change_probability as null.

    Args:
        decoded: The timeline.
        stream: Text file to write to.
    """
    for row in json_rows(decoded):
        stream.write(json.dumps(row) + "\n")


def write_labels(decoded: Timeline, stream: TextIO) -> None:
    """Write a label track for Audacity (File, Import, Labels): start, end, scene with its probability, tab-separated.

    Args:
        decoded: The timeline.
        stream: Text file to write to.
    """
    for span in decoded.spans:
        name = show(" ".join(span.scene.split()))
        stream.write(f"{span.start_s:.6f}\t{span.end_s:.6f}\t{name} {span.probability:.2f}\n")


RAVEN = (
    "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)", "Begin Path",
    "File Offset (s)", "Scene", "Probability", "Begin Clock Time",
)  # fmt: skip


def write_raven(decoded: Sequence[Timeline], stream: TextIO, high_hz: float) -> None:
    """Write a selection table for Raven: a box per span, over all frequencies of the model.

    Times of several recordings follow each other, as in Raven, which opens them as one sequence of files.

    Args:
        decoded: Timelines, in the order in which the recordings will be opened.
        stream: Text file to write to.
        high_hz: Upper edge of the boxes.
    """
    stream.write("\t".join(RAVEN) + "\n")
    number, before_s = 0, 0.0
    for line in decoded:
        for span in line.spans:
            number += 1
            edges = (f"{before_s + span.start_s:.6f}", f"{before_s + span.end_s:.6f}", "0", f"{high_hz:g}")
            names = (" ".join(show(line.source).split()), f"{span.start_s:.6f}", show(" ".join(span.scene.split())))
            clock = (wall_time(line, span.start_s) or "").partition("T")[2][:8]
            cells = (str(number), "Spectrogram 1", "1", *edges, *names, f"{span.probability:.4f}", clock)
            stream.write("\t".join(cells) + "\n")
        before_s += line.duration_s


def write_parquet(decoded: Timeline | Sequence[Timeline], path: Path) -> None:
    """Write the rows as a Parquet file, atomically, with the expected stay in its metadata.

    Args:
        decoded: One timeline, or several of one model.
        path: File to write.

    Raises:
        SceneError: If pyarrow is missing or the file cannot be written.
    """
    check_parquet(path)
    import pyarrow
    import pyarrow.parquet

    lines = [decoded] if isinstance(decoded, Timeline) else list(decoded)
    text, number = pyarrow.string(), pyarrow.float64()
    types = dict(zip(COLUMNS, (text, number, number, text, number, number, text, text), strict=True))
    duration_s = sum(line.duration_s for line in lines)
    stay = f"{lines[0].stay_s:g}" if lines else ""
    schema = pyarrow.schema(list(types.items()), {"soundscene.stay_s": stay, "soundscene.duration_s": f"{duration_s:.3f}"})
    # the name of a file need not be text
    named = [
        row | {"path": row["path"].encode("utf-8", "backslashreplace").decode()} for line in lines for row in rows(line)
    ]
    with atomic_path(path) as unfinished:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(named, schema), unfinished)


def check_parquet(path: Path) -> None:
    """Check that the extra `parquet` is installed, which writes the file `path`.

    Raises:
        SceneError: If it is not.
    """
    require(f"{path}: Parquet", "parquet")
