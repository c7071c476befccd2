"""Scenes of an endless stream: blocks of any size in, an `Update` every hop out, in constant memory.

Samples take the same way as those of a file (`audio.gate`, `signal.frontend`), so the predictions are those of a file too.
The product rule runs over a sliding window. See docs/decisions/0074-live.md.
"""

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Shaped

from soundscene.audio.arrays import ArrayLike, RateLike, as_array, as_channels, as_rate, to_float32
from soundscene.audio.gate import UNSCALED, Intake
from soundscene.audio.pcm import Arrival
from soundscene.errors import AudioError, SceneError
from soundscene.scene_model import SceneModel
from soundscene.scoring.fusion import product, temper
from soundscene.scoring.unfamiliarity import KEEP
from soundscene.signal.meter import PIECE_S, RangeMeter
from soundscene.signal.ranges import sound_notes
from soundscene.texts import counted, show
from soundscene.threads import one_blas_thread
from soundscene.types import Compared, Head, LogPosterior, Samples, SegmentFeatures, is_unknown, take_features

DEFAULT_WINDOW_S = 30.0
MEASURED_S = 10.0  # of sound, after which bandwidth, level and floor of a stream are judged, once
SHORTEST_HOP_S, LONGEST_HOP_S = 0.01, 3600.0
LONGEST_WINDOW_S = 3600.0
MOST_CHANNELS = 64  # more than this in a block, and fewer samples: rather [sample, channel]


@dataclass(frozen=True, eq=False, repr=False)
class Update(Compared):
    """Prediction after another segment of a stream.

    Attributes:
        start_s: Start of the segment, seconds of sound since the start of the stream, lost ones included.
        end_s: Its end.
        scenes: Names in the order of the posteriors.
        segment_posterior: Of the segment alone. None if it did not vote: it is silent, or parts of it were lost.
        posterior: Of the voting segments in the window up to end_s, by the tempered product rule. None without any.
        n_segments: Number of those segments.
        silent: Whether every sample of the segment is exactly zero.
        lost_s: Seconds of the segment that never arrived.
        latency_s: Seconds from the arrival of the block that completed the segment to the prediction.
        heard_s: Seconds of sound that had arrived by then.
        notes: What may make the prediction worse.
        unfamiliarity: Mean over the voting segments, larger is less familiar. None without any, or if the model has none.
        unfamiliarity_threshold: Score at or below which `keep` of the known recordings are. None if unavailable.
    """

    start_s: float
    end_s: float
    scenes: tuple[str, ...]
    segment_posterior: Float64[np.ndarray, " scene"] | None
    posterior: Float64[np.ndarray, " scene"] | None
    n_segments: int
    silent: bool
    lost_s: float
    latency_s: float
    heard_s: float
    notes: tuple[str, ...] = ()
    unfamiliarity: float | None = None
    unfamiliarity_threshold: float | None = None

    def __repr__(self) -> str:
        """Return one line: the segment, and the most probable scenes of the window."""
        scenes = ", ".join(f"{show(name)} {p:.2f}" for name, p in self.top(3)) or "no prediction"
        return f"<Update {self.start_s:g} to {self.end_s:g} s: {scenes}>"

    @property
    def unknown(self) -> bool:
        """Whether the window is less familiar than the threshold; False without a score or threshold."""
        return is_unknown(self.unfamiliarity, self.unfamiliarity_threshold)

    @property
    def scene(self) -> str | None:
        """Name of the most probable scene over the window; None if nothing in it voted."""
        return None if self.posterior is None else self.scenes[int(np.argmax(self.posterior))]

    @property
    def probability(self) -> float | None:
        """Probability of the most probable scene."""
        return None if self.posterior is None else float(np.max(self.posterior))

    def top(self, n: int) -> list[tuple[str, float]]:
        """Return the n most probable scenes over the window with their probabilities; none if nothing in it voted."""
        if self.posterior is None:
            return []
        return [(self.scenes[i], float(self.posterior[i])) for i in np.argsort(-self.posterior, kind="stable")[:n]]

    @property
    def delay_s(self) -> float:
        """Seconds from the end of the segment's sound to the prediction: the algorithm's look-ahead plus the latency."""
        return max(0.0, self.heard_s - self.end_s) + self.latency_s

    def to_dict(self, dropouts: int = 0, overruns: int = 0) -> dict[str, Any]:
        """Convert to plain values for JSON, numbers to six digits: the line of `soundscene listen --format jsonl`.

        Args:
            dropouts: Times that the input lost samples so far.
            overruns: Times that the reader was late so far.
        """
        row, best = (
            self.segment_posterior,
            None if self.segment_posterior is None else int(np.argmax(self.segment_posterior)),
        )
        plain: dict[str, Any] = {
            "start_s": self.start_s,
            "end_s": self.end_s,
            "scene": self.scene,
            "probability": self.probability,
            "n_segments": self.n_segments,
            "silent": self.silent,
            "lost_s": self.lost_s,
            "segment_scene": None if best is None else self.scenes[best],
            "segment_probability": None if row is None or best is None else float(row[best]),
            "latency_s": self.latency_s,
            "delay_s": self.delay_s,
            "dropouts": dropouts,
            "overruns": overruns,
            "unfamiliarity": self.unfamiliarity,
            "unknown": self.unknown,
        }
        plain = {key: round(value, 6) if isinstance(value, float) else value for key, value in plain.items()}
        for key, posterior in (("posterior", self.posterior), ("segment_posterior", row)):
            named = None if posterior is None else [round(float(p), 6) for p in posterior]
            plain[key] = named and dict(zip(self.scenes, named, strict=True))
        return plain


