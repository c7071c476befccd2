"""LSTM-SA: chunks are contiguous and of their recording, draws repeat, and only what keeps the order of frames learns it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from soundscene.data.corpus import Corpus
from soundscene.recipe import Recipe
from soundscene.systems import lstm_sa
from soundscene.systems.lstm_sa import LstmSaNetwork, LstmSaSettings, Sequences, rearranged, rearranger
from soundscene.systems.saved import Identity
from soundscene.systems.system import FitContext
from tests.support.pieces import accuracy, corpus_of

RECIPE = Recipe.small().with_settings(["features.n_bands=16", "network.hidden=8", "training.epochs=10"])
SCENES = ("a", "b")


@pytest.fixture(scope="module")
def numbered() -> Corpus:
    """Images whose values say where they are from: 1000 x recording + frame in the recording. A last piece overlaps."""
    corpus = corpus_of(lambda scene, draws: np.zeros((2, 3, 80)), n_recordings=2, n_pieces=4)
    start_s = np.tile([0.0, 2.0, 4.0, 5.0], 4)
    frame = np.round(start_s[:, None] * 40) + np.arange(80)
    features = (1000 * corpus.recording[:, None] + frame)[:, None, None] + np.zeros((2, 3, 1))
    return replace(corpus, features=features.astype(np.float32), start_s=start_s)


def test_frames_of_a_recording_come_once_and_chunks_stay_within_its_time(numbered: Corpus) -> None:
    sequences = Sequences.of(numbered, SCENES, RECIPE.audio)
    assert sequences.frames[:240, 0].tolist() == list(range(240))  # without the last piece
    assert len(sequences.frames) == 4 * 240
    starts = sequences.starts(40)
    assert len(starts) == 4 * 201
    gap = replace(numbered, silent=numbered.start_s == 2.0)  # silence in the middle: nothing may reach across it
    sequences = Sequences.of(gap, SCENES, RECIPE.audio)
    assert sequences.frames[sequences.starts(40)[:82], 0].tolist() == [*range(41), *range(160, 201)]


def test_pieces_of_no_whole_number_of_samples_are_all_there(numbered: Corpus) -> None:
    audio = RECIPE.with_settings(["audio.segment_s=0.333"]).audio  # 7342.65 samples, so that a piece has 7343
    start = np.tile(audio.segment_samples * np.array([0.0, 1.0, 2.0, 2.7]).round(1), 4).astype(int)
    odd = replace(numbered, start_s=start / audio.sample_rate)
    sequences = Sequences.of(odd, SCENES, audio)
    assert len(sequences.frames) == 4 * 240
    assert sequences.time[:240].tolist() == list(range(240))


@pytest.mark.parametrize("source", ["recording", "scene"])
@pytest.mark.parametrize("length", [1, 10, 30, 80])
def test_a_rearranged_sequence_is_made_of_contiguous_chunks_of_its_unit(source, length: int, numbered: Corpus) -> None:
    sequences = Sequences.of(numbered, SCENES, RECIPE.audio)
    draw = rearranger(sequences, LstmSaSettings(source), (length,), 80)
    generator = torch.Generator().manual_seed(0)
    values = [[sequences.frames[a : a + n, 0] for a, n in draw(1, 0, generator)] for _ in range(50)]
    assert all(sum(map(len, chunks)) == 80 for chunks in values)
    assert all((np.diff(chunk) == 1).all() for chunks in values for chunk in chunks)
    seen = {int(chunk[0]) // 1000 for chunks in values for chunk in chunks}
    assert seen == ({1} if source == "recording" else {0, 1})
    again = rearranger(sequences, LstmSaSettings(source), (length,), 80)(1, 0, torch.Generator().manual_seed(0))
    assert [int(sequences.frames[a, 0]) for a, _ in again] == [int(chunk[0]) for chunk in values[0]]


def test_half_of_an_epoch_stays_as_it_is_and_every_piece_comes_once(numbered: Corpus) -> None:
    choices = LstmSaSettings(chunks_s=(0.25,), batch_size=5)
    recipe = RECIPE.with_settings(["features.n_bands=3"])
    draw = rearranged(numbered, SCENES, recipe, choices, torch.device("cpu"))
    generator, whole = torch.Generator().manual_seed(0), 0
    for _ in range(20):
        batches = list(draw(generator))
        assert sum(len(labels) for _, labels in batches) == 16
        for images, labels in batches:
            whole += int((images[:, 0, 0].diff(dim=-1) == 1).all(dim=-1).sum())
            assert torch.equal((images[:, 0, 0] // 2000).long(), labels[:, None].expand(-1, 80))
    assert 0.4 < whole / 320 < 0.6
    plain = replace(choices, source="nothing")
    images = torch.cat([batch for batch, _ in rearranged(numbered, SCENES, recipe, plain, torch.device("cpu"))(generator)])
    assert torch.equal(images.sort(dim=0).values, torch.from_numpy(numbered.features[:, :1]).sort(dim=0).values)


def test_frames_of_a_chunk_stay_in_order_and_chunks_do_not(numbered: Corpus) -> None:
    choices = LstmSaSettings(chunks_s=(0.25, 0.5), kept=0.0)
    recipe = RECIPE.with_settings(["features.n_bands=3"])
    draw = rearranged(numbered, SCENES, recipe, choices, torch.device("cpu"))
    generator, lengths, jumps = torch.Generator().manual_seed(0), set(), []
    for images, _ in (batch for _ in range(4) for batch in draw(generator)):
        for steps in images[:, 0, 0].diff(dim=-1):
            length = 20 if (steps[9::20] == 1).all() else 10  # two chunks of 10 may follow each other, four times hardly
            lengths.add(length)
            inside = torch.ones(79, dtype=torch.bool)
            inside[length - 1 :: length] = False
            assert (steps[inside] == 1).all()
            jumps += steps[~inside].tolist()
    assert lengths == {10, 20}  # drawn for each sequence
    assert np.mean(np.array(jumps) == 1) < 0.1
    assert {np.sign(jump - 1) for jump in jumps} >= {-1, 1}  # backwards and forwards


@torch.no_grad()
def test_the_embedding_is_the_mean_over_frames() -> None:
    torch.manual_seed(0)
    network = LstmSaNetwork(RECIPE, LstmSaSettings(), 2).eval()
    images = torch.randn(2, 2, 16, 80)
    frames = network.recurrent(images[:, 0].transpose(1, 2))
    assert torch.allclose(network.embed(images), frames.mean(dim=1), atol=1e-6)
    assert torch.equal(network.embed(images), network.embed(images[:, :1]))  # channel 0 alone


def sweeps(scene: str, draws: np.random.Generator) -> np.ndarray:
    """Sweeps of 0.4 s over all bands, upwards in one scene and downwards in the other, from any phase."""
    at = (np.arange(80) + draws.integers(16)) % 16
    image = draws.normal(0, 0.3, (2, 16, 80))
    image[:, at if scene == "a" else 15 - at, np.arange(80)] += 3
    return image


@pytest.mark.slow
def test_the_fast_order_of_frames_is_learnt_by_chunks_that_keep_it() -> None:
    training = corpus_of(sweeps, n_recordings=12)
    test = corpus_of(sweeps, n_recordings=10, n_pieces=1, seed=1, name="test")
    found = []
    for chunks_s in ((0.5,), (0.025,)):  # 0.025 s are one frame
        choices = LstmSaSettings(chunks_s=chunks_s, kept=0.0, learning_rate=1e-2)
        fitted = lstm_sa._fit(Identity("lstm-sa", "", RECIPE), choices, training, FitContext(0))
        found.append(accuracy(fitted.predict(test)["softmax"].recording, test))
    assert found[0] == 1.0
    assert found[1] <= 0.75
