"""`soundscene backbone`: what it writes, what it says, and what it refuses."""

from pathlib import Path

import pytest

from soundscene.backbone.stored import StoredBackbone, installed
from tests.support.command_line import run
from tests.support.flat import tflite
from tests.support.yamnet import published


@pytest.fixture(autouse=True)
def data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOUNDSCENE_DATA", str(tmp_path / "data"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "yamnet.tflite").write_bytes(tflite(2)[0])
    return tmp_path / "yamnet.tflite"


def test_the_weights_are_kept_in_the_users_data_folder(source: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("backbone", "yamnet", "--from", source) == 0
    said = capfd.readouterr()
    stored = StoredBackbone.load(installed("yamnet"))
    assert said.out == (
        f"{installed('yamnet')}: YAMNet at 16000 Hz, {installed('yamnet').stat().st_size} bytes, licence Apache-2.0, "
        f"sha256 of the source {stored.facts['source_sha256']}\n"
    )
    assert "has the layers of YAMNet, but is not the file that soundscene was measured with" in said.err
    assert stored.facts["source"] == "YAMNet, tensorflow/models, research/audioset/yamnet"
    assert run("backbone", "yamnet", "--from", source) == 0
    assert capfd.readouterr().out == f"{installed('yamnet')}: is there already, with the same weights\n"


def test_the_published_file_needs_no_note(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("backbone", "yamnet", "--from", published(), "--out", tmp_path / "y.safetensors") == 0
    said = capfd.readouterr()
    assert said.err == ""
    assert "687f226c147a2caab4706fbbab5e9cecb14b9a368264bf61108078b1fddf68f5" in said.out
    assert not installed("yamnet").exists()


def test_another_file_is_replaced_only_by_force(source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "b.safetensors"
    for content in (b"my thesis", b""):
        out.write_bytes(content)
        assert run("backbone", "yamnet", "--from", source, "--out", out) == 2
        assert capfd.readouterr().err.splitlines()[-1] == (
            f"soundscene: {out}: is there already, and is something else; --force replaces it"
        )
        assert out.read_bytes() == content
    assert run("backbone", "yamnet", "--from", source, "--out", out, "--force") == 0
    first = StoredBackbone.load(out).digest
    source.write_bytes(tflite(2, seed=1)[0])
    assert run("backbone", "yamnet", "--from", source, "--out", out) == 2
    assert StoredBackbone.load(out).digest == first
    assert run("backbone", "yamnet", "--from", source, "--out", out, "--force") == 0
    assert StoredBackbone.load(out).digest != first


def test_what_cannot_be_used_is_one_line(source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text"
    text.write_text("hello")
    for words, message in (
        (["yamnet"], "backbone yamnet: give the publisher's file by --from (docs/guide/transfer.md says where it is)"),
        (["yamnet", "--from", tmp_path / "none"], "no such file"),
        (["yamnet", "--from", tmp_path], "is a folder"),
        (["yamnet", "--from", text], "not a TensorFlow Lite file"),
        (["yamnet", "--from", source, "--licence", "MIT"], "backbone yamnet: --licence is for an encoder in ONNX"),
        (["yamnet", "--from", source, "--sample-rate", "8000"], "backbone yamnet: --sample-rate is for an encoder in ONNX"),
        (["yamnet", "--from", source, "--out", tmp_path], "is there already, and is something else"),
        (["yamnet", "--from", source, "--out", text / "b.safetensors"], "cannot be written"),
    ):
        assert run("backbone", *words) == 2
        last = capfd.readouterr().err.splitlines()[-1]
        assert last.startswith("soundscene: ")
        assert message in last
    assert not installed("yamnet").exists()
