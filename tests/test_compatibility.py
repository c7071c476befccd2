"""What 0.1.0 wrote is read and means the same: models, run folders, folders of rows; see fixtures_0_1_0/README.md.

Only by the command line, `soundscene.load` and the files themselves, so that nothing here depends on where code stands.
"""

import csv
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from safetensors import safe_open

import soundscene
from soundscene.cli.app import main

FIXTURES = Path(__file__).parent / "fixtures_0_1_0"
CORPUS, MODELS, EXPECTED = FIXTURES / "corpus", FIXTURES / "models", FIXTURES / "expected"
# notes are sentences for people: they say prediction now, and count in words
WORDS = (("the answer may", "the prediction may"), ("1 segment(s) of", "1 segment of"), ("segment(s) of", "segments of"))
ANSWERS = json.loads(reduce(lambda text, words: text.replace(*words), WORDS, (EXPECTED / "answers.json").read_text()))
NAMES = sorted(ANSWERS["models"])
TOLERANCE = 1e-5
AGAIN = 1e-3  # of a training whose images are computed again, perhaps by another processor
SYSTEMS = ("--systems", "att-crnn-mel,cnn-mel", "--splits", "by=part")
MEANS = ("--workers", "1", "--threads", "1", "--device", "cpu")
RESUMED, BEGUN = "att-crnn-mel__part=2__seed0", "cnn-mel__part=2__seed0"  # the tasks without a result

DEFAULTS = {  # Recipe() of 0.1.0: what a key means that a file lacks
    "audio": {"sample_rate": 22050, "segment_s": 2.0, "last_piece": 0.5, "noise_window": 704, "noise_hop": 352},
    "features": {
        "kind": "mel",
        "n_bands": 64,
        "window": 1102,
        "hop": 551,
        "n_fft": 2048,
        "low_hz": 50.0,
        "floor": 1e-10,
        "clamp": 6.0,
    },
    "network": {
        "kind": "att-crnn",
        "filters": [64, 128, 256],
        "hidden": 128,
        "attention": 64,
        "conv_dropout": 0.25,
        "recurrent_dropout": 0.1,
        "attention_scale": "mean-preserving",
        "pooling": "spatio-temporal",
        "noise_subtracted": True,
    },
    "training": {
        "epochs": 500,
        "batch_size": 100,
        "learning_rate": 1e-4,
        "schedule": "constant",
        "mixing": "between-class",
        "balanced": False,
        "segment_hop_s": 2.0,
        "gain_db": 0.0,
        "mask_bands": 0,
        "mask_frames": 0,
        "keep": "last",
        "patience": 0,
        "seed": 0,
    },
    "calibration": {"head": "svm", "svm_c": 0.1, "platt_folds": 5, "held_out": 0.1},
}


def run(*words: str | Path) -> int:
    """Exit code of a command line."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    assert isinstance(end.value.code, int)
    return end.value.code


def near(found: Any, expected: Any, tolerance: float = TOLERANCE, where: str = "") -> None:
    """Numbers within the tolerance, everything else equal; dictionaries may have gained keys."""
    if isinstance(expected, dict):
        for key, value in expected.items():
            assert key in found, f"{where}: no {key}"
            near(found[key], value, tolerance, f"{where}/{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            near(one, other, tolerance, f"{where}/{number}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=tolerance, abs=tolerance), where
    else:
        assert found == expected, where


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder of the corpus, because answers and rows have relative paths; nothing is written there."""
    monkeypatch.chdir(CORPUS)


