"""`scan` on the command line, and folders and columns of other names where a command takes a manifest."""

import stat
from pathlib import Path
from typing import Any, NoReturn

import pytest

from soundscene import pipeline
from soundscene.data.manifest import Manifest
from soundscene.errors import ManifestError
from soundscene.experiment import request as request_module
from tests.support.command_line import run
from tests.support.sounds import sound, text
from tests.support.tiny import write_corpus


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of six recordings, each cut into two; one at another rate, one with two channels, two that are no sound."""
    folder = tmp_path_factory.mktemp("corpus")
    for scene in ("bus", "park"):
        (folder / scene).mkdir()
        for i in range(6):
            for k in "ab":
                sound(folder / scene / f"{scene}_{i}{k}.wav")
    sound(folder / "bus" / "bus_5b.wav", rate=48000)
    text(folder / "park" / "notes.txt", "cold")
    text(folder / "park" / "cut.wav", "")
    text(folder / "park" / "page.wav", "<html></html>")
    return folder


def test_a_table_and_what_is_left_out(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "deep" / "m.csv"
    assert run("scan", folder, "--out", out) == 3
    told = capfd.readouterr()
    lines = [line.split() for line in told.out.splitlines() if line.strip()]
    assert lines[0] == ["scene", "files", "groups", "minutes", "kHz", "channels"]
    assert lines[2:5] == [
        ["bus", "12", "6", "0.6", "22.05,", "48", "1"],
        ["park", "12", "6", "0.6", "22.05", "1"],
        ["all", "24", "12", "1.2", "22.05,", "48", "1"],
    ]
    assert told.out.splitlines()[-1] == f"{out}: 24 recordings of 2 scenes"
    assert "note: 24 files look like 12 recordings; grouped by stem, --group none to undo\n" in told.err
    assert "note: left out, because their suffix is not that of an audio file: park/notes.txt\n" in told.err
    assert f"soundscene: left out: {folder}/park/cut.wav: is empty (0 bytes)" in told.err
    assert f"soundscene: left out: {folder}/park/page.wav: is not an audio file but" in told.err
    assert stat.S_IMODE(out.stat().st_mode) == stat.S_IMODE(text(tmp_path / "other", "").stat().st_mode)


def test_the_table_fits_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    scenes = ("a_scene_whose_name_is_" + "very_" * 10 + "long", "bus")
    for scene in scenes:
        (tmp_path / "c" / scene).mkdir(parents=True)
        sound(tmp_path / "c" / scene / "0.wav")
    monkeypatch.setenv("COLUMNS", "60")
    assert run("scan", tmp_path / "c", "--out", tmp_path / "m.csv") == 0
    table = capfd.readouterr().out.splitlines()[:-1]
    assert max(map(len, table)) <= 60
    assert any("…" in line for line in table)
    assert sum(line.startswith("  ") and bool(line.strip()) for line in table) == 4  # header, two scenes, all


def test_many_rates_leave_the_header_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    scene = "a_scene_whose_name_is_" + "very_" * 7 + "long"
    (tmp_path / "c" / scene).mkdir(parents=True)
    (tmp_path / "c" / "bus").mkdir()
    sound(tmp_path / "c" / "bus" / "0.wav")
    for number, rate in enumerate((22050, 22050, 11025, 44100, 48000)):
        sound(tmp_path / "c" / scene / f"{number}.wav", rate=rate)
    for width, rates in (("200", "22.05, 11.025, 44.1, ..."), ("80", "22.05, 11.025, ...")):
        monkeypatch.setenv("COLUMNS", width)
        assert run("scan", tmp_path / "c", "--out", tmp_path / "m.csv") == 0
        header, _, row, *_ = [line for line in capfd.readouterr().out.splitlines() if line.strip()]
        assert header.split() == ["scene", "files", "groups", "minutes", "kHz", "channels"]
        assert rates in row
        assert max(len(header), len(row)) <= int(width)


def test_what_is_left_out_is_named_before_the_manifest_is_refused(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = text(tmp_path / "m.csv", "other\n")
    assert run("scan", folder, "--out", out) == 2
    told = capfd.readouterr().err.splitlines()
    assert told[-1].startswith(f"soundscene: {out}: is there already")
    assert sum("left out: " in line for line in told[:-1]) >= 2


def test_a_manifest_is_replaced_only_by_force(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.csv"
    assert run("scan", folder, "--out", out) == run("scan", folder, "--out", out) == 3, "what is there already is no harm"
    before = out.read_text()
    capfd.readouterr()
    assert run("scan", folder, "--out", out, "--seed", "7") == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert error == f"soundscene: {out}: is there already, and differs; --force replaces it, another --out keeps both"
    assert out.read_text() == before
    assert run("scan", folder, "--out", out, "--folds", "3", "--group", "none", "--force") == 3
    rows = Manifest.read(out).recordings
    assert ({r.columns["fold"] for r in rows}, len({r.group for r in rows})) == ({"1", "2", "3"}, 24)


def test_a_csv_is_grouped(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = [f"{folder}/{scene}/{scene}_{i}{k}.wav" for scene in ("bus", "park") for i in range(6) for k in "ab"]
    given = text(tmp_path / "given.csv", "Clip;Habitat\n" + "".join(f"{n};{Path(n).parent.name}\n" for n in names))
    assert run("scan", given, "--columns", "path=clip,scene=habitat", "--out", tmp_path / "m.csv") == 0
    assert len({r.group for r in Manifest.read(tmp_path / "m.csv").recordings}) == 12
    assert run("scan", folder, "--columns", "path=clip", "--out", tmp_path / "m.csv") == 2
    assert "--columns is for the columns of a CSV; a folder has none" in capfd.readouterr().err


def test_a_folder_or_other_columns_in_a_manifests_place(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path / "c", 2)
    listed = Manifest.read(tmp_path / "c" / "manifest.csv")
    (tmp_path / "c" / "manifest.csv").unlink()
    rows = "".join(f"{r.path};{r.scene}\n" for r in listed.recordings)
    given = text(tmp_path / "given.csv", "Clip;Habitat\n" + rows)
    seen: list[Any] = []

    def stop(manifest: Manifest, *_: object, **__: object) -> NoReturn:
        seen.append(manifest)
        raise ManifestError("enough")

    monkeypatch.setattr(pipeline, "train_on_manifest", stop)
    monkeypatch.setattr(pipeline, "evaluate_on_manifest", lambda model, *words, **more: stop(*words))
    monkeypatch.setattr(request_module, "from_manifest", stop)
    monkeypatch.setattr("soundscene.explanation.write.explain_manifest", lambda model, *words, **more: stop(*words))
    for command in (
        ["train", "SOURCE", "--out", tmp_path / "m.safetensors"],
        ["evaluate", model, "SOURCE"],
        ["experiment", "SOURCE", "--out", tmp_path / "run"],
        ["explain", model, "SOURCE", "--out", tmp_path / "p.png"],
    ):
        assert run(*(tmp_path / "c" if word == "SOURCE" else word for word in command)) == 2
        told = capfd.readouterr().err
        assert f"note: {tmp_path}/c: scanned, 6 files of 3 scenes, each its own recording, 2 folds; soundscene scan" in told
        words = [given if word == "SOURCE" else word for word in command]
        assert run(*words, "--columns", "path=Clip,scene=Habitat") == 2
        assert capfd.readouterr().err.endswith("soundscene: enough\n")
    assert [len(manifest.recordings) for manifest in seen] == [6] * 8
    assert [r.scene for r in seen[-1].recordings] == [r.scene for r in listed.recordings]
