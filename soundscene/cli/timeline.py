"""`soundscene timeline`: the scenes of long recordings over time."""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from soundscene.cli.models import check_recordings, load_predictor, load_saved
from soundscene.cli.options import OUTPUT, AnyModelArgument, HeadOption, PredictDeviceOption, SafeCsvOption, extra_of
from soundscene.cli.outputs import ONE_FILE, is_one_file, keep_inputs, refuse_other_file
from soundscene.cli.terminal import UNREADABLE, bar, complain, err, say, tell
from soundscene.errors import SceneError
from soundscene.extras import require
from soundscene.texts import counted, csv_cell, show

if TYPE_CHECKING:
    from rich.table import Table

    from soundscene.predictor import Predictor
    from soundscene.systems.segment_model import SegmentPredictor
    from soundscene.types import Timeline

TimelineForm = Literal["table", "csv", "json", "labels", "raven"]
_SUFFIXES: dict[TimelineForm, str] = {
    "table": ".csv",
    "csv": ".csv",
    "json": ".jsonl",
    "labels": ".txt",
    "raven": ".selections.txt",
}
_OTHERS, _OTHERS_AND_CLOCK = 49, 60  # columns of a table that are not the name of the scene


FormOption = Annotated[
    TimelineForm,
    typer.Option(
        "--format",
        metavar="FORM",
        help="table, csv, json (a line per span), labels (for Audacity) or raven.",
        rich_help_panel=OUTPUT,
    ),
]
PlaceOption = Annotated[
    str | None,
    typer.Option(
        "--out",
        metavar="PLACE",
        help="One file (.csv, .jsonl, .parquet), or a folder with one file a recording.",
        rich_help_panel=OUTPUT,
    ),
]


@dataclass(frozen=True)
class Choices:
    """How timelines are made: head, expected stay in seconds, start if given, device."""

    head: Literal["svm", "softmax"] | None
    stay_s: float
    started: datetime | None
    device: str


def timeline(
    model: AnyModelArgument,
    paths: Annotated[list[Path], typer.Argument(readable=False, metavar="FILE", help="Audio files of any length, folders.")],
    stay_s: Annotated[
        float | None, typer.Option("--stay", metavar="SECONDS", help="Expected time in one scene. Default: 120.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When the recording began. Default: by its metadata, or its name."),
    ] = None,
    head: HeadOption = None,
    form: FormOption = "table",
    place: PlaceOption = None,
    parquet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the rows as Parquet.", rich_help_panel=OUTPUT)
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw a .png or .svg.", rich_help_panel=OUTPUT)
    ] = None,
    safe_csv: SafeCsvOption = False,
    device: PredictDeviceOption = "cpu",
) -> None:
    """Segment long recordings into scenes over time.

    The share of time in each scene is printed at the end. Unreadable files are listed (exit code 3).
    """
    _check_place(place, parquet, form, safe_csv)
    check_recordings("timeline", model, paths)
    keep_inputs({"--out": place, "--parquet": parquet, "--picture": picture}, [model, *paths])
    one_parquet = place is not None and is_one_file(place) and place.lower().endswith(".parquet")
    require("timeline", extra_of(model), *(["parquet"] if parquet or one_parquet else []), *(["plot"] if picture else []))
    from soundscene import timelines

    stay_s = timelines.DEFAULT_STAY_S if stay_s is None else stay_s
    started = _time(start) if start is not None else None
    for path in (parquet, Path(place) if place and one_parquet else None):  # all checks come before what may take hours
        if path:
            timelines.check_parquet(path)
    if picture:
        from soundscene.plotting.svg import check_output
        from soundscene.plotting.timeline_figure import SUFFIXES

        check_output(picture, SUFFIXES)
    sounds = _files(paths)
    # of one recording the command is about, its error is the command's; those of a folder are listed
    single = len(sounds) == 1 and (bool(picture or started) or not paths[0].is_dir())
    _check_number(len(sounds), single, picture, started, None if place else form)
    choices, at_end = Choices(head, stay_s, started, device), place is None and sys.stdout.isatty()
    lines, errors = _decoded(model, sounds, single, choices, _sink(place, form, safe_csv), at_end)
    if form == "table" and lines:
        _print_shares(lines, len(sounds))
    _write_all(lines, place, parquet, safe_csv)
    if picture:
        from soundscene.plotting.timeline_figure import draw_timeline

        for note in draw_timeline(lines[0], picture):
            tell(note)
    for error in errors:
        complain(error)
    if errors:
        complain(f"{counted(len(errors), 'file')} could not be used")
        raise typer.Exit(UNREADABLE)


