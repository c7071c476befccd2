"""A report as a whole: the sentences at its top, the files in its folder, and that none of them is ever half."""

import csv
import os
import re
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from soundscene.errors import TrainingError
from soundscene.recipe import Recipe
from soundscene.report import write
from soundscene.report.advice import advise
from soundscene.report.entries import find, make_entries
from soundscene.report.sections import duration_curves
from soundscene.report.summary import RunFacts, epoch_in_words, lead, setting, verdicts, warnings
from soundscene.report.tables import principal
from soundscene.report.write import write_report
from soundscene.scoring.comparisons import Comparison
from soundscene.scoring.curves import accuracy_by_seconds
from soundscene.scoring.intervals import Interval
from tests.report.made import BASES, FUSIONS, made_results

SCENES = ("busy_city_street_with_tram", "<script>alert(1)</script>", "tube 😀")
SYSTEMS = ("att-crnn-mel", "att-crnn-gammatone", "cnn-mel", "hog", "att-crnn-mel-unmixed")


def known(results):
    """As results of a run: with the length of a segment and the size of the training part."""
    return [replace(r, choices={"audio": {"segment_s": 2.0}}, facts={**r.facts, "training_recordings": 24}) for r in results]


def facts(**other):
    plain = RunFacts(
        "made <b>corpus</b>", "3 folds by group", "once", "a machine", 1, 36, 18, SCENES, fusions=FUSIONS, bases=BASES
    )
    return replace(plain, **other)


RESULTS = known(made_results(systems=SYSTEMS, scenes=SCENES))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "report"
    assert (
        write_report(facts(missing=("cnn-mel, split 4", "hog, split 5"), notes=("A note.",)), RESULTS, out, 100)[0]
        == out / "report.html"
    )
    return out


def test_page_tables_and_figures_lie_together(folder):
    names = set(files_of(folder))
    tables = {
        "table2",
        "table3",
        "comparisons",
        "scenes",
        "confusions",
        "calibration",
        "sure-errors",
        "fisher",
        "seconds",
        "cost",
    }
    numbers = {"confusion-counts", "seconds-heard", "history"}
    figures = {
        "splits",
        "comparisons",
        "scenes",
        "confusion",
        "reliability",
        "seconds",
        "epochs",
        "epochs-variants",
        "training",
        "cost",
    }
    assert names == {"report.html", "tables.md"} | {f"csv/{n}.csv" for n in tables | numbers} | {
        f"figures/{n}.svg" for n in figures
    }
    page = (folder / "report.html").read_text(encoding="utf-8")
    for name in figures:
        drawn = (folder / f"figures/{name}.svg").read_text(encoding="utf-8").strip()
        assert drawn.startswith("<svg ")
        assert drawn in page
    markdown = (folder / "tables.md").read_text(encoding="utf-8")
    assert markdown.startswith("# Acoustic scenes: made \\<b>corpus\\</b>\n")
    assert markdown.count("\n### ") == len(tables)
    assert ">Duration<" in page


