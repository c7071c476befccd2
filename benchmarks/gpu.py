"""Training on a graphics card: what one training reaches, how many side by side raise the sum, and how long Table 2 takes.

    python -m benchmarks.gpu [--json FILE]                                     on a CUDA card, under ten minutes
    python -m benchmarks.gpu --device cpu --width small --segments 200 --seconds 1

Every figure comes from processes of its own, so that one that fails (out of memory, say) is a row that says so and spoils no
other. Each is printed, and written to FILE, as soon as it is there. Images are noise and lie on the device; batches are
drawn, mixed and learnt by the code of `soundscene.training`. Table 2 is projected from what `soundscene experiment` can run:
its precisions, without cudnn.benchmark, in processes (`--workers`). The limit beside each figure is the rate of a matrix
product in the same precision on the same card; a segment costs three times its forward pass. Processes share a card in
turns, and only under CUDA's multi-process service (MPS) at the same time; where its control program is installed, the script
starts one of its own for a second curve and ends it again.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from benchmarks.gpu_work import Job, gflop, recipe_of, side_by_side
from soundscene.data.litis import N_RECORDINGS, N_SPLITS, TRAIN_SHARE
from soundscene.errors import RecipeError
from soundscene.files import write_atomic
from soundscene.training.device import PRECISIONS

SEGMENTS = round(N_RECORDINGS * 15 * TRAIN_SHARE)  # of a split's training part: 30 s in pieces of 2 s
TEST_SEGMENTS = N_RECORDINGS * 15 - SEGMENTS
EPOCHS, SYSTEMS, GOAL = 500, 4, 17_000  # section 4.3, Table 2, segments a second in sum
ONE, SIDE, DEFAULT = "One training (Att-CRNN unless noted)", "Side by side", "Recipe(), augmented"
FROM_HOST, STREAMS = "from numpy, as after each epoch", "streams of one process"
POSSIBLE, SET = ("32-true", "bf16-mixed"), ("tf32", "fp32")  # what `experiment` can run; what would have to be set for it
LONGEST_S = 120.0  # of a measurement, its start included
ENOUGH = 1.05  # a curve ends where a step raises it by less
MOST_AT_ONCE = 32

Numbers = dict[str, float | str]
Rows = dict[str, list[Numbers]]


@dataclass
class Tables:
    """Rows by title; `changed` is called with all of them after each new row."""

    changed: Callable[[Rows], None] = lambda _: None
    rows: Rows = field(default_factory=dict)

    def add(self, title: str, rows: Iterable[Numbers]) -> list[Numbers]:
        """Append rows to a table, each as soon as it is measured, and return all rows of that table."""
        table = self.rows.setdefault(title, [])
        for row in rows:
            table.append(row)
            print(f"{title}: {', '.join(f'{name} {_cell(value)}' for name, value in row.items())}", flush=True)
            self.changed(self.rows)
        return table


@dataclass
class Clock:
    """Ends the measurements before the time is up; what is left out says so."""

    ends: float

    def run(self, jobs: list[Job]) -> Numbers:
        """Figures of jobs side by side: segments a second in sum, and why it failed if it did."""
        if time.monotonic() > self.ends:
            return {"failed": "left out: no time left"}
        most = LONGEST_S + 3 * len(jobs)  # one that hangs must not eat the time of all that follows
        return side_by_side(jobs, timeout_s=min(most, max(60.0, self.ends - time.monotonic() + 60)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--width", default="full", choices=("full", "default", "small"))
    parser.add_argument("--segments", type=int, default=SEGMENTS, help="training segments resident in each process")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each measurement")
    parser.add_argument("--minutes", type=float, default=8.0, help="no measurement begins later")
    parser.add_argument("--json", type=Path, help="results, written anew after each figure")
    options = parser.parse_args()
    job = Job("train", options.device, options.width, segments=options.segments, seconds=options.seconds)
    clock = Clock(time.monotonic() + 60 * options.minutes)
    facts = describe(options.device)

    def keep(rows: Rows, complete: bool = False) -> None:
        if options.json:
            write_json(options.json, {"facts": facts, "job": asdict(job), "complete": complete, "tables": rows})

    tables = measure(job, clock.run, keep)
    keep(tables, complete=True)
    print("\n".join(f"- {name}: {value}" for name, value in facts.items()))
    for title, rows in tables.items():
        print(f"\n## {title}\n\n{markdown(rows)}")


def write_json(path: Path, content: dict[str, object]) -> None:
    """Write the file whole or not at all, so that a run that is cut off leaves what it has measured."""
    write_atomic(path, json.dumps(content, indent=1).encode())


def measure(job: Job, run: Callable[[list[Job]], Numbers], keep: Callable[[Rows], None] = lambda _: None) -> Rows:
    """All tables, title -> rows; run: figures of jobs side by side; keep: called with all tables after each figure."""
    tables = Tables(keep)
    products = ({"precision": p, **run([replace(job, what="matrix", precision=p)])} for p in ("fp32", "tf32", "bf16-mixed"))
    limits = {str(found["precision"]): found for found in tables.add("Matrix product, the limit", products)}
    limits["32-true"] = limits["tf32"]  # of its products, convolutions and GRUs are in tf32, the linear layers are not

    def row(one: Job, name: str) -> Numbers:
        found = run([one])
        limit, rate = limits[one.precision].get("tflops"), found.get("segments/s")
        if isinstance(rate, float) and isinstance(limit, float):
            done = rate * 3 * gflop(recipe_of(one)) / 1e3
            found |= {"TFLOP/s": done, "of limit": done / limit}
        return {"what": name, "precision": one.precision, "batch": one.batch, **found}

    one = tables.add(ONE, (row(way, name) for name, way in _ways(job, POSSIBLE)))
    best = fastest(one, job)
    tables.add("Evaluation", [{"what": FROM_HOST, **run([replace(best, what="evaluate")])}])
    tables.add(SIDE, curve("processes", lambda n: run([best] * n)))  # the headline first: time may run out
    if job.device == "cuda":
        with mps() as started:
            if started:
                tables.add(SIDE, curve("processes under MPS", lambda n: run([best] * n)))
    tables.add("The whole of Table 2", [table2(tables.rows)])
    how = "captured" if best.captured else "as written"
    tables.add(ONE, [row(replace(best, kind="cnn"), f"CNN baseline, {how}")])
    widths = {"Recipe.paper()": "full", DEFAULT: "default"} if job.width == "full" else {f"--width {job.width}": job.width}
    if DEFAULT in widths:
        tables.add(ONE, [row(replace(best, width="default"), f"{DEFAULT}, {how}")])
    exact = replace(best, what="compare", precision="fp32", choose_kernels=False)
    both = ({"recipe": name, **run([replace(exact, width=width)])} for name, width in widths.items())
    tables.add("Captured against as written, 20 steps from the same seed", both)
    in_bf16 = run([replace(job, what="gru", precision="bf16-mixed")])
    tables.add("What a GRU computes in", [{"precision": "bf16-mixed", **in_bf16}])
    for name, width in widths.items():
        found = run([replace(best, what="epochs", width=width)])
        projected = _days(found.get("s/epoch"), EPOCHS, "h for 500 epochs", 3600)
        tables.add("One split, with its test passes", [{"recipe": name, **found, **projected}])
    tables.add("Growing batch", grow(best, lambda larger: row(larger, "captured" if larger.captured else "as written")))
    tables.add("Evaluation", [{"what": "resident, 512 at a time", **run([replace(best, what="resident")])}])
    tables.add(ONE, (row(way, name) for name, way in _ways(job, SET)))
    if job.device == "cuda":
        tables.add(SIDE, curve(STREAMS, lambda n: run([replace(best, streams=n)])))
    return tables.rows


def _ways(job: Job, precisions: tuple[str, ...]) -> Iterator[tuple[str, Job]]:
    """Yield the ways to train in some precisions; cudnn.benchmark would have to be set for `experiment` too."""
    for precision in precisions:
        way = replace(job, precision=precision)
        yield "as written", way
        yield "captured", replace(way, captured=True)
        yield "captured, cudnn.benchmark", replace(way, captured=True, choose_kernels=True)


def fastest(rows: list[Numbers], job: Job) -> Job:
    """The job of the fastest row that `experiment` can run; as written in 32-true where all failed."""
    rates = [(rate, r) for r in rows if _is_possible(r) and isinstance(rate := r.get("segments/s"), float)]
    if not rates:
        return job
    found = max(rates, key=lambda pair: pair[0])[1]
    return replace(job, precision=str(found["precision"]), captured=found["what"] == "captured")


def _is_possible(row: Numbers) -> bool:
    return row["precision"] in PRECISIONS and row["what"] in ("as written", "captured")


def grow(job: Job, row: Callable[[Job], Numbers]) -> Iterator[Numbers]:
    """Batches twice as large each time, until that pays no more: the last but one is the largest useful one.

    A last row says where no recipe or training part allows a larger one, so that this is not taken for the card's limit.
    """
    before = row(job)
    yield before
    while not (why := _too_large(larger := replace(job, batch=2 * job.batch))):
        job, after = larger, row(larger)
        yield after
        if _gain(before, after) < ENOUGH:
            return
        before = after
    yield {"what": "not run", "precision": job.precision, "batch": 2 * job.batch, "failed": why}


def _too_large(job: Job) -> str:
    if job.batch > job.segments:
        return f"more than the {job.segments} training segments"
    try:
        recipe_of(job)
    except RecipeError as error:
        return f"refused: {error}"
    return ""


def curve(name: str, rate: Callable[[int], Numbers]) -> Iterator[Numbers]:
    """1, 2, 4 ... trainings at once, until twice as many raise the sum by less than 5 %."""
    before: Numbers = {}
    n = 1
    while n <= MOST_AT_ONCE:
        row: Numbers = {"how": name, "at once": n, **rate(n)}
        yield row
        if before and _gain(before, row) < ENOUGH:
            break
        before, n = row, 2 * n


def _gain(before: Numbers, after: Numbers) -> float:
    one, other = before.get("segments/s"), after.get("segments/s")
    return other / one if isinstance(one, float) and isinstance(other, float) else 0.0


def table2(tables: Rows) -> Numbers:
    """Days for 4 systems x 20 splits x 500 epochs, each counted as Att-CRNN, with a test pass after every epoch.

    Streams of one process are left out: `experiment` has processes only. A test pass reads its images from the host. Where
    no curve was measured, the fastest single training stands for it.
    """
    single = [r | {"how": "process", "at once": 1} for r in tables.get(ONE, []) if _is_possible(r)]
    of_curves = [r for r in tables.get(SIDE, []) if r["how"] != STREAMS and isinstance(r.get("segments/s"), float)]
    sums = of_curves or [r for r in single if isinstance(r.get("segments/s"), float)]
    rates = [r.get("segments/s") for r in tables.get("Evaluation", []) if r.get("what") == FROM_HOST]
    if not sums:
        return {"failed": "no training was measured; the rows above say why"}
    best = max(sums, key=lambda r: float(r["segments/s"]))
    rate, trained = float(best["segments/s"]), SYSTEMS * N_SPLITS * EPOCHS
    found: Numbers = {
        "how": f"{best['at once']} {best['how']}",
        "segments/s": rate,
        "goal": float(GOAL),
        "of goal": rate / GOAL,
    }
    found["days, training"] = trained * SEGMENTS / rate / 86_400
    if rates and isinstance(rates[0], float):
        found["days, test passes, one at a time"] = trained * TEST_SEGMENTS / rates[0] / 86_400
    return found


def _days(seconds: float | str | None, n: int, name: str, unit: float) -> Numbers:
    return {name: seconds * n / unit} if isinstance(seconds, float) else {}


@contextmanager
def mps() -> Iterator[bool]:
    """A multi-process service of our own while this lasts; False where there is none to start, or one runs already."""
    control = shutil.which("nvidia-cuda-mps-control")
    if control is None or "CUDA_MPS_PIPE_DIRECTORY" in os.environ:
        yield False
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # its daemon may still write there
        os.environ |= {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        try:
            yield _control([control, "-d"])
        finally:
            _control([control], b"quit\n")
            del os.environ["CUDA_MPS_PIPE_DIRECTORY"], os.environ["CUDA_MPS_LOG_DIRECTORY"]


def _control(command: list[str], said: bytes = b"") -> bool:
    """Call the control program; its daemon must not keep a pipe of ours open, and a client that hangs must not stop us."""
    quiet = subprocess.DEVNULL
    with suppress(subprocess.TimeoutExpired):
        done = subprocess.run(command, input=said, check=False, timeout=60, stdout=quiet, stderr=quiet)
        return done.returncode == 0
    return False


def describe(device: str) -> dict[str, str]:
    """Card, driver, versions."""
    facts = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "torch": torch.__version__}
    if device == "cuda":
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        query_result = subprocess.run(query, check=False, capture_output=True, text=True) if shutil.which(query[0]) else None
        facts["card, driver, memory"] = query_result.stdout.strip() if query_result else "nvidia-smi is missing"
        facts["CUDA, cuDNN"] = f"{torch.version.cuda}, {torch.backends.cudnn.version()}"
        facts["MPS control program"] = shutil.which("nvidia-cuda-mps-control") or "not installed"
    return facts


def markdown(rows: list[Numbers]) -> str:
    """A table of all columns that any row has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(name, "")) for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: float | str) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return str(value)


if __name__ == "__main__":
    main()
