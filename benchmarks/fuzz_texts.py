"""Mutations of text, and values that are extreme: what the fuzzing of bundles, manifests and recipes shares."""

import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.fuzz_process import Outcome
from soundscene.errors import SceneError

KILL_S = 60.0  # of wall clock; the targets are CPU time, because other work may run on the machine
LIMIT_S = 2.0

NUMBERS: tuple[Any, ...] = (
    *(
        0,
        1,
        2,
        3,
        7,
        63,
        65,
        100,
        1000,
        4096,
        8000,
        10**5,
        10**6,
        10**8,
        10**9,
        2**31,
        2**53 + 1,
        2**63,
        10**20,
        -1,
        -(10**9),
    ),
    *(0.0, -0.0, 0.5, 1.0, 1e-4, 1e-12, 1e-300, 5e-324, 0.999999999, 3.7, 600.0, 1e5, 1e38, 1e300, -1e300),
    *(math.nan, math.inf, -math.inf),
)
OTHERS: tuple[Any, ...] = (
    None,
    True,
    False,
    "",
    "x",
    "1",
    "\0",
    "\ud800",
    [],
    [1],
    [[]],
    {},
    {"a": 1},
    [4, 8],
    [1, 2, 3, 4],
)
NOISE = (
    *('"', '""', "'", ",", ";", "\t", "\n", "\r\n", "\r", "\0", "\\", "=", "[", "]", "{", "}", "#", " ", "\u00a0", "\u200b"),
    *(
        "\u200d",
        "\u202e",
        "\ufeff",
        "e\u0301",
        "\u0301",
        "\x1b[31m",
        "é",
        "北京",
        "👩\u200d💻",
        "9" * 400,
        "x" * 300,
        "[" * 2000,
    ),
    *("../", "/", "inf", "nan", "1e400", "-", "A", "9" * 5000, "\u2028", "\x85"),
)


@dataclass(frozen=True)
class Report:
    """Hold what a case came to.

    Attributes:
        kind: "accepted", "refused", or "silent": accepted, and wrong.
        text: What was done, and the message.
        cpu_s: CPU time that it took.
        peak_mb: Memory that it took beyond the file.
    """

    kind: str
    text: str
    cpu_s: float
    peak_mb: float


def report(what: str, run: Callable[[], str], file_mb: float = 0.0) -> str:
    """Run a case, and return its report as JSON.

    Args:
        what: What was done to the input.
        run: Returns "" for input that was accepted rightly, else what is wrong with that.
        file_mb: Size of the input, which may be in memory once.
    """
    before, started = _start(), time.process_time()
    try:
        wrong = run()
        kind, text = ("silent", wrong) if wrong else ("accepted", "")
    except SceneError as error:
        kind, text = "refused", str(error)
        if "\n" in text or len(text) > 1500:
            kind, text = "silent", f"the message is no short line but {len(text)} characters: {text[:200]!r}"
    spent = time.process_time() - started
    return json.dumps(asdict(Report(kind, f"{what}: {text}", spent, max(_peak_mb() - before - file_mb, 0.0))))


def summarise(outcomes: Iterable[Outcome], name: str, shown: bool, most_mb: float | None = None) -> int:
    """Print what went wrong and the counts; return 0 where nothing did.

    Args:
        outcomes: Of the cases.
        name: What they are, in the plural.
        shown: Whether to print each case.
        most_mb: Memory that a case may take; by default any.
    """
    counts: Counter[str] = Counter()
    slowest, largest = 0.0, 0.0
    for outcome in outcomes:
        found = (
            Report(**json.loads(outcome.detail)) if outcome.kind == "fine" else Report(outcome.kind, outcome.detail, 0, 0)
        )
        kinds = [found.kind]
        if found.cpu_s > LIMIT_S:
            kinds.append("slow")
        if most_mb is not None and found.peak_mb > most_mb:
            kinds.append("large")
        counts.update(kinds)
        slowest, largest = max(slowest, found.cpu_s), max(largest, found.peak_mb)
        if shown or kinds not in (["accepted"], ["refused"]):
            print(
                f"{outcome.case} {' '.join(kinds)}, {found.cpu_s:.2f} s, {found.peak_mb:.0f} MB: {found.text[:400]}",
                flush=True,
            )
    faults = ("foreign", "silent", "crash", "hang", "slow", "large")
    parts = [f"{counts['accepted']} accepted", f"{counts['refused']} refused", *(f"{counts[k]} {k}" for k in faults)]
    print(
        f"{counts['accepted'] + counts['refused'] + sum(counts[k] for k in faults[:4])} {name}: {', '.join(parts)}; ", end=""
    )
    print(f"slowest {slowest:.2f} s of CPU, most memory {largest:.0f} MB")
    return int(any(counts[kind] for kind in faults))


