"""The timeline of a long recording: which scene it was in when, where that changed, and how sure both are.

A `ScenePrediction` has a posterior for each two seconds; the decoder (`scoring.decoding`) makes spans of them. What it
costs and brings: docs/decisions/0070-timeline.md.
"""

import csv
import json
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from jaxtyping import Float64

from soundscene.bundle import Head, ModelBundle
from soundscene.errors import SceneError
from soundscene.files import atomic_path
from soundscene.scoring.decoding import Decoded, StickyScenes, change_probability, decode
from soundscene.scoring.metrics import PROBABILITY_FLOOR
from soundscene.types import Change, ScenePrediction, Span, Timeline

DEFAULT_STAY_S = 120.0  # chosen on rendered sound (0070)
LONGEST_STAY_S = 1e9  # thirty years, as good as for ever
NEAR = 3  # segments to each side of a change within which it counts as found: 6 s
COLUMNS = ("path", "start_s", "end_s", "scene", "probability", "change_probability")


def timeline(prediction: ScenePrediction, bundle: ModelBundle, head: Head, stay_s: float = DEFAULT_STAY_S) -> Timeline:
    """Decode the segments of a prediction that this bundle made with this head.

    stay_s: expected stay in a scene, in seconds. The temper is the head's temperature. A probability below 1e-15 counts as
    1e-15: no single segment rules a scene out. A silence shorter than stay_s between two segments of one scene belongs to
    its span; a longer one, and any between two scenes, to none.
    Raises: `SceneError` for a stay that is too short or not finite.
    """
    check_stay(bundle, stay_s)
    start_s = np.array([segment.start_s for segment in prediction.segments], np.float64)
    end_s = np.array([segment.end_s for segment in prediction.segments], np.float64)
    posterior = np.stack([segment.posterior for segment in prediction.segments]).astype(np.float64)
    model = _model(bundle, head, stay_s)
    decoded = decode(np.log(np.maximum(posterior, PROBABILITY_FLOOR)), start_s, model)
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


def check_stay(bundle: ModelBundle, stay_s: float) -> None:
    """Raise `SceneError` for an expected stay (seconds) that `timeline` would refuse."""
    segment_s, n = bundle.recipe.audio.segment_s, len(bundle.scenes)
    shortest_s = segment_s * n / (n - 1)
    if not shortest_s <= stay_s <= LONGEST_STAY_S:
        raise SceneError(
            f"an expected stay of {stay_s:g} s: allowed are {shortest_s:.4g} s (every segment on its own) to "
            f"{LONGEST_STAY_S:g} s; minutes are usual"
        )


def training_prior(bundle: ModelBundle, head: Head) -> Float64[np.ndarray, " scene"]:
    """How often each scene [scene] was learnt from: what a posterior of the bundle would be without any sound.

    From the numbers of training recordings in its provenance; uniform where they are not known or do not fit the scenes.
    The SVM learns from the recordings as they are; the softmax layer from balanced draws, where the recipe has them, or
    from pairs of different scenes, in which frequent scenes are rarer than in the corpus.
    """
    n = len(bundle.scenes)
    counts = bundle.provenance.get("recordings")
    training = bundle.recipe.training
    if not isinstance(counts, dict) or set(counts) != set(bundle.scenes) or not all(map(_is_count, counts.values())):
        return np.full(n, 1 / n)
    if head == "softmax" and training.balanced:
        return np.full(n, 1 / n)
    share = np.array([counts[scene] for scene in bundle.scenes], np.float64)
    share /= share.sum()
    if head == "softmax" and training.mixing == "between-class":
        odds = share / (1 - share)
        share = share * (1 + odds.sum() - odds) / 2  # half are first of a pair, half second
    return share


def _model(bundle: ModelBundle, head: Head, stay_s: float) -> StickyScenes:
    prior = np.log(training_prior(bundle, head))
    return StickyScenes(prior, stay_s, bundle.recipe.audio.segment_s, bundle.temperature[head])


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
    # the last piece of a recording overlaps the segment before: a span ends where the next one begins
    closing = np.append(np.minimum(end_s[:-1], start_s[1:]), end_s[-1])
    probability = np.exp(decoded.log_marginal[np.arange(len(path)), path])
    spans = [
        Span(float(start_s[i]), float(closing[j - 1]), scenes[path[i]], float(probability[i:j].mean()))
        for i, j in pairwise(bounds)
    ]
    changes = []
    for left, at, right in zip(bounds, bounds[1:], bounds[2:], strict=False):
        if path[at - 1] != path[at]:
            sure = change_probability(decoded, at, min(NEAR, at - left), min(NEAR, right - at))
            changes.append(Change(float(start_s[at]), scenes[path[at - 1]], scenes[path[at]], sure))
    return tuple(spans), tuple(changes)


# --- as rows and files ------------------------------------------------------------------------------------------------


def rows(found: Timeline) -> Iterator[dict[str, Any]]:
    """A row per span, with the keys of `COLUMNS`.

    change_probability: of the change from the span before, as in `Change`; None for the first, and after a long silence in
    which the scene stayed the same.
    """
    sure = {change.time_s: change.probability for change in found.changes}
    for span in found.spans:
        numbers = (span.start_s, span.end_s, span.scene, span.probability, sure.get(span.start_s))
        yield dict(zip(COLUMNS, (found.source, *numbers), strict=True))


def write_csv(found: Timeline, stream: TextIO) -> None:
    """A header and a line per span; seconds to the millisecond, an unknown change_probability is empty."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows(found):
        seconds, sure = (f"{row['start_s']:.3f}", f"{row['end_s']:.3f}"), row["change_probability"]
        known = "" if sure is None else f"{sure:.6f}"
        writer.writerow([row["path"], *seconds, row["scene"], f"{row['probability']:.6f}", known])


def write_json_lines(found: Timeline, stream: TextIO) -> None:
    """A line of JSON (ASCII) per span; an unknown change_probability is null."""
    for row in rows(found):
        stream.write(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}) + "\n")


def write_labels(found: Timeline, stream: TextIO) -> None:
    """A label track for Audacity (File, Import, Labels): start, end, and scene with its probability, parted by tabs."""
    for span in found.spans:
        name = " ".join(span.scene.split())
        stream.write(f"{span.start_s:.6f}\t{span.end_s:.6f}\t{name} {span.probability:.2f}\n")


def write_parquet(found: Timeline, path: Path) -> None:
    """The rows as a Parquet file, written beside and renamed; the expected stay is in its metadata.

    Raises: `SceneError` without pyarrow, or where the file cannot be written.
    """
    check_parquet(path)
    import pyarrow
    import pyarrow.parquet

    text, number = pyarrow.string(), pyarrow.float64()
    types = dict(zip(COLUMNS, (text, number, number, text, number, number), strict=True))
    metadata = {"soundscene.stay_s": f"{found.stay_s:g}", "soundscene.duration_s": f"{found.duration_s:.3f}"}
    schema = pyarrow.schema(list(types.items()), metadata)
    name = found.source.encode("utf-8", "backslashreplace").decode()  # the name of a file need not be text
    table = pyarrow.Table.from_pylist([row | {"path": name} for row in rows(found)], schema)
    with atomic_path(path) as unfinished:
        pyarrow.parquet.write_table(table, unfinished)


def check_parquet(path: Path) -> None:
    """Raise `SceneError` where pyarrow, which writes Parquet, is missing."""
    if find_spec("pyarrow") is None:
        raise SceneError(f"{path}: Parquet needs pyarrow; pip install soundscene[parquet]")
