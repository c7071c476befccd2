"""The run of `soundscene listen`: live audio in, rows or a screen out, a summary at the end."""

import csv
import io
import json
import statistics
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TextIO

from soundscene.audio.microphone import Microphone, list_inputs
from soundscene.audio.pcm import Arrival, PcmStream, SampleType
from soundscene.audio.piped import Pipe, read_header
from soundscene.cli.listen_screen import Counts, Screen, clock
from soundscene.cli.terminal import err, out, say, tell, wrapped
from soundscene.errors import AudioError
from soundscene.live import Listener, Update
from soundscene.live import listen as updates_of
from soundscene.texts import counted, csv_cell, show

COLUMNS = (
    "start_s", "end_s", "scene", "probability", "n_segments", "silent", "lost_s", "segment_scene", "segment_probability",
    "latency_s", "delay_s", "dropouts", "overruns", "unfamiliarity", "unknown",
)  # fmt: skip

PIPE_HZ = 48000
LiveInput = Microphone | PcmStream
RowForm = Literal["lines", "jsonl", "csv"]


def run(
    source: LiveInput,
    listener: Listener,
    form: Literal["screen"] | RowForm,
    scenes: tuple[str, ...],
    hop_s: float,
    safe_csv: bool = False,
) -> None:
    """Show updates until the audio ends or Ctrl-C, then print a summary.

    Args:
        source: The live audio.
        listener: The model's state for it.
        form: How to print; a screen needs a terminal, and is lines elsewhere.
        scenes: Names of the scenes.
        hop_s: Seconds between two updates.
        safe_csv: Whether no cell of csv may be taken for a formula.
    """
    if form == "screen" and out.is_terminal:
        display: Rows | Screen = Screen(scenes, hop_s)
    else:
        display = Rows("lines" if form == "screen" else form, sys.stdout, safe_csv)
    stats = LatencyStats(deque(maxlen=10_000))
    notes = set(listener.notes)
    for note in listener.notes:  # before the first prediction, and above the screen
        tell(note)
    try:
        with (
            display,
            closing(source.arrivals()) as arrivals,
            closing(updates_of(listener, _watched(arrivals, display, listener))) as updates,
        ):
            for update in updates:
                display.add(update, _counts(source, listener))
                stats.add(update)
                for note in update.notes:
                    if note not in notes and not isinstance(display, Screen):
                        tell(note)
                    notes.add(note)
    except KeyboardInterrupt:
        pass
    finally:
        for note in source.notes:
            tell(note)
        if listener.heard_s or isinstance(source, Microphone):  # of an empty pipe, the error says all
            err.print(wrapped(stats.summary(listener.heard_s, _counts(source, listener)), err))


def _watched(arrivals: Iterator[Arrival], display: "Rows | Screen", listener: Listener) -> Iterator[Arrival]:
    for arrival in arrivals:
        display.tick(listener.heard_s)
        yield arrival


def _counts(source: LiveInput, listener: Listener) -> Counts:
    """What went missing; a pipe loses nothing, because its writer waits."""
    if isinstance(source, PcmStream):
        return Counts()
    return Counts(source.dropouts, source.overruns, source.n_lost / listener.sample_rate)


def open_pipe(rate: int | None, channels: int, sample_type: SampleType) -> tuple[PcmStream, int]:
    """Open stdin as raw PCM, or as a WAV if it begins with the header of one, which then counts.

    Args:
        rate: Sample rate of raw PCM, Hz.
        channels: Number of channels of raw PCM, interleaved.
        sample_type: Format of the samples of raw PCM.

    Returns:
        The stream and its sample rate, Hz.

    Raises:
        AudioError: Stdin is a terminal, or a sound file that cannot be read from a pipe.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise AudioError("--stdin is a terminal; pipe raw PCM in, as ffmpeg -i FILE -f s16le -ac 1 -ar 48000 - | ...")
    pipe = Pipe(sys.stdin.buffer)
    header = read_header(pipe)
    if header is None:
        return PcmStream(pipe, channels, sample_type), rate or PIPE_HZ
    if rate not in (None, header.sample_rate):
        tell(f"stdin is a WAV of {header.sample_rate} Hz; --rate {rate} is not used")
    return PcmStream(pipe, header.n_channels, header.sample_type), header.sample_rate


def device_of(text: str | None) -> int | str | None:
    """Read an input device: a number, part of a name, or None for the system's default."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else text


