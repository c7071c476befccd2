"""Figures show the numbers they are given, every name whole, legible and in nobody's way, and come out the same each time."""

import os
import re
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from sklearn.metrics import confusion_matrix, f1_score

from soundscene.report.claims import compare
from soundscene.report.contestants import contestants, find
from soundscene.report.curve_figures import epochs_figure, reliability_figure, seconds_figure, training_figure
from soundscene.report.drawing import look, svg
from soundscene.report.figures import confusion_figure, forest_figure, scene_figure, split_figure
from soundscene.scoring.comparisons import Comparison
from soundscene.scoring.curves import Heard, reliability
from soundscene.scoring.intervals import Interval
from tests.report.drawn import faults_of, names_of
from tests.report.made import BASES, FUSIONS, made_results

LONG = (
    *(
        "busy_city_street_with_tram",
        "quiet residential street at night",
        "bus",
        "café/restaurant",
        "<script>alert(1)</script>",
    ),
    *("park $x^2$", "tube station 😀", "_private", 'id="x"', "a & b"),
    *(f"indoor_shopping_centre_number_{i}" for i in range(20)),
)


def made(n_scenes=3, systems=("att-crnn-mel", "cnn-mel", "hog"), **sizes):
    results = made_results(systems=systems, scenes=LONG[:n_scenes], groups_per_split=max(6, n_scenes), **sizes)
    return contestants(results, FUSIONS, BASES)


@pytest.fixture(scope="module")
def among():
    return made(4, systems=("att-crnn-mel", "cnn-mel", "hog", "mfcc-dnn", "att-crnn-mel-unmixed"))


def lines(axis, marker=None):
    return [line for line in axis.lines if marker is None or line.get_marker() == marker]


@pytest.mark.parametrize("n_scenes", [3, 11, 19, 30])
def test_every_scene_is_named_whole_and_nothing_is_hidden(n_scenes):
    among = made(n_scenes)
    main = find(among, "att-crnn-mel", "svm")
    matrix, bars = confusion_figure(main), scene_figure(among[:5])
    assert not faults_of(matrix)
    assert not faults_of(bars)
    names = names_of(matrix)
    totals = np.bincount(main.truth(), minlength=n_scenes)
    for name, total in zip(LONG[:n_scenes], totals, strict=True):
        assert names.count(name) == 1
        assert names.count(f"{name} ({total})") == 1
        assert names_of(bars).count(name) == 1


def test_confusions_are_counts_on_shares_of_rows(among):
    main = find(among, "cnn-mel", "softmax")
    expected = confusion_matrix(main.truth(), main.log_posterior(calibrated=False).argmax(axis=1), labels=range(4))
    (axis,) = confusion_figure(main).axes
    (mesh,) = (artist for artist in axis.collections if isinstance(artist, QuadMesh))
    np.testing.assert_allclose(mesh.get_array(), expected / expected.sum(axis=1, keepdims=True))
    written = np.zeros((4, 4), int)
    for text in axis.texts:
        column, row = np.array(text.get_position()) - 0.5
        written[int(row), int(column)] = int(text.get_text())
    np.testing.assert_array_equal(written, expected)
    assert axis.get_ylim() == (4, 0)  # the first scene at the top
    dark = {
        text.get_color()
        for text in axis.texts
        if mesh.get_array()[tuple(int(v - 0.5) for v in text.get_position()[::-1])] > 0.5
    }
    assert dark == {"white"}


def test_scenes_are_bars_of_f1_the_worst_at_the_top(among):
    (axis,) = scene_figure(among[:3]).axes
    order = [LONG.index(label.get_text()) for label in axis.get_yticklabels()]
    for contestant, bars in zip(among[:3], axis.containers, strict=True):
        f1 = f1_score(contestant.truth(), contestant.log_posterior(calibrated=False).argmax(axis=1), average=None)
        np.testing.assert_allclose([bar.get_width() for bar in bars], 100 * f1[order])
    first = [bar.get_width() for bar in axis.containers[0]]
    assert first == sorted(first)
    assert axis.get_ylim()[0] > axis.get_ylim()[1]
    looks = {(bars[0].get_facecolor(), bars[0].get_hatch()) for bars in axis.containers}
    assert len(looks) == 3
    assert all(r == g == b for (r, g, b, _), _ in looks)  # greys print


def test_splits_are_rings_and_the_estimate_a_diamond_on_its_interval(among):
    figure = split_figure(among[:2], [Interval(0.8, 0.7, 0.875), None])
    axis = figure.axes[0]
    rings, diamonds = lines(axis, "o"), lines(axis, "D")
    for contestant, ring in zip(among, rings, strict=False):
        np.testing.assert_allclose(ring.get_xdata(), [100 * part.correct.mean() for part in contestant.parts])
    np.testing.assert_allclose(
        [d.get_xdata()[0] for d in diamonds], [80, 100 * np.mean([p.correct.mean() for p in among[1].parts])]
    )
    (bar,) = (line for line in lines(axis, "None") if len(line.get_xdata()) == 2)
    np.testing.assert_allclose(bar.get_xdata(), [70, 87.5])
    assert "80.0 [70.0, 87.5]" in names_of(figure)


