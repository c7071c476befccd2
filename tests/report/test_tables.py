from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score

from soundscene.report.claims import beyond_baseline, compare
from soundscene.report.entries import Entry, EntryPart, find, make_entries
from soundscene.report.published import PAGES, PUBLISHED
from soundscene.report.tables import (
    NONE,
    Setting,
    accuracy_table,
    all_tables,
    calibration_table,
    claims_table,
    comparison_table,
    confused_table,
    cost_table,
    error_reduction,
    fisher_table,
    mean_over_splits,
    principal,
    scene_table,
    wrong_table,
)
from soundscene.scoring.comparisons import Comparison
from soundscene.scoring.intervals import Interval
from soundscene.scoring.metrics import expected_calibration_error, log_loss
from soundscene.scoring.separation import fisher_criterion
from tests.report.made import BASES, FUSIONS, made_results

SETTING = Setting("made", "3 folds by place", "small", "the last", "0", "a machine, 1 thread")
LINE = "Data: made. Splits: 3 folds by place. Recipe: small. Epoch: the last. Seeds: 0. Machine: a machine, 1 thread."


@pytest.fixture(scope="module")
def results():
    return made_results()


@pytest.fixture(scope="module")
def entries(results):
    return make_entries(results, FUSIONS, BASES)


def cells(table, *names, column="system"):
    """The row of that system and head, by column; of columns with one name the last."""
    where = table.columns.index(column)
    row = next(r for r in table.rows if r[where : where + len(names)] == names)
    return dict(zip(table.columns, row, strict=True))


def entry(name, right, head="svm", split_sizes=(10, 10), base=""):
    """Two scenes, everything of scene 0; `right` of each split's recordings are predicted so."""
    parts = []
    for i, (n_right, n) in enumerate(zip(right, split_sizes, strict=True)):
        first = np.where(np.arange(n) < n_right, 0.8, 0.3)
        posterior = np.log(np.stack([first, 1 - first], axis=1))
        names = tuple(f"{i}-{k}" for k in range(n))
        parts.append(
            EntryPart(
                split=str(i),
                seed=0,
                recordings=names,
                groups=names,
                truth=np.zeros(n, np.int64),
                duration_s=np.full(n, 2.0),
                recording_of=np.arange(n),
                start_s=np.zeros(n),
                segment=posterior,
                recording=posterior,
                calibrated=posterior,
                tempered=False,
                history=[],
                epoch=7,
            )
        )
    return Entry(name, f"<{name}>", head, "system", base, (), ("beach", "park"), tuple(parts))


def test_table_2_by_hand():
    table = accuracy_table([entry("att-crnn-mel", (9, 7))], SETTING, n=2000)
    row = cells(table, "<att-crnn-mel>", "svm")
    assert row["recording acc. %"] == row["segment acc. %"] == "80.00 ± 14.14"  # 90 and 70: deviation 10 sqrt 2
    assert (row["epoch"], row["splits x seeds"]) == ("7", "2 x 1")
    low, high = map(float, row["95 % interval"].split(" to "))
    half = 196 * np.sqrt(0.8 * 0.2 / 20)
    assert low == pytest.approx(80 - half, abs=4)
    assert high == pytest.approx(80 + half, abs=4)
    assert table.notes[-1] == LINE


def test_splits_weigh_the_same_in_the_mean_whatever_their_size():
    c = entry("cnn-mel", (9, 20), split_sizes=(10, 40))
    assert cells(accuracy_table([c], SETTING, n=50), "<cnn-mel>")["recording acc. %"] == "70.00 ± 28.28"
    assert mean_over_splits(c, lambda p: float(p.correct.mean())) == pytest.approx((0.9 + 0.5) / 2)


def test_seeds_are_averaged_before_the_deviation_over_splits():
    c = entry("cnn-mel", (9, 7))
    other = replace(c.parts[0], seed=1, recording=c.parts[0].recording[:, ::-1].copy())  # 1 of 10 right
    mixed = replace(c, parts=(c.parts[0], other, c.parts[1]))
    row = cells(accuracy_table([mixed], SETTING, n=50), "<cnn-mel>")
    assert row["recording acc. %"] == "60.00 ± 14.14"  # (90 + 10) / 2 and 70
    assert row["splits x seeds"] == "2 x 2"


