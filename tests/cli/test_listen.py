"""`soundscene listen` from end to end: raw PCM through stdin, a microphone that is made up, the screen."""

import csv
import errno
import io
import json
import os
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from rich.console import Console

from soundscene.audio import microphone
from soundscene.cli import listen_run as command
from soundscene.cli.listen_run import LatencyStats
from soundscene.cli.listen_screen import Counts, Screen, clock, letters
from soundscene.live import Update
from soundscene.predictor import load
from soundscene.texts import counted
from tests.support.command_line import run
from tests.support.tiny import RATE, SCENES, recording

SOUND = np.concatenate([np.zeros(2 * RATE, np.float32), recording("rain", 4.3, 0)])
PCM = np.rint(SOUND * 32767).astype("<i2")


def pipe(monkeypatch: pytest.MonkeyPatch, data: bytes, kind: type[io.BytesIO] = io.BytesIO) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(kind(data)))


class Interrupted(io.BytesIO):
    """A pipe at whose end somebody presses Ctrl-C."""

    def read1(self, size: int | None = -1, /) -> bytes:
        data = super().read1(size)
        if not data:
            raise KeyboardInterrupt
        return data


class Unreadable(io.BytesIO):
    """A stdin that was opened for writing."""

    def read1(self, size: int | None = -1, /) -> bytes:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def wave_header() -> bytes:
    """A WAV without samples."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(0, np.float32), RATE, format="WAV")
    return file.getvalue()


def test_every_form_says_what_the_api_says(
    model: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = list(load(model).stream([PCM], RATE))
    assert [u.silent for u in expected] == [True, False, False]
    pipe(monkeypatch, PCM.tobytes() + b"x")
    assert run("listen", model, "--stdin", "--rate", str(RATE), "--format", "jsonl") == 0
    told = capfd.readouterr()
    found = [json.loads(line) for line in told.out.splitlines()]
    assert [(r["start_s"], r["end_s"], r["scene"], r["silent"]) for r in found] == [
        (u.start_s, u.end_s, u.scene, u.silent) for u in expected
    ]
    assert found[0]["posterior"] is None
    last = expected[-1].posterior
    assert last is not None
    assert list(found[-1]["posterior"]) == list(SCENES)
    assert list(found[-1]["posterior"].values()) == pytest.approx(last.tolist(), abs=1e-6)
    assert found[-1]["delay_s"] >= found[-1]["latency_s"] > 0
    note, summary = told.err.splitlines()
    assert note.startswith("note: left out at the end: 1 byte, no whole sample of ")
    assert summary.startswith("received 6.3 s, 3 predictions, 0 dropouts, 0 overruns, latency ")

    pipe(monkeypatch, PCM.tobytes())
    assert run("listen", model, "--stdin", "--rate", str(RATE), "--format", "csv") == 0
    rows = list(csv.DictReader(io.StringIO(capfd.readouterr().out)))
    assert tuple(rows[0]) == command.COLUMNS
    assert [(r["end_s"], r["scene"], r["silent"]) for r in rows] == [
        (str(u.end_s), u.scene or "", str(int(u.silent))) for u in expected
    ]

    pipe(monkeypatch, PCM.tobytes())
    assert run("listen", model, "--stdin", "--rate", str(RATE)) == 0  # no terminal: lines
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("0:00:02.0  no prediction yet  latency ")
    assert lines[0].endswith("  silence")
    assert lines[2].startswith(f"0:00:06.0  {expected[2].scene} {expected[2].probability:.2f}  ")


def test_a_wav_in_the_pipe_is_read_by_its_header(
    model: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pipe(monkeypatch, PCM.tobytes())
    assert run("listen", model, "--stdin", "--rate", str(RATE), "--format", "csv") == 0
    expected = [(r["end_s"], r["scene"], r["probability"]) for r in csv.DictReader(io.StringIO(capfd.readouterr().out))]
    file = io.BytesIO()
    soundfile.write(file, np.stack([PCM, PCM], axis=1), RATE, "PCM_16", format="WAV")
    pipe(monkeypatch, file.getvalue())
    assert run("listen", model, "--stdin", "--rate", "48000", "--format", "csv") == 0
    told = capfd.readouterr()
    assert [(r["end_s"], r["scene"], r["probability"]) for r in csv.DictReader(io.StringIO(told.out))] == expected
    assert told.err.splitlines()[0] == f"note: stdin is a WAV of {RATE} Hz; --rate 48000 is not used"


def test_another_file_in_the_pipe_is_one_line(
    model: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = io.BytesIO()
    soundfile.write(file, SOUND, RATE, format="OGG")
    pipe(monkeypatch, file.getvalue())
    assert run("listen", model, "--stdin") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("soundscene: stdin is an OGG file; --stdin expects raw PCM or a WAV.")


@pytest.mark.parametrize(
    ("data", "n"),
    [(b"", 0), (b"x", 1), (wave_header(), 0), (wave_header() + b"x", 1)],
    ids=["empty", "a byte", "wav", "cut"],
)
def test_a_pipe_without_a_sample_is_one_line(
    model: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], data: bytes, n: int
) -> None:
    pipe(monkeypatch, data)
    assert run("listen", model, "--stdin") == 2
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err == (
        f"soundscene: the pipe ended after {counted(n, 'byte')}, before its first sample; has the program "
        "that writes failed?\n"
    )


def test_a_stdin_that_cannot_be_read_is_one_line(
    model: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pipe(monkeypatch, b"", Unreadable)
    assert run("listen", model, "--stdin") == 2
    assert capfd.readouterr().err == "soundscene: stdin cannot be read (Bad file descriptor); pipe raw PCM or a WAV in\n"


def test_ctrl_c_is_a_good_end(model: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    stereo = np.repeat(PCM.astype("<f8") / 32768, 2).tobytes()
    pipe(monkeypatch, stereo, Interrupted)
    options = ("--rate", str(RATE), "--channels", "2", "--type", "f64le", "--hop", "1", "--window", "2", "--head", "softmax")
    assert run("listen", model, "--stdin", *options) == 0
    told = capfd.readouterr()
    assert [line.split()[0] for line in told.out.splitlines()] == [f"0:00:0{n}.0" for n in (2, 3, 4, 5, 6)]
    assert told.err.startswith("received 6.3 s, 5 predictions")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--stdin", "--hop", "0"), "soundscene: a hop of 0 s: allowed are"),
        (("--stdin", "--rate", "48"), "soundscene: stdin: a sample rate of 48 Hz is not plausible"),
        (("--stdin", "--device", "1"), "contradicts --stdin"),
        ((), 'soundscene: listen needs sounddevice, which is not installed: pip install "soundscene[live]"'),
        (("--devices",), "soundscene: listen needs sounddevice"),
    ],
)
def test_what_cannot_be_is_one_line(
    model: Any, options: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    pipe(monkeypatch, PCM.tobytes())
    assert run("listen", model, *options) == 2
    told = " ".join(capfd.readouterr().err.split())
    assert message in told
    assert "Traceback" not in told


def test_a_terminal_is_no_sound(model: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    assert run("listen", model, "--stdin") == 2
    assert capfd.readouterr().err.startswith("soundscene: --stdin is a terminal; pipe raw PCM in")


class FakeStream:
    """A device that gives 2 s of sound, discards one second, gives 4 s more; then somebody presses Ctrl-C."""

    asked: tuple[Any, ...] = ()

    def __init__(
        self, *, samplerate: int, blocksize: int, device: Any, channels: int, dtype: str, callback: Callable[..., None]
    ) -> None:
        FakeStream.asked = (samplerate, device, channels, dtype)
        self._callback = callback

    def start(self) -> None:
        two = np.repeat(SOUND[2 * RATE :, None], 2, axis=1)
        for block, began_s, overflow in ((two[: 2 * RATE], 0.0, False), (two[: 4 * RATE], 3.0, True)):
            status = SimpleNamespace(input_overflow=overflow)
            self._callback(block, len(block), SimpleNamespace(inputBufferAdcTime=began_s), status)

    @property
    def active(self) -> bool:
        raise KeyboardInterrupt

    def close(self) -> None:
        pass


def test_what_a_microphone_loses_is_shown(
    model: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    module = SimpleNamespace(
        PortAudioError=OSError,
        InputStream=FakeStream,
        query_devices=lambda device, kind: {"name": "fake", "max_input_channels": 2, "default_samplerate": float(RATE)},
        check_input_settings=lambda *_: None,
    )
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    monkeypatch.setattr(microphone, "_POLL_S", 0.001)
    assert run("listen", model, "--device", "3", "--channels", "2") == 0
    assert FakeStream.asked == (RATE, 3, 2, "float32")
    told = capfd.readouterr()
    first, second, third = told.out.splitlines()
    assert first.startswith("0:00:02.0")
    assert "1.00 s lost" in second
    assert third.endswith("1 dropout so far")
    assert "received 7.0 s, 3 predictions, 1 dropouts, 0 overruns, 1.00 s lost, latency" in told.err
    run("listen", model, "--device", "USB 2")
    assert FakeStream.asked[1] == "USB 2"


def test_inputs_are_listed(model: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    found: list[Any] = [SimpleNamespace(number=4, name="[mic]", n_channels=2, sample_rate=44100, default=True)]
    monkeypatch.setattr(command, "list_inputs", lambda: found)
    assert run("listen", model, "--devices") == 0
    assert capfd.readouterr().out == "  4  [mic], 2 channels, 44100 Hz, the default\n"
    found.clear()
    assert run("listen", model, "--devices") == 2


# --- the screen -------------------------------------------------------------------------------------------------------


def update(end_s: float, posterior: list[float] | None, silent: bool = False, lost_s: float = 0.0) -> Update:
    row = None if posterior is None else np.array(posterior)
    return Update(end_s - 2, end_s, ("rain", "[red]", "sea"), row, row, 1, silent, lost_s, 0.012, end_s + 0.05, ("a note",))


def shown(screen: Screen) -> list[str]:
    console = Console(file=io.StringIO(), width=60, color_system=None, highlight=False, markup=False, emoji=False)
    console.print(screen.render())
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_screen_shows_scene_bars_strip_and_what_went_missing() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=60)
    with Screen(("rain", "[red]", "sea"), 2.0, terminal) as screen:
        assert shown(screen) == ["listening", "", "received 0:00:00.0, 0 dropouts, 0 overruns"]
        screen.add(update(2.0, None, silent=True), Counts())
        assert "no prediction yet: silence" in shown(screen)
        screen.add(update(4.0, [0.2, 0.4, 0.4]), Counts())
        screen.add(update(6.0, [0.2, 0.6, 0.2], lost_s=0.5), Counts(1, 2, 0.5))
        screen.add(update(8.0, [0.1, 0.9, 0.0]), Counts(1, 2, 0.5))
        screen.tick(9.0)
        bar = "█" if terminal.encoding.startswith("utf") else "#"
        assert shown(screen) == [
            "[red]  0.90",
            f"[red] {bar * 27} 0.90",
            f"rain  {bar * 3:<27} 0.10",
            f"sea   {'':<27} 0.00",
            "",
            "the last 0:00:08.0, 2 s per letter (capital: 0.5 or more)",
            ".e!E",
            "! audio lost  . silence  e [red]",
            "",
            "received 0:00:09.0, 1 dropouts, 2 overruns, 0.50 s lost,",
            "latency 12 ms (62 ms after the segment's end)",
            "note: a note",
        ]
    assert isinstance(terminal.file, io.StringIO)
    assert "[red]" in terminal.file.getvalue()


def test_the_strip_forgets_after_five_minutes() -> None:
    screen = Screen(("rain", "[red]", "sea"), 2.0, Console(file=io.StringIO(), width=60))
    for n in range(400):
        screen.add(update(2.0 * n, [0.8, 0.1, 0.1] if n < 300 else [0.1, 0.1, 0.8]), Counts())
    lines = shown(screen)
    assert "the last 0:05:00.0, 2 s per letter (capital: 0.5 or more)" in lines
    assert "".join(line for line in lines if line and not line.strip("RS")) == "R" * 50 + "S" * 100


def test_letters_are_different_as_long_as_there_are_any() -> None:
    assert letters(("rain", "sea", "rails", "雨", "sss", "...")) == ["r", "s", "a", "b", "c", "d"]
    many = letters(tuple(f"a{n}" for n in range(40)))
    assert len(set(many[:33])) == 33
    assert many[33:] == ["#"] * 7
    assert not set("l01o") & set(letters(("loo 01", "oll", "o")[:1])) - {"o"}  # no l beside I, no 0 beside O
    assert letters(("quiet street", "busy street", "street", "stream")) == ["q", "b", "s", "t"]


def test_notes_come_at_the_start(model: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    pipe(monkeypatch, PCM[:8000].tobytes())  # too short for a prediction
    assert run("listen", model, "--stdin", "--rate", "8000") == 0
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.startswith("note: ")
    assert "8000 Hz" in told.err.splitlines()[0]


def test_clock() -> None:
    assert [clock(s) for s in (0.0, 59.96, 3723.44, 360000.0)] == ["0:00:00.0", "0:01:00.0", "1:02:03.4", "100:00:00.0"]


def test_median_and_largest_latency() -> None:
    tally = LatencyStats(deque(maxlen=3))
    assert tally.summary(0.5, Counts()) == "received 0.5 s, 0 predictions, 0 dropouts, 0 overruns"
    for latency_s in (9.0, 0.1, 0.3, 0.2):
        tally.add(Update(0.0, 2.0, ("a",), None, None, 0, False, 0.0, latency_s, 2.0))
    assert tally.summary(8.0, Counts()).endswith("latency 200 ms (median), 9000 ms (largest)")


def test_a_row_names_the_scene_of_the_segment_beside_that_of_the_window() -> None:
    """They differ where a scene has just changed."""
    window = update(4.0, [0.7, 0.2, 0.1])
    row = command.row(replace(window, segment_posterior=np.array([0.1, 0.6, 0.3])), Counts())
    assert (row["scene"], row["segment_scene"], row["segment_probability"]) == (window.scenes[0], window.scenes[1], 0.6)
