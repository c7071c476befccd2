"""What a card says of recordings that the model was trained on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from soundscene.model_card import CardFacts, PushedFile, model_card
from soundscene.model_facts import model_facts
from soundscene.scoring.evaluation import LEAKAGE, Evaluation, HeadScores
from soundscene.scoring.metrics import Metrics
from soundscene.types import Recording
from tests.support.tiny import SCENES, blank_bundle

N = len(SCENES)
METRICS = Metrics(N, 0.75, 0.7, 0.8, 0.5, 0.1, np.eye(N, dtype=np.int64))
ROWS = tuple(Recording(Path(f"{scene}.wav"), scene, scene) for scene in SCENES)
SCORES = Evaluation({"svm": HeadScores(METRICS, METRICS, METRICS)}, SCENES, N, 0, (), ROWS, np.arange(N), {"svm": np.eye(N)})

NONE = "None of these recordings is in the training set, by content."
TWO = "**2 of these recordings are in the training set: the scores are optimistic.**"
UNKNOWN = "other excerpts of these recordings were trained on cannot be told by their content.**"


@pytest.mark.parametrize(
    ("trained_on", "diagnosis", "said"),
    [
        (0, "", (NONE,)),
        (2, "", (TWO,)),
        (2, "same-recording", (UNKNOWN, TWO)),  # a part matches by content; the others may be excerpts of heard recordings
        (0, "same-recording", (UNKNOWN,)),
    ],
)
def test_recordings_that_were_trained_on(trained_on: int, diagnosis: str, said: tuple[str, ...]) -> None:
    facts = model_facts(blank_bundle()) | ({"diagnosis": diagnosis} if diagnosis else {})
    scores = replace(SCORES, n_trained_on=trained_on)
    text = model_card(CardFacts("me/scenes", PushedFile("0" * 64, 1), facts, "svm", scores=scores, manifest="m.csv"))
    assert tuple(one for one in (NONE, UNKNOWN, TWO) if one in text) == said
    assert text.count(LEAKAGE) == 2 * bool(diagnosis), "with the training, and with the scores"
