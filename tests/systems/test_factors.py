"""Factorisations as systems: slices, held groups, silence, short recordings, repeatability, and what time order is worth."""

from dataclasses import replace

import numpy as np
import pytest

from soundscene.data.corpus import Corpus
from soundscene.data.splits import hold_out
from soundscene.errors import TrainingError
from soundscene.recipe import Recipe
from soundscene.systems import factors
from soundscene.systems.factors import FactorSettings, slices_of
from soundscene.systems.system import FitContext, System
from soundscene.systems.whole import divide
from tests.support.tiny import RATE
from tests.support.vectors import corpus_of

METHODS = ("sparse-nmf", "conv-nmf", "kernel-pca")
RECIPE = Recipe.small().with_settings(["calibration.held_out=0.25"])
TINY = FactorSettings(n_atoms=8, visits=3000, n_patches=6, iterations=40, encoding=30, n_components=8, kernel_rows=100)


def made(method: str, monkeypatch: pytest.MonkeyPatch, **options: str) -> System:
    monkeypatch.setattr(factors, "FactorSettings", lambda: TINY)
    return factors.system(RECIPE, method, method, options={"method": method, **options})


def spectra_corpus(n: int = 24, seed: int = 0) -> Corpus:
    """Two scenes of two sources each, in recordings of 5 to 8 slices of 12 bands."""
    draws = np.random.default_rng(seed)
    sources = draws.uniform(0, 1, (2, 2, 12)) ** 3
    labels, counts, rows = [], [], []
    for i in range(n):
        counts.append(int(draws.integers(5, 9)))
        labels.append("ab"[i % 2])
        rows.append(draws.exponential(1.0, (counts[-1], 2)) @ sources[i % 2] + draws.uniform(0, 0.02, 12))
    return corpus_of(np.concatenate(rows), labels, counts)


