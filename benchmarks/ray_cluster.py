"""An experiment on a Ray cluster of two nodes on this machine, one of which is killed, compared with a run without Ray.

    python -m benchmarks.ray_cluster MANIFEST --out FOLDER [--kills 2] [--seed 0] -- [options of soundscene experiment]

FOLDER/local is made by the same command without a cluster. Then, for each kill, a new cluster: a head that computes nothing and
two nodes of `--cpus` CPUs; one node gets SIGKILL at a moment drawn uniformly from the time that the local run took, or as soon
after it as a training runs there. Compared are all arrays of all results, bit for bit, and histories but for their seconds.
"""

import argparse
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kill import command, differences, run

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
from ray.cluster_utils import Cluster  # noqa: E402

AGENTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


@dataclass(frozen=True)
class Kill:
    """When a node was killed, in seconds after it was first asked for, and the trainings that ran on it."""

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
        with two_nodes(arguments.cpus) as (cluster, node):
            started = time.perf_counter()
            process = subprocess.Popen([*command(arguments.manifest, out, words), "--cluster", cluster.address])
            kill = kill_node(cluster, node, float(draws.uniform(0, alone_s)), lambda: process.poll() is None)  # noqa: B023
            process.wait()
            wall_s = time.perf_counter() - started
        found = differences(arguments.out / "local", out)
        bad |= bool(found) or kill is None
        when, names = (f"{kill.after_s:.1f}", ", ".join(kill.tasks)) if kill else ("not killed", "")
        print(f"| cluster {number} | {wall_s:.0f} | {when} | {names} | {'; '.join(found) or 'the same'} |", flush=True)
    sys.exit(bad)


@contextmanager
def two_nodes(cpus: int = 1) -> Iterator[tuple[Cluster, Any]]:
    """A cluster of a head without CPUs and two nodes, and the node that may be killed; all its processes end with it.

    The ports of each node's agents are chosen here: those that choose their own are given 15 s by Ray to do it, which a busy
    machine exceeds.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **_agents()})
    try:
        nodes = [cluster.add_node(num_cpus=cpus, **_agents()) for _ in range(2)]
        yield cluster, nodes[0]
    finally:
        cluster.shutdown()


def kill_node(cluster: Cluster, node: Any, after_s: float, going_on: Callable[[], bool]) -> Kill | None:
    """Kill a node `after_s` from now, or as soon after it as a training runs there; None if there was none any more."""
    started = time.monotonic()
    while going_on():
        passed = time.monotonic() - started
        if passed > after_s and (tasks := tasks_on(node)):
            cluster.remove_node(node, allow_graceful=False)
            return Kill(passed, tasks)
        time.sleep(0.05)
    return None


def tasks_on(node: Any) -> tuple[str, ...]:
    """Names of the trainings that run on a node of this machine, which Ray gives their processes as titles."""
    (raylet,) = (info.process.pid for info in node.all_processes["raylet"])
    names = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == raylet:
                title = (entry / "cmdline").read_text().split("\0")[0].strip()
                names += [title.removeprefix("ray::")] if "__seed" in title else []
        except OSError:  # it ended meanwhile
            continue
    return tuple(names)


def _agents() -> dict[str, int]:
    """Free ports for what a node runs beside its work."""
    doors = [socket.create_server(("", 0)) for _ in AGENTS]
    ports = [door.getsockname()[1] for door in doors]
    for door in doors:
        door.close()
    return dict(zip(AGENTS, ports, strict=True))


if __name__ == "__main__":
    main()