def test_names_are_escaped_and_whole_and_ids_of_figures_do_not_meet(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<b>" not in page
    for name in ("busy_city_street_with_tram", "&lt;script&gt;alert(1)&lt;/script&gt;", "tube 😀"):
        assert f">{name}</text>" in page  # in a figure
        assert f">{name}</th>" in page  # in a table
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(set(ids)) == len(ids)


def test_the_top_states_what_is_missing_what_was_tested_and_what_holds(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    top = page[: page.index("<main>")]
    assert "2 tasks of the run without a result" in top
    assert "cnn-mel, split 4; hog, split 5" in top
    assert "36 recordings of 3 scenes in 18 groups" in top
    assert "Tested epoch: the last of each training (4)" in top
    assert "settings come from training parts alone, none was selected by test recordings" in top
    assert "Undecided is a verdict" in top
    assert "A note." in top
    main = find(make_entries(RESULTS, FUSIONS, BASES), "att-crnn-mel", "svm")
    assert main is not None
    assert f"Att-CRNN (log-mel), svm predicts the right scene for {100 * main.correct().mean():.1f} %" in top


def test_equal_results_give_equal_bytes(folder, tmp_path):
    write_report(facts(missing=("cnn-mel, split 4", "hog, split 5"), notes=("A note.",)), RESULTS, tmp_path, 100)
    assert files_of(tmp_path) == files_of(folder)


def test_numbers_of_confusions_and_histories_are_all_there(folder):
    with (folder / "csv/confusion-counts.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for entry in make_entries(RESULTS, FUSIONS, BASES):
        own = [r for r in rows if (r["system"], r["head"]) == (entry.name, entry.head)]
        assert sum(int(r["recordings"]) for r in own) == 36
        assert sum(int(r["recordings"]) for r in own if r["true_scene"] == r["answer"]) == entry.correct().sum()
    with (folder / "csv/history.csv").open(encoding="utf-8", newline="") as file:
        history = list(csv.DictReader(file))
    assert len(history) == 4 * 3 * 4  # systems with epochs, splits, epochs; each once, not once a head
    assert {"system", "split", "seed", "epoch", "loss", "test_accuracy"} <= set(history[0])
    assert "seconds" not in history[0]


def test_a_file_is_never_half_under_its_name(tmp_path, monkeypatch):
    out = tmp_path / "report"
    few = [r for r in RESULTS if r.system in ("cnn-mel", "hog")]
    write_report(facts(), few, out, 50)
    before = files_of(out)
    real = Path.open

    def fails_midway(
        path: Path, mode: str = "r", buffering: int = -1, encoding: str | None = None, errors=None, newline=None
    ) -> IO:
        if "report.html" in path.name and mode == "wb":
            with real(path, mode) as file:
                file.write(b"<!doctype html>")
            raise OSError(28, "No space left on device")
        return real(path, mode, buffering, encoding, errors, newline)

    monkeypatch.setattr(Path, "open", fails_midway)
    with pytest.raises(TrainingError, match=r"report\.html: cannot be written \(No space left on device\)"):
        write_report(facts(corpus="another"), few, out, 50)
    after = files_of(out)
    assert after["report.html"] == before["report.html"]
    assert set(after) == set(before)  # nothing half beside it either


def test_what_fails_before_writing_writes_nothing(tmp_path, monkeypatch):
    def fails(*_args: object, **_options: object) -> str:
        raise ValueError("drawn wrongly")

    monkeypatch.setattr(write, "page", fails)
    with pytest.raises(ValueError, match="drawn wrongly"):
        write_report(facts(), RESULTS[:3], tmp_path / "report", 50)
    assert not (tmp_path / "report").exists()


def test_a_folder_that_cannot_be_written_is_the_users_error(tmp_path):
    (tmp_path / "report").write_text("a file")
    with pytest.raises(TrainingError, match="cannot be written"):
        write_report(facts(), RESULTS[:3], tmp_path / "report", 50)
    with pytest.raises(TrainingError, match="no results to report"):
        write_report(facts(), [], tmp_path / "other", 50)


def test_files_of_others_stay(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/mine.svg").write_text("mine")
    write_report(facts(), [r for r in RESULTS if r.system == "hog"], tmp_path, 50)
    assert (tmp_path / "figures/mine.svg").read_text() == "mine"


def test_a_run_of_one_system_that_reads_recordings_whole(tmp_path):
    hog = known(made_results(systems=("hog",), splits=("1",), scenes=SCENES, held=0))
    page = write_report(facts(), hog, tmp_path, 50)[0].read_text(encoding="utf-8")
    assert "HOG + SVM: docs/decisions/0054-hog-and-mfcc-dnn.md." in page
    assert "HOG + SVM, svm predicts the right scene" in page  # the first, where the main one is not there
    assert "There is one split, so no spread over splits can be given" in page
    assert "No comparison" in page
    assert ">Duration<" not in page
    assert not (tmp_path / "figures/comparisons.svg").exists()
    assert not (tmp_path / "figures/seconds.svg").exists()


def test_random_splits_without_training_sizes_leave_claims_untested(tmp_path):
    results = made_results(systems=("att-crnn-mel", "cnn-mel"), scenes=SCENES, repeated=True)
    page = write_report(facts(design="repeated"), results, tmp_path, 50)[0].read_text(encoding="utf-8")
    assert "No claim was tested: over random splits" in page
    page = write_report(facts(design="repeated"), known(results), tmp_path, 50)[0].read_text(encoding="utf-8")
    assert "No claim was tested" not in page
    assert "a test that corrects for it" in page


def test_file_names_that_are_no_unicode_do_not_stop_a_report(tmp_path):
    odd = "1/b\udcff.wav"
    results = [replace(r, recordings=(odd, *r.recordings[1:])) for r in RESULTS if r.system == "hog" and r.split == "1"]
    results = [replace(r, truth=(r.truth + 1) % 3) for r in results]  # wrong for sure, so that it is listed
    page = write_report(facts(), results, tmp_path, 50)[0].read_text(encoding="utf-8")
    assert "1/b\\udcff.wav" in page


def test_the_epoch_in_words():
    (last,) = made_results(systems=("cnn-mel",), splits=("1",))
    assert epoch_in_words([last]) == "the last of each training (4)"
    assert epoch_in_words([last, replace(last, epoch=2)]).startswith(
        "2 to 4; where it is not the last of a training, it was chosen on held-out"
    )
    assert epoch_in_words(made_results(systems=("hog",))) == "none (no system has epochs)"
    assert "Seeds: 0." in setting(facts(), [last]).line()


def test_the_page_begins_with_the_system_to_use_and_the_command_that_trains_it(tmp_path):
    recipe = Recipe.small().with_settings(["training.epochs=7"])
    strong = known(made_results(systems=("att-crnn-mel", "mfcc-dnn"), scenes=SCENES, groups_per_split=20))
    page, advice, summary = write_report(facts(recipe=recipe, manifest="m.csv", title="My <city>"), strong, tmp_path, 500)
    assert advice is not None
    assert advice.decided
    assert advice.text.startswith("Use Att-CRNN (log-mel), svm: right for ")
    assert "better than the other on the same recordings (p < 0.05)" in advice.text
    command = "soundscene train m.csv --out model.safetensors --systems att-crnn-mel --recipe small --set training.epochs=7"
    assert advice.command == command
    html = page.read_text(encoding="utf-8")
    top = html[: html.index("<ul>")]
    assert command in top
    assert "<h1>My &lt;city&gt;</h1>" in top
    assert html.count(escape(setting(facts(recipe=recipe), strong).line())) == 1  # one line for the page
    assert 'see <a href="#section-' in html
    assert not re.search(r"\(Table \d\)|\(Figure \d\)|decision 0|page 0", html)
    assert [row[0] for row in summary.rows] == ["Att-CRNN (log-mel)", "MFCC + DNN"]


def advice_on(results):
    entries = principal(make_entries(results, {}, {}))
    intervals = [Interval(float(c.correct().mean()), 0.1, 0.9) for c in entries]
    return entries, advise(entries, intervals, results, "once", 0.0, Recipe.small(), n=200)


def test_what_cannot_be_told_apart_is_undecided_and_the_leader_is_taken():
    alike = made_results(systems=("att-crnn-mel", "att-crnn-gammatone"), scenes=SCENES)
    alike = [replace(r, facts={**r.facts, "seconds": 5.0 if r.system == "att-crnn-gammatone" else 50.0}) for r in alike]
    entries, advice = advice_on(alike)
    leader = max(entries, key=lambda c: c.correct().mean())
    assert advice.text.startswith(f"Undecided: {leader.label} leads, right for ")
    assert (advice.decided, advice.choice.name) == (False, leader.name)
    assert ("Att-CRNN (log-gammatone), svm trains quickest (5 s against 50 s)" in advice.text) == (
        leader.name == "att-crnn-mel"
    )
    _, advice = advice_on(made_results(systems=("hog", "att-crnn-mel"), scenes=SCENES, groups_per_split=3))
    assert advice.command.endswith("--systems att-crnn-mel --recipe small"), "what `train` can train"


def test_results_that_must_not_be_used_give_no_advice(tmp_path):
    _, advice, _ = write_report(facts(heading="Leaks"), RESULTS[:1], tmp_path, 20)
    assert advice is None


def test_the_head_of_the_recipe_is_that_of_headline_and_tables(tmp_path):
    recipe = Recipe.small().with_settings(["calibration.head=softmax"])
    few = [r for r in RESULTS if r.system in ("att-crnn-mel", "hog")]
    page, advice, _ = write_report(facts(recipe=recipe, main=("absent", "svm")), few, tmp_path, 20)
    assert advice is not None
    assert advice.choice.head == "softmax"
    f1 = (tmp_path / "csv/scenes.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "Att-CRNN (log-mel), softmax" in f1
    assert "Att-CRNN (log-mel), svm" not in f1
    assert "HOG + SVM, svm" in f1  # its only head
    assert "Att-CRNN (log-mel), softmax predicts the right scene" in page.read_text(encoding="utf-8")


def test_verdicts_count_every_kind():
    def comparison(question: str, estimate: float, p: float) -> Comparison:
        return Comparison(question, "a", "b", "recording accuracy", Interval(estimate, 0.0, 0.0), p, p, 0.1, 3, 9)

    family = [comparison("A beats B", 0.1, 0.01), comparison("A beats B", -0.1, 0.01), comparison("C beats D", 0.1, 0.2)]
    counts = verdicts(family)
    assert counts[0].startswith("3 paired comparisons, tested at 5 % after Holm's correction")
    assert counts[1:] == [
        "A beats B: holds in 1, reversed in 1 of 2 comparisons.",
        "C beats D: undecided in 1 of 1 comparison.",
    ]
    assert warnings(facts(), False) == []
    paragraphs = lead(facts(design="repeated"), RESULTS, make_entries(RESULTS, {}, {})[0], Interval(0.5, 0.4, 0.6), family)
    assert any("50.0 %" in text and "40.0 to 60.0" in text for text in paragraphs)


def test_durations_pool_all_splits():
    entries = make_entries(RESULTS, FUSIONS, BASES)
    curves = {c.name: curve for c, curve in duration_curves(entries, RESULTS)}
    assert set(curves) == {"att-crnn-mel", "att-crnn-gammatone", "cnn-mel", "att-crnn-fusion"}  # neither variants nor HOG
    main = find(entries, "cnn-mel", "svm")
    assert main is not None
    by_split = [accuracy_by_seconds(p.segment, p.recording_of, p.start_s, p.truth, 2.0).accuracy for p in main.parts]
    np.testing.assert_allclose(curves["cnn-mel"].accuracy, np.mean(by_split, axis=0))  # splits of equal size
    assert curves["cnn-mel"].accuracy[-1] == main.correct().mean()
    assert duration_curves(entries, [replace(r, choices={}) for r in RESULTS]) == []


def test_no_stray_file_beside_the_finished(folder):
    assert not [name for name in os.listdir(folder) if name.startswith(".") or name.endswith(".tmp")]


def test_a_leader_is_not_said_to_be_unselected():
    sentences = ("This system was not selected by its score.", "so its score is slightly optimistic.")
    main = make_entries(RESULTS, {}, {})[0]
    for leads in (False, True):
        text = " ".join(lead(facts(), RESULTS, main, Interval(0.5, 0.4, 0.6), [], leads))
        assert [sentence in text for sentence in sentences] == [not leads, leads]


def test_the_page_says_once_how_its_leader_was_selected(folder):
    text = (folder / "tables.md").read_text(encoding="utf-8")
    best = max(principal(make_entries(RESULTS, FUSIONS, BASES), facts().head), key=lambda c: c.correct().mean())
    main = f"{best.label} predicts the right scene" in text
    assert ("This system was not selected by its score." in text) == (not main)
