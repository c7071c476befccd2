"""What the tests of steps and recordings share."""

import pytest
import torch
from torch import Tensor

from soundscene.network.models import Network, build_network
from soundscene.recipe import Recipe
from soundscene.training import step as steps
from soundscene.training.between_class import Pairs, draw_pairs
from soundscene.training.device import make_fabric
from soundscene.training.fit import TrainedNetwork
from soundscene.training.step import Capture, Step, make_optimiser, make_step
from tests.training.toys import N_SCENES, TINY, toy_images


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def losses(fitted: TrainedNetwork) -> list[float]:
    return [row["loss"] for row in fitted.history]


def adam_of_a_card(network: Network, rate: float, device: torch.device, captured: bool) -> torch.optim.Adam:
    """Adam for captured steps, which the processor knows too: fused, its numbers in tensors."""
    return make_optimiser(network, rate, device, captured=True)


def set_up(
    recipe: Recipe = TINY, capture: Capture | None = None, captured: bool = True
) -> tuple[Network, torch.optim.Optimizer, Step]:
    """A step on the processor, with Adam as on a graphics card if captured."""
    torch.manual_seed(recipe.training.seed)
    network = build_network(recipe, N_SCENES)
    network.standardise.fit(toy_images().images)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "make_optimiser", lambda net, rate, device, _: make_optimiser(net, rate, device, captured))
        optimiser, step = make_step(recipe, make_fabric("cpu"), network, toy_images(), N_SCENES, capture)
    return network, optimiser, step


def pairs(n: int = 30, seed: int = 0) -> Pairs:
    return draw_pairs(toy_images().labels, n, torch.Generator().manual_seed(seed))
