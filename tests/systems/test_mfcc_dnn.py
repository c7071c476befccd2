"""MFCC+DNN: coefficients by the textbook, the cutting rule of everything else, a fit that repeats itself and cannot peek."""

import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from scipy.fft import dct
from scipy.special import log_softmax

from soundscene.data.corpus import Corpus, read_corpus
from soundscene.data.manifest import Manifest
from soundscene.data.splits import hold_out
from soundscene.data.store import FeatureStore
from soundscene.errors import BundleError, TrainingError
from soundscene.recipe import Recipe
from soundscene.systems import mfcc_dnn
from soundscene.systems.mfcc_dnn import FrameNetwork, MfccDnnSettings, coefficients, system
from soundscene.systems.saved import Identity
from soundscene.systems.system import FitContext, Fitted, PredictFunction, SystemPredictions
from soundscene.types import Recording
from tests.support.tiny import RATE, SCENES, recording, write, write_corpus

RECIPE = Recipe().with_settings(["calibration.held_out=0.25"])
DNN = system(RECIPE, "mfcc-dnn", "MFCC + DNN")
SMALL = MfccDnnSettings(hidden=(16, 16), epochs=3)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Corpus]:
    """Training part (eight recordings a scene) and test part (four) of rendered sound, one segment each and a last piece."""
    folder = tmp_path_factory.mktemp("mfcc")
    listed = Manifest.read(write_corpus(folder / "sound", 12, 3.1)).recordings
    store = FeatureStore(folder / "store", DNN.representation)
    assert store.build(listed) == {}
    test = tuple(r for r in listed if int(r.path.stem) >= 8)
    return store.load(tuple(r for r in listed if r not in test)), store.load(test)


def fit_small(corpus: Corpus, context: FitContext) -> Fitted:
    """A fit of a small network: what is asked of it here does not hang on its size."""
    torch.manual_seed(99)  # whatever state the caller's generator is in
    return mfcc_dnn._fit(Identity("mfcc-dnn", "MFCC + DNN", RECIPE), SMALL, corpus, context)


def test_coefficients_are_those_of_the_textbook() -> None:
    wave = recording("rain", 2.0, 0).astype(np.float32)[None]
    features = coefficients(wave, RATE, MfccDnnSettings())
    assert features.shape == (1, 77, 60)  # 1 + (44100 - 2048) // 551 frames of 2048 samples

    # Frame 10 by hand: Hann window of 1102 samples amid 2048, power, mel bands of area one, decibels, orthonormal cosines.
    window = np.zeros(2048)
    window[473 : 473 + 1102] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1102) / 1102)
    power = np.abs(np.fft.rfft(wave[0, 5510 : 5510 + 2048] * window)) ** 2
    edges = _slaney_hz(np.linspace(0, _slaney_mel(RATE / 2), 42))
    hz = np.fft.rfftfreq(2048, 1 / RATE)
    bands = [
        2 / (high - low) * np.maximum(0, np.minimum((hz - low) / (mid - low), (high - hz) / (high - mid))) @ power
        for low, mid, high in zip(edges[:-2], edges[1:-1], edges[2:], strict=True)
    ]
    expected = dct(10 * np.log10(np.maximum(bands, 1e-10)), norm="ortho")[:20]
    assert features[0, 10, :20] == pytest.approx(expected, rel=1e-3, abs=0.02)

    # First differences: slope of the least-squares line through nine frames.
    slope = np.polyfit(np.arange(9), features[0, 6:15, :20].astype(np.float64), 1)[0]
    assert features[0, 10, 20:40] == pytest.approx(slope, abs=1e-3)
    curve = 2 * np.polyfit(np.arange(9), features[0, 6:15, :20].astype(np.float64), 2)[0]
    assert features[0, 10, 40:] == pytest.approx(curve, abs=1e-3)


def _slaney_mel(hz: float) -> float:
    """Slaney's scale above its linear part: 15 mel at 1 kHz, then 27 to a factor 6.4."""
    return 15 + 27 * np.log(hz / 1000) / np.log(6.4)


def _slaney_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


def test_a_segment_does_not_depend_on_the_others() -> None:
    waves = np.stack([recording("rain", 2.0, 1), 1e-4 * recording("office", 2.0, 1)]).astype(np.float32)
    together = coefficients(waves, RATE, MfccDnnSettings())
    assert np.allclose(together[1], coefficients(waves[1:], RATE, MfccDnnSettings())[0], atol=1e-3)


@pytest.mark.parametrize(("rate", "seconds"), [(8000, 0.05), (8000, 2.0), (48000, 0.3), (22050, 0.05)])
def test_short_segments_and_other_rates_are_no_trouble(rate: int, seconds: float) -> None:
    wave = np.random.default_rng(0).normal(0, 0.1, (2, round(rate * seconds))).astype(np.float32)
    assert np.isfinite(coefficients(wave, rate, MfccDnnSettings())).all()


