"""One way of a sample: a file, an array and the training path give the same images and the same answer."""

import copy
import pickle
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from scipy.special import logsumexp

import soundscene
from soundscene import passes
from soundscene import predictor as predictor_module
from soundscene.bundle import load_model, save_model
from soundscene.data.corpus import Corpus, join_segments, read_corpus
from soundscene.data.manifest import Manifest
from soundscene.errors import AudioError, AudioWarning, SceneError
from soundscene.member import NetworkMember
from soundscene.model import Model
from soundscene.prediction import ScenePrediction
from soundscene.predictor import Predictor
from soundscene.scoring.unfamiliarity import CHOSEN
from soundscene.systems.calibration import HEADS, learn_familiarity, predict, unfamiliarity
from soundscene.systems.neural import train
from soundscene.threads import one_blas_thread
from soundscene.types import Recording
from tests.support.tiny import RATE, SCENES, TINY, blank_bundle, only, recording, write, write_corpus


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


def test_the_prediction_is_the_tempered_product_of_its_segments(predictor: Predictor, street: Path) -> None:
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
    save_model(blank_bundle(), path)
    svm, softmax = soundscene.load(path, "svm").predict(street), soundscene.load(str(path), "softmax").predict(street)
    assert np.abs(svm.posterior - softmax.posterior).max() > 0.01
    same(soundscene.load(path).predict(street), svm)
    save_model(blank_bundle(TINY.with_settings(["calibration.head=softmax"])), path)
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


def test_a_resampled_recording_has_the_same_prediction(predictor: Predictor) -> None:
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
    with pytest.warns(AudioWarning, match=r"^array: 1 segment of digital silence did not vote$"):
        found = predictor.predict((sound, RATE))
    assert [s.start_s for s in found.segments] == [0, 4]
    assert found.notes == ("1 segment of digital silence did not vote",)
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


def test_a_low_rate_has_a_warning_that_names_the_empty_bands(predictor: Predictor) -> None:
    sound = (0.1 * np.random.default_rng(0).standard_normal(8000 * 3)).astype(np.float32)
    message = (
        "sampled at 8000 Hz, below the recipe's 22050 Hz: nothing above 4000 Hz, "
        "so the bands from 4000 to 11025 Hz stay empty and the prediction may be wrong"
    )
    with pytest.warns(AudioWarning) as caught:
        found = predictor.predict((sound, 8000))
    assert [str(w.message) for w in caught] == [f"array: {message}"]
    assert found.notes == (message,)


def test_a_broken_file_in_a_list_raises(predictor: Predictor, street: Path) -> None:
    with pytest.raises(AudioError, match=r"gone\.wav: does not exist"):
        predictor([street, street.parent / "gone.wav"])


# --- sound of no known scene ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Corpus]:
    """A small model that has learnt three rendered scenes, 21 recordings held out; and those."""
    settings = ["network.kind=cnn", "network.filters=[16,16,16]", "network.conv_dropout=0.0", "calibration.held_out=0.5"]
    recipe = TINY.with_settings([*settings, "training.epochs=25", "training.batch_size=20"])
    corpus = read_corpus(Manifest.read(write_corpus(tmp_path_factory.mktemp("heard"), 14)).recordings, recipe)
    trained = train(recipe, corpus)
    held = corpus.take(trained.held)
    part = corpus.take([r for r in corpus.recordings if r not in trained.held])
    embeddings = trained.model.embed((part.features[part.voting],))
    found = learn_familiarity(trained.model, embeddings, part, held, CHOSEN)
    return replace(trained.model, familiarity=found), held


