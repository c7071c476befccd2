"""`soundscene listen`: the scene now, from a microphone or a pipe."""

import csv
import io
import json
import statistics
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

import numpy as np
import typer

from soundscene.audio.microphone import Microphone, list_inputs
from soundscene.audio.pcm import Arrival, PcmStream, SampleType
from soundscene.cli.listen_screen import Counts, Screen, clock
from soundscene.cli.terminal import err, out, tell
from soundscene.errors import AudioError
from soundscene.live import DEFAULT_WINDOW_S, Listener, Update, warm_up
from soundscene.live import listen as updates_of

PIPE_HZ = 48000
COLUMNS = (
    "start_s", "end_s", "scene", "probability", "n_segments", "silent", "lost_s", "segment_scene", "segment_probability",
    "latency_s", "delay_s", "dropouts", "overruns", "unfamiliarity", "unknown",
)  # fmt: skip

LiveInput = Microphone | PcmStream
ListenFormat = Literal["screen", "lines", "jsonl", "csv"]


def listen(
    model: Path,
    stdin: Annotated[bool, typer.Option("--stdin", help="Raw PCM from a pipe, not a microphone.")] = False,
    rate: Annotated[int | None, typer.Option(help="Hz; by default 48000 of --stdin, the device's own.")] = None,
    channels: Annotated[int, typer.Option(min=1, help="Of the sound; mixed to one.")] = 1,
    sample_type: Annotated[SampleType, typer.Option("--type", help="Of the samples of --stdin.")] = "s16le",
    device: Annotated[str | None, typer.Option(help="Number of an input, or part of its name.")] = None,
    devices: Annotated[bool, typer.Option("--devices", help="List the inputs and leave.")] = False,
    hop: Annotated[float | None, typer.Option(help="Seconds from answer to answer; by default a segment.")] = None,
    window: Annotated[float, typer.Option(help="Seconds that an answer looks back.")] = DEFAULT_WINDOW_S,
    form: Annotated[
        ListenFormat, typer.Option("--format", help="How to print; screen is for a terminal, else lines.")
    ] = "screen",
    head: Annotated[Literal["svm", "softmax"] | None, typer.Option(help="By default the recipe's.")] = None,
) -> None:
    """Tell the scene now, from a microphone or raw PCM on stdin, until Ctrl-C or the end of the sound."""
    from soundscene.bundle import ModelBundle

    if devices:
        _print_inputs()
        return
    if stdin and device is not None:
        raise typer.BadParameter("--device chooses a microphone and contradicts --stdin; give one of them")
    bundle = ModelBundle.load(model)
    head = head or bundle.recipe.calibration.head
    source = _pipe(channels, sample_type) if stdin else Microphone(_device(device), rate, channels)
    sample_rate = source.sample_rate if isinstance(source, Microphone) else rate or PIPE_HZ
    listener = Listener(bundle, head, sample_rate, hop, window, "stdin" if stdin else "microphone")
    warm_up(bundle, head, sample_rate)
    if form == "screen" and out.is_terminal:
        shown: Rows | Screen = Screen(bundle.scenes, bundle.recipe.audio.segment_s if hop is None else hop)
    else:
        shown = Rows("lines" if form == "screen" else form, sys.stdout)
    _run(source, listener, shown)


def _run(source: LiveInput, listener: Listener, shown: "Rows | Screen") -> None:
    """Show what is heard to the end, and sum it up, however it ends."""
    tally = LatencyStats(deque(maxlen=10_000))
    told: set[str] = set()
    try:
        with (
            shown,
            closing(source.arrivals()) as sound,
            closing(updates_of(listener, _watched(sound, shown, listener))) as found,
        ):
            for update in found:
                shown.add(update, _counts(source, listener))
                tally.add(update)
                for note in update.notes:
                    if note not in told and not isinstance(shown, Screen):
                        tell(note)
                    told.add(note)
    except KeyboardInterrupt:
        pass
    finally:
        for note in source.notes:
            tell(note)
        err.print(tally.summary(listener.heard_s, _counts(source, listener)))


def _watched(sound: Iterator[Arrival], shown: "Rows | Screen", listener: Listener) -> Iterator[Arrival]:
    for arrival in sound:
        shown.tick(listener.heard_s)
        yield arrival