def test_one_split_has_no_deviation_and_no_segments_no_accuracy(entries):
    assert cells(accuracy_table([entry("cnn-mel", (9,), split_sizes=(10,))], SETTING, n=50), "<cnn-mel>")[
        "recording acc. %"
    ] == "90.00"  # fmt: skip
    row = cells(accuracy_table(entries, SETTING, n=50), "HOG + SVM", "svm")
    assert row["segment acc. %"] == row["epoch"] == NONE


def test_table_3_against_scikit_learn(entries):
    table = comparison_table(entries, SETTING)
    c = find(entries, "cnn-mel", "svm")
    assert c is not None
    predictions = [(p.truth, p.recording.argmax(axis=1)) for p in c.parts]
    f1 = np.mean([f1_score(true, predicted, average="macro") for true, predicted in predictions])
    precision = np.mean([precision_score(true, predicted, average="macro") for true, predicted in predictions])
    row = cells(table, c.title, "svm")
    assert row["macro F1 %"] == f"{100 * f1:.2f}"
    assert row["macro prec. %"] == f"{100 * precision:.2f}"
    assert row["acc. %"] == f"{100 * c.correct().mean():.2f}"


def test_error_reduction_by_hand():
    cnn, att, hog = entry("cnn-mel", (8, 6)), entry("att-crnn-mel", (9, 9)), entry("hog", (5, 5))
    assert error_reduction(att, cnn) == pytest.approx((0.3 - 0.1) / 0.3)
    assert error_reduction(cnn, att) == pytest.approx(-2.0)
    assert np.isnan(error_reduction(att, None))
    assert np.isnan(error_reduction(att, att))
    assert np.isnan(error_reduction(att, entry("cnn-mel", (10, 10))))  # nothing left to reduce
    softmax = entry("cnn-mel", (0, 0), head="softmax")
    variant = entry("att-crnn-mel+temporal", (7, 7), base="att-crnn-mel")
    table = comparison_table([cnn, att, hog, softmax, variant], SETTING)
    row = cells(table, "<att-crnn-mel>", "svm")
    assert (row["error less than CNN %"], row["error less than HOG %"]) == ("+66.7", "+80.0")
    assert cells(table, "<att-crnn-mel+temporal>")["error less than CNN %"] == "+0.0"
    assert (cells(table, "<cnn-mel>", "svm")["error less than CNN %"], cells(table, "<hog>")["error less than HOG %"]) == (
        NONE,
    ) * 2


def test_each_row_leads_to_the_page_of_its_family():
    rows = [entry(name, (9, 9)) for name in ("att-crnn-mel", "tt-cnn", "tt-cnn+reduction=mean", "nearest-mean")]
    rows[2] = replace(rows[2], base="tt-cnn")
    table = comparison_table(rows, SETTING)
    assert [cells(table, c.title)["page"] for c in rows] == [NONE, "0115", "0115", "0119"]
    assert cells(table, "<nearest-mean>")["kind"] == "baselines"
    (note,) = (note for note in table.notes if note.startswith("Page"))
    assert "docs/decisions/0115-temporal-transformer-and-lstm-sa.md, docs/decisions/0119-baselines.md." in note
    assert "page" not in comparison_table(rows[:1], SETTING).columns
    root = Path(__file__).parents[2]
    assert all((root / path).is_file() and Path(path).name.startswith(number) for number, path in PAGES.items())
    assert {p.page for p in PUBLISHED if p.page} <= {*PAGES}
    litis = comparison_table(rows, SETTING, litis=True)
    assert cells(litis, "LTE-CNN")["page"] == "0116"
    assert {len(row) for row in litis.rows} == {len(litis.columns)}


