"""The range of what was measured of the training recordings, and what to note of a recording outside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from soundscene.signal.meter import Measures

FEWEST = 5  # training recordings from which on there is a range
_SHARES = (0.005, 0.02, 0.5, 0.98, 0.995)
_TENTH = 10  # recordings for one of which, as narrow, a network has learnt to do without what is above ...
_LEAST = 2  # ... and how many at least: one alone may be an accident
_SLACK_DB = 3.0
_SLACK_HZ = 0.97  # times; where an edge is found varies with the sound
_FULL = 0.88  # share of half the rate; no edge is looked for above
_FEW = 10.0  # recordings: of fewer, the range that was seen says little of the next one
_MOST = {"bandwidth_hz": 1e6, "level_db": 400.0, "above_floor_db": 400.0}
_NAMES = tuple(_MOST)

Quantiles = tuple[float, float, float, float, float]
"""Of the training recordings, at 0.5, 2, 50, 98 and 99.5 per cent, ascending."""


@dataclass(frozen=True)
class TrainingRange:
    """Quantiles of the training recordings.

    Attributes:
        recordings: Number of recordings.
        bandwidth_hz: Of `Measures.bandwidth_hz`.
        level_db: Of `Measures.level_db`.
        above_floor_db: Of `Measures.above_floor_db`.
        narrow_hz: Bandwidth that a tenth of the recordings, two at least, do not exceed. None in files written before it was
            kept, whose bandwidths are judged by the 2 per cent quantile.
    """

    recordings: int
    bandwidth_hz: Quantiles
    level_db: Quantiles
    above_floor_db: Quantiles
    narrow_hz: float | None = None

    @classmethod
    def of(cls, measured: Sequence[Measures | None]) -> "TrainingRange | None":
        """Take the quantiles of recordings; none of fewer than `FEWEST`.

        Args:
            measured: Of each training recording; None where it is digital silence, or was not measured.
        """
        known = [m for m in measured if m is not None]
        if len(known) < FEWEST:
            return None
        quantiles = {name: _quantiles([getattr(m, name) for m in known]) for name in _NAMES}
        return cls(len(known), **quantiles, narrow_hz=_narrow([m.bandwidth_hz for m in known]))

    def to_stored(self) -> dict[str, Any]:
        """Return plain values for a model's header."""
        narrow = {} if self.narrow_hz is None else {"narrow_hz": self.narrow_hz}
        return {"recordings": self.recordings, **{name: list(getattr(self, name)) for name in _NAMES}, **narrow}

    @classmethod
    def from_stored(cls, stored: Any) -> "TrainingRange | None":
        """Check what a model's header holds, and build it; None for None.

        Raises:
            ValueError: It is no range.
        """
        if stored is None:
            return None
        if not isinstance(stored, dict) or stored.keys() - {"narrow_hz"} != {"recordings", *_NAMES}:
            raise ValueError(f"the training range has not the parts recordings, {', '.join(_NAMES)}")
        n = stored["recordings"]
        if type(n) is not int or not FEWEST <= n <= 10**9:
            raise ValueError(f"the training range is of {str(n)[:20]} recordings, expected {FEWEST} or more")
        for name in _NAMES:
            values = stored[name]
            lowest = 0.0 if name != "level_db" else -_MOST[name]
            if not isinstance(values, list) or len(values) != len(_SHARES):
                raise ValueError(f"the training range of {name} is no list of {len(_SHARES)} numbers")
            if not all(type(v) in (int, float) and lowest <= v <= _MOST[name] for v in values) or values != sorted(values):
                raise ValueError(f"the training range of {name} holds what no recording has, or is not ascending")
        narrow = None
        if "narrow_hz" in stored:
            value, (_, least, middle, *_) = stored["narrow_hz"], stored["bandwidth_hz"]
            if type(value) not in (int, float) or not least <= value <= middle:
                raise ValueError("the training range of narrow_hz is no number from the 2 % to the 50 % of bandwidth_hz")
            narrow = float(value)
        quantiles = (tuple(map(float, stored[name])) for name in _NAMES)
        return cls(n, *quantiles, narrow_hz=narrow)  # pyright: ignore[reportArgumentType]

    def noted_below_hz(self, top_hz: float) -> float:
        """Return the bandwidth below which a recording has a note: fewer than a tenth of the training's are as narrow.

        Args:
            top_hz: Half the model's sample rate.
        """
        return min(_FULL * top_hz, _SLACK_HZ * (self.bandwidth_hz[1] if self.narrow_hz is None else self.narrow_hz))

    def is_usual(self, edge_hz: float) -> bool:
        """Tell whether most of the training's recordings, judged by their median, have nothing above a frequency either.

        Args:
            edge_hz: Half the sample rate of a recording.
        """
        return edge_hz >= _SLACK_HZ * self.bandwidth_hz[2]

    def limits(self, top_hz: float) -> str:
        """Say in one line from where on recordings have notes: a bandwidth, a level, a level over the floor.

        Args:
            top_hz: Half the model's sample rate.
        """
        low, high = self._bounds(self.level_db)
        least, most = self._bounds(self.above_floor_db)
        return (
            f"a bandwidth below {self.noted_below_hz(top_hz):,.0f} Hz, a level outside {low:.0f} to {high:.0f} dB of full "
            f"scale, or outside {max(0.0, least):.0f} to {most:.0f} dB over the recording's floor"
        )

    def notes(self, found: Measures, top_hz: float) -> tuple[str, ...]:
        """Note what of a recording lies outside the range, in one short line each.

        Args:
            found: Of the recording.
            top_hz: Half the model's sample rate.
        """
        edge = self._edge_note(found.bandwidth_hz) if found.bandwidth_hz < self.noted_below_hz(top_hz) else ""
        notes = (edge, self._level_note(found.level_db), self._floor_note(found.above_floor_db))
        return tuple(note for note in notes if note)

    def _edge_note(self, edge_hz: float) -> str:
        return (
            f"nothing above {edge_hz / 1000:.1f} kHz, where the training's recordings have sound: a codec, or a lower rate "
            "before? the prediction may be worse"
        )

    def _level_note(self, level_db: float) -> str:
        low, high = self._bounds(self.level_db)
        if low <= level_db <= high:
            return ""
        side = "below" if level_db < low else "above"
        return (
            f"level {level_db:.0f} dB of full scale, {side} the training's {self.level_db[0]:.0f} to {self.level_db[4]:.0f} "
            "dB: is the gain right? the prediction may be worse"
        )

    def _floor_note(self, above_db: float) -> str:
        low, high = self._bounds(self.above_floor_db)
        if low <= above_db <= high:
            return ""
        usual = f"{self.above_floor_db[0]:.0f} to {self.above_floor_db[4]:.0f} dB in the training"
        cause = "steady noise over it" if above_db < low else "a noise gate, or pauses"
        return f"level {above_db:.0f} dB over the recording's floor, {usual}: {cause}? the prediction may be worse"

    def _bounds(self, quantiles: Quantiles) -> tuple[float, float]:
        """Widen the range, the more the fewer recordings it is of."""
        slack = _SLACK_DB + _FEW / self.recordings * (quantiles[3] - quantiles[1])
        return quantiles[0] - slack, quantiles[4] + slack


