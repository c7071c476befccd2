from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from soundscene.report.claims import (
    ATTENTION,
    BY_CNN,
    EARLIER,
    FEATURES,
    HEADS,
    SYSTEMS,
    VARIANTS,
    claims,
    compare,
    share_tested,
)
from soundscene.report.entries import find, make_entries
from soundscene.scoring.comparisons import evidence_repeated
from soundscene.scoring.intervals import sign_flip_test
from tests.report.made import BASES, FUSIONS, TITLES, made_results


@pytest.fixture(scope="module")
def entries():
    return make_entries(made_results(), FUSIONS, BASES)


def named(claim):
    return (claim.first.name, claim.first.head, claim.second.name, claim.second.head)


def test_all_the_claims_of_a_full_run(entries):
    found = claims(entries)
    count = {question: sum(c.question == question for c in found) for question in dict.fromkeys(c.question for c in found)}
    assert count == {ATTENTION: 12, FEATURES: 8, SYSTEMS: 2, HEADS: 4, VARIANTS: 2, EARLIER: 2, BY_CNN: 2}
    assert [named(c) for c in found if c.question == EARLIER] == [
        ("att-crnn-mel", "svm", "hog", "svm"),
        ("att-crnn-mel", "svm", "mfcc-dnn", "softmax"),
    ]
    assert [named(c) for c in found if c.question == VARIANTS] == [
        ("att-crnn-mel", head, "att-crnn-mel-unmixed", head) for head in ("softmax", "svm")
    ]
    assert {named(c)[::2] for c in found if c.question == ATTENTION} == {
        ("att-crnn-mel", "cnn-mel"),
        ("att-crnn-gammatone", "cnn-gammatone"),
        ("att-crnn-fusion", "cnn-fusion"),
    }
    assert {c.measure for c in found if c.question == ATTENTION} == {"recording accuracy", "segment accuracy"}
    assert all(c.first.head == c.second.head for c in found if c.question in (ATTENTION, FEATURES, SYSTEMS, VARIANTS))


@pytest.mark.parametrize("missing", [*TITLES])
def test_what_is_missing_is_not_asked_about(missing):
    entries = make_entries(made_results(systems=[s for s in TITLES if s != missing]), FUSIONS, BASES)
    found = claims(entries)
    assert found
    assert all(missing not in (c.first.name, c.second.name) for c in found)
    assert compare(entries, "once", 0.0, 50)


def test_one_system_alone_leaves_no_question():
    entries = make_entries(made_results(systems=("hog",)), FUSIONS, BASES)
    assert claims(entries) == []
    assert compare(entries, "once", 0.0) == []


def test_one_family_over_the_whole_report(entries):
    found = compare(entries, "once", 0.0, 500)
    np.testing.assert_allclose([c.p_holm for c in found], np.asarray(multipletests([c.p for c in found], method="holm")[1]))
    assert len(found) == 32


def test_once_flips_groups_of_all_splits(entries):
    first, second = (find(entries, name, "softmax") for name in ("att-crnn-mel", "cnn-mel"))
    assert first is not None
    assert second is not None
    row = next(c for c in compare(entries, "once", 0.0) if (c.first, c.measure) == (first.label, "recording accuracy"))
    assert (row.n_splits, row.n_groups) == (3, 18)
    assert row.difference.estimate == pytest.approx(first.correct().mean() - second.correct().mean())
    exact = sign_flip_test(first.correct(), second.correct(), first.groups(), np.random.default_rng(0), 2**18)
    assert row.p == pytest.approx(exact, abs=0.02)


def test_segments_are_compared_by_the_groups_of_their_recordings(entries):
    first, second = (find(entries, name, "svm") for name in ("att-crnn-gammatone", "cnn-gammatone"))
    assert first is not None
    assert second is not None
    row = next(c for c in compare(entries, "once", 0.0, 500) if (c.first, c.measure) == (first.label, "segment accuracy"))
    assert row.n_groups == 18
    assert row.difference.estimate == pytest.approx(first.segment_correct().mean() - second.segment_correct().mean())


