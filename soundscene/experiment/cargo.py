"""A corpus as a cluster carries it: once, in pieces, to be read by machines that have no store; nothing here knows Ray.

`put` and `fetch` are the object store's: a value for a reference, a reference for the value.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from soundscene.data.corpus import Corpus
from soundscene.data.store import DTYPE, FeatureStore
from soundscene.types import Recording

BLOCK = 64  # recordings in a piece: what driver and nodes hold at a time, beside what they need

Ref = Any  # whatever the object store gives for a value


@dataclass(frozen=True)
class SharedCorpus:
    """A corpus in an object store.

    rest: a `Corpus` without features; blocks: features of BLOCK recordings each, as stored; shape: of a segment's features.
    """

    rest: Ref
    blocks: tuple[Ref, ...]
    shape: tuple[int, ...]


def load(store: FeatureStore, recordings: Sequence[Recording], put: Callable[[Any], Ref]) -> SharedCorpus:
    """Put recordings into an object store, as float16: that is exact, because the store holds no other numbers.

    Raises: `ManifestError` for a recording that is not in the store, or changed since.
    """
    parts: list[Corpus] = []
    blocks: list[Ref] = []
    shape: tuple[int, ...] = ()
    for first in range(0, len(recordings), BLOCK):
        part = store.load(recordings[first : first + BLOCK])
        shape = part.features.shape[1:]
        blocks.append(put(part.features.astype(DTYPE)))
        parts.append(replace(part, features=np.zeros((len(part.features), 0), np.float32)))
    rest = Corpus(
        recordings=tuple(recordings),
        features=np.concatenate([part.features for part in parts]),
        recording=np.concatenate([part.recording + BLOCK * i for i, part in enumerate(parts)]),
        start_s=np.concatenate([part.start_s for part in parts]),
        silent=np.concatenate([part.silent for part in parts]),
        regular=np.concatenate([part.regular for part in parts]),
        content_hash=tuple(value for part in parts for value in part.content_hash),
        duration_s=tuple(value for part in parts for value in part.duration_s),
        notes=tuple(value for part in parts for value in part.notes),
    )
    return SharedCorpus(put(rest), tuple(blocks), shape)


def unload(cargo: SharedCorpus, recordings: Sequence[Recording], fetch: Callable[[Ref], Any]) -> Corpus:
    """Some recordings of a cargo, in their order, as `FeatureStore.load` would give them; one block at a time is fetched."""
    whole: Corpus = fetch(cargo.rest)
    part = whole.take(recordings)
    number = {recording.path: i for i, recording in enumerate(whole.recordings)}
    chosen = np.array([number[recording.path] for recording in recordings], np.int64)
    features = np.empty((len(part.recording), *cargo.shape), np.float32)
    for block in np.unique(chosen // BLOCK):
        values = fetch(cargo.blocks[block])
        recording_of = whole.recording[whole.recording // BLOCK == block]
        for place in np.flatnonzero(chosen // BLOCK == block):
            features[part.recording == place] = values[recording_of == chosen[place]]
    return replace(part, features=features)
