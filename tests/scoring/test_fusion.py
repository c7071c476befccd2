import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import log_softmax, logsumexp

from soundscene.scoring.fusion import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    PSEUDO_ERROR,
    fit_temperature,
    fuse_systems,
    product,
    product_by_recording,
    temper,
)


def posterior(generator, *shape):
    return log_softmax(3 * generator.standard_normal(shape), axis=-1)


def test_product_is_the_normalised_product_of_probabilities():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.25, 0.25, 0.5]])
    multiplied = probabilities[0] * probabilities[1] * probabilities[2]
    np.testing.assert_allclose(np.exp(product(np.log(probabilities))), multiplied / multiplied.sum(), rtol=1e-13)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(2, 20))
def test_product_ignores_order_and_splits_into_parts(seed, n_segments, n_scenes):
    generator = np.random.default_rng(seed)
    segments = posterior(generator, n_segments, n_scenes)
    whole = product(segments)
    np.testing.assert_allclose(np.asarray(logsumexp(whole)), 0, atol=1e-12)
    np.testing.assert_allclose(product(segments[generator.permutation(n_segments)]), whole, atol=1e-10)
    parts = np.stack([product(segments[: n_segments // 2]), product(segments[n_segments // 2 :])])
    np.testing.assert_allclose(product(parts), whole, atol=1e-10)  # an empty first part is neutral


def test_ten_hours_neither_underflow_nor_lose_the_second_scene():
    segment = np.log([0.45, 0.35, 0.2])
    fused = product(np.tile(segment, (18_000, 1)))
    assert np.prod(np.exp(np.tile(segment, (18_000, 1))), axis=0).max() == 0.0  # what the logs are for
    np.testing.assert_allclose(fused[1] - fused[0], 18_000 * (segment[1] - segment[0]), rtol=1e-12)


def test_a_scene_that_one_segment_excludes_is_excluded():
    with np.errstate(divide="ignore"):
        segments = np.log([[0.0, 0.4, 0.6], [0.9, 0.05, 0.05]])
    np.testing.assert_allclose(np.exp(product(segments)), [0, 0.4, 0.6], rtol=1e-13)


def test_contradicting_zeros_and_no_segments_mean_that_nothing_is_known():
    with np.errstate(divide="ignore"):
        contradiction = np.log([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(np.exp(product(contradiction)), [0.5, 0.5])
    np.testing.assert_allclose(np.exp(product(np.zeros((0, 4)))), [0.25] * 4)


def test_float32_segments_are_added_in_float64():
    segments = np.tile(np.log(np.array([0.7, 0.3], np.float32)), (100_000, 1))
    fused = product(segments)
    assert fused.dtype == np.float64
    expected = 100_000 * (np.float64(segments[0, 1]) - np.float64(segments[0, 0]))
    np.testing.assert_allclose(fused[1], expected, rtol=1e-10)  # one by one in float32 it would be 6e-4 off


def test_by_recording_equals_one_by_one_in_any_order():
    generator = np.random.default_rng(1)
    segments, index = posterior(generator, 40, 5), generator.integers(0, 6, 40)
    index[index == 4] = 3  # recording 4 has no segment
    fused = product_by_recording(segments, index, 6)
    for recording in range(6):
        np.testing.assert_allclose(fused[recording], product(segments[index == recording]), atol=1e-12)
    np.testing.assert_allclose(np.exp(fused[4]), 0.2)


@pytest.mark.parametrize("wrong", [[0, -1], [0, 2]])
def test_by_recording_refuses_an_index_that_would_wrap_or_overflow(wrong):
    with pytest.raises(ValueError, match=r"recording_index holds -?\d to \d, allowed are 0 to 1: it must number"):
        product_by_recording(np.log(np.full((2, 2), 0.5)), np.array(wrong), 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_is_named_and_not_fused(bad):
    broken = np.array([[bad, 0.0]])
    message = r"log posterior holds NaN or \+inf, allowed are finite numbers and -inf: has the training diverged\?"
    for call in (
        lambda: product(broken),
        lambda: fuse_systems([np.zeros((1, 2)), broken]),
        lambda: temper(broken, 2.0),
        lambda: fit_temperature(broken, np.array([0])),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_systems_fuse_as_segments_do():
    generator = np.random.default_rng(2)
    systems = [posterior(generator, 7, 4) for _ in range(3)]
    fused = fuse_systems(systems)
    for recording in range(7):
        np.testing.assert_allclose(fused[recording], product(np.stack([s[recording] for s in systems])), atol=1e-12)


def test_systems_of_other_shape_or_none_are_refused():
    with pytest.raises(ValueError, match=r"shapes \[\(2, 3\), \(4, 3\)\]; they must have predicted the same recordings"):
        fuse_systems([np.zeros((2, 3)), np.zeros((4, 3))])
    with pytest.raises(ValueError, match=r"shapes none \(no system given\)"):
        fuse_systems([])


def test_temper_is_a_power_of_the_probabilities():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5]])
    with np.errstate(divide="ignore"):
        tempered = np.exp(temper(np.log(probabilities), 2.0))
    np.testing.assert_allclose(tempered, np.sqrt(probabilities) / np.sqrt(probabilities).sum(axis=1, keepdims=True))
    assert tempered[1, 0] == 0
    np.testing.assert_allclose(temper(np.log(probabilities[:1]), 1.0), np.log(probabilities[:1]), atol=1e-15)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_temper_refuses_impossible_temperatures(temperature):
    with pytest.raises(ValueError, match=f"temperature must be positive and finite, got {temperature}"):
        temper(np.zeros((1, 2)), temperature)


def draw(generator, n, sharpening, n_scenes=6):
    """Truth drawn from an honest posterior, and that posterior sharpened: temperature `sharpening` mends it."""
    honest = log_softmax(1.5 * generator.standard_normal((n, n_scenes)), axis=1)
    truth = (np.exp(honest).cumsum(axis=1) < generator.random((n, 1))).sum(axis=1).clip(max=n_scenes - 1)
    return log_softmax(sharpening * honest, axis=1), truth


@pytest.mark.parametrize("sharpening", [0.5, 1.0, 15.0])
def test_fit_finds_the_temperature_that_mends_a_sharpened_posterior(sharpening):
    sharpened, truth = draw(np.random.default_rng(3), 20_000, sharpening)
    assert fit_temperature(sharpened, truth) == pytest.approx(sharpening, rel=0.03)


def test_fit_minimises_the_stated_loss():
    sharpened, truth = draw(np.random.default_rng(4), 60, 5.0)
    rows = np.arange(60)
    others = np.where(np.arange(6) == truth[:, None], -np.inf, sharpened)

    def loss(temperature):
        tempered = temper(sharpened, temperature)
        return -tempered[rows, truth].sum() - PSEUDO_ERROR * tempered[rows, others.argmax(axis=1)].mean()

    grid = np.exp(np.linspace(np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE), 1000))
    best = min(grid, key=loss)
    assert fit_temperature(sharpened, truth) == pytest.approx(best, rel=0.01)  # the step of the grid


@pytest.mark.parametrize("n", [1, 5, 200])
def test_a_few_correct_predictions_do_not_give_certainty(n):
    fused = log_softmax(np.tile([60.0, 0.0, -4000.0], (n, 1)), axis=1)
    temperature = fit_temperature(fused, np.zeros(n, np.int64))
    tempered = np.exp(temper(fused, temperature))[0, 0]
    assert tempered == pytest.approx(n / (n + PSEUDO_ERROR), rel=1e-4)
    solved = brentq(lambda t: 1 / (1 + np.exp(-60 / t)) - n / (n + PSEUDO_ERROR), 1, 200)
    assert temperature == pytest.approx(solved, rel=1e-3)


def test_wrong_predictions_flatten_to_the_upper_bound():
    fused = log_softmax(np.tile([0.0, 50.0], (20, 1)), axis=1)
    assert fit_temperature(fused, np.zeros(20, np.int64)) == pytest.approx(MAX_TEMPERATURE, rel=1e-3)


def test_what_says_nothing_leaves_the_posterior_alone():
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, np.int64)) == 1.0
    assert fit_temperature(np.log(np.full((4, 3), 1 / 3)), np.array([0, 1, 2, 0])) == 1.0
    impossible = np.array([[-np.inf, 0.0]])
    assert fit_temperature(impossible, np.array([0])) == 1.0
    assert fit_temperature(impossible, np.array([1])) == 1.0  # the rival has gone: any temperature gives certainty


def test_an_impossible_truth_does_not_drag_the_temperature():
    sharpened, truth = draw(np.random.default_rng(5), 100, 5.0)
    spoilt = np.vstack([sharpened, [[-np.inf, 0, -90, -90, -90, -90]]])
    assert fit_temperature(spoilt, np.append(truth, 0)) == pytest.approx(fit_temperature(sharpened, truth), rel=1e-4)


def test_the_quarter_error_helps_a_small_held_out_part():
    """Fifteen correlated segments, ten held-out recordings, log loss on new ones (0031)."""
    generator = np.random.default_rng(6)

    def world(n):
        truth = generator.integers(10, size=n)
        place, own = generator.standard_normal((2, n, 15, 10))
        clarity = 4 * generator.uniform(0.3, 1.7, (n, 1, 1))
        evidence = clarity * np.eye(10)[truth][:, None] + np.sqrt(0.5) * (place[:, :1] + own)
        return log_softmax(log_softmax(4 * evidence, axis=2).sum(axis=1), axis=1), truth

    new, new_truth = world(4000)

    def new_loss(temperature):
        return -temper(new, temperature)[np.arange(4000), new_truth].mean()

    losses = [new_loss(fit_temperature(*world(10))) for _ in range(30)]
    assert np.mean(losses) < 0.25 * new_loss(1.0)
    assert np.mean(losses) < 0.1 * new_loss(MIN_TEMPERATURE)  # where the bare log loss ends up when all ten are right


def test_fit_refuses_a_truth_outside_the_scenes():
    with pytest.raises(ValueError, match="truth holds scenes 0 to 2, allowed are 0 to 1"):
        fit_temperature(np.log(np.full((2, 2), 0.5)), np.array([0, 2]))
