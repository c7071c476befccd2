"""The command line from end to end; whatever a user does wrong is one line on stderr and exit code 2."""

import csv
import gc
import io
import json
import os
import re
import subprocess
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import grimp
import numpy as np
import pytest
import typer
from rich.console import Console

from soundscene import predictor as predictor_module
from soundscene import recipe as recipe_module
from soundscene.bundle import load_model
from soundscene.cli import terminal as terminal_module
from soundscene.cli.app import app, main
from soundscene.cli.tables import PredictionPrinter
from soundscene.data import table as table_module
from soundscene.data.manifest import Manifest
from soundscene.experiment import request as request_module
from soundscene.predictor import Predictor
from tests.support.command_line import TINY_SET, run
from tests.support.tiny import RATE, SCENES, TINY, only, recording, text, write

# --- from end to end --------------------------------------------------------------------------------------------------


def test_scan_train_evaluate_predict_info(manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    listed, model = tmp_path / "all.csv", tmp_path / "m.safetensors"
    assert run("scan", manifest.parent, "--out", listed) == 0
    told = capfd.readouterr()
    assert told.out.splitlines()[-1] == f"{listed}: 15 recordings of 3 scenes"
    assert "note: each of 15 files counts as an independent recording; " in told.err
    assert Manifest.read(listed).scenes == SCENES

    assert run("train", listed, "--out", model, "--device", "cpu", "--workers", "1", *TINY_SET) == 0
    told = capfd.readouterr()
    line = r": 3 scenes, 12 recordings trained on, 3 held out, epoch 2, [\d.]+ s\n"
    assert re.fullmatch(re.escape(str(model)) + line, told.out)
    choice, more, *epochs, note = told.err.splitlines()
    assert choice.startswith("note: system: att-crnn-mel, 2 epochs: your settings on top of the default")
    assert more.startswith("note: more time: ")
    assert [re.sub(r"[\d.]+%?", "N", line) for line in epochs] == ["epoch N of N: loss N, validation N, N s, N:N:N left"] * 2
    assert note == "note: Platt's sigmoids had 4 folds instead of 5, because the groups do not permit more"

    assert run("evaluate", model, listed) == 0
    told = capfd.readouterr()
    assert "15 of 15 recordings are in the model's training set: scores are optimistic; use --test" in told.err
    for word in ("15 recordings, 3 scenes", "softmax", "svm", "1 night_crickets", "3 rain", "log loss"):
        assert word in told.out

    assert run("predict", model, manifest.parent / "rain" / "0.wav", manifest.parent / "office") == 0
    told = capfd.readouterr()
    rows = told.out.splitlines()
    assert rows[0].split() == ["path", "scene", "probability", "next", "seconds"]
    assert [row.split()[0] for row in rows[1:]] == [
        str(manifest.parent / name) for name in ("rain/0.wav", *(f"office/{n}.wav" for n in range(5)))
    ]
    assert told.err == ""

    assert run("info", model) == 0
    facts = dict(line.split(maxsplit=1) for line in capfd.readouterr().out.splitlines())
    assert json.loads(facts["scenes"]) == list(SCENES)
    assert json.loads(facts["recipe.network"])["filters"] == [4, 4, 4]
    assert facts["manifest"] == "all.csv"
    assert "trained_on" not in facts  # hashes are for `evaluate`


def test_evaluate_json_has_the_documented_keys(manifest: Path, model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", model, manifest, "--test", "fold=1", "--json") == 0
    told = capfd.readouterr()
    found = json.loads(told.out)
    assert set(found) == {"scenes", "recordings", "trained_on", "heads", "notes"}
    assert (found["recordings"], found["trained_on"], found["scenes"]) == (3, 0, list(SCENES))
    assert np.sum(found["heads"]["svm"]["recording"]["confusion"]) == 3
    assert told.err == ""


def test_info_json_has_the_documented_keys(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("info", model, "--json") == 0
    found = json.loads(capfd.readouterr().out)
    wanted = {"scenes", "head", "parameters", "temperature", "recipe", "manifest", "test", "epoch", "seconds", "recordings"}
    wanted |= {
        "groups",
        "segments",
        "silent_segments_left_out",
        "held_out_recordings",
        "notes",
        "device",
        "versions",
        "familiarity",
        "training_range",
    }
    assert set(found) == wanted | {"members"}
    assert [member["name"] for member in found["members"]] == ["att-crnn-mel"]
    assert found["parameters"] == sum(p.numel() for p in only(load_model(model)).network.parameters())
    assert found["recipe"] == json.loads(json.dumps(TINY.to_dict()))
    usual = load_model(model).usual
    assert usual is not None
    assert found["training_range"] == usual.to_stored()
    assert set(found["training_range"]) == {"recordings", "bandwidth_hz", "level_db", "above_floor_db", "narrow_hz"}
    assert run("info", model) == 0
    (row,) = [row for row in capfd.readouterr().out.splitlines() if row.startswith("training_range")]
    assert row.split(maxsplit=1)[1] == f"of 12 recordings; noted: {usual.limits(RATE / 2)}"


FAMILIAR = ("unfamiliarity", "unfamiliarity_threshold", "unknown")


def test_predict_json_and_csv_say_what_the_predictor_says(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sound = write(tmp_path / "a.wav", recording("rain", 5.2, 9))
    answer = Predictor(load_model(model), "softmax").predict(sound)
    assert run("predict", model, sound, "--json", "--segments", "--head", "softmax") == 0
    found = json.loads(capfd.readouterr().out)
    assert set(found) == {"predictions", "errors"}
    (said,) = found["predictions"]
    assert set(said) == {"path", "duration_s", "scene", "probability", "posterior", "notes", "segments", *FAMILIAR}
    assert (said["path"], said["duration_s"], said["scene"]) == (str(sound), 5.2, answer.scene)
    assert list(said["posterior"]) == list(SCENES)
    np.testing.assert_array_equal(list(said["posterior"].values()), answer.posterior)
    assert [s["start_s"] for s in said["segments"]] == pytest.approx([0, 2, 3.2])
    assert set(said["segments"][0]) == {"start_s", "end_s", "posterior"}

    assert run("predict", model, sound, "--format", "csv", "--segments", "--head", "softmax") == 0
    rows = list(csv.DictReader(io.StringIO(capfd.readouterr().out)))
    assert list(rows[0]) == ["path", "start_s", "end_s", "scene", "probability", *SCENES]
    assert [(r["start_s"], r["end_s"]) for r in rows] == [("0", "5.2"), ("0", "2"), ("2", "4"), ("3.2", "5.2")]
    for row, posterior in zip(rows, [answer.posterior, *(s.posterior for s in answer.segments)], strict=True):
        np.testing.assert_allclose([float(row[s]) for s in SCENES], posterior, atol=6e-7)
        assert row["scene"] == SCENES[int(posterior.argmax())]
        assert row["probability"] == row[row["scene"]]

    assert run("predict", model, sound, "--format", "csv") == 0
    assert len(capfd.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_predict_continues_past_unreadable_files_and_lists_them_at_the_end(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], form: str
) -> None:
    write(tmp_path / "b.wav", recording("rain", 2.2, 0))
    write(tmp_path / "d.wav", recording("rain", 2.2, 1))
    (tmp_path / "a.wav").write_text("no sound")
    write(tmp_path / "c.wav", recording("rain", 1.5, 2))
    gone = tmp_path / "gone.wav"
    assert run("predict", model, gone, tmp_path, "--format", form) == 3
    told = capfd.readouterr()
    assert "b.wav" in told.out
    assert "d.wav" in told.out
    messages = [
        f"{gone}: does not exist; is the path relative to another folder?",
        f"{tmp_path / 'a.wav'}: is not an audio file but plain text",
        f"{tmp_path / 'c.wav'}: lasts 1.500 s, the recipe needs at least one segment of 2.000 s (audio.segment_s); "
        "leave the file out, or train with shorter segments",
    ]
    assert told.err.splitlines() == [f"soundscene: {m}" for m in (*messages, "3 files could not be used")]
    if form == "json":
        assert json.loads(told.out)["errors"] == messages


def test_predict_says_the_same_with_any_number_of_workers(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for number, seconds in enumerate((6.0, 2.2, 1.0, 4.2, 2.2)):
        write(tmp_path / f"{number}.wav", recording("rain", max(seconds, 2.2), number)[: round(seconds * RATE)])
    said = set()
    for workers in (1, 2, 4):
        assert run("predict", model, tmp_path, "--format", "csv", "--workers", str(workers)) == 3
        told = capfd.readouterr()
        assert [row.split(",")[0] for row in told.out.splitlines()[1:]] == [str(tmp_path / f"{n}.wav") for n in (0, 1, 3, 4)]
        said.add((told.out, told.err))
    assert len(said) == 1
    assert run("predict", model, tmp_path, "--workers", "0") == 2
    assert "Invalid value for '--workers'" in capfd.readouterr().err


def test_what_may_harm_a_prediction_is_noted(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sound = write(tmp_path / "a.wav", recording("rain", 6.0, 0), 16000)
    assert run("predict", model, sound) == 0
    assert capfd.readouterr().err == (
        f"note: {sound}: sampled at 16000 Hz, below the recipe's 22050 Hz: nothing above 8000 Hz, "
        "so the bands from 8000 to 11025 Hz stay empty and the prediction may be wrong\n"
    )


def test_as_a_program(model: Path, tmp_path: Path) -> None:
    write(tmp_path / "gr\u00fcn.wav", recording("rain", 2.2, 0))
    (tmp_path / "broken.wav").write_text("no sound")
    words = [sys.executable, "-X", "importtime", "-m", "soundscene", "predict", str(model), "gr\u00fcn.wav", "broken.wav"]
    words += ["--format", "csv"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}  # an output that has no umlauts
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    imported, told = [], []
    for line in done.stderr.splitlines():
        kind, *rest = line.split("|")
        (imported if kind.startswith("import time:") else told).append(rest[-1].strip() if rest else line)
    assert done.returncode == 3
    assert told == [
        "soundscene: broken.wav: is not an audio file but plain text",
        "soundscene: 1 file could not be used",
    ]
    assert "torch" in imported
    assert "torch._dynamo" not in imported, "PyTorch's compiler: a second of every start"
    assert done.stdout.splitlines()[1].startswith("gr\\xfcn.wav,0,2.2,")


# --- names and streams as they come -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["[bold]a[red].wav", "a:car:.wav", "two\nlines.wav", "a  b.wav"])
def test_file_names_are_printed_as_they_are(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    folder = tmp_path / "a["
    sound = write(folder / "x]" / name, recording("rain", 2.2, 0))  # "[/x]" would close a tag that nobody opened
    broken = text(folder / "x]" / f"broken {name}", "no sound")
    assert run("predict", model, sound, broken) == 3
    told = capfd.readouterr()
    flat = str(broken).replace("\n", " ")
    assert told.err == (f"soundscene: {flat}: is not an audio file but plain text\nsoundscene: 1 file could not be used\n")
    for line in str(sound).splitlines():
        assert line in told.out
    assert run("predict", model, sound, "--format", "csv") == 0
    assert [row[0] for row in csv.reader(io.StringIO(capfd.readouterr().out))] == ["path", str(sound)]
    assert run("info", folder / "x]" / "m") == 2
    assert capfd.readouterr().err.startswith(f"soundscene: {folder}/x]/m: no such file; ")


def test_a_file_name_that_is_no_text_is_printed_escaped(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sound = write(tmp_path / os.fsdecode(b"caf\xe9.wav"), recording("rain", 2.2, 0))
    assert run("predict", model, sound) == 0
    assert f"{tmp_path}/caf\\udce9.wav" in capfd.readouterr().out
    assert run("predict", model, sound, "--json") == 0
    (said,) = json.loads(capfd.readouterr().out)["predictions"]
    assert os.fsencode(said["path"]) == os.fsencode(sound)
    assert run("predict", model, sound.with_name(sound.name + "x")) == 3
    assert "caf\\udce9.wavx: does not exist" in capfd.readouterr().err


def test_long_names_are_not_cut(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sound = write(tmp_path / ("x" * 200 + ".wav"), recording("rain", 2.2, 0))
    assert run("predict", model, sound) == 0
    rows = capfd.readouterr().out.splitlines()
    assert len(rows) == 2
    assert str(sound) in rows[1]


def test_ctrl_c_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def stop(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(table_module, "list_folder", stop)
    assert run("scan", tmp_path, "--out", tmp_path / "m.csv") == 130
    assert capfd.readouterr().err == "soundscene: Interrupted. Nothing was written.\n"
    monkeypatch.setattr(request_module, "read_seeds", stop)
    monkeypatch.setattr(predictor_module, "load", stop)
    monkeypatch.setattr(recipe_module.Recipe, "load", stop)
    sound = text(tmp_path / "a.wav", "")
    for words in (
        ("experiment", "m.csv"),
        ("predict", "m", sound, "--out", "rows"),
        ("train", "m.csv", "--out", "m.safetensors", "--recipe", "small"),
    ):
        assert run(*words) == 130
        assert capfd.readouterr().err == "soundscene: Interrupted. Rerun the same command to resume.\n"
    for words, last in (
        (("timeline", sound, "--out", "times"), "Files of finished recordings are kept in times; a rerun starts again."),
        (("timeline", sound), "Nothing was written. With --out FOLDER, the files of finished recordings would be kept."),
        (("timeline", sound, "--out", "times.csv"), "Nothing was written."),
        (("embed", sound, "--out", "e.npy"), "Nothing was written."),
    ):
        assert run(words[0], "m", *words[1:]) == 130
        assert capfd.readouterr().err == f"soundscene: Interrupted. {last}\n"
    assert run("predict", "m", sound) == 130
    assert capfd.readouterr().err == "soundscene: Interrupted. With --out FOLDER, a rerun would resume.\n"
    assert run("predict", "m", sound, "--out=rows.csv") == 130
    assert "Interrupted. rows.csv was not written; with --out FOLDER, a rerun would resume.\n" in capfd.readouterr().err


def test_a_missing_extra_is_one_line_and_a_missing_part_of_ours_a_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    missing = "sklearn"

    def lacking(*_: object) -> NoReturn:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(table_module, "list_folder", lacking)
    assert run("scan", tmp_path, "--out", tmp_path / "m.csv") == 2
    assert capfd.readouterr().err == (
        'soundscene: scan needs scikit-learn, which is not installed: pip install "soundscene[train]"\n'
    )
    for name in ("soundscene.gone", "numpy"):
        missing = name  # what `lacking` lacks
        with pytest.raises(ModuleNotFoundError):
            main(["scan", str(tmp_path), "--out", str(tmp_path / "m.csv")])


def test_prediction_and_information_need_nothing_that_only_training_needs() -> None:
    graph = grimp.build_graph("soundscene", include_external_packages=True, cache_dir=None)
    # made when they are called: the functions of the package, and what a notebook draws of a prediction
    graph.remove_import(importer="soundscene", imported="soundscene.api")
    for drawing in ("card", "prediction_figure"):
        graph.remove_import(importer="soundscene.prediction", imported=f"soundscene.plotting.{drawing}")
    for wanted in (
        "soundscene",
        "soundscene.predictor",
        "soundscene.cli.tables",
        "soundscene.bundle",
        "soundscene.audio.folders",
    ):
        for extra in ("sklearn", "lightning_fabric", "matplotlib"):
            assert graph.find_shortest_chain(wanted, extra) is None, (wanted, extra)
    assert graph.find_shortest_chain("soundscene.pipeline", "sklearn")  # else the names above would be wrong


def test_a_reader_that_has_read_enough_is_no_error(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    sound = write(tmp_path / "a.wav", recording("rain", 2.2, 0))
    for form in ("csv", "table", "json"):
        reader, writer = os.pipe()
        os.close(reader)
        gone = os.fdopen(writer, "w")
        monkeypatch.setattr(sys, "stdout", gone)
        assert run("predict", model, sound, "--format", form) == 1
        with suppress(BrokenPipeError):
            gone.close()
    assert capfd.readouterr().err == ""


def test_predictions_printed_as_csv_are_not_kept(model: Path, tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w") as stream:
        printer = PredictionPrinter("csv", True, stream, SCENES)
        answer = Predictor(load_model(model)).predict((recording("rain", 2.2, 0), RATE))
        gone = weakref.ref(answer)
        printer.add(answer)
        assert len((tmp_path / "a.csv").read_text().splitlines()) == 3  # already there
        del answer
        gc.collect()
        assert gone() is None


# --- the progress bar -------------------------------------------------------------------------------------------------


def test_a_bar_is_drawn_on_terminals_only_and_only_if_there_is_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}
    for terminal in (True, False):
        for done in (False, True):
            stream = io.StringIO()
            console = Console(file=stream, force_terminal=terminal, width=100, stderr=True)
            monkeypatch.setattr(terminal_module, "err", console)
            with terminal_module.bar("reading") as reading, terminal_module.bar("training") as training:
                if done:
                    reading(1, 2)
                    reading(2, 2)
                    training(3, 3, "loss 0.25")
            drawn[terminal, done] = stream.getvalue()
    assert drawn[True, False] == drawn[False, False] == drawn[False, True] == ""
    for word in ("reading", "2/2", "training", "3/3", "loss 0.25"):
        assert word in drawn[True, True]


# --- the rules of the house -------------------------------------------------------------------------------------------


def test_no_command_has_more_options_than_it_needs_and_each_is_explained() -> None:
    group = typer.main.get_command(app)
    commands = group.commands  # type: ignore[attr-defined]
    assert set(commands) == {
        "scan",
        "backbone",
        "train",
        "evaluate",
        "predict",
        "embed",
        "push",
        "serve",
        "info",
        "demo",
        "experiment",
        "report",
        "timeline",
        "explain",
        "listen",
        "export",
        "budget",
    }
    most = {
        "experiment": 20,
        "predict": 12,
        "listen": 11,
        "train": 13,
        "scan": 9,
        "evaluate": 10,
        "timeline": 10,
        "serve": 11,
        "push": 9,
    }
    for name, command in commands.items():
        options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
        assert len(options) <= most.get(name, 8), name
        assert all(p.help for p in options), name
        assert command.help, name
