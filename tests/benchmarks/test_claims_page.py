"""The plan of decision 0106, and the page that cites its tables: every figure in it stands in the generated report."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.claims_questions import CORPORA, HEARD, UNSEEN, Answer, answers, planned, smallest_after_holm
from benchmarks.claims_report import questions
from soundscene.scoring.comparisons import Comparison
from soundscene.scoring.intervals import Interval

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "attention.md"
REPORT = ROOT / "docs" / "results" / "claims" / "tables.md"
EVENTS = ROOT / "docs" / "results" / "planted-events.json"
WEIGHTS = ROOT / "docs" / "results" / "claims-weights.json"
WEIGHTED = {"mean-preserving": "Att-CRNN", "times 2H": "Att-CRNN, (9) times 2H"}
CORPORA_OF_WEIGHTS = ("ambience11, heard", "ESC-10, heard", "ESC-10, unseen")
NETWORKS = ROOT / "docs" / "results" / "claims-networks.json"
LONGER, SATURATED = "embedding, training over evaluation", "tanh beyond 0.9"
APART = "trained on, minus held out, points (95 %)"
FORMS = {
    "mean-preserving": "Att-CRNN",
    "as printed": "Att-CRNN, (9) as printed",
    "times 2H": "Att-CRNN, (9) times 2H",
    "temperature 0.1": "Att-CRNN, temperature 0.1",
    "context vectors ten times as long at the start": "Att-CRNN, context vectors 10 times as long at the start",
}
SUBTRACTED = {"mean-preserving form": "Att-CRNN"}
LENGTHS = {  # column `corpus`, column `segments of`: study
    ("ambience11, heard", "2 s"): HEARD,
    ("ambience11, heard", "4 s"): "same-4s",
    ("ambience11, heard", "10 s"): "same-10s",
    ("ESC-10, heard", "2 s"): HEARD,
    ("ESC-10, heard", "4 s"): "same-4s",
    ("ambience11, unseen", "2 s"): UNSEEN,
    ("ambience11, unseen", "4 s"): "unseen-4s",
    ("ambience11, unseen", "10 s"): "unseen-10s",
    ("ESC-10, unseen", "2 s"): UNSEEN,
    ("ESC-10, unseen", "4 s"): "unseen-4s",
}
FEWER = {"same-90": "same-30", "unseen-90": "unseen-30"}
EPOCHS = {"30": ("same-30", "fewer"), "90": ("same-90", "fewer"), "270": ("same-90", "more")}  # of the rows of same-270
COLUMNS = {"time": "time, last", "space": "space, last", "points lost (range)": "points lost without it (range)"}

Row = dict[str, str]


def tables(text: str) -> list[list[Row]]:
    """Tables of a page in Markdown, a dictionary a row."""
    found: list[list[Row]] = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in block.splitlines()]
        found.append([dict(zip(lines[0], cells, strict=False)) for cells in lines[2:]])
    return found


def section(title: str) -> list[list[Row]]:
    """Tables of one section of the page."""
    return tables(PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0] + "\n")


def study_of(column: str, heard: str = HEARD, unseen: str = UNSEEN) -> str:
    """Name of a study and corpus in the report, as `ambience11, heard` names it on the page."""
    corpus, condition = column.removesuffix(" (leakage)").split(", ")
    return f"{unseen if condition == 'unseen' else heard}, {corpus.lower().replace('-', '')}"


def check(place: str, cited: str, column: str, **wanted: str) -> None:
    """Compare a figure of the page with the report's row in which the columns begin as wanted.

    Args:
        place: For the message.
        cited: Figure of the page.
        column: Of the report.
        **wanted: Columns of the report, and how their cells begin; `study` and `question` may go on behind a space.
    """
    rows = [row for table in tables(REPORT.read_text(encoding="utf-8")) for row in table if column in row]
    there = [row for row in rows if all(matches(row.get(key, ""), value) for key, value in wanted.items())]
    assert there, f"docs/explanation/attention.md, {place}: docs/results/claims/tables.md has no row of {wanted}"
    values = {row[column] for row in there}
    assert any(value == cited or value.startswith(f"{cited} (") for value in values), (
        f"docs/explanation/attention.md, {place}: change {cited!r} to {' or '.join(sorted(values))!r}, "
        f"as docs/results/claims/tables.md has it under {column!r}"
    )


def matches(cell: str, value: str) -> bool:
    return cell == value or cell == f"{value} (LEAKAGE BY DESIGN)"


def test_segments_right_are_those_of_the_report():
    (rows,) = section("Segments right, %")
    n = 0
    for row in rows:
        for column in list(row)[2:]:
            place = f"Segments right, {row['arm']}, {row['head']}, {column}"
            wanted = {"study": study_of(column), "arm": row["arm"], "head": row["head"]}
            check(place, row[column], "segments, % (95 %)", **wanted)
            n += 1
    assert n >= 36


def test_entropies_are_those_of_the_report():
    rows = section("Where attention goes")[0]
    assert len(rows) >= 6
    for row in rows:
        for cited, column in COLUMNS.items():
            place = f"Where attention goes, {row['study']}, {row['arm']}, {cited}"
            check(place, row[cited], column, study=study_of(row["study"]), arm=row["arm"])


def test_planted_events_are_those_of_the_results():
    """The settings of a network, beside augmentation, tell which row it is."""
    kept = json.loads(EVENTS.read_text(encoding="utf-8"))["trainings"]
    rows = {row["network"]: row for row in section("Where attention goes")[1]}
    settings = {
        "Att-CRNN": [],
        "(9) as printed, times 2H (`attention_scale=printed-2h`)": ["network.attention_scale=printed-2h"],
        "attention without GRUs": ["network.recurrent=none"],
        "context vectors ten times as long at the start": ["network.attention_context=1"],
        "temperature 0.1": ["network.attention_temperature=0.1"],
    }
    assert rows.keys() == settings.keys()
    for network, own in settings.items():
        found = sorted((one for one in kept if one["settings"] == ["augmentation=off", *own]), key=lambda one: one["seed"])
        assert [one["seed"] for one in found] == [0, 1, 2]
        assert rows[network]["accuracy"] == ", ".join(f"{one['accuracy']:.3f}" for one in found)
        assert rows[network]["ratio"] == ", ".join(one["attention"]["mean ratio"].split(" [")[0] for one in found)
        assert rows[network]["largest weight inside"] == ", ".join(f"{100 * one['peak inside']:.0f} %" for one in found)


def test_recordings_that_were_held_out_are_those_of_the_report():
    accuracies, differences, *more = section("Heard and not heard in one test")
    of_90, of_half = more[:2], more[2:]
    assert len(accuracies) == len(differences) + 1 == 6
    assert [len(table) for table in more] == [4, 3, 4, 3]
    studies = [(HEARD, row) for row in (*accuracies, *differences)] + [("same-90", row) for table in of_90 for row in table]
    for study, row in studies:
        name, unit = ("Att-CRNN minus", "points") if "Att-CRNN minus" in row else ("arm", "%")
        for column in list(row)[1:]:
            corpus, part = column.split(", ", 1)
            wanted = {"study": f"{study}, {corpus.lower().replace('-', '')}", name: row[name], "head": "svm"}
            check(f"Heard and not heard, {study}, {row[name]}, {column}", row[column], f"{part}, {unit} (95 %)", **wanted)

    for row in (row for table in of_half for row in table):
        name, unit = ("Att-CRNN minus", "points") if "Att-CRNN minus" in row else ("arm", "%")
        for column in list(row)[1:]:
            part, head = column.removeprefix("ambience11, ").removesuffix(")").split(" (")
            wanted = {"study": "half-90, ambience11", name: row[name], "head": head}
            check(f"half-90, {row[name]}, {column}", row[column], f"{part}, {unit} (95 %)", **wanted)


def test_the_answer_about_hearing_is_that_of_the_report():
    """The page states each figure of both answers in one sentence, built here from the report's row."""
    report = tables(REPORT.read_text(encoding="utf-8"))
    first, whole = (row for table in report for row in table if "half-90" in row.get("question", ""))
    page = PAGE.read_text(encoding="utf-8")
    for row, seeds in ((first, "Seeds 0 to 2"), (whole, "All five seeds")):
        apart, over_seeds = (row[name].replace("+", "") for name in (APART, "groups and seeds resampled"))
        heard, held = (row[f"{part}, points (95 %)"].replace("+", "") for part in ("trained on", "held out"))
        sentence = f"{seeds}: {heard} where the recording was heard, {held} where it was held out, {apart} apart; "
        sentence += f"with the seeds resampled too, {over_seeds.partition('(')[2].rstrip(')')}. By seed {row['by seed']}: "
        assert f"{sentence}{row['verdict']}.".replace("+", "") in page.replace("**", "")


