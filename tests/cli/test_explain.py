"""`soundscene explain` through the command line, in an application of its own."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from soundscene.cli.explain import explain
from soundscene.errors import SceneError
from tests.support.tiny import recording, write

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
app.command()(explain)


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_recording_and_a_manifest_are_distinguished_by_the_suffix(model: Path, manifest: Path, tmp_path: Path) -> None:
    sound = write(tmp_path / "a.wav", recording("rain", 4.2, 0))
    found = run(model, sound, "--out", tmp_path / "a.png", "--segments", "1", "--head", "softmax")
    assert found.exit_code == 0, found.output
    assert found.stdout.startswith(f"{tmp_path / 'a.png'}: ")
    assert "note: Drawn in detail: 1 of 2 segments, 0 s to 2 s." in found.stderr
    assert "note: attributions are integrated gradients: those of a segment sum" in found.stderr
    found = run(model, manifest, "--out", tmp_path / "b.html", "--test", "fold=1", "--segments", "1")
    assert found.exit_code == 0, found.output
    assert found.stdout == f"{tmp_path / 'b.html'}: 3 recordings of 3 scenes\n"
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "b.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["m.safetensors", "a.wav", "--out", "a.pdf"], "a.pdf: a picture ends in .png, .svg or .html, not in '.pdf'"),
        (["m.safetensors", "a.wav", "--out", "a.png"], "m.safetensors: no such file"),
        (["MODEL", "a.wav", "--out", "a.png"], "a.wav"),
        (["MODEL", "a.csv", "--out", "a.png"], "a.csv: does not exist"),
        (["MODEL", "a.wav", "--out", "a.png", "--scene", "moon"], "this model has no scene 'moon'; it has "),
    ],
)
def test_what_a_user_does_wrong_is_one_line(
    words: list[str], message: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = run(*(str(model) if word == "MODEL" else word for word in words))
    assert isinstance(found.exception, SceneError)
    assert message in str(found.exception)
    assert "\n" not in str(found.exception)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.csv", "--scene", "rain"], "are for an audio file"),
        (["a.csv", "--from", "3"], "are for an audio file"),
        (["a.wav", "--test", "fold=1"], "chooses rows of a manifest"),
        (["a.wav", "--segments", "0"], "Invalid value for '--segments'"),
        (["a.wav", "--from", "-1"], "Invalid value for '--from'"),
    ],
)
def test_options_that_contradict_the_source_are_refused(words: list[str], message: str, model: Path, tmp_path: Path) -> None:
    found = run(model, *words, "--out", tmp_path / "a.png")
    assert found.exit_code == 2
    assert message in found.output
    assert not list(tmp_path.iterdir())


def test_every_option_is_explained_and_there_are_no_more_than_ten() -> None:
    command = typer.main.get_command(app)
    options = [p for p in command.params if p.opts[0].startswith("--")]
    assert len(options) <= 10
    assert all(getattr(p, "help", None) for p in options)
