"""Parameters are the network's, products those of an independent count, and the limits are the challenge's."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from soundscene.cli.budget import _say_cost
from soundscene.export.backbone import backbone_of
from soundscene.export.budget import fits, layers
from soundscene.export.check import computed
from soundscene.export.int8 import Int8Cost, rounded
from soundscene.export.model_graph import stateful_graph
from soundscene.export.write import facts_of
from soundscene.graph_model import GraphModel, open_session
from soundscene.member import BackboneMember
from soundscene.model import Model
from soundscene.recipe import Recipe
from soundscene.scoring.evaluation import LEAKAGE
from soundscene.scoring.intervals import Interval
from tests.support.command_line import run
from tests.support.tiny import SCENES, TINY, blank_bundle, only, recording
from tests.support.yamnet import alone, beside


@pytest.mark.parametrize("settings", [(), ("network.kind=cnn",), ("network.recurrent=none",), ("network.pooling=last",)])
def test_parameters_and_products_of_the_small_recipe(settings: tuple[str, ...]) -> None:
    model = blank_bundle(Recipe.small().with_settings(settings))
    network = only(model).network
    found = layers(model)
    statistics = sum(b.numel() for name, b in network.named_buffers() if "running" in name)
    n = sum(p.numel() for p in network.parameters())
    assert sum(layer.parameters for layer in found) == n == only(model).n_parameters
    assert sum(layer.bytes for layer in found) == 4 * (n + statistics)
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


def graph_of(model: Model, int8: bool) -> GraphModel:
    facts = facts_of(model, "0", int8=int8)
    return GraphModel(facts, open_session(stateful_graph(model, facts.to_metadata(), int8).SerializeToString()))


@pytest.mark.parametrize("make", [lambda: blank_bundle(TINY.with_settings(["network.hidden=16"])), beside])
def test_the_rounded_copy_is_the_file_in_8_bits(make: Callable[[], Model]) -> None:
    """What `budget` compares on recordings is what `export --int8` writes."""
    model, sound = make(), recording("rain", 7.0, 5).astype(np.float32)
    ours, exported, exact = (computed(m, sound) for m in (rounded(model), graph_of(model, True), model))
    for head in ("svm", "softmax"):
        np.testing.assert_allclose(ours.segments[head], exported.segments[head], atol=1e-5)
    assert max(np.abs(ours.segments[head] - exact.segments[head]).max() for head in ours.segments) > 1e-4


def test_what_8_bits_cost_on_recordings(model: Path, manifest: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("budget", model, manifest, "--test", "fold=1") == 0
    text = " ".join(capfd.readouterr().out.split())
    assert re.search(
        r"in 8 bits [\d.]+% of \d+ recordings right, in 32 bits .* points, 95 % interval .* groups resampled", text
    )
    assert re.search(r"\d+ of \d+ scenes changed; posteriors differ by at most [\d.e-]+$", text)
    assert run("budget", model, manifest) == 0
    assert "recordings are in the model's training set" in " ".join(capfd.readouterr().err.split())
    assert run("budget", model, "--test", "fold=1") == 2
    assert "give MANIFEST with it" in capfd.readouterr().err


def test_a_model_of_a_diagnosis_is_marked_beside_its_accuracies(capfd: pytest.CaptureFixture[str]) -> None:
    leaks = f"{LEAKAGE}: trained by experiment --diagnose same-recording"
    for notes, first in (((leaks,), f"{leaks}."), ((), "in 8 bits 50.0% of 4 recordings right")):
        _say_cost(Int8Cost("svm", 4, 4, 0, 0.75, 0.5, Interval(-0.25, -0.5, 0.0), 1, 0.1, notes))
        assert capfd.readouterr().out.startswith(first)