def _quantiles(values: Sequence[float]) -> Quantiles:
    ordered = np.sort(np.asarray(values, np.float64))
    places = [share * (len(ordered) - 1) for share in _SHARES]
    # outwards: of few recordings, the extreme ones
    index = [math.floor(p) if share < 0.5 else math.ceil(p) for p, share in zip(places, _SHARES, strict=True)]
    one, two, three, four, five = (round(float(ordered[i]), 2) for i in index)
    return one, two, three, four, five


def _narrow(bandwidths_hz: Sequence[float]) -> float:
    """Return the bandwidth up to which a tenth of the recordings, and `_LEAST` at least, are."""
    enough = max(_LEAST, -(-len(bandwidths_hz) // _TENTH))
    return round(sorted(bandwidths_hz)[enough - 1], 2)


def sound_notes(
    usual: TrainingRange | None,
    found: Measures | None,
    notes: Sequence[str],
    rate_notes: Sequence[str],
    source_hz: int,
    model_hz: int,
) -> tuple[str, ...]:
    """Return the notes of a recording, with those of its range.

    What the header says of a low rate is said once: by the note of the rate, unless most of the training's recordings had
    no more.

    Args:
        usual: Of the model; None leaves the notes as they are.
        found: What was measured of the recording, if anything.
        notes: Of its reading.
        rate_notes: Those of them that follow from its sample rate alone.
        source_hz: Its sample rate.
        model_hz: Sample rate of the model.
    """
    if usual is None:
        return tuple(notes)
    edge_hz, is_usual = source_hz / 2, usual.is_usual(source_hz / 2)
    kept = [note for note in notes if not is_usual or note not in rate_notes]
    if found is not None and rate_notes and edge_hz < usual.noted_below_hz(model_hz / 2):
        found = replace(found, bandwidth_hz=model_hz / 2)
    return (*kept, *(usual.notes(found, model_hz / 2) if found else ()))
