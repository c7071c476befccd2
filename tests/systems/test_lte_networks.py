"""LTE-CNN does not care where a pattern stands nor what is padded; LTE-RNN hears an order that a mean cannot."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from soundscene.data.corpus import Corpus
from soundscene.network.svm import CalibratedSVM
from soundscene.recipe import Recipe
from soundscene.systems import lte_networks, scene_lte
from soundscene.systems.low_level import SETS, LowLevelSettings, Stretches
from soundscene.systems.lte_cnn import LteCnnNetwork, embedding_images, filter_widths
from soundscene.systems.lte_networks import LteRnnNetwork, LteSettings, Trees, read_images
from soundscene.systems.scene_lte import SceneLteSettings
from soundscene.systems.system import FitContext, Fitted
from soundscene.training import label_tree
from soundscene.training.calibrate import LEAST_SCALE, fit_svm
from soundscene.training.label_tree import LabelTree, TreeSettings
from tests.support.pieces import accuracy, corpus_of, low_level_silence, silenced


@pytest.fixture(scope="module")
def cnn() -> LteCnnNetwork:
    torch.manual_seed(0)
    return LteCnnNetwork(4, (3, 6), 5, 2, 0.5).eval()


@torch.no_grad()
def test_a_pattern_gives_the_same_maximum_wherever_it_stands(cnn: LteCnnNetwork) -> None:
    pattern = 3 * torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    images = torch.zeros(3, 30, 5)
    images[..., -1] = 1
    for image, place in zip(images, (6, 11, 17), strict=True):
        image[place : place + 6, :-1] = pattern
    maxima = cnn.embed(images)
    assert torch.allclose(maxima, maxima[:1].expand_as(maxima), atol=1e-5)
    reversed_in_time = images[:1].clone()
    reversed_in_time[0, 6:12, :-1] = pattern.flip(0)
    assert (cnn.embed(reversed_in_time) - maxima[:1]).abs().max() > 0.1


@torch.no_grad()
@pytest.mark.parametrize("n", [1, 5, 6, 12])
def test_padding_changes_nothing_and_a_short_recording_has_one_place(n: int, cnn: LteCnnNetwork) -> None:
    alone = torch.randn(1, n, 5, generator=torch.Generator().manual_seed(n))
    alone[..., -1] = 1
    company = torch.zeros(2, 20, 5)
    company[0, :n] = alone[0]
    company[1] = torch.randn(20, 5)
    company[1, :, -1] = 1
    maxima = cnn.embed(alone)
    assert torch.isfinite(maxima).all()
    assert torch.allclose(cnn.embed(company)[0], maxima[0], atol=1e-6)


def test_an_image_is_in_the_order_of_time_and_tells_its_padding() -> None:
    of = np.array([0, 0, 2, 2, 2])
    stretches = Stretches(
        np.zeros((5, 2, 1), np.float32),
        of,
        np.array([0.0, 0.25, 0.0, 0.25, 0.3]),
        np.zeros((0, 7), np.int64),
        np.zeros(5, np.bool_),
    )
    images = embedding_images(np.arange(5, dtype=np.float32)[:, None], stretches, np.array([True] * 4 + [False]))
    assert images.tolist() == [[[0, 1], [1, 1]], [[2, 1], [3, 1]]]
    images = embedding_images(np.arange(5, dtype=np.float32)[:, None], stretches, np.array([True, False, True, True, True]))
    assert images[0].tolist() == [[0, 1], [0, 0], [0, 0]]


@torch.no_grad()
def test_the_rnn_reads_the_sequence_up_to_its_end() -> None:
    torch.manual_seed(0)
    network = LteRnnNetwork(4, 8, 2, 0.1).eval()
    sequences = torch.rand(3, 7, 4)
    for place in (0, 6):
        changed = sequences.clone()
        changed[:, place] += 1
        assert (network(changed) - network(sequences)).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["rnn", "cnn"])
def test_after_each_epoch_forests_are_not_asked_again(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lte_networks, "_sources", lambda: [(0, slice(0, 106))])
    asked: list[int] = []
    embed = LabelTree.embed
    monkeypatch.setattr(LabelTree, "embed", lambda tree, rows: (asked.append(len(rows)), embed(tree, rows))[1])
    recipe = Recipe.small().with_settings(["training.epochs=4", "network.hidden=4"])
    training, test = corpus_of(ordered, n_recordings=4), corpus_of(ordered, n_recordings=5, n_pieces=1, name="test")
    shown: list[np.ndarray] = []
    context = FitContext(0, observer=lambda row, so_far: shown.append(so_far(test)["softmax"].recording))
    fit = {"rnn": lte_networks._fit_rnn, "cnn": lte_networks._fit_cnn}[kind]
    fitted = fit(recipe, LteSettings(tree=TreeSettings(n_trees=2, folds=2), filters=2), training, context)
    assert asked.count(10 * 7) == 1
    assert len(shown) == 4
    assert np.array_equal(fitted.predict(test)["softmax"].recording, shown[-1])
    assert asked.count(10 * 7) == 2  # a prediction that is timed asks them
    assert fitted.trained_on == (0 if kind == "cnn" else 3 * int(training.recording.max() + 1 - len(fitted.held)))


def test_six_trees_read_three_sets_of_both_channels() -> None:
    marks = np.concatenate([np.full(part.stop - part.start, i) for i, part in enumerate(SETS.values())])
    features = np.stack([marks, 10 + marks])  # [channel, value]
    read = [features[channel, where] for channel, where in lte_networks._sources()]
    assert [set(values) for values in read] == [{0}, {1}, {2}, {10}, {11}, {12}]
    assert [len(values) for values in read] == [106, 64, 80] * 2


TREE = TreeSettings(n_trees=2, folds=2)
RECIPE = Recipe.small().with_settings(["training.epochs=2", "network.hidden=4"])
FITS: dict[str, Callable[[Corpus, FitContext], Fitted]] = {
    "rnn": partial(lte_networks._fit_rnn, RECIPE, LteSettings(tree=TREE)),
    "cnn": partial(lte_networks._fit_cnn, RECIPE, LteSettings(tree=TREE, filters=2, widths=(5, 10, 25))),
    "scene": partial(scene_lte._fit, RECIPE, SceneLteSettings("none", tree=TREE, c=(1e-2,))),
}


@pytest.fixture
def one_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lte_networks, "_sources", lambda: [(0, slice(0, 106))])


@pytest.mark.usefixtures("one_tree")
@pytest.mark.parametrize("kind", FITS)
def test_no_tree_sees_digital_silence(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    forest, embed = label_tree._forest, LabelTree.embed
    monkeypatch.setattr(label_tree, "_forest", lambda rows, *rest: (seen.append(rows), forest(rows, *rest))[1])
    monkeypatch.setattr(LabelTree, "embed", lambda tree, rows: (seen.append(rows), embed(tree, rows))[1])
    training, test = corpus_of(ordered, n_recordings=5), corpus_of(ordered, n_recordings=3, name="test")
    draws = np.random.default_rng(0)
    for corpus in (training, test):
        places = draws.random((len(corpus.features), 7)) < 0.3
        places[:3] = True  # a recording that is silent but for what a resampler leaves, so that the store lets it vote
        corpus.features[:] = silenced(corpus, places).features
    silence = low_level_silence()[:106]
    assert (training.features[:, :, 0, :106] == silence).all(axis=-1).any()
    said = FITS[kind](training, FitContext(0)).predict(test)
    assert all(np.isfinite(one.calibrated).all() for one in said.values())
    assert sum(len(rows) for rows in seen) > 300
    assert not any((rows[:, :106] == silence).all(axis=1).any() for rows in seen if rows.ndim == 2)
    assert not any((rows[:, 0, :106] == silence).all(axis=1).any() for rows in seen if rows.ndim == 3)


@pytest.mark.usefixtures("one_tree")
def test_a_sequence_of_the_rnn_has_zeros_where_there_is_silence() -> None:
    fitted = FITS["rnn"](corpus_of(ordered, n_recordings=5), FitContext(0))
    read = fitted.predict.args[0].read  # pyright: ignore[reportFunctionMemberAccess]
    test = corpus_of(ordered, n_recordings=2, name="test")
    places = np.zeros((len(test.features), 7), np.bool_)
    places[0, [0, 5]] = places[2] = True  # the third piece does not vote
    sequences, before = read(silenced(test, places)), read(test)
    rest = np.arange(len(test.features)) != 2
    assert not sequences[places[rest]].any()
    assert np.array_equal(sequences[~places[rest]], before[rest][~places[rest]])


def test_an_image_keeps_the_gaps_of_silence_and_no_filter_sees_across_them(monkeypatch: pytest.MonkeyPatch) -> None:
    first, then = np.zeros((2, 7, 2, 250), np.float32)
    first[..., 0] = then[..., 1] = 1
    first[..., 51] = then[..., 51] = 1000  # the centroid of what is no silence
    corpus = corpus_of(lambda scene, draws: first, ("a", "b"), n_recordings=1, n_pieces=4)
    corpus.features[2] = corpus.features[6] = then
    gaps = np.zeros((8, 7), np.bool_)
    gaps[3] = gaps[7] = gaps[[0, 4], :2] = True  # what is cut: the last piece, and the begin of the first
    gaps[5] = True  # between the two sounds of the second recording
    monkeypatch.setattr(Trees, "embed", lambda trees, rows: rows[:, 0, :2])
    images = read_images(Trees(()), LowLevelSettings(), silenced(corpus, gaps))
    assert images[..., -1].sum(axis=1).tolist() == [19, 19]
    assert images[1, 5:12].tolist() == [[0, 0, 1]] * 7
    assert images[0, 5:12].tolist() == [[1, 0, 1]] * 7
    assert images[:, 12:].tolist() == [[[0, 1, 1]] * 7] * 2

    network = LteCnnNetwork(2, (2,), 1, 2, 0.5).eval()
    with torch.no_grad():
        (convolution,) = network.convolutions
        nn.init.constant_(convolution.get_parameter("bias"), -1)
        convolution.get_parameter("weight").copy_(torch.tensor([[[1.0, 0], [0, 1]]]))  # one sound, then the other
        assert network.embed(torch.from_numpy(images)).tolist() == [[1], [0]]


def test_one_short_recording_takes_no_filter_away_from_the_others() -> None:
    def images(*n: int) -> np.ndarray:
        found = np.zeros((len(n), max(n), 3), np.float32)
        found[..., -1] = np.arange(max(n)) < np.array(n)[:, None]
        return found

    wanted = (5, 10, 15, 20)
    note = "filters of 5, 10, 15 stretches, not 5, 10, 15, 20: the median training recording has 19"
    assert filter_widths(wanted, images(19, 19, 19, 19)) == ([5, 10, 15], (note,))
    assert filter_widths(wanted, images(19, 7, 19, 19)) == ([5, 10, 15], (note,))
    assert filter_widths(wanted, images(39, 1, 20)) == ([5, 10, 15, 20], ())
    assert filter_widths(wanted, images(3, 3, 9))[0] == [3]


@pytest.mark.usefixtures("one_tree")
def test_recordings_shorter_than_a_filter_train_and_are_predicted() -> None:
    training, test = corpus_of(ordered, n_recordings=5), corpus_of(ordered, n_recordings=3, name="test")

    def first_piece_of(corpus: Corpus, recordings: list[int]) -> Corpus:
        kept = ~np.isin(corpus.recording, recordings) | (corpus.start_s == 0)
        arrays = ("features", "recording", "start_s", "silent", "regular")
        return replace(corpus, **{name: getattr(corpus, name)[kept] for name in arrays})

    fitted = FITS["cnn"](first_piece_of(training, [0, 7]), FitContext(0))
    assert fitted.predict.args[0].network.widths == (5, 10)  # pyright: ignore[reportFunctionMemberAccess]
    assert "filters of 5, 10 stretches, not 5, 10, 25: the median training recording has 21" in fitted.notes
    short = first_piece_of(test, [0])  # 7 stretches
    alone = short.take(short.recordings[:1])
    for head, said in fitted.predict(short).items():
        assert np.isfinite(said.recording).all()
        assert np.allclose(fitted.predict(alone)[head].recording[0], said.recording[0], atol=1e-5)


@pytest.mark.usefixtures("one_tree")
def test_a_filter_that_few_recordings_wake_does_not_flatten_the_svm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The floor itself is tested in training/test_calibrate.py; without it one fold of ambience11 was flat (page 0116)."""
    floors: list[float] = []

    def spy(*given: Any, **named: Any) -> tuple[CalibratedSVM, tuple[str, ...]]:
        floors.append(given[7])
        return fit_svm(*given, **named)

    monkeypatch.setattr(lte_networks, "fit_svm", spy)
    FITS["cnn"](corpus_of(ordered, n_recordings=5), FitContext(0))
    assert floors == [LEAST_SCALE]


