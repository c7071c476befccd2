"""Results of an experiment that never ran: predictions drawn so that systems differ by given strengths."""

from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax

from soundscene.experiment.results import HeadPosteriors, SplitResult
from soundscene.report.entries import Fusion
from soundscene.scoring.fusion import fit_temperature, product_by_recording, temper

TITLES = {
    "att-crnn-mel": "Att-CRNN (log-mel)",
    "att-crnn-gammatone": "Att-CRNN (log-gammatone)",
    "cnn-mel": "CNN (log-mel)",
    "cnn-gammatone": "CNN (log-gammatone)",
    "hog": "HOG + SVM",
    "mfcc-dnn": "MFCC + DNN",
    "att-crnn-mel-unmixed": "Att-CRNN (log-mel), no mixing",
}
HEADS = {"hog": ("svm",), "mfcc-dnn": ("softmax",)}
BASES = {"att-crnn-mel-unmixed": "att-crnn-mel"}
FUSIONS = {
    "att-crnn-fusion": Fusion("att-crnn-fusion", "Att-CRNN (fusion)", ("att-crnn-mel", "att-crnn-gammatone")),
    "cnn-fusion": Fusion("cnn-fusion", "CNN (fusion)", ("cnn-mel", "cnn-gammatone")),
    "all-fusion": Fusion("all-fusion", "all networks", ("att-crnn-mel", "att-crnn-gammatone", "cnn-mel", "cnn-gammatone")),
}
STRENGTH = {"att-crnn": 2.4, "cnn": 1.8, "hog": 1.2, "mfcc": 0.9}


def made_results(
    systems: Sequence[str] = tuple(TITLES),
    splits: Sequence[str] = ("1", "2", "3"),
    seeds: Sequence[int] = (0,),
    scenes: Sequence[str] = ("beach", "park", "train"),
    groups_per_split: int = 6,
    recordings_per_group: int = 2,
    segments: int = 5,
    epochs: int = 4,
    held: int = 6,
    repeated: bool = False,
) -> list[SplitResult]:
    """One result for each system, split and seed.

    Each group is of one scene; groups are hard or easy for all systems alike. `repeated`: every split tests the same groups,
    as random splits of one corpus may; else every split has groups of its own. hog and mfcc-dnn have one head, hog
    neither segments nor embedding nor epochs; held = 0 makes results without a temperature.
    """
    return [
        _result(system, split, seed, scenes, (groups_per_split, recordings_per_group, segments), epochs, held, repeated)
        for system in systems
        for split in splits
        for seed in seeds
    ]


def _result(
    system: str,
    split: str,
    seed: int,
    scenes: Sequence[str],
    sizes: tuple[int, int, int],
    epochs: int,
    held: int,
    repeated: bool,
) -> SplitResult:
    n_groups, per_group, segments = sizes
    part = "all" if repeated else split
    n = n_groups * per_group
    group_of = np.arange(n) // per_group
    truth = group_of % len(scenes)
    world = np.random.default_rng([7, *part.encode()])
    hard = world.normal(0, 1.0, (n_groups, len(scenes)))[group_of]
    generator = np.random.default_rng([seed, *system.encode(), *split.encode()])
    strength = next(value for key, value in STRENGTH.items() if system.startswith(key))
    whole = system == "hog"
    recording_of = np.arange(n) if whole else np.repeat(np.arange(n), segments)  # whole: its one piece, which does not vote
    start_s = np.zeros(n) if whole else np.tile(np.arange(segments) * 2.0, n)
    held_truth = np.arange(held) % len(scenes)
    embedding = np.zeros((n, 0), np.float32)
    if not whole:
        centres = np.random.default_rng(3).normal(0, strength, (len(scenes), 8))
        embedding = (centres[truth[recording_of]] + generator.normal(size=(n * segments, 8))).astype(np.float32)
    heads = {}
    for head in HEADS.get(system, ("softmax", "svm")):
        scores = strength * np.eye(len(scenes))[truth] + 0.7 * hard
        segment = np.zeros((0, len(scenes)), np.float32)
        if whole:
            recording = log_softmax(2 * scores + generator.normal(size=scores.shape), axis=1)
        else:
            noise = generator.normal(size=(n * segments, len(scenes)))
            segment = log_softmax(scores[recording_of] + noise, axis=1).astype(np.float32)
            recording = product_by_recording(segment, recording_of, n)
        held_scores = 2 * strength * np.eye(len(scenes))[held_truth] + 2 * generator.normal(size=(held, len(scenes)))
        held_posterior = log_softmax(held_scores, axis=1)
        calibrated = temper(recording, fit_temperature(held_posterior, held_truth)) if held else recording
        heads[head] = HeadPosteriors(segment, recording, calibrated, held_posterior)
    history = [
        {
            "epoch": float(e),
            "loss": 1.0 / e,
            "test_accuracy": min(1.0, strength / 4 + e / (3 * epochs)),
            "test_log_loss": 1.0 / e,
        }
        for e in range(1, epochs + 1)
    ]
    return SplitResult(
        system=system,
        title=TITLES[system],
        split=split,
        seed=seed,
        choices={},
        scenes=tuple(scenes),
        recordings=tuple(f"{part}/{scenes[s]}{i:03d}.wav" for i, s in enumerate(truth.tolist())),
        groups=tuple(f"{part}-place{g}" for g in group_of),
        truth=truth.astype(np.int64),
        duration_s=np.full(n, 2.0 * segments),
        recording_of=recording_of.astype(np.int64),
        start_s=start_s,
        heads=heads,
        held_recordings=tuple(f"{part}/held{i}.wav" for i in range(held)),
        held_truth=held_truth.astype(np.int64),
        embedding=embedding,
        epoch=0 if whole else epochs,
        history=[] if system == "hog" else history,
        facts={"seconds": 10.0 + len(system), "threads": 1, "machine": "made", "device": "cpu"},
    )
