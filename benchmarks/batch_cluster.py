"""`soundscene predict --cluster` on two nodes of this machine, one of which is killed, compared with a run without Ray.

    python -m benchmarks.batch_cluster MODEL [--files 200] [--shard 20] [--kills 1] [--seed 0] [--json FILE]

The files are those of benchmarks/batch.py. For each kill a new cluster: a head that computes nothing and two nodes of one
CPU; one node gets SIGKILL when a number of shards, drawn uniformly from up to half of them, is there. After it the same
command is given once more, which has to find nothing to do. Compared are all columns of all rows, by path, bit for bit.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from benchmarks.batch import write_files
from benchmarks.ray_cluster import two_nodes

ENDS_S = 600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--shard", type=int, default=20)
    parser.add_argument("--kills", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    draws, runs, bad = np.random.default_rng(given.seed), list[dict[str, Any]](), False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder / "recordings", given.files)
        command = [sys.executable, "-m", "soundscene", "predict", str(given.model), str(folder / "recordings")]
        command += ["--shard", str(given.shard), "--format", "parquet", "--out"]
        started = time.perf_counter()
        subprocess.run([*command, str(folder / "local")], check=False, stderr=subprocess.DEVNULL)
        print(f"local: {given.files} files, {time.perf_counter() - started:.1f} s", flush=True)
        expected = read(folder / "local")
        for number in range(1, given.kills + 1):
            out = folder / f"cluster-{number}"
            n_there = int(draws.integers(1, max(2, -(-given.files // given.shard) // 2)))
            run = killed_run([*command, str(out)], out, n_there)
            run["faults"] = compare(expected, read(out))
            bad |= bool(run["faults"]) or run["killed_after_s"] is None or run["again_rows"] != 0
            runs.append(run)
            print(f"cluster {number}: {json.dumps(run)}", flush=True)
    if given.json:
        given.json.write_text(json.dumps({"files": given.files, "shard": given.shard, "runs": runs}, indent=2) + "\n")
    sys.exit(bad)


def killed_run(command: list[str], out: Path, n_there: int) -> dict[str, Any]:
    """A run on two nodes, of which one is killed as soon as n_there shards are there; then the same command again."""
    with two_nodes() as cluster:
        command = [*command, "--cluster", str(cluster.address)]
        started, after_s, there = time.monotonic(), None, 0
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None and time.monotonic() - started < ENDS_S:
            if after_s is None and (there := len(list(out.glob("part-*.parquet")))) >= n_there:
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
                after_s = round(time.monotonic() - started, 1)
            time.sleep(0.05)
        if process.poll() is None:
            process.kill()
            raise SystemExit(f"not at its end after {ENDS_S:.0f} s")
        wall_s = round(time.monotonic() - started, 1)
        names = sorted(os.listdir(out))
        again = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False).stderr
    rows = again.partition(f"{out}: ")[2].partition(" rows")[0]
    return {
        "wall_s": wall_s,
        "killed_after_s": after_s,
        "shards_then": there,
        "exit": process.returncode,
        "shards": sum(name.endswith(".parquet") for name in names),
        "again_rows": int(rows) if rows.isdigit() and sorted(os.listdir(out)) == names else None,
    }


def read(out: Path) -> pyarrow.Table:
    """All rows of a folder, sorted by path."""
    tables = [pyarrow.parquet.read_table(path) for path in sorted(out.glob("part-*.parquet"))]
    return pyarrow.concat_tables(tables).sort_by("path")


def compare(expected: pyarrow.Table, found: pyarrow.Table) -> list[str]:
    """Columns that differ, and paths that have no row or two."""
    paths, others = (table.column("path").to_pylist() for table in (expected, found))
    if paths != others:
        return [f"{len(paths)} rows expected, {len(others)} found, {len(set(others))} paths"]
    return [name for name in expected.column_names if not expected.column(name).equals(found.column(name))]


if __name__ == "__main__":
    main()