def test_the_distance_to_the_nearest_mean_stands_outside_the_family():
    rows = [entry("nearest-mean", (3, 4), "softmax"), entry("cnn-mel", (8, 6)), entry("hog", (3, 4))]
    beyond = beyond_baseline(rows, "once", 0.0, 200)
    assert beyond["cnn-mel", "svm"].estimate == pytest.approx(0.35)
    assert beyond["hog", "svm"] == Interval(0.0, 0.0, 0.0)
    table = comparison_table(rows, SETTING, beyond=beyond)
    interval = beyond["cnn-mel", "svm"]
    shown = f"+35.00 ({100 * interval.low:+.2f} to {100 * interval.high:+.2f})"
    assert [cells(table, c.title)["minus nearest mean (95 %)"] for c in rows] == [NONE, shown, "+0.00 (+0.00 to +0.00)"]
    assert any("belongs to no family of Holm's correction" in note for note in table.notes)
    assert beyond_baseline(rows[1:], "once", 0.0, 200) == {}
    assert compare(rows, "once", 0.0, 200) == compare(rows[1:], "once", 0.0, 200), "the family is what it was"
    litis = comparison_table(rows, SETTING, litis=True, beyond=beyond)
    assert {len(row) for row in litis.rows} == {len(litis.columns)}


def test_error_reduction_over_shared_splits_only():
    att = entry("att-crnn-mel", (9, 0))
    cnn = entry("cnn-mel", (8,), split_sizes=(10,))
    assert error_reduction(att, cnn) == pytest.approx(0.5)


def test_published_numbers_are_those_of_the_papers_sentences():
    rows = {p.name: p for p in PUBLISHED if p.name}

    def less(name, other):
        return 100 * (float(rows[name].recording) - float(rows[other].recording)) / (100 - float(rows[other].recording))

    assert less("att-crnn-mel", "cnn-mel") == pytest.approx(22.22, abs=0.005)  # section 4.5
    assert less("att-crnn-gammatone", "cnn-gammatone") == pytest.approx(27.70, abs=0.005)
    for feature, gain in (("mel", 1.45), ("gammatone", 1.52)):
        segment = float(rows[f"att-crnn-{feature}"].segment) - float(rows[f"cnn-{feature}"].segment)
        assert segment == pytest.approx(gain)
    best_earlier = max(float(p.recording) for p in PUBLISHED if p.page and p.recording)
    assert float(rows["att-crnn-fusion"].recording) - best_earlier == pytest.approx(0.66)  # section 4.6
    assert len(PUBLISHED) == 22


def test_published_numbers_stand_beside_the_svm_of_litis_only(entries):
    for plain in (accuracy_table(entries, SETTING, n=50), comparison_table(entries, SETTING)):
        assert not [c for c in plain.columns if "published" in c]
        assert "assumption" not in " ".join(plain.notes)
    second, third = accuracy_table(entries, SETTING, litis=True, n=50), comparison_table(entries, SETTING, litis=True)
    assert cells(second, "Att-CRNN (log-mel)", "svm")["published 2 s"] == "93.78"
    assert cells(second, "Att-CRNN (log-mel)", "softmax")["published 2 s"] == NONE
    assert cells(third, "Att-CRNN (fusion)", "svm")["published F1"] == "98.57"
    assert cells(third, "Att-CRNN (fusion)", "softmax")["published F1"] == NONE
    assert cells(third, "MFCC + DNN", "softmax")["published prec."] == "92.2"
    assert cells(third, "Att-CRNN (log-mel), no mixing", "svm")["published acc."] == NONE
    assert cells(third, "LTE-RNN")["published F1"] == "97.7"
    assert all("is an assumption" in " ".join(t.notes) for t in (second, third))


def test_comparisons_are_in_points():
    found = Comparison(
        "A beats B", "a", "b", "recording accuracy", Interval(0.0125, -0.001, 0.026), 0.0004, 0.012, 0.02, 3, 18
    )
    none = replace(found, difference=Interval(0.1, np.nan, np.nan), p=float("nan"), p_holm=1.0, smallest=float("nan"))
    table = claims_table([found, none], SETTING)
    row = cells(table, "A beats B", column="claim")
    assert (row["difference, points"], row["95 % interval"]) == ("+1.25", "-0.10 to +2.60")
    assert (row["p"], row["p (Holm)"], row["could show"], row["verdict"]) == ("< 0.001", "0.012", "2.00", "holds")
    assert table.rows[1][5:9] == (NONE, NONE, "1.000", NONE)
    assert table.rows[1][-1] == "undecided"
    assert "over all 2 rows" in table.notes[0]