class Listener:
    """Classify one stream: `push` its blocks, `flush` at its end.

    Every segment is computed by itself, so how the sound was cut into blocks changes no bit, given `one_blas_thread`, as in
    `listen`.

    Args:
        model: The model.
        head: "softmax" or "svm".
        sample_rate: Sample rate of the stream in Hz.
        hop_s: Seconds from one prediction to the next, by default a segment. Segments overlap if it is shorter. If it is
            longer, only the noise estimate reads the sound between them.
        window_s: Seconds that a prediction looks back.
        name: Name of the stream in messages.
        keep: Share of known recordings that are not to be `unknown`.

    Raises:
        SceneError: If the hop or the window is out of range.
        AudioError: If the sample rate is implausible.
    """

    def __init__(
        self,
        model: SceneModel,
        head: Head,
        sample_rate: RateLike,
        hop_s: float | None = None,
        window_s: float = DEFAULT_WINDOW_S,
        name: str = "stream",
        keep: float = KEEP,
    ) -> None:
        audio = model.audio
        hop_s = audio.segment_s if hop_s is None else hop_s
        _check_range("a hop", hop_s, SHORTEST_HOP_S, LONGEST_HOP_S, "seconds from one prediction to the next")
        _check_range("a window", window_s, audio.segment_s, LONGEST_WINDOW_S, "seconds that a prediction looks back")
        sample_rate = as_rate(sample_rate, name)
        self._model, self.sample_rate = model, sample_rate
        self._head: Head = head
        self._intake = Intake(name, sample_rate, audio)
        self._stream = model.build_front_end(hop_s).stream()
        self._segment_s, self._window_s = audio.segment_s, window_s
        self._slack_s = 0.5 / audio.sample_rate  # start times are whole samples, written as floating point
        # Overlapping segments are not independent: the product rule would count the same sound segment_s / hop_s times.
        self._temperature = model.temperature[head] * max(1.0, audio.segment_s / hop_s)
        self._window: deque[tuple[float, LogPosterior, float]] = deque()  # start, row, unfamiliarity
        self._losses: deque[tuple[float, float]] = deque()
        self._loudness = 0
        self._meter = RangeMeter(audio.sample_rate) if model.usual else None
        self._measured: tuple[str, ...] = ()
        self._threshold = model.familiarity.threshold(keep) if model.familiarity else None
        self._notes = self._rate_notes()

    @property
    def heard_s(self) -> float:
        """Seconds of sound so far, lost ones included."""
        return self._intake.n_in / self.sample_rate

    def push(self, block: Float32[np.ndarray, "native channel"], arrived: float | None = None) -> list[Update]:
        """Add a block, and return the updates that it completes, mostly none.

        Args:
            block: Samples [sample, channel].
            arrived: `time.perf_counter()` at the arrival of the block, by default now.

        Raises:
            AudioError: If samples are not finite. The listener cannot be used any further.
        """
        arrived = time.perf_counter() if arrived is None else arrived
        return self._updates(self._stream.push(self._measure(self._intake.resample(self._intake.mix(block)))), arrived)

    def lose(self, n: int, arrived: float | None = None) -> list[Update]:
        """Add silence in place of lost samples, so that times stay right.

        Args:
            n: Number of samples that never arrived.
            arrived: `time.perf_counter()` when the loss was noticed, by default now.
        """
        start_s = self.heard_s
        end_s = start_s + n / self.sample_rate
        if self._losses and self._losses[-1][1] >= start_s - self._slack_s:
            start_s, _ = self._losses.pop()
        if n:
            self._losses.append((start_s, end_s))
        return self.push(np.zeros((n, 1), np.float32), arrived)

    def flush(self) -> list[Update]:
        """End the stream and return the updates that its end completes, the last piece among them, as for a file."""
        arrived = time.perf_counter()
        if not self._intake.n_in:
            return []
        rest = self._updates(
            self._stream.push(self._measure(self._intake.resample(np.zeros(0, np.float32), last=True), last=True)), arrived
        )
        return rest + self._updates(self._stream.flush(), arrived)

    def _updates(self, segments: SegmentFeatures, arrived: float) -> list[Update]:
        return [self._update(segments, i, arrived) for i in range(len(segments.start_s))]

    def _update(self, segments: SegmentFeatures, i: int, arrived: float) -> Update:
        start_s, silent = float(segments.start_s[i]), bool(segments.silent[i])
        end_s = start_s + self._segment_s
        lost_s = self._lost_s(start_s, end_s)
        row = None
        if not silent and not lost_s:
            # One by one: in a batch of another size the network rounds differently, and results would depend on the blocks.
            embedding = self._model.embed(take_features(segments.features, slice(i, i + 1)))
            row = self._model.classify(embedding, self._head)[0]
            unfamiliar = float(self._model.unfamiliarity(embedding)[0]) if self._model.familiarity else 0.0
            self._window.append((start_s, row, unfamiliar))
        while self._window and self._window[0][0] < end_s - self._window_s - self._slack_s:
            self._window.popleft()
        fused = unfamiliarity = None
        if self._window:
            fused = np.exp(temper(product(np.stack([row for _, row, _ in self._window])), self._temperature))
            if self._model.familiarity:
                unfamiliarity = float(np.mean([unfamiliar for _, _, unfamiliar in self._window]))
        return Update(
            start_s=start_s,
            end_s=end_s,
            scenes=self._model.scenes,
            segment_posterior=None if row is None else np.exp(row),
            posterior=fused,
            n_segments=len(self._window),
            silent=silent,
            lost_s=lost_s,
            latency_s=time.perf_counter() - arrived,
            heard_s=self.heard_s,
            unfamiliarity=unfamiliarity,
            unfamiliarity_threshold=self._threshold,
            notes=self._current_notes(),
        )

    def _lost_s(self, start_s: float, end_s: float) -> float:
        """Return the lost seconds from start_s to end_s, and forget those before."""
        while self._losses and self._losses[0][1] <= start_s + self._slack_s:
            self._losses.popleft()
        return sum((max(0.0, min(last, end_s) - max(first, start_s)) for first, last in self._losses), 0.0)

    @property
    def notes(self) -> tuple[str, ...]:
        """What may make predictions worse, as far as it is known by now: a rate, before any sound has come."""
        return self._current_notes()

    def _current_notes(self) -> tuple[str, ...]:
        """Return the notes. They change when the peak passes full scale, when it is far beyond, and after silence."""
        loudness = int(self._intake.peak > 1) + int(self._intake.peak > UNSCALED)
        if loudness > self._loudness:
            self._loudness = loudness
            self._notes = self._rate_notes() + self._intake.peak_notes()
        lacking = self._model.lacking(self._head)
        notes = self._notes + self._measured + self._stream.notes(self._model.front_end)
        return notes + ((lacking,) if lacking else ())

    def _measure(self, samples: Samples, last: bool = False) -> Samples:
        """Measure the first seconds of sound, or all of a shorter stream, and note what is outside the training's range."""
        if self._meter is None or self._model.usual is None:
            return samples
        self._meter.push(samples)
        if last or self._meter.n_pieces * PIECE_S >= MEASURED_S:
            found, model_hz = self._meter.measures(), self._model.audio.sample_rate
            self._meter = None  # once
            self._measured = sound_notes(self._model.usual, found, (), self._rate_notes(), self.sample_rate, model_hz)
        return samples

    def _rate_notes(self) -> tuple[str, ...]:
        """The note of a low sample rate, unless the training's recordings reach no higher."""
        notes, model_hz = self._intake.rate_notes(), self._model.audio.sample_rate
        return sound_notes(self._model.usual, None, notes, notes, self.sample_rate, model_hz)


