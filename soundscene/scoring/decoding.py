"""Scenes over time: a hidden Markov model over segment posteriors in which a scene lasts for a while.

Emission: (log posterior - log prior of the training) / temper, a scaled likelihood (Bourlard and Morgan 1994), up to a
constant of the segment. The prior is subtracted before tempering, because afterwards it would favour rare scenes more,
the less the segments are certain. Transition: one parameter, the expected duration of a scene; all changes are equally
likely. The first scene is uniformly distributed. All computation is in logs, so no length of recording underflows.

Path and marginals of N segments take O(N scene) time and memory: 18,000 segments of 11 scenes (ten hours) are 1.6 MB per
array. `OnlineDecoder` keeps one row of scenes, whatever the duration.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.special import log_softmax, logsumexp

from soundscene.types import LogPosterior


@dataclass(frozen=True)
class StickyScenes:
    """Hold the hidden Markov model: prior, expected duration of a scene, hop and tempering.

    The duration of a scene is geometrically distributed with mean stay_s: it lasts one more segment with probability
    1 - hop_s / stay_s.

    Attributes:
        log_prior: [scene], of the training, logsumexp 0.
        stay_s: Expected duration of a scene, seconds. At hop_s n / (n - 1), for n scenes, segments are independent of each
            other; less is refused, and so are one scene and an infinite duration.
        hop_s: Seconds from one segment to the next.
        temper: How many segments count as one independent observation. The temperature that calibrates a recording's
            posterior, fitted on recordings of one scene, is such a number.

    Raises:
        ValueError: A value is outside the range above.
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
        """Expected duration at which segments are independent, in seconds."""
        return self.hop_s * len(self.log_prior) / (len(self.log_prior) - 1)

    def emission(self, log_posterior: Float[np.ndarray, "*segment scene"]) -> Float64[np.ndarray, "*segment scene"]:
        """Compute the tempered scaled log likelihood of each segment.

        Args:
            log_posterior: [..., segment, scene], natural logs; -inf excludes a scene.

        Raises:
            ValueError: The number of scenes differs, a value is NaN or +inf, or a segment excludes every scene.
        """
        if log_posterior.shape[-1] != len(self.log_prior):
            raise ValueError(f"log posterior has {log_posterior.shape[-1]} scenes, the prior {len(self.log_prior)}")
        if not (log_posterior < np.inf).all():  # false for NaN too
            raise ValueError(
                "log posterior holds NaN or +inf, allowed are finite numbers and -inf: has the training diverged?"
            )
        if np.isneginf(log_posterior).all(axis=-1).any():
            raise ValueError("a segment excludes every scene; leave it out, so that it becomes a longer step")
        return (log_posterior.astype(np.float64) - self.log_prior) / self.temper

    def log_transition(
        self, elapsed_s: Float[np.ndarray, " step"]
    ) -> tuple[Float64[np.ndarray, " step"], Float64[np.ndarray, " step"], Float64[np.ndarray, " step"]]:
        """Compute log transition probabilities over steps of any duration.

        A step of k hops is the k-th power of the transition matrix, for fractional k too. Its entries are
        1 / n + memory (same - 1 / n), where memory shrinks by the factor 1 - hop_s n / (stay_s (n - 1)) per hop.

        Args:
            elapsed_s: [step], seconds from one segment to the next, > 0.

        Returns:
            Log probability [step] of the same scene, of one given other scene, and of their difference, the memory.
        """
        # The matrix has two eigenvalues, 1 (the uniform distribution) and the memory of one hop, so powers are closed.
        n = len(self.log_prior)
        lost = min(self.shortest_stay_s / self.stay_s, 1.0)
        with np.errstate(divide="ignore"):  # memory of exactly zero
            log_memory = elapsed_s.astype(np.float64) / self.hop_s * np.log1p(-lost)
            forgotten = -np.expm1(log_memory)
            return np.log1p(-forgotten * (n - 1) / n), np.log(forgotten / n), log_memory