def test_silence_and_full_scale_fit_into_float16() -> None:
    waves = np.stack([np.zeros(44100), np.sign(np.sin(np.arange(44100))), np.full(44100, 1e-7)]).astype(np.float32)
    features = coefficients(waves, RATE, MfccDnnSettings())
    assert np.abs(features).max() < 2000
    assert np.allclose(features.astype(np.float16), features, rtol=1e-3, atol=1e-3)


def test_segments_are_cut_as_images_are(tmp_path: Path) -> None:
    sound = np.concatenate([recording("rain", 2.0, 0), np.zeros(2 * RATE), recording("rain", 1.2, 1)])
    row = Recording(write(tmp_path / "a.wav", sound), "rain", "a")
    images = read_corpus([row], RECIPE)
    extract = DNN.representation.extract(row)
    assert np.array_equal(extract.start_s, images.start_s)
    assert extract.start_s == pytest.approx([0.0, 2.0, 3.2])
    assert extract.silent.tolist() == images.silent.tolist() == [False, True, False]
    assert extract.regular.tolist() == images.regular.tolist()
    assert extract.content_hash == images.content_hash[0]
    assert extract.features.shape == (3, 77, 60)


def test_it_learns_three_scenes(rendered: tuple[Corpus, Corpus]) -> None:
    training, test = rendered
    fitted = DNN.fit(training, FitContext(0))
    said = fitted.predict(test)["softmax"]
    truth = np.array([SCENES.index(r.scene) for r in test.recordings])
    assert np.mean(said.recording.argmax(axis=1) == truth) >= 2 / 3  # 8 of 12; chance reaches that in 2 of 100
    assert np.mean(said.segment.argmax(axis=1) == truth[said.recording_of]) >= 0.6
    assert fitted.history[-1]["loss"] < 0.5 * fitted.history[0]["loss"]
    assert fitted.epoch == MfccDnnSettings().epochs == len(fitted.history)


def test_the_same_seed_gives_the_same_predictions_and_another_seed_others(rendered: tuple[Corpus, Corpus]) -> None:
    training, test = rendered
    state = torch.manual_seed(4).get_state()
    one, again = (fit_small(training, FitContext(1)).predict(test)["softmax"] for _ in range(2))
    assert np.array_equal(one.segment, again.segment)
    assert np.array_equal(one.calibrated, again.calibrated)
    assert not np.array_equal(one.segment, fit_small(training, FitContext(2)).predict(test)["softmax"].segment)
    torch.manual_seed(4)
    mfcc_dnn._fit(Identity("mfcc-dnn", "MFCC + DNN", RECIPE), SMALL, training, FitContext(1))
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's draws are disturbed


def test_the_network_never_sees_the_held_groups(rendered: tuple[Corpus, Corpus]) -> None:
    training, test = rendered
    fitted = fit_small(training, FitContext(1))
    held = hold_out(training.recordings, 0.25, np.random.default_rng(1))[1]
    assert fitted.held == held
    assert len(held) == 6  # two a scene
    other = replace(training, features=training.features.copy())
    theirs = np.isin(training.recording, [training.recordings.index(r) for r in held])
    other.features[theirs] = np.random.default_rng(0).normal(0, 50, other.features[theirs].shape)
    one, two = fitted.predict(test)["softmax"], fit_small(other, FitContext(1)).predict(test)["softmax"]
    assert np.array_equal(one.segment, two.segment)
    assert not np.allclose(one.calibrated, two.calibrated)  # the temperature is theirs


def test_recordings_are_the_product_of_segments_and_segments_the_geometric_mean_of_frames(
    rendered: tuple[Corpus, Corpus],
) -> None:
    training, test = rendered
    fitted = fit_small(training, FitContext(0))
    said = fitted.predict(test)["softmax"]
    for i in range(len(test.recordings)):
        expected = log_softmax(said.segment[said.recording_of == i].sum(axis=0))
        assert said.recording[i] == pytest.approx(expected)
    assert np.array_equal(said.recording.argmax(axis=1), said.calibrated.argmax(axis=1))

    assert isinstance(fitted.predict, partial)
    network = fitted.predict.args[0].network
    with torch.no_grad():
        logits = network(torch.from_numpy(test.features[3]))
    geometric = np.exp(log_softmax(logits.numpy().astype(np.float64), axis=1).mean(axis=0))
    assert np.exp(said.segment[3]) == pytest.approx(geometric / geometric.sum(), rel=1e-5)
    assert fitted.embed is not None
    assert fitted.embed(test).shape == (len(test.features), 16)