def listen(listener: Listener, arrivals: Iterable[Arrival]) -> Generator[Update, None, None]:
    """Yield updates as the sound arrives, then those that its end completes.

    Blocks of more than a second are processed second by second. Until the iterator ends or is closed, BLAS uses one thread.
    PyTorch's threads are not changed.

    Args:
        listener: A new listener.
        arrivals: Blocks of the stream.
    """
    piece = listener.sample_rate
    with one_blas_thread():
        for arrival in arrivals:
            for n in _pieces(arrival.n_lost, piece):
                yield from listener.lose(n, arrival.arrived)
            for at in range(0, len(arrival.samples), piece):
                yield from listener.push(arrival.samples[at : at + piece], arrival.arrived)
        yield from listener.flush()


def warm_up(model: SceneModel, head: Head, sample_rate: int) -> None:
    """Compute and discard one prediction, so that compiling and loading at first use does not delay the stream.

    Args:
        model: The model.
        head: "softmax" or "svm".
        sample_rate: Sample rate of the stream in Hz.
    """
    noise = np.random.default_rng(0).normal(0, 0.01, round((model.audio.segment_s + 0.5) * sample_rate))
    for _ in listen(Listener(model, head, sample_rate), array_arrivals([noise])):
        pass


def array_arrivals(blocks: Iterable[ArrayLike], name: str = "stream") -> Iterator[Arrival]:
    """Convert blocks of any size to arrivals. Integers are scaled to [-1, 1).

    Args:
        blocks: Arrays [sample] or [channel, sample].
        name: Name of the stream in messages.

    Raises:
        AudioError: If a block has another shape or type, or the number of channels changes.
    """
    n_channels = 0
    for block in blocks:
        samples = _native(as_array(block, name), name)
        n_channels = n_channels or samples.shape[1]
        if samples.shape[1] != n_channels:
            raise AudioError(
                f"{name}: a block of shape {np.shape(block)} after blocks of {counted(n_channels, 'channel')}; allowed are "
                "[sample] and [channel, sample], always with as many channels; is it [sample, channel]? hand in block.T"
            )
        yield Arrival(samples, time.perf_counter())


def _native(block: Shaped[np.ndarray, "..."], name: str) -> Float32[np.ndarray, "native channel"]:
    """Convert a block to [sample, channel].

    Short blocks are usual, so only a great many channels suggest the wrong order of axes.
    """
    if block.ndim not in (1, 2):
        raise AudioError(f"{name}: a block of shape {block.shape}; allowed are [sample] and [channel, sample]")
    if block.ndim == 2 and len(block) > MOST_CHANNELS and block.shape[1] <= len(block):
        raise AudioError(
            f"{name}: a block of shape {block.shape} looks like [sample, channel], allowed are [sample] and "
            "[channel, sample]; hand in block.T"
        )
    as_channels(block[..., :0], name)  # its type, and that there is a channel
    # C order as from a decoder, so that the mean over channels rounds alike
    return np.ascontiguousarray(to_float32(np.atleast_2d(block)).T)


def _pieces(n: int, most: int) -> Iterator[int]:
    for at in range(0, n, most):
        yield min(most, n - at)


def _check_range(what: str, seconds: float, lowest: float, highest: float, meaning: str) -> None:
    if not lowest <= seconds <= highest:
        raise SceneError(f"{what} of {seconds:g} s: allowed are {lowest:g} s to {highest:g} s ({meaning})")