def _check_place(place: str | None, parquet: Path | None, form: TimelineForm, safe_csv: bool) -> None:
    """Refuse what does not go together with --out, or with its absence, and names of files that would surprise."""
    files = place is not None and (form in ("table", "csv") or Path(place).suffix.lower() == ".csv")
    if safe_csv and form != "csv" and not files:
        raise typer.BadParameter("--safe-csv is for CSV; give --format csv with it")
    if place is not None:
        refuse_other_file(place)
    if parquet and parquet.suffix.lower() != ".parquet":
        raise SceneError(f"--parquet {parquet}: a Parquet file ends in .parquet")


def _check_number(
    n: int, single: bool, picture: Path | None, started: datetime | None, printed: TimelineForm | None
) -> None:
    """Refuse several recordings where only one can be drawn, begin at a time, or be printed in a form."""
    if not single and (picture or started):
        raise SceneError(f"{'--picture' if picture else '--start'} is for one recording, and these are {n}; give one")
    if n > 1 and printed in ("labels", "raven"):
        raise SceneError(f"--format {printed} is of one recording, and these are {n}; give --out FOLDER for several")


def _files(paths: Sequence[Path]) -> list[Path]:
    from soundscene.audio.folders import FolderSearch, sound_files

    return list(sound_files(paths, FolderSearch()))


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise SceneError(f"--start {text!r}: expected a time such as 2026-05-03T14:00:00") from None


def _decoded(
    model: Path,
    sounds: Sequence[Path],
    single: bool,
    choices: Choices,
    sink: "Callable[[Timeline, Predictor | SegmentPredictor], None]",
    at_end: bool,
) -> "tuple[list[Timeline], list[str]]":
    """Decode all recordings, each handed to the sink at once, or `at_end` where the sink would print into the bar.

    Returns:
        The timelines, and the errors of the other recordings.
    """
    stay_s, started = choices.stay_s, choices.started
    lines: list[Timeline] = []
    errors: list[str] = []
    with bar("segmenting", at_once=True) as progress:
        from soundscene import timelines
        from soundscene.audio.recorded import recorded_at

        predictor = _load(model, choices.head, choices.device)
        timelines.check_stay(predictor.model, stay_s)
        for number, sound in enumerate(sounds):
            duration_s = _duration_s(sound)

            def on_audio(seconds: float, number: int = number, total_s: float | None = duration_s) -> None:
                done = min(seconds / total_s, 1) if total_s else 0.5
                progress(number + 0.999 * done, len(sounds), _of_sound(seconds, total_s))

            try:
                prediction = predictor.predict(sound, warn=False, progress=on_audio)
            except SceneError as error:
                if single:
                    raise
                errors.append(str(error))
                continue
            recorded = recorded_at(sound) if started is None else None
            began = started or (recorded.at if recorded else None)
            line = timelines.timeline(prediction, predictor.model, predictor.head, stay_s, began)
            for note in line.notes:
                tell(f"{line.source}: {note}")
            if recorded:
                tell(f"{line.source}: began {recorded.at.isoformat(' ', 'seconds')} by its {recorded.source}")
            lines.append(line)
            if not at_end:
                sink(line, predictor)
            progress(number + 1, len(sounds))
    for line in lines if at_end else ():
        sink(line, predictor)
    return lines, errors


def _load(model: Path, head: Literal["svm", "softmax"] | None, device: str) -> "Predictor | SegmentPredictor":
    saved = load_saved("timeline", model, head, device)
    if saved is None:
        return load_predictor(model, head, device)
    from soundscene.systems.segment_model import segment_predictor

    return segment_predictor(saved, str(model))


def _duration_s(sound: Path) -> float | None:
    """Return the seconds that a header states, None where only decoding tells; what is wrong is told by the decoder."""
    from soundscene.audio.facts import audio_facts
    from soundscene.audio.recorded import wave_duration_s

    try:
        return wave_duration_s(sound) or audio_facts(sound).duration_s
    except SceneError:
        return None


def _of_sound(seconds: float, total_s: float | None) -> str:
    from soundscene.types import clock

    return f"{clock(seconds)} of {clock(total_s)}" if total_s else f"{clock(seconds)} of sound"


def _sink(
    place: str | None, form: TimelineForm, safe_csv: bool
) -> "Callable[[Timeline, Predictor | SegmentPredictor], None]":
    """Return what a finished timeline is handed to: stdout, a file of its own, or nothing if one file holds them all."""
    if place is None:
        printed: list[None] = []

        def to_stdout(line: "Timeline", predictor: "Predictor | SegmentPredictor") -> None:
            _print(line, form, safe_csv, predictor.model.audio.sample_rate / 2, first=not printed)
            printed.append(None)

        return to_stdout
    if is_one_file(place):
        wanted = {"csv": "csv", "json": "jsonl", "table": None}.get(form, form)
        if wanted not in (None, ONE_FILE[Path(place).suffix.lower()]):
            raise SceneError(f"--out {place} contradicts --format {form}; leave one out, or give a folder")
        return lambda line, predictor: None
    folder, taken = Path(place), {"shares"}

    def to_folder(line: "Timeline", predictor: "Predictor | SegmentPredictor") -> None:
        stem = Path(line.source).stem
        names = chain([stem], (f"{stem}-{number}" for number in count(2)))
        name = next(name for name in names if name.casefold() not in taken)
        taken.add(name.casefold())  # two names that differ in case alone are one file on some systems
        with _text_file(folder / f"{name}{_SUFFIXES[form]}") as file:
            _write(line, "csv" if form == "table" else form, file, safe_csv, predictor.model.audio.sample_rate / 2)

    return to_folder


