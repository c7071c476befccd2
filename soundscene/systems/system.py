"""What an experiment compares: a system names the representation it reads, and is two functions, fit and predict.

Nothing that runs an experiment may know which system it runs, so everything that differs between them is behind `System`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64
from lightning_fabric import Fabric
from torch import Tensor

from soundscene.data.corpus import Corpus
from soundscene.data.store import Representation
from soundscene.signal.streams import FeatureSource
from soundscene.types import Recording


@dataclass(frozen=True)
class SystemPredictions:
    """Log posteriors (natural logarithm) of a corpus by one head of a fitted system.

    Attributes:
        segment: Of voting segments only. A system that reads a recording as a whole has none, [0, scene].
        recording_of: Index of each segment's recording.
        recording: Of recordings, by the product rule over their segments.
        calibrated: Of recordings, the same tempered.
    """

    segment: Float64[np.ndarray, "segment scene"]
    recording_of: Int64[np.ndarray, " segment"]
    recording: Float64[np.ndarray, "recording scene"]
    calibrated: Float64[np.ndarray, "recording scene"]


PredictFunction = Callable[[Corpus], Mapping[str, SystemPredictions]]
"""Predictions for a corpus, by name of the head ("softmax", "svm")."""

Observer = Callable[[dict[str, float], PredictFunction], None]
"""Called after each epoch with its row of the history and the system's predictions so far; returns nothing, so that nothing
can be selected by it."""


@dataclass(frozen=True)
class FitContext:
    """What a fit gets from its caller. A system without epochs uses the seed only.

    Attributes:
        seed: Seed of everything random.
        fabric: Device, precision and processes.
        checkpoint: File from which an interrupted fit resumes.
        observer: Called after each epoch.
    """

    seed: int
    fabric: Fabric | None = None
    checkpoint: Path | None = None
    observer: Observer | None = None


@dataclass(frozen=True)
class SavedState:
    """What a fitted system has learnt, as a file can hold it.

    Attributes:
        scenes: In the order of its posteriors.
        temperature: Of each head, the default head first.
        tensors: By name.
        facts: Plain values: hashes of the training recordings, notes.
    """

    scenes: tuple[str, ...]
    temperature: dict[str, float]
    tensors: Mapping[str, Tensor]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fitted:
    """A system after training.

    Attributes:
        predict: Predicts a corpus.
        epoch: Epoch that its weights are from, 0 without epochs.
        history: One row per epoch.
        embed: Gives the input of its last layer for each voting segment of a corpus, if there is one.
        held: Recordings held out from the fit to choose the temperature by.
        notes: Compromises of the fit.
        save: Writes the model to a file, if it can, with facts of who trained it beside its own.
        earlier: One row per epoch of networks that were trained before the one that `history` is of, and are part of it.
        trained_on: Segments that an epoch runs over, 0 where it does not run over segments. None: all that vote.
    """

    predict: PredictFunction
    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    embed: Callable[[Corpus], Float32[np.ndarray, "segment feature"]] | None = None
    held: tuple[Recording, ...] = ()
    notes: tuple[str, ...] = ()
    save: Callable[[Path, Mapping[str, Any]], None] | None = None
    earlier: list[dict[str, float]] = field(default_factory=list)
    trained_on: int | None = None


@dataclass(frozen=True)
class System:
    """A system that an experiment can fit.

    Attributes:
        name: Name in files.
        title: Title in tables.
        representation: What it reads of each recording.
        choices: All its settings, as plain values.
        fit: Fits it to a training part.
        restore: Makes its predictions of what a file holds, if it can.
        has_segments: Whether it has posteriors of segments, and not of recordings alone.
        source: Makes what computes its features segment by segment, given the seconds from one to the next; None where the
            features of a segment depend on the rest of the recording.
    """

    name: str
    title: str
    representation: Representation
    choices: Mapping[str, Any]
    fit: Callable[[Corpus, FitContext], Fitted]
    restore: Callable[[SavedState], PredictFunction] | None = None
    has_segments: bool = False
    source: Callable[[float | None], FeatureSource] | None = None