# --- models -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::soundscene.AudioWarning")
@pytest.mark.usefixtures("here")
def test_a_model_predicts_as_it_did(name: str) -> None:
    expected, path = ANSWERS["models"][name], MODELS / f"{name}.safetensors"
    predictor = soundscene.load(path)
    assert (list(predictor.scenes), predictor.head) == (expected["scenes"], expected["head"])
    assert (predictor.why_unknown_unavailable is None) == (expected["unknown_lack"] is None)
    for file, answer in expected["predict"].items():
        found = predictor.predict(file).to_dict(with_segments=True)
        # 0.2 has another noise tracker, which differs after digital silence and says so
        new = [note for note in found["notes"] if note.startswith("sound follows digital silence, where soundscene 0.1")]
        assert len(new) == (file == "extra/half_silent.flac")
        near(found | {"notes": [note for note in found["notes"] if note not in new]}, answer, where=file)
    first = next(iter(expected["predict"]))
    other = soundscene.load(path, "softmax" if expected["head"] == "svm" else "svm")
    near(other.predict(first).to_dict(), expected["other_head"])
    half = soundscene.load(path, keep=0.5).predict(first)
    near(half.unfamiliarity_threshold, expected["threshold_of_keep_0.5"])


@pytest.mark.parametrize("name", NAMES)
def test_a_model_scores_as_it_did(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    expected = ANSWERS["models"][name]
    test = ("--test", expected["evaluate_test"]) if expected["evaluate_test"] else ()
    words = ("--workers", "1", "--json")
    assert run("evaluate", MODELS / f"{name}.safetensors", CORPUS / "manifest.csv", *test, *words) == 0
    near(json.loads(capfd.readouterr().out), expected["evaluate"])


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_means_what_it_meant(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A key that the file lacks means the default of 0.1.0, whatever the default is now."""
    path = MODELS / f"{name}.safetensors"
    with safe_open(path, "np") as file:
        written = json.loads(file.metadata()["bundle"])["recipe"]
    lacking = {
        f"{section}.{key}" for section in DEFAULTS for key in DEFAULTS[section].keys() - written.get(section, {}).keys()
    }
    if name == "earlier":
        assert lacking == {"network.pooling", "network.noise_subtracted"}
    elif name == "sparse":
        assert {"network.pooling", "training.mixing", "calibration.held_out", "audio.last_piece"} <= lacking
        assert set(written) == {"network", "training"}
    else:
        assert not lacking
    meant = {section: keys | written.get(section, {}) for section, keys in DEFAULTS.items()}
    assert meant == ANSWERS["models"][name]["recipe"]
    assert run("info", path, "--json") == 0
    found = json.loads(capfd.readouterr().out)
    near(found["recipe"], meant, 0.0)
    near(found["temperature"], ANSWERS["models"][name]["temperature"], 0.0)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recordings of the corpus one after another, as one of 34 s."""
    path = tmp_path_factory.mktemp("long") / "long.flac"
    with (CORPUS / "manifest.csv").open(newline="") as file:
        parts = [soundfile.read(CORPUS / row["path"], dtype="int16")[0] for row in csv.DictReader(file)]
    soundfile.write(path, np.concatenate(parts), 22050, subtype="PCM_16")
    return path


def test_a_timeline_is_what_it_was(long: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(long.parent)
    assert run("timeline", MODELS / "att_crnn.safetensors", long.name, "--stay", "6", "--format", "json") == 0
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    near(found, ANSWERS["long"]["timeline_stay_6"])


def test_a_stream_is_predicted_as_it_was(long: Path) -> None:
    samples, rate = soundfile.read(long, dtype="int16")
    blocks = np.array_split(samples, 50)
    found = list(soundscene.load(MODELS / "att_crnn.safetensors").stream(blocks, rate, hop_s=1.0, window_s=10.0))
    expected = ANSWERS["long"]["stream_hop_1_window_10"]
    assert len(found) == len(expected)
    for update, row in zip(found, expected, strict=True):
        near({name: getattr(update, name) for name in row}, row, where=f"{row['start_s']} s")


# --- run folders ------------------------------------------------------------------------------------------------------


@pytest.fixture
def moved(tmp_path: Path) -> tuple[Path, Path]:
    """Manifest and run folder in another place than they were made in."""
    corpus, out = tmp_path / "sound", tmp_path / "run"
    shutil.copytree(CORPUS, corpus)
    shutil.copytree(FIXTURES / "run", out)
    return corpus / "manifest.csv", out


def settle(out: Path, corpus: Path, but: str) -> None:
    """Let the store know all recordings but one by what they are here: size, time of change and path."""
    (journal,) = out.glob("store/*/journal.jsonl")
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    for row in rows:
        name = row["identity"].partition(" /home/user/corpus/")[2]
        facts = (corpus / name).stat()
        if name != but:
            row["identity"] = f"{facts.st_size} {facts.st_mtime_ns} {(corpus / name).resolve()}"
    journal.write_text("".join(json.dumps(row) + "\n" for row in rows))


def header(path: Path, name: str) -> Any:
    with safe_open(path, "np") as file:
        return json.loads(file.metadata()[name])


def check_result(path: Path, tolerance: float) -> None:
    """A result against that of a run of 0.1.0 that nobody killed."""
    expected = EXPECTED / "results" / path.name
    with safe_open(path, "np") as one, safe_open(expected, "np") as other:
        assert set(one.keys()) >= set(other.keys())
        for name in other.keys():  # noqa: SIM118 (not a dict)
            np.testing.assert_allclose(one.get_tensor(name), other.get_tensor(name), tolerance, tolerance, err_msg=name)
    found, known = header(path, "result"), header(expected, "result")
    of_time = ("facts", "history")
    near(found, {name: value for name, value in known.items() if name not in of_time}, 0.0, path.name)
    assert len(found["history"]) == len(known["history"])
    for row, one in zip(found["history"], known["history"], strict=True):
        near(row, {key: value for key, value in one.items() if key != "seconds"}, tolerance)


@pytest.mark.budget(15)  # processes that train, which import PyTorch where no test has before
def test_a_run_resumes_where_it_was(moved: tuple[Path, Path]) -> None:
    """What is finished stays as it is, what is half-trained is trained to its end, what has not begun is done."""
    manifest, out = moved
    settle(out, manifest.parent, but="rain/1.flac")  # which only tests; it is read again
    before = contents(out)
    epochs = header(out / "work" / RESUMED / "checkpoint.safetensors", "state")["history"]
    assert len(epochs) == 2
    assert run("experiment", manifest, "--out", out, "--recipe", FIXTURES / "recipe.toml", *SYSTEMS, *MEANS) == 0
    after = contents(out)
    finished = {name for name in before if name.startswith(("results/", "models/"))}
    assert len(finished) == 6
    assert all(after[name] == before[name] for name in finished)
    assert {name for name in after if name.startswith("results/")} - finished == {
        f"results/{name}.safetensors" for name in (RESUMED, BEGUN)
    }
    for name in (RESUMED, BEGUN):
        check_result(out / "results" / f"{name}.safetensors", TOLERANCE)
        soundscene.load(out / "models" / f"{name}.safetensors")
    history = header(out / "results" / f"{RESUMED}.safetensors", "result")["history"]
    assert [row["seconds"] for row in history[:2]] == [row["seconds"] for row in epochs], "it was trained from the start"
    assert not list((out / "work").iterdir())
    (values,) = (name for name in before if name.endswith("/values.bin"))
    assert after[values].startswith(before[values]), "the store may grow, and what it holds stays"
    assert {name for name in after if name.endswith("/values.bin")} == {values}, "no other front-end"


def test_a_run_resumes_with_the_recipe_of_its_plan(moved: tuple[Path, Path]) -> None:
    """New in 0.2: without --recipe and --set the plan's recipe counts; fails with 0.1.0.

    That ends with "holds an experiment with other recipe". All is in another place, so the sound is read again; no training
    is half-done.
    """
    manifest, out = moved
    shutil.rmtree(out / "work")
    before = contents(out / "results")
    assert run("experiment", manifest, "--out", out, *SYSTEMS, *MEANS) == 0
    after = contents(out / "results")
    assert after.items() >= before.items()
    for name in (RESUMED, BEGUN):
        check_result(out / "results" / f"{name}.safetensors", AGAIN)


def test_a_run_with_another_recipe_is_refused(moved: tuple[Path, Path], capfd: pytest.CaptureFixture[str]) -> None:
    manifest, out = moved
    settle(out, manifest.parent, but="")
    before = contents(out)
    words = ("--recipe", FIXTURES / "recipe.toml", "--set", "training.seed=6")
    assert run("experiment", manifest, "--out", out, *words, *SYSTEMS, *MEANS) == 2
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert "other recipe" in " ".join(said.split())
    assert contents(out) == before


def test_a_run_that_0_1_0_is_working_in_is_left_alone(moved: tuple[Path, Path], capfd: pytest.CaptureFixture[str]) -> None:
    """0.1.0 locks the file `lock` by flock; the file itself is empty and stays."""
    fcntl = pytest.importorskip("fcntl")
    manifest, out = moved
    before = contents(out)
    with (out / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        words = ("--recipe", FIXTURES / "recipe.toml", *SYSTEMS, *MEANS)
        assert run("experiment", manifest, "--out", out, *words) == 2
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert str(out) in "".join(said.split("\n"))
    assert contents(out) == before


def test_a_run_is_reported_on(moved: tuple[Path, Path], tmp_path: Path) -> None:
    """Its results may stand elsewhere, as `results-are-at` says."""
    _, out = moved
    (out / "results").rename(tmp_path / "elsewhere")
    (out / "results-are-at").write_text(f"{tmp_path / 'elsewhere'}\n")
    assert run("report", out, "--out", tmp_path / "report") == 0
    with (EXPECTED / "table2.csv").open(newline="") as one, (tmp_path / "report/csv/table2.csv").open(newline="") as other:
        near([as_numbers(row) for row in csv.DictReader(other)], [as_numbers(row) for row in csv.DictReader(one)])


# --- folders of rows --------------------------------------------------------------------------------------------------


def as_numbers(row: dict[str, str]) -> dict[str, Any]:
    def read(cell: str) -> Any:
        try:
            return float(cell)
        except ValueError:
            return cell

    return {name: read(cell) for name, cell in row.items()}


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(newline="") as file:
        yield from map(as_numbers, csv.DictReader(file)) if path.suffix == ".csv" else map(json.loads, file)


def lock_of(pid: int) -> str:
    """The lock that a process with this number makes in a folder of rows."""
    stat = Path(f"/proc/{pid}/stat")
    started = stat.read_text().rpartition(")")[2].split()[19] if stat.exists() else ""
    text = (FIXTURES / "lock.json").read_text()
    for name, value in (("@PID@", str(pid)), ("@HOST@", platform.node()), ("@STARTED@", started)):
        text = text.replace(name, value)
    return text


def go_on(out: Path, form: str) -> int:
    """Exit code of the command line that makes the rows of everything."""
    words = ("--out", out, "--format", form, "--shard", "4", "--workers", "1")
    return run("predict", MODELS / "att_crnn.safetensors", "rain", "office", "night_crickets", "extra", *words)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.usefixtures("here")
def test_rows_resume_where_they_were(form: str, tmp_path: Path) -> None:
    """After a kill, which leaves its lock and an unfinished shard."""
    out = tmp_path / "rows"
    shutil.copytree(FIXTURES / f"rows_{form}", out)
    before = contents(out)
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    (out / "lock").write_text(lock_of(int(dead.stdout)))
    (out / f"part-00003.{form}.4711.tmp").write_text("path,sce")
    assert go_on(out, form) == 0, "the broken files had their rows before"
    after = contents(out)
    assert after.items() >= before.items()
    assert {name.rpartition(".")[2] for name in after} == {form, "json"}
    found = [row for path in sorted(out.glob(f"part-*.{form}")) for row in read_rows(path)]
    expected = {row["path"]: row for row in read_rows(EXPECTED / f"rows.{form}")}
    assert sorted(row["path"] for row in found) == sorted(expected)
    for row in found:
        near(row, expected[row["path"]], where=row["path"])


@pytest.mark.usefixtures("here")
def test_rows_that_0_1_0_is_writing_are_left_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rows"
    shutil.copytree(FIXTURES / "rows_csv", out)
    waiting = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert waiting.stdin
    with waiting, closing(waiting.stdin):
        (out / "lock").write_text(lock_of(waiting.pid))
        before = contents(out)
        assert go_on(out, "csv") == 2
        said = capfd.readouterr().err
        assert len(said.splitlines()) == 1
        assert f"process {waiting.pid} on {platform.node()} is writing there" in said
        assert contents(out) == before
