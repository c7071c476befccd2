"""Several models over one decoding of each file: predictions, rows and errors are those of each model alone."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from soundscene.audio import files as files_module
from soundscene.bundle import save_model
from soundscene.errors import SceneError
from soundscene.predictor import Predictor, load
from soundscene.several import predict_each_by_all
from tests.support.command_line import run
from tests.support.tiny import TINY, blank_bundle, recording, text, write

SLOW = TINY.with_settings(["audio.sample_rate=16000"])
LONG = TINY.with_settings(["audio.segment_s=4", "audio.last_piece=1"])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Two of one recipe, one at another rate, one with longer segments and other scenes."""
    folder = tmp_path_factory.mktemp("models")
    bundles = {
        "one": blank_bundle(seed=1),
        "two": blank_bundle(seed=2),
        "slow": blank_bundle(SLOW, seed=3),
        "long": blank_bundle(LONG, ("office", "path", "train"), seed=4),
    }
    for name, bundle in bundles.items():
        save_model(bundle, folder / f"{name}.safetensors")
    return tuple(folder / f"{name}.safetensors" for name in bundles)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    write(folder / "a.wav", recording("rain", 4.2, 1))
    write(folder / "b.wav", recording("office", 4.4, 2), 48000)  # 2.0 s, too short for the longer segments
    text(folder / "broken.wav", "nothing")
    return folder


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are decoded, in order."""
    opened: list[str] = []
    decode: Callable = files_module.open_decoder

    def counted(path: Path, *rest: object) -> object:
        opened.append(path.name)
        return decode(path, *rest)

    monkeypatch.setattr(files_module, "open_decoder", counted)
    return opened


def test_each_file_is_decoded_once_and_predicted_as_by_each_model_alone(
    models: tuple[Path, ...], sounds: Path, decodings: list[str]
) -> None:
    paths = sorted(sounds.iterdir())
    predictors = [load(model) for model in models]
    together = list(predict_each_by_all(predictors, paths, 2))
    assert sorted(decodings) == ["a.wav", "b.wav", "broken.wav"]
    assert [path for path, _ in together] == paths
    for number, predictor in enumerate(predictors):
        for (_, alone), (_, results) in zip(predictor.predict_each(paths, 2), together, strict=True):
            found = results[number]
            assert str(found) == str(alone) if isinstance(alone, SceneError) else found == alone
    assert [[isinstance(found, SceneError) for found in results] for _, results in together] == [
        [False] * 4,
        [False, False, False, True],
        [True] * 4,
    ]
    assert len(decodings) == 3 + 4 * 3


def test_rows_name_the_model(
    models: tuple[Path, ...], sounds: Path, tmp_path: Path, decodings: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    one, two, _, long = models
    assert run("predict", "--format", "csv", one, two, long, "--", sounds) == 3
    told = capfd.readouterr()
    rows = list(csv.DictReader(told.out.splitlines()))
    assert sorted(decodings) == ["a.wav", "b.wav", "broken.wav"]
    assert [(row["model"], Path(row["path"]).name) for row in rows] == [
        (str(one), "a.wav"),
        (str(two), "a.wav"),
        (str(long), "a.wav"),
        (str(one), "b.wav"),
        (str(two), "b.wav"),
    ]
    assert list(rows[0])[:6] == ["model", "path", "start_s", "end_s", "scene", "probability"]
    assert list(rows[0])[6:] == ["night_crickets", "office", "rain", "p(path)", "train"]
    assert (rows[0]["train"], rows[2]["rain"]) == ("", "")
    assert told.err.count("broken.wav: is not an audio file") == 1
    assert told.err.count(f"soundscene: {long}: {sounds}/b.wav: lasts") == 1
    assert "soundscene: 2 files could not be used" in told.err
    assert run("predict", one, two, sounds / "a.wav", "--json") == 0
    documents = json.loads(capfd.readouterr().out)["predictions"]
    assert [document["model"] for document in documents] == [str(one), str(two)]
    assert run("predict", one, two, sounds / "a.wav") == 0
    assert capfd.readouterr().out.split()[:2] == ["model", "path"]
    assert run("predict", one, long, sounds, "--format", "jsonl") == 3
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(line.get("model"), "error" in line) for line in lines] == [
        (str(one), False),
        (str(long), False),
        (str(long), True),
        (str(one), False),
        (None, True),
    ]
    for name in ("rows.csv", "rows.jsonl", "rows.parquet"):
        assert run("predict", one, two, sounds / "a.wav", "--out", tmp_path / name) == 0
    assert (tmp_path / "rows.csv").read_text().startswith("model,path,start_s,end_s,scene,probability,night_crickets,")
    assert json.loads((tmp_path / "rows.jsonl").read_text().splitlines()[1])["model"] == str(two)


def test_what_does_not_go_together_is_one_line(
    models: tuple[Path, ...], sounds: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one, two = models[:2]
    for words, message in (
        ((one, two, sounds, "--out", tmp_path / "folder"), "several models: rows are printed, or go to one file"),
        ((one, one, sounds), "one.safetensors: is given twice as MODEL"),
        ((one, two), "nothing to predict"),
        ((one, tmp_path / "no.safetensors", sounds), "no.safetensors: no such file"),
    ):
        assert run("predict", *words) == 2
        assert message in capfd.readouterr().err
    assert not (tmp_path / "folder").exists()


def test_predictors_of_one_list_are_those_of_load(models: tuple[Path, ...], sounds: Path) -> None:
    (_, (found,)), *_ = predict_each_by_all([Predictor(blank_bundle(seed=1))], [sounds / "a.wav"])
    assert found == load(models[0]).predict(sounds / "a.wav", warn=False)
