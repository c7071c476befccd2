import numpy as np
import pytest

from soundscene.signal.minimum_statistics import POWER_FLOOR, NoiseTracker, bias_m, noise_psd, search_window
from tests.golden import RATE, arrays, wave
from tests.signal import long_arithmetic
from tests.signal.reference import db, plain_power, rms

EXACT_EDGES = ["zeros_middle20", "drop_90dB_middle", "one_frame", "five_frames", "rise_6dB_per_s", "burst_20dB_10frames"]
NAN_EDGES = ["zero_first_frame", "zeros_first20", "dead_bin5"]  # where the reference lives on its language's NaN rules


@pytest.mark.parametrize("name", ["A_step10db", "B_scene"])
def test_noise_from_power_is_the_references(name):
    reference = arrays(f"minstat_{name}")
    noise = noise_psd(reference["yf"].astype(np.float64), float(reference["tinc"]))
    np.testing.assert_allclose(noise[:, ::4], reference["x"], rtol=1e-9)
    np.testing.assert_array_equal(noise_psd(reference["yf"], float(reference["tinc"])), noise)  # float32 in, float64 inside


@pytest.mark.parametrize("name", ["A_white", "A_step10db", "A_scene", "B_white", "B_step10db", "B_scene", "C_scene"])
def test_noise_from_samples_is_the_references(name):
    reference = arrays(f"minstat_{name}")
    power = plain_power(wave(name[2:]), int(reference["win"]), int(reference["hop"]))
    noise = noise_psd(power, float(reference["tinc"]))[:, ::4]
    if name == "C_scene":
        noise = noise[::4]
    np.testing.assert_allclose(noise, reference["x"], rtol=1e-5)


def test_constants_are_the_references():
    reference = arrays("minstat_constants")
    np.testing.assert_allclose([bias_m(int(d)) for d in reference["D"]], reference["M_of_D"], rtol=1e-12)
    assert bias_m(10_000) == 0.94
    assert search_window(551 / RATE) == (8, 8)
    assert search_window(352 / RATE) == (12, 8)
    assert search_window(0.1) == (4, 4)  # U gives way, V does not
    assert search_window(2.0) == (4, 1)


@pytest.mark.parametrize("name", EXACT_EDGES)
def test_edge_cases_are_the_references(name):
    edges = arrays("minstat_edges")
    noise = noise_psd(edges[f"{name}_yf"], 0.025)
    np.testing.assert_allclose(noise, edges[f"{name}_x"], rtol=1e-9)


@pytest.mark.parametrize("name", NAN_EDGES)
def test_silence_and_dead_bins_stay_finite_and_come_close_to_the_reference_again(name):
    edges = arrays("minstat_edges")
    noise, reference = noise_psd(edges[f"{name}_yf"], 0.025), edges[f"{name}_x"]
    assert np.isfinite(noise).all()
    assert (noise > 0).all()
    np.testing.assert_array_equal(
        noise <= 10 * POWER_FLOOR, reference == 0
    )  # silent where the reference says 0, and only there
    live = reference[-40:] > 0
    assert rms(db(noise[-40:][live] / reference[-40:][live])) < 1.0


@pytest.mark.parametrize("name", ["zero_first_frame", "zeros_first20", "zeros_middle20", "dead_bin5"])
def test_edges_with_silence_are_those_of_long_arithmetic(name):
    power = arrays("minstat_edges")[f"{name}_yf"].astype(np.float64)
    exact = long_arithmetic.noise_psd(power, "0.025")
    np.testing.assert_allclose(noise_psd(power, 0.025), exact, rtol=1e-9)
    of_mean_squares = NoiseTracker(power.shape[1], 0.025, mean_square=True).push(power)
    wrong = np.abs(db(of_mean_squares / exact)).max()
    if name.startswith("zero_") or name.startswith("zeros_first"):
        assert wrong > 3, "as printed, rounding decides: the reason for the variance"
    else:
        assert wrong < 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_gaps_of_any_depth_are_those_of_long_arithmetic(seed):
    draws = np.random.default_rng(seed)
    power = draws.exponential(size=(260, 8)) * 10.0 ** draws.uniform(-6, 6)
    for _ in range(3):
        at, n = int(draws.integers(0, 150)), int(draws.integers(1, 60))
        power[at : at + n] *= draws.choice([0.0, 1e-25, 1e-18, 1e-12, 1e-8])
    np.testing.assert_allclose(noise_psd(power, 0.025), long_arithmetic.noise_psd(power, "0.025"), rtol=1e-9)


def gap(samples, level):
    """A second of noise of that level within the first four."""
    samples = samples.copy()
    samples[30_000 : 30_000 + RATE] = level * np.random.default_rng(11).standard_normal(RATE)
    return samples


@pytest.mark.parametrize("name", ["white", "scene"])
def test_rounding_of_the_input_moves_no_estimate_after_silence(name):
    power = plain_power(gap(wave(name), 0.0), 704, 352)
    nearly = power * (1 + 1e-15 * np.random.default_rng(12).standard_normal(power.shape))
    np.testing.assert_allclose(noise_psd(nearly, 0.016), noise_psd(power, 0.016), rtol=1e-10)


