import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.calibration import calibration_curve

from soundscene.scoring.curves import AccuracyByDuration, accuracy_by_seconds, epoch_curve, reliability
from soundscene.scoring.fusion import product_by_recording
from soundscene.scoring.metrics import accuracy, expected_calibration_error


def drawn(seed, n, n_scenes=4):
    generator = np.random.default_rng(seed)
    return log_softmax(2 * generator.standard_normal((n, n_scenes)), axis=1), generator.integers(0, n_scenes, n)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_the_bins_give_back_the_calibration_error(seed, n):
    posterior, truth = drawn(seed, n)
    bins = reliability(posterior, truth)
    assert bins.error == pytest.approx(expected_calibration_error(posterior, truth), abs=1e-12)
    assert bins.count.sum() == n
    used = bins.count > 0
    assert np.isnan(bins.accuracy[~used]).all()
    assert np.sum((bins.accuracy * bins.count)[used]) / n == pytest.approx(accuracy(posterior, truth))
    lower = np.arange(15)[used] / 15
    assert (bins.confidence[used] > lower - 1e-12).all()
    assert (bins.confidence[used] <= lower + 1 / 15 + 1e-12).all()


def test_the_bins_are_those_of_scikit_learn():
    posterior, truth = drawn(0, 500)
    shares, confidences = calibration_curve(
        posterior.argmax(axis=1) == truth, np.exp(posterior.max(axis=1)), n_bins=15, strategy="uniform"
    )
    bins = reliability(posterior, truth)
    used = bins.count > 0
    np.testing.assert_allclose(bins.accuracy[used], shares)
    np.testing.assert_allclose(bins.confidence[used], confidences)


def test_bins_by_hand():
    posterior = np.log([[0.9, 0.1], [0.92, 0.08], [0.4, 0.6], [1.0, 0.0 + 1e-300]])
    bins = reliability(posterior, np.array([0, 1, 1, 0]))
    assert bins.count.tolist() == [0] * 8 + [1, 0, 0, 0, 0, 2, 1]  # 0.6 = 9/15 belongs to the bin that it closes
    assert bins.accuracy[[8, 13, 14]].tolist() == [1, 0.5, 1]
    assert bins.confidence[[8, 13, 14]] == pytest.approx([0.6, 0.91, 1.0])


def test_a_recording_that_changes_its_mind():
    """Two recordings of 6 s and one of 3 s (a last piece shifted back); scene 1 is true for all."""
    for_0, for_1, strongly_1 = np.log([0.7, 0.3]), np.log([0.3, 0.7]), np.log([0.05, 0.95])
    posterior = np.stack([for_0, for_1, strongly_1, for_1, for_1, for_0, for_0, strongly_1])
    recording_of = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    start_s = np.array([0.0, 2, 4, 0, 2, 4, 0, 1])
    heard = accuracy_by_seconds(posterior, recording_of, start_s, np.array([1, 1, 1]), 2.0)
    assert heard.seconds.tolist() == [2, 4, 6]
    # After 2 s: 0 wrong, 1 right, 2 wrong. After 4 s: 0 undecided (first named: wrong), 1 right, 2 right. Then all right.
    np.testing.assert_allclose(heard.accuracy, [1 / 3, 2 / 3, 1])
    assert heard.n_new.tolist() == [3, 3, 2]
    assert heard.enough_s == 6


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_hearing_everything_is_the_recording_accuracy(seed):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 9, 12)
    recording_of = np.repeat(np.arange(12), lengths)
    start_s = np.concatenate([2.0 * np.arange(length) for length in lengths])
    posterior, _ = drawn(seed, len(recording_of))
    truth = generator.integers(0, 4, 12)
    whole = accuracy(product_by_recording(posterior, recording_of, 12), truth)
    heard = accuracy_by_seconds(posterior, recording_of, start_s, truth, 2.0)
    assert heard.accuracy[-1] == pytest.approx(whole)
    first = start_s == 0
    assert heard.accuracy[0] == pytest.approx(accuracy(posterior[first], truth))
    assert heard.n_new.tolist() == [(lengths > k).sum() for k in range(lengths.max())]
    order = generator.permutation(len(start_s))
    shuffled = accuracy_by_seconds(posterior[order], recording_of[order], start_s[order], truth, 2.0)
    np.testing.assert_array_equal(shuffled.accuracy, heard.accuracy)


def test_five_seconds_end_at_five_seconds_and_silence_is_waited_out():
    posterior = np.log([[0.2, 0.8]] * 4)
    heard = accuracy_by_seconds(posterior, np.array([0, 0, 0, 1]), np.array([0.0, 2, 3, 2]), np.array([1, 1]), 2.0)
    assert heard.seconds.tolist() == [2, 4, 5]
    assert heard.accuracy.tolist() == [0.5, 1, 1]  # the second recording begins with silence: no vote yet
    assert heard.enough_s == 4


@pytest.mark.parametrize(
    ("accuracy", "enough"),
    [
        ([0.5, 0.6, 0.7], 6),
        ([0.7, 0.7, 0.7], 2),
        ([0.700, 0.704, 0.704], 2),
        ([0.700, 0.705, 0.705], 4),  # half a point is not less than half a point
        ([0.8, 0.7, 0.9], 6),
        ([0.9, 0.7, 0.9], 2),  # what is lost and found again was there before
    ],
)
def test_enough_is_where_less_than_half_a_point_is_to_come(accuracy, enough):
    heard = AccuracyByDuration(np.array([2.0, 4.0, 6.0]), np.array(accuracy), np.array([5, 5, 5]))
    assert heard.enough_s == enough


def test_no_segments_no_curve():
    with pytest.raises(ValueError, match="no segments: a system"):
        accuracy_by_seconds(np.zeros((0, 2)), np.zeros(0, np.int64), np.zeros(0), np.array([0]), 2.0)


def test_epochs_are_averaged_over_the_parts_that_have_them():
    histories = [
        [{"epoch": 1.0, "test_accuracy": 0.2}, {"epoch": 2.0, "test_accuracy": 0.6}],
        [{"epoch": 1.0, "test_accuracy": 0.4}, {"epoch": 2.0}, {"epoch": 3.0, "test_accuracy": 0.9}],
        [],
    ]
    curve = epoch_curve(histories)
    assert curve.epoch.tolist() == [1, 2, 3]
    np.testing.assert_allclose(curve.mean, [0.3, 0.6, 0.9])
    assert curve.low.tolist() == [0.2, 0.6, 0.9]
    assert curve.high.tolist() == [0.4, 0.6, 0.9]
    assert curve.n.tolist() == [2, 1, 1]
    assert epoch_curve(histories, "nothing").epoch.tolist() == []
