from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp

from soundscene.errors import TrainingError
from soundscene.report.entries import Fusion, find, make_entries
from soundscene.scoring.fusion import fit_temperature, product_by_recording, temper
from tests.report.made import BASES, FUSIONS, made_results


@pytest.fixture(scope="module")
def entries():
    return make_entries(made_results(seeds=(1, 0)), FUSIONS, BASES)


def chosen(entries, name, head):
    found = find(entries, name, head)
    assert found is not None
    return found


def test_every_system_and_head_and_fusion_in_order(entries):
    assert [(c.name, c.head, c.kind) for c in entries][:4] == [
        ("att-crnn-mel", "softmax", "system"),
        ("att-crnn-mel", "svm", "system"),
        ("att-crnn-gammatone", "softmax", "system"),
        ("att-crnn-gammatone", "svm", "system"),
    ]
    assert [(c.name, c.head) for c in entries if c.name in ("hog", "mfcc-dnn")] == [("hog", "svm"), ("mfcc-dnn", "softmax")]
    assert [(c.name, c.head) for c in entries if c.kind == "fusion"][:2] == [
        ("att-crnn-fusion", "softmax"),
        ("att-crnn-fusion", "svm"),
    ]
    assert {c.name: c.base for c in entries if c.base} == BASES
    assert chosen(entries, "att-crnn-fusion", "svm").label == "Att-CRNN (fusion), svm"
    assert find(entries, "hog", "softmax") is None


def test_parts_by_split_as_first_seen_then_by_seed():
    results = made_results(systems=("hog",), splits=("10", "9", "b"), seeds=(3, 1))
    (hog,) = make_entries(results[::-1], {}, {})
    assert [(p.split, p.seed) for p in hog.parts] == [("b", 1), ("b", 3), ("9", 1), ("9", 3), ("10", 1), ("10", 3)]
    assert (hog.splits, hog.seeds) == (("b", "9", "10"), (1, 3))


def test_a_fusion_is_the_product_of_its_members(entries):
    fused = chosen(entries, "att-crnn-fusion", "svm")
    mel, gammatone = (chosen(entries, f"att-crnn-{f}", "svm") for f in ("mel", "gammatone"))
    for part, one, other in zip(fused.parts, mel.parts, gammatone.parts, strict=True):
        product = np.exp(one.recording) * np.exp(other.recording)
        np.testing.assert_allclose(np.exp(part.recording), product / product.sum(axis=1, keepdims=True), rtol=1e-6)
        np.testing.assert_allclose(
            product_by_recording(part.segment, part.recording_of, len(part.truth)), part.recording, atol=1e-4
        )  # segments are stored in float32
        assert part.epoch == 4
        assert part.history == []


def test_the_temperature_of_a_fusion_is_fitted_on_held_out_recordings_only():
    results = made_results(systems=("att-crnn-mel", "att-crnn-gammatone"), splits=("1",))
    fused = chosen(make_entries(results, FUSIONS, {}), "att-crnn-fusion", "svm").parts[0]
    held = results[0].heads["svm"].held + results[1].heads["svm"].held
    held = held - logsumexp(held, axis=1, keepdims=True)
    expected = temper(fused.recording, fit_temperature(held, results[0].held_truth))
    assert fused.tempered
    np.testing.assert_allclose(fused.calibrated, expected, rtol=1e-6)
    assert not np.allclose(fused.calibrated, fused.recording)
    # Another truth of the test part changes no prediction.
    wrong = [replace(r, truth=(r.truth + 1) % 3) for r in results]
    same = chosen(make_entries(wrong, FUSIONS, {}), "att-crnn-fusion", "svm").parts[0]
    np.testing.assert_array_equal(same.calibrated, fused.calibrated)


def test_no_temperature_where_members_held_other_recordings():
    one, other = made_results(systems=("att-crnn-mel", "att-crnn-gammatone"), splits=("1",))
    other = replace(other, held_recordings=tuple(f"x{path}" for path in other.held_recordings))
    fused = chosen(make_entries([one, other], FUSIONS, {}), "att-crnn-fusion", "svm")
    assert not fused.tempered
    np.testing.assert_array_equal(fused.log_posterior(calibrated=True), fused.log_posterior(calibrated=False))
    nothing = make_entries(made_results(held=0), FUSIONS, {})
    assert not any(c.tempered for c in nothing)