def test_what_networks_do_inside_is_that_of_the_results():
    kept = {row["arm"]: row for row in json.loads(NETWORKS.read_text(encoding="utf-8"))["arms"]}
    assert len({row["models"] for row in kept.values()}) == 1, "all arms of the same folds"
    longer = [f"{kept[arm][LONGER][0]:.2f}" for arm in ("CNN, maximum", "CNN, mean", "Att-CRNN")]
    saturated = [f"{100 * kept[arm][SATURATED][0]:.0f} %" for arm in ("Att-CRNN", "its mean pooling")]
    page = PAGE.read_text(encoding="utf-8")
    assert f"{longer[0]} times as long as in evaluation (CNN with mean {longer[1]}, Att-CRNN {longer[2]})" in page
    assert f"{saturated[0]} of the tanh are beyond 0.9" in page
    assert f"(mean pooling: {saturated[1]})" in page


def test_what_the_weights_are_worth_is_that_of_the_results():
    """Every cell of the table, and the figures of the three heads and contrasts that the text rests on."""

    def text(values: list[float], sign: str = "") -> str:
        return "{:{s}.1f} ({:{s}.1f} to {:{s}.1f})".format(*(round(value, 1) + 0.0 for value in values), s=sign)  # no -0.0

    names = {"ambience11 (LEAKAGE BY DESIGN)": "ambience11, heard", "esc10 (LEAKAGE BY DESIGN)": "ESC-10, heard"}
    runs = json.loads(WEIGHTS.read_text(encoding="utf-8"))["runs"]
    kept = {
        (names.get(run["corpus"], "ESC-10, unseen"), row["arm"], row["head"]): row for run in runs for row in run["rows"]
    }
    (rows,) = section("What the weights are worth")
    assert len(rows) == len(kept) == 3 * 2 * 4
    for row in rows:
        found = kept[row["corpus"], WEIGHTED[row["form of (9)"]], row["head"]]
        assert row["as learnt"] == text(found["as learnt"])
        assert row["fixed minus uniform"] == text(found["fixed minus uniform"], "+")
        for kind in ("another sound's", "fixed", "uniform"):
            assert row[f"lost, {kind}"] == text(found[f"as learnt minus {kind}"], "+"), row
    page = PAGE.read_text(encoding="utf-8")
    for form, arm in WEIGHTED.items():
        for head in ("svm, fitted anew", "softmax, fitted anew"):
            of_corpora = [text(kept[corpus, arm, head]["as learnt minus fixed"]) for corpus in CORPORA_OF_WEIGHTS]
            assert "{}, {} and {}".format(*of_corpora) in page, (form, head)
    uniform = [
        kept[corpus, WEIGHTED["times 2H"], "svm, fitted anew"]["as learnt minus uniform"] for corpus in CORPORA_OF_WEIGHTS
    ]
    assert "the SVM fitted anew {}, {} and {}:".format(*map(text, uniform)) in page


