"""Lay out ambience11 as five users would have it, and run the commands of docs/first-minutes.md on that again, timed.

    python -m benchmarks.first_minutes $CORPORA/ambience11 --in FOLDER [--page PAGE] [--only REGEX]

The layouts are folders of links. Commands of the page's ```console blocks run in FOLDER in order, and their output and
seconds replace those on the page. Without --only, FOLDER is made anew; with it, blocks that it does not match are left as
they are, and what other blocks wrote is expected in FOLDER. Of tables of `scan`, only the first is shown whole.
"""

import argparse
import csv
import random
import re
import shutil
import sys
import time
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from benchmarks.walk import BLOCK, commands, output

PAGE = Path(__file__).parents[1] / "docs" / "first-minutes.md"
SECONDS = re.compile(r" +# [\d.]+ s$")
CITIES = ("paris", "oslo", "lagos", "lima")
N_DAYS = 21
UNTIMED = "\nEach of the five manifests then goes to `train`"  # and the rest of the line
NEXT = """## 6. The next commands, on layouts 1 and 2

Three epochs of the smallest recipe show that everything works; without `--recipe` and `--epochs`, `train` makes a model to use. It scans the folder as `scan` did. Names of layout 2 are times, so `timeline` gives the time of day.

```console
$ soundscene train clips --out clips.safetensors --test fold=1 --recipe small --epochs 3
$ soundscene evaluate clips.safetensors clips.csv --test fold=1
$ soundscene predict clips.safetensors clips/test/stream
$ soundscene timeline clips.safetensors field/2024-03-05/rain
```
"""  # noqa: E501 (lines of a page)


class Clip(NamedTuple):
    """A file of the corpus: its path, its scene, and the recording that it was cut from."""

    path: Path
    scene: str
    group: str


def main() -> None:
    """Make the layouts and run the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--in", type=Path, required=True, dest="folder")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--only", default="", help="regular expression")
    options = parser.parse_args()
    folder: Path = options.folder
    if not options.only:
        shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        lay_out(read(options.corpus.absolute()), folder)
    text = options.page.read_text(encoding="utf-8")
    if NEXT.splitlines()[0] not in text:  # the section that takes minutes was left out so far
        text = text.partition(UNTIMED)[0].rstrip("\n") + f"\n\n{NEXT}"
    tables = iter(range(1_000_000))

    def again(block: re.Match[str]) -> str:
        whole = "soundscene scan" not in block[1] or next(tables) == 0
        return rerun(block[1], folder, whole) if re.search(options.only, block[1]) else block[0]

    options.page.write_text(BLOCK.sub(again, text), encoding="utf-8")


def rerun(block: str, folder: Path, whole: bool) -> str:
    """Run the commands of a block.

    Args:
        block: Commands with what they printed before.
        folder: Where to run.
        whole: Whether tables are shown whole.

    Returns:
        The block with what they print now, and their seconds.
    """
    lines = []
    for command in (SECONDS.sub("", words) for words in commands(block)):
        print(f"$ {command}", file=sys.stderr)
        started = time.perf_counter()
        printed = [line for line in output(command, folder) if line]
        lines += [f"$ {command}    # {time.perf_counter() - started:.2f} s", *(printed if whole else shortened(printed))]
    return "\n".join(["```console", *lines, "```"])


def shortened(lines: list[str]) -> list[str]:
    """Return a table of scenes with its first and last row only."""
    first = next((i + 1 for i, line in enumerate(lines) if line.strip() and not line.strip(" ─")), None)
    last = next((i - 1 for i, line in enumerate(lines) if re.match(r" +all ", line)), None)
    if first is None or last is None or last - first < 3:
        return lines
    return [*lines[: first + 1], "  ...", *lines[last:]]


# --- layouts --------------------------------------------------------------------------------------------------------------


def read(corpus: Path) -> list[Clip]:
    """Return the clips of the corpus, in the order of its manifest."""
    with (corpus / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return [Clip(corpus / row["path"], row["scene"], row["group"]) for row in csv.DictReader(file)]


def lay_out(clips: list[Clip], folder: Path) -> None:
    """Make the five layouts.

    Args:
        clips: Of the corpus.
        folder: New.
    """
    draws = random.Random(0)
    tested = set(draws.sample(range(len(clips)), len(clips) // 5))
    for i, clip in enumerate(clips):
        part = "test" if i in tested else "train"
        link(clip, folder / "clips" / part / clip.scene / clip.path.name)
        link(clip, folder / "export" / "wav" / clip.path.name)
    lines = "".join(f"wav\\{clip.path.name};{clip.scene}\r\n" for clip in clips)
    (folder / "export" / "labels.csv").write_text("Filename;Label\r\n" + lines, encoding="utf-16", newline="")
    _by_date(clips, folder / "field")
    _as_tau(clips, folder / "TAU-mine")
    flat = ["id,clip,habitat,licence"]
    for i, clip in enumerate(clips):
        link(clip, folder / "flat" / clip.path.name)
        flat.append(f"{i},{clip.path.name},{clip.scene},CC0")
    (folder / "flat" / "index.csv").write_text("\n".join(flat) + "\n", encoding="utf-8")


def link(clip: Clip, place: Path) -> None:
    """Make a link to a clip, and the folders above it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(clip.path)


def recordings(clips: list[Clip]) -> dict[str, list[Clip]]:
    """Return the clips of each recording."""
    found = defaultdict(list)
    for clip in clips:
        found[clip.group].append(clip)
    return found


def _by_date(clips: list[Clip], folder: Path) -> None:
    """Days over scenes; names are the times of day, of outings that are two hours apart."""
    outings: dict[tuple[int, str], int] = defaultdict(int)
    for number, own in enumerate(recordings(clips).values()):
        day, scene = number % N_DAYS, own[0].scene
        begin = datetime(2024, 3, 1, 6, 45, 20) + timedelta(days=day, hours=2 * outings[day, scene])
        outings[day, scene] += 1
        for k, clip in enumerate(own):
            at = begin + timedelta(minutes=10 * k)
            link(clip, folder / f"{at:%Y-%m-%d}" / scene / f"{at:%Y%m%d_%H%M%S}{clip.path.suffix}")


def _as_tau(clips: list[Clip], folder: Path) -> None:
    """TAU's names, its meta.csv and its evaluation_setup; every fifth recording is tested."""
    meta, parts = ["filename\tscene_label\tidentifier\tsource_label"], {"train": ["filename\tscene_label"]}
    parts["evaluate"] = ["filename\tscene_label"]
    for number, own in enumerate(recordings(clips).values()):
        city = CITIES[number % len(CITIES)]
        for k, clip in enumerate(own):
            name = f"audio/{clip.scene}-{city}-{number}-{k}-a{clip.path.suffix}"
            link(clip, folder / name)
            meta.append(f"{name}\t{clip.scene}\t{city}-{number}\ta")
            parts["train" if number % 5 else "evaluate"].append(f"{name}\t{clip.scene}")
    (folder / "meta.csv").write_text("\n".join(meta) + "\n", encoding="utf-8")
    (folder / "evaluation_setup").mkdir()
    for part, lines in parts.items():
        (folder / "evaluation_setup" / f"fold1_{part}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
