"""Read 2,000 mutated manifests and split them: each gives what its rows say or is refused in one line, under 2 s of CPU."""

import argparse
import codecs
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.fuzz_process import run_cases
from benchmarks.fuzz_texts import KILL_S, one_thread, report, scramble, summarise

SCENES = ("Café", "rain", "public square", "駅", "ستاسیون")
NAMES = tuple(f"{scene}/{number}.wav" for scene in ("a", "b c", "駅") for number in range(6))
SPLITS = (None, "by=fold", "by=city", "by=group", "by=scene", "columns=split*", "folds=3", "random=2", "by=note")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subcommand."""
    parser.add_argument("--cases", type=int, default=2000)


def run(arguments: argparse.Namespace) -> int:
    """Run the cases, print what went wrong and the counts, and return 0 when nothing did."""
    one_thread()
    cases = range(arguments.cases) if arguments.only is None else [arguments.only]
    outcomes = run_cases("benchmarks.fuzz_manifests:reader", (arguments.seed,), cases, KILL_S, 4.0)
    return summarise(outcomes, "manifests", arguments.only is not None)


def mutated(seed: int, case: int) -> tuple[bytes, str]:
    """Make the bytes of a manifest, and say what was done to them."""
    draw = np.random.default_rng([seed, case])
    rows = ["path,scene,group,fold,city,split1,note"]
    for number, name in enumerate(NAMES):
        scene = SCENES[number // 2 % len(SCENES)]
        city, part = ("北京", "上海", "Köln")[number % 3], ("train", "test")[number % 2]
        note = ('"two\nlines"', "", '"a, b"')[number % 3]
        rows.append(f"{name},{scene},g{number},{1 + number % 3},{city},{part},{note}")
    kind = case % 4
    if kind == 0:  # rows and cells of a spreadsheet
        at, other = draw.integers(1, len(rows), 2)
        cells = rows[at].split(",")
        column = int(draw.integers(len(cells)))
        cells[column] = (
            *(cells[column] + extra for extra in ("\u200b", "\u0301", " ", "\u00a0x", "\x1b[31m", "9" * 5000, "x" * 10**5)),
            *(
                cells[column].swapcase(),
                f'"{cells[column]}',
                f'{cells[column]}"',
                "",
                rows[other].split(",")[column % 6],
                "=1+1",
            ),
            *("\0", "\ud800", "../" * 2000, "/" + "x" * 300, '"' + "\n" * 100 + '"'),
        )[draw.integers(18)]
        rows[at] = ",".join(cells)
        text, done = "\n".join(rows) + "\n", f"row {at}, column {column}: {cells[column][:30]!r}"
    elif kind == 1:  # a quote that opens in one row and closes in another
        first, last = sorted(draw.choice(np.arange(1, len(rows)), 2, replace=False))
        column = int(draw.integers(6))
        for at, place in ((first, 0), (last, 1)):
            cells = rows[at].split(",")
            cells[column] = f'"{cells[column]}' if place == 0 else f'{cells[column]}"'
            rows[at] = ",".join(cells)
        text, done = "\n".join(rows) + "\n", f"a quote from row {first} to row {last} in column {column}"
    else:
        text, done = scramble("\n".join(rows) + "\n", draw)
    data = text.encode("utf-8", "surrogatepass")
    if kind == 3:
        data, how = _bytes(text, data, draw)
        done = f"{done}; {how}"
    return data, done


def _bytes(text: str, data: bytes, draw: np.random.Generator) -> tuple[bytes, str]:
    """Encode in another way, or change single bytes."""
    kind = int(draw.integers(6))
    if kind == 0:
        return codecs.BOM_UTF8 + data, "BOM"
    if kind == 1:
        return text.encode("utf-16", "surrogatepass"), "UTF-16"
    if kind == 2:
        return text.encode("latin-1", "replace"), "Latin-1"
    if kind == 3:
        return data.replace(b"\n", b"\r"), "CR"
    changed = bytearray(data)
    for at in draw.integers(len(data), size=int(draw.integers(1, 6))) if data else ():
        changed[at] = int(draw.integers(256))
    return bytes(changed), "bytes"


def reader(seed: int) -> Callable[[int], str]:
    """Return the function that reads a manifest, splits it in all ways, plans an experiment, and writes it."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    for name in NAMES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    path = folder / "m.csv"

    def read(case: int) -> str:
        data, done = mutated(seed, case)
        path.write_bytes(data)
        return report(done, lambda: check(path, data))

    path.write_bytes(mutated(seed, 0)[0])
    report("warm", lambda: check(path, b""))
    return read


def check(path: Path, data: bytes) -> str:
    """Use a manifest in every way, and return what is wrong with what was read.

    Raises:
        SceneError: It cannot be read.
    """
    from soundscene.data.designs import read_splits
    from soundscene.data.manifest import Manifest
    from soundscene.errors import SceneError
    from soundscene.experiment.plan import make_plan
    from soundscene.recipe import Recipe
    from soundscene.systems.catalogue import specs
    from soundscene.texts import fold_case

    manifest = Manifest.read(path)
    if wrong := _swallowed(manifest, data):
        return wrong
    if len({fold_case(scene) for scene in manifest.scenes}) < len(manifest.scenes):
        return f"two scenes look the same: {manifest.scenes}"
    for text in SPLITS:
        try:
            design = read_splits(manifest, text)
        except SceneError:
            continue
        plan = make_plan("fuzz", path.parent, manifest.recordings, design.splits, Recipe.small(), specs(["cnn-mel"]))
        files = [task.name for task in plan.tasks()]
        if len({name.casefold() for name in files}) < len(files) or max(map(len, files)) > 200:
            return f"files of splits are no names of their own: {files[:3]}"
    for safe in (False, True):
        copy = path.with_name("copy.csv")
        manifest.write(copy, safe)
        again = Manifest.read(copy)
        if [(r.path.resolve(), r.scene, r.group) for r in again.recordings] != [
            (r.path.resolve(), r.scene, r.group) for r in manifest.recordings
        ] and any(r.columns.get("group") for r in manifest.recordings):
            return f"what is written (safe: {safe}) is not what is read"
    return ""


def _swallowed(manifest: "object", data: bytes) -> str:
    """Whether a line that begins with a file's name is no recording, though paths are the first column."""
    text = data.decode("utf-8-sig", "replace")
    if not re.match(r"\W?path,", text):
        return ""
    read = {recording.path.name + str(recording.path.parent.name) for recording in manifest.recordings}  # type: ignore[attr-defined]
    lines = re.split(r"\r\n|\r|\n", text)[1:]
    for name in NAMES:
        folder, _, file = name.partition("/")
        if any(line.startswith(f"{name},") and line.count(",") in (6, 7) for line in lines) and file + folder not in read:
            return f"{name} has a row and was not read"
    return ""
