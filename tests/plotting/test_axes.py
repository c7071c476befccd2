"""Axes in their units, and figures that are wide enough for any name."""

from datetime import datetime

import numpy as np
import pytest
from matplotlib.figure import Figure

from soundscene.plotting.axes import (
    band_centres_hz,
    band_edges,
    clock_axis,
    hatch_silence,
    hertz_axis,
    label_width_in,
    legend_below,
    picture_width_in,
    symmetric_limit,
    widen_for_labels,
    wrap_text,
)
from soundscene.recipe import Recipe


@pytest.mark.parametrize("kind", ["mel", "gammatone"])
def test_hertz_are_written_at_their_bands(kind: str) -> None:
    recipe = Recipe.small().with_settings([f"features.kind={kind}"])
    centres_hz = band_centres_hz(recipe)
    assert len(centres_hz) == recipe.features.n_bands
    assert (np.diff(centres_hz) > 0).all()
    assert 0 < centres_hz[0] < centres_hz[-1] < recipe.audio.sample_rate / 2
    axis = Figure().subplots()
    hertz_axis(axis, centres_hz)
    octaves = {"125": 125, "250": 250, "500": 500, "1k": 1000, "2k": 2000, "4k": 4000, "8k": 8000}
    assert [label.get_text() for label in axis.get_yticklabels()] == list(octaves)
    for place, hz in zip(axis.get_yticks(), octaves.values(), strict=True):
        below, above = centres_hz[int(place)], centres_hz[int(place) + 1]
        assert below <= hz <= above
    assert axis.get_ylim() == (band_edges(centres_hz)[0], band_edges(centres_hz)[-1])
    assert axis.get_ylabel() == "frequency, Hz"
    hertz_axis(axis, centres_hz, along="x")
    beside = [label.get_text() for label in axis.get_xticklabels()]
    assert beside[-4:] == ["1k", "2k", "4k", "8k"]
    assert set(beside) <= {"", *octaves}


@pytest.mark.parametrize(
    ("end_s", "expected"),
    [(8.0, ["0:00:00", "0:00:01", "0:00:02"]), (3600.0, ["0:00:00", "0:10:00", "0:20:00"]), (30.0, ["0:00:00", "0:00:05"])],
)
def test_clock_axis_ticks_are_whole(end_s: float, expected: list[str]) -> None:
    figure = Figure()
    axis = figure.subplots()
    axis.set_xlim(0, end_s)
    clock_axis(axis)
    figure.draw_without_rendering()
    ticks = zip(axis.get_xticks(), axis.get_xticklabels(), strict=True)
    assert [label.get_text() for x, label in ticks if 0 <= x <= end_s][: len(expected)] == expected


def test_clock_axis_of_a_recording_whose_start_is_known_has_times_of_day() -> None:
    figure = Figure()
    axis = figure.subplots()
    axis.set_xlim(0, 7 * 3600)
    clock_axis(axis, datetime(2024, 3, 1, 21, 40, 30))
    figure.draw_without_rendering()
    ticks = zip(axis.get_xticks(), axis.get_xticklabels(), strict=True)
    assert [label.get_text() for x, label in ticks if 0 <= x <= 7 * 3600][:4] == [
        "22:00:00",
        "23:00:00",
        "0:00:00",
        "1:00:00",
    ]
    assert axis.get_xlabel() == "time of day, h:min:s"


def test_silence_is_hatched_from_start_to_end() -> None:
    axis = Figure().subplots()
    hatch_silence(axis, 2.0, 5.0)
    (patch,) = axis.patches
    assert patch.get_hatch()
    assert patch.get_extents().transformed(axis.transData.inverted()).bounds[::2] == (pytest.approx(2), pytest.approx(3))


def test_limit_of_signed_values() -> None:
    assert symmetric_limit(np.array([-3.0, 1.0, np.nan]), 100.0) == 3.0
    assert symmetric_limit(np.append(np.ones(1000), 99.0)) == 1.0  # an outlier does not take all shades
    assert 0 < symmetric_limit(np.zeros(3)) < 1e-6
    assert symmetric_limit(np.zeros(0)) > 0


def test_labels_in_wide_letters_count_as_wide() -> None:
    assert label_width_in(["a" * 10]) == pytest.approx(7 * 8 / 72)
    assert label_width_in(["広" * 10, "a"], 9.0) == pytest.approx(10 * 9 / 72)
    assert picture_width_in(11.0, ["bus"]) == 11.0
    assert picture_width_in(11.0, ["b" * 60]) == pytest.approx(11 + label_width_in(["b" * 60]) - 1.25)


def test_figures_are_widened_where_the_layout_takes_letters_for_narrower_than_they_are() -> None:
    figure = Figure(figsize=(4, 3), layout="constrained")
    widen_for_labels(figure, ["bus"], ["park"])
    assert tuple(figure.get_size_inches()) == (4, 3)
    widen_for_labels(figure, ["広" * 20], ["park"])
    assert figure.get_size_inches() == pytest.approx([4 + (20 - 10) * 8 / 72, 3])
    engine = figure.get_layout_engine()
    assert engine is not None
    left, _, width, _ = engine.get()["rect"]
    assert left * figure.get_figwidth() == pytest.approx(10 * 8 / 72)
    assert left + width == pytest.approx(1)


def test_a_legend_has_as_many_columns_as_the_longest_label_permits() -> None:
    for labels, columns in ((["a", "b", "c", "d"], 3), (["a" * 40, "b"], 1), (["a"], 1)):
        figure = Figure(figsize=(5, 3), layout="constrained")
        axis = figure.subplots()
        handles = [axis.plot([0, 1])[0] for _ in labels]
        legend_below(figure, handles, labels)
        (legend,) = figure.legends
        assert legend._ncols == columns  # type: ignore[attr-defined]
        assert [text.get_text() for text in legend.get_texts()] == labels
        assert figure.get_figheight() == pytest.approx(3.06 + 0.18 * -(-len(labels) // columns))


def test_wrapped_lines_are_short_even_inside_words() -> None:
    assert wrap_text("one two three", 7) == "one two\nthree"
    assert wrap_text("x" * 12, 5) == "xxxxx\nxxxxx\nxx"
