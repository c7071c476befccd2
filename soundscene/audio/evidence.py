"""Whether a recording holds any signal to speak of: its level, its levels of quantisation, and which channels are dead.

Thresholds were chosen on rendered sound and on 866 recordings (docs/decisions/0090-hardly-any-signal.md).
"""

import math

import numpy as np
from jaxtyping import Bool, Float32, Int64

from soundscene.types import Samples

_WEAK_RMS = 4e-5  # about the mean, -88 dB of full scale: 1.3 steps of 16 bits
_FEW, _FEW_RANGE = 4, 0.0235  # levels of a converter that sees nothing, within three steps of 8 bits
_STRIDE = 61  # samples from one to the next of those that mostly show that a piece is loud
_FIRST = 32  # samples of a piece that mostly show that it has more levels
_HEAD = 256  # and those that show it
_MUCH = 0.9  # share of a recording, digital silence apart, from which on a lack of signal is noted
_DEAD_RANGE = 1.3e-4  # peak to peak: four steps of 16 bits
_LOUDER = 10.0  # times, by which another channel has the higher RMS
_LOOK_AHEAD_S = 2.0
_MOST_WAITING = 1 << 22  # samples times channels
_CANCELLED = 0.1  # power of the mix of two channels, of their mean power; uncorrelated channels have 0.5


class SignalMeter:
    """Measures mono samples piece by piece, in constant memory.

    Args:
        piece: Samples that are judged together.
    """

    def __init__(self, piece: int) -> None:
        self._piece = piece
        self._n_weak = 0
        self._power = self._range = 0.0  # of what is weak: sum of powers, largest peak to peak

    def push(self, pieces: Float32[np.ndarray, "piece sample"]) -> int:
        """Measure the next samples.

        Args:
            pieces: Whole pieces.

        Returns:
            How many of the samples are in pieces of digital silence.
        """
        few = pieces[:, ::_STRIDE]  # loud sound is told by a few of its samples, and needs nothing more
        doubtful = few.max(axis=1) - few.min(axis=1) <= _FEW_RANGE
        if not doubtful.any():
            return 0
        pieces = pieces[doubtful]
        spread, sounding = pieces.max(axis=1) - pieces.min(axis=1), pieces.any(axis=1)
        self._push_quiet(pieces, spread, sounding & (spread <= _FEW_RANGE))
        return self._piece * int(np.count_nonzero(~sounding))

    def _push_quiet(
        self,
        pieces: Float32[np.ndarray, "piece sample"],
        spread: Float32[np.ndarray, " piece"],
        quiet: Bool[np.ndarray, " piece"],
    ) -> None:
        if not quiet.any():
            return
        values, spread = pieces[quiet], spread[quiet]
        about_mean = values - values.mean(axis=1, keepdims=True)
        power = np.einsum("ij,ij->i", about_mean, about_mean).astype(np.float64) / self._piece
        weak = (power <= _WEAK_RMS**2) | (_n_levels(values[:, :_FIRST]) <= _FEW)
        for i in np.flatnonzero(weak & (power > _WEAK_RMS**2)):
            weak[i] = len(np.unique(values[i, :_HEAD])) <= _FEW
        self._n_weak += self._piece * int(np.count_nonzero(weak))
        self._power += self._piece * float(power[weak].sum())
        self._range = max(self._range, float(spread[weak].max(initial=0.0)))

    def notes(self, n_sounding: int) -> tuple[str, ...]:
        """Note a recording that holds hardly any signal.

        Args:
            n_sounding: Samples that are not digital silence.
        """
        if not self._n_weak or self._n_weak < _MUCH * n_sounding:
            return ()
        rms = math.sqrt(self._power / self._n_weak)
        level = f"{20 * math.log10(rms):.0f} dB of full scale" if rms else "a constant"
        bits = math.log2(32768 * self._range + 1)
        return (
            f"hardly any signal ({level}, {bits:.1f} of 16 bits in use): the prediction has nothing to go by; is the "
            "microphone connected, and its gain up?",
        )


def _n_levels(values: Float32[np.ndarray, "piece sample"]) -> Int64[np.ndarray, " piece"]:
    """Number of different values in each piece."""
    return np.count_nonzero(np.diff(np.sort(values, axis=1), axis=1), axis=1) + 1