def test_unlike_segments_fuse_by_recording_only():
    one, other = made_results(systems=("att-crnn-mel", "att-crnn-gammatone"), splits=("1",))
    other = replace(other, start_s=other.start_s + 0.5)
    fused = chosen(make_entries([one, other], FUSIONS, {}), "att-crnn-fusion", "softmax")
    assert not fused.has_segments
    assert fused.parts[0].segment.shape == (0, 3)
    assert fused.parts[0].start_s.shape == (0,)


def test_unlike_heads_are_mixed_and_a_shared_head_is_not():
    fusions = {
        "simple": Fusion("simple", "HOG and MFCC", ("hog", "mfcc-dnn")),
        "with": Fusion("with", "Att-CRNN and HOG", ("att-crnn-mel", "hog")),
        "three": Fusion("three", "all", ("att-crnn-mel", "hog", "mfcc-dnn")),
    }
    entries = make_entries(made_results(), fusions, {})
    assert [(c.name, c.head) for c in entries if c.kind == "fusion"] == [
        ("simple", "mixed"),
        ("with", "svm"),
        ("three", "mixed"),
    ]
    members = [chosen(entries, *who) for who in (("att-crnn-mel", "svm"), ("hog", "svm"), ("mfcc-dnn", "softmax"))]
    total = sum(m.log_posterior(calibrated=False) for m in members)
    mixed = chosen(entries, "three", "mixed").log_posterior(calibrated=False)
    np.testing.assert_allclose(mixed, total - np.asarray(logsumexp(total, axis=1, keepdims=True)), atol=1e-9)


def test_only_parts_that_all_members_have_are_fused():
    results = made_results(systems=("att-crnn-mel", "att-crnn-gammatone"), seeds=(0, 1))
    lacking = [r for r in results if (r.system, r.split, r.seed) != ("att-crnn-gammatone", "2", 1)]
    fused = chosen(make_entries(lacking, FUSIONS, {}), "att-crnn-fusion", "svm")
    assert [(p.split, p.seed) for p in fused.parts] == [("1", 0), ("1", 1), ("2", 0), ("3", 0), ("3", 1)]
    assert not [c for c in make_entries(results[:6], FUSIONS, {}) if c.kind == "fusion"]
    apart = [r for r in results if (r.system == "att-crnn-mel") == (r.split == "1")]
    assert not [c for c in make_entries(apart, FUSIONS, {}) if c.kind == "fusion"]


def test_predictions_of_all_parts_one_after_the_other(entries):
    mel = chosen(entries, "att-crnn-mel", "softmax")
    n = sum(len(p.truth) for p in mel.parts)
    assert len(mel.groups()) == len(mel.recordings()) == len(mel.truth()) == len(mel.correct()) == n == 72
    right = mel.log_posterior(calibrated=False).argmax(axis=1) == mel.truth()
    np.testing.assert_array_equal(mel.correct(), right)
    np.testing.assert_array_equal(mel.log_posterior(calibrated=True).argmax(axis=1) == mel.truth(), right)
    assert len(mel.segment_groups()) == len(mel.segment_truth()) == len(mel.segment_correct()) == 360
    np.testing.assert_array_equal(mel.segment_log_posterior().argmax(axis=1) == mel.segment_truth(), mel.segment_correct())
    assert mel.segment_groups()[:10] == [mel.groups()[0]] * 10
    assert len(set(mel.recordings())) == 36  # two seeds of each


def test_a_system_that_reads_whole_recordings_has_no_segments(entries):
    hog = chosen(entries, "hog", "svm")
    assert not hog.has_segments
    assert hog.parts[0].recording_of.shape == (0,)
    assert hog.segment_correct().shape == (0,)


def test_results_that_do_not_belong_together_are_refused():
    one, other = made_results(systems=("att-crnn-mel", "hog"), splits=("1",))
    with pytest.raises(TrainingError, match="no results to report"):
        make_entries([], {}, {})
    with pytest.raises(
        TrainingError, match="hog, split 1, has the scenes beach, park, bus, att-crnn-mel, split 1, beach, park"
    ):
        make_entries([one, replace(other, scenes=("beach", "park", "bus"))], {}, {})
    with pytest.raises(
        TrainingError, match="split 1: hog, seed 0, and att-crnn-mel, seed 0, were tested on other recordings"
    ):
        make_entries([one, replace(other, recordings=other.recordings[::-1])], {}, {})
    with pytest.raises(TrainingError, match="the manifest has changed in between"):
        make_entries([one, replace(other, truth=(other.truth + 1) % 3)], {}, {})
    with pytest.raises(TrainingError, match="hog, split 1, seed 0: two results, one is allowed"):
        make_entries([other, other], {}, {})
