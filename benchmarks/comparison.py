"""One row of the benchmark: what is compared with what, how it is timed, and whether its target is reached."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from soundscene.recipe import Recipe

Relation = Literal["times as fast", "times the cost", "seconds more"]
"""How two figures are put together: other / ours, ours / other, ours - other."""

ENOUGH_S = 3.0
MOST_REPETITIONS = 10  # times those asked for
PRODUCT_SIZE = 2048
PRODUCT_FLOP = 2 * PRODUCT_SIZE**3


class MissingError(Exception):
    """Something that cannot be measured here; its text says why and what would change that."""


@dataclass(frozen=True)
class Settings:
    """Sizes of the work, and a folder for files. Those of the table are the defaults; tests take tiny ones.

    seconds: of a recording; batch: of a training step; bulk: segments at once in prediction; repetitions: of each side;
    recordings: in the folder that is predicted.
    """

    folder: Path
    recipe: Recipe = field(default_factory=Recipe)
    seconds: float = 30.0
    batch: int = 100
    bulk: int = 64
    repetitions: int = 5
    recordings: int = 40


@dataclass(frozen=True)
class Measured:
    """Two medians in one unit, how often each was taken, and what a reader should know.

    fault: why the comparison does not count, such as results that disagree; empty when they agree.
    """

    ours: float
    other: float
    repetitions: int
    note: str = ""
    fault: str = ""
    unit: Literal["s", "MiB"] = "s"


@dataclass(frozen=True)
class Comparison:
    """A row to be: what, against what, how the ratio is formed, its bound (none: for information), and how to measure.

    `measure` raises `MissingError` when one side cannot be had.
    """

    what: str
    other: str
    relation: Relation
    bound: float | None
    measure: Callable[[Settings], Measured]

    @property
    def target(self) -> str:
        """The bound in words."""
        if self.bound is None:
            return "none"
        return f"{'at least' if self.relation == 'times as fast' else 'at most'} {self.bound:g}"


@dataclass(frozen=True)
class Row:
    """A comparison with what came out; `missing` says why nothing did."""

    name: str
    comparison: Comparison
    measured: Measured | None = None
    missing: str = ""

    @property
    def ratio(self) -> float | None:
        """The figure that the target bounds."""
        if self.measured is None:
            return None
        ours, other = self.measured.ours, self.measured.other
        if self.comparison.relation == "seconds more":
            return ours - other
        return other / ours if self.comparison.relation == "times as fast" else ours / other

    @property
    def reached(self) -> bool | None:
        """Whether the target is met; None without a figure or a target. A fault is never a success."""
        if self.measured is not None and self.measured.fault:
            return False
        if self.ratio is None or self.comparison.bound is None:
            return None
        at_least = self.comparison.relation == "times as fast"
        return self.ratio >= self.comparison.bound if at_least else self.ratio <= self.comparison.bound

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        measured = self.measured
        return {
            "row": self.name,
            "what": self.comparison.what,
            "against": self.comparison.other,
            "ours": measured and measured.ours,
            "other": measured and measured.other,
            "unit": measured and measured.unit,
            "relation": self.comparison.relation,
            "ratio": self.ratio,
            "target": self.comparison.target,
            "reached": self.reached,
            "repetitions": measured and measured.repetitions,
            "note": measured.note if measured else "",
            "fault": measured.fault if measured else "",
            "missing": self.missing,
        }


def run(name: str, comparison: Comparison, settings: Settings) -> Row:
    """Measure one comparison; what is missing becomes a row that says so."""
    try:
        return Row(name, comparison, comparison.measure(settings))
    except MissingError as error:
        return Row(name, comparison, missing=str(error))


# --- timing -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Times:
    """Median seconds of each side, and how often each was called."""

    medians: Mapping[str, float]
    n: int

    def __getitem__(self, side: str) -> float:
        return self.medians[side]


def alternate(sides: Mapping[str, Callable[[], object]], repetitions: int) -> Times:
    """Times of all sides, taken in turn (A B A B), so that a change of clock meets all alike; one call each to warm up.

    repetitions: how often at least; quick sides are called more often, until `ENOUGH_S` seconds have passed.
    """
    for side in sides.values():
        side()
    taken: dict[str, list[float]] = {name: [] for name in sides}
    n, started = 0, time.perf_counter()
    while n < repetitions or (time.perf_counter() - started < ENOUGH_S and n < MOST_REPETITIONS * repetitions):
        for name, side in sides.items():
            taken[name].append(seconds(side))
        n += 1
    return Times({name: statistics.median(values) for name, values in taken.items()}, n)


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def matrix_product() -> Callable[[], object]:
    """A product of two float32 matrices of 2048 x 2048, as large as what a library is tuned for: the machine's rate."""
    one, other = torch.randn(PRODUCT_SIZE, PRODUCT_SIZE), torch.randn(PRODUCT_SIZE, PRODUCT_SIZE)
    return lambda: torch.mm(one, other)