def test_the_network_reads_standardised_frames() -> None:
    network = FrameNetwork(2, 3, hidden=(4,), dropout=0.5).eval()
    seen: list[torch.Tensor] = []
    network.hidden.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network.standardise_by(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    network(torch.tensor([[3.0, 7.0], [2.0, 5.0]]))
    assert seen[0].flatten().tolist() == pytest.approx([1 / np.sqrt(2), 0, 0, 0])  # the second never varied


@torch.no_grad()
def test_the_network_is_no_line() -> None:
    torch.manual_seed(0)
    network = FrameNetwork(5, 3, hidden=(16, 16), dropout=0.5).eval()
    one, other = torch.randn(2, 20, 5)
    between = (network(one) + network(other)) / 2
    assert (network((one + other) / 2) - between).abs().max() > 0.01


def test_silent_segments_do_not_vote_and_a_silent_recording_has_equal_probabilities(
    rendered: tuple[Corpus, Corpus],
) -> None:
    training, test = rendered
    silent = test.silent.copy()
    silent[test.recording == 1] = True
    silent[np.flatnonzero(test.recording == 0)[0]] = True
    fitted = fit_small(training, FitContext(0))
    full, said = fitted.predict(test)["softmax"], fitted.predict(replace(test, silent=silent))["softmax"]
    assert np.exp(said.calibrated[1]) == pytest.approx(1 / 3)
    assert len(said.segment) == len(full.segment) - 3
    assert said.recording_of.tolist() == [0, *np.repeat(np.arange(2, 12), 2)]
    assert said.recording[0] == pytest.approx(full.segment[1])
    nobody = fitted.predict(replace(test, silent=np.ones_like(silent)))["softmax"]
    assert np.exp(nobody.calibrated) == pytest.approx(np.full((12, 3), 1 / 3))


def test_the_observer_sees_every_epoch_and_changes_nothing(rendered: tuple[Corpus, Corpus]) -> None:
    training, test = rendered
    rows: list[dict[str, float]] = []
    said: list[Mapping[str, SystemPredictions]] = []

    def observer(row: dict[str, float], so_far: PredictFunction) -> None:
        rows.append(row)
        said.append(so_far(test))

    watched = fit_small(training, FitContext(0, observer=observer))
    assert [row["epoch"] for row in rows] == [1.0, 2.0, 3.0]
    assert all(row["seconds"] > 0 for row in rows)
    assert rows == watched.history
    last, unwatched = watched.predict(test)["softmax"], fit_small(training, FitContext(0)).predict(test)["softmax"]
    assert np.array_equal(last.segment, unwatched.segment)
    assert np.array_equal(said[-1]["softmax"].segment, last.segment)
    assert not np.array_equal(said[0]["softmax"].segment, last.segment)


def test_what_nothing_can_be_learnt_from_is_refused(rendered: tuple[Corpus, Corpus]) -> None:
    training, _ = rendered
    rain = training.take(tuple(r for r in training.recordings if r.scene == "rain"))
    with pytest.raises(TrainingError, match=r"holds 1 scene \(rain\)"):
        fit_small(rain, FitContext(0))
    of_rain = np.array([training.recordings[i].scene == "rain" for i in training.recording])
    with pytest.raises(TrainingError, match="silence throughout: rain;"):
        fit_small(replace(training, silent=of_rain), FitContext(0))


def test_the_model_is_saved_with_its_scenes(rendered: tuple[Corpus, Corpus], tmp_path: Path) -> None:
    fitted = fit_small(rendered[0], FitContext(0))
    assert fitted.save is not None
    fitted.save(tmp_path / "dnn.safetensors", {})
    tensors = load_file(tmp_path / "dnn.safetensors")
    assert tensors["network/softmax.weight"].shape == (3, 16)
    assert tensors["network/hidden.0.0.weight"].shape == (16, 60)
    assert tensors["network/mean"] == pytest.approx(
        rendered[0].take(tuple(r for r in rendered[0].recordings if r not in fitted.held)).features.mean(axis=(0, 1)),
        abs=1e-3,
    )
    assert [f.name for f in tmp_path.iterdir()] == ["dnn.safetensors"]
    with pytest.raises(BundleError, match="cannot be written"):
        fitted.save(tmp_path / "dnn.safetensors" / "below.safetensors", {})


@pytest.mark.slow
def test_another_process_can_be_handed_the_extraction(tmp_path: Path) -> None:
    row = Recording(write(tmp_path / "a.wav", recording("office", 2.1, 0)), "office", "a")
    (tmp_path / "job").write_bytes(pickle.dumps((DNN.representation, row)))
    code = (
        "import pickle, sys, numpy\n"
        "representation, recording = pickle.load(open(sys.argv[1], 'rb'))\n"
        "numpy.save(sys.argv[2], representation.extract(recording).features)\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "job", tmp_path / "out.npy"], check=True)
    assert np.array_equal(np.load(tmp_path / "out.npy"), DNN.representation.extract(row).features)


def test_the_store_is_another_one_when_segments_are() -> None:
    longer = system(RECIPE.with_settings(["audio.segment_s=4.0"]), "mfcc-dnn", "MFCC + DNN")
    other = system(RECIPE.with_settings(["training.epochs=4"]), "mfcc-dnn", "MFCC + DNN")
    assert longer.representation.key != DNN.representation.key
    assert other.representation.key == DNN.representation.key