def test_principal_entries_have_one_head_and_are_no_variants(entries):
    assert [(c.name, c.head) for c in principal(entries)] == [
        *((name, "svm") for name in ("att-crnn-mel", "att-crnn-gammatone", "cnn-mel", "cnn-gammatone", "hog")),
        ("mfcc-dnn", "softmax"),
        *((name, "svm") for name in FUSIONS),
    ]


def test_f1_of_each_scene_and_its_recordings(entries):
    chief = principal(entries)
    table = scene_table(chief, SETTING)
    predicted, truth = chief[2].log_posterior(False).argmax(axis=1), chief[2].truth()
    assert [row[4] for row in table.rows] == [f"{100 * f1_score(truth == i, predicted == i):.1f}" for i in range(3)]
    assert [row[:2] for row in table.rows] == [("beach", "12"), ("park", "12"), ("train", "12")]
    twice = make_entries(made_results(systems=("hog",), seeds=(0, 1), repeated=True), {}, {})
    assert [row[1] for row in scene_table(twice, SETTING).rows] == ["4", "4", "4"]  # 12 recordings, 6 predictions each
    assert scene_table([], SETTING).rows == ()


def test_confused_pairs_by_hand():
    table = confused_table([entry("cnn-mel", (9, 6)), entry("hog", (10, 10))], SETTING)
    assert table.rows == (("<cnn-mel>", "svm", "beach", "park", "5", "25.0"),)


def test_calibration_before_and_after(entries):
    table = calibration_table(entries, SETTING)
    c = find(entries, "cnn-gammatone", "svm")
    assert c is not None
    row = cells(table, c.title, "svm")
    assert row["log loss: recording, tempered"] == f"{log_loss(c.log_posterior(True), c.truth()):.3f}"
    assert row["ECE %: recording"] == f"{100 * expected_calibration_error(c.log_posterior(False), c.truth()):.1f}"
    assert row["log loss: segment"] == f"{log_loss(c.segment_log_posterior(), c.segment_truth()):.3f}"
    untempered = cells(calibration_table([entry("hog", (9, 9))], SETTING), "<hog>")
    assert untempered["log loss: recording, tempered"] == NONE
    assert untempered["log loss: recording"] != NONE
    assert cells(table, "HOG + SVM", "svm")["ECE %: segment"] == NONE


def test_the_most_confident_errors_come_first_one_row_a_recording():
    c = entry("cnn-mel", (20, 19), split_sizes=(20, 20))  # one error, at 0.7
    confident = c.parts[0].calibrated.copy()
    confident[[3, 5]] = np.log([[0.05, 0.95], [0.2, 0.8]])
    again = replace(c.parts[0], seed=1, calibrated=confident)
    more = confident.copy()
    more[5] = np.log([0.1, 0.9])
    third = replace(again, seed=2, calibrated=more)
    table = wrong_table([replace(c, parts=(c.parts[0], again, third, c.parts[1]))], SETTING)
    assert [row[2:] for row in table.rows] == [
        ("0-3", "beach", "park", "0.950", "2 of 3"),
        ("0-5", "beach", "park", "0.900", "2 of 3"),
        ("1-19", "beach", "park", "0.700", "1 of 1"),
    ]
    assert len(wrong_table([entry("cnn-mel", (0, 0))], SETTING).rows) == 10


def test_fisher_by_split_with_variants_after_their_base(results):
    table = fisher_table(results, BASES, SETTING)
    assert [row[:2] for row in table.rows][:3] == [
        ("Att-CRNN (log-mel)", NONE),
        ("Att-CRNN (log-mel), no mixing", "Att-CRNN (log-mel)"),
        ("Att-CRNN (log-gammatone)", NONE),
    ]
    assert "HOG + SVM" not in [row[0] for row in table.rows]
    mine = [r for r in results if r.system == "cnn-mel"]
    values = [fisher_criterion(r.embedding, r.truth[r.recording_of]) for r in mine]
    row = cells(table, "CNN (log-mel)")
    assert row["between / within"] == f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
    assert (row["features"], row["splits"]) == ("8", "3")


