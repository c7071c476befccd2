"""The timeline of a long recording: its scenes over time, their changes, and the probability of both.

A `ScenePrediction` has a posterior every two seconds, from which the decoder (`scoring.decoding`) makes spans. Accuracy and
cost: docs/decisions/0070-timeline.md.
"""

import csv
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from jaxtyping import Float64

from soundscene.errors import SceneError
from soundscene.extras import require
from soundscene.files import atomic_path
from soundscene.member import Member, NetworkMember
from soundscene.model import Model
from soundscene.prediction import ScenePrediction
from soundscene.scoring.decoding import Decoded, StickyScenes, change_probability, decode
from soundscene.scoring.metrics import PROBABILITY_FLOOR
from soundscene.texts import csv_cell, show
from soundscene.types import Change, Head, Span, Timeline

DEFAULT_STAY_S = 120.0  # chosen on rendered sound (0070)
LONGEST_STAY_S = 1e9  # thirty years, as good as for ever
NEAR = 3  # segments to each side of a change within which it counts as detected: 6 s
COLUMNS = ("path", "start_s", "end_s", "scene", "probability", "change_probability")


def timeline(prediction: ScenePrediction, model: Model, head: Head, stay_s: float = DEFAULT_STAY_S) -> Timeline:
    """Decode the segments of a prediction into spans of scenes.

    Posteriors are tempered by the head's temperature. A probability below 1e-15 counts as 1e-15, so that no single segment
    rules a scene out. A silence shorter than stay_s between two segments of one scene belongs to its span. A longer one, and
    any between two scenes, belongs to none.

    Args:
        prediction: Prediction of a recording.
        model: The model that made it.
        head: The head that made it.
        stay_s: Expected stay in a scene, in seconds.

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
    )


def check_stay(model: Model, stay_s: float) -> None:
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


def training_prior(model: Model, head: Head) -> Float64[np.ndarray, " scene"]:
    """Compute the prior of each scene that the posteriors of a head hold: of several members the product, as of posteriors.

    The prior of a member follows from the numbers of training recordings in the provenance, and is uniform if they are
    missing or do not match the scenes. The SVM is trained on the recordings as they are. The softmax layer is trained on
    balanced draws, if the recipe has them, or on pairs of different scenes, in which frequent scenes are rarer than in the
    corpus.

    Args:
        model: The model.
        head: "softmax" or "svm".

    Returns:
        Probability of each scene.
    """
    n = len(model.scenes)
    counts = model.provenance.get("recordings")
    if not isinstance(counts, dict) or set(counts) != set(model.scenes) or not all(map(_is_count, counts.values())):
        return np.full(n, 1 / n)
    share = np.array([counts[scene] for scene in model.scenes], np.float64)
    share /= share.sum()
    priors = [_prior(member, head, share) for member in model.members]
    if len(priors) == 1:
        return priors[0]
    fused = np.prod(np.stack(priors) * n, axis=0)
    return fused / fused.sum()


def _prior(member: Member, head: Head, share: Float64[np.ndarray, " scene"]) -> Float64[np.ndarray, " scene"]:
    if head == "svm" or not isinstance(member, NetworkMember):  # a member without softmax layer votes by its SVM
        return share
    training = member.recipe.training
    if training.balanced:
        return np.full(len(share), 1 / len(share))
    if training.mixing == "between-class":
        odds = share / (1 - share)
        # Half of the examples' labels come from the first of a pair, drawn by share. The second is drawn among all other
        # scenes: P(second = c) = sum over b != c of share_b share_c / (1 - share_b) = share_c (sum of odds - odds_c).
        share = share * (1 + odds.sum() - odds) / 2
    return share


def _hidden_markov(model: Model, head: Head, stay_s: float) -> StickyScenes:
    prior = np.log(training_prior(model, head))
    return StickyScenes(prior, stay_s, model.audio.segment_s, model.temperature[head])


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


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
        yield dict(zip(COLUMNS, (decoded.source, *numbers), strict=True))


def write_csv(decoded: Timeline, stream: TextIO, safe: bool = False) -> None:
    """Write a header and a line per span, seconds to the millisecond, a missing change_probability empty.

    Args:
        decoded: The timeline.
        stream: Text file to write to.
        safe: Whether no cell may be taken for a formula by a spreadsheet.
    """
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows(decoded):
        seconds, change = (f"{row['start_s']:.3f}", f"{row['end_s']:.3f}"), row["change_probability"]
        change_cell = "" if change is None else f"{change:.6f}"
        path, scene = csv_cell(row["path"], safe), csv_cell(row["scene"], safe)
        writer.writerow([path, *seconds, scene, f"{row['probability']:.6f}", change_cell])


def write_json_lines(decoded: Timeline, stream: TextIO) -> None:
    """Write a line of JSON (ASCII) per span, a missing change_probability as null.

    Args:
        decoded: The timeline.
        stream: Text file to write to.
    """
    for row in rows(decoded):
        stream.write(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}) + "\n")


def write_labels(decoded: Timeline, stream: TextIO) -> None:
    """Write a label track for Audacity (File, Import, Labels): start, end, scene with its probability, tab-separated.

    Args:
        decoded: The timeline.
        stream: Text file to write to.
    """
    for span in decoded.spans:
        name = show(" ".join(span.scene.split()))
        stream.write(f"{span.start_s:.6f}\t{span.end_s:.6f}\t{name} {span.probability:.2f}\n")


def write_parquet(decoded: Timeline, path: Path) -> None:
    """Write the rows as a Parquet file, atomically, with the expected stay in its metadata.

    Args:
        decoded: The timeline.
        path: File to write.

    Raises:
        SceneError: If pyarrow is missing or the file cannot be written.
    """
    check_parquet(path)
    import pyarrow
    import pyarrow.parquet

    text, number = pyarrow.string(), pyarrow.float64()
    types = dict(zip(COLUMNS, (text, number, number, text, number, number), strict=True))
    metadata = {"soundscene.stay_s": f"{decoded.stay_s:g}", "soundscene.duration_s": f"{decoded.duration_s:.3f}"}
    schema = pyarrow.schema(list(types.items()), metadata)
    name = decoded.source.encode("utf-8", "backslashreplace").decode()  # the name of a file need not be text
    table = pyarrow.Table.from_pylist([row | {"path": name} for row in rows(decoded)], schema)
    with atomic_path(path) as unfinished:
        pyarrow.parquet.write_table(table, unfinished)


def check_parquet(path: Path) -> None:
    """Check that the extra `parquet` is installed, which writes the file `path`.

    Raises:
        SceneError: If it is not.
    """
    require(f"{path}: Parquet", "parquet")
