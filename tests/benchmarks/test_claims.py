"""The program of decision 0106 on a rendered corpus: six studies, their report, and what it must not hide."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import claims
from benchmarks.claims_control import question_of_hearing, trained_and_held_out
from benchmarks.claims_epochs import epochs_compared
from benchmarks.claims_questions import StudyResults, read_studies
from benchmarks.claims_report import write
from soundscene.experiment.results import SplitResult
from soundscene.scoring.evaluation import LEAKAGE
from tests.support.command_line import TINY_SET
from tests.support.tiny import write_corpus

pytestmark = pytest.mark.slow


def copy_training(file: Path, to: Path) -> None:
    """Put the training of one study in the place of the other's, whose excerpts have paths of their own."""
    one, other = (SplitResult.from_bytes(path.read_bytes(), path.name) for path in (file, to))
    own = {"recordings": other.recordings, "groups": other.groups, "held_recordings": other.held_recordings}
    to.write_bytes(replace(one, **own).to_bytes())


def tiny_studies() -> dict[str, claims.Study]:
    """Six of the studies, with fewer arms and seeds, on the rendered corpus."""
    arms = (claims.ATTENTION, claims.CNN)
    return {
        "same-30": claims.Study(arms, claims.SAME, ("tiny",), "0"),
        "unseen-30": claims.Study(arms, ("--splits", "by=fold"), ("tiny",), "0"),
        "same-2h": claims.Study((claims.TWICE, claims.CNN), claims.SAME, ("tiny",), "0"),
        "same-4s": claims.Study(
            (claims.ATTENTION, claims.MEAN), (*claims.SAME, "--set", "audio.segment_s=1"), ("tiny",), "0"
        ),
        "half-90": claims.Study(arms, (*claims.SAME, "--set", "calibration.held_out=0.5"), ("tiny",), "0,1,3"),
        "same-90": claims.Study(
            (claims.CNN, claims.ATTENTION), (*claims.SAME, "--set", "training.epochs=4"), ("tiny",), "0,1"
        ),
    }


def test_studies_of_a_rendered_corpus_and_their_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "corpora" / "tiny", n_per_scene=5, seconds=5.2)
    monkeypatch.setattr(claims, "PLAIN", tuple(TINY_SET))
    studies = tiny_studies()
    corpora = ("tiny", "elsewhere")
    monkeypatch.setattr(claims, "STUDIES", studies)
    monkeypatch.setattr(claims, "CORPORA", corpora)
    words = ["claims", "run", str(tmp_path / "corpora"), "--only", "tiny", "--out", str(tmp_path / "runs")]
    monkeypatch.setattr("sys.argv", [*words, "--studies", ",".join(studies), "--workers", "2"])
    claims.main()
    runs, report = tmp_path / "runs", tmp_path / "report"
    for file in (runs / "same-2h" / "tiny" / "results").glob("cnn-mel__*"):
        copy_training(runs / "same-30" / "tiny" / "results" / file.name, file)  # as those of 0106 are
    write(runs, report, corpora)
    text = (report / "tables.md").read_text(encoding="utf-8")
    leaking = [
        line
        for line in text.splitlines()
        if re.search("same-|half-", line.partition(" | ")[0]) and line.startswith(("|", "-"))
    ]
    assert leaking
    assert all(LEAKAGE in line for line in leaking)
    asked = [line for line in text.splitlines() if line.startswith("| Att-CRNN beats the CNN with maximum pooling")]
    assert len(asked) == 4
    assert [line.split(" | ")[3] for line in asked if "elsewhere" in line] == ["not run", "not run"]
    assert all(" to " in line.split(" | ")[3] for line in asked if "tiny" in line)
    assert text.count("(9) times 2H beats another arm: same-2h, tiny (LEAKAGE BY DESIGN)") == 4
    assert {p.name for p in report.glob("*.svg")} >= {"arms.svg", "primary.svg"}
    marked = {p.stem: LEAKAGE in p.read_text() for p in report.glob("e*.svg")}
    epochs = {f"epochs-{name}-tiny": "--diagnose" in study.options for name, study in studies.items()}
    assert marked == epochs | {"entropy-heard": True, "entropy-unseen": False}
    assert LEAKAGE in (report / "hearing-tiny.svg").read_text()
    assert "Holm over 4 questions; the 2 without an answer yet count as p = 1." in text
    assert "Holm over 44 questions; the 42 without an answer yet count as p = 1." in text
    assert text.count("At full width Att-CRNN beats the CNN with maximum pooling: ") == 4
    assert "Holm over 8 questions; the 7 without an answer yet count as p = 1." in text
    check_sizes(text, read_studies(runs))
    check_not_planned(text)
    assert "### Of the tested recordings, those that were trained on and those held out" in text
    check_held_out(next(study for study in read_studies(runs) if study.study == "same-30"))
    check_hearing(read_studies(runs))
    check_epochs([study for study in read_studies(runs) if study.study in ("same-30", "same-90")])
    noted = [line for line in text.splitlines() if line.endswith("| as same-30 |")]
    assert len(noted) == 2  # both heads
    assert all(line.startswith("| same-2h") and "CNN, maximum" in line for line in noted)
    heard, unseen = text.split("### Accuracy, unseen recordings")[0], text.split("### Accuracy, unseen recordings")[1]
    assert "| excerpts, % (95 %) |" in heard
    assert "| recordings, % (95 %) |" not in heard
    assert "| recordings, % (95 %) |" in unseen
    next((runs / "unseen-30" / "tiny" / "results").glob("cnn-mel__*")).unlink()
    write(runs, report, corpora)
    text = (report / "tables.md").read_text(encoding="utf-8")
    assert "**not complete: 1 of " in text
    assert "| incomplete: " in text
    assert "unseen-30, tiny | CNN, maximum" not in text
    assert "### Accuracy, unseen recordings" not in text
    whole = text.partition("### Whole arms of a study that is not complete: accuracy, unseen recordings")[2]
    assert whole.count("| unseen-30, tiny | Att-CRNN |") == 2 + 1  # both heads, and the table of attention


