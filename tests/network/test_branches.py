"""The three branches: the wave in the order of its samples, the image in both its directions, blocks beside blocks."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from soundscene.network.branches import N_FEATURES, BlockBranch, ImageBranch, WaveBranch

Make = Callable[[bool, np.random.Generator], np.ndarray]


def blocks(rising: bool, draws: np.random.Generator) -> np.ndarray:
    """Five blocks of four frames, of which three hold a tone each: low, middle, high, or high, middle, low.

    Both hold the same blocks. Only their neighbours differ.
    """
    image = draws.normal(0, 0.1, (1, 5, 16, 4))
    first, bands = draws.integers(3), (2, 8, 13) if rising else (13, 8, 2)
    for block, band in zip(range(first, first + 3), bands, strict=True):
        image[0, block, band] += 2.0
    return image.transpose(0, 2, 1, 3).reshape(1, 16, 20)


def sweep(rising: bool, draws: np.random.Generator) -> np.ndarray:
    """A tone that runs through all bands, up or down, again and again from any phase.

    Both have the same columns, and each band is loud as often in both: only band by time tells them apart.
    """
    at = (4 * np.arange(32) + draws.integers(64)) % 64
    image = draws.normal(0, 0.1, (1, 64, 32))
    for band in range(4):
        image[0, (at + band if rising else 63 - at - band) % 64, np.arange(32)] += 2.0
    return image


def sawtooth(rising: bool, draws: np.random.Generator) -> np.ndarray:
    """Saw-teeth that rise or fall: mirrored in time, they have one magnitude spectrum."""
    phase = (draws.uniform(0.005, 0.01) * np.arange(4000) + draws.random()) % 1
    return 3.4 * (phase - 0.5) * (1 if rising else -1) + draws.normal(0, 0.1, len(phase))


def one_by_one(branch: BlockBranch) -> BlockBranch:
    """The same branch with convolutions that read each block for itself."""
    for layer in branch.layers:
        if isinstance(layer, nn.Conv3d):
            layer.weight.data[:, :, [0, 2]] = 0.0
            layer.weight.register_hook(lambda gradient: gradient * torch.tensor([0.0, 1.0, 0.0])[:, None, None])
    return branch


def accuracy(branch: nn.Module, make: Make, steps: int) -> float:
    """Share of 60 new examples on the right side, after some steps on batches of 24."""
    network = nn.Sequential(branch, nn.Linear(N_FEATURES, 2))
    draws, optimiser = np.random.default_rng(0), torch.optim.Adam(network.parameters(), 3e-3)

    def batch(n: int) -> tuple[Tensor, Tensor]:
        rows = np.stack([make(bool(i % 2), draws) for i in range(n)])
        return torch.from_numpy(rows).float(), torch.arange(n) % 2

    for _ in range(steps):
        inputs, labels = batch(24)
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(inputs), labels).backward()
        optimiser.step()
    inputs, labels = batch(60)
    with torch.no_grad():
        return float((network.eval()(inputs).argmax(dim=1) == labels).float().mean())


@pytest.mark.parametrize(
    ("make_branch", "make", "steps"),
    [
        (lambda: WaveBranch(0.0), sawtooth, 40),
        (lambda: ImageBranch((4, 4, 8), 0.0), sweep, 15),
        (lambda: BlockBranch(5, 0.0), blocks, 60),
    ],
    ids=["1d", "2d", "3d"],
)
def test_each_branch_learns_what_only_its_view_tells(make_branch: Callable[[], nn.Module], make: Make, steps: int) -> None:
    torch.manual_seed(0)
    assert accuracy(make_branch(), make, steps) >= 0.95


def test_without_its_neighbours_no_block_tells_rising_from_falling() -> None:
    torch.manual_seed(0)
    assert accuracy(one_by_one(BlockBranch(5, 0.0)), blocks, 60) <= 0.7  # chance exceeds it in 1 of 1,000


@torch.no_grad()
def test_blocks_in_another_order_have_other_features() -> None:
    torch.manual_seed(0)
    branch = BlockBranch(5, 0.25).eval()
    image = torch.randn(2, 1, 64, 80)
    mixed = image.unflatten(3, (5, 16))[:, :, :, [3, 0, 4, 2, 1]].flatten(3)
    plain, other = branch(image), branch(mixed)
    assert plain.shape == (2, N_FEATURES)
    assert (plain - other).norm() > 0.01 * plain.norm()
    alone = one_by_one(branch)  # what the order does is done by neighbours
    assert torch.allclose(alone(image), alone(mixed), atol=1e-6)


@torch.no_grad()
def test_the_wave_is_read_in_the_order_of_its_samples() -> None:
    torch.manual_seed(0)
    branch = WaveBranch(0.25).eval()
    wave = torch.randn(2, 4000)
    mirrored = wave.flip(1)
    assert torch.allclose(torch.fft.rfft(wave).abs(), torch.fft.rfft(mirrored).abs(), rtol=1e-3, atol=1e-2)
    plain = branch(wave)
    assert plain.shape == (2, N_FEATURES)
    assert (plain - branch(mirrored)).norm() > 0.01 * plain.norm()


@torch.no_grad()
def test_the_image_is_read_along_both_directions() -> None:
    torch.manual_seed(0)
    branch = ImageBranch((4, 8, 16), 0.25).eval()
    image = torch.randn(2, 1, 64, 40)
    plain = branch(image)
    assert plain.shape == (2, N_FEATURES)
    for axis in (2, 3):  # columns, or bands, are the same ones in another order
        order = torch.randperm(image.shape[axis])
        assert (plain - branch(image.index_select(axis, order))).norm() > 0.01 * plain.norm()
