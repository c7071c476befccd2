"""The timeline of long recordings: how much of it is right, and how well it finds changes, with and without the decoder.

    python benchmarks/timeline.py choose CACHE [--kind hour|short] [--tuning 0,1,2] [--report 100,101,102]
    python benchmarks/timeline.py corpus CACHE --model MODEL --manifest MANIFEST --test fold=1 [--each N]
    python benchmarks/timeline.py long CACHE [--hours 10] [--model MODEL]           time and memory of one long file

`choose` trains `Recipe.small()` on the rendered corpus of the demo (once, into the folder CACHE), renders recordings through
six or more scenes, keeps the posteriors of their segments, and tries expected stays on the tuning seeds; the others are for
the report. `corpus` joins the recordings of a test part end to end: all of a scene after one another, or --each N recordings
before the scene changes, in another order for every seed. `long` writes a file block by block and reads it in a process of
its own.
"""

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from timeline_scores import Hour, Scores, score, score_online, table

from soundscene.audio.files import read_samples
from soundscene.bundle import load_model, save_model
from soundscene.data.corpus import read_corpus
from soundscene.data.manifest import Manifest, parse_test
from soundscene.member import networks_of
from soundscene.model import Model
from soundscene.recipe import Recipe
from soundscene.render.corpus import render_corpus, render_recording
from soundscene.render.scenes import SCENES
from soundscene.signal.frontend import FrontEnd
from soundscene.systems.calibration import HEADS
from soundscene.systems.neural import train
from soundscene.timelines import DEFAULT_STAY_S
from soundscene.training.device import make_fabric
from soundscene.types import Head, Samples

RATE = 22050
STAYS_S = (10.0, 20.0, 40.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1200.0, 3600.0)
KINDS = {"hour": (6, 120.0, 900.0), "short": (12, 20.0, 120.0)}  # stretches, shortest and longest one in seconds
N_BLOCKS, BLOCK_S = 6, 60.0  # of the long file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    choose = commands.add_parser("choose")
    choose.add_argument(
        "--kind", choices=KINDS, default="hour", help="six stretches of 2 to 15 min, or twelve of 20 to 120 s"
    )
    choose.add_argument("--tuning", default="0,1,2")
    choose.add_argument("--report", default="100,101,102")
    corpus = commands.add_parser("corpus")
    corpus.add_argument("--manifest", type=Path, required=True)
    corpus.add_argument("--test", required=True, help="rows that the model was not trained on, as fold=1")
    corpus.add_argument("--each", type=int, default=0, help="recordings before the scene changes; 0: all of the scene")
    corpus.add_argument("--seeds", default="0,1,2,3,4")
    long = commands.add_parser("long")
    long.add_argument("--hours", type=float, default=10.0)
    for command in (choose, corpus, long):
        command.add_argument("cache", type=Path)
        command.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    path = arguments.model or rendered_model(arguments.cache)
    if arguments.command == "long":
        long_file(path, arguments.cache, arguments.hours)
        return
    bundle = load_model(path)
    if arguments.command == "corpus":
        seeds = _numbers(arguments.seeds)
        hours = [joined_hour(bundle, arguments, seed) for seed in seeds]
        show(bundle, hours, f"{arguments.manifest.parent.name} {arguments.test}, {len(hours)} orders", (DEFAULT_STAY_S,))
        show(bundle, hours, "every stay, for comparison only", STAYS_S)
        return
    for name, seeds, stays in (
        ("tuning", arguments.tuning, STAYS_S),
        ("report", arguments.report, (DEFAULT_STAY_S,)),
        ("report, every stay, for comparison only", arguments.report, STAYS_S),
    ):
        hours = [rendered_hour(bundle, arguments.kind, seed, arguments.cache) for seed in _numbers(seeds)]
        show(bundle, hours, name, stays)


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


# --- sound ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Joined:
    """Sound with its scene over time: samples, names of scenes, and where (s) each but the first begins."""

    samples: Samples
    scenes: list[str]
    change_s: list[float]