@contextmanager
def _text_file(path: Path) -> Iterator[Any]:
    """Open a text file that is whole or absent, and make the folders above it."""
    from soundscene.files import atomic_path

    with atomic_path(path) as unfinished:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            yield file


def _write(line: "Timeline", form: TimelineForm, stream: Any, safe_csv: bool, high_hz: float, first: bool = True) -> None:
    from soundscene import timelines

    if form == "csv":
        timelines.write_csv(line, stream, safe_csv, first)
    elif form == "json":
        timelines.write_json_lines(line, stream)
    elif form == "raven":
        timelines.write_raven([line], stream, high_hz)
    else:
        timelines.write_labels(line, stream)


def _print(line: "Timeline", form: TimelineForm, safe_csv: bool, high_hz: float, first: bool) -> None:
    from soundscene import timelines
    from soundscene.cli.layout import print_table, width_of
    from soundscene.types import clock

    if form != "table":
        _write(line, form, sys.stdout, safe_csv, high_hz, first)
        return
    began = "" if line.started is None else f", began {line.started.isoformat(' ', 'seconds')}"
    say(f"{line.source}, {clock(line.duration_s)}{began}")
    print_table(_table(timelines.rows(line), line.started is not None, width_of(sys.stdout)), sys.stdout)


def _print_shares(lines: "Sequence[Timeline]", n: int) -> None:
    """Print the share of time by scene, of all recordings together."""
    from soundscene import timelines
    from soundscene.cli.layout import fitted, print_table, width_of
    from soundscene.types import clock

    rows = [(scene, f"{share:.1%}", clock(s)) for scene, s, share in timelines.shares(lines) if s]
    total = clock(sum(line.duration_s for line in lines))
    title = f"share of time, {total}" if n == 1 else f"share of time, {len(lines)} recordings, {total}"
    columns = ("scene", "share", "time")
    print_table(fitted(columns, rows, width_of(sys.stdout), {"scene": "right"}, columns[1:], title), sys.stdout)


def _write_all(lines: "Sequence[Timeline]", place: str | None, parquet: Path | None, safe_csv: bool) -> None:
    """Write what holds all recordings: one file of rows, or the shares of time beside the files of each."""
    from soundscene import timelines

    if parquet:
        timelines.write_parquet(lines, parquet)
    if place is None:
        return
    if is_one_file(place):
        form = ONE_FILE[Path(place).suffix.lower()]
        if form == "parquet":
            timelines.write_parquet(lines, Path(place))
        else:
            with _text_file(Path(place)) as file:
                for number, line in enumerate(lines):
                    _write(line, "csv" if form == "csv" else "json", file, safe_csv, 0.0, first=number == 0)
    else:
        with _text_file(Path(place) / "shares.csv") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("path", "scene", "seconds", "share"))
            for line in lines:
                for scene, seconds, share in timelines.shares([line]):
                    path, name = csv_cell(line.source, safe_csv), csv_cell(scene, safe_csv)
                    writer.writerow((path, name, f"{seconds:.3f}", f"{share:.6f}"))
    err.print(show(f"{place}: {len(lines):,} recording{'s' if len(lines) != 1 else ''}"))


def _table(rows: Iterable[dict[str, Any]], wall: bool, width: int) -> "Table":
    """A row per span; times of the day where they are known. Long names of scenes are shortened."""
    from rich.box import SIMPLE
    from rich.table import Table

    from soundscene.cli.layout import shortened
    from soundscene.types import clock

    room = max(width - (_OTHERS_AND_CLOCK if wall else _OTHERS), 12)
    table = Table(box=SIMPLE)
    for name in (*(("clock",) if wall else ()), "from", "to", "scene", "probability", "change"):
        table.add_column(name, justify="left" if name == "scene" else "right", no_wrap=True)
    for row in rows:
        change = "" if row["change_probability"] is None else f"{row['change_probability']:.2f}"
        times = ((row["start_time"] or "").partition("T")[2][:8],) if wall else ()
        span = (
            clock(row["start_s"]),
            clock(row["end_s"]),
            shortened(show(row["scene"]), room, "right"),
            f"{row['probability']:.2f}",
            change,
        )
        table.add_row(*times, *span)
    return table