def test_pure_tones_are_unknown_and_new_recordings_of_known_scenes_are_not(heard: tuple[Model, Corpus]) -> None:
    predictor = Predictor(heard[0])
    assert predictor.why_unknown_unavailable is None
    known = [predictor.predict((recording(scene, 2.2, seed), RATE)) for scene in SCENES for seed in range(50, 56)]
    seconds = np.arange(3 * RATE) / RATE
    tones = [predictor.predict((0.07 * np.sin(2 * np.pi * hz * seconds), RATE)) for hz in (300, 1000, 3000)]
    scores = [[found.unfamiliarity or 0.0 for found in part] for part in (known, tones)]
    assert min(scores[1]) > 2 * max(scores[0])
    assert all(found.unknown for found in tones)
    assert sum(found.unknown for found in known) <= 3  # of 18, where 0.9 are promised
    assert all(found.scene in SCENES for found in tones)


def test_the_score_is_the_mean_over_segments_that_vote_for_either_head_and_after_saving(
    heard: tuple[Model, Corpus], street: Path, tmp_path: Path
) -> None:
    bundle, _ = heard
    save_model(bundle, tmp_path / "m.safetensors")
    found = Predictor(bundle).predict(street)
    assert found.unfamiliarity is not None
    corpus = read_corpus([Recording(street, "rain", "street")], only(bundle).recipe)
    segment = bundle.unfamiliarity(bundle.embed((corpus.features,)))
    assert len(segment) == 4
    assert found.unfamiliarity == pytest.approx(segment.mean(), rel=1e-12)
    assert found.unfamiliarity == pytest.approx(unfamiliarity(bundle, corpus)[0], rel=1e-12)
    for head in HEADS:
        assert soundscene.load(tmp_path / "m.safetensors", head).predict(street).unfamiliarity == found.unfamiliarity
    sound = recording("rain", 6.0, 0).copy()
    sound[2 * RATE : 4 * RATE] = 0
    with pytest.warns(AudioWarning, match="silence"):
        silent = Predictor(bundle).predict((sound, RATE))
    outer = np.concatenate([p.images[~p.silent] for p in Predictor(bundle)._pieces(sound_of(sound, bundle))])
    assert silent.unfamiliarity == pytest.approx(bundle.unfamiliarity(bundle.embed((outer,))).mean(), rel=1e-4)


def sound_of(samples: np.ndarray, bundle: Model) -> predictor_module.AudioArray:
    return predictor_module.AudioArray(samples, RATE, bundle.audio)


def test_the_threshold_is_that_of_the_share_to_keep(heard: tuple[Model, Corpus], street: Path) -> None:
    bundle, held = heard
    scores = np.sort(unfamiliarity(bundle, held))
    assert len(scores) == 21
    for keep, rank in ((0.5, 11), (0.9, 20), (0.95, 21)):  # the rank of 22 times the share, upwards
        found = Predictor(bundle, keep=keep).predict(street)
        assert found.unfamiliarity_threshold == scores[rank - 1]
        assert found.unknown == (found.unfamiliarity is not None and found.unfamiliarity > scores[rank - 1])
    strict = Predictor(bundle, keep=0.96)
    assert strict.predict(street).unfamiliarity_threshold is None
    assert strict.why_unknown_unavailable is not None
    assert (
        "keep 96 % of known recordings, the training must hold out at least 24 recordings" in strict.why_unknown_unavailable
    )
    with pytest.raises(ValueError, match="share"):
        Predictor(bundle, keep=1.0)


def test_unknown_is_above_the_threshold_and_the_scene_stays_the_best_known_one() -> None:
    answer = ScenePrediction("a", 2.0, SCENES, np.array([0.1, 0.7, 0.2]), (), (), 1.5, 1.4)
    assert (answer.unknown, answer.scene) == (True, SCENES[1])
    assert not replace(answer, unfamiliarity=1.4).unknown
    assert not replace(answer, unfamiliarity_threshold=None).unknown
    assert not replace(answer, unfamiliarity=None).unknown


def test_a_model_of_an_older_version_has_no_unfamiliarity(predictor: Predictor, street: Path) -> None:
    found = predictor.predict(street)
    assert (found.unfamiliarity, found.unfamiliarity_threshold, found.unknown) == (None, None, False)
    assert predictor.why_unknown_unavailable is not None
    assert predictor.why_unknown_unavailable.endswith("retrain it")


