"""The feature store: speed, memory and size at the scale of LITIS Rouen, and what float16 does to a prediction.

    python benchmarks/store.py render FOLDER [--n 3026] [--seconds 30]     a corpus of that shape, rendered, FLAC
    python benchmarks/store.py build FOLDER --store STORE [--kind mel] [--workers 2]
    python benchmarks/store.py tolerance MODEL MANIFEST [--test fold=1]    posteriors from the store against those from files

Rendered recordings are a hundred or so different ones, rolled, at another level, with a little noise of their own: enough
to time decoding and the front-end, nothing to learn from.
"""

import argparse
import os
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

from soundscene.bundle import load_model
from soundscene.data.corpus import read_corpus
from soundscene.data.litis import N_RECORDINGS, N_SCENES, read_litis
from soundscene.data.manifest import Manifest, parse_test
from soundscene.data.store import FeatureStore
from soundscene.member import networks_of
from soundscene.recipe import Recipe
from soundscene.render.corpus import render_recording
from soundscene.render.scenes import SCENES
from soundscene.systems.calibration import HEADS, predict
from soundscene.systems.neural import images

RATE = 22050
TAKES = 6  # different recordings of each rendered scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("render")
    one.add_argument("folder", type=Path)
    one.add_argument("--n", type=int, default=N_RECORDINGS)
    one.add_argument("--seconds", type=float, default=30.0)
    two = commands.add_parser("build")
    two.add_argument("folder", type=Path)
    two.add_argument("--store", type=Path, required=True)
    two.add_argument("--kind", default="mel")
    two.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    three = commands.add_parser("tolerance")
    three.add_argument("model", type=Path)
    three.add_argument("manifest", type=Path)
    three.add_argument("--test", default="fold=1")
    arguments = parser.parse_args()
    if arguments.command == "render":
        render(arguments.folder, arguments.n, arguments.seconds)
    elif arguments.command == "build":
        build(arguments.folder, arguments.store, arguments.kind, arguments.workers)
    else:
        tolerance(arguments.model, arguments.manifest, arguments.test)


# --- a corpus of the shape of LITIS -----------------------------------------------------------------------------------


def render(folder: Path, n: int, seconds: float) -> None:
    started = time.perf_counter()
    jobs = [(folder, scene, n, seconds) for scene in range(N_SCENES)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        written = sum(pool.map(_render_scene, jobs))
    print(f"{written} recordings of {seconds:g} s in {time.perf_counter() - started:.0f} s")


def _render_scene(job: tuple[Path, int, int, float]) -> int:
    folder, scene, n, seconds = job
    draws = np.random.default_rng([scene, n])
    kind = sorted(SCENES)[scene % len(SCENES)]
    takes = [render_recording(kind, seconds, RATE, np.random.default_rng([scene, take])) for take in range(TAKES)]
    mine = range(scene, n, N_SCENES)
    folder.mkdir(parents=True, exist_ok=True)
    for number, _ in enumerate(mine, 1):
        samples = np.roll(takes[number % TAKES], int(draws.integers(len(takes[0])))) * draws.uniform(0.5, 1.0)
        samples = samples + 1e-4 * draws.standard_normal(len(samples))
        soundfile.write(folder / f"scene{chr(97 + scene)}{number}.flac", samples.astype(np.float32), RATE)
    return len(mine)


# --- building ---------------------------------------------------------------------------------------------------------


def build(folder: Path, place: Path, kind: str, workers: int) -> None:
    manifest, notes = read_litis(folder, folder)
    store = FeatureStore(place, images(Recipe().with_settings([f"features.kind={kind}"])))
    watch = Memory()
    marks: list[tuple[int, float, float]] = []
    started = time.perf_counter()

    def step(done: int, total: int) -> None:
        if done % max(1, total // 6) == 0 or done == total:
            marks.append((done, time.perf_counter() - started, watch.now()))

    broken = store.build(manifest.recordings, workers, step)
    took = time.perf_counter() - started
    hours = sum(store.load([r]).duration_s[0] for r in manifest.recordings) / 3600
    size = (store.folder / "values.bin").stat().st_size
    print(f"{len(manifest.recordings)} recordings, {hours:.1f} h, log-{kind}, {workers} processes; {'; '.join(notes)}")
    print(f"{took:.0f} s: {hours / took * 60:.2f} hours of sound a minute, {hours * 3600 / took:.0f} times real time")
    print(f"{size / 2**20:.0f} MiB on disk; peak of all processes together {watch.peak() / 2**20:.0f} MiB resident")
    print(f"not usable: {len(broken)}")
    print("| recordings | seconds | seconds each, in this stretch | MiB resident |\n|---|---|---|---|")
    for (n0, t0, _), (n, t, memory) in zip([(0, 0.0, 0.0), *marks], marks, strict=False):
        print(f"| {n} | {t:.1f} | {(t - t0) / (n - n0):.4f} | {memory / 2**20:.0f} |")
    started = time.perf_counter()
    store.build(manifest.recordings, workers)
    print(f"built again, with nothing missing: {time.perf_counter() - started:.1f} s")


class Memory:
    """Resident memory of this process and of all that it started, twice a second; pages that they share count twice."""

    def __init__(self) -> None:
        self._peak = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def now(self) -> float:
        """Bytes."""
        total = 0
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    if int(fields[3]) == os.getsid(0) and int(fields[2]) == os.getpgid(0):
                        total += int((entry / "statm").read_text().split()[1])
                except (OSError, ValueError, IndexError):
                    continue  # it has ended
        return total * os.sysconf("SC_PAGE_SIZE")

    def peak(self) -> float:
        """Bytes."""
        return self._peak

    def _watch(self) -> None:
        while True:
            self._peak = max(self._peak, int(self.now()))
            time.sleep(0.5)


# --- float16 ----------------------------------------------------------------------------------------------------------


def tolerance(model: Path, manifest: Path, test: str) -> None:
    bundle = load_model(model)
    recordings = Manifest.read(manifest).split(*parse_test(test)).test
    direct = read_corpus(recordings, networks_of(bundle.members)[0].recipe)
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder), images(networks_of(bundle.members)[0].recipe))
        store.build(recordings)
        stored = store.load(recordings)
    print(f"{len(recordings)} recordings, {int(direct.voting.sum())} segments")
    gap = np.abs(direct.features - stored.features)
    print(f"log power: largest difference {gap.max():.2e}, mean {gap.mean():.2e} (natural log; 1 dB is 0.23)")
    print("| head | segments: largest difference of a probability | 99 % below | recordings | other scene |")
    print("|---|---|---|---|---|")
    for head in HEADS:
        one, other = predict(bundle, direct, head), predict(bundle, stored, head)
        segment = np.abs(np.exp(one.segment) - np.exp(other.segment)).max(axis=1)
        recording = np.abs(np.exp(one.calibrated) - np.exp(other.calibrated)).max(axis=1)
        changed = int((one.recording.argmax(1) != other.recording.argmax(1)).sum())
        print(f"| {head} | {segment.max():.2e} | {np.quantile(segment, 0.99):.2e} | {recording.max():.2e} | {changed} |")


if __name__ == "__main__":
    main()
