import numpy as np
import pytest
import torch
from torch import nn

from soundscene.network.blocks import BidirectionalGRU, ConvBlock, ConvStack, Standardise


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def randomise(module, seed=0):
    """Random weights, batch-norm statistics included; some batch-norm scales negative."""
    generator = seeded(seed)
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.5, generator=generator)
    return module.eval()


def arrays(module):
    return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}


# Standardise ----------------------------------------------------------------------------------------------------------


def test_standardise_takes_mean_and_deviation_of_each_band_and_channel():
    images = torch.randn(7, 2, 4, 5, generator=seeded()) * torch.tensor([[[[1.0], [2], [3], [4]]]]) - 20
    layer = Standardise(4, clamp=6.0)
    layer.fit(images)
    x = images.numpy().astype(np.float64)
    mean, deviation = x.mean(axis=(0, 3)), x.std(axis=(0, 3))
    np.testing.assert_allclose(layer.mean[..., 0], mean, rtol=1e-6)
    np.testing.assert_allclose(1 / layer.inverse_deviation[..., 0], deviation, rtol=1e-6)
    expected = (x - mean[..., None]) / deviation[..., None]
    np.testing.assert_allclose(layer(images), expected, atol=1e-5)


def test_standardise_in_pieces_is_standardise_at_once():
    """2500 images go through in three pieces; the sums are those of the whole."""
    images = torch.randn(2500, 2, 1, 3, generator=seeded()) * 3 + 100
    layer = Standardise(1, clamp=6.0)
    layer.fit(images)
    x = images.numpy().astype(np.float64)
    np.testing.assert_allclose(layer.mean[:, 0, 0], x.mean(axis=(0, 2, 3)), rtol=1e-7)
    np.testing.assert_allclose(1 / layer.inverse_deviation[:, 0, 0], x.std(axis=(0, 2, 3)), rtol=1e-6)


@pytest.mark.parametrize("level", [-23.02585, 0.0, 1e3])
def test_a_constant_band_is_left_at_deviation_one(level):
    images = torch.randn(50, 2, 3, 40, generator=seeded())
    images[:, 1, 2] = level
    layer = Standardise(3, clamp=6.0)
    layer.fit(images)
    assert layer.inverse_deviation[1, 2] == 1
    assert layer(images)[:, 1, 2].abs().max() < 1e-6 * max(1, abs(level))


def test_standardised_values_are_cut_at_the_clamp():
    layer = Standardise(1, clamp=6.0)
    layer.fit(torch.tensor([-1.0, 1.0]).repeat(4).view(1, 1, 1, 8).expand(1, 2, 1, 8))
    image = torch.tensor([-100.0, -6.5, -5.5, 5.5, 6.5, 100.0]).expand(1, 2, 1, 6)
    assert layer(image)[0, 0, 0].tolist() == [-6, -6, -5.5, 5.5, 6, 6]


# Convolution ----------------------------------------------------------------------------------------------------------


def tensorflow_same(x, weight, bias):
    """TensorFlow's SAME at stride 1: k - 1 zeros in all, half of them (rounded down) before, the rest after."""
    k = weight.shape[-1]
    before = (k - 1) // 2
    padded = np.zeros((x.shape[0], x.shape[1] + k - 1, x.shape[2] + k - 1))
    padded[:, before : before + x.shape[1], before : before + x.shape[2]] = x
    out = np.empty((len(weight), *x.shape[1:]))
    for n in range(len(weight)):
        for band in range(x.shape[1]):
            for frame in range(x.shape[2]):
                out[n, band, frame] = np.sum(weight[n] * padded[:, band : band + k, frame : frame + k]) + bias[n]
    return out


def normalise(x, p):
    scale = p["norm.weight"] / np.sqrt(p["norm.running_var"] + 1e-5)
    return (x - p["norm.running_mean"][:, None, None]) * scale[:, None, None] + p["norm.bias"][:, None, None]


def pool(x):
    return x.reshape(x.shape[0], -1, 4, x.shape[2]).max(axis=2)


