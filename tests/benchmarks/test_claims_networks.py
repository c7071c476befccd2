"""What dropout before the pooling does to an embedding, and where the tanh of (9) lies."""

import pytest
import torch

from benchmarks.claims_networks import of_network
from soundscene.network.models import AttCRNN, build_network, n_frames
from soundscene.recipe import Recipe
from tests.support.tiny import TINY

RATIO, TANH = "embedding, training over evaluation", "tanh beyond 0.9"


def figures(recipe: Recipe, scale: float = 1.0) -> dict[str, float]:
    torch.manual_seed(0)
    network = build_network(recipe, 3).eval()
    if isinstance(network, AttCRNN):
        torch.nn.init.constant_(network.recurrent.projection.weight, 0.0)
        torch.nn.init.constant_(network.recurrent.projection.bias, scale)
    images = torch.randn(32, 2, recipe.features.n_bands, n_frames(recipe))
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0  # statistics of these images, as after a training on them
            torch.nn.init.constant_(layer.bias, 2.0)  # a mean that is not zero
    network.train().embed(images)
    network.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = of_network(network, images)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items()), "statistics stay"
    assert not network.training
    return found


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_dropout_lengthens_the_maximum_and_not_the_mean(dropout: float):
    cnn = TINY.with_settings(["network.kind=cnn", f"network.conv_dropout={dropout}"])
    maximum, mean = (figures(cnn.with_settings([f"network.global_pooling={kind}"]))[RATIO] for kind in ("max", "mean"))
    assert (maximum > 1.3 * mean) == (dropout > 0), (maximum, mean)
    assert TANH not in figures(cnn)


def test_tanh_is_near_its_ends_where_what_it_reads_is_large():
    """With equal Z and attention near uniform, each tanh reads about Z."""
    still = TINY.with_settings(["network.attention_context=0.001"])
    assert figures(still, 1.0)[TANH] == 0.0
    assert figures(still, 3.0)[TANH] == 1.0
    assert TANH not in figures(TINY.with_settings(["network.attention_scale=printed-2h"]), 3.0)
