"""An exported model predicts like the model: files, timelines and streams, in an installation without PyTorch."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

import soundscene
from soundscene import predictor
from soundscene.errors import BundleError, RecipeError, SceneError
from soundscene.export import write
from soundscene.export.check import Sound, default_sounds
from soundscene.export.model_graph import stateful_graph
from soundscene.export.write import export_model
from soundscene.predictor import Predictor
from soundscene.timelines import timeline, training_prior
from tests.support.command_line import run
from tests.support.installed import run_installed
from tests.support.tiny import RATE, recording
from tests.support.tiny import write as write_wav

SOUND = recording("rain", 9.3, 4)
SOUND[2 * RATE : 4 * RATE] = 0


@pytest.fixture(scope="module")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "m.onnx"
    found = export_model(model, out, sounds=[Sound("rain", SOUND.astype(np.float32))])
    assert found.size == out.stat().st_size
    assert found.parity
    assert found.parity.largest < 1e-5
    return out


@pytest.mark.parametrize("head", ["svm", "softmax"])
def test_predictions_timelines_and_streams_are_those_of_the_model(head: str, model: Path, exported: Path) -> None:
    ours, theirs = (soundscene.load(path, head) for path in (model, exported))  # pyright: ignore[reportArgumentType]
    with pytest.warns(soundscene.AudioWarning):
        a, b = ours((SOUND, RATE)), theirs((SOUND, RATE))
    assert (a.notes, a.duration_s, len(a.segments)) == (b.notes, b.duration_s, len(b.segments))
    assert any("digital silence did not vote" in note for note in b.notes)
    np.testing.assert_allclose(b.posterior, a.posterior, atol=1e-5)
    assert (a.unfamiliarity_threshold, b.unfamiliarity) == (
        b.unfamiliarity_threshold,
        pytest.approx(a.unfamiliarity, rel=1e-4),
    )
    spans = [timeline(one, p.model, p.head, 20.0) for one, p in ((a, ours), (b, theirs))]
    assert [(s.start_s, s.end_s, s.scene) for s in spans[0].spans] == [(s.start_s, s.end_s, s.scene) for s in spans[1].spans]
    np.testing.assert_allclose(spans[1].marginal, spans[0].marginal, atol=1e-5)
    np.testing.assert_array_equal(training_prior(ours.model, ours.head), training_prior(theirs.model, ours.head))
    (starts, embeddings), (starts_of_graph, of_graph) = (p.embed((SOUND, RATE)) for p in (ours, theirs))
    np.testing.assert_array_equal(starts, starts_of_graph)
    np.testing.assert_allclose(of_graph[0], embeddings[0], atol=1e-5)
    blocks = np.array_split(SOUND[3 * RATE :], 7)
    for one, other in zip(ours.stream(blocks, RATE, 0.7), theirs.stream(blocks, RATE, 0.7), strict=True):
        assert (one.start_s, one.n_segments) == (other.start_s, other.n_segments)
        assert one.posterior is not None
        assert other.posterior is not None
        np.testing.assert_allclose(other.posterior, one.posterior, atol=1e-5)


def test_of_many_recordings_most_take_the_compiled_front_end(
    model: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = soundscene.load(model), soundscene.load(exported)
    monkeypatch.setattr(predictor, "FEW", 2)
    paths = [write_wav(exported.parent / f"{n}.wav", SOUND[n * RATE :], RATE) for n in range(4)]
    expected, found = (list(one.predict_each(paths, 2)) for one in (ours, theirs))
    for (path, a), (other, b) in zip(expected, found, strict=True):
        assert path == other
        assert isinstance(a, soundscene.ScenePrediction)
        assert isinstance(b, soundscene.ScenePrediction)
        assert a.notes == b.notes
        np.testing.assert_allclose(b.posterior, a.posterior, atol=1e-5)
        assert b.unfamiliarity == pytest.approx(a.unfamiliarity, rel=1e-4)
    alone = theirs.model.for_many()
    stated = Predictor(alone).predict(paths[3], warn=False)
    assert isinstance(found[3][1], soundscene.ScenePrediction)
    np.testing.assert_array_equal(found[3][1].posterior, stated.posterior)
    first = theirs.predict(paths[1], warn=False)
    assert isinstance(found[1][1], soundscene.ScenePrediction)
    np.testing.assert_array_equal(found[1][1].posterior, first.posterior)


def test_no_pytorch_is_needed(model: Path, exported: Path, tmp_path: Path) -> None:
    """The modules of all extras but `onnx` cannot be imported; rows are those of the model."""
    wav = write_wav(tmp_path / "a.wav", SOUND, RATE)
    rows = ("predict", exported, wav, wav, "--format", "csv")
    shards = ("predict", exported, wav, "--out", tmp_path / "rows")
    spans = ("timeline", exported, wav, "--format", "json")
    (code, text, err), (code_out, _, _), (code_spans, lines, _) = run_installed(("onnx",), [rows, shards, spans])
    assert (code, code_out, code_spans) == (0, 0, 0), err
    with pytest.warns(soundscene.AudioWarning):
        expected = soundscene.load(model)(wav)
    cells = text.splitlines()[1].split(",")
    assert (cells[3], len(text.splitlines())) == (expected.scene, 3)
    np.testing.assert_allclose([float(cell) for cell in cells[5:]], expected.posterior, atol=1.1e-5)
    assert json.loads(lines.splitlines()[0])["scene"] in expected.scenes


def test_a_file_that_differs_is_not_left(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "m.onnx"
    monkeypatch.setattr(write, "stateful_graph", lambda model, metadata, int8: stateful_graph(model, metadata, True))
    with pytest.raises(
        SceneError, match=r"m.onnx: not written, because its posteriors differ from the model's by .* on rain"
    ):
        export_model(model, out, sounds=[Sound("rain", SOUND.astype(np.float32))])
    assert not [*tmp_path.iterdir()]
    with pytest.raises(SceneError, match=r"--out m.txt: expected a name that ends in .onnx"):
        export_model(model, Path("m.txt"))


def test_the_sounds_of_the_check_cover_random_ones_and_scenes() -> None:
    sounds = default_sounds(8000, 0.5)
    assert len({sound.name for sound in sounds}) == 10
    assert any((sound.samples == 0).mean() > 0.2 for sound in sounds)
    assert all(np.isfinite(sound.samples).all() and sound.samples.dtype == np.float32 for sound in sounds)


def test_what_is_no_exported_model_is_one_line(model: Path, exported: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "a.onnx"

    def refused(message: str, path: Path = foreign) -> None:
        with pytest.raises(BundleError, match=message) as found:
            soundscene.load(path)
        assert "\n" not in str(found.value)

    refused("no such file; make it by `soundscene export MODEL --out b.onnx`", tmp_path / "b.onnx")
    shutil.copy(model, foreign)
    refused("a.onnx: ONNX Runtime cannot load it")
    graph = onnx.load(exported)
    facts = {entry.key: entry.value for entry in graph.metadata_props}
    damaged = {
        "format": ('"another"', "an ONNX file, but no model of soundscene"),
        "version": ("2", "written in format 2, this soundscene reads 1"),
        "form": ('"whole"', "takes whole recordings"),
        "scenes": ('["a"]', "its metadata are damaged"),
        "temperature": ('{"svm": 0, "softmax": 1}', "its metadata are damaged"),
        "members": ("[{}]", "its metadata are damaged"),
        "familiarity": ('"energy?"', "its metadata are damaged"),
    }
    for name, (text, message) in damaged.items():
        onnx.helper.set_model_props(graph, facts | {name: text})
        foreign.write_bytes(graph.SerializeToString())
        refused(message)
    onnx.helper.set_model_props(graph, facts)
    del graph.graph.output[0]
    foreign.write_bytes(graph.SerializeToString())
    refused("lacks the outputs start_s")


def test_an_earlier_front_end_is_refused(exported: Path) -> None:
    with pytest.raises(RecipeError, match="computes front-end 2, not 1"):
        soundscene.load(exported).with_front_end(1)


def test_the_command_exports(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out, wav = tmp_path / "a.onnx", write_wav(tmp_path / "a.wav", SOUND, RATE)
    assert run("export", model, "--out", out, "--whole", "--sound", wav) == 0
    assert "takes a whole recording, weights in 32 bits\n11 sounds, " in capfd.readouterr().out
    assert run("export", model, "--out", out, "--int8", "--no-check") == 0
    told = capfd.readouterr()
    assert "weights in 8 bits" in told.out
    assert "not compared with the model" in told.err