def join(stretches: list[tuple[str, Samples]], fade_s: list[float]) -> Joined:
    """End to end; each passes into the next by a cross-fade of equal power, whose middle counts as the change."""
    total, changes = stretches[0][1], []
    for (_, samples), fade in zip(stretches[1:], fade_s, strict=True):
        n = round(fade * RATE)
        angle = np.linspace(0, np.pi / 2, n, dtype=np.float32)
        both = total[-n:] * np.cos(angle) + samples[:n] * np.sin(angle)
        changes.append((len(total) - n / 2) / RATE)
        total = np.concatenate([total[:-n], both, samples[n:]])
    return Joined(total.astype(np.float32), [scene for scene, _ in stretches], changes)


def render_hour(kind: str, seed: int) -> Joined:
    """Stretches of one scene each, never twice the same in a row, with cross-fades of 0.5 to 2 s."""
    draws = np.random.default_rng([70 if kind == "hour" else 69, seed])
    n, shortest_s, longest_s = KINDS[kind]
    scenes = [str(name) for name in draws.permutation(sorted(SCENES))]
    scenes = (scenes + scenes)[:n]
    stretches = [(s, render_recording(s, float(draws.uniform(shortest_s, longest_s)), RATE, draws)) for s in scenes]
    return join(stretches, [float(x) for x in draws.uniform(0.5, 2.0, n - 1)])