def another(value: Any, draw: np.random.Generator) -> Any:
    """Draw another value for a key of a recipe: mostly a number of the same type, near or extreme, or one of another type.

    Args:
        value: The old value.
        draw: Draws.
    """
    chance = draw.random()
    if isinstance(value, int | float) and not isinstance(value, bool) and chance < 0.8:
        if chance < 0.3:
            return type(value)(value * 10.0 ** draw.uniform(-3, 3))
        numbers = [n for n in NUMBERS if isinstance(n, type(value)) or isinstance(value, float)]
        return numbers[draw.integers(len(numbers))]
    if isinstance(value, list | tuple) and chance < 0.8:
        whole = [n for n in NUMBERS if isinstance(n, int)]
        return [whole[draw.integers(len(whole))] if draw.random() < 0.5 else old for old in value]
    values = NUMBERS if chance < 0.9 else OTHERS
    return values[draw.integers(len(values))]


def change_recipe(tree: dict[str, dict[str, Any]], draw: np.random.Generator) -> str:
    """Change one to three values of a recipe in place, and return what was done."""
    keys = [(section, name) for section, values in tree.items() for name in values]
    done = []
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        section, name = keys[draw.integers(len(keys))]
        tree[section][name] = value = another(tree[section][name], draw)
        done.append(f"{section}.{name}={str(value)[:30]}")
        if name == "noise_window" and isinstance(value, int):  # else every other window would be refused for its hop
            tree[section]["noise_hop"] = value // 2
        if name == "patience":
            tree[section]["keep"] = "best"
    return ", ".join(done)


def scramble(text: str, draw: np.random.Generator) -> tuple[str, str]:
    """Return a text with one to four pieces inserted, deleted, repeated or replaced, and what was done."""
    done = []
    for _ in range(draw.integers(1, 5)):
        at, length = int(draw.integers(len(text) + 1)), int(draw.geometric(0.2))
        noise = NOISE[draw.integers(len(NOISE))]
        kind = ("insert", "delete", "repeat", "replace", "cut", "swap")[draw.integers(6)]
        rest = text[at + length :]
        if kind == "insert":
            text = text[:at] + noise + text[at:]
        elif kind == "delete":
            text = text[:at] + rest
        elif kind == "repeat":
            text = text[:at] + text[at : at + length] * int(draw.integers(2, 50)) + rest
        elif kind == "replace":
            text = text[:at] + noise + rest
        elif kind == "cut" and draw.random() < 0.2:
            text = text[:at]
        else:
            text = text[:at] + text[at : at + length].swapcase() + rest
        done.append(f"{kind} {noise[:6]!r} at {at}")
    return text, ", ".join(done)


def _start() -> float:
    """Resident memory now; the largest so far is forgotten, where there is /proc."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return math.inf
    return _status_mb("VmRSS")


def _peak_mb() -> float:
    return _status_mb("VmHWM")


def _status_mb(key: str) -> float:
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith(f"{key}:"))
    except (OSError, StopIteration):
        return 0.0


def one_thread() -> None:
    """Let numerical libraries use one thread, before they are loaded."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
