from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn import metrics as reference

from soundscene.scoring.metrics import (
    accuracy,
    confusion,
    evaluate,
    expected_calibration_error,
    log_loss,
    macro_f1,
    macro_precision,
    validate,
)


def answers(seed, n=300, n_scenes=7, absent=()):
    generator = np.random.default_rng(seed)
    truth = generator.choice(np.setdiff1d(np.arange(n_scenes), absent), n)
    scores = generator.standard_normal((n, n_scenes)) + 1.5 * np.eye(n_scenes)[truth]
    scores[:, list(absent)] -= 50  # nor predicted
    return log_softmax(scores, axis=1), truth


@pytest.mark.parametrize("absent", [(), (2, 5)])
def test_agrees_with_scikit_learn(absent):
    log_posterior, truth = answers(0, absent=absent)
    predicted, labels = log_posterior.argmax(axis=1), np.arange(7)
    macro: dict[str, Any] = {"labels": labels, "average": "macro", "zero_division": 0}
    result = evaluate(log_posterior, truth, 7)
    assert result.n == 300
    assert result.accuracy == pytest.approx(reference.accuracy_score(truth, predicted), abs=1e-12)
    assert result.macro_f1 == pytest.approx(reference.f1_score(truth, predicted, **macro), abs=1e-12)
    assert result.macro_precision == pytest.approx(reference.precision_score(truth, predicted, **macro), abs=1e-12)
    assert result.log_loss == pytest.approx(reference.log_loss(truth, np.exp(log_posterior), labels=labels), abs=1e-10)
    np.testing.assert_array_equal(result.confusion, reference.confusion_matrix(truth, predicted, labels=labels))


def test_calibration_error_by_a_plain_loop():
    log_posterior, truth = answers(1)
    top, right = np.exp(log_posterior).max(axis=1), log_posterior.argmax(axis=1) == truth
    expected = 0.0
    for i in range(15):
        inside = (top > i / 15) & (top <= (i + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(top[inside].mean() - right[inside].mean())
    assert expected > 0.02
    assert expected_calibration_error(log_posterior, truth) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_of_known_posteriors():
    nine_of_ten = np.tile(np.log([0.9, 0.1]), (10, 1))
    truth = np.array([0] * 9 + [1])
    assert expected_calibration_error(nine_of_ten, truth) == pytest.approx(0, abs=1e-12)
    assert expected_calibration_error(nine_of_ten, np.zeros(10, np.int64)) == pytest.approx(0.1)
    with np.errstate(divide="ignore"):
        certain_and_wrong = np.log([[1.0, 0.0]])
    assert expected_calibration_error(certain_and_wrong, np.array([1])) == 1.0


def test_calibration_gaps_of_neighbouring_bins_do_not_cancel():
    log_posterior = np.log([[0.95, 0.05], [0.92, 0.08]])  # the last bin but one ends at 14/15 = 0.933
    assert expected_calibration_error(log_posterior, np.array([1, 0])) == pytest.approx((0.95 + 0.08) / 2)
    same = np.log([[0.95, 0.05], [0.94, 0.06]])
    assert expected_calibration_error(same, np.array([1, 0])) == pytest.approx((0.95 - 0.06) / 2)


def test_a_scene_neither_true_nor_predicted_counts_as_zero():
    log_posterior = np.log([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    truth = np.array([0, 1])
    assert accuracy(log_posterior, truth) == 1
    assert macro_f1(log_posterior, truth) == pytest.approx(2 / 3)
    assert macro_precision(log_posterior, truth) == pytest.approx(2 / 3)


def test_precision_is_of_the_predicted_and_confusion_is_true_by_predicted():
    log_posterior = np.log([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])
    truth = np.array([0, 1, 1, 1])
    np.testing.assert_array_equal(confusion(log_posterior, truth), [[1, 0], [2, 1]])
    assert macro_precision(log_posterior, truth) == pytest.approx((1 / 3 + 1) / 2)
    assert macro_f1(log_posterior, truth) == pytest.approx((2 / 4 + 2 / 4) / 2)


def test_a_certain_error_costs_a_finite_price():
    with np.errstate(divide="ignore"):
        log_posterior = np.log([[1.0, 0.0], [0.5, 0.5]])
    assert log_loss(log_posterior, np.array([1, 0])) == pytest.approx((15 * np.log(10) + np.log(2)) / 2)


def test_equal_probabilities_predict_the_first_scene():
    assert accuracy(np.log(np.full((4, 4), 0.25)), np.array([0, 1, 2, 3])) == 0.25


def test_float32_posteriors_are_accepted():
    log_posterior, truth = answers(2)
    single = evaluate(log_posterior.astype(np.float32), truth, 7)
    assert single.log_loss == pytest.approx(evaluate(log_posterior, truth, 7).log_loss, abs=1e-6)


FAIR = np.log(np.full((2, 3), 1 / 3))


@pytest.mark.parametrize(
    ("log_posterior", "truth", "message"),
    [
        (np.zeros((0, 3)), np.zeros(0, np.int64), r"nothing to score: 0 predictions; is the test part empty\?"),
        (FAIR[:, :2], np.array([0, 1]), r"log posterior has 2 scenes, expected 3: made by another model\?"),
        (FAIR, np.array([0, 3]), "truth holds scenes 0 to 3, allowed are 0 to 2"),
        (FAIR, np.array([-1, 0]), "truth holds scenes -1 to 0, allowed are 0 to 2"),
        (
            np.exp(FAIR),
            np.array([0, 1]),
            r"row 0 of the log posterior has logsumexp 1.43 off 0, allowed is 1e-4: are these prob",
        ),
        (np.vstack([FAIR, FAIR * np.nan]), np.array([0, 1, 0, 0]), "row 2 of the log posterior has logsumexp nan off 0"),
        (np.full((1, 3), -np.inf), np.array([0]), "row 0 of the log posterior has logsumexp inf off 0"),
    ],
)
def test_what_cannot_be_scored_is_refused(log_posterior, truth, message):
    with pytest.raises(ValueError, match=message):
        validate(log_posterior, truth, 3)
    with pytest.raises(ValueError, match=message):
        evaluate(log_posterior, truth, 3)
