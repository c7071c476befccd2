"""What a node reads of a shared corpus is what a machine with the store would load, to the bit, in whatever order."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soundscene.data.corpus import Corpus
from soundscene.data.store import Extract, FeatureStore, Representation
from soundscene.errors import ManifestError
from soundscene.experiment import cluster
from soundscene.experiment.cluster import share, unshare
from soundscene.types import Recording

N = 11
BLOCK = 4


def draw(recording: Recording) -> Extract:
    """One to three segments of normal numbers, which float16 rounds, one in five silent, one in five irregular."""
    number = int(recording.path.stem)
    draws = np.random.default_rng(number)
    n = 1 + number % 3
    return Extract(
        draws.normal(size=(n, 2, 3)).astype(np.float32),
        np.arange(n) * 2.0,
        draws.random(n) < 0.2,
        draws.random(n) < 0.8,
        f"hash {number}",
        2.5 * n,
        (f"note {number}",) * (number % 2),
    )


class ObjectStore:
    """An object store that counts what is taken out of it."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.fetched: list[int] = []

    def put(self, value: Any) -> int:
        self.values.append(value)
        return len(self.values) - 1

    def fetch(self, ref: int) -> Any:
        self.fetched.append(ref)
        return self.values[ref]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureStore, list[Recording]]:
    folder = tmp_path_factory.mktemp("sound")
    recordings = []
    for i in range(N):
        (folder / f"{i}.wav").write_text(str(i))
        recordings.append(Recording(folder / f"{i}.wav", "scene", f"g{i}"))
    store = FeatureStore(folder / "store", Representation("numbers", "numbers 1", draw))
    assert store.build(recordings) == {}
    return store, recordings


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "BLOCK", BLOCK)


def assert_same(one: Corpus, other: Corpus) -> None:
    for field in fields(Corpus):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype, field.name
            np.testing.assert_array_equal(a, b, err_msg=field.name)
        else:
            assert a == b, field.name


@settings(max_examples=40, deadline=None)
@given(chosen=st.lists(st.integers(0, N - 1), min_size=1, unique=True))
def test_unshared_equals_shared_from_the_store(stored: tuple[FeatureStore, list[Recording]], chosen: Sequence[int]) -> None:
    store, recordings = stored
    objects = ObjectStore()
    shared = share(store, recordings, objects.put)
    wanted = [recordings[i] for i in chosen]
    assert_same(unshare(shared, wanted, objects.fetch), store.load(wanted))


def test_blocks_travel_once_as_float16_and_only_those_that_are_needed(
    stored: tuple[FeatureStore, list[Recording]],
) -> None:
    store, recordings = stored
    objects = ObjectStore()
    shared = share(store, recordings, objects.put)
    assert len(shared.blocks) == 3  # of 4, 4 and 3 recordings
    assert [objects.values[ref].dtype for ref in shared.blocks] == [np.float16] * 3
    assert sum(len(objects.values[ref]) for ref in shared.blocks) == sum(1 + i % 3 for i in range(N))
    unshare(shared, [recordings[9], recordings[0]], objects.fetch)
    assert objects.fetched == [shared.rest, shared.blocks[0], shared.blocks[2]]


def test_recording_that_the_store_lacks_is_named(stored: tuple[FeatureStore, list[Recording]], tmp_path: Path) -> None:
    store, recordings = stored
    (tmp_path / "77.wav").write_text("new")
    with pytest.raises(ManifestError, match=r"77\.wav: not in the store"):
        share(store, [*recordings, Recording(tmp_path / "77.wav", "scene", "g")], ObjectStore().put)
