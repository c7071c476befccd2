"""What a program may hand to the functions by mistake: one line says what was given and what is allowed."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import jaxtyping
import numpy as np
import pandas
import pytest
import soundfile
import torch

import soundscene
from soundscene.errors import AudioError, BundleError, ManifestError, RecipeError, SceneError
from soundscene.prediction import Predictions, ScenePrediction
from tests.support.tiny import RATE, SCENES, recording, write

S = cast("Any", soundscene)  # nothing here fits the types of its arguments
SAMPLES = recording("rain", 4.4, 1)
pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a user's program, where nothing checks the types of arguments."""
    monkeypatch.setattr(cast("Any", jaxtyping).config, "jaxtyping_disable", True)


@pytest.fixture(scope="module")
def rain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("rain") / "a.wav", SAMPLES)


def refusal(kind: type[SceneError], call: Callable[[], Any]) -> str:
    with pytest.raises(kind) as found:
        call()
    assert "\n" not in str(found.value)
    return str(found.value)


def test_a_word_that_is_no_choice_is_named_with_those_allowed(model: Path, rain: Path, tmp_path: Path) -> None:
    loaded = soundscene.load(model)
    for call, message in (
        (partial(S.load, model, head="nope"), "head 'nope': allowed are svm, softmax"),
        (partial(S.explain, loaded, rain, tmp_path / "x.svg", head="nope"), "head 'nope': allowed are svm, softmax"),
        (partial(S.predict, loaded, [rain], errors="ignore"), "errors 'ignore': allowed are raise, keep"),
        (partial(S.embed, loaded, [rain], errors="skip"), "errors 'skip': allowed are raise, keep"),
        (partial(S.embed, loaded, [rain], per="segments"), "per 'segments': allowed are recording, segment"),
        (partial(S.embed, loaded, [rain], per=[1]), "per [1]: allowed are recording, segment"),
        (partial(S.explain, loaded, rain, tmp_path / "x.svg", segments=0), "segments 0: expected a number, at least 1"),
        (partial(S.explain, loaded, rain, tmp_path / "x.svg", from_s="a"), "from_s 'a': expected a number, at least 0"),
        (partial(S.timeline, loaded, rain, stay_s="a"), "stay_s 'a': expected a number, at least 0"),
    ):
        assert refusal(SceneError, call) == message


@pytest.mark.parametrize("given", [None, 3, ["m.safetensors"]])
def test_what_is_no_model_is_named(given: Any, rain: Path, manifest: Path) -> None:
    start = f"a model of type {type(given).__name__}; expected a model file, "
    for call in (
        partial(S.predict, given, rain),
        partial(S.timeline, given, rain),
        partial(S.embed, given, rain),
        partial(S.evaluate, given, manifest),
    ):
        assert refusal(BundleError, call) == f"{start}hf://owner/name, or what soundscene.load returned"
    assert refusal(BundleError, partial(S.load, given)) == f"{start}or hf://owner/name"