class Mixer:
    """Mixes channels to mono and leaves dead ones out, in constant memory; a mono source passes through.

    A channel is dead if it moves by less than four steps of 16 bits in the first two seconds while another one is 20 dB
    louder. It counts again from the first sample at which it moves further. Nothing depends on how the samples are cut.

    Args:
        sample_rate: Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._wait = round(_LOOK_AHEAD_S * sample_rate)
        self._waiting: list[Float32[np.ndarray, "native channel"]] | None = []
        self._dead: dict[int, float] = {}  # channels that do not count, and what they rest at
        self._noted: tuple[int, ...] = ()
        self._n_channels = 0
        self._channel_power = self._mix_power = 0.0

    def push(self, block: Float32[np.ndarray, "native channel"]) -> Samples:
        """Return the mono samples that are known: none for the first two seconds of several channels, then all."""
        if block.shape[1] == 1 and not self._waiting:
            return block[:, 0]
        if self._waiting is None:
            return self._mix(block)
        if self._waiting and self._waiting[0].shape[1] != block.shape[1]:  # a source that changes in mid-file
            return np.concatenate([self.flush(), self._mix(block)])
        if not self._waiting and bool((np.ptp(block.T.copy(), axis=1) >= _DEAD_RANGE).all()):  # as a rule: none is dead
            self._waiting = None
            return self._mix(block)
        self._waiting.append(block)
        self._wait = min(self._wait, max(1, _MOST_WAITING // block.shape[1]))
        return self.flush() if sum(map(len, self._waiting)) >= self._wait else np.zeros(0, np.float32)

    def flush(self) -> Samples:
        """Return the mono samples that wait."""
        waiting, self._waiting = self._waiting, None
        if not waiting:
            return np.zeros(0, np.float32)
        block = np.concatenate(waiting)
        self._find_dead(block[: self._wait])
        return self._mix(block)

    def notes(self) -> tuple[str, ...]:
        """Note dead channels, and channels that cancel each other."""
        notes: list[str] = []
        if self._noted:
            which = ", ".join(str(channel + 1) for channel in self._noted)
            notes.append(f"channel {which} of {self._n_channels} holds no signal and is left out of the mix to mono")
        n = self._n_channels - len(self._noted)
        if n > 1 and self._mix_power < _CANCELLED * 2 / n * self._channel_power:
            loss = 10 * math.log10(self._channel_power / self._mix_power) if self._mix_power else math.inf
            notes.append(
                f"its channels cancel each other when mixed to mono (by {loss:.0f} dB); is the polarity of one inverted?"
            )
        return tuple(notes)

    def _find_dead(self, start: Float32[np.ndarray, "native channel"]) -> None:
        self._n_channels = start.shape[1]
        channels = np.ascontiguousarray(start.T)  # numpy is slow where the last axis is short
        spread = channels.max(axis=1) - channels.min(axis=1)
        rms = channels.std(axis=1)
        dead = np.flatnonzero((spread < _DEAD_RANGE) & (rms * _LOUDER <= rms.max()) & (rms.max() > _WEAK_RMS))
        self._dead = {int(channel): float(np.median(start[:, channel])) for channel in dead}
        self._noted = tuple(self._dead)

    def _mix(self, block: Float32[np.ndarray, "native channel"]) -> Samples:
        if self._n_channels != block.shape[1]:
            self._dead, self._n_channels = {}, block.shape[1]
        pieces: list[Samples] = []
        at = 0
        while at < len(block):
            end, back = self._until_alive(block, at)
            pieces.append(self._mean(block[at:end]))
            self._dead.pop(back, None)
            at = end
        mono = pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros(0, np.float32), *pieces])
        self._measure(block, mono)
        return mono

    def _until_alive(self, block: Float32[np.ndarray, "native channel"], at: int) -> tuple[int, int]:
        """Return the sample at which the next dead channel comes alive, and the channel; else the end, and -1."""
        end, back = len(block), -1
        for channel, rest in self._dead.items():
            moved = np.abs(block[at:end, channel] - rest) > _DEAD_RANGE
            if moved.any():
                end, back = at + int(np.argmax(moved)), channel
        return end, back

    def _mean(self, block: Float32[np.ndarray, "native channel"]) -> Samples:
        if not self._dead:
            return mean_of_channels(block)
        return mean_of_channels(np.delete(block, list(self._dead), axis=1))

    def _measure(self, block: Float32[np.ndarray, "native channel"], mono: Samples) -> None:
        """Add the powers of the mix and, as their mean, of the channels that count."""
        n = block.shape[1] - len(self._dead)
        flat = block.reshape(-1) if not self._dead else np.delete(block, list(self._dead), axis=1).reshape(-1)
        self._channel_power += float(flat @ flat) / n
        self._mix_power += float(mono @ mono)


def mean_of_channels(block: Float32[np.ndarray, "native channel"]) -> Samples:
    """Average channels; two are written out, because numpy takes twenty times as long for the same bits.

    Args:
        block: Samples [sample, channel].
    """
    if block.shape[1] == 1:
        return block[:, 0]
    if block.shape[1] == 2:
        return (block[:, 0] + block[:, 1]) * np.float32(0.5)
    return block.mean(axis=1, dtype=np.float32)
