"""CPU time that this process and all that it has started have used, which a busy machine changes little."""

import os
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.0


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