def cells_of_90(row: Row) -> list[tuple[str, str, str]]:
    """Figures of a row of "Longer training", with their column and the study of 90 epochs."""
    named = [column for column in row if column in ("arm", "head", "first minus second")]
    return [(column, row[column], study_of(column, "same-90", "unseen-90")) for column in row if column not in named]


def test_90_epochs_are_those_of_the_report():
    accuracies, gains, differences, changes, *_ = section("Longer training")
    assert len(accuracies) == len(gains) == len(differences) == len(changes) == 8
    for row in accuracies:
        for column, cited, study in cells_of_90(row):
            wanted = {"study": study, "arm": row["arm"], "head": row["head"]}
            check(f"90 epochs, {row['arm']}, {column}", cited, "segments, % (95 %)", **wanted)
    for row in gains:
        for column, cited, study in cells_of_90(row):
            wanted = {
                "study": study,
                "with fewer epochs": FEWER[study.split(", ")[0]],
                "arm": row["arm"],
                "head": row["head"],
            }
            check(f"gained, {row['arm']}, {column}", cited, "gained, points (95 %)", **wanted)
    for row in differences:
        first, second = row["first minus second"].split(" minus ")
        for column, cited, study in cells_of_90(row):
            wanted = {"study": study, "first": f"{first}, {row['head']}", "second": f"{second}, {row['head']}"}
            check(f"90 epochs, {first} minus {second}, {column}", cited, "segments, points (95 %)", **wanted)
    for row in changes:
        first, second = row["first minus second"].split(" minus ")
        for column, cited, study in cells_of_90(row):
            wanted = {"study": study, "with fewer epochs": FEWER[study.split(", ")[0]], "head": row["head"]}
            wanted |= {"first": first, "second": second}
            check(f"changed, {first} minus {second}, {column}", cited, "changed, points (95 %)", **wanted)


def test_270_epochs_are_those_of_the_report():
    *_, accuracies, differences = section("Longer training")
    assert len(accuracies) == len(differences) == 8
    for row in (*accuracies, *differences):
        names = {"first minus second": ("first", "second")}.get(next(iter(row)), ("arm",))
        parts = dict(zip(names, next(iter(row.values())).split(" minus "), strict=True))
        unit = "%" if "arm" in row else "points"
        for epochs in list(row)[2:]:
            fewer, column = EPOCHS[epochs.removesuffix(" epochs")]
            wanted = {"study": "same-270, esc10", "with fewer epochs": fewer, "head": row["head"], **parts}
            place = f"270 epochs, {parts}, {epochs}"
            check(place, row[epochs], f"{column}, {unit} (95 %)", **wanted)


