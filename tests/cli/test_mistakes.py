"""Files in each other's places, lists, names of outputs: one line that says what was given, and exit code 2."""

import csv
import shutil
from pathlib import Path

import pytest

from soundscene.data.manifest import listed_files
from soundscene.export.write import export_model
from tests.support.command_line import run
from tests.support.tiny import SCENES, recording, text, write


@pytest.fixture(scope="module")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(model, tmp_path_factory.mktemp("exported") / "m.onnx").path


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("sound") / "a.wav", recording("rain", 2.2, 1))


def refused(capfd: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line of a command line that is refused, without notes."""
    assert run(*words) == 2  # pyright: ignore[reportArgumentType]
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1, lines
    return lines[0].removeprefix("soundscene: ")


def test_an_exported_model_where_a_model_file_is_needed(
    model: Path, exported: Path, manifest: Path, sound: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "e.png"
    for words in (("evaluate", exported, manifest), ("explain", exported, sound, "--out", picture), ("budget", exported)):
        expected = f"{exported}: is an exported model, which only predicts; give the model file (.safetensors)"
        assert refused(capfd, *words) == expected
    for command in ("budget", "export"):
        out = () if command == "budget" else ("--out", "x.onnx")
        meant = " ".join(["soundscene", command, "MODEL.safetensors", *out])
        for wrong, what in ((tmp_path, "a folder"), (manifest, "a list of recordings"), (sound, "a sound file")):
            found = refused(capfd, command, wrong, *out)
            assert found == f"{wrong}: is {what}, expected a .safetensors file, which `soundscene train` writes: {meant}"
    line = refused(capfd, "explain", sound, model, "--out", "e.png")
    assert line == f"{sound}: is a sound file, and the model comes first: soundscene explain {model} {sound} --out e.png"
    line = refused(capfd, "embed", manifest.parent, model, "--out", "e.npy")
    assert line.endswith(f"the model comes first: soundscene embed {model} {manifest.parent} --out e.npy")


def test_what_is_no_manifest_is_named(
    model: Path, exported: Path, sound: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = "expected a CSV with the columns path and scene, or a folder of recordings"
    out = ("--out", tmp_path / "m.safetensors")
    flac = sound.with_suffix(".flac")
    shutil.copy(sound, flac)
    for words in (("train", sound, *out), ("experiment", sound, *out)):
        assert refused(capfd, *words) == f"{sound}: is a sound file, {expected}"
    line = refused(capfd, "evaluate", model, flac)
    assert line == f"{flac}: is a sound file, {expected}; to predict its scene: soundscene predict {model} {flac}"
    line = refused(capfd, "evaluate", sound, model)
    assert line == f"{sound}: is a sound file, and the model comes first: soundscene predict {model} {sound}"
    assert refused(capfd, "scan", model, "--out", tmp_path / "x.csv") == f"{model}: is a model, {expected}"
    assert refused(capfd, "scan", exported, "--out", tmp_path / "x.csv") == f"{exported}: is an exported model, {expected}"
    assert refused(capfd, "train", exported, *out) == f"{exported}: is an exported model, {expected}"
    url = text(tmp_path / "url.csv", "path,scene\nhttp://x/a.wav,rain\n")
    assert (
        refused(capfd, "train", url, *out) == f"{url}, line 2: http://x/a.wav is a URL; download it first, and give the file"
    )


def test_a_list_with_columns_is_read_by_its_column_of_paths(
    model: Path, manifest: Path, sound: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = [f"{scene}/{number}.wav" for scene in SCENES for number in range(5)]
    assert run("predict", model, "--from", manifest, "--format", "csv", "--workers", "1") == 0
    found = [row["path"] for row in csv.DictReader(capfd.readouterr().out.splitlines())]
    assert found == [str(manifest.parent / name) for name in names]
    assert run("embed", model, "--from", manifest, "--out", tmp_path / "e.csv") == 0
    assert [row["path"] for row in csv.DictReader((tmp_path / "e.csv").read_text().splitlines())] == found
    rows = tmp_path / "rows.tsv"
    rows.write_text(f"id\tFile name\n1\t{sound}\n2\tnone.wav\n3\t\n")
    assert listed_files(text(tmp_path / "plain.csv", f"{sound}\n")) is None
    assert listed_files(text(tmp_path / "list.txt", "path\na.wav\n")) is None
    assert listed_files(text(tmp_path / "a.csv", f"scene;Filename\nrain;{sound}\nrain;none.wav\n")) == [
        sound,
        tmp_path / "none.wav",
    ]
    capfd.readouterr()
    assert run("predict", model, "--from", tmp_path / "a.csv") == 3
    assert "none.wav: does not exist" in capfd.readouterr().err
    for command in (("predict", model, manifest), ("embed", model, manifest, "--out", tmp_path / "e.npy")):
        assert run(*command) == 3
        first, second, _ = capfd.readouterr().err.splitlines()[-3:]
        assert first == f"soundscene: {manifest}: is not an audio file but plain text"
        assert second == "note: a list of recordings, such as a manifest, is given by --from FILE"


def test_a_folder_with_one_recording_is_one_recording(
    model: Path, sound: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = sound.parent / "one"
    folder.mkdir()
    shutil.copy(sound, folder / "a.wav")
    picture = tmp_path / "p.svg"
    assert run("timeline", model, folder, "--picture", picture, "--start", "2026-05-03T14:00:00") == 0
    assert picture.exists()
    assert "began 2026-05-03 14:00:00" in capfd.readouterr().out
    broken = tmp_path / "broken"
    broken.mkdir()
    text(broken / "x.wav", "no sound")
    assert "not an audio file" in refused(capfd, "timeline", model, broken, "--picture", picture)
    assert run("timeline", model, broken) == 3
    assert capfd.readouterr().out == ""


def test_names_of_outputs_that_would_surprise(
    model: Path, manifest: Path, sound: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for command, suffix in (("predict", ".xlsx"), ("predict", ".json"), ("timeline", ".txt"), ("timeline", ".png")):
        out = tmp_path / f"rows{suffix}"
        line = refused(capfd, command, model, sound, "--out", out)
        expected = f"--out {out}: one file ends in .csv, .jsonl, .parquet, not in {suffix}"
        assert line == f"{expected}; a name without a suffix is a folder"
        assert not out.exists()
    line = refused(capfd, "scan", manifest.parent, "--out", tmp_path)
    assert line == f"{tmp_path}: is a folder; name the manifest to write, for example {tmp_path / 'manifest.csv'}"
    line = refused(capfd, "experiment", manifest, "--out", manifest, "--systems", "nearest-mean")
    assert line == f"{manifest}: is a file; name a folder for the results, new or of this experiment"
    assert refused(capfd, "report", manifest).startswith(f"{manifest}: is a file, expected the folder of an experiment")


def test_evaluate_says_what_is_wrong_before_it_reads_sound(
    model: Path, manifest: Path, sound: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sounds = text(tmp_path / "a.csv", f"path,scene\n{sound},rain\n")
    assert "a.csv: no column 'city'; there are path, scene, group" in refused(
        capfd, "evaluate", model, sounds, "--by", "city"
    )
    assert run("evaluate", model, sounds) == 0
    assert "of 1 recordings right, no interval (svm; they are one group)" in capfd.readouterr().out
    other = tmp_path / "Übung" / "Café"
    write(other / "a.wav", recording("rain", 2.2, 1))
    line = refused(capfd, "evaluate", model, other.parent)
    assert line.startswith(f"{other / 'a.wav'}: scene 'Café' is not one of the model's (night_crickets, office, rain)")


def test_train_refuses_one_scene_before_it_reads_sound(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sounds = text(tmp_path / "a.csv", "path,scene\na.wav,rain\nb.wav,rain\n")
    for name in ("a.wav", "b.wav"):
        text(tmp_path / name, "no sound")
    line = refused(capfd, "train", sounds, "--out", tmp_path / "m.safetensors")
    assert line.startswith("the training part holds 1 scene (rain); at least two are needed")


def test_scan_says_why_nothing_can_be_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rain").mkdir()
    for name in ("a.wav", "b.wav"):
        text(tmp_path / "rain" / name, "no sound")
    line = refused(capfd, "scan", tmp_path, "--out", tmp_path / "m.csv")
    first = tmp_path / "rain" / "a.wav"
    assert line == f"none of 2 recordings can be read: {first}: is not an audio file but plain text; and 1 more"


def test_what_is_no_model_is_named_by_its_content(
    model: Path, exported: Path, manifest: Path, sound: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kind = "expected a .safetensors file, which `soundscene train` writes: soundscene"
    notes, png = text(tmp_path / "notes.txt", "some words\n"), tmp_path / "a.safetensors"
    png.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    assert refused(capfd, "info", notes) == f"{notes}: is plain text, {kind} info MODEL.safetensors"
    assert refused(capfd, "listen", png, "--stdin") == f"{png}: is a PNG image, {kind} listen MODEL.safetensors --stdin"
    shutil.copy(png, picture := tmp_path / "a.csv")
    assert refused(capfd, "train", picture, "--out", tmp_path / "m.safetensors").startswith(
        f"{picture}: is a PNG image, expected a CSV"
    )
    assert refused(capfd, "train", model, "--out", "new").endswith("soundscene train MANIFEST --out new")
    for given, what in ((model, "a model"), (exported, "an exported model")):
        assert refused(capfd, "timeline", model, given) == f"{given}: is not an audio file but {what}"
    gone = tmp_path / "gone.x"
    line = refused(capfd, "evaluate", gone, model)
    assert line == f"{gone}: does not exist, and the model comes first: soundscene evaluate {model} {gone}"
    assert refused(capfd, "info", gone).startswith(f"{gone}: no such file; make it by")


def test_lists_of_recordings_are_given_as_each_command_takes_them(
    model: Path, manifest: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = refused(capfd, "predict", manifest, model)
    assert line.endswith(f"the model comes first: soundscene predict {model} --from {manifest}")
    line = refused(capfd, "evaluate", manifest, model)
    assert line.endswith(f"the model comes first: soundscene evaluate {model} {manifest}")
    line = refused(capfd, "timeline", model, manifest)
    meant = f"soundscene timeline {model} {manifest.parent}"
    assert line == f"{manifest}: is a list of recordings; timeline takes audio files and folders: {meant}"


def test_files_in_the_place_of_a_repository_or_a_kind(
    model: Path,
    manifest: Path,
    sound: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(manifest.parent.parent)
    inside = manifest.relative_to(manifest.parent.parent)  # looks like owner/name
    line = refused(capfd, "push", model, inside, "--card", tmp_path / "c.md")
    assert (
        line == f"{inside}: is a file, expected the name of a repository: soundscene push {model} OWNER/NAME --on {inside}"
    )
    assert not (tmp_path / "c.md").exists()
    weights = text(tmp_path / "yamnet.tflite", "x")
    line = refused(capfd, "backbone", weights)
    assert line == f"{weights}: is a file, and the kind comes first: soundscene backbone yamnet --from {weights}"
    assert refused(capfd, "backbone", sound).startswith(f"backbone {sound}: expected yamnet or onnx")
    assert refused(capfd, "budget", model, sound).startswith(f"{sound}: is a sound file, expected a CSV")
    assert capfd.readouterr().out == ""
