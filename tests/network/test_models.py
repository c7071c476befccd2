from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from soundscene.errors import RecipeError
from soundscene.network.blocks import ConvBlock
from soundscene.network.models import AttCRNN, CNNBaseline, build_network, n_frames
from soundscene.recipe import Recipe

TINY = Recipe().with_settings(
    ["network.filters=[2, 3, 4]", "network.hidden=5", "network.attention=6", "audio.segment_s=0.2"]  # 8 frames
)


def count(module):
    return sum(p.numel() for p in module.parameters())


def build(*settings, recipe=TINY, n_scenes=3, seed=0) -> Any:
    torch.manual_seed(seed)
    return build_network(recipe.with_settings(settings), n_scenes).eval()


def test_parameters_of_the_full_network_counted_by_hand():
    """Sections 2.2, 2.3, 4.3 and the 19 scenes of section 4.1."""
    network = build(recipe=Recipe.paper(), n_scenes=19)
    # kernel height x kernel width x inputs x filters + biases, then two numbers a filter for batch norm
    block_1 = 5 * 5 * 2 * 64 + 64 + 2 * 64
    block_2 = 3 * 3 * 64 * 128 + 128 + 2 * 128
    block_3 = 2 * 2 * 128 * 256 + 256 + 2 * 256
    assert [count(b) for b in network.convolutions.blocks] == [block_1, block_2, block_3] == [3392, 74112, 131840]
    # two layers x two directions x three gates: input (256 in both layers: F, then 2H) and state weights, two biases
    gru = 2 * 2 * 3 * (128 * 256 + 128 * 128 + 128 + 128)
    projection = 256 * 256 + 256  # W and b of (1)
    assert count(network.recurrent) == gru + projection == 658_688
    temporal = 256 * 64 + 64 + 64  # W, b, context vector
    spatial = 80 * 64 + 64 + 64
    assert count(network.attention) == temporal + spatial == 21_760
    softmax = 256 * 19 + 19
    assert count(network.softmax) == softmax == 4883
    assert count(network) == block_1 + block_2 + block_3 + gru + projection + temporal + spatial + softmax == 894_675


def test_parameters_of_the_full_baseline_counted_by_hand():
    network = build("network.kind=cnn", recipe=Recipe.paper(), n_scenes=19)
    assert isinstance(network, CNNBaseline)
    assert count(network) == 3392 + 74112 + 131840 + (256 * 19 + 19) == 214_227


def test_shapes_of_the_full_network():
    network = build(recipe=Recipe.paper(), n_scenes=19)
    assert isinstance(network, AttCRNN)
    images = torch.randn(2, 2, 64, 80, generator=torch.Generator().manual_seed(0))
    assert n_frames(Recipe.paper()) == 80
    z = network.recur(network.standardise(images))
    assert z.shape == (2, 80, 256)
    assert [a.shape for a in network.attend(images)] == [(2, 256), (2, 80)]
    x = network.embed(images)
    assert x.shape == (2, 256)
    assert network(images).shape == (2, 19)
    assert float(x.detach().abs().mean()) == pytest.approx(3e-4, rel=0.3)  # the printed form, untrained; docs/decisions/0003


@pytest.mark.parametrize("kind", ["att-crnn", "cnn"])
def test_forward_is_the_softmax_layer_on_the_embedding(kind):
    network = build(f"network.kind={kind}")
    images = torch.randn(3, 2, 64, 8, generator=torch.Generator().manual_seed(1)) - 10
    network.standardise.fit(images)
    expected = network.embed(images) @ network.softmax.weight.T + network.softmax.bias
    torch.testing.assert_close(network(images), expected)
    torch.testing.assert_close(network.from_standardised(network.standardise(images)), expected)


def test_the_network_is_its_parts_in_order():
    network = build()
    assert isinstance(network, AttCRNN)
    images = torch.randn(2, 2, 64, 8, generator=torch.Generator().manual_seed(1))
    o = network.convolutions(images)
    z = network.recurrent(o.transpose(1, 2))
    assert network.attention is not None
    torch.testing.assert_close(network.embed(images), network.attention(z))


def test_baseline_takes_the_largest_value_of_each_filter():
    network = build("network.kind=cnn", "features.n_bands=128")
    images = torch.randn(2, 2, 128, 8, generator=torch.Generator().manual_seed(1))
    maps = network.convolutions.blocks(images).detach().numpy()
    assert maps.shape == (2, 4, 2, 8)
    expected = np.array([[maps[i, f].max() for f in range(4)] for i in range(2)])
    np.testing.assert_array_equal(network.embed(images).detach().numpy(), expected)