def study_of_length(row: Row) -> str:
    """Name of a study and corpus in the report, of a row of "Longer segments"."""
    corpus = row["corpus"].split(", ")[0].lower().replace("-", "")
    return f"{LENGTHS[row['corpus'], row['segments of']]}, {corpus}"


def test_longer_segments_are_those_of_the_report():
    rows, entropies = section("Longer segments")
    assert {(row["corpus"], row["segments of"]) for row in rows} == set(LENGTHS)
    assert len(rows) == 2 * len(entropies) == 2 * len(LENGTHS)
    for row in rows:
        study = study_of_length(row)
        place = f"Longer segments, {study}, {row['head']}"
        for arm in ("Att-CRNN", "its mean pooling"):
            check(place, row[arm], "segments, % (95 %)", study=study, arm=arm, head=row["head"])
        arms = {"first": f"Att-CRNN, {row['head']}", "second": f"its mean pooling, {row['head']}"}
        planned_ = study.startswith((HEARD, UNSEEN))
        wanted = {"question": f"An arm beats another: {study}"} if planned_ else {"study": study}
        check(place, row["difference, points"], "segments, points (95 %)", **wanted, **arms)
    for row in entropies:
        study = study_of_length(row)
        for cited, column in COLUMNS.items():
            check(f"Longer segments, {study}, {cited}", row[cited], column, study=study, arm="Att-CRNN")


def test_forms_are_those_of_the_report():
    rows, _ = section("The form of (9)")
    assert {row["form"] for row in rows} == FORMS.keys()
    for row in rows:
        wanted = {"study": "forms, esc10", "arm": FORMS[row["form"]]}
        for head in ("svm", "softmax"):
            check(f"The form of (9), {row['form']}", row[f"segments, {head}"], "segments, % (95 %)", head=head, **wanted)
            check(f"The form of (9), {row['form']}", row[f"recordings, {head}"], "recordings, % (95 %)", head=head, **wanted)
        for cited, column in COLUMNS.items():
            check(f"The form of (9), {row['form']}, {cited}", row[cited], column, **wanted)


def test_differences_to_the_form_times_2h_are_those_of_the_report():
    _, rows = section("The form of (9)")
    assert len(rows) == 4
    for row in rows:
        for column in list(row)[1:]:
            difference, verdict = row[column].rsplit(", ", 1)
            corpus = column.lower().replace("-", "")
            second = f"{SUBTRACTED.get(row['minus'], row['minus'])}, svm"
            wanted = {"question": f"(9) times 2H beats another arm: same-2h, {corpus}", "second": second}
            check(f"minus {row['minus']}, {column}", difference, "segments, points (95 %)", **wanted)
            check(f"minus {row['minus']}, {column}", verdict, "verdict", **wanted)


def test_a_figure_that_drifted_is_named():
    wanted = {"study": "same-30, esc10", "arm": "Att-CRNN", "head": "svm"}
    with pytest.raises(AssertionError, match=r"here: change '0\.0' to "):
        check("here", "0.0", "segments, % (95 %)", **wanted)
    with pytest.raises(AssertionError, match="has no row of"):
        check("here", "0.0", "segments, % (95 %)", study="same-30, nowhere")


def test_a_difference_that_rounds_to_zero_has_no_minus():
    difference = Interval(-0.0001, -0.0002, 0.01)
    found = Comparison("", "", "", "segment accuracy", difference, 1.0, 1.0, 0.02, n_splits=1, n_groups=9)
    table = questions("", [Answer(planned()[0], found)])
    assert table.rows[0][3] == "+0.0 (+0.0 to +1.0)"


def test_the_plan_has_the_questions_of_0106():
    asked = planned()
    count = {family: sum(q.family == family for q in asked) for family in ("primary", "secondary", "added", "full width")}
    assert count == {"primary": 4, "secondary": 44, "added": 8, "full width": 4}
    assert len({(q.study, q.corpus, q.first, q.second, q.head) for q in asked}) == len(asked)
    assert {q.corpus for q in asked if q.family == "primary"} == set(CORPORA)
    assert all(("LEAKAGE BY DESIGN" in q.text) == q.study.startswith("same") for q in asked)
    assert [(a.comparison, a.why) for a in answers("primary", [])] == [(None, "not run")] * 4


def test_the_smallest_difference_after_holm_is_that_of_0106():
    """0106, power: 1.0 to 1.4 points of standard error; 2.8 to 3.9 before, 3.3 to 4.7 over four, 4.1 to 5.7 over 44."""
    before = [error * (1.959964 + 0.841621) for error in (1.0, 1.4)]
    assert [round(smallest_after_holm(points, 1), 1) for points in before] == [2.8, 3.9]
    assert [round(smallest_after_holm(points, 4), 1) for points in before] == [3.3, 4.7]
    assert [round(smallest_after_holm(points, 44), 1) for points in before] == [4.1, 5.7]