def ordered(scene: str, draws: np.random.Generator) -> np.ndarray:
    """Two sounds: one first, the other first, only one, only the other. The last two teach the trees to tell them."""
    first, then = {"a": (1, -1), "b": (-1, 1), "c": (1, 1), "d": (-1, -1)}[scene]
    sounds = np.repeat([first, then], [3, 4] if draws.random() < 0.5 else [4, 3])
    return sounds[:, None, None] + draws.normal(0, 0.3, (7, 2, 250))


@pytest.mark.slow
def test_scenes_that_differ_in_the_order_of_two_sounds_are_learnt_by_the_rnn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lte_networks, "_sources", lambda: [(0, slice(0, 106)), (1, slice(106, 170))])
    recipe = Recipe.small().with_settings(["training.epochs=20", "network.hidden=8"])
    choices = LteSettings(tree=TreeSettings(n_trees=10), learning_rate=1e-2)
    scenes = ("a", "b", "c", "d")
    training = corpus_of(ordered, scenes, n_recordings=12)
    test = corpus_of(ordered, scenes, n_recordings=10, n_pieces=1, seed=1, name="test")
    fitted = lte_networks._fit_rnn(recipe, choices, training, FitContext(0))
    said = fitted.predict(test)
    assert accuracy(said["softmax"].recording, test) >= 0.9
    assert accuracy(said["svm"].recording, test) >= 0.9

    trees = fitted.predict.args[0].read.args[0]  # pyright: ignore[reportFunctionMemberAccess]
    means = [
        trees.embed(c.features.reshape(-1, 2, 250)).reshape(len(c.features), 7, -1).mean(axis=1) for c in (training, test)
    ]
    labels = [c.labels(scenes) for c in (training, test)]
    centres = np.stack([means[0][labels[0] == label].mean(axis=0) for label in range(4)])
    nearest = ((means[1][:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    assert np.mean((nearest == labels[1])[labels[1] >= 2]) >= 0.9
    assert np.mean((nearest == labels[1])[labels[1] < 2]) <= 0.75  # a mean knows no order