def test_places_and_rates_of_dropout():
    """Section 4.3: 0.25 in the convolutional layers, 0.1 at the inputs and outputs of the recurrent ones, nowhere else."""
    network = build(recipe=Recipe.paper(), n_scenes=19)
    places = []
    names = {module: name for name, module in network.named_modules()}

    def rate(block: nn.Module) -> float:
        assert isinstance(block, ConvBlock)
        return block.dropout.p

    for module in names:
        if isinstance(module, ConvBlock):  # drops by the rate of its dropout layer, in one pass with norm and pooling
            module.register_forward_hook(lambda m, _, out: places.append((names[m.dropout], rate(m), *out.shape[1:])))
    for name in ("recurrent.dropout",):
        network.get_submodule(name).register_forward_hook(lambda m, _, out: places.append((names[m], m.p, *out.shape[1:])))
    assert {names[m] for m in names if isinstance(m, nn.Dropout)} == {
        "recurrent.dropout",
        *(f"convolutions.blocks.{i}.dropout" for i in range(3)),
    }
    network(torch.zeros(1, 2, 64, 80))
    assert places == [
        ("convolutions.blocks.0.dropout", 0.25, 64, 16, 80),
        ("convolutions.blocks.1.dropout", 0.25, 128, 4, 80),
        ("convolutions.blocks.2.dropout", 0.25, 256, 1, 80),
        ("recurrent.dropout", 0.1, 80, 256),  # input: o_t
        ("recurrent.dropout", 0.1, 80, 256),  # between the two layers
        ("recurrent.dropout", 0.1, 80, 256),  # output: both directions
    ]


@pytest.mark.parametrize("kind", ["att-crnn", "cnn"])
def test_dropout_is_for_training_only(kind):
    network = build(f"network.kind={kind}")
    images = torch.randn(4, 2, 64, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(network(images), network(images))
    network.train()
    assert not torch.equal(network(images), network(images))
    silent = build(f"network.kind={kind}", "network.conv_dropout=0", "network.recurrent_dropout=0").train()
    assert torch.equal(silent(images), silent(images))


def test_channels_last_changes_the_layout_and_no_result():
    network = build()
    images = torch.randn(4, 2, 64, 8, generator=torch.Generator().manual_seed(1))
    weight = network.convolutions.blocks[1].convolution.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    fast = network(images.contiguous(memory_format=torch.channels_last))
    plain = network.to(memory_format=torch.contiguous_format)(images)
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-6)


def test_a_segment_of_another_length_is_refused():
    network = build()
    with pytest.raises(ValueError, match="the attention was built for 8 frames and got 9: spatial attention reads rows"):
        network(torch.zeros(1, 2, 64, 9))


def test_the_baseline_takes_any_length():
    network = build("network.kind=cnn")
    assert network(torch.zeros(1, 2, 64, 9)).shape == (1, 3)


@pytest.mark.parametrize("n_bands", [1, 63, 65, 96])
def test_bands_that_three_poolings_do_not_divide_are_refused(n_bands):
    with pytest.raises(RecipeError) as caught:
        build(f"features.n_bands={n_bands}")
    assert str(caught.value) == (
        f"recipe value features.n_bands: {n_bands} is not a multiple of 64, which three poolings by 4 need (Table 1)"
    )


def test_more_bands_make_more_features_of_a_frame():
    network = build("features.n_bands=128")
    assert network.recurrent.layers[0].input_size == 128 // 64 * 4
    assert network(torch.zeros(1, 2, 128, 8)).shape == (1, 3)


def test_the_seed_of_the_global_generator_decides_the_weights():
    one, same, other = (build(seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["softmax.weight"], other["softmax.weight"])


@pytest.mark.parametrize("kind", ["att-crnn", "cnn"])
def test_without_the_noise_subtracted_channel_nothing_reads_it(kind):
    images = 3 * torch.randn(4, 2, 64, 8, generator=torch.Generator().manual_seed(3)) - 6
    other = images.clone()
    other[:, 1] = 0
    for setting, same in (("true", False), ("false", True)):
        network = build(f"network.kind={kind}", f"network.noise_subtracted={setting}")
        network.standardise.fit(images)
        assert network.convolutions.blocks[0].convolution.in_channels == (1 if same else 2)
        assert torch.equal(network(images), network(other)) == same


def test_the_last_states_have_heard_the_whole_segment_and_a_linear_map_of_frames_has_not():
    """Arms of decision 0106: GRUs without attention, and attention without GRUs."""
    images = torch.randn(2, 2, 64, 8, generator=torch.Generator().manual_seed(0))
    last = build("network.pooling=last")
    backward, forward = last.recurrent.states(last.convolutions(last.standardise(images)).transpose(1, 2))
    expected = last.recurrent.projection(torch.cat((backward[:, 0], forward[:, -1]), dim=1))
    torch.testing.assert_close(last.embed(images), expected)
    assert not any(name.startswith("attention") for name in last.state_dict())

    alone = build("network.recurrent=none")
    assert not any("layers" in name for name in alone.state_dict())
    z = alone.recur(alone.standardise(images))
    changed = images.clone()
    changed[:, :, :, 7] += 1  # kernels of 5, 3 and 2 frames see 2, 1 and 1 frames ahead
    moved = (alone.recur(alone.standardise(changed)) != z).any(dim=2).any(dim=0)
    assert moved.tolist() == [False] * 3 + [True] * 5
    with pytest.raises(RecipeError, match="last states"):
        TINY.with_settings(["network.recurrent=none", "network.pooling=last"])