def _counts(source: LiveInput, listener: Listener) -> Counts:
    """A pipe loses nothing: whoever writes to it waits."""
    if isinstance(source, PcmStream):
        return Counts()
    return Counts(source.dropouts, source.overruns, source.n_lost / listener.sample_rate)


def _pipe(channels: int, sample_type: SampleType) -> PcmStream:
    if sys.stdin is None or sys.stdin.isatty():
        raise AudioError("--stdin is a terminal; pipe raw PCM in, as ffmpeg -i FILE -f s16le -ac 1 -ar 48000 - | ...")
    file: Any = sys.stdin.buffer
    return PcmStream(file, channels, sample_type)


def _device(chosen: str | None) -> int | str | None:
    return int(chosen) if chosen is not None and chosen.isascii() and chosen.isdigit() else chosen


def _print_inputs() -> None:
    found = list_inputs()
    if not found:
        raise AudioError("there is no input; is a microphone connected, and may this program use it?")
    for one in found:
        default = ", the default" if one.default else ""
        out.print(f"{one.number:>3}  {one.name}, {one.n_channels} channel(s), {one.sample_rate} Hz{default}")


# --- rows -------------------------------------------------------------------------------------------------------------


class Rows:
    """A line per update, written at once; form: lines, jsonl or csv."""

    def __init__(self, form: ListenFormat, stream: TextIO) -> None:
        self._form, self._stream = form, stream

    def __enter__(self) -> "Rows":
        if self._form == "csv":
            self._write(",".join(COLUMNS))
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def tick(self, heard_s: float) -> None:
        """Nothing: rows are for answers."""

    def add(self, update: Update, counts: Counts) -> None:
        """Write an update."""
        self._write({"lines": _line, "jsonl": _json, "csv": _csv}[self._form](update, counts))

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


def row(update: Update, counts: Counts) -> dict[str, Any]:
    """The keys of `COLUMNS`; None where nothing voted. Counts are of all so far."""
    alone = update.segment_posterior
    best = None if alone is None else int(np.argmax(alone))
    values = (
        *(update.start_s, update.end_s, update.scene, update.probability, update.n_segments, update.silent, update.lost_s),
        *((None, None) if alone is None or best is None else (update.scenes[best], float(alone[best]))),
        *(update.latency_s, update.delay_s, counts.dropouts, counts.overruns, update.unfamiliarity, update.unknown),
    )
    return dict(zip(COLUMNS, (round(v, 6) if isinstance(v, float) else v for v in values), strict=True))


def _json(update: Update, counts: Counts) -> str:
    found = row(update, counts)
    for name, posterior in (("posterior", update.posterior), ("segment_posterior", update.segment_posterior)):
        values = None if posterior is None else [round(float(p), 6) for p in posterior]
        found[name] = values and dict(zip(update.scenes, values, strict=True))
    return json.dumps(found)


def _csv(update: Update, counts: Counts) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(int(v) if isinstance(v, bool) else v for v in row(update, counts).values())
    return line.getvalue()


def _line(update: Update, counts: Counts) -> str:
    parts = [clock(update.end_s), *(f"{scene} {p:.2f}" for scene, p in update.top(3)), f"latency {_ms(update.latency_s)}"]
    if update.posterior is None:
        parts.insert(1, "nothing heard yet")
    if update.silent:
        parts.append("silence")
    if update.unknown:
        parts.append("unfamiliar")
    if update.lost_s:
        parts.append(f"{update.lost_s:.2f} s lost")
    return "  ".join(parts + counts.words())


# --- the sum ----------------------------------------------------------------------------------------------------------


@dataclass
class LatencyStats:
    """What the summary says; latencies_s: the last ones, for their median."""

    latencies_s: deque[float]
    n: int = 0
    largest_s: float = 0.0

    def add(self, update: Update) -> None:
        """Count an update."""
        self.latencies_s.append(update.latency_s)
        self.n += 1
        self.largest_s = max(self.largest_s, update.latency_s)

    def summary(self, heard_s: float, counts: Counts) -> str:
        """One line."""
        told = f"heard {heard_s:.1f} s, {self.n} answers, {counts.dropouts} dropouts, {counts.overruns} overruns"
        if counts.lost_s:
            told += f", {counts.lost_s:.2f} s lost"
        if self.n:
            told += f", latency {_ms(statistics.median(self.latencies_s))} (median), {_ms(self.largest_s)} (largest)"
        return told


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"