def classify(bundle: Model, joined: Joined) -> Hour:
    """Log posteriors of all segments by both heads, with the truth."""
    stream = FrontEnd(bundle.audio, networks_of(bundle.members)[0].recipe.features).stream()
    starts, rows = [], {head: [] for head in HEADS}
    for block in (*np.array_split(joined.samples, max(1, len(joined.samples) // (64 * RATE))), None):
        piece = stream.flush() if block is None else stream.push(block)
        if len(piece.start_s):
            embedding = bundle.embed((piece.images,))
            starts.append(piece.start_s)
            for head in HEADS:
                rows[head].append(bundle.classify(embedding, head))
    truth = np.array([bundle.scenes.index(scene) for scene in joined.scenes])
    posterior: dict[Head, np.ndarray] = {head: np.concatenate(rows[head]) for head in HEADS}
    return Hour(np.concatenate(starts), posterior, truth, np.array(joined.change_s))


def rendered_hour(bundle: Model, kind: str, seed: int, cache: Path) -> Hour:
    """From the cache, or rendered and classified."""
    path = cache / f"{kind}_{seed}.npz"
    if path.exists():
        with np.load(path) as kept:
            posterior: dict[Head, np.ndarray] = {head: kept[head] for head in HEADS}
            return Hour(kept["start_s"], posterior, kept["truth"], kept["change_s"])
    started = time.perf_counter()
    joined = render_hour(kind, seed)
    rendered = time.perf_counter()
    hour = classify(bundle, joined)
    print(
        f"{kind}, seed {seed}: {len(joined.samples) / RATE:.0f} s through {', '.join(joined.scenes)}; rendered in "
        f"{rendered - started:.0f} s, classified in {time.perf_counter() - rendered:.0f} s",
        flush=True,
    )
    np.savez(path, start_s=hour.start_s, truth=hour.truth, change_s=hour.change_s, **hour.log_posterior)
    return hour


def joined_hour(bundle: Model, arguments: argparse.Namespace, seed: int) -> Hour:
    """The test part of a corpus end to end; never the same scene twice in a row, as long as another one is left."""
    part = Manifest.read(arguments.manifest).split(*parse_test(arguments.test)).test
    draws = np.random.default_rng([71, seed])
    piles = {s: [part[i] for i in draws.permutation(len(part)) if part[i].scene == s] for s in bundle.scenes}
    stretches: list[tuple[str, Samples]] = []
    last = ""
    while left := [s for s in piles if piles[s]]:
        others = [s for s in left if s != last] or left
        n_left = np.array([len(piles[s]) for s in others])
        last = others[draws.choice(len(others), p=n_left / n_left.sum())]
        n = arguments.each or len(piles[last])
        taken, piles[last] = piles[last][:n], piles[last][n:]
        pieces = [(last, read_samples(r.path, bundle.audio)) for r in taken]
        stretches.append((last, join(pieces, [0.1] * (len(pieces) - 1)).samples))
    return classify(bundle, join(stretches, [0.1] * (len(stretches) - 1)))


def rendered_model(cache: Path) -> Path:
    """`Recipe.small()` trained on all 300 recordings of a rendered corpus like the demo's; once."""
    path = cache / "model.safetensors"
    if path.exists():
        return path
    started = time.perf_counter()
    folder = cache / "rendered"
    listed = folder / "manifest.csv"
    manifest = Manifest.read(listed if listed.exists() else render_corpus(folder, 30, 6.0, 0))
    corpus = read_corpus(manifest.recordings, Recipe.small(), workers=1)
    trained = train(Recipe.small(), corpus, fabric=make_fabric("cpu"), provenance={"manifest": "rendered, seed 0"})
    save_model(trained.model, path)
    print(f"{path}: trained in {time.perf_counter() - started:.0f} s", flush=True)
    return path


# --- tables -----------------------------------------------------------------------------------------------------------


def show(bundle: Model, hours: list[Hour], name: str, stays_s: tuple[float, ...]) -> None:
    seconds = sum(float(hour.start_s[-1]) + 2 for hour in hours)
    print(f"\n{name}: {len(hours)} recordings, {seconds / 3600:.2f} h, {sum(len(h.change_s) for h in hours)} changes")
    for head in HEADS:
        rows: list[tuple[str, Scores]] = [("each segment alone", score(bundle, hours, head, None, 1.0))]
        for temper in dict.fromkeys((1.0, bundle.temperature[head])):
            for stay_s in stays_s:
                label = f"stay {stay_s:g} s, temper {temper:.3g}"
                rows.append((label, score(bundle, hours, head, stay_s, temper)))
        for stay_s in stays_s:
            rows.append((f"online, stay {stay_s:g} s", score_online(bundle, hours, head, stay_s)))
        print(table(head, rows))


# --- one long file ----------------------------------------------------------------------------------------------------

# ru_maxrss of a new process starts at its parent's, VmHWM (Linux) does not
CHILD = """
import sys, time
from pathlib import Path
from soundscene.predictor import load
from soundscene.timelines import timeline
model, sound = map(Path, sys.argv[1:])
def most():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
predictor = load(model)
before = most()
started = time.perf_counter()
prediction = predictor.predict(sound)
predicted = time.perf_counter()
line = timeline(prediction, predictor.model, predictor.head)
decoded = time.perf_counter()
peak = most()
speed = prediction.duration_s / (predicted - started)
print(f"| {prediction.duration_s / 3600:.2f} | {predicted - started:.1f} | {speed:.0f} | "
      f"{decoded - predicted:.2f} | {before:.0f} | {peak:.0f} | {len(line.spans)} |")
"""


def long_file(model: Path, cache: Path, hours: float) -> None:
    """Write a minute of each of six scenes, ten times in a row before the next, again and again; make its timeline."""
    path = cache / f"long_{hours:g}h.flac"
    draws = np.random.default_rng(72)
    blocks = [render_recording(scene, BLOCK_S, RATE, draws) for scene in sorted(SCENES)[:N_BLOCKS]]
    with soundfile.SoundFile(path, "w", RATE, 1, format="FLAC") as file:
        for minute in range(round(hours * 60)):
            file.write(blocks[minute // 10 % len(blocks)])
    print(f"{path}: {path.stat().st_size / 2**20:.0f} MiB")
    print("| hours | predict, s | times real time | timeline, s | MiB before | MiB at most | spans |")
    print("|---|---|---|---|---|---|---|")
    subprocess.run([sys.executable, "-c", CHILD, str(model), str(path)], check=True)


if __name__ == "__main__":
    main()
