"""The temporal transformer by physics: shifts, constants, modulations, and a gradient at zero."""

import numpy as np
import pytest
import torch

from soundscene.network.lstm import LSTMStack
from soundscene.network.temporal_transformer import MeanOverTime, TemporalTransformer

RATE = 40.0
MODULE = TemporalTransformer(80, RATE)
TIME = torch.arange(80) / RATE


def test_a_circular_shift_changes_nothing_and_another_order_does() -> None:
    maps = torch.randn(3, 5, 80, generator=torch.Generator().manual_seed(0))
    values = MODULE(maps)
    assert values.shape == (3, 5, MODULE.n_values)
    for shift in (1, 17, 79):
        assert torch.allclose(MODULE(maps.roll(shift, -1)), values, atol=1e-6)
    shuffled = maps[..., torch.randperm(80, generator=torch.Generator().manual_seed(1))]
    assert (MODULE(shuffled) - values).abs().max() > 0.02
    assert torch.allclose(MODULE(shuffled)[..., 0], values[..., 0], atol=1e-6)  # the mean knows no order


def test_a_constant_is_in_the_first_value_with_its_sign_and_a_modulation_in_its_bin() -> None:
    for level in (2.0, -2.0):
        magnitudes = MODULE.magnitudes(torch.full((80,), level))
        assert magnitudes[0] == pytest.approx(level)
        assert magnitudes[1:].abs().max() < 1e-6
        assert MODULE(torch.full((80,), level))[1:].abs().max() < 1e-6
    for hz, value in ((0.5, 1), (1.5, 2), (2.5, 3), (4.0, 4), (8.0, 5), (10.0, 6), (18.0, 7)):
        wave = 1.0 + torch.cos(2 * np.pi * hz * TIME + 0.3)
        magnitudes = MODULE.magnitudes(wave)
        assert magnitudes[1:].argmax() + 1 == round(2 * hz)
        assert magnitudes[round(2 * hz)] == pytest.approx(0.5, abs=1e-5)
        assert MODULE(wave)[1:].argmax() + 1 == value


def test_the_first_row_alone_is_mean_pooling() -> None:
    maps = torch.randn(4, 6, 80, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(MODULE(maps)[..., :1], MeanOverTime()(maps), atol=1e-6)
    assert MODULE.reduction.weight[0].nonzero().flatten().tolist() == [0]
    assert torch.allclose(MODULE.reduction.weight.sum(dim=1), torch.ones(8))
    assert (MODULE.reduction.weight > 0).sum(dim=0).tolist() == [1] * 41  # every bin in one band


def test_the_gradient_exists_at_zero() -> None:
    maps = torch.zeros(2, 80, requires_grad=True)
    values = MODULE(maps)
    assert values.abs().max() < 1e-6
    values.sum().backward()
    assert maps.grad is not None
    assert torch.isfinite(maps.grad).all()


@pytest.mark.parametrize(("frames", "rate"), [(20, 40.0), (81, 40.0), (7, 3.0), (1, 40.0), (160, 100.0)])
def test_other_numbers_of_frames_are_no_trouble(frames: int, rate: float) -> None:
    values = TemporalTransformer(frames, rate)(torch.ones(2, frames))
    assert torch.isfinite(values).all()
    assert values[:, 0].tolist() == pytest.approx([1.0, 1.0], abs=1e-5)


def test_dropout_of_the_lstm_is_no_modulation() -> None:
    torch.manual_seed(0)
    stack = LSTMStack(3, 16, n_layers=1, dropout=0.5)
    frames = torch.randn(4, 10, 3)
    noisy, plain = stack(frames), stack.eval()(frames)
    dropped = (noisy == 0).all(dim=1, keepdim=True)
    assert 10 < int(dropped.sum()) < 54
    assert torch.allclose(noisy, torch.where(dropped, 0.0, 2 * plain), atol=1e-6)


def test_the_lstm_hears_the_past_alone_and_begins_with_open_forget_gates() -> None:
    torch.manual_seed(0)
    stack = LSTMStack(3, 4).eval()
    frames = torch.randn(2, 10, 3)
    with torch.no_grad():
        whole, cut = stack(frames), stack(frames[:, :6])
        other = stack(torch.cat([frames[:, :3] + 1, frames[:, 3:]], dim=1))
    assert whole.shape == (2, 10, 4)
    assert torch.allclose(whole[:, :6], cut, atol=1e-6)
    assert (whole[:, 5] - other[:, 5]).abs().max() > 1e-3  # and that of the past which is three frames back
    bias = stack.layers[1].bias_ih_l0 + stack.layers[1].bias_hh_l0  # pyright: ignore[reportOperatorIssue]
    assert torch.equal(bias[4:8], torch.ones(4))
