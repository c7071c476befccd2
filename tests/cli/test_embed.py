"""`soundscene embed`: a vector per recording with its path, in three forms; unreadable files are named, exit code 3."""

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

import soundscene
from soundscene.batch.embeddings import EmbeddingTable
from soundscene.bundle import save_model
from soundscene.errors import SceneError
from tests.support.command_line import run
from tests.support.tiny import blank_bundle, blank_pair, recording, text, write


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    save_model(blank_bundle(), path)
    return path


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    write(folder / "a.wav", recording("rain", 4.2, 1))
    write(folder / "b, c.wav", recording("office", 2.2, 2))
    text(folder / "broken.wav", "nothing")
    return folder


def test_each_form_has_the_vectors_and_their_paths(
    model: Path, sounds: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = [str(sounds / name) for name in ("a.wav", "b, c.wav")]
    expected = soundscene.embed(model, paths)
    for suffix in ("npy", "parquet", "csv"):
        out = tmp_path / "new" / f"x.{suffix}"
        assert run("embed", model, sounds, "--out", out) == 3
        told = capfd.readouterr()
        assert told.out == ""
        assert f"{out}: 2 recordings, {expected.shape[1]} values each" in told.err
        assert "broken.wav: is not an audio file" in told.err
        assert "soundscene: 1 file could not be used" in told.err
    matrix = np.load(tmp_path / "new" / "x.npy")
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix, expected, atol=1e-6)
    rows = list(csv.reader((tmp_path / "new" / "x.paths.csv").read_text().splitlines()))
    assert rows == [["path"], *([path] for path in paths)]
    table = pyarrow.parquet.read_table(tmp_path / "new" / "x.parquet")
    assert table.column("path").to_pylist() == paths
    assert table.column_names[1:] == [f"e{i}" for i in range(expected.shape[1])]
    np.testing.assert_array_equal(np.stack([table.column(n).to_numpy() for n in table.column_names[1:]], axis=1), matrix)
    header, *lines = list(csv.reader((tmp_path / "new" / "x.csv").read_text().splitlines()))
    assert (header[:2], [line[0] for line in lines]) == (["path", "e0"], paths)
    np.testing.assert_array_equal(np.array([line[1:] for line in lines], np.float32), matrix)
    assert {p.name for p in (tmp_path / "new").iterdir()} == {"x.npy", "x.paths.csv", "x.parquet", "x.csv"}


def test_a_list_of_paths_and_one_member(sounds: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_model(pair := blank_pair(), tmp_path / "pair.safetensors")
    listed = text(tmp_path / "list.txt", f"{sounds}/a.wav\n")
    words = ("embed", tmp_path / "pair.safetensors", "--from", listed, "--out", tmp_path / "x.npy")
    assert run(*words) == 0
    both = np.load(tmp_path / "x.npy")
    assert run(*words, "--member", pair.member_names[1]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), both[:, both.shape[1] // 2 :], atol=1e-6)
    capfd.readouterr()
    assert run(*words, "--member", "hog") == 2
    assert "member 'hog': the model has att-crnn-mel, att-crnn-gammatone" in capfd.readouterr().err


def test_what_cannot_be_is_one_line_and_writes_nothing(
    model: Path, sounds: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.npy"
    for words, code, message in (
        ((model, sounds, "--out", tmp_path / "x.txt"), 2, "x.txt: embeddings are written to a file that ends in .npy"),
        ((model, "--out", out), 2, "nothing to embed; give files"),
        ((model, sounds), 2, "--out FILE is needed"),
        ((model, sounds / "broken.wav", "--out", out), 3, "x.npy: not written, because no recording could be read"),
        ((tmp_path / "no.safetensors", sounds, "--out", out), 2, "no.safetensors: no such file"),
        ((sounds / "a.wav", model, "--out", out), 2, "is a sound file, and the model comes first"),
    ):
        assert run("embed", *words) == code
        assert message in " ".join(capfd.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_a_matrix_never_stands_beside_the_paths_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = EmbeddingTable(("a",), np.ones((1, 2), np.float32))
    table.write(tmp_path / "x.npy")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("soundscene.batch.embeddings.write_atomic", full)
    with pytest.raises(SceneError, match=r"x\.npy: cannot be written \(No space left"):
        EmbeddingTable(("b",), np.zeros((1, 2), np.float32)).write(tmp_path / "x.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["x.paths.csv"]
    monkeypatch.undo()
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(SceneError, match=r"x\.npy: cannot be written"):
        table.write(tmp_path / "x.npy")
