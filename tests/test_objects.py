"""What Python shows of our objects, and when two are equal."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from soundscene.batch.embeddings import EmbeddingTable
from soundscene.data.manifest import Manifest
from soundscene.data.table import ScanResult
from soundscene.live import Update
from soundscene.prediction import Predictions, ScenePrediction, SegmentPrediction
from soundscene.scoring.evaluation import Evaluation, HeadScores
from soundscene.scoring.metrics import Metrics
from soundscene.types import Recording
from tests.support.tiny import blank_bundle

NAMES = ("scene", "path", "probability", "start_s")
ROW = np.array([0.1, 0.2, 0.3, 0.4])
PREDICTION = ScenePrediction("a.wav", 4.0, NAMES, ROW, (SegmentPrediction(0.0, 2.0, ROW), SegmentPrediction(2.0, 4.0, ROW)))
METRICS = Metrics(4, 0.75, 0.7, 0.8, 0.5, 0.1, np.eye(4, dtype=np.int64))
RECORDING = Recording(Path("a.wav"), "rain", "g", 2, {"fold": "1", "duration_s": "9"})
EVALUATION = Evaluation(
    {"svm": HeadScores(METRICS, METRICS, METRICS)}, NAMES, 4, 0, (), (RECORDING,) * 4, np.arange(4), {"svm": np.eye(4)}
)
MANIFEST = Manifest(Path("m.csv"), (RECORDING, replace(RECORDING, path=Path("b.wav"), scene="sea", group="h")))
SCAN = ScanResult(MANIFEST)
UPDATE = Update(0.0, 2.0, NAMES, ROW, None, 1, False, 0.0, 0.1, 2.0)
TABLE = EmbeddingTable(("a.wav",), np.zeros((1, 8), np.float32))


@pytest.mark.parametrize("one", [PREDICTION, METRICS, EVALUATION, MANIFEST, SCAN, UPDATE, TABLE, RECORDING], ids=repr)
def test_a_copy_is_equal_and_has_the_same_hash(one: object) -> None:
    other = copy.deepcopy(one)
    assert other is not one
    assert other == one
    assert len({one, other}) == 1
    assert one != 1


def test_what_differs_is_not_equal() -> None:
    assert replace(METRICS, confusion=np.zeros((4, 4), np.int64)) != METRICS
    assert replace(EVALUATION, log_posterior={"svm": np.zeros((4, 4))}) != EVALUATION
    assert replace(EVALUATION, log_posterior={"softmax": np.eye(4)}) != EVALUATION
    assert replace(RECORDING, columns={"fold": "2", "duration_s": "9"}) != RECORDING
    assert replace(PREDICTION, segments=PREDICTION.segments[:1]) != PREDICTION


def test_equal_posteriors_of_two_precisions_have_one_hash() -> None:
    exact = np.array([0.5, 0.25, 0.25, -0.0])
    one, other = (replace(PREDICTION, posterior=exact.astype(kind)) for kind in (np.float32, np.float64))
    other = replace(other, posterior=np.abs(other.posterior))
    assert one == other
    assert hash(one) == hash(other)
    unknown = replace(PREDICTION, posterior=np.full(4, np.nan))
    assert unknown == unknown


@pytest.mark.parametrize(
    ("one", "shown"),
    [
        (PREDICTION.segments[0], "<SegmentPrediction 0 to 2 s: 0.40 for scene 3>"),
        (METRICS, "<Metrics of 4: 75.0% right, F1 70.0%, log loss 0.500>"),
        (EVALUATION, "<Evaluation 4 recordings, 4 scenes: svm 75.0% right>"),
        (MANIFEST, "<Manifest m.csv: 2 recordings of 2 scenes>"),
        (SCAN, "<ScanResult 2 recordings, 2 groups; 2 scenes: rain, sea>"),
        (UPDATE, "<Update 0 to 2 s: no prediction>"),
        (replace(UPDATE, posterior=ROW), "<Update 0 to 2 s: start_s 0.40, probability 0.30, path 0.20>"),
        (TABLE, "<EmbeddingTable 1 row of 8 values>"),
    ],
)
def test_what_is_shown_is_one_line(one: object, shown: str) -> None:
    assert repr(one) == shown


def test_a_model_is_shown_in_one_line() -> None:
    model = blank_bundle()
    assert repr(model).startswith("<Model of att-crnn-mel; svm head; 3 scenes: ")
    assert repr(model.members[0]) == "<NetworkMember att-crnn-mel>"
    assert len({model, model, replace(model)}) == 2


def test_nothing_shown_steers_a_terminal_or_is_endless() -> None:
    shown = repr(replace(PREDICTION, source="x\n\x1b[2J" + 2000 * "y"))
    assert "\x1b" not in shown
    assert "\n" not in shown
    assert len(shown) < 500


def test_scenes_that_have_the_names_of_columns_keep_both() -> None:
    frame = PREDICTION.to_frame("pandas")
    assert list(frame.columns) == [
        "start_s",
        "end_s",
        "scene",
        "probability",
        "p(scene)",
        "path",
        "p(probability)",
        "p(start_s)",
    ]
    assert list(frame["start_s"]) == [0.0, 2.0]
    assert list(frame["p(start_s)"]) == [0.4, 0.4]
    assert list(frame["scene"]) == ["start_s", "start_s"]
    whole = Predictions([PREDICTION]).to_frame("pandas")
    assert whole.loc[0, "path"] == "a.wav"
    assert whole.loc[0, "p(path)"] == 0.2


def test_a_column_of_a_manifest_and_what_a_file_says_are_both_there() -> None:
    frame = SCAN.to_frame("pandas")
    assert list(frame["duration_s"]) == ["9", "9"]
    assert "file(duration_s)" in frame.columns
    assert {"sample_rate", "channels", "fold"} <= set(frame.columns)


def test_parts_and_sums_of_predictions_are_predictions() -> None:
    found = Predictions([PREDICTION, PREDICTION])
    assert type(found[1:]) is Predictions
    assert type(found + found) is Predictions
    assert len(found[1:] + found) == 3
    assert found[0] is PREDICTION
    with pytest.raises(TypeError):
        found + 1


def test_dollars_in_names_are_no_formula(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    named = replace(PREDICTION, source="a$b_{$.wav", scenes=("$x^{$", *NAMES[1:]))
    named.plot().figure.savefig(tmp_path / "p.png")  # pyright: ignore[reportAttributeAccessIssue]
    assert (tmp_path / "p.png").stat().st_size > 1000
