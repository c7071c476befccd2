"""`soundscene predict` of many: sources, lines of JSON, folders of rows, and kills, through the command line."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet
import pytest

from benchmarks.batch import read_rows
from soundscene.batch.rows import columns
from tests.support.command_line import run
from tests.support.tiny import SCENES, recording, text, write


@pytest.fixture
def sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `rec` with three recordings and a broken one, seen from its parent."""
    for number, scene in enumerate(SCENES):
        write(tmp_path / "rec" / f"{number}.wav", recording(scene, 2.2 + number, number))
    text(tmp_path / "rec" / "bad.wav", "no sound")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "rec"


def rows(out: Path) -> dict[str, list[str]]:
    found, faults = read_rows(out)
    assert not faults
    return found


def test_lines_of_json_come_one_by_one_with_errors_among_them(
    model: Path, sounds: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("predict", model, "rec", "--format", "jsonl", "--segments") == 3
    told = capfd.readouterr()
    found = [json.loads(line) for line in told.out.splitlines()]
    assert [one["path"] for one in found] == ["rec/0.wav", "rec/1.wav", "rec/2.wav", "rec/bad.wav"]
    assert found[3] == {"path": "rec/bad.wav", "error": "is not an audio file but plain text"}
    assert told.err == "soundscene: 1 file could not be used\n"
    assert run("predict", model, "rec", "--json", "--segments") == 3
    assert json.loads(capfd.readouterr().out)["predictions"] == found[:3]


def test_kept_lines_are_the_printed_ones(model: Path, sounds: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("predict", model, "rec", "--format", "jsonl", "--workers", "1") == 3
    printed = capfd.readouterr().out
    assert run("predict", model, "rec", "--format", "jsonl", "--out", "rows", "--workers", "1") == 3
    assert (sounds.parent / "rows" / "part-00000.jsonl").read_text() == printed


def test_rows_are_kept_and_a_grown_folder_gets_only_new_ones(
    model: Path, sounds: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = sounds.parent / "rows"
    assert run("predict", model, "rec", "--out", "rows", "--shard", "2") == 3
    told = capfd.readouterr()
    assert told.out == ""
    summary, complaint = told.err.splitlines()
    assert summary.startswith("rows: 4 rows, 1 unreadable, 2 shards, ")
    assert complaint == "soundscene: 1 file could not be used; the column error says why"
    with (out / "part-00000.csv").open() as file:
        assert next(csv.reader(file)) == list(columns(SCENES))
    kept = rows(out)
    assert kept["rec/bad.wav"] == ["rec/bad.wav", *[""] * 5, "is not an audio file but plain text", *[""] * 4]
    assert kept["rec/0.wav"][3] == "2.2"
    write(sounds / "00.wav", recording("rain", 2.2, 9))  # first in the order
    assert run("predict", model, "rec", "rec/0.wav", "--out", "rows") == 0  # no broken one in this run
    assert capfd.readouterr().err.splitlines()[0].endswith("; 5 were done before")
    assert rows(out).keys() == kept.keys() | {"rec/00.wav"}
    assert {name: row for name, row in rows(out).items() if name in kept} == kept
    assert sorted(path.name for path in out.iterdir()) == [*(f"part-0000{n}.csv" for n in range(3)), "run.json"]


def test_csv_and_parquet_hold_the_printed_predictions(model: Path, sounds: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for form in ("csv", "parquet"):
        assert run("predict", model, "rec", "--format", form, "--out", form) == 3
    capfd.readouterr()
    assert run("predict", model, "rec", "--json") == 3
    printed = {one["path"]: one for one in json.loads(capfd.readouterr().out)["predictions"]}
    table = pyarrow.parquet.read_table(sounds.parent / "parquet" / "part-00000.parquet").to_pylist()
    kept = rows(sounds.parent / "csv")
    assert len(table) == len(kept) == 4
    for row in table[:3]:
        said, cells = printed[row["path"]], kept[row["path"]]
        assert {scene: row[scene] for scene in SCENES} == said["posterior"]
        assert [float(cell) for cell in cells[8:]] == list(said["posterior"].values())
        assert (row["unfamiliarity"], row["unknown"]) == (said["unfamiliarity"], said["unknown"])
        assert (row["scene"], row["probability"], row["duration_s"]) == (said["scene"], said["probability"], float(cells[3]))
    assert table[3]["probability"] is None


def test_paths_come_from_globs_lists_and_stdin(
    model: Path, sounds: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text(sounds.parent / "list.txt", "rec/1.wav\n\nrec/2.wav\n")

    def said() -> list[str]:
        return [row[0] for row in csv.reader(io.StringIO(capfd.readouterr().out))][1:]

    assert run("predict", model, "re*/[01].wav", "--from", "list.txt", "--format", "csv") == 0
    assert said() == ["rec/0.wav", "rec/1.wav", "rec/1.wav", "rec/2.wav"]  # printed as asked for
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"rec/2.wav\nrec\n")))
    assert run("predict", model, "--from", "-", "--format", "csv") == 3  # a line is a file, never a folder
    assert said() == ["rec/2.wav"]


BAD: list[tuple[list[str], str]] = [
    ([], "nothing to predict; give files, folders or globs, or a list of them by --from"),
    (["rec", "--format", "parquet"], "--format parquet and --cluster write files; give --out FOLDER with them"),
    (["rec", "--cluster", "local"], "--format parquet and --cluster write files; give --out FOLDER with them"),
    (["rec", "--out", "o", "--json"], "--out writes a row per recording as csv, jsonl or parquet; --segments and other "),
    (["rec", "--out", "o", "--segments"], "--out writes a row per recording as csv, jsonl or parquet; --segments and "),
    (["rec", "--out", "o", "--cluster", "local", "--format", "csv"], "--cluster writes Parquet; leave --format csv out"),
    (["rec", "--out", "s3://b/o"], "s3://b/o: results are written to a folder; other places need --cluster"),
    (["s3://b/rec", "--out", "o"], "s3://b/rec: files elsewhere than on this machine need --cluster"),
    (["rec/*.mp3", "--out", "o"], "rec/*.mp3: no file matches this glob, and none has this name"),
    (["rec", "--out", "rec/bad.wav"], "--out rec/bad.wav: one file ends in .csv, .jsonl, .parquet, not in .wav; a name "),
    (["rec", "--out", "taken"], "taken: cannot be written (File exists)"),
    (["--from", "gone.txt", "--out", "o"], "gone.txt: the list cannot be read (No such file or directory)"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_what_cannot_be_is_one_line(
    model: Path, sounds: Path, capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    Path("taken").touch()
    assert run("predict", model, *words) == 2
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"soundscene: {message}")
    assert told.err.count("\n") == 1


def test_another_head_for_the_same_rows_is_one_line(model: Path, sounds: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("predict", model, "rec/0.wav", "--out", "o", "--head", "svm") == 0
    capfd.readouterr()
    assert run("predict", model, "rec", "--out", "o", "--head", "softmax") == 2
    assert capfd.readouterr().err == (
        "soundscene: o/run.json: the rows there were computed with --head svm, these would be with softmax; "
        "choose another folder, or use the same as before\n"
    )


@pytest.mark.kill
def test_a_killed_run_resumes_without_a_row_twice_or_half(model: Path, sounds: Path) -> None:
    for number in range(60):
        (sounds / f"link{number}.wav").hardlink_to(sounds / f"{number % 3}.wav")
    (sounds / "bad.wav").rename(sounds / "z.wav")  # the last
    out, whole = sounds.parent / "killed", sounds.parent / "whole"
    words = [sys.executable, "-m", "soundscene", "predict", str(model), "rec", "--shard", "3", "--workers", "1", "--out"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*words, str(out)], stderr=subprocess.DEVNULL, env=environment)
    while process.poll() is None and len(list(out.glob("part-*.csv"))) < 2:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    there = rows(out)
    assert 6 <= len(there) < 64
    assert (out / "lock").exists()  # of a dead process
    assert run("predict", model, "rec", "--out", out, "--workers", "1") == 3
    assert run("predict", model, "rec", "--out", whole, "--workers", "1") == 3
    assert rows(out) == rows(whole)
    assert len(rows(out)) == 64
    assert not [path for path in out.iterdir() if path.suffix not in (".csv", ".json")]
