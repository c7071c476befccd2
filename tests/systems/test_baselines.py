"""Baselines: what they measure, that kernel and centres are those of arithmetic, held groups, files."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics.pairwise import rbf_kernel

from soundscene.data.manifest import Manifest
from soundscene.data.store import FeatureStore
from soundscene.errors import TrainingError
from soundscene.recipe import Recipe
from soundscene.systems.baselines import Centres, KernelMap, statistics, system
from soundscene.systems.catalogue import TABLE3, build, specs
from soundscene.systems.saved import load_system
from soundscene.systems.system import FitContext
from tests.support.tiny import RATE, write_corpus
from tests.support.vectors import corpus_of

RECIPE = Recipe.small().with_settings(["calibration.held_out=0.25"])
METHODS = ("nearest-mean", "band-statistics")
DRAWS = np.random.default_rng(0)


def noise(seconds: float) -> np.ndarray:
    return DRAWS.normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def test_modulation_is_in_the_last_statistic_and_its_order_is_not() -> None:
    """Bursts and steady noise of one mean level differ in spread; turned round in time, nothing changes but the rounding."""
    steady = noise(3.0)
    bursts = steady * (np.arange(len(steady)) // 2000 % 2 == 0)
    assert statistics(steady, RECIPE).shape == (5, RECIPE.features.n_bands)
    assert statistics(bursts, RECIPE)[4].mean() > 3 * statistics(steady, RECIPE)[4].mean()
    backwards = np.ascontiguousarray(bursts[::-1])
    np.testing.assert_allclose(statistics(backwards, RECIPE)[[0, 1]], statistics(bursts, RECIPE)[[0, 1]], rtol=0.1)


def test_a_sample_is_enough() -> None:
    assert np.isfinite(statistics(np.ones(1, np.float32), RECIPE)).all()


def test_the_map_is_the_kernel() -> None:
    """Products of coordinates are kernel values of standardised features, of training recordings and, nearly, of others."""
    x = DRAWS.normal(3, 2, (40, 6)).astype(np.float32)
    mapped = KernelMap.of(x, 1e-12)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    np.testing.assert_allclose(mapped(x) @ mapped(x).T, rbf_kernel(z, gamma=1 / 6), atol=1e-4)
    constant = np.concatenate([x, np.ones((40, 1), np.float32)], axis=1)
    assert np.isfinite(KernelMap.of(constant, 1e-7)(constant)).all()


def test_centres_are_normal_distributions() -> None:
    mean, x = DRAWS.normal(size=(3, 4)), DRAWS.normal(size=(5, 4)).astype(np.float32)
    deviation = np.sqrt(0.7 * 4)
    density = np.stack([norm.pdf(x, m, deviation).prod(axis=1) for m in mean], axis=1)
    expected = np.log(density / density.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(Centres(mean, 0.7).log_posterior(x), expected, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_two_scenes_are_learnt_alike_twice_and_kept_in_a_file(method: str, tmp_path: Path) -> None:
    draws = np.random.default_rng(4)
    labels = ["ab"[n % 2] for n in range(30)]
    spread = draws.normal(0, 1, (30, 5, 8)) + np.array([3.0 * (label == "a") for label in labels])[:, None, None]
    corpus = corpus_of(spread.reshape(30, 40), labels, [1] * 30)
    made = system(RECIPE, method, method, options={"method": method})
    train, test = corpus.take(corpus.recordings[:20]), corpus.take(corpus.recordings[20:])
    fits = [made.fit(train, FitContext(2)) for _ in range(2)]
    ((head, first),) = fits[0].predict(test).items()
    ((_, second),) = fits[1].predict(test).items()
    truth = np.array(["ab".index(r.scene) for r in test.recordings])
    assert np.array_equal(first.calibrated, second.calibrated)
    assert np.mean(first.recording.argmax(axis=1) == truth) >= 0.9
    assert fits[0].held
    assert fits[0].save
    fits[0].save(tmp_path / "m.safetensors", {})
    restored = load_system(tmp_path / "m.safetensors").predict_corpus(test)[head]
    np.testing.assert_allclose(restored.calibrated, first.calibrated, atol=1e-9)
    with pytest.raises(TrainingError, match="two scenes"):
        made.fit(corpus.take(corpus.recordings[:20:2]), FitContext(0))


def test_real_sound_is_told_apart(tmp_path: Path) -> None:
    """Rendered scenes, through the catalogue and the store."""
    assert not set(METHODS) & set(TABLE3)
    listed = Manifest.read(write_corpus(tmp_path / "sound", 8)).recordings
    for spec in specs(METHODS):
        made = build(spec, RECIPE)
        store = FeatureStore(tmp_path / "store", made.representation)
        assert store.build(listed) == {}
        train, test = (tuple(r for r in listed if (int(r.path.stem) >= 5) == later) for later in (False, True))
        ((_, found),) = made.fit(store.load(train), FitContext(0)).predict(store.load(test)).items()
        scenes = sorted({r.scene for r in listed})
        truth = np.array([scenes.index(r.scene) for r in test])
        assert np.mean(found.recording.argmax(axis=1) == truth) > 0.7
