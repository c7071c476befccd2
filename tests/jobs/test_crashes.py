"""A crash of libsndfile, which decodes in the process of the run, costs at most a restart that leaves the file out."""

import csv
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from soundscene.audio.trial import Trial
from soundscene.batch.cluster import BEGUN, ShardWorker, shard_of
from soundscene.batch.folder import BatchConfig
from soundscene.jobs.ray import versions_here
from soundscene.predictor import load
from tests.support.command_line import TINY_SET
from tests.support.crashing import crashing_libsndfile
from tests.support.sounds import aac, sound, text
from tests.support.tiny import recording, write, write_corpus


@pytest.fixture
def crashing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Environment of processes whose libsndfile crashes; children of this process get it too."""
    folder = crashing_libsndfile(tmp_path / "site")
    monkeypatch.syspath_prepend(folder)
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def run(environment: dict[str, str], *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "soundscene", *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.usefixtures("crashing")
def test_a_trial_tells_a_crash_from_a_file_that_is_merely_damaged(tmp_path: Path) -> None:
    whole = [
        sound(tmp_path / "a.flac"),
        aac(tmp_path / "b.m4a"),
        text(tmp_path / "c.wav", "no sound"),
        tmp_path / "gone.wav",
    ]
    crash = sound(tmp_path / "crash.flac")
    with closing(Trial()) as trial:
        assert [trial.crash(path) for path in whole[:2]] == [None, None]
        assert str(trial.crash(crash)).startswith(f"{crash}: crashes its decoder (exit code -11); it is damaged")
        assert [trial.crash(path) for path in whole[2:]] == [None, None]


@pytest.mark.kill
def test_a_crash_ends_predict_once(crashing: dict[str, str], model: Path, tmp_path: Path) -> None:
    sounds = tmp_path / "sounds"
    for number in range(6):
        write(sounds / f"{number}.wav", recording("rain", 2.2, number))
    write(sounds / "3crash.wav", recording("rain", 2.2, 9))
    words = ("predict", model, sounds, "--out", tmp_path / "rows")
    first = run(crashing, *words)
    assert first.returncode == -signal.SIGSEGV
    second = run(crashing, *words)
    assert second.returncode == 3, second.stderr
    (shard,) = (tmp_path / "rows").glob("part-*.csv")
    rows = {Path(row["path"]).name: row for row in csv.DictReader(shard.read_text().splitlines())}
    assert rows.keys() == {path.name for path in sounds.iterdir()}
    assert rows["3crash.wav"]["error"] == "crashes its decoder (exit code -11); it is damaged, and was left out"
    assert all(row["scene"] for name, row in rows.items() if name != "3crash.wav")


@pytest.mark.kill
def test_a_crash_while_predictions_are_printed_names_the_file(crashing: dict[str, str], model: Path, tmp_path: Path) -> None:
    sounds = tmp_path / "sounds"
    for name in ("0.wav", "1.wav", "2crash.wav", "3.wav", "4crash.wav"):
        write(sounds / name, recording("rain", 2.2, 0))
    done = run(crashing, "predict", model, sounds, "--format", "csv", "--workers", "1")
    assert done.returncode == 3, done.stderr
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [Path(row["path"]).name for row in rows] == ["0.wav", "1.wav", "3.wav"], "each row once, under one header"
    assert done.stderr.splitlines() == [
        "note: a decoder crashed (SIGSEGV); each file is tried in a process of its own now",
        *(
            f"soundscene: {sounds / name}: crashes its decoder (exit code -11); it is damaged, and was left out"
            for name in ("2crash.wav", "4crash.wav")
        ),
        "soundscene: 2 files could not be used",
    ]
    single = run(crashing, "timeline", model, sounds / "2crash.wav")
    assert single.returncode == 2
    assert single.stderr.splitlines()[-1].startswith(f"soundscene: {sounds / '2crash.wav'}: crashes its decoder (exit code")


@pytest.mark.kill
def test_a_crash_on_a_list_from_a_pipe_says_what_to_do(crashing: dict[str, str], model: Path, tmp_path: Path) -> None:
    crash = write(tmp_path / "crash.wav", recording("rain", 2.2, 0))
    words = [sys.executable, "-m", "soundscene", "predict", str(model), "--from", "-"]
    done = subprocess.run(words, input=f"{crash}\n", env=crashing, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 128 + signal.SIGSEGV
    assert done.stderr.startswith("soundscene: a decoder crashed (SIGSEGV); rerun with a list in a file or with --out")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.kill
def test_a_crash_in_an_experiment_leaves_the_file_out(crashing: dict[str, str], tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "corpus", 3)
    write(manifest.parent / "rain/crash.wav", recording("rain", 2.2, 9))
    manifest.write_text(manifest.read_text() + "rain/crash.wav,rain,1\n")
    words = ["experiment", manifest, "--out", tmp_path / "run", "--systems", "mfcc-dnn", "--splits", "folds=2"]
    words += ["--workers", "2", "--threads", "1", "--device", "cpu", *TINY_SET]
    refused = run(crashing, *words)
    assert refused.returncode == 2
    assert "crash.wav: ends the process that reads it; is it damaged" in refused.stderr
    assert len([line for line in refused.stderr.splitlines() if not line.startswith("note: ")]) == 1
    done = run(crashing, *words, "--skip-broken")
    assert done.returncode == 0, done.stderr
    assert "run: 2 of 2 trainings have a result" in done.stdout


@pytest.mark.slow
@pytest.mark.kill
def test_a_crash_ends_train_once(crashing: dict[str, str], tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "corpus", 3)
    write(manifest.parent / "rain/crash.wav", recording("rain", 2.2, 9))
    manifest.write_text(manifest.read_text() + "rain/crash.wav,rain,1\n")
    words = (
        "train",
        manifest,
        "--out",
        tmp_path / "m.safetensors",
        "--set",
        "training.epochs=1",
        "--set",
        "network.hidden=4",
    )
    assert run(crashing, *words).returncode == -signal.SIGSEGV
    refused = run(crashing, *words)
    assert refused.returncode == 2
    assert "1 of 10 recordings cannot be used" in refused.stderr
    assert "crash.wav: crashes its decoder" in refused.stderr
    trained = run(crashing, *words, "--skip-broken")
    assert trained.returncode == 0, trained.stderr
    assert "note: line 11: " in trained.stderr
    assert (tmp_path / "m.safetensors").exists()


@pytest.mark.budget(15)
@pytest.mark.usefixtures("crashing")
def test_a_node_that_died_in_a_shard_tries_its_recordings(model: Path, tmp_path: Path) -> None:
    config = BatchConfig.of_model(model, load(model), "parquet")
    names = ["a.wav", "crash.wav", "b.wav"]
    for name in names:
        write(tmp_path / name, recording("rain", 2.2, 1))
    worker = ShardWorker(model.read_bytes(), config, str(tmp_path / "out"), str(tmp_path), versions_here())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / (shard_of(0, names) + BEGUN)).touch()
    assert worker.run(0, names) == {"rows": 3, "broken": 1, "error": ""}
    assert [path.name for path in (tmp_path / "out").iterdir()] == [shard_of(0, names)]
