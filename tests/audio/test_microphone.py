"""The microphone against a module that stands in for sounddevice: what it asks of it, and what it counts."""

import importlib
import sys
from collections.abc import Callable
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from soundscene.audio import microphone
from soundscene.audio.microphone import Input, Microphone, list_inputs
from soundscene.errors import AudioError


class PortAudioError(Exception):
    pass


class FakeStream:
    """Calls back with blocks of 1, 2, 3, ... times 0.001 when started; each call is (samples, device's clock, overflow)."""

    calls: tuple[tuple[int, float, bool], ...] = ()
    active = True
    made: "FakeStream"

    def __init__(
        self, *, samplerate: int, blocksize: int, device: Any, channels: int, dtype: str, callback: Callable[..., None]
    ) -> None:
        self.asked = (samplerate, blocksize, device, channels, dtype)
        self.callback = callback
        self.closed = False
        FakeStream.made = self

    def start(self) -> None:
        _, _, _, n_channels, _ = self.asked
        buffer = np.zeros((8192, n_channels), np.float32)  # one buffer for all calls, as a driver has
        for i, (n, began_s, overflow) in enumerate(self.calls, 1):
            buffer[:] = i / 1000
            times, status = SimpleNamespace(inputBufferAdcTime=began_s), SimpleNamespace(input_overflow=overflow)
            self.callback(buffer[:n], n, times, status)

    def close(self) -> None:
        self.closed = True


DEVICES = [
    {"name": "Speaker", "max_input_channels": 0, "default_samplerate": 48000.0},
    {"name": "Built-in", "max_input_channels": 2, "default_samplerate": 44100.0},
]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    def query_devices(device: Any = None, kind: str | None = None) -> Any:
        if kind is None:
            return DEVICES
        if device not in (None, 1, "Built"):
            raise ValueError(f"No input device matching {device!r}:\n  0 Speaker")
        return DEVICES[1]

    def check_input_settings(device: Any, channels: int, dtype: str, _: Any, samplerate: int) -> None:
        if samplerate != 44100 or channels > 2:
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")

    module = SimpleNamespace(
        query_devices=query_devices,
        check_input_settings=check_input_settings,
        InputStream=FakeStream,
        PortAudioError=PortAudioError,
        default=SimpleNamespace(device=(1, 0)),
    )
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    monkeypatch.setattr(FakeStream, "calls", ())
    monkeypatch.setattr(FakeStream, "active", True)
    return module


def test_blocks_come_in_order_and_the_device_is_closed(fake: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeStream, "calls", ((5, 0.0, False), (7, 0.1, False)))
    source = Microphone("Built", n_channels=2)
    with closing(source.arrivals()) as arrivals:
        one, two = next(arrivals), next(arrivals)
        assert FakeStream.made.asked == (44100, 2205, "Built", 2, "float32")
        assert not FakeStream.made.closed
    assert FakeStream.made.closed
    np.testing.assert_array_equal(one.samples, np.full((5, 2), 0.001, np.float32))  # a copy: the driver's buffer has changed
    np.testing.assert_array_equal(two.samples, np.full((7, 2), 0.002, np.float32))
    assert (one.n_lost, two.n_lost, source.dropouts, source.overruns, source.n_lost) == (0, 0, 0, 0, 0)
    assert one.arrived <= two.arrived
    assert (source.name, source.sample_rate) == ("Built-in", 44100)


def test_a_dropout_is_counted_and_its_length_read_from_the_clock_of_the_device(
    fake: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        FakeStream, "calls", ((4410, 10.0, False), (4410, 10.3, True), (4410, 10.4, True), (4410, 9999999.0, True))
    )
    source = Microphone()
    with closing(source.arrivals()) as arrivals:
        found = [next(arrivals) for _ in range(4)]
    assert [a.n_lost for a in found] == [0, 8820, 0, 0]  # 0.2 s; then a clock that stands still, and one that was set
    assert (source.dropouts, source.overruns, source.n_lost) == (3, 0, 8820)


def test_a_full_queue_is_an_overrun_and_all_that_waits_is_lost_but_its_time(
    fake: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(microphone, "QUEUE_S", 0.5)  # 22050 samples: five blocks
    calls = [(4410, 0.1 * i, False) for i in range(7)]
    calls[2] = (4410, 0.7, True)  # 0.5 s went missing in the device
    monkeypatch.setattr(FakeStream, "calls", tuple(calls))
    source = Microphone()
    with closing(source.arrivals()) as arrivals:
        one, two = next(arrivals), next(arrivals)
    assert one.samples[0, 0] == np.float32(0.006)  # the sixth did not fit: the five before it are gone
    assert two.samples[0, 0] == np.float32(0.007)
    assert one.n_lost == 5 * 4410 + 22050
    assert two.n_lost == 0
    assert (source.dropouts, source.overruns, source.n_lost) == (1, 1, 5 * 4410 + 22050)


def test_a_device_that_stops_is_an_error(fake: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microphone, "_POLL_S", 0.001)
    monkeypatch.setattr(FakeStream, "calls", ((5, 0.0, False),))
    monkeypatch.setattr(FakeStream, "active", False)
    arrivals = Microphone().arrivals()
    assert len(next(arrivals).samples) == 5  # what had come is heard first
    with pytest.raises(AudioError, match="Built-in: delivers no more audio; was it unplugged"):
        next(arrivals)
    assert FakeStream.made.closed


def test_a_device_that_says_nothing_is_given_up(fake: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microphone, "_POLL_S", 0.001)
    monkeypatch.setattr(microphone, "_TIMEOUT_S", 0.01)
    with pytest.raises(AudioError, match="delivers no more audio"):
        next(Microphone().arrivals())


def test_inputs_are_listed(fake: SimpleNamespace) -> None:
    assert list_inputs() == [Input(1, "Built-in", 2, 44100, True)]
    fake.default = SimpleNamespace(device=None)
    assert list_inputs() == [Input(1, "Built-in", 2, 44100, False)]


def test_devices_and_rates_that_cannot_be(fake: SimpleNamespace) -> None:
    with pytest.raises(AudioError, match=r"input 'Webcam' cannot be used .*: No input device matching 'Webcam': 0 Speaker$"):
        Microphone("Webcam")
    with pytest.raises(
        AudioError, match=r"Built-in: does not support 1 channel at 48000 Hz; its own are 2 at 44100 Hz: Inv"
    ):
        Microphone(sample_rate=48000)

    def busy(**_: Any) -> None:
        raise PortAudioError("Device unavailable")

    fake.InputStream = busy
    with pytest.raises(AudioError, match="Built-in: cannot be opened; does another program hold it"):
        next(Microphone().arrivals())


def test_without_the_extra_or_the_library_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    message = (
        r'^a microphone needs sounddevice, which is not installed: pip install "soundscene\[live\]", or pipe raw PCM to'
    )
    with pytest.raises(AudioError, match=message):
        Microphone()

    def missing(_: str) -> None:
        raise OSError("PortAudio library not found")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(AudioError, match=r"does not find the library PortAudio .*libportaudio2"):
        list_inputs()
