"""Convolutive NMF: planted patterns are found wherever they stand, a loop of NumPy agrees, and recordings stay apart."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import NMF

from soundscene.training.convolutive import encode, fit_patches, padded, rebuild


def planted(n: int = 12, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    """Three patterns [pattern, 4 slices, 10 bands] in recordings of 30 slices, two to four times each."""
    draws = np.random.default_rng(seed)
    patterns = (draws.random((3, 4, 10)) < 0.3) * draws.uniform(0.5, 1.0, (3, 4, 10))
    recordings = []
    for _ in range(n):
        one = np.zeros((30, 10), np.float32)
        for pattern in patterns:
            for start in draws.choice(26, draws.integers(2, 5), replace=False):
                one[start : start + 4] += draws.uniform(0.5, 1.5) * pattern
        recordings.append(one)
    return patterns, recordings


def test_planted_patterns_are_found_up_to_a_shift() -> None:
    patterns, recordings = planted()
    batch, mask = padded(recordings)
    costs: list[float] = []
    weight = fit_patches(batch, mask, 6, 4, 0.01, 300, torch.Generator().manual_seed(0), costs)
    assert weight.square().sum(dim=(1, 2)) == pytest.approx(torch.ones(6), abs=1e-5)
    assert weight.min() >= 0
    assert all(after <= before * (1 + 1e-4) for before, after in pairwise(costs))
    rest = batch - rebuild(weight, encode(batch, mask, weight, 0.01, 300))
    assert rest.norm() < 0.05 * batch.norm()
    for pattern in patterns:  # [slice, band]
        wide = np.pad(pattern.T, ((0, 0), (3, 3)))
        best = max(
            float((wide[:, shift : shift + 4] * patch).sum() / np.linalg.norm(pattern))
            for patch in weight.numpy()
            for shift in range(7)
        )
        assert best > 0.95


def test_activations_follow_the_update_written_as_loops() -> None:
    draws = np.random.default_rng(1)
    sound, weight, penalty = draws.random((5, 6)), draws.random((2, 5, 3)), 0.2  # [band, slice], [patch, band, lag]
    active = np.ones((2, 8))

    def rebuilt() -> np.ndarray:
        found = np.zeros((5, 6))
        for k in range(2):
            for t in range(6):
                for lag in range(3):
                    found[:, t] += weight[k, :, lag] * active[k, t + 2 - lag]
        return found

    for _ in range(5):
        wanted, given = np.zeros((2, 8)), np.zeros((2, 8))
        guess = rebuilt()
        for k in range(2):
            for t in range(6):
                for lag in range(3):
                    wanted[k, t + 2 - lag] += weight[k, :, lag] @ sound[:, t]
                    given[k, t + 2 - lag] += weight[k, :, lag] @ guess[:, t]
        active = active * wanted / (given + penalty)
    batch, mask = padded([sound.T.astype(np.float32)])
    found = encode(batch, mask, torch.from_numpy(weight).float(), penalty, 5)
    assert found[0].numpy() == pytest.approx(active, rel=1e-4, abs=1e-6)


def test_a_recording_is_encoded_alike_alone_and_in_company() -> None:
    _, recordings = planted(4)
    recordings[1] = recordings[1][:7]  # a short one, which is padded in company
    batch, mask = padded(recordings)
    weight = fit_patches(batch, mask, 4, 4, 0.05, 20, torch.Generator().manual_seed(0))
    together = encode(batch, mask, weight, 0.05, 30)
    for i, one in enumerate(recordings):
        alone = encode(*padded([one]), weight, 0.05, 30)
        assert together[i, :, : alone.shape[2]].numpy() == pytest.approx(alone[0].numpy(), rel=1e-3, abs=1e-5)
        assert not together[i, :, alone.shape[2] :].any()


def test_patches_of_one_slice_are_nmf_and_a_penalty_makes_activations_rare() -> None:
    _, recordings = planted()
    batch, mask = padded(recordings)
    weight = fit_patches(batch, mask, 5, 1, 0.0, 300, torch.Generator().manual_seed(0))
    rest = float((batch - rebuild(weight, encode(batch, mask, weight, 0.0, 300))).norm())
    rows = np.concatenate(recordings)
    judge: Any = NMF(n_components=5, init="nndsvda", max_iter=2000, random_state=0)  # pyright: ignore[reportArgumentType]
    theirs = judge.fit(rows).reconstruction_err_
    assert rest < 1.05 * theirs
    shares = [float((encode(batch, mask, weight, penalty, 200) > 1e-3).float().mean()) for penalty in (0.0, 0.3, 1.0)]
    assert shares[0] > shares[1] > shares[2]
