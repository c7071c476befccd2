"""The last line after Ctrl-C: true of every command, and of what it had finished."""

from pathlib import Path

import pytest
import typer

from soundscene import files
from soundscene.cli.app import app
from soundscene.cli.interrupted import left_behind

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_is_left(command: str) -> None:
    assert left_behind([command], ()).endswith(".")


@pytest.mark.parametrize(
    ("words", "written", "said"),
    [
        ("export m --out m.onnx", "", "Nothing was written."),
        ("export m --out m.onnx", "m.onnx", "m.onnx was written, nothing else."),
        ("evaluate m c.csv", "p.csv c.png", "p.csv, c.png were written, nothing else."),
        ("report run", "", "Nothing was written."),
        ("report run", "tables.md", "The report is incomplete; rerun the same command to write it again."),
        ("push m me/name", "", "Nothing was pushed."),
        ("push m me/name --card c.md", "", "Nothing was written."),
        ("predict m a.wav --out=rows.csv", "rows.csv", "rows.csv is complete."),
        ("timeline m a.wav --picture p.png", "p.png", "p.png was written, nothing else."),
        ("listen m", "", "No audio was classified."),
        ("serve m", "", "Nothing is served."),
        ("demo", "a.safetensors", "Rerun the same command to start again."),
    ],
)
def test_what_was_finished_is_named(words: str, written: str, said: str) -> None:
    assert left_behind(words.split(), [Path(name) for name in written.split()]) == said


def test_only_whole_files_count_as_written(tmp_path: Path) -> None:
    files.forget_finished()

    def interrupted() -> None:
        with files.atomic_path(tmp_path / "a") as unfinished:
            unfinished.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    files.write_atomic(tmp_path / "b", b"whole")
    assert files.finished() == (tmp_path / "b",)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
