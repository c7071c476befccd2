"""Samples and rates as other libraries give them: the right thing, or one sentence."""

from typing import Any

import numpy as np
import pytest
import torch

from soundscene.audio.arrays import as_rate
from soundscene.audio.files import gate_array
from soundscene.errors import AudioError
from soundscene.live import Listener
from soundscene.predictor import Predictor
from soundscene.recipe import AudioRecipe
from tests.support.sounds import noise
from tests.support.tiny import blank_bundle

X = noise(2.2)[:, 0]


@pytest.mark.parametrize(
    "rate", [22050, 22050.0, np.float64(22050), np.int32(22050), np.array(22050.0), np.array([22050]), torch.tensor(22050)]
)
def test_a_whole_rate_of_any_type_is_a_rate(rate: Any) -> None:
    assert as_rate(rate, "array") == 22050
    np.testing.assert_array_equal(gate_array(X, rate, AudioRecipe()), X)
    predictor = Predictor(blank_bundle())
    assert predictor((X, rate)).duration_s == len(X) / 22050
    assert len(list(predictor.stream([X], rate))) == 1
    assert Listener(blank_bundle(), "softmax", rate).sample_rate == 22050


@pytest.mark.parametrize("rate", ["22050", None, True, [1, 2], 10**30, 22050.5, float("nan"), float("inf"), X])
def test_any_other_rate_is_one_sentence(rate: Any) -> None:
    with pytest.raises(AudioError, match=r"^array: a sample rate of .{1,45}, expected a whole number"):
        gate_array(X, rate, AudioRecipe())


@pytest.mark.parametrize(
    "samples",
    [
        torch.tensor(X, requires_grad=True),
        torch.tensor(X),
        X.tolist(),
        torch.imag(torch.conj(torch.complex(torch.tensor(X), torch.tensor(-X)))),
    ],
)
def test_tensors_and_lists_are_samples(samples: Any) -> None:
    np.testing.assert_array_equal(gate_array(samples, 22050, AudioRecipe()), gate_array(X, 22050, AudioRecipe()))
    assert len(list(Predictor(blank_bundle()).stream([samples], 22050))) == 1


def test_bfloat16_is_read_as_far_as_it_goes() -> None:
    np.testing.assert_allclose(gate_array(torch.tensor(X).bfloat16(), 22050, AudioRecipe()), X, rtol=2**-8)


@pytest.mark.parametrize("samples", [[[1, 2], [3]], torch.empty(9, device="meta"), torch.tensor(X).to_sparse()])
def test_what_is_no_array_is_one_sentence(samples: Any) -> None:
    with pytest.raises(AudioError, match=r"^array: samples of type (list|Tensor) cannot be read as an array \("):
        gate_array(samples, 22050, AudioRecipe())
