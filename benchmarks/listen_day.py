"""A day of sound through `Predictor.stream`, as fast as the machine can: memory, start times and latency by the hour.

    python benchmarks/listen_day.py MODEL [--hours 24] [--rate 48000] [--block-ms 10] [--hop 2] [--json day.json]

The sound is a rendered minute of each of five scenes, in turn, each time at another loudness, with ten minutes of digital
silence an hour in. Blocks are as a device would give them. Prints Markdown: for each hour of sound the seconds it took, the
resident memory at its end, the predictions, their latency (median and largest), the sound that had to come after a segment's
end, and how far the start times are off the exact ones.
"""

import argparse
import gc
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scale import facts

import soundscene
from soundscene.render.corpus import render_recording
from soundscene.types import Samples

SCENES = ("rain", "office", "night_crickets", "sea", "train_interior")
SILENT_MIN = range(60, 70)  # minutes of the day that are digital silence
MINUTE_S = 60


@dataclass
class Hour:
    """An hour of sound, numbered from 1; wall_s: what it took; rss_mib at its end; off_s: the largest error of a start."""

    number: int
    wall_s: float = 0.0
    rss_mib: float = 0.0
    updates: int = 0
    silent: int = 0
    largest_latency_s: float = 0.0
    median_latency_s: float = 0.0
    off_s: float = 0.0
    largest_wait_s: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--rate", type=int, default=48000)
    parser.add_argument("--block-ms", type=float, default=10.0)
    parser.add_argument("--hop", type=float, default=2.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(", ".join(f"{name} {value}" for name, value in facts().items()))
    print(f"\n{arguments.hours:g} h at {arguments.rate} Hz, blocks of {arguments.block_ms:g} ms, hop {arguments.hop:g} s\n")
    print(
        "| hour | took, s | times real time | MiB at its end | updates | silent | latency, ms | largest | wait, ms | off |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    hours = listen_to(arguments.model, arguments.hours, arguments.rate, arguments.block_ms / 1000, arguments.hop)
    grown = hours[-1].rss_mib - hours[0].rss_mib
    print(
        f"\n{sum(h.updates for h in hours)} predictions; memory from the first hour's end to the last's: {grown:+.1f} MiB; "
        f"largest error of a start {max(h.off_s for h in hours):.3g} s; largest latency "
        f"{1000 * max(h.largest_latency_s for h in hours):.0f} ms"
    )
    if arguments.json:
        document = {"machine": facts(), "hours": [asdict(hour) for hour in hours]}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")


def listen_to(model: Path, hours: float, rate: int, block_s: float, hop_s: float) -> list[Hour]:
    """The hours, printed as they come; the last one may be short."""
    predictor = soundscene.load(model)
    rendered = [render_recording(scene, MINUTE_S, rate, np.random.default_rng(i)) for i, scene in enumerate(SCENES)]
    list(predictor.stream([rendered[0][: 3 * rate]], rate))  # what is compiled at its first use is no growth
    hop = round(hop_s * predictor.model.audio.sample_rate) / predictor.model.audio.sample_rate
    done: list[Hour] = []
    hour, latencies, started = Hour(1), list[float](), time.perf_counter()

    def close() -> None:
        nonlocal hour, latencies, started
        gc.collect()
        hour.wall_s, hour.rss_mib = time.perf_counter() - started, rss_mib()
        hour.median_latency_s = float(np.median(latencies)) if latencies else 0.0
        done.append(hour)
        show(hour, min(3600.0, 3600 * hours - 3600 * (hour.number - 1)))
        hour, latencies, started = Hour(hour.number + 1), [], time.perf_counter()

    for n, update in enumerate(predictor.stream(blocks(rendered, hours, rate, block_s), rate, hop_s)):
        if update.end_s > 3600 * hour.number:
            close()
        hour.updates += 1
        hour.silent += update.silent
        hour.largest_latency_s = max(hour.largest_latency_s, update.latency_s)
        hour.largest_wait_s = max(hour.largest_wait_s, update.heard_s - update.end_s)
        hour.off_s = max(hour.off_s, abs(update.start_s - n * hop))
        latencies.append(update.latency_s)
    close()
    return done


def blocks(rendered: list[Samples], hours: float, rate: int, block_s: float) -> Iterator[Samples]:
    """The day, minute by minute."""
    draws = np.random.default_rng(0)
    size = max(1, round(block_s * rate))
    left = round(hours * 3600 * rate)
    minute = 0
    while left > 0:
        loudness = 0.0 if minute in SILENT_MIN else draws.uniform(0.2, 1.0)
        samples = (rendered[minute % len(rendered)] * np.float32(loudness))[:left]
        for at in range(0, len(samples), size):
            yield samples[at : at + size]
        left -= len(samples)
        minute += 1


def rss_mib() -> float:
    """Resident memory of this process, MiB; Linux only, elsewhere not a number."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return float("nan")


def show(hour: Hour, seconds: float) -> None:
    print(
        f"| {hour.number} | {hour.wall_s:.1f} | {seconds / hour.wall_s:.0f} | {hour.rss_mib:.1f} "
        f"| {hour.updates} | {hour.silent} "
        f"| {1000 * hour.median_latency_s:.1f} | {1000 * hour.largest_latency_s:.1f} | {1000 * hour.largest_wait_s:.0f} "
        f"| {hour.off_s:.3g} s |",
        flush=True,
    )


if __name__ == "__main__":
    main()
