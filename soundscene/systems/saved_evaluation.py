"""Scores of a saved system on a manifest, as `pipeline.evaluate_on_manifest` gives them of a model of members."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from soundscene.data.corpus import notes_of, recordings_of
from soundscene.data.manifest import Manifest
from soundscene.errors import ManifestError
from soundscene.scoring.evaluation import Evaluation, HeadScores, leakage_note
from soundscene.scoring.metrics import evaluate, no_scores
from soundscene.systems.saved import HASH_DIGITS, SavedSystem


def evaluate_system(
    saved: SavedSystem,
    manifest: Path | Manifest,
    *,
    test: str | None = None,
    workers: int = 2,
    read_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score all heads of a saved system on recordings of a manifest. Recordings of digital silence are left out.

    Args:
        saved: The system.
        manifest: The manifest, or its CSV with a row per recording.
        test: Rows to score, as "fold=1". By default all rows.
        workers: Threads that read sound.
        read_progress: Called after each recording that was read.

    Returns:
        Scores; those of segments have n = 0 for a system that reads recordings as a whole.

    Raises:
        ManifestError: A scene is unknown to the model, recordings cannot be read, or none is left.
    """
    recordings = recordings_of(manifest, test, saved.scenes)
    corpus = saved.read_all(recordings, workers, read_progress)
    audible = [r for i, r in enumerate(corpus.recordings) if corpus.voting[corpus.recording == i].any()]
    if not audible:
        raise ManifestError("there is nothing to score: every segment of every recording is digital silence")
    notes = (*leakage_note(saved.state.facts), *notes_of(corpus, len(audible)), *saved.notes)
    corpus = corpus.take(audible)
    truth = np.array([saved.scenes.index(r.scene) for r in corpus.recordings], dtype=np.int64)
    n = len(saved.scenes)
    scores: dict[str, HeadScores] = {}
    predictions = saved.predict_corpus(corpus)
    for head, found in predictions.items():
        of_segments = evaluate(found.segment, truth[found.recording_of], n) if len(found.segment) else no_scores(n)
        scores[head] = HeadScores(of_segments, evaluate(found.recording, truth, n), evaluate(found.calibrated, truth, n))
    trained_on = set(saved.state.facts.get("trained_on", ()))
    n_trained_on = sum(h[:HASH_DIGITS] in trained_on for h in corpus.content_hash)
    tempered = {head: found.calibrated for head, found in predictions.items()}
    facts = (corpus.recordings, truth, tempered, corpus.native_hz)
    return Evaluation(scores, saved.scenes, len(audible), n_trained_on, notes, *facts)
