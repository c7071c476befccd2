"""Holding out and folding by group."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from soundscene.data.splits import check_leakage, group_folds, hold_out, label_conflicts
from soundscene.errors import ManifestError
from soundscene.types import Recording, Split


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def recordings(rows: list[tuple[str, str]]) -> tuple[Recording, ...]:
    """Rows of scene and group."""
    return tuple(Recording(Path(f"{i}.wav"), scene, group) for i, (scene, group) in enumerate(rows))


def regular(n_scenes: int, n_groups: int, n_files: int) -> tuple[Recording, ...]:
    return recordings([(f"s{s}", f"s{s}g{g}") for s in range(n_scenes) for g in range(n_groups) for _ in range(n_files)])


def test_a_share_of_each_scene_s_groups_is_held() -> None:
    rows = regular(3, 20, 2)
    kept, held, notes = hold_out(rows, 0.15, rng())
    assert notes == ()
    assert Counter(r.scene for r in held) == {"s0": 6, "s1": 6, "s2": 6}  # 3 of 20 groups, two files each
    assert not {r.group for r in kept} & {r.group for r in held}
    assert sorted([*kept, *held], key=rows.index) == list(rows)


def test_holding_out_goes_by_the_generator() -> None:
    rows = regular(3, 20, 2)
    assert hold_out(rows, 0.15, rng(1)) == hold_out(rows, 0.15, rng(1))
    assert hold_out(rows, 0.15, rng(1)) != hold_out(rows, 0.15, rng(2))
    backwards = hold_out(rows[::-1], 0.15, rng(1))[1]  # the order of the rows does not matter
    assert backwards[::-1] == hold_out(rows, 0.15, rng(1))[1]


def test_a_scene_of_one_group_is_kept_and_named() -> None:
    rows = recordings([("park", "a"), ("park", "b"), ("bus", "c"), ("bus", "c")])
    kept, held, notes = hold_out(rows, 0.15, rng())
    assert [r.scene for r in held] == ["park"]
    assert Counter(r.scene for r in kept) == {"park": 1, "bus": 2}
    assert notes == ("scene 'bus': none of its 1 group can be held out",)


def test_a_group_that_is_most_of_a_scene_is_kept() -> None:
    rows = recordings([*[("park", "large")] * 9, ("park", "small")])
    for seed in range(20):
        assert [r.group for r in hold_out(rows, 0.5, rng(seed))[1]] == ["small"]


def test_a_share_of_nothing_holds_nothing() -> None:
    rows = regular(2, 5, 1)
    assert hold_out(rows, 0.0, rng()) == (rows, (), ())


ROWS = st.lists(st.tuples(st.sampled_from("pqrs"), st.sampled_from("abcdefgh")), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(rows=ROWS, share=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_whatever_the_groups_training_keeps_every_scene(rows: list[tuple[str, str]], share: float, seed: int) -> None:
    everything = recordings(rows)
    kept, held, notes = hold_out(everything, share, rng(seed))
    assert {r.scene for r in kept} == {r.scene for r in everything}
    check_leakage(Split(kept, held), None)
    missing = {r.scene for r in everything} - {r.scene for r in held}
    assert len(notes) == len(missing)
    total, out = Counter(r.scene for r in everything), Counter(r.scene for r in held)
    assert all(2 * out[scene] <= total[scene] for scene in total)


def test_folds_are_balanced_by_scene_and_keep_groups_whole() -> None:
    generator = rng(3)
    sizes = [(f"s{s}", f"s{s}g{g}", int(generator.integers(1, 6))) for s in range(4) for g in range(30)]
    scenes, groups = zip(*[(s, g) for s, g, n in sizes for _ in range(n)], strict=True)
    fold, n_folds, notes = group_folds(groups, scenes, 5, rng())
    assert (n_folds, notes) == (5, ())
    table = defaultdict(Counter)
    homes = defaultdict(set)
    for f, s, g in zip(fold, scenes, groups, strict=True):
        table[s][int(f)] += 1
        homes[g].add(int(f))
    assert all(len(home) == 1 for home in homes.values())
    for counts in table.values():  # single recordings fill the gaps that the large groups leave
        assert max(counts.values()) - min(counts.values()) <= 1


def test_folds_go_by_the_generator_and_take_arrays() -> None:
    groups, labels = np.arange(20).astype(str), np.arange(20) % 2
    first, second = group_folds(groups, labels, 5, rng(1))[0], group_folds(groups, labels, 5, rng(1))[0]
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, group_folds(groups, labels, 5, rng(2))[0])
    np.testing.assert_array_equal(np.bincount(first), [4] * 5)


def test_fewer_groups_than_folds_make_fewer_folds() -> None:
    fold, n_folds, notes = group_folds(list("abcdefgghh"), ["park"] * 5 + ["bus"] * 5, 5, rng())
    assert n_folds == 3
    assert set(fold) == {0, 1, 2}
    assert notes == ("3 folds instead of 5: 'bus' has only 3 groups",)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(rows=ROWS, n_folds=st.integers(2, 6))
def test_every_fold_leaves_every_scene_to_train_on_or_says_why_not(rows: list[tuple[str, str]], n_folds: int) -> None:
    scenes, groups = zip(*rows, strict=True)
    try:
        fold, n, _ = group_folds(groups, scenes, n_folds, rng())
    except ManifestError:  # its messages are pinned in test_broken_manifests.py
        return
    assert 2 <= n <= n_folds
    for f in range(n):
        assert {s for s, at in zip(scenes, fold, strict=True) if at != f} == set(scenes)
    assert all(len({int(at) for at, g in zip(fold, groups, strict=True) if g == name}) == 1 for name in set(groups))


def test_one_audio_under_two_scenes_is_named() -> None:
    rows = [Recording(Path(f"{n}.wav"), scene, str(n), line) for line, (n, scene) in enumerate(["ax", "by", "cx", "dx"], 2)]
    assert label_conflicts(rows, ["1", "1", "1", "2"]) == (
        "the same audio has two scenes: 'x' (line 2, a.wav) and 'y' (line 3, b.wav); correct one or remove it",
    )
    many = [Recording(Path(f"{n}.wav"), f"s{n}", str(n)) for n in range(13)]
    notes = label_conflicts(many, ["1"] * 13)
    assert len(notes) == 11
    assert notes[-1] == "2 more recordings have the audio of another scene"