@dataclass(frozen=True)
class Decoded:
    """Hold the most probable path and the posterior of each segment given all segments.

    Attributes:
        path: [segment], scene numbers.
        log_marginal: [segment, scene], logsumexp 0.
        log_emission: [segment, scene], for `change_probability`.
        log_later: [segment, scene], log likelihood of all later segments up to a constant of the segment.
        start_s: [segment], seconds.
        model: The model that was decoded with.
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
    """Compute the Viterbi path and the forward-backward marginals of one recording.

    Of equally probable paths it is one that keeps the scene where it can.

    Args:
        log_posterior: [segment, scene], natural logs; -inf excludes the scene there.
        start_s: [segment], seconds, increasing. A missing segment (silence) is a longer step, in which scenes may have
            changed more than once.
        model: Prior and transitions.

    Raises:
        ValueError: There is no segment, starts do not increase, a segment excludes every scene, or a value is NaN or +inf.

    Source: Rabiner 1989, section III.
    """
    if len(log_posterior) == 0 or len(log_posterior) != len(start_s):
        raise ValueError(f"{len(log_posterior)} segments with {len(start_s)} starts: expected as many, at least one")
    elapsed_s = np.diff(start_s.astype(np.float64))
    if not (elapsed_s > 0).all():
        raise ValueError("start_s must increase from segment to segment")
    emission = model.emission(log_posterior)
    steps = np.column_stack(model.log_transition(elapsed_s))
    # posterior of segment t is proportional to forward(t) backward(t): given itself and the past, times the future
    later = _backward(emission, steps)
    marginal = log_softmax(_forward(emission, steps) + later, axis=1)
    return Decoded(_viterbi(emission, steps), marginal, emission, later, start_s.astype(np.float64), model)


def change_probability(decoded: Decoded, boundary: int, before: int, after: int) -> float:
    """Compute the probability of a change of the path: of the old scene before it and the new one after it, jointly.

    It is P(scene of segment boundary - before is the path's, and that of boundary + after - 1 is the path's | all segments).

    Args:
        decoded: Path and messages of `decode`.
        boundary: First segment of the new scene.
        before: Segments to step back from the boundary, at least 1.
        after: Segments to step forward, at least 1. With 1 and 1 the change is at this very place, with 3 and 3 within two
            hops of it.

    Raises:
        ValueError: The stretch is outside the recording.
    """
    first, last = boundary - before, boundary + after - 1
    if before < 1 or after < 1 or first < 0 or last >= len(decoded.path):
        raise ValueError(f"segments {first} to {last} about boundary {boundary} of {len(decoded.path)} segments")
    old, new = decoded.path[first], decoded.path[last]
    steps = np.column_stack(decoded.model.log_transition(np.diff(decoded.start_s[first : last + 1])))
    row = np.full(decoded.log_emission.shape[1], -np.inf)
    # The forward recursion from a certain old scene gives P(new | old, segments); P(old) comes from the marginal.
    row[old] = 0.0
    for step, emission in zip(steps, decoded.log_emission[first + 1 : last + 1], strict=True):
        row = _predict(row, step) + emission
    onward = log_softmax(row + decoded.log_later[last])[new]
    return float(np.exp(decoded.log_marginal[first, old] + onward))


class OnlineDecoder:
    """Filter a stream: each push returns the posterior [scene] of the current scene given all segments so far.

    It keeps one row of scenes. The result equals the last marginal of `decode` on the same segments. Where segments overlap,
    hop_s is their distance, and temper must grow by segment_s / hop_s, because they repeat the same evidence.
    """

    def __init__(self, model: StickyScenes) -> None:
        self._model = model
        self._row: Float64[np.ndarray, " scene"] | None = None

    def push(self, log_posterior: Float[np.ndarray, " scene"], elapsed_s: float | None = None) -> LogPosterior:
        """Process the next segment and return the log posterior [scene] of the current scene, logsumexp 0.

        Args:
            log_posterior: [scene], natural logs of this segment alone.
            elapsed_s: Seconds since the segment before, by default hop_s.

        Raises:
            ValueError: elapsed_s is not positive, the segment excludes every scene, or a value is NaN or +inf.
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
    """Compute log probabilities one step later: the chance of any change, plus the memory of each scene; O(scene)."""
    # sum_i p_i (other + memory [i = j]) = other sum_i p_i + memory p_j, in logs; the maximum is taken out of the sum
    _, other, memory = step
    top = row.max()
    total = top + np.log(np.exp(row - top).sum())
    return np.logaddexp(other + total, memory + row)


def _forward(
    emission: Float64[np.ndarray, "segment scene"], steps: Float64[np.ndarray, "step 3"]
) -> Float64[np.ndarray, "segment scene"]:
    """Compute the log posterior of each segment given itself and all before it, up to a constant of the segment."""
    rows = emission.copy()
    for i, step in enumerate(steps, 1):
        rows[i] += _predict(rows[i - 1], step)
        rows[i] -= rows[i].max()  # keeps long recordings in range; constants of a segment cancel
    return rows


def _backward(
    emission: Float64[np.ndarray, "segment scene"], steps: Float64[np.ndarray, "step 3"]
) -> Float64[np.ndarray, "segment scene"]:
    """Compute the log likelihood of all segments after each one, up to a constant; transitions are symmetric."""
    rows = np.zeros_like(emission)
    for i in range(len(steps) - 1, -1, -1):
        rows[i] = _predict(rows[i + 1] + emission[i + 1], steps[i])
        rows[i] -= rows[i].max()
    return rows


def _viterbi(
    emission: Float64[np.ndarray, "segment scene"], steps: Float64[np.ndarray, "step 3"]
) -> Int64[np.ndarray, " segment"]:
    """Find the most probable path in O(segment scene).

    All changes are equally likely, so the best predecessor of a changed scene is the best scene overall.
    """
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
    path[-1] = best.argmax()  # then back along the predecessors
    for i in range(n - 1, 0, -1):
        path[i - 1] = source[i, path[i]]
    return path
