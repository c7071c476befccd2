"""Tables fit the terminal: paths are cut at their left, nothing is broken inside a word, and matrices go on below."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from soundscene.cli.layout import fitted, print_table, shortened, width_of
from soundscene.cli.tables import _short_models, confusion_tables, part_table, scene_table, score_table
from soundscene.cli.terminal import wrapped
from soundscene.cli.timeline import _table
from soundscene.pipeline import as_dict
from soundscene.scoring.evaluation import Evaluation, HeadScores
from soundscene.scoring.metrics import evaluate
from soundscene.types import Recording
from tests.support.command_line import run

ROWS = [(f"/home/me/recordings/2026/{n}/street corner.wav", "quiet street", "busy street 0.21") for n in range(3)]
NAMES = ("path", "scene", "next")


def lines(table: object, width: int) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width).print(table)
    return stream.getvalue().splitlines()


def evaluation(n_scenes: int, n: int = 24) -> Evaluation:
    """An evaluation of n recordings of two devices: all of device a are right, none of device b."""
    scenes = tuple(f"scene {number}" for number in range(n_scenes))
    truth = np.arange(n) % n_scenes
    right = np.arange(n) < n // 2
    log_posterior = np.log(np.full((n, n_scenes), 0.1 / (n_scenes - 1)))
    log_posterior[np.arange(n), np.where(right, truth, (truth + 1) % n_scenes)] = np.log(0.9)
    scores = evaluate(log_posterior, truth, n_scenes)
    rows = tuple(Recording(Path(f"{i}.wav"), scenes[truth[i]], f"group {i // 2}") for i in range(n))
    heads = {"svm": HeadScores(scores, scores, scores)}
    return Evaluation(heads, scenes, n, 0, (), rows, truth, {"svm": log_posterior}, (44100,) * n)


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_table_fits_and_its_paths_keep_their_ends(width: int) -> None:
    drawn = lines(fitted(NAMES, ROWS, width, {"path": "left", "next": "left"}), width)
    assert len(drawn) == 4  # no cell is broken
    assert max(map(len, drawn)) <= width
    assert all("street corner.wav" in line and "quiet street" in line for line in drawn[1:])
    assert all(line.startswith("…") for line in drawn[1:]) == (width < 78)


def test_where_nobody_looks_nothing_is_cut(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    with (tmp_path / "table").open("w") as stream:
        print_table(fitted(NAMES, ROWS, width_of(stream), {"path": "left"}), stream)
        monkeypatch.setenv("COLUMNS", "70")
        assert width_of(stream) == 70
    assert ROWS[0][0] in (tmp_path / "table").read_text()


def test_a_cut_name_of_wide_letters_is_as_wide_as_it_may_be() -> None:
    assert shortened("録音/東京駅.wav", 10, "left") == "…京駅.wav"


@pytest.mark.parametrize("n_scenes", [3, 40])
def test_all_tables_of_an_evaluation_fit_80_columns(n_scenes: int) -> None:
    result = evaluation(n_scenes, 80)
    tables = [score_table(result), scene_table(result, "svm", 80), *confusion_tables(result, "svm", 80)]
    drawn = [line for table in tables for line in lines(table, 80)]
    assert max(map(len, drawn)) <= 80
    assert sum(line.split()[:3] == ["1", "scene", "0"] for line in drawn) == len(tables) - 2
    assert len(tables) == (3 if n_scenes == 3 else 4)
    for number in range(1, n_scenes + 1):
        assert any(f" {number} " in f"{line} " for line in drawn if "scene" not in line)


def test_scores_by_device_and_by_scene() -> None:
    result = evaluation(3)
    values = ["a"] * 12 + ["b"] * 12
    text = " ".join(lines(part_table(result.by_value(values, "svm"), "svm", "device"), 80))
    assert " ".join(text.split()[-14:]) == "a 12 6 100.0% 100.0% to 100.0% b 12 6 0.0% 0.0% to 0.0%"
    assert result.sentence("svm").startswith("50.0% of 24 recordings right, 95 % interval ")
    (together,) = result.by_value(["all"] * 24, "svm")
    assert 0 < together.accuracy.low < 0.5 < together.accuracy.high < 1
    (first, *_) = result.by_scene("svm")
    assert (first.n, first.precision, first.recall, first.f1) == (8, 0.5, 0.5, 0.5)
    document = as_dict(result, "svm", {"device": values})
    assert [(part["value"], part["accuracy"]["estimate"]) for part in document["by"]["device"]] == [("a", 1), ("b", 0)]


def test_notes_are_broken_between_words_on_a_terminal_only() -> None:
    note = "note: /a/very/long/path/without/any/space/in/it/street.wav: one segment of digital silence did not vote"
    terminal = Console(force_terminal=True, width=40)
    assert wrapped(note, Console(file=io.StringIO())) == note
    broken = wrapped(note, terminal).splitlines()
    assert " ".join(" ".join(broken).split()) == note
    assert max(len(line) for line in broken if "/" not in line) <= 40
    wide = "note: " + "録音 の 中 " * 20
    broken = wrapped(wide.strip(), terminal).splitlines()
    assert max(map(cell_len, broken)) in (39, 40)
    assert " ".join(" ".join(broken).split()) == wide.strip()


@pytest.mark.parametrize("width", [80, 100])
def test_tables_of_numbers_fit_and_keep_all_digits(
    model: Path, width: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert run("budget", model) == 0
    table = capfd.readouterr().out.partition("weights in 32 bits")[0].splitlines()
    assert max(map(len, table)) <= width
    assert "…" not in "".join(table)
    numbers = tuple(f"{10 ** (6 + n):,}" for n in range(3))
    drawn = lines(fitted(("layer", "a\nb", "c", "d"), [("x" * 90, *numbers)], width, {"layer": "left"}), width)
    assert all(number in drawn[-1] for number in numbers)
    assert max(map(len, drawn)) <= width


def test_models_of_a_narrow_table_are_told_apart() -> None:
    rows = [("runs/one.safetensors", "a.wav"), ("runs/two.safetensors", "a.wav")]
    assert [row[0] for row in _short_models(rows)] == ["one", "two"]
    same = [("a/one.safetensors", "a.wav"), ("b/one.safetensors", "a.wav")]
    assert _short_models(same) == same


def test_a_long_scene_of_a_timeline_is_shortened_and_its_numbers_are_whole() -> None:
    row = {"start_s": 0.0, "end_s": 36000.0, "scene": "s" * 90, "probability": 0.5, "change_probability": 0.25}
    for wall, times in ((False, {}), (True, {"start_time": "2026-05-03T14:00:00"})):
        drawn = lines(_table([row | times], wall, 80), 80)
        assert max(map(len, drawn)) <= 80
        assert drawn[3].split()[-3:] == [drawn[3].split()[-3], "0.50", "0.25"]
        assert "10:00:00" in drawn[3]
        assert len(drawn[3].split()[-3]) >= 20


def test_rates_have_a_unit(
    model: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run("evaluate", model, manifest, "--by", "rate") == 0
    assert "accuracy by rate, Hz" in capfd.readouterr().out
