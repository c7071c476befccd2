"""How fast soundscene is, beside others and beside the machine's limit: one table of ratios, measured in one run.

    python benchmarks/speed.py [--rows NAME ...] [--json FILE] [--full]

Both sides of a row take turns in one process (A B A B), figures are medians, and one thread works unless the row says
otherwise. What is not installed is a row that says so. Rows: see `--help`; --full predicts 200 recordings instead of 40.
Run it on a machine that does nothing else.
"""

import os

if __name__ == "__main__":  # NumPy and PyTorch read this when they are imported
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import argparse
import json
import platform
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks import speed_backbone, speed_network, speed_sound, speed_whole
from benchmarks.comparison import Measured, Row, Settings, run

COMPARISONS = speed_sound.COMPARISONS | speed_network.COMPARISONS | speed_backbone.COMPARISONS | speed_whole.COMPARISONS
PACKAGES = ("soundscene", "numpy", "scipy", "numba", "torch", "soxr", "soundfile")
PEERS = (
    "librosa",
    "pyvoicebox-sap",
    "gammatone",
    "panns-inference",
    "torchlibrosa",
    "torch-vggish-yamnet",
    "deepaudio-x",
)
HEADER = "| row | ours | against | ours | other | ratio | target | reached | n | note |"


def main() -> None:
    """Measure, print, and end with 1 if two sides that must agree do not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(COMPARISONS), default=list(COMPARISONS), metavar="NAME")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--full", action="store_true", help="predict a folder of 200 recordings instead of 40")
    parser.epilog = f"rows: {', '.join(COMPARISONS)}"
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started, facts = time.perf_counter(), machine()
    print(", ".join(f"{name} {value}" for name, value in facts.items()), "\n", sep="\n")
    print(HEADER, "|---" * (HEADER.count("|") - 1) + "|", sep="\n")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(Path(folder), recordings=200 if arguments.full else 40)
        for name in arguments.rows:
            for comparison in COMPARISONS[name]:
                rows.append(run(name, comparison, settings))
                print(line(rows[-1]), flush=True)
    print(f"\n{summary(rows)} {time.perf_counter() - started:.0f} s in all.")
    if arguments.json:
        found = {"machine": facts, "rows": [row.to_dict() for row in rows]}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    if any(row.measured and row.measured.fault for row in rows):
        sys.exit(1)


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, cores, threads, other work, versions."""
    facts: dict[str, Any] = {"processor": _processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if hasattr(os, "getloadavg"):
        facts["load before"] = round(os.getloadavg()[0], 1)
    facts["Python"] = platform.python_version()
    for package in PACKAGES + PEERS:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            facts[package] = "not installed"
    return facts


def line(row: Row) -> str:
    """A row of the Markdown table."""
    compared, measured = row.comparison, row.measured
    cells = [row.name, compared.what, compared.other]
    if measured is None:
        cells += ["", "", "", compared.target, "missing", "", row.missing]
    else:
        verdict = {None: "", True: "yes", False: "no"}[row.reached]
        note = "; ".join(part for part in (measured.fault, measured.note) if part)
        cells += [_figure(measured.ours, measured), _figure(measured.other, measured)]
        cells += [f"{row.ratio:.2f} {compared.relation}", compared.target, verdict, str(measured.repetitions), note]
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def summary(rows: list[Row]) -> str:
    """How many targets were reached, how many not, and what is missing."""
    missed = [f"{row.name} ({row.comparison.other})" for row in rows if row.reached is False]
    missing = [f"{row.name} ({row.comparison.other})" for row in rows if row.missing]
    text = f"{sum(row.reached is True for row in rows)} targets reached, {len(missed)} not"
    text += f": {', '.join(missed)}" if missed else ""
    return text + f"; {len(missing)} rows missing" + (f": {', '.join(missing)}." if missing else ".")


def _figure(value: float, measured: Measured) -> str:
    if measured.unit == "MiB":
        return f"{value:.0f} MiB"
    return f"{value:.2f} s" if value >= 1 else f"{1e3 * value:.3g} ms"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [text.partition(":")[2].strip() for text in lines if text.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
