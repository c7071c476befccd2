"""What every network of Table 3 promises: seeds, held-out groups, silence, refusals, and a kill that changes no bit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from soundscene.data.corpus import Corpus
from soundscene.data.splits import hold_out
from soundscene.errors import TrainingError
from soundscene.recipe import Recipe
from soundscene.systems import lstm_sa, lte_networks, temporal_transformer, three_cnns
from soundscene.systems.lstm_sa import LstmSaSettings
from soundscene.systems.lte_networks import LteSettings
from soundscene.systems.saved import Identity
from soundscene.systems.system import FitContext, Fitted, PredictFunction
from soundscene.systems.temporal_transformer import TemporalTransformerSettings
from soundscene.systems.three_cnns import ThreeCnnsSettings
from soundscene.training.label_tree import TreeSettings
from tests.support.pieces import corpus_of

RECIPE = Recipe.small().with_settings(
    ["network.filters=[4, 4, 4]", "network.hidden=4", "training.epochs=3", "calibration.held_out=0.25"]
)
IDENTITY = Identity("tt-dnn", "", RECIPE)
SCENES = ("a", "b", "c")


@dataclass(frozen=True)
class Network:
    """A system, small: how it is fitted, features of a piece, its heads, and whether it classifies pieces."""

    fit: Callable[[Corpus, FitContext], Fitted]
    piece: Callable[[str, np.random.Generator], np.ndarray]
    heads: tuple[str, ...] = ("softmax",)
    pieces: bool = True


def image(scene: str, draws: np.random.Generator) -> np.ndarray:
    return SCENES.index(scene) + draws.normal(0, 1, (2, 64, 80))


def transformer(kind: str, reduction: str = "learnt") -> Network:
    choices = TemporalTransformerSettings(kind, reduction, width=8)  # type: ignore[arg-type]
    return Network(partial(temporal_transformer._fit, IDENTITY, choices), image)


def low_level(scene: str, draws: np.random.Generator) -> np.ndarray:
    return SCENES.index(scene) + draws.normal(0, 2, (7, 2, 250))


def wave(scene: str, draws: np.random.Generator) -> np.ndarray:
    return np.sin(np.arange(SHORT.audio.segment_samples) * (0.1 + 0.2 * SCENES.index(scene))) + draws.normal(
        0, 1, SHORT.audio.segment_samples
    )


SHORT = RECIPE.with_settings(["audio.segment_s=0.25"])
LTE = LteSettings(tree=TreeSettings(n_trees=2, folds=2), filters=2)
BOTH = ("softmax", "svm")

NETWORKS = {
    "tt-dnn": transformer("dnn"),
    "tt-dnn mean": transformer("dnn", "mean"),
    "tt-cnn": transformer("cnn"),
    "tt-lstm": transformer("lstm"),
    "lstm-sa": Network(partial(lstm_sa._fit, IDENTITY, LstmSaSettings()), image),
    "lte-rnn": Network(partial(lte_networks._fit_rnn, RECIPE, LTE), low_level, BOTH),
    "cnn-1d-2d-3d": Network(
        partial(three_cnns._fit, replace(IDENTITY, recipe=SHORT), ThreeCnnsSettings(fusion_epochs=3)), wave
    ),
    "lte-cnn": Network(partial(lte_networks._fit_cnn, RECIPE, LTE), low_level, BOTH, pieces=False),
}


SLOW = ("tt-dnn mean", "tt-cnn", "cnn-1d-2d-3d")  # their like are among the quick ones, or in a test of their own


@pytest.fixture(scope="module", params=[pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in NETWORKS])
def network(request: pytest.FixtureRequest) -> Network:
    return NETWORKS[request.param]


@pytest.fixture(scope="module", autouse=True)
def one_tree() -> Iterator[None]:
    """One set of one channel instead of six, which would take six times as long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lte_networks, "_sources", lambda: [(0, slice(0, 106))])
        yield


@pytest.fixture(scope="module")
def training(network: Network) -> Corpus:
    return corpus_of(network.piece, SCENES, n_recordings=4, n_pieces=2)


@pytest.fixture(scope="module")
def test(network: Network) -> Corpus:
    return corpus_of(network.piece, SCENES, n_recordings=2, n_pieces=2, seed=1, name="test")


@pytest.fixture(scope="module")
def fitted(network: Network, training: Corpus) -> Fitted:
    return network.fit(training, FitContext(1))


