"""1D+2D+3D CNNs: the wave tells what its spectrum does not, blocks stand in order, and fused branches are frozen."""

from pathlib import Path

import numpy as np
import pytest
import torch

from soundscene.network.branches import BlockBranch
from soundscene.recipe import Recipe
from soundscene.systems import three_cnns
from soundscene.systems.saved import Identity
from soundscene.systems.system import FitContext
from soundscene.systems.three_cnns import (
    BRANCHES,
    Branch,
    BranchNetwork,
    FusedNetwork,
    FusionNetwork,
    ThreeCnnsSettings,
    system,
)
from soundscene.types import Recording
from tests.support.pieces import accuracy, corpus_of
from tests.support.tiny import RATE, recording, write

SETTINGS = ["network.filters=[4, 4, 8]", "audio.segment_s=0.25", "training.epochs=12", "calibration.held_out=0.25"]
RECIPE = Recipe.small().with_settings(SETTINGS)


def sawtooth(scene: str, draws: np.random.Generator) -> np.ndarray:
    """Saw-teeth that rise in one scene and fall in the other: mirrored in time, they have one magnitude spectrum."""
    phase = (draws.uniform(100, 200) * np.arange(RECIPE.audio.segment_samples) / RATE + draws.random()) % 1
    return 3.4 * (phase - 0.5) * (1 if scene == "a" else -1) + draws.normal(0, 0.1, len(phase))


def test_frame_t_stands_in_block_t_over_16() -> None:
    images = torch.arange(80.0).expand(2, 1, 64, 80)
    blocks = BlockBranch(5, 0.25).blocks(images)
    assert blocks.shape == (2, 1, 5, 64, 16)
    assert torch.equal(blocks[0, 0, :, 7].flatten(), torch.arange(80.0))
    assert BlockBranch(5, 0.25).blocks(images[..., :78]).shape == (2, 1, 5, 64, 15)
    assert BlockBranch(5, 0.25).blocks(images[..., :3]).shape == (2, 1, 3, 64, 1)


def test_the_wave_is_divided_by_the_level_of_the_recording_not_of_the_piece(tmp_path: Path) -> None:
    tone = np.sin(np.arange(2 * RATE) * 0.2)
    row = Recording(write(tmp_path / "a.wav", np.concatenate([0.01 * tone, 0.1 * tone, np.zeros(2 * RATE)])), "a", "a")
    extract = system(Recipe(), "cnn-1d-2d-3d", "").representation.extract(row)
    level = np.sqrt(np.mean(extract.features.astype(np.float64) ** 2, axis=1))
    assert level[1] / level[0] == pytest.approx(10, rel=0.01)
    assert np.sqrt(np.mean(level**2)) == pytest.approx(1, rel=1e-3)
    assert extract.silent.tolist() == [False, False, True]
    rain = Recording(write(tmp_path / "rain.wav", recording("rain", 2.0, 0)), "rain", "rain")
    assert np.isfinite(system(Recipe(), "cnn-1d-2d-3d", "").representation.extract(rain).features).all()


def test_branches_learn_apart_and_stay_as_they_are_while_the_fusion_learns() -> None:
    recipe = RECIPE.with_settings(["training.epochs=2"])
    training = corpus_of(sawtooth, n_recordings=4, n_pieces=2)
    identity, kind = Identity("cnn-1d-2d-3d", "", recipe), "3d"
    fused = three_cnns._fit(identity, ThreeCnnsSettings(fusion_epochs=2), training, FitContext(3))
    single = three_cnns._fit(identity, ThreeCnnsSettings(kind), training, FitContext(3))
    networks = fused.predict.args[0].network.branches  # pyright: ignore[reportFunctionMemberAccess]
    alone = single.predict.args[0].network  # pyright: ignore[reportFunctionMemberAccess]
    for name, tensor in alone.state_dict().items():
        assert torch.equal(networks[kind].state_dict()[name], tensor)
    assert list(networks) == ["1d", "2d", "3d"]
    assert fused.epoch == 2
    assert [row["epoch"] for row in fused.earlier] == [1.0, 2.0] * 3
    assert single.earlier == []


@torch.no_grad()
def test_the_fusion_hears_each_branch_in_its_place() -> None:
    torch.manual_seed(0)
    branches: dict[Branch, torch.nn.Module] = {
        kind: BranchNetwork(kind, RECIPE, ThreeCnnsSettings(), 2).eval() for kind in BRANCHES
    }
    network = FusedNetwork(branches, FusionNetwork(2, 0.5)).eval()
    waves = np.random.default_rng(0).normal(size=(2, RECIPE.audio.segment_samples)).astype(np.float32)
    inputs = three_cnns.inputs_of(torch.from_numpy(waves), RECIPE)
    joined = network.join(inputs)
    for kind in BRANCHES:
        other = network.join({**inputs, kind: inputs[kind].flip(0)})
        changed = (other != joined).any(dim=0).unflatten(0, (3, -1)).any(dim=1)
        assert changed.tolist() == [kind == one for one in BRANCHES]
        assert not torch.equal(network.fusion(other), network.fusion(joined))
    assert np.array_equal(three_cnns._features(branches, waves, three_cnns.images_of(waves, RECIPE)), joined.numpy())
    assert torch.equal(three_cnns.classify_fused(RECIPE, network, torch.from_numpy(waves))[0], network.fusion(joined))


@pytest.mark.slow
def test_rising_and_falling_saw_teeth_differ_for_the_wave_and_so_for_the_fusion() -> None:
    training = corpus_of(sawtooth, n_recordings=16)
    test = corpus_of(sawtooth, n_recordings=12, n_pieces=1, seed=1, name="test")
    found = {}
    for kind in ("1d", "2d", "all"):
        fitted = three_cnns._fit(
            Identity("cnn-1d-2d-3d", "", RECIPE), ThreeCnnsSettings(kind, learning_rate=3e-3), training, FitContext(0)
        )
        found[kind] = accuracy(fitted.predict(test)["softmax"].recording, test)
    assert found["1d"] >= 0.9
    assert found["all"] >= 0.9
    assert found["2d"] <= 0.75  # chance exceeds it in 1 of 100
