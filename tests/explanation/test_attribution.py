"""Integrated gradients: against closed forms, and complete."""

from typing import Literal

import numpy as np
import pytest
import torch

from soundscene.explanation.attribution import attribute, integrate, log_posterior_of
from tests.support.tiny import TINY, blank_bundle, only

IMAGES = np.random.default_rng(0).normal(-6, 3, (3, 2, 64, 80)).astype(np.float32)
DRAWS = torch.Generator().manual_seed(3)
POINT = torch.randn(2, 2, 4, 5, generator=DRAWS)
WEIGHT = torch.randn(2, 4, 5, generator=DRAWS)


def test_of_a_linear_network_it_is_weight_times_input() -> None:
    found = integrate(lambda x: (x * WEIGHT).sum(dim=(1, 2, 3)) + 7, POINT, 8)
    np.testing.assert_allclose(found.values, (WEIGHT * POINT).numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.gained, (WEIGHT * POINT).sum(dim=(1, 2, 3)).numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.error, 0, atol=1e-5)


def test_of_a_square_each_value_gets_its_own_square_and_of_a_product_each_factor_half() -> None:
    np.testing.assert_allclose(integrate(lambda x: x.square().sum(dim=(1, 2, 3)), POINT).values, POINT.square(), rtol=1e-4)
    found = integrate(lambda x: x[:, 0, 0, 0] * x[:, 1, 0, 0], POINT).values  # a b: integral of t a b dt for both
    half = (POINT[:, 0, 0, 0] * POINT[:, 1, 0, 0] / 2).numpy()
    np.testing.assert_allclose(found[:, 0, 0, 0], half, rtol=1e-5)
    np.testing.assert_allclose(found[:, 1, 0, 0], half, rtol=1e-5)
    assert np.count_nonzero(found) == 4


@pytest.mark.parametrize("head", ["svm", "softmax"])
@pytest.mark.parametrize("kind", ["att-crnn", "cnn"])
def test_it_explains_the_log_posterior_that_the_model_predicts(head: Literal["svm", "softmax"], kind: str) -> None:
    bundle = blank_bundle(TINY.with_settings([f"network.kind={kind}"]))
    mean = only(bundle).network.standardise.mean.expand(2, 64, 80).numpy()[None]
    log_posterior = bundle.classify(bundle.embed((np.concatenate([IMAGES, mean]),)), head)
    for scene in range(3):
        found = attribute(only(bundle), IMAGES, scene, head)
        assert found.values.shape == (3, 2, 64, 80)
        gained = log_posterior[:3, scene] - log_posterior[3, scene]
        np.testing.assert_allclose(found.gained, gained, atol=2e-5)
        sums = found.values.sum(axis=(1, 2, 3), dtype=np.float64)
        np.testing.assert_allclose(found.error, sums - found.gained, atol=1e-9)
        assert (np.abs(found.error) <= np.maximum(0.02 * np.abs(found.gained), 0.01)).all()  # completeness
        assert np.abs(found.values).max() > 0


def test_values_at_the_clamp_and_of_a_channel_that_is_not_read() -> None:
    bundle = blank_bundle(TINY.with_settings(["network.noise_subtracted=false"]))
    assert attribute(only(bundle), IMAGES, 0, "softmax", 4).values.shape == (3, 1, 64, 80)
    far = IMAGES.copy()
    far[0] = 1e6  # cut to +6 deviations before the way to it begins, so that completeness does not break there
    found = attribute(only(bundle), far, 0, "softmax")
    assert np.isfinite(found.values).all()
    assert np.abs(found.error).max() < 0.02


def test_an_unknown_scene_is_a_programming_error_and_the_model_is_left_as_it_was() -> None:
    bundle = blank_bundle()
    with pytest.raises(ValueError, match="scene number 3, the model has 0 to 2"):
        attribute(only(bundle), IMAGES, 3, "svm")
    before = {name: t.clone() for name, t in only(bundle).network.state_dict().items()}
    attribute(only(bundle), IMAGES[:1], 0, "svm", 4)
    assert all(torch.equal(before[name], t) for name, t in only(bundle).network.state_dict().items())
    assert all(p.grad is None for p in only(bundle).network.parameters())
    assert log_posterior_of(only(bundle), "svm", 1)(torch.zeros(2, 2, 64, 80)).shape == (2,)
