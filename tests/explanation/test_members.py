"""Pictures of a model of several members: one of them in detail, predictions by all, and both said in the picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from soundscene.bundle import save_model
from soundscene.errors import BundleError
from soundscene.explanation.attribution import attribute
from soundscene.explanation.corpus import average
from soundscene.explanation.members import choose_member
from soundscene.explanation.recording import analyse_recording
from soundscene.explanation.segment import attention_picture
from soundscene.explanation.write import explain_manifest, explain_recording
from soundscene.model import Model
from soundscene.predictor import Predictor
from tests.explanation.test_pictures import texts_of
from tests.support.command_line import run
from tests.support.tiny import TINY, blank_bundle, blank_pair, only, recording, write

PAIR = blank_pair()


def with_baseline() -> Model:
    """A CNN baseline first, then an Att-CRNN."""
    baseline = only(blank_bundle(TINY.with_settings(["network.kind=cnn", "features.kind=gammatone"])))
    return replace(PAIR, members=(baseline, PAIR.members[0]))


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return write(tmp_path / "a.wav", recording("rain", 5.2, 0))


def test_the_first_member_with_attention_is_drawn_unless_one_is_named() -> None:
    model = with_baseline()
    assert choose_member(model)[1].name == "att-crnn-mel"
    assert choose_member(model, "cnn-gammatone") == (0, model.members[0])
    assert choose_member(replace(model, members=model.members[:1]))[0] == 0
    with pytest.raises(BundleError, match=r"no member 'att-crnn-mell'; did you mean 'att-crnn-mel'\?"):
        choose_member(model, "att-crnn-mell")
    with pytest.raises(BundleError, match="no member 'x'; it can draw cnn-gammatone, att-crnn-mel"):
        choose_member(model, "x")


@pytest.mark.parametrize("name", ["att-crnn-mel", "att-crnn-gammatone"])
def test_predictions_are_those_of_all_members_and_the_rest_is_of_one(sound: Path, name: str) -> None:
    view = analyse_recording(PAIR, sound, most=2, member=name)
    prediction = Predictor(PAIR).predict(sound)
    np.testing.assert_allclose(view.fused[-1], prediction.posterior, rtol=1e-5)
    np.testing.assert_allclose(view.posterior, [s.posterior for s in prediction.segments], rtol=1e-5)
    number, drawn = choose_member(PAIR, name)
    alone = analyse_recording(replace(PAIR, members=(drawn,)), sound, most=2, scene=view.scenes[view.attributed])
    np.testing.assert_array_equal(view.part.images, alone.part.images)
    np.testing.assert_array_equal(view.part.temporal, alone.part.temporal)
    expected = attribute(drawn, view.part.images, view.attributed, "svm").values
    np.testing.assert_array_equal(view.part.attribution.values, expected)
    assert alone.of_members is None
    assert PAIR.members[number].name == view.member == name


def test_the_picture_says_whose_attention_it_shows(sound: Path, tmp_path: Path) -> None:
    _, notes = explain_recording(PAIR, sound, tmp_path / "a.svg", most=1, member="att-crnn-gammatone")
    words = texts_of((tmp_path / "a.svg").read_text()).replace("\n", " ")
    assert "log-gammatone image, as recorded" in words
    assert "are those of the member att-crnn-gammatone, one of 2" in words
    assert any("Draw another by --member: att-crnn-mel." in note for note in notes)
    model = with_baseline()
    _, notes = explain_recording(model, sound, tmp_path / "b.svg", most=1, member="cnn-gammatone")
    assert any(note.startswith("The member cnn-gammatone is the CNN baseline, which has no attention") for note in notes)
    assert attention_picture(model, sound, tmp_path / "c.png") in (0, 1)


def test_averages_are_of_one_member_and_say_so(manifest: Path, tmp_path: Path) -> None:
    means, notes = explain_manifest(PAIR, manifest, tmp_path / "a.html", test="fold=1", most=1, member="att-crnn-gammatone")
    assert notes[0].startswith("Images, attention and attribution are those of the member att-crnn-gammatone")
    assert "member att-crnn-gammatone, one of 2" in (tmp_path / "a.html").read_text()
    alone = average(replace(PAIR, members=PAIR.members[1:]), manifest, test="fold=1", most=1)
    for one, other in zip(means, alone, strict=True):
        np.testing.assert_array_equal(one.by_band.mean, other.by_band.mean)


def test_a_member_is_named_on_the_command_line(sound: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_model(PAIR, tmp_path / "m.safetensors")
    words = ("explain", tmp_path / "m.safetensors", sound, "--out", tmp_path / "a.png", "--segments", "1")
    assert run(*words, "--member", "att-crnn-gammatone") == 0
    assert "those of the member att-crnn-gammatone" in capfd.readouterr().err
    assert run(*words, "--member", "yamnet") == 2
    assert "this model has no member 'yamnet'; it can draw att-crnn-mel, att-crnn-gammatone" in capfd.readouterr().err
