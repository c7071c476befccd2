"""Outputs that would replace what a command reads, and names of outputs: refused in one line, and nothing is lost."""

import csv
import os
import shutil
from pathlib import Path

import pytest

from tests.support.command_line import run
from tests.support.tiny import recording, text, write


@pytest.fixture
def folder(model: Path, manifest: Path, tmp_path: Path) -> Path:
    """A model, a recording, a list and a manifest of it."""
    shutil.copy(model, tmp_path / "m.safetensors")
    write(tmp_path / "a.wav", recording("rain", 2.2, 1))
    text(tmp_path / "l.csv", f"path,scene\n{tmp_path / 'a.wav'},rain\n")
    return tmp_path


def refused(capfd: pytest.CaptureFixture[str], *words: object) -> str:
    assert run(*words) == 2  # pyright: ignore[reportArgumentType]
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0].removeprefix("soundscene: ")


def test_nothing_that_is_read_is_replaced(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, listed, sound = folder / "m.safetensors", folder / "l.csv", folder / "a.wav"
    linked, picture = folder / "linked.csv", folder / "p.png"
    os.link(listed, linked)
    shutil.copy(sound, picture)
    shutil.copy(listed, folder / "e.paths.csv")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    read = "is what the command reads, and would be replaced; name another file"
    sounds = "is a sound file, and would be replaced; name another file"
    for words, expected in (
        (("train", listed, "--out", listed), f"--out {listed}: {read}"),
        (("train", listed, "--out", sound), f"--out {sound}: {sounds}"),
        (("train", listed, "--backbone", model, "--out", model), f"--out {model}: {read}"),
        (("predict", model, "--from", listed, "--out", listed), f"--out {listed}: {read}"),
        (("predict", model, "--from", listed, "--out", linked), f"--out {linked}: {read}"),
        (("embed", model, "--from", listed, "--out", listed), f"--out {listed}: {read}"),
        (
            ("embed", model, "--from", folder / "e.paths.csv", "--out", folder / "e.npy"),
            f"--out {folder / 'e.npy'} also writes {folder / 'e.paths.csv'}: {read}",
        ),
        (("evaluate", model, listed, "--predictions", linked), f"--predictions {linked}: {read}"),
        (("timeline", model, picture, "--picture", picture), f"--picture {picture}: {read}"),
        (("explain", model, picture, "--out", picture), f"--out {picture}: {read}"),
        (("export", model, "--out", model), f"--out {model}: {read}"),
        (("push", model, "a/b", "--card", model), f"--card {model}: {read}"),
        (("push", model, "a/b", "--on", listed, "--card", sound), f"--card {sound}: {sounds}"),
        (("backbone", "yamnet", "--from", model, "--out", model, "--force"), f"--out {model}: {read}"),
        (("scan", folder, "--out", sound, "--force"), f"--out {sound}: {sounds}"),
    ):
        assert refused(capfd, *words) == expected
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_suffixes_of_outputs(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, listed, sound = folder / "m.safetensors", folder / "l.csv", folder / "a.wav"
    before = set(folder.iterdir())
    for name, meant in (("x.safetensors.csv", "x.safetensors"), ("noext", "noext.safetensors")):
        out = folder / "o" / name
        expected = f"--out {out}: a model file ends in .safetensors, for example {folder / 'o' / meant}"
        assert refused(capfd, "train", listed, "--out", out) == expected
    expected = f"--parquet {listed}: a Parquet file ends in .parquet"
    assert refused(capfd, "timeline", model, sound, "--parquet", listed) == expected
    for name, suffix in (("rows.csv.gz", ".gz"), ("rows.feather", ".feather"), ("rows.CSV.zip", ".zip"), ("r.mp3", ".mp3")):
        out = folder / name
        expected = (
            f"--out {out}: one file ends in .csv, .jsonl, .parquet, not in {suffix}; a name without a suffix is a folder"
        )
        assert refused(capfd, "predict", model, sound, "--out", out) == expected
    assert set(folder.iterdir()) == before


def test_earlier_results_are_replaced(folder: Path) -> None:
    rows = text(folder / "rows.csv", "older\n")
    for command in ("predict", "timeline"):
        assert run(command, folder / "m.safetensors", folder / "a.wav", "--out", rows) == 0
        assert rows.read_text().startswith("path,start_s,end_s,scene,probability,")
        rows.write_text("older\n")


def test_each_recording_of_a_timeline_has_a_file_of_its_own(folder: Path) -> None:
    names = ("a/S.wav", "b/S.wav", "c/S-2.wav", "d/s.wav", "e/shares.wav")
    for name in names:
        (folder / name).parent.mkdir()
        shutil.copy(folder / "a.wav", folder / name)
    sounds = [folder / name for name in names]
    assert run("timeline", folder / "m.safetensors", *sounds, "--out", folder / "out") == 0
    found = {}
    for path in (folder / "out").iterdir():
        found[path.name] = {row["path"] for row in csv.DictReader(path.read_text().splitlines())}
    written = ("S.csv", "S-2.csv", "S-2-2.csv", "s-3.csv", "shares-2.csv")
    expected = {name: {str(sound)} for name, sound in zip(written, sounds, strict=True)}
    assert found == expected | {"shares.csv": set(map(str, sounds))}


def test_forms_of_one_recording_are_refused_before_sound_is_read(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for form in ("raven", "labels"):
        line = refused(capfd, "timeline", "no-model", folder / "a.wav", folder / "none.wav", "--format", form)
        assert line == f"--format {form} is of one recording, and these are 2; give --out FOLDER for several"
    assert capfd.readouterr().out == ""
