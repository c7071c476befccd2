"""SIGTERM and SIGHUP end a run as Ctrl-C does: rows are written, the message says what resumes, no traceback."""

import csv
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from soundscene.batch.rows import read_paths, shard_bytes
from soundscene.batch.run import Row
from soundscene.cli import app, signals
from soundscene.data.store import FeatureStore
from soundscene.errors import SceneError, TrainingError
from soundscene.jobs.lock import locked
from soundscene.pipeline import train_on_manifest
from soundscene.systems.neural import images
from tests.support.command_line import run
from tests.support.shards import SCENES, answer
from tests.support.tiny import TINY, recording, write, write_corpus


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The handlers of the program, in this process, as if it had just started: coverage has a handler of its own."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    defaults = (signal.default_int_handler, signal.SIG_DFL, signal.SIG_DFL)
    before = {number: signal.signal(number, handler) for number, handler in zip(numbers, defaults, strict=True)}
    monkeypatch.setattr(signals, "_received", [])
    monkeypatch.setattr(signals, "_times", [])
    signals.install()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_signal_is_one_line_and_the_exit_code_of_a_shell(
    number: signal.Signals, wrapped: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(words: list[str], **options: object) -> int:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        except KeyboardInterrupt:
            if wrapped:  # as numpy does where it is interrupted while it is imported
                raise ImportError("a library failed to import") from None
            return app.CTRL_C
        raise AssertionError("no signal came")

    monkeypatch.setattr(app, "app", interrupted)
    assert run("train", "m.csv") == 128 + number
    assert capfd.readouterr().err == "soundscene: Interrupted. Rerun the same command to resume.\n"
    if number != signal.SIGINT:
        os.kill(os.getpid(), number)  # a second one does not interrupt the end


def test_ignored_signals_stay_ignored(installed: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    signals.install()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_full_disk_behind_stdout_is_one_line(model: Path, tmp_path: Path) -> None:
    sound = write(tmp_path / "a.wav", recording("rain", 2.2, 0))
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "soundscene", "predict", str(model), str(sound), "--format", "csv"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stderr == "soundscene: the output cannot be written (No space left on device); is the disk full?\n"


@pytest.mark.budget(15)  # a process that explains
def test_a_reader_that_is_gone_ends_a_command_without_a_word(model: Path, tmp_path: Path) -> None:
    """`explain` ends as Python does, which flushes once more."""
    sound = write(tmp_path / "a.wav", recording("rain", 2.2, 0))
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        words = [sys.executable, "-m", "soundscene", "explain", str(model), str(sound), "--out", str(tmp_path / "a.png")]
        done = subprocess.run(words, stdout=gone, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_csv_shard_cut_in_its_last_cell_is_noticed() -> None:
    whole = shard_bytes([Row.of(f"{n}.wav", answer(f"{n}.wav", n)) for n in range(2)], SCENES, "csv")
    assert list(read_paths(whole, "part", "csv", SCENES)) == ["0.wav", "1.wav"]
    for cut in range(1, 12):
        with pytest.raises(SceneError, match=r"^part: not a whole shard"):
            list(read_paths(whole[:-cut], "part", "csv", SCENES))


def test_a_folder_in_place_of_the_lock_of_a_store_is_one_line(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, images(TINY))
    (store.folder / "lock").mkdir(parents=True)
    with pytest.raises(TrainingError, match=r"lock: is not a file, expected a lock file; remove it$"):
        store.build([])


def test_a_full_disk_leaves_no_lock_that_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text = Path.write_text

    def full(self: Path, *arguments: object, **options: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(SceneError, match=r"lock: cannot be written \(No space left on device\)"), locked(tmp_path / "lock"):
        pass
    monkeypatch.setattr(Path, "write_text", write_text)
    with locked(tmp_path / "lock") as killed:
        assert not killed


@pytest.mark.budget(15)
def test_the_folder_of_a_training_that_vanishes_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    manifest = write_corpus(tmp_path / "corpus", 3)
    out = tmp_path / "out" / "m.safetensors"
    out.parent.mkdir()

    def vanish(row: dict[str, float]) -> None:
        while out.parent.exists():  # the thread of TensorBoard may write a file meanwhile, and then the folder is not empty
            shutil.rmtree(out.parent, ignore_errors=True)

    with pytest.raises(TrainingError, match=r"m\.safetensors\.run: cannot be written \(No such file or directory\); was it"):
        train_on_manifest(manifest, out, TINY, workers=1, on_epoch=vanish)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.budget(15)
def test_one_training_at_a_time_and_no_litter_of_killed_ones(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "corpus", 3)
    out = tmp_path / "m.safetensors"
    (tmp_path / "m.safetensors.run").mkdir()
    litter = [tmp_path / "m.safetensors.99.tmp", tmp_path / "m.safetensors.run" / "checkpoint.safetensors.99.tmp"]
    for path in litter:
        path.write_bytes(b"half")

    def second(row: dict[str, float]) -> None:
        if row["epoch"] == 1:
            with pytest.raises(SceneError, match=r"process \d+ on .* is writing there; wait until it ends"):
                train_on_manifest(manifest, out, TINY, workers=1)

    train_on_manifest(manifest, out, TINY, workers=1, on_epoch=second)
    assert out.exists()
    assert not any(path.exists() for path in litter)
    assert not (tmp_path / "m.safetensors.run" / "lock").exists()


@pytest.mark.kill
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_a_terminated_batch_writes_the_open_shard(model: Path, tmp_path: Path, number: signal.Signals) -> None:
    sounds = [write(tmp_path / f"{n}.wav", recording("rain", 2.2, n)) for n in range(8)]
    words = [sys.executable, "-m", "soundscene", "predict", str(model), "--from", "-", "--out", str(tmp_path / "rows")]
    words += ["--workers", "1"]
    before = signal.signal(number, signal.SIG_DFL)  # the program leaves SIGHUP ignored where nohup runs the tests
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(number, before)
    assert process.stdin
    process.stdin.writelines(f"{path}\n" for path in sounds[:7])
    process.stdin.flush()
    wait_idle(process.pid, tmp_path / "rows" / "lock")  # it waits for the next path of the list
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert error == "soundscene: Interrupted. Rerun the same command to resume.\n"
    assert len((tmp_path / "rows" / "part-00000.csv").read_text().splitlines()) > 1, "a header, and what was computed"
    subprocess.run(words, input="\n".join(map(str, sounds)), text=True, check=True, capture_output=True)
    found: list[str] = []
    for path in (tmp_path / "rows").glob("part-*.csv"):
        found += [row["path"] for row in csv.DictReader(path.read_text().splitlines())]
    assert sorted(found) == sorted(map(str, sounds))
    assert not (tmp_path / "rows" / "lock").exists()


def wait_idle(pid: int, lock: Path) -> None:
    """Wait until a process has its lock, and has used no CPU for a second."""
    ends = time.monotonic() + 120
    used, since = -1, time.monotonic()
    while time.monotonic() < ends:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        now = int(fields[11]) + int(fields[12])
        if now != used or not lock.exists():
            used, since = now, time.monotonic()
        if time.monotonic() - since > 1.5:
            return
        time.sleep(0.05)
    raise AssertionError("never idle")
