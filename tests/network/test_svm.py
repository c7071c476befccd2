import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from soundscene.network.svm import CalibratedSVM


def filled(seed=0, n_features=5, n_scenes=4):
    generator = torch.Generator().manual_seed(seed)
    head = CalibratedSVM(n_features, n_scenes)
    head.weight.normal_(generator=generator)
    head.bias.normal_(generator=generator)
    head.slope.uniform_(-3, -1, generator=generator)
    head.offset.normal_(generator=generator)
    return head


def test_is_platts_formula_normalised():
    head, x = filled(), np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    weight, bias, slope, offset = (b.numpy() for b in (head.weight, head.bias, head.slope, head.offset))
    p = 1 / (1 + np.exp(slope * (x.astype(np.float64) @ weight.T + bias) + offset))
    np.testing.assert_allclose(head(torch.from_numpy(x)).exp().numpy(), p / p.sum(axis=1, keepdims=True), rtol=1e-12)


def test_has_four_buffers_and_nothing_to_train():
    head = CalibratedSVM(256, 19)
    assert {name: (tuple(b.shape), b.dtype) for name, b in head.state_dict().items()} == {
        "weight": ((19, 256), torch.float64),
        "bias": ((19,), torch.float64),
        "slope": ((19,), torch.float64),
        "offset": ((19,), torch.float64),
    }
    assert list(head.parameters()) == []


def test_an_empty_one_predicts_equal_probabilities():
    assert torch.allclose(CalibratedSVM(3, 5)(torch.ones(2, 3)).exp(), torch.full((2, 5), 0.2, dtype=torch.float64))


def test_far_outside_the_training_data_scenes_are_still_ranked():
    """Every Platt probability underflows here; the plain quotient would be 0 / 0."""
    head = filled()
    head.weight.zero_()
    head.bias.copy_(torch.tensor([-1000.0, -1010.0, -1020.0, -5000.0]))
    head.slope.fill_(-1.0)
    head.offset.zero_()
    posterior = head(torch.zeros(1, 5))[0]
    assert torch.isfinite(posterior).all()
    assert posterior[0] - posterior[1] == pytest.approx(10)
    assert posterior[1] - posterior[2] == pytest.approx(10)
    assert posterior.logsumexp(0) == pytest.approx(0, abs=1e-12)


def test_an_infinite_offset_is_probability_zero_for_any_input():
    head = filled()
    head.weight[2], head.bias[2], head.slope[2], head.offset[2] = 0, 0, 0, torch.inf
    posterior = head(1e6 * torch.randn(50, 5, generator=torch.Generator().manual_seed(1)))
    assert torch.isneginf(posterior[:, 2]).all()
    assert not posterior.isnan().any()
    assert torch.allclose(posterior.logsumexp(1), torch.zeros(50, dtype=torch.float64), atol=1e-12)


def test_travels_through_safetensors_bit_by_bit():
    head, x = filled(), torch.randn(3, 5, generator=torch.Generator().manual_seed(2))
    head.offset[0] = torch.inf
    other = CalibratedSVM(5, 4)
    other.load_state_dict(load(save(head.state_dict())))
    assert torch.equal(other(x), head(x))


def test_a_state_of_another_size_is_refused():
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        CalibratedSVM(5, 3).load_state_dict(filled().state_dict())
