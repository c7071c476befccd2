"""The page in Chromium beside `soundscene predict` on the same files: time, posteriors, size; and its pictures.

python -m benchmarks.page MODEL --recordings FOLDER --n 10
python -m benchmarks.page MODEL --pictures docs

MODEL is an exported file (.onnx). Pictures show recordings rendered by soundscene, so the model should be the demo's.
"""

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from benchmarks.onnx_parity import edges
from soundscene.audio.folders import sound_files
from soundscene.export.page import ExportedPage, export_page
from soundscene.predictor import load
from soundscene.render.corpus import render_recording
from tests.support.browser import FAKE, Visit, served, visit, why_no_browser

RATE = 22050
WALK = (("office", 30), ("road_traffic", 24), ("train_interior", 54), ("cafe_babble", 42))  # seconds in each scene
OTHERS = ("rain", "night_crickets", "forest_birds")
DESK = {"width": 1180, "height": 820}
COLOURS = (224, 128, 96, 64, 48)  # of a picture, the first that make it small enough
MOST_BYTES = 145_000


def main() -> None:
    """Compare, or take pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--recordings", type=Path, nargs="*", default=[])
    parser.add_argument("--edges", action="store_true", help="compare on silence, dropouts, constants and ten minutes too")
    parser.add_argument("--n", type=int, default=10, help="recordings, evenly from those found")
    parser.add_argument("--pictures", type=Path, help="folder for pictures, in place of the comparison")
    parser.add_argument("--only", nargs="*", default=["file", "microphone", "phone", "dark", "error"])
    args = parser.parse_args()
    if reason := why_no_browser():
        parser.error(reason)
    with page_of(args.model) as (written, url):
        if args.pictures:
            pictures(url, args.pictures, args.only)
            return
        files = [Path(file) for file in sound_files(args.recordings)]
        step = max(1, len(files) // args.n)
        files = files[::step][: args.n]
        with tempfile.TemporaryDirectory() as folder:
            compare(args.model, written, url, files + (edge_files(args.model, Path(folder)) if args.edges else []))


@contextmanager
def page_of(model: Path) -> Iterator[tuple[ExportedPage, str]]:
    with tempfile.TemporaryDirectory() as folder:
        written = export_page(model, Path(folder) / "page")
        with served(written.folder) as url:
            yield written, url


# --- comparison -----------------------------------------------------------------------------------------------------------


def compare(model: Path, written: ExportedPage, url: str, files: list[Path]) -> None:
    """Print a row of each file, and the totals."""
    sizes = {file.name: file.stat().st_size for file in written.folder.rglob("*") if file.is_file()}
    large = sorted(sizes.items(), key=lambda item: -item[1])[:3]
    rest = written.size - sum(size for _, size in large)
    print(f"page: {written.size / 1e6:.2f} MB; " + ", ".join(f"{n} {s / 1e3:,.0f} kB" for n, s in large), end="")
    print(
        f", {len(sizes) - len(large)} others {rest / 1e3:,.0f} kB; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    predictor = load(model)
    predictor.predict(files[0], warn=False)
    started = time.perf_counter()
    with visit(url, viewport=DESK) as visited:
        visited.ready()
        print(f"from the start of the browser to the model ready: {time.perf_counter() - started:.1f} s")
        visited.add(files[0])  # the first one warms up
        visited.page.locator("#remove").click()
        native = {file: seconds(lambda file=file: predictor.predict(file, warn=False)) for file in files}
        visited.add(*files)
        found = rows(visited)
        entries = visited.page.evaluate("performance.getEntriesByType('measure').map(e => [e.name, e.duration / 1000])")
    inside = {name.removeprefix("predict "): took for name, took in entries}
    print(f"{'recording':40s} {'s':>6s} {'native s':>9s} {'browser s':>9s} {'recording':>10s} {'segment':>9s}")
    ratios, largest, changed = [], 0.0, 0
    for file in files:
        expected, ours = predictor.predict(file, warn=False).to_dict(True), found[file.name]
        of_recording = difference(ours, expected)
        of_segments = max(difference(a, b) for a, b in zip(ours["segments"], expected["segments"], strict=True))
        ratios.append(inside[file.name] / native[file])
        largest, changed = max(largest, of_recording), changed + (ours["scene"] != expected["scene"])
        times = f"{expected['duration_s']:6.1f} {native[file]:9.3f} {inside[file.name]:9.3f}"
        print(f"{file.name[:40]:40s} {times} {of_recording:10.1e} {of_segments:9.1e}")
    total = sum(inside[file.name] for file in files)
    sound_s = sum(found[file.name]["duration_s"] for file in files)
    print(f"browser / native: median {statistics.median(ratios):.1f}; {sound_s / total:.0f} times real time in the browser")
    print(f"posteriors of recordings differ by at most {largest:.1e}; {changed} of {len(files)} scenes changed")


def edge_files(model: Path, folder: Path) -> list[Path]:
    """The edges of `onnx_parity`, as WAV of 32 bits in floating point."""
    files, audio = [], load(model).model.audio
    for one in edges(audio):
        files.append(folder / f"{one.name}.wav")
        soundfile.write(files[-1], one.samples, audio.sample_rate, subtype="FLOAT")
    return files


def seconds(work: Any) -> float:
    """Least of three, of the wall clock, as in the browser."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def rows(visited: Visit) -> dict[str, dict[str, Any]]:
    several = visited.page.locator("#recordings li").count() > 1
    path = visited.save("all-downloads" if several else "downloads", "JSON")
    return {row["path"]: row for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}


