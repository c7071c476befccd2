"""A microphone as blocks of samples, through sounddevice (PortAudio), an extra.

The device calls back from a thread of its own, which must not wait: it puts blocks into a queue of bounded length. Two
kinds of loss are counted. A dropout: the device itself discarded audio before it called. An overrun: the queue was full
because the reader was too slow. Then the whole queue is discarded, so that the next block is recent again and the gaps are
few. Lost time stays on the clock as `Arrival.n_lost`.
"""

import importlib
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition
from typing import Any

import numpy as np
from jaxtyping import Float32

from soundscene.audio.pcm import Arrival
from soundscene.errors import AudioError
from soundscene.extras import explain_missing
from soundscene.texts import counted

BLOCK_S = 0.05  # audio per call of the device: short beside a prediction every 2 s, few calls
QUEUE_S = 10.0  # audio that may wait for the reader
_POLL_S = 0.5  # how often a waiting reader checks that the device still runs (and, on Windows, for Ctrl-C)
_TIMEOUT_S = 5.0  # without any audio
_LONGEST_GAP_S = 3600.0  # beyond this the device's clock was set, not its sound lost


@dataclass(frozen=True)
class Input:
    """Hold a recording device.

    Attributes:
        number: To select it by.
        name: To select it by, in part or whole.
        n_channels: Largest number of channels.
        sample_rate: Default rate, Hz.
        default: Whether it is the system's input.
    """

    number: int
    name: str
    n_channels: int
    sample_rate: int
    default: bool


def list_inputs() -> list[Input]:
    """List all inputs.

    Raises:
        AudioError: sounddevice or PortAudio is missing.
    """
    sounddevice = _import()
    with _plain_errors(sounddevice, "the devices cannot be listed"):
        devices = list(sounddevice.query_devices())
        default = _default_number(sounddevice)
    return [
        Input(i, str(d["name"]), int(d["max_input_channels"]), round(d["default_samplerate"]), i == default)
        for i, d in enumerate(devices)
        if d["max_input_channels"] > 0
    ]


class Microphone:
    """One input, from `open` (or the first of `arrivals`) to the end of `arrivals`.

    Args:
        device: Number, or part of a name, by default the system's input.
        sample_rate: Hz, by default the device's own.

    Attributes:
        dropouts: How often the device discarded audio.
        overruns: How often the queue was full.
        n_lost: Samples lost by both, as far as they are known.

    Raises:
        AudioError: There is no sounddevice, PortAudio or such a device, or it does not take the rate or the channels.
    """

    def __init__(self, device: int | str | None = None, sample_rate: int | None = None, n_channels: int = 1) -> None:
        self._sounddevice = _import()
        called = "the default input" if device is None else f"input {device!r}"
        with _plain_errors(self._sounddevice, f"{called} cannot be used (`--devices` lists what is there)"):
            info = self._sounddevice.query_devices(device, "input")
        self.name = str(info["name"])
        own_rate = round(info["default_samplerate"])
        self.sample_rate = sample_rate or own_rate
        hint = f"{self.name}: does not support {counted(n_channels, 'channel')} at {self.sample_rate} Hz"
        hint = f"{hint}; its own are {info['max_input_channels']} at {own_rate} Hz"
        with _plain_errors(self._sounddevice, hint):
            self._sounddevice.check_input_settings(device, n_channels, "float32", None, self.sample_rate)
        self._device, self._n_channels = device, n_channels
        self._most = round(QUEUE_S * self.sample_rate)
        self._changed = Condition()
        self._queue: deque[Arrival] = deque()
        self._n_waiting = 0  # samples in the queue
        self._n_discarded = 0  # samples lost since the last one that was queued
        self._expected_s: float | None = None  # when, by the device's clock, the next sample is due
        self.dropouts = self.overruns = self.n_lost = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """Empty: everything that can go wrong is counted."""
        return ()

    def arrivals(self) -> Generator[Arrival, None, None]:
        """Yield blocks as the device delivers them, without end; closing the generator closes the device.

        Raises:
            AudioError: The device stops, or delivers nothing for five seconds.
        """
        cannot = f"{self.name}: cannot be opened; does another program hold it?"
        with _plain_errors(self._sounddevice, cannot):
            stream = self._sounddevice.InputStream(
                samplerate=self.sample_rate,
                blocksize=max(1, round(BLOCK_S * self.sample_rate)),
                device=self._device,
                channels=self._n_channels,
                dtype="float32",
                callback=self._called,
            )
        try:
            with _plain_errors(self._sounddevice, cannot):
                stream.start()
            while True:
                yield self._next(stream)
        finally:
            stream.close()

    def _next(self, stream: Any) -> Arrival:
        deadline = time.monotonic() + _TIMEOUT_S
        with self._changed:
            while not self._queue:
                self._changed.wait(_POLL_S)
                if self._queue:
                    break
                if not stream.active or time.monotonic() > deadline:
                    raise AudioError(f"{self.name}: delivers no more audio; was it unplugged, or taken by another program?")
            arrival = self._queue.popleft()
            self._n_waiting -= len(arrival.samples)
            return arrival

    def _called(self, block: Float32[np.ndarray, "sample channel"], n: int, times: Any, status: Any) -> None:
        """What the device calls with the next block, which it will overwrite; it must not wait, nor raise."""
        arrived = time.perf_counter()
        began_s = float(times.inputBufferAdcTime)
        lost = 0
        if status.input_overflow:
            lost = self._gap(began_s)
        with self._changed:
            self.dropouts += bool(status.input_overflow)
            self.n_lost += lost
            self._n_discarded += lost
            if self._n_waiting + n > self._most:
                waiting = sum(len(arrival.samples) for arrival in self._queue)
                self.overruns += 1
                self.n_lost += waiting
                # what was lost before a block that is discarded now has to stay on the clock too
                self._n_discarded += waiting + sum(arrival.n_lost for arrival in self._queue)
                self._queue.clear()
                self._n_waiting = 0
            self._queue.append(Arrival(block.copy(), arrived, self._n_discarded))
            self._n_waiting += n
            self._n_discarded = 0
            self._changed.notify()
        self._expected_s = began_s + n / self.sample_rate

    def _gap(self, began_s: float) -> int:
        """Compute the samples the device discarded, by its clock; 0 where that clock stands still, as with some drivers."""
        if self._expected_s is None:
            return 0
        gap_s = began_s - self._expected_s
        return round(gap_s * self.sample_rate) if 0 < gap_s < _LONGEST_GAP_S else 0


def _default_number(sounddevice: Any) -> int:
    """Return the number of the system's input, -1 for none; the library gives it as a pair with the output."""
    try:
        return int(sounddevice.default.device[0])
    except (TypeError, IndexError):
        return -1


def _import() -> Any:
    try:
        return importlib.import_module("sounddevice")
    except ModuleNotFoundError as error:
        raise AudioError(f"{explain_missing('a microphone', error) or error}, or pipe raw PCM to --stdin") from None
    except OSError as error:
        raise AudioError(
            f"sounddevice does not find the library PortAudio ({_one_line(error)}); install it (Debian, Ubuntu: apt install "
            "libportaudio2), or pipe raw PCM to --stdin"
        ) from None


@contextmanager
def _plain_errors(sounddevice: Any, what: str) -> Generator[None, None, None]:
    """Turn errors of PortAudio and of the selection of a device into one line."""
    try:
        yield
    except (sounddevice.PortAudioError, ValueError) as error:
        raise AudioError(f"{what}: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