def test_equal_splits_do_not_hide_one_another():
    (hog,) = made(systems=("hog",), splits=tuple("123456789"))
    (ring,) = lines(split_figure([hog], [None]).axes[0], "o")
    values = ring.get_xdata()
    assert len(set(values)) < len(values)  # else there is nothing to show
    assert len(set(zip(values, ring.get_ydata(), strict=True))) == len(values)
    assert np.abs(ring.get_ydata()).max() < 0.5  # within its row


def comparison(question, estimate, low, high, p, smallest):
    return Comparison(
        question, "first, svm", "second, svm", "recording accuracy", Interval(estimate, low, high), p, p, smallest, 3, 9
    )


def test_the_forest_shows_verdicts_by_their_marks():
    nan = float("nan")
    family = [
        comparison("one beats the other", 0.05, 0.02, 0.08, 0.001, 0.03),
        comparison("another question", -0.04, -0.06, -0.02, 0.01, 0.02),
        comparison("one beats the other", 0.01, -0.02, 0.04, 0.5, 0.06),
        comparison("another question", 0.02, nan, nan, nan, nan),
    ]
    figure = forest_figure(family)
    axis = figure.axes[0]
    marks = {
        line.get_xdata()[0]: (line.get_marker(), line.get_markerfacecolor())
        for line in axis.lines
        if line.get_marker() in "os"
    }
    assert marks == {5.0: ("o", "black"), -4.0: ("s", "black"), 1.0: ("o", "white"), 2.0: ("o", "white")}
    spans = [tuple(line.get_xdata()) for line in lines(axis, "None") if line.get_linewidth() == 1.6]
    np.testing.assert_allclose(spans, [(2, 8), (-2, 4), (-6, -2)])  # grouped by question
    np.testing.assert_allclose([(bar.get_x(), bar.get_width()) for bar in axis.patches], [(-3, 6), (-6, 12), (-2, 4)])
    told = names_of(figure)
    assert [told.count(q) for q in ("one beats the other", "another question")] == [1, 1]
    assert {"+5.0 [+2.0, +8.0] holds", "−4.0 [−6.0, −2.0] reversed", "+1.0 [−2.0, +4.0] undecided", "+2.0 undecided"} <= set(
        told
    )


def test_a_forest_of_many_comparisons_stays_legible():
    among = made(systems=("att-crnn-mel", "att-crnn-gammatone", "cnn-mel", "cnn-gammatone", "hog", "att-crnn-mel-unmixed"))
    assert not faults_of(forest_figure(compare(among, "once", 0.0, 200)))
    assert not faults_of(split_figure(among, [None] * len(among)))


def test_figure_2_is_the_first_part_and_the_mean_of_all(among):
    systems = [c for c in among if c.head == "softmax"]
    figure = epochs_figure(systems)
    first, mean = figure.axes
    for system, of_first, of_all in zip(
        systems, (line for line in first.lines if len(line.get_xdata()) > 1), mean.lines, strict=True
    ):
        curves = [[100 * row["test_accuracy"] for row in part.history] for part in system.parts]
        np.testing.assert_array_equal(of_all.get_xdata(), [1, 2, 3, 4])
        np.testing.assert_allclose(of_first.get_ydata(), curves[0])
        np.testing.assert_allclose(of_all.get_ydata(), np.mean(curves, axis=0))
    rings = [line for line in first.lines if len(line.get_xdata()) == 1]
    assert [ring.get_xdata()[0] for ring in rings] == [c.parts[0].epoch for c in systems]
    assert "split 1, seed 0" in names_of(figure)
    assert not faults_of(figure)
    assert len(epochs_figure(made(systems=("cnn-mel",), splits=("1",))[:1]).axes) == 1


def test_training_has_bands_from_lowest_to_highest():
    (softmax, _) = made(systems=("cnn-mel",), splits=("1", "2"))
    histories = ([1.0, 0.5], [3.0, 1.5])
    for part, losses in zip(softmax.parts, histories, strict=True):
        part.history[:] = [{"epoch": i + 1.0, "loss": v, "validation_accuracy": v / 4} for i, v in enumerate(losses)]
    figure = training_figure(softmax)
    above, below = figure.axes
    np.testing.assert_allclose(above.lines[0].get_ydata(), [2.0, 1.0])
    np.testing.assert_allclose(below.lines[0].get_ydata(), [50, 25])
    (band,) = above.collections
    corners = band.get_paths()[0].vertices
    assert {tuple(v) for v in corners.round(6)} >= {(1, 1), (2, 0.5), (2, 1.5), (1, 3)}
    assert "tested epoch" in names_of(figure)
    assert not faults_of(figure)