def test_cost_by_hand(results):
    mine = [
        replace(r, facts={"seconds": s, "threads": 2, "device": "cpu"})
        for r, s in zip(results[:3], (10.0, 20.0, 60.0), strict=True)
    ]
    row = cells(cost_table(mine, SETTING), "Att-CRNN (log-mel)")
    assert (row["trainings"], row["seconds each (median)"], row["hours in all"]) == ("3", "20.0", "0.03")
    assert (row["epochs"], row["segments a second"], row["threads"], row["machine"]) == ("4", NONE, "2", "cpu, ?")
    assert cells(cost_table([replace(results[0], facts={})], SETTING), "Att-CRNN (log-mel)")["seconds each (median)"] == NONE


def test_epochs_are_those_of_all_networks_and_segments_a_second_need_segments(results):
    cnn = next(r for r in results if r.system == "cnn-mel")
    fused = replace(cnn, facts={"epochs": 100, "segments_trained_per_second": 50.0})
    row = cells(cost_table([fused], SETTING), "CNN (log-mel)")
    assert (row["epochs"], row["segments a second"]) == ("100", "50")
    nothing = {name: getattr(cnn, name)[:0] for name in ("recording_of", "start_s", "embedding")}
    whole = replace(fused, **nothing)  # as results of LTE-CNN were stored
    assert cells(cost_table([whole], SETTING), "CNN (log-mel)")["segments a second"] == NONE
    frames = replace(fused, facts={"segments_trained_per_second": 0.0})
    row = cells(cost_table([frames], SETTING), "CNN (log-mel)")
    assert (row["epochs"], row["segments a second"]) == ("4", NONE)


def test_old_results_of_several_networks_have_neither_epochs_nor_segments_a_second(results):
    """They hold the rows of the fusion only: 10 epochs of 100, and a speed that no network has."""
    cnn = next(r for r in results if r.system == "cnn-mel")
    old = {"segments_trained_per_second": 16522.0, "seconds": 593.0}
    fused = replace(cnn, system="cnn-1d-2d-3d", facts=old)
    row = cells(cost_table([fused], SETTING), "CNN (log-mel)")
    assert (row["epochs"], row["segments a second"], row["seconds each (median)"]) == (NONE, NONE, "593.0")
    new = replace(fused, facts=old | {"epochs": 100, "segments_trained_per_second": 900.0})
    row = cells(cost_table([new], SETTING), "CNN (log-mel)")
    assert (row["epochs"], row["segments a second"]) == ("100", "900")
    row = cells(cost_table([fused, new], SETTING), "CNN (log-mel)")
    assert (row["epochs"], row["segments a second"]) == (NONE, "900")
    row = cells(cost_table([replace(fused, system="cnn-1d-2d-3d+branches=2d")], SETTING), "CNN (log-mel)")
    assert row["epochs"] == "4"
    row = cells(cost_table([replace(fused, system="lte-rnn")], SETTING), "CNN (log-mel)")
    assert (row["epochs"], row["segments a second"]) == ("4", NONE)


def test_the_same_results_give_the_same_bytes_and_every_table_its_line(entries):
    results = made_results(("att-crnn-mel", "cnn-mel", "hog"))

    def once():
        fresh = make_entries(results, FUSIONS, BASES)
        return all_tables(results, fresh, compare(fresh, "once", 0.0, 50), SETTING, True, 50)

    first, second = once(), once()
    assert [*first] == ["table2", "table3", "comparisons", "scenes", "confusions", "calibration", "sure-errors", "fisher"]
    assert {k: t.markdown() for k, t in first.items()} == {k: t.markdown() for k, t in second.items()}
    for table in first.values():
        assert table.notes[-1] == LINE
        assert {len(row) for row in table.rows} == {len(table.columns)}
    more = accuracy_table(entries, SETTING, True, 50)
    assert more.rows[:2] == first["table2"].rows[:2]  # a system more changes no draw
