"""What is outside the training's range is noted, and what a model's header holds is checked."""

import json
from typing import Any

import numpy as np
import pytest

from soundscene.signal.meter import Measures
from soundscene.signal.ranges import TrainingRange, sound_notes

TOP = 11025.0


def trained(bandwidth_hz: float = TOP, level_db: tuple[float, float] = (-40, -20), n: int = 100) -> TrainingRange:
    levels = np.linspace(*level_db, n)
    found = TrainingRange.of([Measures(bandwidth_hz, float(level), 5 + 0.1 * i) for i, level in enumerate(levels)])
    assert found is not None
    return found


def notes(usual: TrainingRange, found: Measures) -> tuple[str, ...]:
    return usual.notes(found, TOP)


def test_what_is_like_the_training_has_no_note() -> None:
    assert notes(trained(), Measures(TOP, -30.0, 9.0)) == ()
    assert notes(trained(), Measures(TOP, -41.0, 4.0)) == ()


def test_each_measure_has_a_short_note_of_its_own() -> None:
    low, high = notes(trained(), Measures(7900.0, -63.0, 9.0)), notes(trained(), Measures(TOP, -5.0, 60.0))
    assert [note.split(" ")[0] for note in (*low, *high)] == ["nothing", "level", "level", "level"]
    assert "nothing above 7.9 kHz" in low[0]
    assert "level -63 dB of full scale, below the training's -40 to -20 dB" in low[1]
    assert "above the training's" in high[0]
    assert "60 dB over the recording's floor, 5 to 15 dB in the training" in high[1]
    assert all(len(note) < 160 for note in (*low, *high))


def test_low_passed_sound_of_a_model_that_knows_it_has_no_note() -> None:
    assert notes(trained(7800.0), Measures(7700.0, -30.0, 9.0)) == ()
    assert "nothing above 4.0 kHz" in notes(trained(7800.0), Measures(4000.0, -30.0, 9.0))[0]


def test_one_low_passed_recording_in_a_hundred_does_not_make_it_usual() -> None:
    few = TrainingRange.of([Measures(4000.0 if i == 0 else TOP, -30.0, 9.0) for i in range(100)])
    assert few is not None
    assert notes(few, Measures(7900.0, -30.0, 9.0))


def test_a_low_rate_is_noted_once() -> None:
    header, other = "sampled at 16000 Hz", "peak 1.2"

    def found(usual: TrainingRange | None, measures: Measures | None) -> tuple[str, ...]:
        return sound_notes(usual, measures, (header, other), (header,), 16000, round(2 * TOP))

    assert found(trained(), Measures(7900.0, -30.0, 9.0)) == (header, other)
    assert found(trained(), None) == (header, other)
    assert found(None, Measures(4000.0, -90.0, 9.0)) == (header, other)
    assert found(trained(7800.0), Measures(7700.0, -30.0, 9.0)) == (other,)
    below = found(trained(7800.0), Measures(3900.0, -30.0, 9.0))
    assert below[0] == other
    assert "nothing above 3.9 kHz" in below[1]


def test_few_recordings_tell_little_of_the_range() -> None:
    assert notes(trained(n=6), Measures(TOP, -48.0, 5.2)) == ()
    assert notes(trained(n=100), Measures(TOP, -48.0, 5.2))
    assert TrainingRange.of([Measures(TOP, -30.0, 9.0)] * 4) is None
    assert TrainingRange.of([None] * 9) is None


def test_a_range_is_stored_and_read_back() -> None:
    found = trained()
    assert TrainingRange.from_stored(json.loads(json.dumps(found.to_stored()))) == found
    assert TrainingRange.from_stored(None) is None


@pytest.mark.parametrize(
    "change",
    [
        {"recordings": 1}, {"recordings": True}, {"recordings": 10**12}, {"recordings": "9"}, {"other": 1},
        {"level_db": [0, 0, 0, 0]}, {"level_db": [1, 0, 0, 0, 0]}, {"level_db": [float("nan")] * 5},
        {"level_db": [-1e9, 0, 0, 0, 0]}, {"level_db": ["a"] * 5}, {"level_db": None}, {"bandwidth_hz": [-1, 0, 0, 0, 0]},
        {"above_floor_db": [0, 0, 0, 0, float("inf")]}, {"bandwidth_hz": [True] * 5}, {"level_db": [[0]] * 5},
    ],
)  # fmt: skip
def test_what_is_no_range_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the training range"):
        TrainingRange.from_stored(trained().to_stored() | change)


@pytest.mark.parametrize("stored", [[], "range", 3, {}, {"recordings": 9}])
def test_another_type_is_refused(stored: Any) -> None:
    with pytest.raises(ValueError, match="the training range"):
        TrainingRange.from_stored(stored)
