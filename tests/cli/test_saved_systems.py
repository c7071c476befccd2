"""A saved system on the command line: predict, evaluate, info and push work, timeline and listen where it has
segments, all else refuses it in one line."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import soundscene
from soundscene.data.manifest import Manifest
from soundscene.data.store import FeatureStore
from soundscene.errors import AudioError, BundleError
from soundscene.loading import load_any
from soundscene.prediction import ScenePrediction
from soundscene.recipe import Recipe
from soundscene.systems.catalogue import build, specs
from soundscene.systems.system import FitContext
from tests.support.command_line import run
from tests.support.tiny import SCENES, write, write_corpus


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("sound"), 4)


@pytest.fixture(scope="module")
def model(manifest: Path) -> Path:
    return saved("hog", manifest)


def saved(name: str, manifest: Path) -> Path:
    system = build(specs([name])[0], Recipe.small().with_settings(["training.epochs=5"]))
    store = FeatureStore(manifest.parent / f"store-{name}", system.representation)
    recordings = Manifest.read(manifest).recordings
    assert store.build(recordings) == {}
    path = manifest.parent / f"{name}.safetensors"
    save = system.fit(store.load(recordings), FitContext(0)).save
    assert save is not None
    save(path, {})
    return path


@pytest.fixture(scope="module")
def pieces(manifest: Path) -> Path:
    """A network of segments, the images of whose segments are those of members."""
    return saved("tt-dnn", manifest)


@pytest.mark.budget(12)  # librosa compiles its transforms once in a process
def test_it_predicts_is_scored_and_tells_what_it_is(model: Path, manifest: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sound = manifest.parent / "rain" / "0.wav"
    assert run("predict", model, sound, "--json") == 0
    (row,) = json.loads(capfd.readouterr().out)["predictions"]
    assert set(row["posterior"]) == set(SCENES)
    assert run("info", model, "--json") == 0
    facts = json.loads(capfd.readouterr().out)
    assert (facts["system"], facts["head"], facts["scenes"]) == ("hog", "svm", list(SCENES))
    assert run("info", model) == 0
    told = capfd.readouterr().out
    assert "recipe.audio" in told
    assert "choices.orientations" in told
    assert "att-crnn" not in told, "of the recipe, only what the system reads"
    assert run("evaluate", model, manifest, "--json") == 0
    told = capfd.readouterr()
    scores = json.loads(told.out)["heads"]["svm"]
    assert scores["recording"]["n"] == 12
    assert scores["segment"] is None
    assert "12 of 12 recordings are in the model's training set" in " ".join(told.err.split())


@pytest.mark.parametrize(
    "words",
    [
        ("timeline", "MODEL", "SOUND"),
        ("listen", "MODEL", "--stdin", "--rate", "22050"),
        ("explain", "MODEL", "SOUND", "--out", "PICTURE"),
        ("predict", "MODEL", "SOUND", "--out", "OUT"),
        ("predict", "MODEL", "SOUND", "--head", "softmax"),
        ("predict", "MODEL", "SOUND", "--device", "cuda"),
        ("timeline", "MODEL", "SOUND", "--device", "nonsense"),
    ],
    ids=" ".join,
)
def test_everything_else_refuses_it_in_one_line(
    model: Path, manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    places = {
        "MODEL": model,
        "SOUND": manifest.parent / "rain" / "0.wav",
        "OUT": tmp_path / "out",
        "PICTURE": tmp_path / "a.png",
    }
    assert run(*(places.get(word, word) for word in words)) == 2
    told = " ".join(capfd.readouterr().err.split())
    devices = ("--device cuda: a saved system computes on the CPU", "--device nonsense: allowed are auto, cpu, cuda, mps")
    assert any(part in told for part in ("a model of the system hog", "are printed", "has no head softmax", *devices)), told
    assert "Traceback" not in told
    if words[0] in ("timeline", "listen") and "--device" not in words:
        assert f"{model}: a model of the system hog, which judges a" in told
    elif "a model of the system" in told:
        assert "where it has segments: pictures, embeddings, services and exports of saved systems are not built" in told


def test_one_with_segments_has_a_timeline_and_listens(
    pieces: Path, manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = [soundfile.read(manifest.parent / scene / "0.wav")[0] for scene in ("rain", "office", "rain")]
    sound = write(tmp_path / "day.wav", np.concatenate(scenes))
    assert run("timeline", pieces, sound, "--format", "json", "--stay", "4") == 0
    spans = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {span["scene"] for span in spans} <= set(SCENES)
    assert (spans[0]["start_s"], spans[-1]["end_s"]) == (0, 6.0)
    line = soundscene.timeline(pieces, sound, stay_s=4.0)
    assert [(span.start_s, span.scene) for span in line.spans] == [(span["start_s"], span["scene"]) for span in spans]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(sound.read_bytes())))
    assert run("listen", pieces, "--stdin", "--format", "jsonl") == 0
    heard = [json.loads(text) for text in capfd.readouterr().out.splitlines()]
    assert len(heard) == 3
    found = soundscene.predict(pieces, sound)
    assert isinstance(found, ScenePrediction)
    rows = [[one["segment_posterior"][scene] for scene in SCENES] for one in heard]
    np.testing.assert_allclose(rows, [segment.posterior for segment in found.segments], atol=1e-3)


def test_the_functions_take_it_too(model: Path, manifest: Path) -> None:
    sound = manifest.parent / "rain" / "0.wav"
    from_file = soundscene.predict(model, sound)
    samples, rate = soundfile.read(sound, dtype="float32")
    from_array = soundscene.predict(load_any(model, "soundscene.predict"), (samples, rate))
    assert isinstance(from_file, ScenePrediction)
    assert isinstance(from_array, ScenePrediction)
    assert from_array.source == "array"
    np.testing.assert_allclose(from_array.posterior, from_file.posterior, atol=1e-6)
    scores = soundscene.evaluate(model, manifest, test="fold=1", workers=1)
    assert (scores.n_recordings, scores.n_trained_on) == (3, 3)
    refused = ((rate, samples), r"expected \(samples, sample rate\)"), ((np.ones((9, 2)), rate), r"hand in samples\.T")
    for swapped, message in refused:
        with pytest.raises(AudioError, match=message):
            soundscene.predict(model, swapped)
    with pytest.raises(AudioError, match=r"^array: .*digital silence"):
        soundscene.predict(model, (np.zeros(rate), rate))
    with pytest.raises(BundleError, match=r"system hog, which predict.*soundscene\.predict, evaluate and timeline"):
        soundscene.load(model)
    with pytest.raises(BundleError, match=r"soundscene\.predict and evaluate can use, and timeline"):
        soundscene.embed(load_any(model, "soundscene.predict"), sound)
