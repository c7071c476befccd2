"""An experiment on a Ray cluster of two nodes on this machine, one of which is killed, compared with a run without Ray.

    python -m benchmarks.ray_cluster MANIFEST --out FOLDER [--kills 2] [--seed 0] -- [options of soundscene experiment]

FOLDER/local is made by the same command without a cluster. Then, for each kill, a new cluster: a head that computes nothing
and two nodes of `--cpus` CPUs; one node gets SIGKILL at a moment drawn uniformly from `--longest` seconds (by default half
the time of the local run) after a training has first begun on it, or when next one runs there. Compared are all arrays of
all results, bit for bit, and histories but for their seconds.
"""

import argparse
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kill import command, differences, run

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
from ray.cluster_utils import Cluster

TRIES = 5  # to start a node


@dataclass(frozen=True)
class Kill:
    """When a node was killed, in seconds after a training had first begun on it, and the trainings that ran on it."""

    after_s: float
    tasks: tuple[str, ...]


def main() -> None:
    own, _, options = " ".join(sys.argv[1:]).partition(" -- ")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=1, help="of each node")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float)
    arguments = parser.parse_args(own.split())
    words = options.split()
    draws = np.random.default_rng(arguments.seed)
    started = time.perf_counter()
    run(arguments.manifest, arguments.out / "local", words)
    alone_s = time.perf_counter() - started
    print("| run | wall s | node killed after s | trainings on it, started again | results |\n|---|---|---|---|---|")
    print(f"| local | {alone_s:.0f} | | | |", flush=True)
    bad = False
    for number in range(1, arguments.kills + 1):
        out = arguments.out / f"cluster-{number}"
        with two_nodes(arguments.cpus) as cluster:
            started = time.perf_counter()
            process = subprocess.Popen([*command(arguments.manifest, out, words), "--cluster", str(cluster.address)])
            node = next(iter(cluster.worker_nodes))
            after_s = float(draws.uniform(0, arguments.longest or alone_s / 2))
            kill = kill_node(cluster, node, after_s, lambda process=process: process.poll() is None)
            process.wait()
            wall_s = time.perf_counter() - started
        found = differences(arguments.out / "local", out)
        bad |= bool(found) or kill is None
        when, names = (f"{kill.after_s:.1f}", ", ".join(kill.tasks)) if kill else ("not killed", "")
        print(f"| cluster {number} | {wall_s:.0f} | {when} | {names} | {'; '.join(found) or 'the same'} |", flush=True)
    sys.exit(bad)


@contextmanager
def two_nodes(cpus: int = 1) -> Iterator[Cluster]:
    """A cluster of a head without CPUs and two nodes, its `worker_nodes`; all their processes end with it."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    cluster = Cluster()
    try:
        for of_node in (0, cpus, cpus):
            _add_node(cluster, of_node)
        yield cluster
    finally:
        cluster.shutdown()


def kill_node(cluster: Cluster, node: Any, after_s: float, going_on: Callable[[], bool]) -> Kill | None:
    """Kill a node `after_s` after a training has begun there, or when next one runs there; None if none does any more."""
    started = None
    while going_on():
        tasks = trainings_on(node)
        started = started or (time.monotonic() if tasks else None)
        if started and tasks and (passed := time.monotonic() - started) >= after_s:
            cluster.remove_node(node, allow_graceful=False)
            return Kill(passed, tuple(tasks.values()))
        time.sleep(0.05)
    return None


def trainings_on(node: Any) -> dict[int, str]:
    """Processes on a node of this machine that train, and what: Ray gives them the names of their tasks as titles."""
    (raylet,) = (info.process.pid for info in node.all_processes["raylet"])
    names = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == raylet:
                title = (entry / "cmdline").read_text().split("\0")[0].strip()
                if "__seed" in title:
                    names[int(entry.name)] = title.removeprefix("ray::")
        except OSError:  # it ended meanwhile
            continue
    return names


def _add_node(cluster: Cluster, cpus: int) -> None:
    """Start a node; on a busy machine Ray's own agents exceed the 15 s that Ray gives them, so there are some tries."""
    for _ in range(TRIES - 1):
        with suppress(Exception):
            cluster.add_node(num_cpus=cpus, include_dashboard=False)
            return
    cluster.add_node(num_cpus=cpus, include_dashboard=False)


if __name__ == "__main__":
    main()
