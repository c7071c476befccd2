import numpy as np
import pytest

from soundscene.errors import RecipeError
from soundscene.recipe import AudioRecipe, FeatureRecipe
from soundscene.signal.features import LogSpectrogram
from soundscene.signal.filterbanks import gammatone_centres_hz, gammatone_filters, mel_centres_hz, mel_filters
from tests.golden import RATE, arrays, wave
from tests.signal.reference import db, rms, segment_power

DB = 10 / np.log(10)  # dB of one neper of power
FILTERS = {"mel": mel_filters, "gammatone": gammatone_filters}


def image(samples: np.ndarray, features: FeatureRecipe | None = None, audio: AudioRecipe | None = None) -> np.ndarray:
    """Image [band, frame] of one segment, given as channel 0; channel 1 is silent."""
    segment = np.stack([samples, np.zeros_like(samples)])[None].astype(np.float32)
    images = LogSpectrogram(audio or AudioRecipe(), features or FeatureRecipe())(segment)
    np.testing.assert_array_equal(images[0, 1], np.float32(np.log(1e-10)))
    return images[0, 0]


def reference_image(samples: np.ndarray, kind: str) -> np.ndarray:
    return np.log(np.maximum(FILTERS[kind](RATE, 2048, 64, 50.0) @ segment_power(samples), 1e-10))


@pytest.mark.parametrize("kind", ["mel", "gammatone"])
@pytest.mark.parametrize("signal", ["scene2s", "white2s", "impulse2s"])
def test_float32_images_are_the_float64_ones(kind, signal):
    error = DB * (image(wave(signal), FeatureRecipe(kind=kind)) - reference_image(wave(signal), kind))
    assert image(wave(signal)).shape == (64, 80)
    assert np.abs(error).max() < 1e-4


@pytest.mark.parametrize("kind", ["mel", "gammatone"])
@pytest.mark.parametrize("signal", ["chirp2s", "tone1k2s"])
def test_float32_images_of_pure_tones_differ_only_far_below_the_tone(kind, signal):
    reference = DB * reference_image(wave(signal), kind)
    error = np.abs(DB * image(wave(signal), FeatureRecipe(kind=kind)) - reference)
    assert error[reference > reference.max(axis=0) - 70].max() < 0.01
    assert error.max() < 0.08


def test_float32_power_is_librosas_within_a_hundredth_of_a_db():
    # librosa's frame t (n_fft 1102, not centred) begins at 551 t; our frame t + 1 begins at 551 t + 275: delay the signal.
    reference = arrays("logmel")["mel_librosa_scene2s_n1102_nocenter_slaney_slaney"]
    shifted = np.concatenate([np.zeros(275, np.float32), wave("scene2s")])[:44100]
    error = DB * image(shifted, FeatureRecipe(n_fft=1102))[:, 1:79] - db(np.maximum(reference[:, :78], 1e-10))
    assert np.abs(error).max() < 0.01


def test_frames_lie_where_kaldis_lie():
    reference = arrays("logmel")
    for signal in ("scene2s", "chirp2s"):
        ours = reference["fb_librosa_n2048_htk_nonorm"] @ segment_power(wave(signal))
        kaldi = reference[f"mel_kaldi_{signal}_nosnip_htk"]  # symmetric Hann window: 0.015 dB
        assert kaldi.shape == ours.shape == (64, 80)
        assert rms(db(np.maximum(ours, 1e-10)) - db(np.maximum(kaldi, 1e-10))) < 0.08


@pytest.mark.parametrize(
    ("kind", "centres"), [("mel", mel_centres_hz(64, 50.0, 11025.0)), ("gammatone", gammatone_centres_hz(RATE, 64, 50.0))]
)
@pytest.mark.parametrize("hz", [120.0, 1000.0, 6000.0])
def test_a_tone_lights_the_band_nearest_to_it_in_every_frame(kind, centres, hz):
    loudest = image(0.5 * np.sin(2 * np.pi * hz * np.arange(44100) / RATE), FeatureRecipe(kind=kind)).argmax(axis=0)
    if kind == "mel" and hz < 200:  # the area norm leans towards the narrower neighbour
        assert set(loudest) <= {np.abs(centres - hz).argmin() + i for i in (-1, 0, 1)}
    else:
        assert set(loudest) == {np.abs(centres - hz).argmin()}