def test_what_is_no_manifest_and_no_choice_of_rows_is_named(model: Path, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    table = pandas.read_csv(manifest)
    for call, message in (
        (
            partial(S.evaluate, model, table),
            "manifest of type DataFrame: expected a CSV, a folder, or what soundscene.scan returned; write it to a file",
        ),
        (partial(S.scan, None), "source of type NoneType: expected a folder, a CSV, or the zip of LITIS"),
        (partial(S.scan, ["a"]), "source of type list: expected a folder, a CSV, or the zip of LITIS"),
        (partial(S.train, manifest, out, test=1), 'test 1: expected COLUMN=VALUE as text, such as "fold=1"'),
        (partial(S.evaluate, model, manifest, test={"fold": 1}), "test {'fold': 1}: expected COLUMN=VALUE as text"),
        (partial(S.train, manifest, None), "out of type NoneType: expected a model file to write"),
        (partial(S.explain, model, "a.wav", None), "out of type NoneType: expected a picture to write"),
    ):
        assert refusal(ManifestError, call).startswith(message)


def test_a_text_in_the_place_of_a_list_is_a_list_of_one(manifest: Path, tmp_path: Path) -> None:
    train = partial(S.train, manifest, tmp_path / "m.safetensors")
    assert refusal(RecipeError, partial(train, settings="training.epoch=1")).startswith(
        "unknown recipe key 'training.epoch'; did you mean 'training.epochs'?"
    )
    assert refusal(RecipeError, partial(train, systems="att-crnn-mle")).startswith("system 'att-crnn-mle': allowed are")


def test_what_is_no_recording_is_named_once(model: Path, rain: Path) -> None:
    loaded = soundscene.load(model)
    rest = "expected a path, (samples, sample rate), or a mapping with array and sampling_rate"
    with rain.open("rb") as file:
        cases: list[tuple[Any, str]] = [
            (file, f"an open file (BufferedReader), which is not taken; {rest}"),
            (io.BytesIO(b"RIFF"), f"an open file (BytesIO), which is not taken; {rest}"),
            (SAMPLES, f"an array of shape (97020,) without its sample rate; {rest}"),
            (torch.tensor(SAMPLES), f"an array of shape (97020,) without its sample rate; {rest}"),
            ([0.1, 0.2], f"a source of type float, perhaps samples without their rate; {rest}"),
            (b"RIFF", f"a source of type bytes; {rest}"),
            (pandas.DataFrame({"path": [rain]}), f"a data frame; give its column of paths; {rest}"),
            (
                (rain, rain),
                "array: a tuple that begins with a path; expected (samples, sample rate); put several paths in a list",
            ),
            (
                {"path": "x.wav", "bytes": b"RIFF"},
                "x.wav: a mapping with the bytes of a file, which are not taken; decode them (Audio() of datasets gives "
                "array and sampling_rate), or write them to a file and give its path",
            ),
        ]
        for source, message in cases:
            for function in (S.predict, S.embed):
                assert refusal(AudioError, partial(function, loaded, source)) == message
    ragged = refusal(AudioError, partial(S.predict, loaded, ([[0.1, 0.2], [0.3]], RATE)))
    assert ragged.startswith("array: samples of type list cannot be read as an array (")


def test_columns_and_arrays_of_paths_are_several_recordings(model: Path, rain: Path) -> None:
    loaded, path = soundscene.load(model), os.fspath(rain)
    one = S.predict(loaded, rain)
    for several in (pandas.Series([path, path]), np.array([path, path]), iter([path, path])):
        assert soundscene.predict(loaded, several) == Predictions([one, one])


def test_a_mapping_with_samples_is_named_by_its_path(model: Path) -> None:
    loaded = soundscene.load(model)
    found = soundscene.predict(loaded, {"path": "street.wav", "array": SAMPLES, "sampling_rate": RATE})
    assert isinstance(found, ScenePrediction)
    assert found.source == "street.wav"
    silent = {"path": "s.wav", "array": np.zeros(3 * RATE, np.float32), "sampling_rate": RATE}
    assert refusal(AudioError, partial(loaded, silent)).startswith("s.wav: digital silence")
    nameless = loaded({"path": None, "array": SAMPLES, "sampling_rate": RATE})
    assert nameless.source == "array"


@pytest.mark.budget(20)  # five pictures
def test_a_picture_is_the_same_of_every_form_and_takes_the_options_of_the_command(
    model: Path, rain: Path, tmp_path: Path
) -> None:
    loaded = soundscene.load(model)
    options: dict[str, Any] = {"segments": 1, "from_s": 2.0, "member": "att-crnn-mel", "scene": SCENES[0]}
    samples, _ = soundfile.read(rain, dtype="float32")
    forms: list[Any] = [
        rain,
        {"path": os.fspath(rain), "bytes": None},
        {"path": os.fspath(rain), "array": torch.tensor(samples), "sampling_rate": RATE},
    ]
    pictures = [S.explain(loaded, form, tmp_path / f"{n}.svg", **options).read_text() for n, form in enumerate(forms)]
    assert pictures == pictures[:1] * 3
    assert S.explain(loaded, (samples, RATE), tmp_path / "t.svg", **options).read_text().startswith("<svg")
    assert S.explain(loaded, rain, tmp_path / "whole.svg").read_text() != pictures[0]
    with pytest.raises(SceneError, match="this model has no member 'cnn'"):
        S.explain(loaded, rain, tmp_path / "x.svg", member="cnn")
    with pytest.raises(AudioError, match=r"^array: nothing to draw from 60 s on, its last segment ends at"):
        S.explain(loaded, (SAMPLES, RATE), tmp_path / "x.svg", from_s=60)
    with pytest.raises(AudioError, match="an array of shape"):
        S.explain(loaded, SAMPLES, tmp_path / "x.svg")


def test_embeddings_do_not_depend_on_workers_and_keep_their_width(model: Path, rain: Path, tmp_path: Path) -> None:
    loaded = soundscene.load(model)
    width = soundscene.embed(loaded, rain).shape[1]
    assert loaded.embedding_sizes == (width,)
    lost = soundscene.embed(loaded, [tmp_path / "a.wav", tmp_path / "b.wav"], errors="keep")
    assert lost.shape == (2, width)
    assert np.isnan(lost).all()
    assert soundscene.embed(loaded, []).shape == (0, width)
    for per in ("recording", "segment"):
        found = [S.embed(loaded, [rain, rain, rain], per=per, workers=workers) for workers in (1, 3)]
        np.testing.assert_array_equal(*found)
        samples, _ = soundfile.read(rain, dtype="float32")
        np.testing.assert_array_equal(found[0], S.embed(loaded, [rain, (samples, RATE), rain], per=per))


CALLER = """
import sys, warnings, numpy, soundscene
model = soundscene.load(sys.argv[1])
dull = (numpy.load(sys.argv[2]), 16000)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model(dull)
    model([dull])
    model.predict(dull)
print(sorted((warning.filename, warning.lineno) for warning in caught))
"""


@pytest.mark.budget(20)  # a process
def test_warnings_are_at_the_line_of_the_caller(model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", SAMPLES)
    words = [sys.executable, "-c", CALLER, model, tmp_path / "x.npy"]
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    assert found.stdout == "[('<string>', 7), ('<string>', 8), ('<string>', 9)]\n"


def test_a_list_gives_predictions(model: Path) -> None:
    loaded = soundscene.load(model)
    found = loaded([(SAMPLES, RATE)])
    assert type(found) is Predictions
    assert found == [loaded((SAMPLES, RATE))]