@pytest.mark.parametrize("method", METHODS)
def test_two_scenes_are_learnt_alike_twice_without_the_held_groups(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = spectra_corpus()
    system = made(method, monkeypatch)
    train, test = corpus.take(corpus.recordings[:16]), corpus.take(corpus.recordings[16:])
    fits = [system.fit(train, FitContext(2)) for _ in range(2)]
    predicted = [fit.predict(test)["softmax"] for fit in fits]
    truth = np.array(["ab".index(r.scene) for r in test.recordings])
    assert np.array_equal(predicted[0].calibrated, predicted[1].calibrated)
    assert np.mean(predicted[0].recording.argmax(axis=1) == truth) >= 7 / 8
    assert predicted[0].segment.shape == (0, 2)
    held = hold_out(train.recordings, 0.25, np.random.default_rng(2))[1]
    assert fits[0].held == held
    louder = replace(train, features=train.features.copy())
    for recording in held:
        louder.features[train.recording == train.recordings.index(recording)] *= 3.0
    other = system.fit(louder, FitContext(2)).predict(test)["softmax"]
    assert np.array_equal(other.recording, predicted[0].recording)


@pytest.mark.parametrize("method", METHODS)
def test_silence_is_uniform_company_does_not_matter_and_one_scene_is_refused(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = spectra_corpus()
    system = made(method, monkeypatch)
    fit = system.fit(corpus, FitContext(0))
    mute = replace(corpus, silent=corpus.recording == 3)
    predicted = fit.predict(mute)["softmax"]
    assert np.exp(predicted.calibrated[3]) == pytest.approx(0.5)
    alone = fit.predict(corpus.take(corpus.recordings[5:6]))["softmax"].recording
    assert alone[0] == pytest.approx(predicted.recording[5], rel=1e-3, abs=1e-4)
    assert np.exp(fit.predict(replace(corpus, silent=np.ones_like(corpus.silent)))["softmax"].calibrated) == pytest.approx(
        0.5
    )
    with pytest.raises(TrainingError, match="two scenes or more"):
        system.fit(corpus.take(corpus.recordings[::2]), FitContext(0))
    with pytest.raises(TrainingError, match="two scenes or more"):
        system.fit(replace(corpus, silent=np.ones_like(corpus.silent)), FitContext(0))


@pytest.mark.parametrize("method", METHODS)
def test_a_recording_is_described_by_the_mean_over_its_slices(method: str) -> None:
    chosen = {key: values[0] for key, values in factors.OPTIONS.items()} | {"method": method}
    corpus = spectra_corpus()
    learnt, _ = factors._factorise(TINY, chosen, divide(corpus, RECIPE, FitContext(0)), 0)
    describe = factors._description(TINY, chosen, learnt)
    whole = describe(corpus)
    count = np.bincount(corpus.recording)
    labels = [r.scene for r in corpus.recordings]
    of_each = [corpus.features[corpus.recording == i] for i in range(len(labels))]
    twice = corpus_of(np.concatenate([np.tile(rows, (2, 1)) for rows in of_each]), labels, (2 * count).tolist())
    if method == "conv-nmf":  # where both copies meet, patches overlap
        assert np.linalg.norm(describe(twice) - whole) < 0.3 * np.linalg.norm(whole)
        return
    assert describe(twice) == pytest.approx(whole, rel=1e-3, abs=1e-5)
    alone = describe(corpus_of(corpus.features, [labels[i] for i in corpus.recording]))
    means = np.stack([alone[corpus.recording == i].mean(axis=0) for i in range(len(labels))])
    assert whole == pytest.approx(means, rel=1e-3, abs=1e-5)


def test_the_kernel_reads_as_many_slices_of_a_short_recording_as_of_a_long_one() -> None:
    draws = np.random.default_rng(0)
    counts = [100] + [4] * 15
    rows = draws.uniform(0, 1, (sum(counts), 12))
    rows[:100, 0] = 9.0  # the mark of the long one
    parts = divide(corpus_of(rows, ["ab"[i % 2] for i in range(16)], counts), RECIPE, FitContext(1))
    assert parts.kept.features[:, 0].max() == 9.0
    chosen = {key: values[0] for key, values in factors.OPTIONS.items()} | {"method": "kernel-pca"}
    learnt, _ = factors._factorise(replace(TINY, kernel_rows=36), chosen, parts, 0)
    assert len(learnt["rows"]) == 36
    assert (learnt["rows"][:, 0] == 9.0).sum() == 3  # twelve recordings are kept


def test_order_in_time_is_known_to_long_patches_only(monkeypatch: pytest.MonkeyPatch) -> None:
    up = np.eye(12, dtype=np.float32)[[0, 3, 6, 9]]  # rising or falling, in one recording as often as slices permit
    draws = np.random.default_rng(0)
    rows, labels = [], []
    for i in range(24):
        pattern = up if i % 2 == 0 else up[::-1]
        rows.append(np.concatenate([pattern, np.zeros((2, 12)), pattern]) * draws.uniform(0.8, 1.2) + 0.01)
        labels.append("ab"[i % 2])
    corpus = corpus_of(np.concatenate(rows), labels, [10] * 24)
    train, test = corpus.take(corpus.recordings[:16]), corpus.take(corpus.recordings[16:])
    truth = np.array(["ab".index(r.scene) for r in test.recordings])
    right = {}
    for patch in ("long", "slice"):
        predicted = made("conv-nmf", monkeypatch, patch=patch).fit(train, FitContext(0)).predict(test)["softmax"]
        right[patch] = np.mean(predicted.recording.argmax(axis=1) == truth)
    assert right["long"] == 1.0
    assert right["slice"] <= 0.75


def test_slices_do_not_depend_on_the_level_and_short_or_silent_recordings_have_one() -> None:
    noise = np.random.default_rng(0).normal(size=3 * RATE).astype(np.float32)
    settings = FactorSettings()
    found = slices_of(noise, RATE, settings)
    assert found.shape == (6, 200)
    assert found.mean() == pytest.approx(np.log1p(10), rel=0.1)  # of values around one
    assert slices_of(0.01 * noise, RATE, settings) == pytest.approx(found, rel=1e-3, abs=1e-4)
    assert (
        slices_of(0.01 * noise, RATE, settings, absolute=True).mean()
        < 0.2 * slices_of(noise, RATE, settings, absolute=True).mean()
    )
    assert slices_of(noise[:2000], RATE, settings).shape == (1, 200)
    assert not slices_of(0 * noise, RATE, settings).any()