def test_repeated_uses_the_differences_of_the_splits():
    results = made_results(("att-crnn-mel", "hog"), ("1", "2", "3", "4", "5"), (0, 1), repeated=True)
    entries = make_entries(results, {}, {})
    first, second = (find(entries, name, "svm") for name in ("att-crnn-mel", "hog"))
    assert first is not None
    assert second is not None
    row = next(c for c in compare(entries, "repeated", 0.25) if (c.first, c.second) == (first.label, second.label))
    by_split = [
        np.mean(
            [a.correct.mean() - b.correct.mean() for a, b in zip(first.parts, second.parts, strict=True) if a.split == s]
        )
        for s in first.splits
    ]
    expected = evidence_repeated(np.array(by_split), 0.25)
    assert row.p == pytest.approx(expected.p)
    assert row.difference.low == pytest.approx(expected.difference.low)
    assert row.n_splits == 5
    assert row.n_groups == 6  # the same places in every split


def test_one_random_split_is_tested_once():
    entries = make_entries(made_results(systems=("att-crnn-mel", "cnn-mel", "hog"), splits=("1",)), {}, {})
    one, other = compare(entries, "repeated", 0.25, 200), compare(entries, "once", 0.0, 200)
    assert [(c.p, c.difference) for c in one] == [(c.p, c.difference) for c in other]
    assert {c.n_splits for c in one} == {1}


def test_seeds_are_averaged_and_need_not_be_the_same():
    results = made_results(systems=("att-crnn-mel", "hog"), seeds=(0, 1, 2))
    uneven = [r for r in results if r.system != "hog" or r.seed == 0]
    entries = make_entries(uneven, {}, {})
    row = next(c for c in compare(entries, "once", 0.0, 100) if "HOG" in c.second)
    first, second = find(entries, "att-crnn-mel", "svm"), find(entries, "hog", "svm")
    assert first is not None
    assert second is not None
    assert row.difference.estimate == pytest.approx(first.correct().mean() - second.correct().mean())
    # A seed that repeats another adds nothing.
    copies = [replace(r, seed=r.seed + 9) for r in uneven]
    again = next(c for c in compare(make_entries([*uneven, *copies], {}, {}), "once", 0.0, 100) if "HOG" in c.second)
    assert again.p == row.p
    assert again.smallest == pytest.approx(row.smallest)
    assert again.difference.low == pytest.approx(row.difference.low)


def test_only_shared_splits_count():
    results = made_results(systems=("att-crnn-mel", "hog"))
    entries = make_entries([r for r in results if r.system != "hog" or r.split != "2"], {}, {})
    row = next(c for c in compare(entries, "once", 0.0, 100) if "HOG" in c.second)
    assert (row.n_splits, row.n_groups) == (2, 12)
    apart = [r for r in results if (r.system == "hog") == (r.split == "2")]
    assert not [c for c in compare(make_entries(apart, {}, {}), "once", 0.0, 100) if "HOG" in c.second]


def test_unlike_segments_are_not_compared():
    one, other = made_results(systems=("att-crnn-mel", "cnn-mel"), splits=("1",))
    found = compare(make_entries([one, replace(other, start_s=other.start_s + 0.5)], {}, {}), "once", 0.0, 100)
    assert {c.measure for c in found} == {"recording accuracy"}
    assert {c.measure for c in compare(make_entries([one, other], {}, {}), "once", 0.0, 100)} == {
        "recording accuracy",
        "segment accuracy",
    }


def test_another_system_does_not_change_the_draws(entries):
    def key(c):
        return (c.question, c.first, c.second, c.measure)

    fewer = make_entries(made_results(systems=("att-crnn-mel", "cnn-mel", "hog")), FUSIONS, BASES)
    all_of_them = {key(c): c for c in compare(entries, "once", 0.0, 300)}
    some = compare(fewer, "once", 0.0, 300)
    assert len(some) == 8
    for c in some:
        assert (c.p, c.difference) == (all_of_them[key(c)].p, all_of_them[key(c)].difference)


def test_how_many_are_tested_for_each_one_trained_on():
    results = made_results(systems=("hog",), splits=("1", "2"))
    facts = [replace(r, facts={"training_recordings": n}) for r, n in zip(results, (48, 24), strict=True)]
    assert share_tested(facts) == pytest.approx((12 / 48 + 12 / 24) / 2)
    assert share_tested([replace(r, facts={}) for r in results]) == 0.0
