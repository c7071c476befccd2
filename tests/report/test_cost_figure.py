"""Accuracy against cost: each system is there with its number, and forms alone tell the kinds apart."""

from dataclasses import replace

import numpy as np
from matplotlib.text import Annotation

from soundscene.report.cost_figure import CostPoint, _free_sides, cost_figure
from soundscene.report.costs import costs
from soundscene.report.entries import make_entries
from soundscene.report.published import kind_of
from soundscene.scoring.intervals import Interval
from tests.report.made import made_results


def test_each_system_is_drawn_with_its_number_and_a_form_for_its_kind() -> None:
    names = ("att-crnn-mel", "hog", "sparse-nmf", "yamnet", "nearest-mean")
    share = [Interval(x, x - 0.1, x + 0.1) for x in (0.9, 0.6, 0.7, 0.8, 0.5)]
    points = [
        CostPoint(n, n.upper(), kind_of(n), s, 0.1, np.nan if n == "hog" else 0.01)
        for n, s in zip(names, share, strict=True)
    ]
    figure = cost_figure(points)
    left, right = figure.axes
    marks = [line for line in left.lines if line.get_marker() != "None"]
    assert len(marks) == 5
    assert len({(line.get_marker(), line.get_markerfacecolor()) for line in marks}) == 5
    assert {line.get_color() for line in marks} == {"black"}
    assert sorted(c.get_text() for c in left.get_children() if isinstance(c, Annotation)) == ["1", "2", "3", "4", "5"]
    assert sorted(c.get_text() for c in right.get_children() if isinstance(c, Annotation)) == ["1", "2", "3", "5"]  # not HOG
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said[-5:] == ["1 ATT-CRNN-MEL", "2 YAMNET", "3 SPARSE-NMF", "4 HOG", "5 NEAREST-MEAN"]
    assert "baselines" in said
    assert "matrix factorisations" in said
    figure.draw_without_rendering()
    ticks = [label.get_text() for axis in figure.axes for label in axis.get_xticklabels(which="both")]
    assert any(ticks)
    assert all(not tick or float(tick) > 0 for tick in ticks)  # digits: the style shows no formulas


def test_labels_stay_off_neighbouring_marks() -> None:
    beside = np.array([[0.0, 0.0], [0.06, 0.03], [1.0, 1.0]])
    assert _free_sides(beside)[0] != (1, 1)  # its neighbour is there
    assert _free_sides(np.zeros((0, 2))) == []


def test_costs_are_a_recording_and_medians() -> None:
    results = made_results(systems=("hog",), splits=("1", "2", "3"))
    facts = {"training_recordings": 20, "predict_seconds": 1.0, "test_recordings": 10}
    results = [replace(r, facts={"seconds": s, **facts}) for s, r in zip((2.0, 4.0, 60.0), results, strict=True)]
    found = costs(results, {"hog": 5e6})["hog"]
    assert (found.training_s, found.prediction_s, found.model_bytes) == (0.2, 0.1, 5e6)
    assert make_entries(results, {}, {})[0].name == "hog"
