"""A result is a whole file or a message in one line."""

from dataclasses import fields, replace

import numpy as np
import pytest

from soundscene.errors import TrainingError
from soundscene.experiment.local import summary
from soundscene.experiment.results import ARRAYS, PLAIN, POSTERIORS, HeadPosteriors, SplitResult


def made() -> SplitResult:
    draws = np.random.default_rng(0)

    def logs(n: int) -> np.ndarray:
        return np.log(draws.dirichlet(np.ones(3), n))

    said = {head: HeadPosteriors(logs(5).astype(np.float32), logs(2), logs(2), logs(1)) for head in ("softmax", "svm")}
    return SplitResult(
        system="att-crnn-mel",
        title="Att-CRNN (log-mel)",
        split="fold=1",
        seed=3,
        choices={"training": {"epochs": 2}},
        scenes=("bus", "café", "sea"),
        recordings=("a b.wav", "ü.wav"),
        groups=("g", "h"),
        truth=np.array([2, 0]),
        duration_s=np.array([6.0, 4.0]),
        recording_of=np.array([0, 0, 0, 1, 1]),
        start_s=np.array([0.0, 2.0, 4.0, 0.0, 2.0]),
        heads=said,
        held_recordings=("c.wav",),
        held_truth=np.array([1]),
        embedding=draws.normal(size=(5, 4)).astype(np.float32),
        epoch=2,
        history=[{"epoch": 1.0, "loss": 0.5}, {"epoch": 2.0, "loss": 0.25}],
        notes=("a note",),
        facts={"seconds": 1.5, "versions": {"torch": "2"}},
    )


def test_what_is_written_is_read() -> None:
    one = made()
    back = SplitResult.from_bytes(one.to_bytes(), "name")
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(back, name), getattr(one, name))
        assert getattr(back, name).dtype == getattr(one, name).dtype
    for head in ("softmax", "svm"):
        for name in POSTERIORS:
            np.testing.assert_array_equal(getattr(back.heads[head], name), getattr(one.heads[head], name))
    for name in PLAIN:
        assert getattr(back, name) == getattr(one, name), name
    assert {f.name for f in fields(SplitResult)} == {*ARRAYS, *PLAIN, "heads"}


def test_a_system_without_segments_and_without_held_recordings_fits() -> None:
    heads = {"svm": HeadPosteriors(np.zeros((0, 3), np.float32), np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((0, 3)))}
    empty = np.zeros(0, np.int64)
    one = replace(made(), heads=heads, held_recordings=(), held_truth=empty, embedding=np.zeros((5, 0), np.float32))
    back = SplitResult.from_bytes(one.to_bytes(), "name")
    assert back.heads["svm"].segment.shape == (0, 3)
    assert back.embedding.shape == (5, 0)


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign", "newer", "text"])
def test_a_damaged_file_is_one_line(damage: str) -> None:
    whole = made().to_bytes()
    content = {
        "cut": whole[:-100],
        "empty": b"",
        "foreign": whole.replace(b"soundscene result", b"soundscape result"),
        "newer": whole.replace(b'"version":"1"', b'"version":"9"'),
        "text": b"what is this? " * 50,
    }[damage]
    with pytest.raises(
        TrainingError, match=r"^x: not a result of ours, or damaged \(.*\); delete it and rerun the same"
    ) as caught:
        SplitResult.from_bytes(content, "x")
    assert "\n" not in str(caught.value)


def test_the_summary_is_the_accuracy_of_recordings_by_head() -> None:
    right, half = np.log([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]]), np.log([[0.1, 0.2, 0.7], [0.3, 0.6, 0.1]])
    heads = {name: replace(made().heads["svm"], recording=rows) for name, rows in (("softmax", half), ("svm", right))}
    assert summary(replace(made(), heads=heads)) == {"softmax": 0.5, "svm": 1.0, "seconds": 1.5}
