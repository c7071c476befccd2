"""Temporal transformer in three networks: what reads time tells modulations apart, and plain pooling does not."""

from typing import Any

import numpy as np
import pytest
import torch

from soundscene.data.corpus import Corpus
from soundscene.recipe import Recipe
from soundscene.systems import temporal_transformer
from soundscene.systems.saved import Identity
from soundscene.systems.system import FitContext
from soundscene.systems.temporal_transformer import TemporalTransformerNetwork, TemporalTransformerSettings
from tests.support.pieces import accuracy, corpus_of

RECIPE = Recipe.small().with_settings(["network.filters=[4, 4, 8]", "network.hidden=8", "training.epochs=8"])
RATE_HZ = RECIPE.audio.sample_rate / RECIPE.features.hop


def modulated(scene: str, draws: np.random.Generator) -> np.ndarray:
    """Levels of all bands that go up and down twice a second in one scene and six times in the other, from any phase."""
    hz = 2.0 if scene == "a" else 6.0
    wave = np.sin(2 * np.pi * (hz * np.arange(80) / RATE_HZ + draws.random()))
    return -5 + wave + draws.normal(0, 0.5, (2, 64, 80))


@pytest.fixture(scope="module")
def corpora() -> tuple[Corpus, Corpus]:
    return corpus_of(modulated, n_recordings=12), corpus_of(modulated, n_recordings=10, n_pieces=1, seed=1, name="test")


def accuracy_of(corpora: tuple[Corpus, Corpus], choices: TemporalTransformerSettings, epochs: int = 8) -> float:
    recipe = RECIPE.with_settings([f"training.epochs={epochs}"])
    fitted = temporal_transformer._fit(Identity("tt-dnn", "", recipe), choices, corpora[0], FitContext(0))
    return accuracy(fitted.predict(corpora[1])["softmax"].recording, corpora[1])


def test_scenes_that_differ_in_the_rate_of_modulation_alone_need_the_transformer(corpora: tuple[Corpus, Corpus]) -> None:
    assert accuracy_of(corpora, TemporalTransformerSettings("dnn", width=32)) == 1.0
    assert (
        accuracy_of(corpora, TemporalTransformerSettings("dnn", "mean", width=32)) <= 0.75
    )  # chance exceeds it in 2 of 100


def test_dropout_of_the_cnn_is_no_modulation() -> None:
    torch.manual_seed(0)
    network = TemporalTransformerNetwork(RECIPE, TemporalTransformerSettings("cnn"), 2)
    steady = torch.randn(6, 1, 64, 1).expand(-1, -1, -1, 80)
    maps = network.maps(steady).detach()[..., 5:-5]  # the convolutions pad with zeros
    assert (maps == 0).all(dim=-1).any()  # dropped
    assert torch.allclose(maps, maps[..., :1].expand_as(maps), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("kind", "before", "after"), [("dnn", 0, 0), ("lstm", 0, 39), ("cnn", 6, 6)])
def test_maps_follow_time(kind: Any, before: int, after: int) -> None:
    torch.manual_seed(0)
    network = TemporalTransformerNetwork(RECIPE, TemporalTransformerSettings(kind), 2).eval()
    images = torch.randn(1, 1, 64, 80)
    other = images.clone()
    other[..., 40] += 3.0
    plain, changed = network.maps(images)[0], network.maps(other)[0]
    assert plain.shape[1] == 80
    moved = (plain != changed).any(dim=0).nonzero().flatten()
    assert 40 in moved
    assert 40 - before <= int(moved.min()) <= int(moved.max()) <= 40 + after
    frames = (plain - plain.mean(dim=1, keepdim=True)).norm()
    assert frames > 0.1 * plain.norm()  # there is something to reduce
    if kind == "dnn":  # a map is a band
        other = images.clone()
        other[:, :, 7] += 3.0
        assert (plain != network.maps(other)[0]).any(dim=1).nonzero().flatten().tolist() == [7]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cnn", "lstm"])
def test_the_other_networks_learn_them_too(kind: Any, corpora: tuple[Corpus, Corpus]) -> None:
    assert accuracy_of(corpora, TemporalTransformerSettings(kind, width=32, learning_rate=1e-2), 20) >= 0.9