@pytest.mark.parametrize("kernel", [5, 3, 2])
def test_conv_block_is_convolution_relu_norm_pool_in_this_order(kernel):
    block = randomise(ConvBlock(2, 3, kernel, dropout=0.25), seed=kernel)
    p = arrays(block)
    assert (p["norm.weight"] < 0).any()  # only then does it matter that pooling comes after the norm
    x = torch.randn(1, 2, 8, 6, generator=seeded(1))
    convolved = tensorflow_same(x[0].numpy(), p["convolution.weight"], p["convolution.bias"])
    relu = lambda a: np.maximum(a, 0)  # noqa: E731
    ours = block(x)[0].detach().numpy()
    np.testing.assert_allclose(ours, pool(normalise(relu(convolved), p)), atol=1e-5)
    for other in (pool(relu(normalise(convolved, p))), normalise(pool(relu(convolved)), p)):
        assert np.abs(ours - other).max() > 0.1


def test_an_even_kernel_pads_at_the_end():
    """A kernel of ones on an impulse: it reaches the place of the impulse and the one before it, in both axes."""
    block = ConvBlock(1, 1, 2, dropout=0.0)
    x = torch.zeros(1, 1, 4, 5)
    x[0, 0, 2, 3] = 1
    with torch.no_grad():
        block.convolution.weight.fill_(1)
        block.convolution.bias = None
    lit = block.convolution(block.pad(x))[0, 0].nonzero().tolist()
    assert lit == [[1, 2], [1, 3], [2, 2], [2, 3]]


def test_dropout_of_a_block_comes_last_and_in_training_only():
    """Batch norm with an offset moves every value off zero, so zeros can only come from a dropout after it."""
    block = randomise(ConvBlock(1, 8, 3, dropout=0.25)).train()
    with torch.no_grad():
        block.norm.bias.fill_(10)
    x = torch.randn(4, 1, 16, 50, generator=seeded(2))
    torch.manual_seed(0)
    out = block(x)
    a = torch.relu(block.convolution(x))
    mean, variance = a.mean(dim=(0, 2, 3), keepdim=True), a.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
    scale, offset = (v[:, None, None] for v in (block.norm.weight, block.norm.bias))
    normed = (a - mean) / torch.sqrt(variance + 1e-5) * scale + offset
    pooled = normed.view(4, 8, 4, 4, 50).amax(dim=3)
    kept = out != 0
    torch.testing.assert_close(out[kept], pooled[kept] / 0.75, rtol=1e-4, atol=1e-4)
    assert (~kept).float().mean() == pytest.approx(0.25, abs=0.02)  # 6400 draws: a deviation of 0.005
    block.eval()
    assert (block(x) != 0).all()
    assert torch.equal(block(x), block(x))


def test_table_1_feature_maps_at_full_size():
    """M = 64, T = 80, K = 2: every row of Table 1."""
    stack = ConvStack((64, 128, 256), dropout=0.25).eval()
    shapes = []
    for module in stack.modules():
        if isinstance(module, nn.Conv2d | ConvBlock):
            module.register_forward_hook(lambda m, _, out: shapes.append((type(m).__name__, *out.shape[1:])))
    o = stack(torch.zeros(1, 2, 64, 80))
    assert shapes == [
        ("Conv2d", 64, 64, 80),
        ("ConvBlock", 64, 16, 80),
        ("Conv2d", 128, 16, 80),
        ("ConvBlock", 128, 4, 80),
        ("Conv2d", 256, 4, 80),
        ("ConvBlock", 256, 1, 80),
    ]
    assert [m.kernel_size for m in stack.modules() if isinstance(m, nn.Conv2d)] == [(5, 5), (3, 3), (2, 2)]
    assert {m.kernel_size for m in stack.modules() if isinstance(m, nn.MaxPool2d)} == {(4, 1)}
    assert o.shape == (1, 256, 80)  # F = M/64 x 256


def test_features_of_a_frame_are_its_filters_and_bands():
    stack = randomise(ConvStack((2, 2, 3), dropout=0.0))
    images = torch.randn(1, 2, 128, 4, generator=seeded())
    maps = stack.blocks(images)
    assert maps.shape == (1, 3, 2, 4)  # M = 128: two bands are left, F = 2 x 3
    for frame in range(4):
        assert torch.equal(stack(images)[0, :, frame], maps[0, :, :, frame].reshape(6))