@pytest.mark.parametrize("level", [0.0, 1e-12, 1e-10, 1e-8, 1e-6, 1e-3])
def test_mean_square_and_variance_agree_wherever_no_sound_follows_digital_silence(level):
    power = plain_power(gap(wave("white"), level), 704, 352)
    trackers = [NoiseTracker(353, 352 / RATE, mean_square) for mean_square in (False, True)]
    ours, printed = (tracker.push(power) for tracker in trackers)
    assert trackers[0].after_silence == trackers[1].after_silence == (level < 1e-9)
    if not trackers[0].after_silence:
        np.testing.assert_allclose(ours, printed, rtol=1e-9)


def test_silence_at_the_end_is_not_before_sound():
    power = plain_power(wave("white"), 704, 352)
    power[300:] = 0
    tracker, printed = NoiseTracker(353, 352 / RATE), NoiseTracker(353, 352 / RATE, mean_square=True)
    np.testing.assert_allclose(tracker.push(power), printed.push(power), rtol=1e-9)
    assert not tracker.after_silence
    tracker.push(power[:1])
    assert tracker.after_silence


@pytest.mark.parametrize("n", [700, 1055, 1056, 3000])
def test_a_frame_of_silence_before_sound_is_noticed_and_a_shorter_one_is_not(n):
    power = plain_power(np.r_[wave("white")[:20_000], np.zeros(n, np.float32), wave("white")[20_000:]], 704, 352)
    tracker = NoiseTracker(353, 352 / RATE)
    tracker.push(power)
    assert tracker.after_silence == bool((power == 0).all(axis=1).any())
    assert tracker.after_silence >= (n >= 1056)


@pytest.mark.parametrize("level", [0.0, 1e-320, 1e-30, 1.0, 1e30])
def test_constant_input_of_any_level_gives_a_finite_estimate_near_it(level):
    noise = noise_psd(np.full((300, 7), level), 0.016)
    assert np.isfinite(noise).all()
    np.testing.assert_allclose(noise[-1], max(level, POWER_FLOOR), rtol=0.2)


def test_jumps_between_silence_and_full_scale_stay_finite():
    rng = np.random.default_rng(3)
    power = rng.exponential(size=(400, 33)) * rng.choice([0.0, 1e-25, 1.0, 1e6], (400, 1))
    noise = noise_psd(power, 0.016)
    assert np.isfinite(noise).all()
    assert (noise > 0).all()


@pytest.mark.parametrize(("window", "hop"), [(1102, 551), (706, 353), (704, 352)])
def test_white_noise_settles_at_its_own_level(window, hop):
    sigma = 0.05
    samples = np.random.default_rng(4).normal(0, sigma, 10 * RATE)
    v, u = search_window(hop / RATE)
    noise = noise_psd(plain_power(samples, window, hop), hop / RATE)[2 * u * v :, 2:-2]
    error = db(noise / (sigma**2 * window * 3 / 8))  # 3/8: mean square of the Hann window
    assert abs(error.mean()) < 0.5
    assert error.std() < 0.9


def test_step_up_is_followed_after_the_search_window_and_not_before():
    noise = noise_psd(plain_power(wave("step10db"), 706, 353), 353 / RATE)[:, 2:-2].mean(axis=1)

    def rise(after_s: float) -> float:
        return float(db(noise[round((5 + after_s) * RATE / 353)] / noise[round(4.8 * RATE / 353)]))

    assert abs(rise(1.4)) < 1
    assert rise(2.5) > 8
    assert 9 < rise(4.5) < 10.5


def test_step_down_is_followed_at_once():
    power = np.random.default_rng(5).exponential(size=(700, 129))
    power[400:] *= 0.1
    noise = noise_psd(power, 0.016).mean(axis=1)
    assert db(noise[400 + 25] / noise[399]) < -8  # 0.4 s


@pytest.mark.parametrize("scale", [1e-6, 7.3, 1e6])
def test_scaling_the_input_scales_the_estimate(scale):
    power = plain_power(wave("scene"), 706, 353)
    np.testing.assert_allclose(noise_psd(power * scale, 0.016), noise_psd(power, 0.016) * scale, rtol=1e-9)


def test_any_cut_into_pushes_is_bit_identical():
    power = plain_power(wave("scene"), 706, 353)
    whole = noise_psd(power, 0.016)
    tracker, at, pieces = NoiseTracker(354, 0.016), 0, []
    rng = np.random.default_rng(6)
    while at < len(power):
        n = int(rng.integers(0, 20))
        pieces.append(tracker.push(power[at : at + n]))
        at += n
    np.testing.assert_array_equal(np.concatenate([*pieces, tracker.flush()]), whole)


def test_input_is_not_written_to():
    power = np.zeros((5, 4))
    noise_psd(power, 0.016)
    assert (power == 0).all()


def test_frames_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"NoiseTracker of 354 bins was given frames of 353"):
        NoiseTracker(354, 0.016).push(np.ones((1, 353)))