def test_a_tone_has_the_power_that_the_formula_says():
    hz = 24 * RATE / 2048 * 4  # on bin 96
    picture = image(0.5 * np.sin(2 * np.pi * hz * np.arange(44100) / RATE), FeatureRecipe(kind="gammatone"))
    taps = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1102) / 1102)
    expected = 0.25 / 4 * np.sum(taps**2) * 2048  # Parseval: sum of |X|^2 over one half of the spectrum
    assert db(np.exp(picture[:, 40].astype(np.float64)).max() / expected) == pytest.approx(0, abs=1.0)


@pytest.mark.parametrize("frame", [0, 1, 40, 79])
def test_an_impulse_is_loudest_in_the_frame_that_owns_its_sample(frame):
    for sample in (551 * frame + 5, 551 * frame + 545):
        samples = np.zeros(44100)
        samples[sample] = 0.5
        np.testing.assert_array_equal(image(samples).argmax(axis=1), frame)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_scaling_by_c_shifts_logs_by_2_ln_c_above_the_floor(scale):
    shift = image(wave("scene2s") * np.float32(scale)) - image(wave("scene2s"))
    np.testing.assert_allclose(shift, 2 * np.log(scale), atol=2e-5)


def test_a_step_of_10_db_shifts_logs_by_10_db():
    samples = np.random.default_rng(0).normal(0, 0.01, 44100)
    samples[551 * 40 :] *= np.sqrt(10)
    picture = DB * np.log(np.exp(image(samples).astype(np.float64)).mean(axis=0))
    assert picture[45:].mean() - picture[:35].mean() == pytest.approx(10, abs=0.4)


def test_silence_is_the_floor_of_the_recipe():
    segment = np.zeros((1, 2, 44100), np.float32)
    assert LogSpectrogram(AudioRecipe(), FeatureRecipe(floor=1e-6))(segment) == pytest.approx(np.log(1e-6))


def test_images_do_not_depend_on_their_neighbours():
    segments = np.random.default_rng(1).normal(0, 0.1, (5, 2, 44100)).astype(np.float32)
    log_spectrogram = LogSpectrogram(AudioRecipe(), FeatureRecipe())
    together = log_spectrogram(segments)
    for i in range(5):
        np.testing.assert_array_equal(log_spectrogram(segments[i : i + 1])[0], together[i])
    assert log_spectrogram(segments[:0]).shape == (0, 2, 64, 80)


@pytest.mark.parametrize(
    ("rate", "window", "hop", "n_fft"), [(16000, 800, 400, 1024), (44100, 2204, 1103, 4096), (22050, 700, 300, 701)]
)
def test_other_rates_windows_and_hops(rate, window, hop, n_fft):
    samples = np.random.default_rng(2).normal(0, 0.1, rate).astype(np.float32)
    features = FeatureRecipe(window=window, hop=hop, n_fft=n_fft, n_bands=20)
    ours = image(samples, features, AudioRecipe(sample_rate=rate, segment_s=1.0))
    assert ours.shape == (20, rate // hop)
    reference = mel_filters(rate, n_fft, 20, 50.0) @ segment_power(samples, window, hop, n_fft)
    np.testing.assert_allclose(DB * ours, db(reference), atol=1e-4)


def test_a_segment_shorter_than_the_window_is_reflected_as_often_as_needed():
    samples = np.random.default_rng(3).normal(0, 0.1, 400).astype(np.float32)
    features = FeatureRecipe(window=1102, hop=300)
    ours = image(samples, features, AudioRecipe(segment_s=400 / RATE))
    assert ours.shape == (64, 1)
    assert np.isfinite(ours).all()


def test_a_segment_without_a_frame_is_refused():
    with pytest.raises(RecipeError, match=r"a segment of 220 samples holds no frame: features.hop = 551 is longer"):
        LogSpectrogram(AudioRecipe(segment_s=0.01), FeatureRecipe())


def test_segments_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"segments of 44099 samples; this recipe's have 44100"):
        LogSpectrogram(AudioRecipe(), FeatureRecipe())(np.zeros((1, 2, 44099), np.float32))
