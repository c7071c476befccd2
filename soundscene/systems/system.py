"""What an experiment compares: a system names the representation it reads, fits, and answers; two functions, no class tree.

Nothing that runs an experiment may know which system it runs, so everything that differs between them is behind `System`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64
from lightning_fabric import Fabric

from soundscene.data.corpus import Corpus
from soundscene.data.store import Representation
from soundscene.types import Recording


@dataclass(frozen=True)
class SystemPredictions:
    """What a fitted system says of a corpus, by one head.

    segment [segment, scene] and recording_of [segment], of voting segments only; recording [recording, scene], the
    product rule over them; calibrated [recording, scene], the same tempered. All natural logs. A system that hears a
    recording as a whole gives no segments ([0, scene]).
    """

    segment: Float64[np.ndarray, "segment scene"]
    recording_of: Int64[np.ndarray, " segment"]
    recording: Float64[np.ndarray, "recording scene"]
    calibrated: Float64[np.ndarray, "recording scene"]


PredictFunction = Callable[[Corpus], Mapping[str, SystemPredictions]]
"""Predictions for a corpus, by name of the head ("softmax", "svm")."""

Observer = Callable[[dict[str, float], PredictFunction], None]
"""Called after each epoch with its row of the history and the system as it stands; returns nothing, so that nothing can be
selected by it."""


@dataclass(frozen=True)
class FitContext:
    """What a fit is lent by whoever runs it.

    seed: of everything random; fabric: device, precision and processes; checkpoint: a file from which a killed fit goes on;
    observer: see `Observer`. A system without epochs uses the seed only.
    """

    seed: int
    fabric: Fabric | None = None
    checkpoint: Path | None = None
    observer: Observer | None = None


@dataclass(frozen=True)
class Fitted:
    """A system after training.

    predict: its second function; epoch: the one its weights are of (0 without epochs); history: a row an epoch; embed: what
    its last layer reads of each voting segment of a corpus, [segment, feature], if it has such; held: recordings set aside
    from the fit to temper by; notes: compromises the fit had to make; save: writes the model to a file, if it can.
    """

    predict: PredictFunction
    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    embed: Callable[[Corpus], Float32[np.ndarray, "segment feature"]] | None = None
    held: tuple[Recording, ...] = ()
    notes: tuple[str, ...] = ()
    save: Callable[[Path], None] | None = None


@dataclass(frozen=True)
class System:
    """A name for files, a title for tables, what it reads, its facts (recipe), and how it is fitted to a training part."""

    name: str
    title: str
    representation: Representation
    choices: Mapping[str, Any]
    fit: Callable[[Corpus, FitContext], Fitted]
