"""Scene over time: a hidden Markov model over segment posteriors whose scenes stay for a while.

Emission: (log posterior - log prior of the training) / temper, a scaled likelihood (Bourlard and Morgan 1994), up to a
constant of the segment. The prior is taken away before tempering: afterwards it would favour rare scenes all the more, the
less the segments say. Transition: one parameter, the expected stay in a scene; all changes are equally likely. The first
scene is any, with equal probability. Everything is computed in logs, so no length of recording underflows.

Path and marginals of N segments take O(N scene) time and memory: 18,000 segments of 11 scenes (ten hours) are 1.6 MB an
array. `OnlineDecoder` keeps one row of scenes, however long it listens.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.special import log_softmax, logsumexp

from soundscene.types import LogPosterior


@dataclass(frozen=True)
class StickyScenes:
    """The model: log_prior [scene] of the training (logsumexp 0), expected stay and distance of segments in seconds, temper.

    A scene lasts geometrically long, stay_s in the mean: it stays for one more segment with probability 1 - hop_s / stay_s.
    At stay_s = hop_s n / (n - 1), n the number of scenes, the last segment says nothing about the next; less is refused, and
    so are one scene and an infinite stay. temper: how many segments count as one independent witness; the
    temperature that makes a recording's answer honest, fitted on recordings of one scene, is such a number.
    Raises ValueError for anything else.
    """

    log_prior: Float64[np.ndarray, " scene"]
    stay_s: float
    hop_s: float
    temper: float = 1.0

    def __post_init__(self) -> None:
        n = len(self.log_prior)
        if n < 2 or not np.isfinite(self.log_prior).all() or abs(logsumexp(self.log_prior)) > 1e-6:
            raise ValueError(f"log prior {self.log_prior}: expected finite logs of at least two probabilities that sum to 1")
        if not 0 < self.hop_s < np.inf or not 0 < self.temper < np.inf:
            raise ValueError(f"hop_s and temper must be positive and finite, got {self.hop_s} and {self.temper}")
        if not self.shortest_stay_s * (1 - 1e-12) <= self.stay_s < np.inf:
            raise ValueError(
                f"stay_s must be at least {self.shortest_stay_s:g} (hop_s n / (n - 1)) and finite, got {self.stay_s}"
            )

    @property
    def shortest_stay_s(self) -> float:
        """The stay at which segments are independent, in seconds."""
        return self.hop_s * len(self.log_prior) / (len(self.log_prior) - 1)

    def emission(self, log_posterior: Float[np.ndarray, "*segment scene"]) -> Float64[np.ndarray, "*segment scene"]:
        """What segments say by themselves: scaled log likelihood, tempered. Raises ValueError for NaN or +inf."""
        if log_posterior.shape[-1] != len(self.log_prior):
            raise ValueError(f"log posterior has {log_posterior.shape[-1]} scenes, the prior {len(self.log_prior)}")
        if not (log_posterior < np.inf).all():  # false for NaN too
            raise ValueError(
                "log posterior holds NaN or +inf, allowed are finite numbers and -inf: has the training diverged?"
            )
        if np.isneginf(log_posterior).all(axis=-1).any():
            raise ValueError("a segment excludes every scene; leave it out, then the gap says that nothing was heard")
        return (log_posterior.astype(np.float64) - self.log_prior) / self.temper

    def log_transition(
        self, elapsed_s: Float[np.ndarray, " step"]
    ) -> tuple[Float64[np.ndarray, " step"], Float64[np.ndarray, " step"], Float64[np.ndarray, " step"]]:
        """Log probabilities over steps of elapsed_s (> 0) seconds: to the same scene, to one other, and their difference.

        The chain is 1 / n + memory (same - 1 / n), and its memory shrinks by 1 - hop_s n / (stay_s (n - 1)) each hop_s; a
        gap of k hops is the k-th power, for k between whole numbers too. The third number is the log of the memory.
        """
        n = len(self.log_prior)
        lost = min(self.shortest_stay_s / self.stay_s, 1.0)
        with np.errstate(divide="ignore"):  # memory of exactly zero
            log_memory = elapsed_s.astype(np.float64) / self.hop_s * np.log1p(-lost)
            forgotten = -np.expm1(log_memory)
            return np.log1p(-forgotten * (n - 1) / n), np.log(forgotten / n), log_memory


@dataclass(frozen=True)
class Decoded:
    """The most probable path [segment] of scene numbers, and each segment's log posterior given all segments.

    log_marginal [segment, scene]: logsumexp 0. log_emission, log_later [segment, scene]: what `change_probability` needs;
    log_later is the log likelihood of all later segments, up to a constant of the segment. start_s [segment]; model.
    """

    path: Int64[np.ndarray, " segment"]
    log_marginal: LogPosterior
    log_emission: Float64[np.ndarray, "segment scene"]
    log_later: Float64[np.ndarray, "segment scene"]
    start_s: Float64[np.ndarray, " segment"]
    model: StickyScenes


def decode(
    log_posterior: Float[np.ndarray, "segment scene"], start_s: Float[np.ndarray, " segment"], model: StickyScenes
) -> Decoded:
    """Viterbi path and forward-backward marginals of one recording.

    log_posterior [segment, scene]: natural logs; -inf excludes the scene there. start_s [segment]: increasing; a segment
    that is missing (silence) is a longer step, in which scenes may have come and gone.
    Of equally probable paths it is one that stays where it can. Raises ValueError for no segment, starts that do not
    increase, a segment without any scene, NaN or +inf. Source: Rabiner 1989.
    """
    if len(log_posterior) == 0 or len(log_posterior) != len(start_s):
        raise ValueError(f"{len(log_posterior)} segments with {len(start_s)} starts: expected as many, at least one")
    elapsed_s = np.diff(start_s.astype(np.float64))
    if not (elapsed_s > 0).all():
        raise ValueError("start_s must increase from segment to segment")
    emission = model.emission(log_posterior)
    steps = np.column_stack(model.log_transition(elapsed_s))
    later = _backward(emission, steps)
    marginal = log_softmax(_forward(emission, steps) + later, axis=1)
    return Decoded(_viterbi(emission, steps), marginal, emission, later, start_s.astype(np.float64), model)


def change_probability(decoded: Decoded, boundary: int, before: int, after: int) -> float:
    """How sure a change of the path is: probability of the old scene before it and of the new one after it, together.

    boundary: first segment of the new scene; before, after: how many segments to step back and on from the boundary (1, 1:
    the change is at this very place; 3, 3: it is within two hops of it). It is P(scene of segment boundary - before is the
    path's there, and that of boundary + after - 1 the path's there | all segments).
    Raises ValueError for a stretch outside the recording.
    """
    first, last = boundary - before, boundary + after - 1
    if before < 1 or after < 1 or first < 0 or last >= len(decoded.path):
        raise ValueError(f"segments {first} to {last} about boundary {boundary} of {len(decoded.path)} segments")
    old, new = decoded.path[first], decoded.path[last]
    steps = np.column_stack(decoded.model.log_transition(np.diff(decoded.start_s[first : last + 1])))
    row = np.full(decoded.log_emission.shape[1], -np.inf)
    row[old] = 0.0  # as if the old scene were certain at first; what follows is then conditional on it
    for step, emission in zip(steps, decoded.log_emission[first + 1 : last + 1], strict=True):
        row = _predict(row, step) + emission
    onward = log_softmax(row + decoded.log_later[last])[new]
    return float(np.exp(decoded.log_marginal[first, old] + onward))


class OnlineDecoder:
    """The same model for sound that has no end: each push gives the posterior [scene] of the scene now, given all so far.

    It keeps one row of scenes, whatever comes. Equal to the last marginal of `decode` on the same segments. Where segments
    overlap, hop_s is their distance and the temper has to grow by segment_s / hop_s, because all say the same thing twice.
    """

    def __init__(self, model: StickyScenes) -> None:
        self._model = model
        self._row: Float64[np.ndarray, " scene"] | None = None

    def push(self, log_posterior: Float[np.ndarray, " scene"], elapsed_s: float | None = None) -> LogPosterior:
        """Take the next segment; elapsed_s since the one before, by default hop_s. Returns logs, logsumexp 0.

        Raises ValueError for an elapsed_s that is not positive, a segment without any scene, NaN or +inf.
        """
        elapsed_s = self._model.hop_s if elapsed_s is None else elapsed_s
        if not 0 < elapsed_s < np.inf:
            raise ValueError(f"elapsed_s must be positive and finite, got {elapsed_s}")
        emission = self._model.emission(log_posterior)
        if self._row is not None:
            emission = emission + _predict(self._row, np.column_stack(self._model.log_transition(np.array([elapsed_s])))[0])
        row = log_softmax(emission)
        self._row = row
        return row.copy()


def _predict(row: Float64[np.ndarray, " scene"], step: Float64[np.ndarray, " 3"]) -> Float64[np.ndarray, " scene"]:
    """Log probabilities one step on: the chance of any change, plus the memory of each scene; O(scene)."""
    _, other, memory = step
    top = row.max()
    total = top + np.log(np.exp(row - top).sum())
    return np.logaddexp(other + total, memory + row)


def _forward(
    emission: Float64[np.ndarray, "segment scene"], steps: Float64[np.ndarray, "step 3"]
) -> Float64[np.ndarray, "segment scene"]:
    """Log posterior of each segment given itself and all before it, up to a constant of the segment."""
    rows = emission.copy()
    for i, step in enumerate(steps, 1):
        rows[i] += _predict(rows[i - 1], step)
        rows[i] -= rows[i].max()
    return rows


def _backward(
    emission: Float64[np.ndarray, "segment scene"], steps: Float64[np.ndarray, "step 3"]
) -> Float64[np.ndarray, "segment scene"]:
    """Log likelihood of all segments after each one, up to a constant of the segment; transitions are symmetric."""
    rows = np.zeros_like(emission)
    for i in range(len(steps) - 1, -1, -1):
        rows[i] = _predict(rows[i + 1] + emission[i + 1], steps[i])
        rows[i] -= rows[i].max()
    return rows


def _viterbi(
    emission: Float64[np.ndarray, "segment scene"], steps: Float64[np.ndarray, "step 3"]
) -> Int64[np.ndarray, " segment"]:
    """The most probable path. Whoever changes comes from the best scene, and the best scene itself does better to stay."""
    n = len(emission)
    source = np.empty(emission.shape, np.int32)
    scenes = np.arange(emission.shape[1], dtype=np.int32)
    best = emission[0]
    for i, (same, other, _) in enumerate(steps, 1):
        top = best.argmax()
        stayed, changed = best + same, best[top] + other
        source[i] = np.where(stayed >= changed, scenes, top)
        best = np.maximum(stayed, changed) + emission[i]
    path = np.empty(n, np.int64)
    path[-1] = best.argmax()
    for i in range(n - 1, 0, -1):
        path[i - 1] = source[i, path[i]]
    return path
