"""Splits of an experiment: what every design keeps to, whatever the corpus, and what it refuses."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soundscene.data.designs import (
    Design,
    by_column,
    by_columns,
    check,
    dealt_folds,
    natural,
    random_splits,
    read_splits,
)
from soundscene.data.manifest import Manifest
from soundscene.data.splits import check_leakage
from soundscene.errors import ManifestError
from soundscene.types import Recording, Split

MANIFEST = Path("m.csv")
PROPERTY = settings(max_examples=80, deadline=None, derandomize=True, database=None)
ROWS = st.lists(st.tuples(st.sampled_from("pqrs"), st.sampled_from("abcdefgh")), min_size=1, max_size=40)


def manifest(rows: list[tuple[str, str]]) -> Manifest:
    """Rows of scene and group."""
    return Manifest(MANIFEST, tuple(Recording(Path(f"{i}.wav"), scene, group) for i, (scene, group) in enumerate(rows)))


def table(column: str, rows: list[tuple[str, str | None]]) -> Manifest:
    """Rows of scene and value of a column (None: the row has no such column), each its own group."""
    columns = [{} if value is None else {column: value} for _, value in rows]
    return Manifest(
        MANIFEST,
        tuple(Recording(Path(f"{i}.wav"), rows[i][0], f"{i}.wav", i + 2, columns=columns[i]) for i in range(len(rows))),
    )


def regular(n_scenes: int, n_groups: int, n_files: int) -> Manifest:
    return manifest([(f"s{s}", f"s{s}g{g}") for s in range(n_scenes) for g in range(n_groups) for _ in range(n_files)])


def parts_of(design: Design) -> list[set[str]]:
    return [{r.path.name for r in split.test} for split in design.splits.values()]


def check_sides(design: Design, corpus: Manifest) -> None:
    """No group on both sides, every recording on one, and nothing tested whose scene training never saw."""
    for split in design.splits.values():
        assert not {r.group for r in split.train} & {r.group for r in split.test}
        assert sorted(r.path.name for r in (*split.train, *split.test)) == sorted(r.path.name for r in corpus.recordings)
        assert {r.scene for r in split.test} <= {r.scene for r in split.train}


# --- a design ---------------------------------------------------------------------------------------------------------


def test_a_design_is_not_reported_as_what_it_is_not() -> None:
    a, b = regular(1, 2, 1).recordings
    once = {"1": Split((a,), (b,)), "2": Split((b,), (a,))}
    twice = {"1": Split((a,), (b,)), "2": Split((a,), (b,))}
    assert Design(once, "once", "by hand").splits == once
    assert Design(twice, "repeated", "by hand").kind == "repeated"
    with pytest.raises(ValueError, match="a recording is tested in two splits"):
        Design(twice, "once", "by hand")
    with pytest.raises(ValueError, match="at least one split"):
        Design({}, "once", "by hand")


def test_numbers_sort_as_people_count() -> None:
    names = ["10", "9", "a10b2", "a9b10", "", "a9b9", "01", "1", "b", "²"]
    assert sorted(names, key=natural) == ["", "01", "1", "9", "10", "a9b9", "a9b10", "a10b2", "b", "²"]


def test_the_guard_names_the_split() -> None:
    a, b, c, d = regular(2, 2, 1).recordings
    design = Design({"fold 1": Split((a, c), (b, d)), "fold 2": Split((b, d), (a, c))}, "once", "by hand")
    check(design, None)
    check(design, {r.path: r.path.name for r in (a, b, c, d)})
    twins = {a.path: "same", d.path: "same"}
    with pytest.raises(ManifestError) as error:
        check(design, twins)
    assert str(error.value) == (
        "fold 1: the same audio appears in both training (0.wav) and test (3.wav); remove one, or give both the same group"
    )
    leaking = Design({"one": design.splits["fold 1"], "two": Split((a, c), (b, replace(d, group=a.group)))}, "repeated", "")
    with pytest.raises(ManifestError, match=r"^two: group 's0g0' appears in both training \(0.wav\) and test \(3.wav"):
        check(leaking, None)


# --- by column --------------------------------------------------------------------------------------------------------


def test_each_value_is_tested_once_in_the_order_people_count() -> None:
    corpus = table("fold", [(scene, str(fold)) for fold in (10, 9, 1, 2) for scene in ("park", "bus")])
    design = by_column(corpus, "fold")
    assert list(design.splits) == ["fold=1", "fold=2", "fold=9", "fold=10"]
    assert parts_of(design) == [{"4.wav", "5.wav"}, {"6.wav", "7.wav"}, {"2.wav", "3.wav"}, {"0.wav", "1.wav"}]
    assert (design.kind, design.text) == ("once", "the manifest's column fold, 4 parts")
    assert design.splits["fold=9"] == corpus.split("fold", "9")
    check_sides(design, corpus)


def test_rows_without_a_value_only_train() -> None:
    corpus = table("part", [("park", "test"), ("bus", "test"), ("park", ""), ("bus", None)])
    design = by_column(corpus, "part")
    assert list(design.splits) == ["part=test"]
    assert parts_of(design) == [{"0.wav", "1.wav"}]
    assert design.text == "the manifest's column part, 1 part; 2 rows without a value only train"
    check_sides(design, corpus)


def test_one_group_can_be_left_out_at_a_time() -> None:
    corpus = manifest([(scene, city) for city in ("paris", "oslo", "bern") for scene in ("park", "bus", "bus")])
    design = by_column(corpus, "group")
    assert list(design.splits) == ["group=bern", "group=oslo", "group=paris"]
    assert [len(part) for part in parts_of(design)] == [3, 3, 3]


def test_a_scene_without_a_value_may_have_only_that() -> None:
    corpus = table("city", [("park", "a"), ("park", "b"), ("bus", ""), ("bus", "")])
    assert parts_of(by_column(corpus, "city")) == [{"0.wav"}, {"1.wav"}]


LONE = "m.csv: all rows of a scene have the same {0}, so testing on it would test a scene without training recordings: {1}"
COLUMNS: list[tuple[str, str, list[tuple[str, str | None]], str]] = [
    ("no such column", "city", [("park", None), ("bus", None)], "m.csv: no column 'city'; there are path, scene, group"),
    (
        "empty",
        "city",
        [("park", ""), ("bus", None)],
        "m.csv: column 'city' is empty in every row; a value makes a row part of a test",
    ),
    (
        "one value",
        "city",
        [("park", "a"), ("bus", "a")],
        "m.csv: testing on city=a leaves no recordings to train on, because every row has this value",
    ),
    (
        "scenes with one value",
        "city",
        [("park", "a"), ("bus", "a"), ("bus", "b"), ("lake", "b")],
        LONE.format("city", "lake (city=b), park (city=a)")
        + "; add rows of it with another city, or leave city empty in these: they then only train",
    ),
    (
        "one value, but also rows without",
        "part",
        [("park", "test"), ("bus", "test"), ("bus", "")],
        LONE.format("part", "park (part=test)")
        + "; add rows of it with another part, or leave part empty in these: they then only train",
    ),
    (
        "the scene itself",
        "scene",
        [("park", None), ("bus", None)],
        LONE.format("scene", "bus (scene=bus), park (scene=park)") + "; add rows of it with another scene",
    ),
    (
        "too many",
        "city",
        [("park", str(i)) for i in range(101)],
        "m.csv: column 'city' has 101 values, each would be a training; allowed are 100: merge "
        "values, or let folds be dealt",
    ),
]


@pytest.mark.parametrize(("column", "rows", "message"), [c[1:] for c in COLUMNS], ids=[c[0] for c in COLUMNS])
def test_columns_that_make_no_splits(column: str, rows: list[tuple[str, str | None]], message: str) -> None:
    with pytest.raises(ManifestError) as error:
        by_column(table(column, rows), column)
    assert str(error.value) == message


def test_a_group_under_two_values_is_refused() -> None:
    corpus = table("city", [("park", "a"), ("park", "b"), ("bus", "a"), ("bus", "b")])
    first, second, *rest = corpus.recordings
    shared = Manifest(MANIFEST, (replace(first, group="g"), replace(second, group="g"), *rest))
    with pytest.raises(ManifestError, match=r"^group 'g' appears in both training \(line 3, 1.wav\) and test \(line 2"):
        by_column(shared, "city")


# --- dealt folds ------------------------------------------------------------------------------------------------------


def test_dealt_folds_test_everything_once() -> None:
    corpus = regular(3, 10, 2)
    design = dealt_folds(corpus, 5, 0)
    assert list(design.splits) == ["fold 1", "fold 2", "fold 3", "fold 4", "fold 5"]
    assert (design.kind, design.text) == ("once", "5 stratified folds by group, dealt with seed 0 (not the data set's own)")
    for split in design.splits.values():
        assert Counter(r.scene for r in split.test) == {"s0": 4, "s1": 4, "s2": 4}
    assert Counter(name for part in parts_of(design) for name in part) == {r.path.name: 1 for r in corpus.recordings}
    assert dealt_folds(corpus, 5, 0) == design
    assert parts_of(dealt_folds(corpus, 5, 1)) != parts_of(design)
    check_sides(design, corpus)


def test_fewer_groups_than_folds_are_in_the_text() -> None:
    corpus = manifest([("park", g) for g in "abcdef"] + [("bus", g) for g in "xyz"])
    design = dealt_folds(corpus, 5, 0)
    assert len(design.splits) == 3
    assert design.text == (
        "3 stratified folds by group, dealt with seed 0 (not the data set's own); "
        "3 folds instead of 5: 'bus' has only 3 groups"
    )


@PROPERTY
@given(rows=ROWS, n_folds=st.integers(2, 6), seed=st.integers(0, 9), shuffle=st.randoms(use_true_random=False))
def test_dealt_folds_of_any_corpus(rows: list[tuple[str, str]], n_folds: int, seed: int, shuffle: Random) -> None:
    corpus = manifest(rows)
    shuffled = list(corpus.recordings)
    shuffle.shuffle(shuffled)
    try:
        design = dealt_folds(corpus, n_folds, seed)
    except ManifestError:
        with pytest.raises(ManifestError):
            dealt_folds(Manifest(MANIFEST, tuple(shuffled)), n_folds, seed)
        return
    check_sides(design, corpus)
    assert Counter(name for part in parts_of(design) for name in part) == {r.path.name: 1 for r in corpus.recordings}
    assert parts_of(dealt_folds(Manifest(MANIFEST, tuple(shuffled)), n_folds, seed)) == parts_of(design)


# --- random splits ----------------------------------------------------------------------------------------------------


def test_random_splits_keep_the_share_in_every_scene() -> None:
    corpus = manifest(
        [("park", f"p{g}") for g in range(10)] + [("bus", f"b{g}") for g in range(3)] + [("lake", "l0"), ("lake", "l1")]
    )
    design = random_splits(corpus, 12, 0.8, 7)
    assert list(design.splits)[:2] == ["split 01", "split 02"]
    assert list(design.splits)[-1] == "split 12"
    for split in design.splits.values():
        # 10 groups: 8 train; 3: 2.4, so 2 train; 2: 1.6, so 2, but one must be tested
        assert Counter(r.scene for r in split.test) == {"park": 2, "bus": 1, "lake": 1}
    assert design.kind == "repeated"
    assert design.text == (
        "12 stratified group splits drawn with seed 7, 80 % of the groups for training (not the data set's own)"
    )
    assert len({frozenset(part) for part in parts_of(design)}) > 6
    check_sides(design, corpus)


def test_a_single_random_split_tests_nothing_twice() -> None:
    assert random_splits(regular(2, 4, 1), 1, 0.5, 0).kind == "once"


def test_every_group_is_drawn_as_often_as_any_other() -> None:
    corpus = regular(1, 5, 1)
    counts = Counter(name for seed in range(20) for part in parts_of(random_splits(corpus, 100, 0.8, seed)) for name in part)
    expected, deviation = 2000 / 5, np.sqrt(2000 * 0.2 * 0.8)
    assert all(abs(n - expected) < 4 * deviation for n in counts.values())
    assert sum(counts.values()) == 2000


def test_seeds_do_not_overlap() -> None:
    """Split 2 of seed 0 is not split 1 of seed 1, as it would be if the streams were numbered by sums."""
    corpus = regular(1, 40, 1)
    parts = [frozenset(part) for seed in range(5) for part in parts_of(random_splits(corpus, 10, 0.5, seed))]
    assert len(set(parts)) == 50


def colourable(corpus: Manifest) -> bool:
    """Whether groups can be put on two sides with every scene on both, by trying all ways."""
    groups = sorted({r.group for r in corpus.recordings})
    edges = [{groups.index(r.group) for r in corpus.recordings if r.scene == scene} for scene in corpus.scenes]
    return any(all(len({side[g] for g in edge}) == 2 for edge in edges) for side in product((0, 1), repeat=len(groups)))


@PROPERTY
@given(
    rows=ROWS,
    n=st.integers(1, 4),
    more=st.integers(0, 4),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**70),
    shuffle=st.randoms(use_true_random=False),
)
def test_random_splits_of_any_corpus(
    rows: list[tuple[str, str]], n: int, more: int, share: float, seed: int, shuffle: Random
) -> None:
    corpus = manifest(rows)
    if not colourable(corpus):
        with pytest.raises(ManifestError, match="in both parts"):
            random_splits(corpus, n, share, seed)
        return
    design = random_splits(corpus, n, share, seed)
    check_sides(design, corpus)
    for split in design.splits.values():
        assert {r.scene for r in split.test} == {r.scene for r in split.train} == set(corpus.scenes)
        check_leakage(split, None)
    shuffled = list(corpus.recordings)
    shuffle.shuffle(shuffled)
    again = random_splits(Manifest(MANIFEST, tuple(shuffled)), n + more, share, seed)
    assert parts_of(again)[:n] == parts_of(design)


def test_a_chain_of_groups_takes_turns() -> None:
    """Each scene is shared by two neighbours, so there are two ways only; one order of drawing seldom finds one."""
    corpus = manifest([(f"s{i}", f"g{j}") for i in range(7) for j in (i, i + 1)])
    ways = [{"g0", "g2", "g4", "g6"}, {"g1", "g3", "g5", "g7"}]
    for seed in range(20):
        (split,) = random_splits(corpus, 1, 0.5, seed).splits.values()
        assert {r.group for r in split.test} in ways


CORPUS = regular(2, 3, 1)
REFUSED: list[tuple[str, Callable[[], Design], str]] = [
    (
        "scenes of one group",
        lambda: random_splits(
            manifest([("park", "a"), ("park", "b"), ("bus", "c"), ("bus", "c"), ("lake", "a")]), 1, 0.8, 0
        ),
        "m.csv: one group holds every recording of bus, lake, and a group cannot be in both parts of a split; add "
        "recordings of another group, or leave the scene out",
    ),
    (
        "a triangle of groups",
        lambda: random_splits(
            manifest([(s, g) for s, two in zip("pqr", ("ab", "bc", "ca"), strict=True) for g in two]), 1, 0.5, 0
        ),
        "m.csv: no split with every scene on both sides was found in 200 draws, because groups hold several scenes; use "
        "smaller groups",
    ),
    (
        "no split",
        lambda: random_splits(CORPUS, 0, 0.8, 0),
        "0 random splits were asked for; allowed are 1 to 100, each is a training",
    ),
    (
        "too many splits",
        lambda: random_splits(CORPUS, 101, 0.8, 0),
        "101 random splits were asked for; allowed are 1 to 100, each is a training",
    ),
    ("all of it", lambda: random_splits(CORPUS, 1, 1.0, 0), "a share of 1 cannot train, allowed is 0 < share < 1"),
    (
        "not a share",
        lambda: random_splits(CORPUS, 1, float("nan"), 0),
        "a share of nan cannot train, allowed is 0 < share < 1",
    ),
    ("a negative seed", lambda: random_splits(CORPUS, 1, 0.8, -1), "a seed of -1 is not allowed; 0 or more is"),
    ("a negative seed of folds", lambda: dealt_folds(CORPUS, 2, -1), "a seed of -1 is not allowed; 0 or more is"),
    (
        "too many folds",
        lambda: dealt_folds(CORPUS, 101, 0),
        "101 folds were asked for; allowed are 2 to 100, each is a training",
    ),
    (
        "one fold",
        lambda: dealt_folds(CORPUS, 1, 0),
        "cross-validation by group needs 2 folds or more, and 2 groups or more of each scene; asked for 1 fold, 's0' has 3 "
        "groups",
    ),
]


@pytest.mark.parametrize(("make", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_what_cannot_be_split(make: Callable[[], Design], message: str) -> None:
    with pytest.raises(ManifestError) as error:
        make()
    assert str(error.value) == message


# --- by columns of train and test -------------------------------------------------------------------------------------


def wide(columns: dict[str, str], scenes: str = "ppbb") -> Manifest:
    """Rows of scenes; of each column a letter a row: t(rain), e (test), - (empty), x (another value)."""
    words = {"t": "train", "e": "test", "-": "", "x": "Train"}
    rows = (
        Recording(Path(f"{i}.wav"), scene, f"{i}.wav", i + 2, {name: words[cells[i]] for name, cells in columns.items()})
        for i, scene in enumerate(scenes)
    )
    return Manifest(MANIFEST, tuple(rows))


def test_each_column_is_a_split_and_empty_cells_are_in_neither_part() -> None:
    corpus = wide({"s1": "tete", "note": "xxxx", "s2": "ette", "s10": "tt-e"}, "ppbp")
    design = by_columns(corpus, ["s2", "s1", "s2"])
    assert list(design.splits) == ["s2", "s1"]
    assert parts_of(design) == [{"0.wav", "3.wav"}, {"1.wav", "3.wav"}]
    assert [r.path.name for r in design.splits["s2"].train] == ["1.wav", "2.wav"]
    assert (design.kind, design.text) == ("repeated", "the manifest's 2 columns of splits, s2, s1")
    (partial,) = by_columns(corpus, ["s10"]).splits.values()
    assert ([r.path.name for r in partial.train], [r.path.name for r in partial.test]) == (["0.wav", "1.wav"], ["3.wav"])
    assert list(by_columns(corpus, ["s?", "s*"]).splits) == ["s1", "s2", "s10"]


def test_columns_that_test_nothing_twice_are_folds() -> None:
    design = by_columns(wide({"a": "tete", "b": "etet"}), ["a", "b"])
    assert design.kind == "once"
    assert by_columns(wide({"a": "tete"}), ["a"]).text == "the manifest's column of splits, a"


WIDE: list[tuple[str, dict[str, str], str, str]] = [
    ("unknown", {"split01": "tete"}, "split1", "no column 'split1'; there are path, scene, group, split01; did you mean "
     "'split01'?"),
    ("no match", {"split01": "tete"}, "fold*", "no column matches 'fold*'; there are path, scene, group, split01"),
    ("no train", {"a": "e--e"}, "a", "column 'a' has no row with the value train"),
    ("no test", {"a": "t--t"}, "a", "column 'a' has no row with the value test"),
    ("empty", {"a": "----"}, "a", "column 'a' has no row with the value train"),
    ("unseen scene", {"a": "tte-"}, "a", "column 'a' tests scenes without a training recording: b"),
    ("too many", {f"s{i}": "tete" for i in range(101)}, "s*", "101 columns of splits, each is a training; allowed are 100"),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "name", "message"), [w[1:] for w in WIDE], ids=[w[0] for w in WIDE])
def test_columns_that_are_refused(columns: dict[str, str], name: str, message: str) -> None:
    with pytest.raises(ManifestError) as error:
        by_columns(wide(columns), [name])
    assert str(error.value) == f"m.csv: {message}"


def test_another_value_and_a_leaking_group_name_their_rows() -> None:
    with pytest.raises(ManifestError) as error:
        by_columns(wide({"a": "texe"}), ["a"])
    assert str(error.value) == (
        "m.csv, line 4: column 'a' has the value 'Train'; a column of splits holds train, test or nothing"
    )
    corpus = wide({"a": "tete"})
    rows = tuple(replace(r, group="day") if r.path.stem in "03" else r for r in corpus.recordings)
    with pytest.raises(ManifestError, match=r"^a: group 'day' .*line 2, 0.wav.* and .*line 5, 3.wav"):
        by_columns(Manifest(MANIFEST, rows), ["a"])


def test_splits_as_a_user_writes_them() -> None:
    corpus = wide({"s1": "tete", "s2": "etet"})
    assert read_splits(corpus, "columns=s1, s2").splits == by_columns(corpus, ["s1", "s2"]).splits
    assert list(read_splits(corpus, "columns=s*").splits) == ["s1", "s2"]
    folded = table("fold", [(scene, str(fold)) for fold in (1, 2) for scene in ("park", "bus")])
    assert read_splits(folded, None).splits == by_column(folded, "fold").splits
    many = regular(2, 6, 1)
    assert read_splits(many, None).splits == dealt_folds(many, 5, 0).splits
    assert read_splits(many, "folds=3,seed=2").splits == dealt_folds(many, 3, 2).splits
    assert read_splits(many, "random=2,train=0.5,seed=1").splits == random_splits(many, 2, 0.5, 1).splits
    assert read_splits(many, "random=2").splits == random_splits(many, 2, 0.8, 0).splits
    for text in ("columns=", "columns=s1,,s2", "fold=1", "folds=x", "by=fold,seed=1"):
        with pytest.raises(ManifestError) as error:
            read_splits(corpus, text)
        assert str(error.value) == (
            f"splits {text!r}: allowed are by=COLUMN, columns=NAME,NAME, folds=N[,seed=N] and random=N[,train=0.8][,seed=N]"
        )