def check_not_planned(text: str) -> None:
    not_planned = text.partition("### Differences that no question was planned for")[2].partition("### ")[0]
    assert not_planned.count(f"| same-4s, tiny ({LEAKAGE}) | Att-CRNN, ") == 2  # both heads
    assert not_planned.count(f"| same-2h, tiny ({LEAKAGE}) | Att-CRNN, (9) times 2H, softmax | CNN, maximum, softmax |") == 1
    assert not_planned.count("\n| ") == 2 + 1 + 2 + 2 + 1
    of_recordings = text.partition("### Differences of recordings")[2].partition("### ")[0]
    assert of_recordings.count(f"| same-30, tiny ({LEAKAGE}) | Att-CRNN, ") == 2  # both heads


def check_sizes(text: str, studies: list[StudyResults]) -> None:
    """A training part counts what is held out of it, and every row says how much that is; titles say what leaks."""
    for study in studies:
        rows = [line for line in text.splitlines() if line.startswith(f"| {study.label} |") and " held out), " in line]
        assert rows
        held = sorted({len(result.held_recordings) for result in study.results})
        some = " to ".join(map(str, dict.fromkeys((held[0], held[-1]))))
        number = study.results[0].facts["training_recordings"]
        assert all(f"| {number} {study.unit} ({some} held out), " in row for row in rows)
        (state,) = [line for line in text.splitlines() if line.startswith(f"- {study.label}: ")]
        assert re.search(rf"; {len(study.results)} trainings, at least [0-9.]+ hours", state)
    half, whole = (next(s for s in studies if s.study == name).results[0].held_recordings for name in ("half-90", "same-90"))
    assert len(half) > len(whole)
    title = ""
    for line in text.splitlines():
        title = line if line.startswith("#") else title
        assert LEAKAGE in title or LEAKAGE not in line or not line.startswith("| "), title


def check_held_out(study: StudyResults) -> None:
    """Compare the control with the results themselves: heard and held out together are the accuracy of all."""
    accuracies, leads = trained_and_held_out([study])  # no third table: without a CNN with mean and mean pooling
    rows = {(row[1], row[2]): dict(zip(accuracies.columns, row, strict=True)) for row in accuracies.rows}
    group_of = {path: (scene, group) for path, scene, group in study.plan.recordings}
    right: dict[tuple[str, bool], list[bool]] = {}
    for arm, title in ((claims.ATTENTION, "Att-CRNN"), (claims.CNN, "CNN, maximum")):
        for result in study.of(arm):
            held = {group_of[path] for path in result.held_recordings}
            assert held
            predicted = result.heads["svm"].segment.argmax(axis=1)
            for i, scene in zip(result.recording_of, predicted, strict=True):
                is_held = group_of[result.recordings[i]] in held
                right.setdefault((title, is_held), []).append(scene == result.truth[i])
    mean = {key: 100 * float(np.mean(values)) for key, values in right.items()}
    for title in ("Att-CRNN", "CNN, maximum"):
        row, trained, held_out = rows[title, "svm"], mean[title, False], mean[title, True]
        found = [row[f"{part}, % (95 %)"] for part in ("trained on", "held out", "trained on, minus held out")]
        wanted = [f"{trained:.1f}", f"{held_out:.1f}", f"{trained - held_out:+z.1f}"]
        assert [cell.split(" (")[0] for cell in found] == wanted
        n = len(right[title, True])
        assert row["segments held out"].startswith(f"{n} of {n + len(right[title, False])}, ")
    (lead,) = (dict(zip(leads.columns, row, strict=True)) for row in leads.rows if row[2] == "svm")
    assert lead["Att-CRNN minus"] == "CNN, maximum"
    differences = [mean["Att-CRNN", is_held] - mean["CNN, maximum", is_held] for is_held in (False, True)]
    wanted = [f"{x:+z.1f}" for x in (*differences, differences[0] - differences[1], differences[1])]
    wanted.insert(3, "one seed")
    assert [lead[column].split(" (")[0] for column in leads.columns[3:]] == [*wanted, wanted[2]]


