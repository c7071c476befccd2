"""Parameters are the network's, products those of an independent count, and the limits are the challenge's."""

import numpy as np
import pytest
import torch
from torch import nn

from soundscene.export.backbone import backbone_of
from soundscene.export.budget import fits, layers
from soundscene.member import BackboneMember
from soundscene.recipe import Recipe
from tests.support.tiny import SCENES, blank_bundle, only
from tests.support.yamnet import alone


@pytest.mark.parametrize("settings", [(), ("network.kind=cnn",), ("network.recurrent=none",), ("network.pooling=last",)])
def test_parameters_and_products_of_the_small_recipe(settings: tuple[str, ...]) -> None:
    model = blank_bundle(Recipe.small().with_settings(settings))
    network = only(model).network
    found = layers(model)
    statistics = sum(b.numel() for name, b in network.named_buffers() if "running" in name)
    assert sum(layer.parameters for layer in found) == sum(p.numel() for p in network.parameters()) + statistics
    counted = 0.0

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal counted
        counted += output.numel() * module.weight[0].numel()  # pyright: ignore[reportIndexIssue, reportCallIssue, reportOperatorIssue, reportArgumentType]

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.inference_mode():
        network(torch.zeros(1, 2, 64, 80))
    for hook in hooks:
        hook.remove()
    assert sum(layer.macs for layer in found if "convolution" in layer.name) == pytest.approx(counted / 2)  # 2 s
    assert fits(found, int8=True)
    assert not fits(layers(blank_bundle(Recipe(), SCENES)), int8=True)


def test_products_of_a_backbone_are_those_that_it_computes() -> None:
    """By hooks on one segment of 2 s, three patches; small weights stay in floats."""
    model = alone()
    member = model.members[0]
    assert isinstance(member, BackboneMember)
    backbone = backbone_of(member)
    counted = 0.0

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal counted
        counted += output.numel() * module.weight[0].numel()  # pyright: ignore[reportIndexIssue, reportCallIssue, reportOperatorIssue, reportArgumentType]

    hooks = [m.register_forward_hook(count) for m in backbone.network.modules() if isinstance(m, nn.Conv2d)]
    backbone.embed(backbone.prepare(np.zeros((1, 32000), np.float32)))
    for hook in hooks:
        hook.remove()
    found = layers(model)
    assert sum(layer.macs for layer in found if "softmax" not in layer.name) == pytest.approx(counted / 2)
    n_softmax = sum(p.numel() for p in member.softmax.parameters())  # pyright: ignore[reportOptionalMemberAccess]
    assert sum(layer.parameters for layer in found) == sum(p.numel() for p in backbone.network.parameters()) + n_softmax
    assert all(layer.parameters <= layer.int8_bytes <= 5 * layer.parameters for layer in found)
