"""Corpora of made-up pieces, for systems whose features need no sound."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from soundscene.data.corpus import Corpus
from soundscene.systems.low_level import LowLevelSettings, describe_stretches
from soundscene.types import Recording


def corpus_of(
    make: Callable[[str, np.random.Generator], np.ndarray],
    scenes: tuple[str, ...] = ("a", "b"),
    n_recordings: int = 6,
    n_pieces: int = 3,
    seed: int = 0,
    name: str = "train",
) -> Corpus:
    """Recordings of each scene, each a group of its own, with pieces of 2 s.

    Args:
        make: Features of a piece of a scene.
        scenes: Their names.
        n_recordings: Of each scene.
        n_pieces: Of each recording.
        seed: Of all pieces.
        name: Start of the recordings' names.
    """
    draws = np.random.default_rng(seed)
    rows = [Recording(Path(f"/{name}/{s}{i}.wav"), s, f"{name} {s}{i}") for s in scenes for i in range(n_recordings)]
    features = np.stack([make(row.scene, draws) for row in rows for _ in range(n_pieces)]).astype(np.float32)
    n = len(features)
    return Corpus(
        recordings=tuple(rows),
        features=features,
        recording=np.repeat(np.arange(len(rows)), n_pieces),
        start_s=np.tile(2.0 * np.arange(n_pieces), len(rows)),
        silent=np.zeros(n, np.bool_),
        regular=np.ones(n, np.bool_),
        content_hash=tuple(str(row.path) for row in rows),
        duration_s=(2.0 * n_pieces,) * len(rows),
        notes=((),) * len(rows),
    )


def low_level_silence() -> np.ndarray:
    """Low-level features [value] of digital silence, as a store keeps them."""
    return describe_stretches(np.zeros((1, 11025), np.float32), 22050, LowLevelSettings())[0].astype(np.float16)


def silenced(corpus: Corpus, places: np.ndarray) -> Corpus:
    """The same with digital silence as recorded; its second channel keeps what it had.

    Args:
        corpus: Low-level features.
        places: [piece, stretch], which are silent.
    """
    features = corpus.features.copy()
    features[places, 0] = low_level_silence()
    return replace(corpus, features=features, silent=corpus.silent | places.all(axis=1))


def accuracy(log_posterior: np.ndarray, corpus: Corpus) -> float:
    """Share of recordings whose most probable scene is right."""
    scenes = sorted({r.scene for r in corpus.recordings})
    return float(
        np.mean([scenes[i] == r.scene for i, r in zip(log_posterior.argmax(axis=1), corpus.recordings, strict=True)])
    )