def difference(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    return max(abs(ours["posterior"][scene] - p) for scene, p in theirs["posterior"].items())


# --- pictures -------------------------------------------------------------------------------------------------------------


def pictures(url: str, folder: Path, names: list[str]) -> None:
    """Write one of each name."""
    with tempfile.TemporaryDirectory() as sounds:
        files = rendered(Path(sounds))
        if "file" in names:
            with visit(url, viewport=DESK) as visited:
                keep(show(visited, files), folder / "page-file.png", whole=True)
        if "dark" in names:
            with visit(url, viewport=DESK, color_scheme="dark") as visited:
                show(visited, files)
                visited.page.locator("input[name=channel]").nth(1).check(force=True)
                keep(visited, folder / "page-dark.png")
        if "phone" in names:
            phone = {"width": 390, "height": 844}
            with visit(url, viewport=phone, device_scale_factor=1.5, is_mobile=True, has_touch=True) as visited:
                show(visited, files)
                visited.page.locator("#detail").scroll_into_view_if_needed()
                visited.page.evaluate("document.getElementById('detail').scrollIntoView()")
                keep(visited, folder / "page-phone.png")
        if "error" in names:
            (Path(sounds) / "minutes of the meeting.docx").write_text("no sound")
            with visit(url, viewport=DESK) as visited:
                visited.ready()
                visited.add(files[1], Path(sounds) / "minutes of the meeting.docx", files[2])
                visited.page.locator("#recordings button").nth(1).click()
                keep(visited, folder / "page-error.png")
        if "microphone" in names:
            fake = f"--use-file-for-fake-audio-capture={files[0]}"
            with visit(url, *FAKE, fake, viewport=DESK) as visited:
                visited.ready()
                visited.page.locator("#welcome [data-act=microphone]").click()
                visited.page.wait_for_timeout(26_000)
                keep(visited, folder / "page-microphone.png")


def rendered(folder: Path) -> list[Path]:
    """A way home through four scenes, and three recordings of one."""
    draws = np.random.default_rng(5)
    pieces = [render_recording(scene, 6.0, RATE, draws) for scene, s in WALK for _ in range(s // 6)]
    files = [folder / "way home.wav"]
    soundfile.write(files[0], np.concatenate(pieces), RATE)
    for scene in OTHERS:
        files.append(folder / f"{scene}.wav")
        soundfile.write(files[-1], render_recording(scene, 12.0, RATE, draws), RATE)
    return files


def show(visited: Visit, files: list[Path]) -> Visit:
    """All files, and a place in the first."""
    visited.ready()
    visited.add(*files)
    visited.page.wait_for_timeout(500)
    box = visited.page.locator("#stage").bounding_box()
    assert box is not None
    visited.page.locator("#stage").click(position={"x": 0.7 * box["width"], "y": 60})
    visited.page.mouse.move(1, 1)
    visited.page.evaluate("document.activeElement.blur()")
    return visited


def keep(visited: Visit, path: Path, whole: bool = False) -> None:
    """Write a picture of few colours, rare ones included, which is a third of the size."""
    visited.page.wait_for_timeout(600)
    content = visited.page.screenshot(full_page=whole)
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    for n in COLOURS:
        picture.quantize(n, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            break
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
