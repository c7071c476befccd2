"""The fused tail of a convolutional block against PyTorch's own layers."""

import pytest
import torch
from torch import nn

from soundscene.network.blocks import ConvBlock, ConvStack
from soundscene.network.norm_pool import fits, norm_pool


def norm_of(channels, training, seed=0):
    """A batch norm with random statistics and factors of both signs."""
    generator = torch.Generator().manual_seed(seed)
    norm = nn.BatchNorm2d(channels).train(training)
    with torch.no_grad():
        for name, tensor in norm.state_dict().items():
            if name == "running_var":
                tensor.uniform_(0.5, 2, generator=generator)
            elif tensor.is_floating_point():
                tensor.normal_(generator=generator)
    assert (norm.weight < 0).any()
    assert (norm.weight > 0).any()
    return norm


def inputs(batch=5, channels=11, bands=12, frames=7, seed=1, layout=torch.channels_last):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, channels, bands, frames, generator=generator).contiguous(memory_format=layout)
    gradient = torch.randn(batch, channels, bands // 4, frames, generator=generator)
    return x.requires_grad_(), gradient


def plain(x, norm):
    return torch.max_pool2d(norm(torch.relu(x)), (4, 1))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_outputs_gradients_and_statistics_are_those_of_the_four_layers(training, layout):
    results = []
    for tail in (lambda x, norm: norm_pool(x, norm, 0.0), plain):
        norm = norm_of(11, training)
        x, gradient = inputs(layout=layout)
        pooled = tail(x, norm)
        pooled.backward(gradient)
        results.append([pooled.detach(), x.grad, norm.weight.grad, norm.bias.grad, *(b.clone() for b in norm.buffers())])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_gradient_of_the_input_is_the_slope_in_float64():
    """Independent of PyTorch's own rounding: central differences of a float64 rendering of the four layers."""
    norm = norm_of(3, training=True)
    x, gradient = inputs(2, 3, 8, 3)
    norm_pool(x, norm, 0.0).backward(gradient)
    assert x.grad is not None
    exact = norm_of(3, training=True).double()
    x64 = x.detach().double()
    step = 1e-6
    for index in [(0, 0, 0, 0), (1, 2, 7, 2), (0, 1, 3, 1), (1, 1, 5, 0)]:
        up, down = x64.clone(), x64.clone()
        up[index] += step
        down[index] -= step
        slope = ((plain(up, exact) - plain(down, exact)) * gradient.double()).sum() / (2 * step)
        assert x.grad[index].item() == pytest.approx(slope.item(), abs=1e-4)


def test_ties_of_equal_bands_pass_the_gradient_on_once():
    """All bands equal and positive: PyTorch's max pooling gives the first of them everything, and so do we."""
    results = []
    for tail in (lambda x, norm: norm_pool(x, norm, 0.0), plain):
        x = torch.full((2, 4, 8, 3), 0.5).contiguous(memory_format=torch.channels_last).requires_grad_()
        tail(x, norm_of(4, training=False)).backward(torch.ones(2, 4, 2, 3))
        results.append(x.grad)
    torch.testing.assert_close(results[0], results[1])


def test_dropout_drops_its_share_everywhere_alike_and_scales_the_rest():
    norm = nn.BatchNorm2d(64).train()
    norm.bias.data.fill_(20)  # no value is zero by itself
    x, _ = inputs(40, 64, 64, 50)
    torch.manual_seed(0)
    dropped = norm_pool(x, norm, 0.25)
    whole = norm_pool(x, norm, 0.0)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], whole[kept] / 0.75)
    assert (~kept).float().mean() == pytest.approx(0.25, abs=0.001)  # 2 million draws: a deviation of 0.0003
    for axis in range(4):  # no example, channel, band or frame is favoured, and neighbours do not agree
        share = (~kept).float().transpose(0, axis).flatten(1).mean(dim=1)
        deviation = (0.25 * 0.75 / (kept.numel() / len(share))) ** 0.5
        assert (share - 0.25).abs().max() < 5 * deviation
        one, other = kept.narrow(axis, 0, kept.shape[axis] - 1), kept.narrow(axis, 1, kept.shape[axis] - 1)
        assert (one == other).float().mean() == pytest.approx(0.25**2 + 0.75**2, abs=0.002)


def test_gradient_passes_the_mask_of_the_forward_pass_only():
    """Pooled values that dropout has zeroed must not be heard of again: with factor and bias as probes."""
    norm = norm_of(8, training=True)
    x, gradient = inputs(6, 8, 16, 20)
    torch.manual_seed(3)
    pooled = norm_pool(x, norm, 0.5)
    pooled.backward(gradient)
    assert norm.bias.grad is not None
    expected = (gradient * (pooled != 0) / 0.5).sum(dim=(0, 2, 3))
    torch.testing.assert_close(norm.bias.grad, expected, rtol=1e-4, atol=1e-4)


def test_masks_follow_the_seed_and_differ_between_calls():
    norm, (x, _) = nn.BatchNorm2d(11).train(), inputs()
    torch.manual_seed(5)
    one, two = norm_pool(x, norm, 0.5), norm_pool(x, norm, 0.5)
    torch.manual_seed(5)
    again = norm_pool(x, norm, 0.5)
    assert torch.equal(one != 0, again != 0)
    agree = ((one != 0) == (two != 0)).float().mean()
    assert agree == pytest.approx(0.5, abs=0.1)


def test_number_of_threads_changes_no_bit():
    def run(threads):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            torch.manual_seed(7)
            norm = norm_of(11, training=True)
            x, gradient = inputs()
            pooled = norm_pool(x, norm, 0.25)
            pooled.backward(gradient)
            return [t.detach().clone() for t in (pooled, x.grad, norm.weight.grad, norm.running_var) if t is not None]
        finally:
            torch.set_num_threads(before)

    assert len(run(1)) == 4
    for one, two in zip(run(1), run(3), strict=True):
        assert torch.equal(one, two)


def test_what_is_no_number_stays_none():
    """A diverged training must be seen: zeros in its place would hide it."""
    x, _ = inputs()
    with torch.no_grad():
        x[2, 3] = float("nan")
    assert norm_pool(x, norm_of(11, training=False), 0.0)[2, 3].isnan().all()
    assert norm_pool(x, norm_of(11, training=True), 0.0)[:, 3].isnan().all()


def test_only_float32_on_the_processor_is_taken():
    x, _ = inputs()
    assert fits(x)
    assert not fits(x.double())
    assert not fits(x.to(torch.bfloat16))
    assert not fits(x.to("meta"))
    assert not fits(x[:, :, :7])
    block = ConvBlock(11, 8, 3, 0.0).double().eval()
    assert block(x.double()).dtype == torch.float64  # the layers themselves


def test_block_is_the_same_network_by_either_path(monkeypatch):
    stack = ConvStack((4, 8, 8), dropout=0.25)
    stack.blocks[1].norm.weight.data.neg_()  # type: ignore[union-attr]
    stack.eval()
    images = torch.randn(3, 2, 64, 10, generator=torch.Generator().manual_seed(0))
    fused = stack(images)
    monkeypatch.setattr("soundscene.network.blocks.fits", lambda x: False)
    torch.testing.assert_close(fused, stack(images), rtol=1e-5, atol=1e-5)


def test_pieces_of_a_batch_change_nothing():
    stack = ConvStack((4, 8, 8), dropout=0.25).eval()
    images = torch.randn(37, 2, 64, 10, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        in_pieces = stack(images)
    torch.testing.assert_close(in_pieces, stack(images).detach(), rtol=1e-6, atol=1e-6)
