"""What stands in the place of the model, and how the results of a command go to one file."""

import csv
import json
import re
from pathlib import Path

import pytest

from soundscene.cli.models import check_manifest, check_model
from soundscene.errors import BundleError, ManifestError
from tests.cli.test_errors import Words
from tests.support.command_line import run
from tests.support.tiny import SCENES, recording, text, write


def refusal(*arguments: object) -> str:
    with pytest.raises(BundleError) as error:
        check_model(*arguments)  # type: ignore[arg-type]
    return str(error.value)


def test_predict_with_a_model_behind_a_sound_file(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sound = text(tmp_path / "a.wav", "")
    assert run("predict", sound, model) == 2
    assert capfd.readouterr().err.endswith(f"the model comes first: soundscene predict {model} {sound}\n")


def test_swapped_arguments_are_answered_with_the_right_command(model: Path, tmp_path: Path) -> None:
    sound = text(tmp_path / "a b.wav", "")
    assert refusal("predict", sound, [model]).endswith(f"the model comes first: soundscene predict {model} '{sound}'")
    assert refusal("evaluate", tmp_path / "m.csv", ["m.safetensors"]).endswith(f"evaluate m.safetensors {tmp_path}/m.csv")
    assert refusal("predict", sound, ["edge.onnx"]).endswith(f"soundscene predict edge.onnx '{sound}'")
    renamed = tmp_path / "weights.bin"  # told by its content
    renamed.write_bytes(model.read_bytes())
    assert refusal("timeline", tmp_path, [renamed]).endswith(f"soundscene timeline {renamed} {tmp_path}")
    swapped = f"soundscene train {tmp_path / 'm.csv'} --out {model}"
    with pytest.raises(ManifestError, match=re.escape(swapped)):
        check_manifest(model, tmp_path / "m.csv")


def test_a_folder_with_one_model_is_answered_with_that_model(tmp_path: Path) -> None:
    text(tmp_path / "a.safetensors", "")
    assert refusal("predict", tmp_path, ["x.wav"]).endswith(f"soundscene predict {tmp_path / 'a.safetensors'} x.wav")
    text(tmp_path / "b.safetensors", "")
    assert "a folder with 2 models (a.safetensors, b.safetensors)" in refusal("info", tmp_path)


def test_what_may_be_a_model_is_not_refused_here(model: Path, tmp_path: Path) -> None:
    odd = tmp_path / "model.wav"
    odd.write_bytes(model.read_bytes())
    for path in (odd, model, tmp_path / "absent.safetensors", tmp_path / "absent"):
        check_model("predict", path, ["a.wav"])


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    for number in range(2):
        write(folder / f"{number}.wav", recording("rain", 2.2, number))
    return folder


def test_one_file_has_the_columns_of_the_printed_csv(
    model: Path, sounds: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("predict", model, sounds, "--format", "csv", "--segments") == 0
    printed = capfd.readouterr().out
    names = ["rows.csv", "rows.jsonl"]
    for name in names:
        assert run("predict", model, sounds, "--out", tmp_path / "new" / name, "--segments") == 0
        assert "2 recordings, " in capfd.readouterr().err
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == names  # nothing unfinished, no folder of shards
    assert (tmp_path / "new" / "rows.csv").read_text() == printed
    rows = [json.loads(line) for line in (tmp_path / "new" / "rows.jsonl").read_text().splitlines()]
    expected = list(csv.DictReader(printed.splitlines()))
    assert [list(row) for row in rows] == [list(row) for row in expected]
    assert [f"{row['probability']:.6f}" for row in rows] == [row["probability"] for row in expected]


def test_one_file_of_parquet(model: Path, sounds: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert run("predict", model, sounds, "--out", tmp_path / "rows.parquet") == 0
    rows = parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [Path(row["path"]).name for row in rows] == ["0.wav", "1.wav"]
    assert list(rows[0]) == ["path", "start_s", "end_s", "scene", "probability", *SCENES]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "jsonl"], "is csv by its suffix and contradicts --format jsonl"),
        (["--device", "tpu"], "device 'tpu': allowed are auto, cpu, cuda, mps"),
        (["--device", "mps"], "device 'mps' is not available here; there is cpu"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_no_file(
    model: Path, sounds: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: Words, message: str
) -> None:
    assert run("predict", model, sounds, "--out", tmp_path / "rows.csv", *words) == 2
    assert message in capfd.readouterr().err
    assert not list(tmp_path.iterdir())
