"""Whole recordings: one vector each, of those with sound; the held groups choose the temperature and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from soundscene.data.corpus import Corpus
from soundscene.data.splits import hold_out
from soundscene.errors import TrainingError
from soundscene.recipe import Recipe
from soundscene.systems.system import FitContext
from soundscene.systems.whole import divide, fit_whole, predict_whole, voting_recordings
from tests.support.vectors import made_corpus

RECIPE = Recipe.small().with_settings(["calibration.held_out=0.25"])


def sums(corpus: Corpus) -> np.ndarray:
    """Sum over the voting segments of each recording."""
    rows = [corpus.features[corpus.voting & (corpus.recording == i)].sum(axis=0) for i in voting_recordings(corpus)]
    return np.array(rows, np.float32).reshape(len(rows), corpus.features.shape[1])


def test_a_recording_of_several_segments_has_one_vector_and_one_prediction() -> None:
    corpus = made_corpus(n_segments=3)
    parts = divide(corpus, RECIPE, FitContext(1))
    assert parts.held.recordings == hold_out(corpus.recordings, 0.25, np.random.default_rng(1))[1]
    model, notes = fit_whole(parts, sums(parts.kept), sums, RECIPE, (1e-3, 1e-1), 3, 1)
    predicted = predict_whole(model, corpus)["svm"]
    truth = [parts.scenes.index(r.scene) for r in corpus.recordings]
    assert predicted.recording.shape == (len(corpus.recordings), 3)
    assert np.mean(predicted.recording.argmax(axis=1) == truth) > 0.9
    assert predicted.segment.shape == (0, 3)
    assert any("was chosen" in note for note in notes)


def test_silence_takes_no_part_and_gets_equal_probabilities() -> None:
    corpus = made_corpus(n_segments=2)
    silent = corpus.silent.copy()
    silent[corpus.recording == 4] = True  # a whole recording
    silent[corpus.recording == 5] = [True, False]  # and one of two segments
    corpus = replace(corpus, silent=silent)
    assert voting_recordings(corpus).tolist() == [i for i in range(len(corpus.recordings)) if i != 4]
    parts = divide(corpus, RECIPE, FitContext(0))
    model, _ = fit_whole(parts, sums(parts.kept), sums, RECIPE, (1e-2,), 3, 0)
    predicted = np.exp(predict_whole(model, corpus)["svm"].calibrated)
    assert predicted[4] == pytest.approx(1 / 3)
    assert predicted[5].max() > 0.4
    mute = replace(corpus, silent=np.ones_like(silent))
    assert np.exp(predict_whole(model, mute)["svm"].calibrated) == pytest.approx(np.full((len(corpus.recordings), 3), 1 / 3))


def test_notes_name_scenes() -> None:
    corpus = made_corpus()
    of_a = [replace(r, group="all") if r.scene == "a" else r for r in corpus.recordings]
    parts = divide(replace(corpus, recordings=tuple(of_a)), RECIPE, FitContext(0))
    _, notes = fit_whole(parts, sums(parts.kept), sums, RECIPE, (1e-2,), 3, 0)
    assert any(note.startswith("scenes a have one group each") for note in notes)


def test_one_scene_with_sound_is_refused_in_one_line() -> None:
    corpus = made_corpus(n_segments=1)
    deaf = replace(corpus, silent=np.array([r.scene != "a" for r in corpus.recordings]))
    parts = divide(deaf, RECIPE, FitContext(0))
    with pytest.raises(TrainingError, match="two scenes or more") as refusal:
        fit_whole(parts, sums(parts.kept), sums, RECIPE, (1e-2,), 3, 0)
    assert "\n" not in str(refusal.value)