# --- many files -------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Six recordings; the second is too short, the fourth no sound, the fifth not there."""
    found = [write(tmp_path / f"{n}.wav", recording("rain", 1.5 if n == 1 else 2.1 + n, n)) for n in range(6)]
    found[3].write_text("no sound")
    found[4].unlink()
    return found


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_many_files_are_predicted_as_one_by_one_in_order(predictor: Predictor, files: list[Path], workers: int) -> None:
    answers = list(predictor.predict_each([str(files[0]), *files[1:]], workers))
    assert [path for path, _ in answers] == [str(files[0]), *files[1:]]
    for number, (_, found) in enumerate(answers):
        if number in (1, 3, 4):
            with pytest.raises(AudioError) as alone:
                predictor.predict(files[number])
            assert type(found) is type(alone.value)
            assert str(found) == str(alone.value)
        else:
            assert isinstance(found, ScenePrediction)
            assert found.source == str(files[number])
            same(found, predictor.predict(files[number]))


def test_one_file_or_none_is_many_enough(predictor: Predictor, files: list[Path]) -> None:
    assert list(predictor.predict_each([])) == []
    ((path, found),) = predictor.predict_each(iter(files[:1]), 3)
    assert path == files[0]
    assert isinstance(found, ScenePrediction)
    same(found, predictor.predict(files[0]))
    ((_, error),) = predictor.predict_each(files[4:5])
    assert isinstance(error, AudioError)


def test_errors_hold_on_to_nothing_of_their_recording(predictor: Predictor, files: list[Path]) -> None:
    errors = [found for _, found in predictor.predict_each(files, 2) if isinstance(found, SceneError)]
    assert len(errors) == 3
    for error in errors:
        assert (error.__traceback__, error.__context__, error.__cause__) == (None, None, None)


def test_what_may_make_a_prediction_worse_is_noted_without_a_warning(predictor: Predictor, files: list[Path]) -> None:
    low = write(files[0].with_name("low.wav"), recording("rain", 3.0, 0), 16000)
    _, (_, found) = predictor.predict_each([files[0], low], 2)  # warnings are errors here
    assert isinstance(found, ScenePrediction)
    assert [note.split(",")[0] for note in found.notes] == ["sampled at 16000 Hz"]


def test_a_file_that_the_disk_does_not_give_is_a_result_too(predictor: Predictor, files: list[Path]) -> None:
    unreadable = Path("/proc/self/mem")  # a regular file whose first byte cannot be read
    if not unreadable.exists():
        pytest.skip("this system has no such file")
    _, (_, found), (_, last) = predictor.predict_each([files[0], unreadable, files[2]], 2)
    assert isinstance(found, AudioError)
    assert str(found).startswith("/proc/self/mem: cannot be read (")
    assert isinstance(last, ScenePrediction)


def test_there_may_be_any_number_of_files_and_a_reader_may_leave(predictor: Predictor, files: list[Path]) -> None:
    taken = count()
    endless: Iterator[Path] = (files[2 if next(taken) % 2 else 0] for _ in count())
    answers = predictor.predict_each(endless, 2)
    found = list(islice(answers, 5))
    assert [path for path, _ in found] == [files[0], files[2], files[0], files[2], files[0]]
    answers.close()  # type: ignore[attr-defined]
    assert next(taken) <= 5 + 4 * 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("in order")]


