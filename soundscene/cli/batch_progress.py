"""How far a run is and how long it still takes, as one line."""

from soundscene.batch.run import BatchStats
from soundscene.types import clock


def progress_line(tally: BatchStats, total: int | None) -> str:
    """Done, in all, broken, rate and time left.

    total: paths in all, those that had a row included; None where it is not known, and then nor is the time left.
    """
    done = tally.rows + tally.skipped
    parts = [f"{done:,} of {total:,} recordings" if total is not None else f"{done:,} recordings"]
    if tally.broken:
        parts.append(f"{tally.broken:,} broken")
    if tally.rows and tally.seconds > 0:
        rate = tally.rows / tally.seconds
        parts.append(f"{rate:.3g} a second")
        if total is not None:
            parts.append(f"{clock(max(total - done, 0) / rate)} left")
    return ", ".join(parts)


def summary_line(tally: BatchStats, where: str) -> str:
    """What a run has done."""
    before = f"; {tally.skipped:,} had a row before" if tally.skipped else ""
    return f"{where}: {tally.rows:,} rows, {tally.broken:,} broken, {tally.shards:,} shard(s), {tally.seconds:.1f} s{before}"
