"""Figures show the numbers they are given, every name whole, legible and in nobody's way, the same each time."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgb
from sklearn.metrics import confusion_matrix, f1_score

from soundscene.report.claims import compare
from soundscene.report.entries import make_entries
from soundscene.report.figures import (
    confusion_figure,
    duration_figure,
    epochs_figure,
    forest_figure,
    reliability_figure,
    scene_figure,
    split_figure,
    training_figure,
)
from soundscene.scoring.comparisons import Comparison
from soundscene.scoring.curves import AccuracyByDuration, reliability
from soundscene.scoring.intervals import Interval
from tests.report.drawn import bars, chosen, faults_of, marked, names_of, points
from tests.report.made import BASES, FUSIONS, made_results

LONG = (
    "busy_city_street_with_tram",
    "quiet residential street at night",
    "bus",
    "café/restaurant",
    "<script>alert(1)</script>",
    "park $x^2$",
    "tube station 😀",
    "_private",
    'id="x"',
    "a & b",
    *(f"indoor_shopping_centre_number_{i}" for i in range(20)),
)


def made(n_scenes=3, systems=("att-crnn-mel", "cnn-mel", "hog"), **sizes):
    results = made_results(systems=systems, scenes=LONG[:n_scenes], groups_per_split=max(6, n_scenes), **sizes)
    return make_entries(results, FUSIONS, BASES)


@pytest.fixture(scope="module")
def entries():
    return made(4, systems=("att-crnn-mel", "cnn-mel", "hog", "mfcc-dnn", "att-crnn-mel-unmixed"))


@pytest.mark.parametrize("n_scenes", [3, 11, 19, 30])
def test_every_scene_is_named_whole_and_nothing_is_hidden(n_scenes):
    entries = made(n_scenes)
    main = chosen(entries, "att-crnn-mel", "svm")
    matrix, bars = confusion_figure(main), scene_figure(entries[:5])
    assert not faults_of(matrix)
    assert not faults_of(bars)
    names, beside = names_of(matrix), names_of(bars)
    totals = np.bincount(main.truth(), minlength=n_scenes)
    for name, total in zip(LONG[:n_scenes], totals, strict=True):
        assert names.count(name) == 1
        assert names.count(f"{name} ({total})") == 1
        assert beside.count(name) == 1


def test_confusions_are_counts_on_shares_of_rows(entries):
    main = chosen(entries, "cnn-mel", "softmax")
    expected = confusion_matrix(main.truth(), main.log_posterior(calibrated=False).argmax(axis=1), labels=range(4))
    (axis,) = confusion_figure(main).axes
    (mesh,) = (artist for artist in axis.collections if isinstance(artist, QuadMesh))
    shares = np.asarray(mesh.get_array())
    np.testing.assert_allclose(shares, expected / expected.sum(axis=1, keepdims=True))
    written = np.zeros((4, 4), int)
    for text in axis.texts:
        column, row = (int(v) for v in text.get_position())
        written[row, column] = int(text.get_text())
        assert text.get_color() == ("white" if shares[row, column] > 0.5 else "black")
    np.testing.assert_array_equal(written, expected)
    assert axis.get_ylim() == (4, 0)  # the first scene at the top


def test_scenes_are_bars_of_f1_the_worst_at_the_top(entries):
    (axis,) = scene_figure(entries[:3]).axes
    order = [LONG.index(label.get_text()) for label in axis.get_yticklabels()]
    widths = [[width for _, width, _ in bars(container)] for container in axis.containers]
    for entry, shown in zip(entries[:3], widths, strict=True):
        predicted = entry.log_posterior(calibrated=False).argmax(axis=1)
        f1 = [f1_score(entry.truth() == scene, predicted == scene) for scene in order]
        np.testing.assert_allclose(shown, 100 * np.array(f1))
    assert widths[0] == sorted(widths[0])
    assert axis.get_ylim()[0] > axis.get_ylim()[1]
    looks = {(to_rgb(patch.get_facecolor()), patch.get_hatch()) for patch in axis.patches}
    assert len(looks) == 3
    assert all(r == g == b for (r, g, b), _ in looks)  # greys print


def test_splits_are_rings_and_the_estimate_a_diamond_on_its_interval(entries):
    figure = split_figure(entries[:2], [Interval(0.8, 0.7, 0.875), None])
    axis = figure.axes[0]
    rings, diamonds = marked(axis, "o"), marked(axis, "D")
    shares = [[100 * part.correct.mean() for part in entry.parts] for entry in entries[:2]]
    np.testing.assert_allclose([points(ring)[:, 0] for ring in rings], shares)
    np.testing.assert_allclose([points(d)[0] for d in diamonds], [(80, 0), (float(np.mean(shares[1])), 1)])
    (bar,) = marked(axis, "None")
    np.testing.assert_allclose(points(bar), [(70, 0), (87.5, 0)])
    assert "80.0 [70.0, 87.5]" in names_of(figure)


def test_equal_splits_do_not_hide_one_another():
    (hog,) = made(systems=("hog",), splits=tuple("123456789"))
    (ring,) = marked(split_figure([hog], [None]).axes[0], "o")
    places = points(ring)
    assert len(set(places[:, 0])) < len(places)  # else there is nothing to show
    assert len({tuple(place) for place in places}) == len(places)
    assert np.abs(places[:, 1]).max() < 0.5  # within its row


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
    marks = {points(m)[0, 0]: (m.get_marker(), m.get_markerfacecolor()) for m in marked(axis, "o", "s")}
    assert marks == {5.0: ("o", "black"), -4.0: ("s", "black"), 1.0: ("o", "white"), 2.0: ("o", "white")}
    spans = [points(line)[:, 0] for line in marked(axis, "None") if points(line)[0, 1] == points(line)[1, 1]]
    np.testing.assert_allclose(spans, [(2, 8), (-2, 4), (-6, -2)])  # grouped by question
    np.testing.assert_allclose([bar[:2] for bar in bars(axis.patches)], [(-3, 6), (-6, 12), (-2, 4)])
    texts = names_of(figure)
    assert [texts.count(q) for q in ("one beats the other", "another question")] == [1, 1]
    assert {"+5.0 [+2.0, +8.0] holds", "−4.0 [−6.0, −2.0] reversed", "+1.0 [−2.0, +4.0] undecided", "+2.0 undecided"} <= set(
        texts
    )


def test_a_forest_of_many_comparisons_stays_legible():
    entries = made(systems=("att-crnn-mel", "att-crnn-gammatone", "cnn-mel", "cnn-gammatone", "hog", "att-crnn-mel-unmixed"))
    assert not faults_of(forest_figure(compare(entries, "once", 0.0, 200)))
    assert not faults_of(split_figure(entries, [None] * len(entries)))


def test_figure_2_is_the_first_part_and_the_mean_of_all():
    systems = [c for c in made(systems=("att-crnn-mel", "cnn-mel")) if c.head == "softmax"]
    curves = np.random.default_rng(0).uniform(0.2, 0.9, (2, 3, 4))
    for system, of_system in zip(systems, curves, strict=True):
        for part, curve in zip(system.parts, of_system, strict=True):
            part.history[:] = [{"epoch": i + 1.0, "test_accuracy": v} for i, v in enumerate(curve.tolist())]
    figure = epochs_figure(systems)
    first, mean = figure.axes
    shown = [points(line) for line in first.lines if len(points(line)) > 1]
    np.testing.assert_allclose([p[:, 1] for p in shown], 100 * curves[:, 0])
    np.testing.assert_allclose([points(line)[:, 1] for line in mean.lines], 100 * curves.mean(axis=1))
    np.testing.assert_array_equal(points(mean.lines[0])[:, 0], [1, 2, 3, 4])
    rings = [points(line)[0] for line in first.lines if len(points(line)) == 1]
    np.testing.assert_allclose(rings, [(4, 100 * value) for value in curves[:, 0, 3]])  # epoch 4 was tested
    assert "split 1, seed 0" in names_of(figure)
    assert not faults_of(figure)
    assert len(epochs_figure(made(systems=("cnn-mel",), splits=("1",))[:1]).axes) == 1


def test_figure_2_does_not_show_another_split_for_one_that_is_missing():
    whole, lacking = (c for c in made(systems=("att-crnn-mel", "cnn-mel")) if c.head == "softmax")
    lacking = replace(lacking, parts=lacking.parts[1:])
    figure = epochs_figure([whole, lacking])
    first, mean = figure.axes
    assert len([line for line in first.lines if len(points(line)) > 1]) == 1
    assert len(mean.lines) == 2
    assert {"mean of 2 to 3 (splits and seeds)", whole.title, lacking.title} <= set(names_of(figure))
    elsewhere = [replace(whole, parts=whole.parts[:1]), replace(lacking, parts=lacking.parts[:1])]
    assert len(epochs_figure(elsewhere).axes) == 2  # one part each, but of two splits


def test_training_has_bands_from_lowest_to_highest():
    (softmax, _) = made(systems=("cnn-mel",), splits=("1", "2"))
    histories = ([1.0, 0.5], [3.0, 1.5])
    for part, losses in zip(softmax.parts, histories, strict=True):
        part.history[:] = [{"epoch": i + 1.0, "loss": v, "validation_accuracy": v / 4} for i, v in enumerate(losses)]
    figure = training_figure(softmax)
    above, below = figure.axes
    np.testing.assert_allclose(points(above.lines[0]), [(1, 2.0), (2, 1.0)])
    np.testing.assert_allclose(points(below.lines[0]), [(1, 50), (2, 25)])
    (band,) = above.collections
    corners = np.asarray(band.get_paths()[0].vertices)
    assert {tuple(corner) for corner in corners.round(6)} >= {(1, 1), (2, 0.5), (2, 1.5), (1, 3)}
    assert "tested epoch" in names_of(figure)
    assert not faults_of(figure)


def test_durations_have_a_ring_where_more_gains_little():
    accuracy = AccuracyByDuration(np.array([2.0, 4.0, 6.0]), np.array([0.5, 0.9, 0.902]), np.array([9, 9, 9]))
    figure = duration_figure([("one, svm", accuracy)])
    curve, ring = figure.axes[0].lines
    np.testing.assert_allclose(points(curve), [(2, 50), (4, 90), (6, 90.2)])
    np.testing.assert_allclose(points(ring), [(4, 90)])
    assert "one, svm (enough: 4 s)" in names_of(figure)
    assert not faults_of(figure)


def test_reliability_of_segments_and_recordings_before_and_after(entries):
    heads = [chosen(entries, "cnn-mel", head) for head in ("softmax", "svm")]
    figure = reliability_figure(heads)
    assert not faults_of(figure)
    assert len(figure.axes) == 2 * 3 * 2
    upper, lower = figure.axes[0:2]
    expected = reliability(heads[0].segment_log_posterior(), heads[0].segment_truth())
    used, many = expected.count > 0, expected.count >= 10
    discs, rings = (points(line) for line in marked(upper, "o"))
    both = np.stack([expected.confidence, expected.accuracy], axis=1)
    np.testing.assert_allclose(discs, both[many])
    np.testing.assert_allclose(rings, both[used & ~many])
    assert len(discs)
    assert len(rings)
    np.testing.assert_array_equal([height for _, _, height in bars(lower.patches)], np.where(used, expected.count, np.nan))
    assert upper.get_title(loc="left") == f"segments\nsoftmax: ECE {100 * expected.error:.1f} %, n = {expected.count.sum()}"
    hog = chosen(entries, "hog", "svm")
    assert len(reliability_figure([hog]).axes) == 2 * 2  # no segments
    untempered = made(systems=("hog",), held=0)
    assert len(reliability_figure(untempered[:1]).axes) == 2 * 1


def test_names_in_any_script_keep_their_width_and_forbidden_characters_become_marks():
    plain, wide = ("駅前の広い交差点", "bus", "market \x01")[:2], "広い交差点" * 6
    few = make_entries(made_results(systems=("hog",), scenes=(*plain, "market \x01")), {}, {})
    assert "market \ufffd" in names_of(confusion_figure(few[0]))
    assert plain[0] in names_of(confusion_figure(few[0]))
    much = make_entries(made_results(systems=("hog",), scenes=(wide, "bus", "x" * len(wide))), {}, {})
    less = make_entries(made_results(systems=("hog",), scenes=("y" * len(wide), "bus", "x" * len(wide))), {}, {})
    wider = confusion_figure(much[0]).get_size_inches() - confusion_figure(less[0]).get_size_inches()
    assert (wider >= 0.4 * len(wide) * 8 / 72 - 0.01).all()  # an em for each letter where the layout reckons 0.6