def predictions(fitted: Fitted, corpus: Corpus) -> list[np.ndarray]:
    return [array for one in fitted.predict(corpus).values() for array in (one.segment, one.recording, one.calibrated)]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_seed_decides_it_and_the_held_groups_decide_only_the_temperature(
    network: Network, training: Corpus, test: Corpus, fitted: Fitted
) -> None:
    expected = predictions(fitted, test)
    held = hold_out(training.recordings, 0.25, np.random.default_rng(1))[1]
    assert fitted.held == held
    assert len(held) == 3

    other = replace(training, features=training.features.copy())
    theirs = np.isin(training.recording, [training.recordings.index(r) for r in held])
    other.features[theirs] = np.random.default_rng(5).permutation(other.features[theirs]) * 0.5
    torch.manual_seed(99)  # whatever state the caller's generator is in
    changed = network.fit(other, FitContext(1))
    for head in network.heads:
        one, two = fitted.predict(test)[head], changed.predict(test)[head]
        assert np.array_equal(one.recording, two.recording)
        assert not np.array_equal(one.calibrated, two.calibrated)
    assert not same(expected, predictions(network.fit(training, FitContext(2)), test))


def test_a_recording_is_predicted_alike_alone_and_in_company(network: Network, test: Corpus, fitted: Fitted) -> None:
    assert tuple(fitted.predict(test)) == network.heads
    for head, one in fitted.predict(test).items():
        alone = fitted.predict(test.take(test.recordings[3:4]))[head]
        assert np.allclose(alone.recording[0], one.recording[3], atol=1e-4)
        assert np.allclose(np.exp(one.calibrated).sum(axis=1), 1)
        assert np.array_equal(one.recording.argmax(axis=1), one.calibrated.argmax(axis=1))
        assert one.segment.shape == ((12, 3) if network.pieces else (0, 3))
    if network.pieces:
        assert fitted.embed is not None
        assert len(fitted.embed(test)) == 12


def test_silence_does_not_vote(network: Network, test: Corpus, fitted: Fitted) -> None:
    silent = test.silent.copy()
    silent[[0, 1, 2]] = True  # the first recording, and half of the second
    some, none = replace(test, silent=silent), replace(test, silent=np.ones_like(silent))
    for head, one in fitted.predict(some).items():
        assert np.exp(one.calibrated[0]) == pytest.approx(1 / 3)
        assert not np.allclose(np.exp(one.calibrated[1]), 1 / 3)
        assert one.recording_of.tolist() == ([1, 2, 2, 3, 3, 4, 4, 5, 5] if network.pieces else [])
        assert np.exp(fitted.predict(none)[head].calibrated) == pytest.approx(np.full((6, 3), 1 / 3))


def test_killed_after_an_epoch_it_resumes_and_predicts_the_same_bits(
    network: Network, training: Corpus, test: Corpus, fitted: Fitted, tmp_path: Path
) -> None:
    seen: list[float] = []
    shown: list[np.ndarray] = []

    def observer(row: dict[str, float], so_far: PredictFunction) -> None:
        shown.append(so_far(test)["softmax"].recording)
        seen.append(row["epoch"])
        if len(seen) == 2:
            raise KeyboardInterrupt

    context = FitContext(1, checkpoint=tmp_path / "checkpoint.safetensors", observer=observer)
    with pytest.raises(KeyboardInterrupt):
        network.fit(training, context)
    resumed = network.fit(training, context)
    assert seen == [1.0, 2.0, 2.0, 3.0]
    assert same(predictions(resumed, test), predictions(fitted, test))
    assert [row["epoch"] for row in resumed.history] == [1.0, 2.0, 3.0]
    assert resumed.epoch == 3
    assert np.array_equal(shown[-1], fitted.predict(test)["softmax"].recording)
    assert not np.array_equal(shown[0], shown[1])


def test_what_nothing_can_be_learnt_from_is_refused_in_one_line(network: Network, training: Corpus) -> None:
    one_scene = training.take(tuple(r for r in training.recordings if r.scene == "a"))
    with pytest.raises(TrainingError, match=r"holds 1 scene \(a\)"):
        network.fit(one_scene, FitContext(0))
    of_a = np.array([training.recordings[i].scene == "a" for i in training.recording])
    with pytest.raises(TrainingError, match="silence throughout: a;") as refusal:
        network.fit(replace(training, silent=of_a), FitContext(0))
    assert "\n" not in str(refusal.value)