def check_hearing(begun: list[StudyResults]) -> None:
    """Compare the answer with the table of all leads, and its difference by seed with the results themselves."""
    studies = {study.study: study for study in begun}
    assert question_of_hearing(begun).rows[0][4] == "not run", "on this corpus"
    half = studies["half-90"]
    kept = [result for result in half.results if (result.seed, result.system) != (3, claims.CNN)]
    first, whole = question_of_hearing([replace(half, results=tuple(kept), n_missing=2)], "tiny").rows
    assert first[9:] == question_of_hearing(begun, "tiny").rows[0][9:], "the first answer stays while more seeds train"
    assert whole[3:5] == ("0, 1, 3", f"incomplete: {len(kept)} of {len(half.results)} trainings")
    first, whole = question_of_hearing(begun, "tiny").rows  # of seeds 0 and 1, then with 3 by the stricter rule
    assert (first[3], whole[3]) == ("0, 1", "0, 1, 3")
    _, leads = trained_and_held_out([half])
    (lead,) = (lead for lead in leads.rows if lead[2] == "svm")
    assert whole[4:8] == lead[3:7]
    for row, deciding, seeds in ((first, 6, (0, 1)), (whole, 7, (0, 1, 3))):
        low, high = (float(x) for x in row[deciding].partition("(")[2].rstrip(")").split(" to "))
        assert row[10] == ("holds" if low > 0 else "reversed" if high < 0 else "undecided")
        found = [apart(half, seed) for seed in seeds]
        assert row[9] == ", ".join(f"{x:+z.1f}" for x in found)
        assert row[6].split(" (")[0] == row[7].split(" (")[0]
        assert row[8].split(" (")[0] == f"{np.mean(found):+z.1f}"


def apart(study: StudyResults, seed: int) -> float:
    """The lead of Att-CRNN over the CNN on what it was trained on, minus that on what was held out, in points."""
    group_of = {path: (scene, group) for path, scene, group in study.plan.recordings}
    means = {}
    for arm in (claims.ATTENTION, claims.CNN):
        right: dict[bool, list[bool]] = {True: [], False: []}
        for result in (r for r in study.of(arm) if r.seed == seed):
            held = {group_of[path] for path in result.held_recordings}
            for i, scene in zip(result.recording_of, result.heads["svm"].segment.argmax(axis=1), strict=True):
                right[group_of[result.recordings[i]] in held].append(scene == result.truth[i])
        means[arm] = 100 * (np.mean(right[False]) - np.mean(right[True]))
    return float(means[claims.ATTENTION] - means[claims.CNN])


def check_epochs(studies: list[StudyResults]) -> None:
    """Compare what more epochs change with the results themselves, of the seed that both studies have."""
    gains, changes = epochs_compared(studies)
    right: dict[tuple[str, str], list[bool]] = {}
    for study in studies:
        for result in (r for r in study.results if r.seed == 0):
            predicted = result.heads["svm"].segment.argmax(axis=1)
            truth = [result.truth[i] for i in result.recording_of]
            right.setdefault((study.study, result.system), []).extend(np.equal(predicted, truth).tolist())
    mean = {key: 100 * float(np.mean(values)) for key, values in right.items()}
    fewer, more = ({arm: mean[study, arm] for arm in (claims.ATTENTION, claims.CNN)} for study in ("same-30", "same-90"))
    for arm, title in ((claims.ATTENTION, "Att-CRNN"), (claims.CNN, "CNN, maximum")):
        (row,) = (row for row in gains.rows if row[3:5] == (title, "svm"))
        assert row[:3] == (f"same-90, tiny ({LEAKAGE})", "same-30", "0")
        gained = f"{more[arm] - fewer[arm]:+z.1f}"
        assert [cell.split(" (")[0] for cell in row[5:]] == [f"{fewer[arm]:.1f}", f"{more[arm]:.1f}", gained, gained]
    (row,) = (row for row in changes.rows if row[5] == "svm")
    assert row[3:5] == ("Att-CRNN", "CNN, maximum")
    leads = [of[claims.ATTENTION] - of[claims.CNN] for of in (fewer, more)]
    wanted = [f"{x:+z.1f}" for x in (*leads, leads[1] - leads[0], leads[1] - leads[0])]
    assert [cell.split(" (")[0] for cell in row[6:]] == wanted
    assert not epochs_compared([studies[0], replace(studies[1], plan=replace(studies[1].plan, seeds=(1,)))]), (
        "no seed in common"
    )


def test_without_results_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no study is complete yet"):
        write(tmp_path, tmp_path / "report")