# Recurrent layers -----------------------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru_direction(inputs, p, layer, reverse):
    """One direction of one layer, (2) or (3), with PyTorch's GRU as the hidden layer function H."""
    suffix = f"l0{'_reverse' if reverse else ''}"
    w_r, w_z, w_n = np.split(p[f"layers.{layer}.weight_ih_{suffix}"], 3)
    u_r, u_z, u_n = np.split(p[f"layers.{layer}.weight_hh_{suffix}"], 3)
    b_r, b_z, b_n = np.split(p[f"layers.{layer}.bias_ih_{suffix}"], 3)
    c_r, c_z, c_n = np.split(p[f"layers.{layer}.bias_hh_{suffix}"], 3)
    h = np.zeros(len(b_r))
    states = np.empty((len(inputs), len(h)))
    for t in reversed(range(len(inputs))) if reverse else range(len(inputs)):
        x = inputs[t]
        reset = sigmoid(w_r @ x + b_r + u_r @ h + c_r)
        update = sigmoid(w_z @ x + b_z + u_z @ h + c_z)
        new = np.tanh(w_n @ x + b_n + reset * (u_n @ h + c_n))
        h = (1 - update) * new + update * h
        states[t] = h
    return states


def test_recurrent_output_is_equations_1_to_3():
    layer = randomise(BidirectionalGRU(n_in=5, hidden=3, dropout=0.1).double())
    p = arrays(layer)
    o = torch.randn(2, 7, 5, generator=seeded(3), dtype=torch.float64)
    z = layer(o).detach().numpy()
    for one, ours in zip(o.numpy(), z, strict=True):
        forward, backward = (gru_direction(one, p, 0, reverse) for reverse in (False, True))
        below = np.concatenate([forward, backward], axis=1)  # PyTorch's order between the layers
        forward, backward = (gru_direction(below, p, 1, reverse) for reverse in (False, True))
        for t in range(7):  # (1): backward first
            expected = np.concatenate([backward[t], forward[t]]) @ p["projection.weight"].T + p["projection.bias"]
            np.testing.assert_allclose(ours[t], expected, rtol=1e-10, atol=1e-12)


def test_the_two_directions_read_from_their_own_end():
    """A change in frame 3 reaches forward states from 3 on, backward states up to 3."""
    layer = randomise(BidirectionalGRU(n_in=2, hidden=4, dropout=0.0, n_layers=1))
    with torch.no_grad():
        layer.projection.weight.copy_(torch.eye(8))
    o = torch.randn(1, 6, 2, generator=seeded())
    moved = o.clone()
    moved[0, 3] += 1
    differs = ((layer(o) - layer(moved)).abs() > 1e-6)[0]
    assert differs[:, :4].any(dim=1).tolist() == [True, True, True, True, False, False]  # backward half
    assert differs[:, 4:].any(dim=1).tolist() == [False, False, False, True, True, True]  # forward half


def test_dropout_on_inputs_between_layers_and_on_outputs_of_the_recurrent_part():
    layer = BidirectionalGRU(n_in=64, hidden=32, dropout=0.1).train()
    torch.manual_seed(0)
    seen = {}
    for name, part in (("input", layer.layers[0]), ("between", layer.layers[1]), ("output", layer.projection)):
        part.register_forward_pre_hook(lambda _, args, name=name: seen.__setitem__(name, args[0]))
    o = torch.ones(8, 50, 64)
    layer(o)
    assert set(seen) == {"input", "between", "output"}
    for tensor in seen.values():  # 25 600 draws: a deviation of 0.002
        assert (tensor == 0).float().mean() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(seen["input"][seen["input"] != 0].unique(), torch.tensor([1 / 0.9]))
    layer.eval()
    assert torch.equal(layer(o), layer(o))
    assert torch.equal(seen["input"], o)
    assert (seen["output"] != 0).all()


def test_recurrent_part_is_the_stack_of_pytorch_and_reads_its_weights():
    """Bundles written when both layers were one nn.GRU are read, and answer as they did."""
    stack = nn.GRU(5, 3, 2, batch_first=True, bidirectional=True)
    layer = BidirectionalGRU(n_in=5, hidden=3, dropout=0.1).eval()
    state = {f"gru.{name}": tensor for name, tensor in stack.state_dict().items()}
    state |= {name: tensor for name, tensor in layer.state_dict().items() if name.startswith("projection")}
    layer.load_state_dict(state)
    o = torch.randn(2, 7, 5, generator=seeded())
    forward, backward = stack(o)[0].split(3, dim=-1)
    assert torch.equal(layer(o), layer.projection(torch.cat((backward, forward), dim=-1)))
