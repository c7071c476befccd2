"""CPU time that a test, and all that it has started, has used, and whether that is too much."""

import os
from enum import Enum
from pathlib import Path

BUDGET_S = 5.0  # of a test of the quick tier: above it, a test is listed at the end of the run
LIMIT_S = 10.0  # above it, it fails; between the two, a slow machine may be the cause
LINES_COUNTED = 4  # counting the lines that are reached makes a test of nothing but Python three times as long

_TICK_S = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.0


class Verdict(Enum):
    """What becomes of a test that has passed, by its CPU time."""

    GOOD = "within its budget"
    LISTED = "named at the end of the run"
    FAILS = "over the limit"


def judged(spent_s: float, granted_s: float | None = None, *, lines_counted: bool = False) -> Verdict:
    """What becomes of a test that took this long; what a mark `budget(seconds)` grants is a limit."""
    budget, limit = (BUDGET_S, LIMIT_S) if granted_s is None else (granted_s, granted_s)
    spent = spent_s / (LINES_COUNTED if lines_counted else 1)
    if spent > limit:
        return Verdict.FAILS
    return Verdict.LISTED if spent > budget else Verdict.GOOD


def cpu_s() -> float:
    """Seconds of CPU of this process, of its children that have ended, and of those that live (where there is /proc)."""
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return own + sum(_of_child(child) for child in _children("self"))


def _children(process: str) -> list[str]:
    try:
        return [
            child
            for thread in Path(f"/proc/{process}/task").iterdir()
            for child in (thread / "children").read_text(encoding="utf-8").split()
        ]
    except OSError:  # no /proc, or the process has ended
        return []


def _of_child(process: str) -> float:
    """Its own time, that of its children that have ended, and that of its children that live."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(ticks) for ticks in stat[11:15]) * _TICK_S + sum(_of_child(child) for child in _children(process))
