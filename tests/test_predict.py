"""One way of a sample: a file, an array and the training path give the same images and the same answer."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.special import logsumexp

import soundscene
from soundscene import predict
from soundscene.bundle import ModelBundle
from soundscene.data.corpus import join_segments, read_corpus
from soundscene.errors import AudioError, AudioWarning
from soundscene.predict import Predictor
from soundscene.systems.neural import HEADS, answer
from soundscene.types import Recording, ScenePrediction
from tests.tiny import RATE, SCENES, TINY, blank_bundle, recording, write


def same(one: ScenePrediction, other: ScenePrediction) -> None:
    np.testing.assert_array_equal(one.posterior, other.posterior)
    assert len(one.segments) == len(other.segments)
    for mine, yours in zip(one.segments, other.segments, strict=True):
        assert (mine.start_s, mine.end_s) == (yours.start_s, yours.end_s)
        np.testing.assert_array_equal(mine.posterior, yours.posterior)


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(blank_bundle())


@pytest.fixture
def street(tmp_path: Path) -> Path:
    return write(tmp_path / "street.wav", recording("rain", 7.1, 0))


# --- the answer -------------------------------------------------------------------------------------------------------


def test_path_text_array_and_list_give_the_same_bits(predictor: Predictor, street: Path) -> None:
    floats, rate = soundfile.read(street, dtype="float32")
    integers, _ = soundfile.read(street, dtype="int16")
    answers = predictor([street, str(street), (floats, rate), (integers, rate), (floats[None], rate)])
    assert isinstance(answers, list)
    for other in answers:
        same(answers[0], other)
    alone = predictor(street)
    assert isinstance(alone, ScenePrediction)
    same(alone, answers[0])
    assert [a.source for a in answers] == [str(street), str(street), "array", "array", "array"]
    assert predictor([]) == []


def test_the_answer_is_the_tempered_product_of_its_segments(predictor: Predictor, street: Path) -> None:
    found = predictor.predict(street)
    logs = np.array([np.log(s.posterior) for s in found.segments]).sum(axis=0) / 1.3  # temperature of the SVM
    np.testing.assert_allclose(found.posterior, np.exp(logs - logsumexp(logs)), rtol=1e-9)
    assert found.posterior.sum() == pytest.approx(1, abs=1e-12)
    for segment in found.segments:
        assert segment.posterior.sum() == pytest.approx(1, abs=1e-12)
    assert found.scenes == predictor.scenes == SCENES
    assert found.scene == SCENES[int(np.argmax(found.posterior))]
    assert found.probability == found.posterior.max()


def test_segments_follow_each_other_and_the_last_ends_with_the_recording(predictor: Predictor, street: Path) -> None:
    found = predictor.predict(street)
    assert found.duration_s == pytest.approx(7.1)
    assert [s.start_s for s in found.segments] == pytest.approx([0, 2, 4, 5.1], abs=1 / RATE)
    assert [s.end_s - s.start_s for s in found.segments] == pytest.approx([2] * 4)
    assert found.notes == ()


def test_the_head_can_be_chosen_and_is_the_recipes_otherwise(tmp_path: Path, street: Path) -> None:
    path = tmp_path / "m.safetensors"
    blank_bundle().save(path)
    svm, softmax = soundscene.load(path, "svm").predict(street), soundscene.load(str(path), "softmax").predict(street)
    assert np.abs(svm.posterior - softmax.posterior).max() > 0.01
    same(soundscene.load(path).predict(street), svm)
    blank_bundle(TINY.with_settings(["calibration.head=softmax"])).save(path)
    same(soundscene.load(path).predict(street), softmax)


def test_stereo_is_its_mono_at_the_recipes_rate(predictor: Predictor) -> None:
    draws = np.random.default_rng(0)
    left, right = (0.1 * draws.standard_normal((2, 44100 * 3))).astype(np.float32)
    right = np.convolve(right, np.ones(30, np.float32) / 5, "same")  # dull, so that one channel is not the other
    stereo = predictor.predict((np.stack([left, right]), 44100))
    mono = predictor.predict(((left + right) / 2, 44100))
    # the mean over channels may round differently in the last bit of float32
    np.testing.assert_allclose(stereo.posterior, mono.posterior, rtol=1e-4)
    assert np.abs(stereo.posterior - predictor.predict((left, 44100)).posterior).max() > 1e-3


def test_a_resampled_recording_is_heard_as_the_same_sound(predictor: Predictor) -> None:
    time = np.arange(44100 * 3) / 44100
    rng = np.random.default_rng(0)
    tones = np.array([0.02 * np.sin(2 * np.pi * hz * time + rng.uniform(0, 6)) for hz in rng.uniform(100, 9000, 60)])
    sound = tones.sum(axis=0).astype(np.float32)  # nothing above 9 kHz, so that every second sample is the same sound
    twice, once = predictor.predict((sound, 44100)), predictor.predict((sound[::2].copy(), 22050))
    np.testing.assert_allclose(twice.posterior, once.posterior, atol=0.02)


# --- what may make it worse -------------------------------------------------------------------------------------------


def test_silent_segments_do_not_vote_and_are_noted(predictor: Predictor) -> None:
    sound = recording("rain", 6.0, 0).copy()
    sound[2 * RATE : 4 * RATE] = 0
    with pytest.warns(AudioWarning, match=r"^array: 1 segment\(s\) of digital silence did not vote$"):
        found = predictor.predict((sound, RATE))
    assert [s.start_s for s in found.segments] == [0, 4]
    assert found.notes == ("1 segment(s) of digital silence did not vote",)
    logs = np.array([np.log(s.posterior) for s in found.segments]).sum(axis=0) / 1.3
    np.testing.assert_allclose(found.posterior, np.exp(logs - logsumexp(logs)), rtol=1e-9)


def test_nothing_but_silence_is_no_scene(predictor: Predictor, tmp_path: Path) -> None:
    sound = np.zeros(round(4.5 * RATE), np.float32)
    with pytest.raises(AudioError, match=r"^array: digital silence: all 99225 samples are exactly zero; was the micro"):
        predictor.predict((sound, RATE))
    sound[-100:] = 0.1  # too late for any segment
    path = write(tmp_path / "late.wav", sound)
    with pytest.raises(AudioError) as refusal:
        predictor.predict(path)
    assert str(refusal.value) == f"{path}: every segment is digital silence; was the microphone connected?"


def test_a_low_rate_is_answered_with_a_warning_that_names_the_empty_bands(predictor: Predictor) -> None:
    sound = (0.1 * np.random.default_rng(0).standard_normal(8000 * 3)).astype(np.float32)
    message = (
        "sampled at 8000 Hz, below the recipe's 22050 Hz: nothing above 4000 Hz, "
        "so the bands from 4000 to 11025 Hz stay empty and the answer may be wrong"
    )
    with pytest.warns(AudioWarning) as caught:
        found = predictor.predict((sound, 8000))
    assert [str(w.message) for w in caught] == [f"array: {message}"]
    assert found.notes == (message,)


def test_a_broken_file_in_a_list_raises(predictor: Predictor, street: Path) -> None:
    with pytest.raises(AudioError, match=r"gone\.wav: does not exist"):
        predictor([street, street.parent / "gone.wav"])


# --- training and prediction are one path -----------------------------------------------------------------------------


def test_training_path_and_prediction_path_have_the_same_images_and_the_same_answer(
    manifest: Path, model: Path, street: Path
) -> None:
    bundle = ModelBundle.load(model)
    files = [street, manifest.parent / "office/0.wav", write(street.with_name("b.wav"), recording("office", 5.0, 3), 16000)]
    corpus = read_corpus([Recording(file, "rain", file.name) for file in files], bundle.recipe, workers=2)
    for head in HEADS:
        predictor = Predictor(bundle, head)
        together = answer(bundle, corpus, head)
        for number, file in enumerate(files):
            with_warning = pytest.warns(AudioWarning) if file.name == "b.wav" else pytest.MonkeyPatch.context()
            with with_warning:
                found = predictor.predict(file)
            mine = corpus.take([corpus.recordings[number]])
            alone = answer(bundle, mine, head)
            np.testing.assert_array_equal(np.exp(alone.calibrated[0]), found.posterior)
            np.testing.assert_array_equal(np.exp(alone.segment), [s.posterior for s in found.segments])
            # in one batch with other recordings, matrix products may round differently
            np.testing.assert_allclose(np.exp(together.calibrated[number]), found.posterior, atol=1e-5)
            sound = predict.AudioFile(file, bundle.recipe.audio)
            pieces = join_segments(list(predictor._pieces(sound)))
            np.testing.assert_array_equal(mine.features, pieces.images)
            np.testing.assert_array_equal(mine.start_s, pieces.start_s)


def test_the_size_of_batches_does_not_change_the_answer(
    predictor: Predictor, street: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = predictor.predict(street)
    monkeypatch.setattr(predict, "BATCH", 1)
    found = predictor.predict(street)
    assert [s.start_s for s in found.segments] == [s.start_s for s in whole.segments]
    np.testing.assert_allclose(found.posterior, whole.posterior, rtol=1e-4)


def test_ten_minutes_need_no_more_memory_than_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "BATCH", 8)
    recipe = TINY.with_settings(
        [
            "audio.sample_rate=8000",
            "audio.noise_window=256",
            "audio.noise_hop=128",
            "features.window=400",
            "features.hop=200",
            "features.n_fft=1024",
        ]
    )
    predictor = Predictor(blank_bundle(recipe))
    sizes = []

    def spied(self: ModelBundle, images: np.ndarray) -> np.ndarray:
        sizes.append(images.nbytes)
        return np.zeros((len(images), 8), np.float32)  # what the network needs is not the question

    monkeypatch.setattr(ModelBundle, "embed", spied)
    peaks = []
    for minutes in (1, 10):
        noise = (0.1 * np.random.default_rng(0).standard_normal(8000 * 60)).astype(np.float32)
        path = write(tmp_path / f"{minutes}.wav", np.tile(noise, minutes), 8000)
        sizes.clear()
        tracemalloc.start()
        assert len(predictor.predict(path).segments) == 30 * minutes
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < sum(sizes) / 2  # of the images of ten minutes, that is
