"""Scores of a timeline against known scenes: time labelled correctly, changes found and how late; used by `timeline.py`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from soundscene.model import Model
from soundscene.scoring.decoding import OnlineDecoder, StickyScenes, decode
from soundscene.timelines import training_prior
from soundscene.types import Head

WINDOW_S = 60.0  # a change found farther from a true one is not that change


@dataclass(frozen=True)
class Hour:
    """Segments of a recording with known scenes.

    start_s [segment]; log_posterior of each head [segment, scene]; truth [stretch]: scene numbers; change_s: where each
    stretch but the first begins.
    """

    start_s: Float64[np.ndarray, " segment"]
    log_posterior: dict[Head, Float64[np.ndarray, "segment scene"]]
    truth: Int64[np.ndarray, " stretch"]
    change_s: Float64[np.ndarray, " change"]


@dataclass(frozen=True)
class Scores:
    """right: mean share over recordings, and the least; delays_s of changes found; missed and false changes; hours."""

    right: float
    least: float
    delays_s: Float64[np.ndarray, " found"]
    n_true: int
    n_false: int
    hours: float


def score(bundle: Model, hours: Sequence[Hour], head: Head, stay_s: float | None, temper: float) -> Scores:
    """Of the decoder's path, or with stay_s None of each segment's most probable scene."""
    paths = []
    for hour in hours:
        posterior = hour.log_posterior[head]
        if stay_s is None:
            paths.append(posterior.argmax(axis=1))
            continue
        paths.append(decode(posterior, hour.start_s, _model(bundle, head, stay_s, temper)).path)
    return _scores(hours, paths, shift_s=0.0)


def score_online(bundle: Model, hours: Sequence[Hour], head: Head, stay_s: float) -> Scores:
    """Of the forward filter: a scene is known when its segment has ended."""
    paths = []
    for hour in hours:
        online = OnlineDecoder(_model(bundle, head, stay_s, bundle.temperature[head]))
        steps = np.diff(hour.start_s, prepend=hour.start_s[0] - bundle.audio.segment_s)
        rows = zip(hour.log_posterior[head], steps, strict=True)
        paths.append(np.array([online.push(row, float(step)).argmax() for row, step in rows]))
    return _scores(hours, paths, shift_s=bundle.audio.segment_s)


def _model(bundle: Model, head: Head, stay_s: float, temper: float) -> StickyScenes:
    return StickyScenes(np.log(training_prior(bundle, head)), stay_s, bundle.audio.segment_s, temper)


def _scores(hours: Sequence[Hour], paths: Sequence[Int64[np.ndarray, " segment"]], shift_s: float) -> Scores:
    """Each segment's label holds until the next segment starts; shift_s: how long after its start a label is known."""
    shares, delays, n_false = [], [], 0
    for hour, path in zip(hours, paths, strict=True):
        starts = hour.start_s + shift_s
        end = float(hour.start_s[-1]) + 2.0
        edges = np.unique(np.concatenate([starts[starts < end], hour.change_s, [0.0, end]]))
        middle, length = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
        predicted = path[np.maximum(np.searchsorted(starts, middle, "right") - 1, 0)]
        true = hour.truth[np.searchsorted(hour.change_s, middle, "right")]
        shares.append(float(length[predicted == true].sum() / end))
        found = np.flatnonzero(np.diff(path)) + 1
        taken: set[int] = set()
        for at, scene in zip(hour.change_s, hour.truth[1:], strict=True):
            fits = [i for i in found.tolist() if path[i] == scene and abs(starts[i] - at) <= WINDOW_S and i not in taken]
            if fits:
                best = min(fits, key=lambda i: abs(starts[i] - at))
                taken.add(best)
                delays.append(starts[best] - at)
        n_false += len(found) - len(taken)
    seconds = sum(float(hour.start_s[-1]) + 2.0 for hour in hours)
    n_true = sum(len(hour.change_s) for hour in hours)
    return Scores(float(np.mean(shares)), min(shares), np.array(delays), n_true, n_false, seconds / 3600)


def table(head: Head, rows: Sequence[tuple[str, Scores]]) -> str:
    """A row each in Markdown."""
    lines = [
        f"| {head} | time right | least | changes found | delay, median | 90 % of delays within | false an hour |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, s in rows:
        n = len(s.delays_s)
        late = (f"{np.median(s.delays_s):+.1f} s", f"{np.percentile(np.abs(s.delays_s), 90):.1f} s") if n else ("-", "-")
        share = f"{s.right:.2%} | {s.least:.2%} | {n} of {s.n_true} | {late[0]} | {late[1]} | {s.n_false / s.hours:.1f}"
        lines.append(f"| {name} | {share} |")
    return "\n".join(lines) + "\n"
