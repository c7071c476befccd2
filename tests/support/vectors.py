"""Corpora of made-up features: no sound, so that a test of a classifier takes milliseconds."""

from pathlib import Path

import numpy as np

from soundscene.data.corpus import Corpus
from soundscene.types import Recording


def corpus_of(features: np.ndarray, labels: list[str], counts: list[int] | None = None, per_group: int = 1) -> Corpus:
    """A corpus of features [segment, ...], with a label for each recording and its number of segments (default one)."""
    counts = counts or [1] * len(labels)
    recordings = tuple(
        Recording(Path(f"{label}/{i}.wav"), label, f"{label} {i // per_group}") for i, label in enumerate(labels)
    )
    recording = np.repeat(np.arange(len(labels)), counts)
    n = len(features)
    assert n == sum(counts)
    return Corpus(
        recordings=recordings,
        features=np.asarray(features, np.float32),
        recording=recording,
        start_s=np.concatenate([np.arange(c, dtype=np.float64) for c in counts]),
        silent=np.zeros(n, np.bool_),
        regular=np.ones(n, np.bool_),
        content_hash=tuple(f"{i:04x}" for i in range(len(labels))),
        duration_s=tuple(float(c) for c in counts),
        notes=((),) * len(labels),
    )


def made_corpus(n_segments: int = 1, n_recordings: int = 30, n_features: int = 8, seed: int = 0) -> Corpus:
    """Three scenes, a, b and c, that differ in the mean of their features."""
    draws = np.random.default_rng(seed)
    labels = ["abc"[i % 3] for i in range(n_recordings)]
    mean = 2 * np.eye(3, n_features)[np.repeat(np.arange(n_recordings) % 3, n_segments)]
    return corpus_of(mean + draws.normal(0, 0.5, mean.shape), labels, [n_segments] * n_recordings)
