"""What is outside the training's range is noted, and what a model's header holds is checked."""

import json
import re
from dataclasses import replace
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


HEADER = "sampled at 16000 Hz"
NARROW = Measures(7800.0, -30.0, 9.0)


def mixed(n: int, n_narrow: int) -> TrainingRange:
    """The range of recordings of which some are as narrow as a file of 16 kHz."""
    full = Measures(TOP, -30.0, 9.0)
    found = TrainingRange.of([NARROW if i < n_narrow else full for i in range(n)])
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("n", "n_narrow", "noted"),
    [
        (5, 0, True), (5, 1, True), (5, 2, False), (5, 3, False),
        (10, 0, True), (10, 1, True), (10, 2, False), (10, 3, False), (10, 6, False),
        (20, 0, True), (20, 1, True), (20, 2, False), (20, 3, False), (20, 6, False), (20, 12, False),
        (49, 0, True), (49, 1, True), (49, 2, True), (49, 3, True), (49, 4, True), (49, 5, False), (49, 15, False),
        (96, 2, True), (96, 9, True), (96, 10, False), (150, 3, True), (150, 14, True), (150, 15, False),
        (100, 0, True), (100, 1, True), (100, 2, True), (100, 3, True), (100, 9, True), (100, 10, False), (100, 30, False),
        (100, 60, False), (320, 0, True), (320, 1, True), (320, 2, True), (320, 3, True), (320, 31, True), (320, 32, False),
        (320, 96, False), (320, 192, False),
    ],
)  # fmt: skip
def test_a_bandwidth_is_noted_that_less_than_a_tenth_and_two_of_the_training_have(
    n: int, n_narrow: int, noted: bool
) -> None:
    usual = mixed(n, n_narrow)
    assert [note.partition(",")[0] for note in notes(usual, NARROW)] == ["nothing above 7.8 kHz"] * noted
    narrower, full = Measures(4000.0, -30.0, 9.0), Measures(TOP, -30.0, 9.0)
    assert notes(usual, narrower)
    assert notes(usual, full) == ()
    again = TrainingRange.from_stored(json.loads(json.dumps(usual.to_stored())))
    assert again == usual
    below_hz = usual.noted_below_hz(TOP)
    assert notes(usual, Measures(below_hz - 1, -30.0, 9.0))
    assert not notes(usual, Measures(below_hz, -30.0, 9.0))


@pytest.mark.parametrize("usual", [mixed(100, 0), mixed(100, 30), mixed(5, 2), trained(), trained(n=6), trained(7800.0)])
def test_limits_are_where_notes_begin(usual: TrainingRange) -> None:
    limits = usual.limits(TOP)
    assert len(limits) < 160
    below_hz, low, high, least, most = (float(x.replace(",", "")) for x in re.findall(r"-?[\d,]*\d", limits))
    usually = Measures(TOP, usual.level_db[2], usual.above_floor_db[2])
    inside = [{"bandwidth_hz": below_hz + 1}, {"level_db": low + 1}, {"level_db": high - 1}, {"above_floor_db": most - 1}]
    outside = [{"bandwidth_hz": below_hz - 1}, {"level_db": low - 1}, {"level_db": high + 1}, {"above_floor_db": most + 1}]
    inside.append({"above_floor_db": least + 1})
    outside += [{"above_floor_db": least - 1}] if least else []
    assert [notes(usual, replace(usually, **one)) for one in inside] == [()] * len(inside)
    assert [len(notes(usual, replace(usually, **one))) for one in outside] == [1] * len(outside)


@pytest.mark.parametrize("n", [5, 10, 20, 49, 100, 320])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.45, 0.6, 1.0])
def test_a_low_rate_is_noted_unless_half_of_the_training_had_no_more(n: int, share: float) -> None:
    usual = mixed(n, round(share * n))
    found = sound_notes(usual, NARROW, (HEADER,), (HEADER,), 16000, round(2 * TOP))
    assert found == (() if share > 0.5 else (HEADER,))
    assert sound_notes(usual, None, (HEADER,), (HEADER,), 16000, round(2 * TOP)) == found


def test_a_rate_just_below_the_models_is_noted_too() -> None:
    for usual in (mixed(100, 0), mixed(100, 30)):
        assert sound_notes(usual, None, (HEADER,), (HEADER,), 20000, round(2 * TOP)) == (HEADER,)


def test_what_is_narrower_than_its_low_rate_says_has_both_notes_where_the_rate_is_no_rarity() -> None:
    narrower = Measures(4000.0, -30.0, 9.0)
    header, edge = sound_notes(mixed(100, 30), narrower, (HEADER,), (HEADER,), 16000, round(2 * TOP))
    assert (header, edge.partition(",")[0]) == (HEADER, "nothing above 4.0 kHz")
    assert sound_notes(mixed(100, 3), narrower, (HEADER,), (HEADER,), 16000, round(2 * TOP)) == (HEADER,)


def test_a_range_of_before_is_judged_by_its_five_quantiles() -> None:
    stored = mixed(49, 1).to_stored()
    del stored["narrow_hz"]
    usual = TrainingRange.from_stored(stored)
    assert usual is not None
    assert usual.narrow_hz is None
    assert usual.to_stored() == stored
    assert notes(usual, NARROW) == ()
    assert sound_notes(usual, NARROW, (HEADER,), (HEADER,), 16000, round(2 * TOP)) == (HEADER,)


def test_a_low_rate_is_noted_once() -> None:
    header, other = HEADER, "peak 1.2"

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
        {"narrow_hz": None}, {"narrow_hz": True}, {"narrow_hz": "9"}, {"narrow_hz": float("nan")}, {"narrow_hz": TOP + 1},
        {"narrow_hz": TOP - 1}, {"narrow_hz": [TOP]}, {"narrow_hz": 10**400}, {"narrow_hz": float("-inf")},
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