def test_who_leaves_need_not_wait_for_an_endless_file(
    predictor: Predictor, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    patience_s = 30.0
    reading = threading.Event()

    class Endless(predictor_module.AudioFile):
        def blocks(self) -> Any:
            block = np.full(4096, 0.1, np.float32)
            end = time.monotonic() + patience_s
            while time.monotonic() < end:
                reading.set()
                yield block

    real = predictor_module.AudioFile
    monkeypatch.setattr(
        predictor_module, "AudioFile", lambda path, audio: (Endless if path == files[2] else real)(path, audio)
    )
    answers = predictor.predict_each([files[0], files[2], files[2]], 2)
    next(answers)
    assert reading.wait(patience_s)
    started = time.monotonic()
    answers.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < patience_s / 2


def test_threads_of_pytorch_are_as_before_and_make_no_difference(predictor: Predictor, files: list[Path]) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    embed = NetworkMember.embed

    def spied(self: NetworkMember, images: np.ndarray) -> np.ndarray:
        seen.append(torch.get_num_threads())
        return embed(self, images)

    try:
        torch.set_num_threads(2)
        one_by_one = [predictor.predict(file) for file in (files[0], files[2], files[5])]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(NetworkMember, "embed", spied)
            answers = predictor.predict_each([files[0], files[2], files[5]], 2)
            found = [next(answers)]
            assert torch.get_num_threads() == 2  # of the reader, at any time
            found.extend(answers)
        assert torch.get_num_threads() == 2
        new_thread: list[int] = []
        thread = threading.Thread(target=lambda: new_thread.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert new_thread == [2]
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}
    for (_, mine), alone in zip(found, one_by_one, strict=True):
        assert isinstance(mine, ScenePrediction)
        # the same bits on the machine of docs/decisions/0061; libraries promise it for one number of threads only
        np.testing.assert_allclose(mine.posterior, alone.posterior, rtol=1e-5)


# --- training and prediction are one path -----------------------------------------------------------------------------


def test_training_path_and_prediction_path_have_the_same_images_and_predictions(
    manifest: Path, model: Path, street: Path
) -> None:
    bundle = load_model(model)
    files = [street, manifest.parent / "office/0.wav", write(street.with_name("b.wav"), recording("office", 5.0, 3), 16000)]
    corpus = read_corpus([Recording(file, "rain", file.name) for file in files], only(bundle).recipe, workers=2)
    for head in HEADS:
        predictor = Predictor(bundle, head)
        together = predict(bundle, corpus, head)
        for number, file in enumerate(files):
            with_warning = pytest.warns(AudioWarning) if file.name == "b.wav" else pytest.MonkeyPatch.context()
            with with_warning:
                found = predictor.predict(file)
            mine = corpus.take([corpus.recordings[number]])
            alone = predict(bundle, mine, head)
            np.testing.assert_array_equal(np.exp(alone.calibrated[0]), found.posterior)
            np.testing.assert_array_equal(np.exp(alone.segment), [s.posterior for s in found.segments])
            # in one batch with other recordings, matrix products may round differently
            np.testing.assert_allclose(np.exp(together.calibrated[number]), found.posterior, atol=1e-5)
            sound = predictor_module.AudioFile(file, bundle.audio)
            with one_blas_thread():  # as both paths have it; with two threads images differ by 1e-6
                pieces = join_segments(list(predictor._pieces(sound)))
            np.testing.assert_array_equal(mine.features, pieces.images)
            np.testing.assert_array_equal(mine.start_s, pieces.start_s)


def test_the_size_of_batches_does_not_change_the_prediction(
    predictor: Predictor, street: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = predictor.predict(street)
    monkeypatch.setattr(passes, "BATCH", 1)
    found = predictor.predict(street)
    assert [s.start_s for s in found.segments] == [s.start_s for s in whole.segments]
    np.testing.assert_allclose(found.posterior, whole.posterior, rtol=1e-4)


def test_ten_minutes_need_no_more_memory_than_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "BATCH", 8)
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

    def spied(self: NetworkMember, images: np.ndarray) -> np.ndarray:
        sizes.append(images.nbytes)
        return np.zeros((len(images), 8), np.float32)  # what the network needs is not the question

    monkeypatch.setattr(NetworkMember, "embed", spied)
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


def test_a_predictor_is_copied_and_pickled(predictor: Predictor, street: Path) -> None:
    expected = predictor.predict(street)
    for copied in (copy.deepcopy(predictor), pickle.loads(pickle.dumps(predictor))):
        assert copied.predict(street) == expected