def print_inputs() -> None:
    """Print the input devices; raises `AudioError` where there is none."""
    inputs = list_inputs()
    if not inputs:
        raise AudioError("no input device; is a microphone connected, and may this program use it?")
    for device in inputs:
        default = ", the default" if device.default else ""
        say(f"{device.number:>3}  {device.name}, {counted(device.n_channels, 'channel')}, {device.sample_rate} Hz{default}")


# --- rows -------------------------------------------------------------------------------------------------------------


class Rows:
    """Writes a line per update at once.

    Args:
        form: Form of the lines.
        stream: Where to write.
        safe_csv: Whether no cell of csv may be taken for a formula.
    """

    def __init__(self, form: RowForm, stream: TextIO, safe_csv: bool = False) -> None:
        self._form, self._stream, self._safe_csv = form, stream, safe_csv

    def __enter__(self) -> "Rows":
        if self._form == "csv":
            self._write(",".join(COLUMNS))
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def tick(self, heard_s: float) -> None:
        """Do nothing: rows show predictions only."""

    def add(self, update: Update, counts: Counts) -> None:
        """Write a line.

        Args:
            update: The prediction.
            counts: What went missing so far.
        """
        forms = {"lines": _line, "jsonl": _json, "csv": partial(_csv, safe=self._safe_csv)}
        self._write(forms[self._form](update, counts))

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


def row(update: Update, counts: Counts) -> dict[str, Any]:
    """Make a row with the keys of `COLUMNS`.

    Args:
        update: The prediction; values of segments that did not vote are None.
        counts: What went missing so far.
    """
    document = update.to_dict(counts.dropouts, counts.overruns)
    return {name: document[name] for name in COLUMNS}


def _json(update: Update, counts: Counts) -> str:
    return json.dumps(update.to_dict(counts.dropouts, counts.overruns))


def _csv(update: Update, counts: Counts, safe: bool = False) -> str:
    line = io.StringIO()
    values = (int(v) if isinstance(v, bool) else csv_cell(v, safe) for v in row(update, counts).values())
    csv.writer(line, lineterminator="").writerow(values)
    return line.getvalue()


def _line(update: Update, counts: Counts) -> str:
    parts = [clock(update.end_s), *(f"{scene} {p:.2f}" for scene, p in update.top(3)), f"latency {_ms(update.latency_s)}"]
    if update.posterior is None:
        parts.insert(1, "no prediction yet")
    if update.silent:
        parts.append("silence")
    if update.unknown:
        parts.append("out-of-distribution")
    if update.lost_s:
        parts.append(f"{update.lost_s:.2f} s lost")
    return show("  ".join(parts + counts.texts()))


# --- summary ----------------------------------------------------------------------------------------------------------


@dataclass
class LatencyStats:
    """Number and latency of the predictions.

    Attributes:
        latencies_s: The last latencies in seconds, for their median.
        n: Number of predictions.
        largest_s: Largest latency in seconds.
    """

    latencies_s: deque[float]
    n: int = 0
    largest_s: float = 0.0

    def add(self, update: Update) -> None:
        """Add a prediction."""
        self.latencies_s.append(update.latency_s)
        self.n += 1
        self.largest_s = max(self.largest_s, update.latency_s)

    def summary(self, received_s: float, counts: Counts) -> str:
        """Summarise the stream in one line.

        Args:
            received_s: Length of the audio in seconds.
            counts: What went missing.
        """
        text = f"received {received_s:.1f} s, {self.n} predictions, {counts.dropouts} dropouts, {counts.overruns} overruns"
        if counts.lost_s:
            text += f", {counts.lost_s:.2f} s lost"
        if self.n:
            text += f", latency {_ms(statistics.median(self.latencies_s))} (median), {_ms(self.largest_s)} (largest)"
        return text


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"