def test_seconds_have_a_ring_where_more_gains_little():
    heard = Heard(np.array([2.0, 4.0, 6.0]), np.array([0.5, 0.9, 0.902]), np.array([9, 9, 9]))
    figure = seconds_figure([("one, svm", heard)])
    curve, ring = figure.axes[0].lines
    np.testing.assert_allclose(curve.get_ydata(), [50, 90, 90.2])
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (4.0, 90.0)
    assert "one, svm (enough: 4 s)" in names_of(figure)
    assert not faults_of(figure)


def test_reliability_of_segments_and_recordings_before_and_after(among):
    heads = [find(among, "cnn-mel", head) for head in ("softmax", "svm")]
    figure = reliability_figure(heads)
    assert not faults_of(figure)
    assert len(figure.axes) == 2 * 3 * 2
    upper, lower = figure.axes[0:2]
    bins = reliability(heads[0].segment_log_posterior(), heads[0].segment_truth())
    shown = np.concatenate([line.get_xydata() for line in lines(upper, "o")])
    used = bins.count > 0
    expected = np.stack([bins.confidence, bins.accuracy], axis=1)[used]
    np.testing.assert_allclose(shown[np.argsort(shown[:, 0])], expected)
    np.testing.assert_array_equal([bar.get_height() for bar in lower.patches][-1], bins.count[-1])
    assert any(text.get_text().endswith(f"n = {bins.count.sum()}") for text in upper.texts)
    few = next(line for line in lines(upper, "o") if line.get_markerfacecolor() == "white")
    assert len(few.get_xdata()) == ((bins.count > 0) & (bins.count < 10)).sum()
    hog = find(among, "hog", "svm")
    assert len(reliability_figure([hog]).axes) == 2 * 2  # no segments
    untempered = made(systems=("hog",), held=0)
    assert len(reliability_figure(untempered[:1]).axes) == 2 * 1


def test_lines_differ_in_color_dashes_and_marker_and_labels_are_not_small():
    looks = [look(number) for number in range(315)]
    assert len(set(looks)) == 315
    for one, other in zip(looks, looks[1:], strict=False):
        assert one.color != other.color
        assert one.dashes != other.dashes
        assert one.marker != other.marker


SAME = """
from soundscene.report.contestants import contestants
from soundscene.report.drawing import svg
from soundscene.report.figures import confusion_figure
from tests.report.made import made_results
print(svg(confusion_figure(contestants(made_results(systems=("hog",)), {}, {})[0]), "same"), end="")
"""


def test_equal_figures_give_equal_bytes_in_any_process():
    here = svg(confusion_figure(contestants(made_results(systems=("hog",)), {}, {})[0]), "same")
    done = subprocess.run(
        [sys.executable, "-c", SAME], check=True, capture_output=True, text=True, env=os.environ | {"PYTHONHASHSEED": "1"}
    )
    assert done.stdout == here


def test_the_readers_own_settings_neither_enter_nor_change(among):
    before = svg(confusion_figure(among[0]), "same")
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.grid": False}):
        assert svg(confusion_figure(among[0]), "same") == before
        assert matplotlib.rcParams["font.size"] == 30
    assert svg(confusion_figure(among[0]), "other") != before


def test_the_svg_stands_alone_and_keeps_to_itself(among):
    text = svg(epochs_figure(among[:1]), "some-name")
    assert text.startswith("<svg ")
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert ids
    assert all(i.startswith("some-name-") for i in ids)
    assert len(set(ids)) == len(ids)
    used = re.findall(r'xlink:href="#([^"]*)"', text) + re.findall(r"url\(#([^)]*)\)", text)
    assert used
    assert set(used) <= set(ids)
    assert set(re.findall(r"https?://[^\"' ]*", text)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "<style" not in text
    assert "<metadata" not in text
    with pytest.raises(ValueError, match="figure name 'a b': allowed are lower-case letters"):
        svg(epochs_figure(among[:1]), "a b")


def test_names_in_any_script_keep_room_and_forbidden_characters_become_marks():
    plain, wide = ("駅前の広い交差点", "bus", "market \x01")[:2], "広い交差点" * 6
    few = contestants(made_results(systems=("hog",), scenes=(*plain, "market \x01")), {}, {})
    assert "market \ufffd" in names_of(confusion_figure(few[0]))
    assert plain[0] in names_of(confusion_figure(few[0]))
    much = contestants(made_results(systems=("hog",), scenes=(wide, "bus", "x" * len(wide))), {}, {})
    less = contestants(made_results(systems=("hog",), scenes=("y" * len(wide), "bus", "x" * len(wide))), {}, {})
    wider = confusion_figure(much[0]).get_size_inches() - confusion_figure(less[0]).get_size_inches()
    assert (wider >= 0.4 * len(wide) * 8 / 72 - 0.01).all()  # an em for each letter where the layout reckons 0.6
