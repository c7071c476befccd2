from typing import Any

import pytest
import torch

from soundscene.network.attention_use import embed_uniform, entropies, learns_attention
from soundscene.network.models import build_network
from soundscene.recipe import Recipe

TINY = Recipe().with_settings(
    ["network.filters=[2, 3, 4]", "network.hidden=5", "network.attention=6", "audio.segment_s=0.2"]  # 8 frames
)


def build(*settings) -> Any:
    torch.manual_seed(0)
    return build_network(TINY.with_settings(settings), 3).eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(5, 2, 64, 8, generator=torch.Generator().manual_seed(1))


def test_entropy_is_one_for_uniform_weights_and_falls_as_they_leave_it(images):
    network = build()
    spatial, temporal = entropies(network, images)
    assert 0.9 < spatial < 1
    assert 0.9 < temporal < 1
    with torch.no_grad():
        network.attention.temporal.context.mul_(1000)
    same, sharp = entropies(network, images)
    assert same == spatial
    assert sharp < 0.5
    assert entropies(build("network.pooling=temporal"), images)[0] == pytest.approx(1, abs=1e-6)


def test_uniform_weights_in_a_trained_network_are_those_of_mean_pooling(images):
    learnt, mean = build(), build("network.pooling=mean")
    mean.load_state_dict(learnt.state_dict(), strict=False)
    with torch.no_grad():
        torch.testing.assert_close(embed_uniform(learnt, images), mean.embed(images))
        assert not torch.allclose(embed_uniform(learnt, images), learnt.embed(images), atol=1e-4)


def test_which_networks_learn_attention(images):
    kinds = {
        "network.pooling=spatio-temporal": True,
        "network.pooling=spatial": True,
        "network.recurrent=none": True,
        "network.pooling=mean": False,
        "network.pooling=last": False,
        "network.kind=cnn": False,
    }
    assert {setting: learns_attention(build(setting)) for setting in kinds} == kinds
    for use in (embed_uniform, lambda network, images: network.attend(images)):
        with pytest.raises(ValueError, match="has no attention"):
            use(build("network.pooling=last"), images)
