"""Compare an exported file with its model: the same sound through PyTorch and through ONNX Runtime, posterior by posterior.

Numbers, not labels: with the gates of a GRU in the wrong order, all of 85 segments kept their scene while log posteriors
moved by 1.8.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from soundscene.audio.files import AudioFile
from soundscene.errors import SceneError
from soundscene.graph_facts import HEADS
from soundscene.render.corpus import render_recording
from soundscene.render.scenes import SCENES
from soundscene.scene_model import SceneModel
from soundscene.scoring.fusion import product, temper
from soundscene.signal.streams import join_segments
from soundscene.threads import one_blas_thread
from soundscene.types import Samples

MOST = 1e-5  # by which a posterior of a float file may differ, that of a segment as well
MOST_UNFAMILIARITY = 1e-3  # by which a segment's score may differ, relative to it where it is above one
MOST_INT8 = 0.05  # by which the posterior of a recording may differ where weights are kept in 8 bits
_RENDERED = 6  # scenes
_SEED = 20


@dataclass(frozen=True)
class Sound:
    """Samples at a model's rate.

    Attributes:
        name: For messages.
        samples: [sample].
    """

    name: str
    samples: Samples


@dataclass(frozen=True)
class Parity:
    """Differences between an exported file and its model.

    Attributes:
        recordings: Sounds compared.
        segments: Segments in them that voted.
        segment: Largest difference of a segment's posterior, of both heads.
        recording: Largest difference of a recording's posterior, of both heads.
        unfamiliarity: Largest difference of a segment's unfamiliarity, relative to it.
        changed: Recordings whose scene differs, of either head.
        worst: Name of the sound with the largest difference of a recording.
    """

    recordings: int
    segments: int
    segment: float
    recording: float
    unfamiliarity: float
    changed: int
    worst: str

    @property
    def largest(self) -> float:
        """The largest difference of a posterior."""
        return max(self.segment, self.recording)


@dataclass(frozen=True)
class Computed:
    """What a model computes of a recording.

    Attributes:
        segments: Posteriors [segment, scene] of both heads.
        recording: Posteriors [scene] of both heads.
        unfamiliarity: [segment].
    """

    segments: dict[str, np.ndarray]
    recording: dict[str, np.ndarray]
    unfamiliarity: np.ndarray


def default_sounds(sample_rate: int, segment_s: float) -> list[Sound]:
    """Return rendered scenes and random sound: noise, noise with digital silence in it, tones over an offset, a click.

    Args:
        sample_rate: Hz.
        segment_s: Length of a segment, in seconds.
    """
    draws = np.random.default_rng(_SEED)
    long_s = min(max(10.0, 3.6 * segment_s), 3600.0)
    scenes = draws.choice(sorted(SCENES), min(_RENDERED, len(SCENES)), replace=False)
    sounds = [Sound(scene, render_recording(scene, long_s, sample_rate, draws)) for scene in scenes.tolist()]
    n = round(3.6 * segment_s * sample_rate)
    noise = draws.normal(0, 0.1, n)
    gaps = noise * (np.arange(n) // max(1, n // 17) % 3 != 1)
    tones = 0.2 + 0.3 * np.sin(np.cumsum(draws.uniform(0, 1.5, n))) + 1e-3 * noise
    click = np.zeros(n)
    click[n // 2] = 0.9
    random = {"white noise": noise, "noise with dropouts": gaps, "a random tone over an offset": tones, "one click": click}
    return [*sounds, *(Sound(name, samples.astype(np.float32)) for name, samples in random.items())]


def recorded_sounds(paths: Sequence[Path], model: SceneModel) -> Iterator[Sound]:
    """Read recordings.

    Args:
        paths: Audio files.
        model: Whose rate they are brought to.

    Raises:
        AudioError: One cannot be used.
    """
    for path in paths:
        yield Sound(str(path), np.concatenate([*AudioFile(path, model.audio).blocks()]))


def computed(model: SceneModel, samples: Samples, cuts: Sequence[int] = ()) -> Computed:
    """Compute a recording.

    Args:
        model: A model, or an exported one.
        samples: [sample].
        cuts: Where the samples are cut into blocks.
    """
    stream = model.build_front_end(model.audio.segment_s).stream()
    found = join_segments([*(stream.push(block) for block in np.split(samples, cuts)), stream.flush()])
    embeddings = model.embed(found.take(~found.silent))
    logs = {head: model.classify(embeddings, head) for head in HEADS}
    unfamiliarity = model.unfamiliarity(embeddings) if model.familiarity else np.zeros(0)
    recording = {head: np.exp(temper(product(rows), model.temperature[head])) for head, rows in logs.items()}
    return Computed({head: np.exp(rows) for head, rows in logs.items()}, recording, unfamiliarity)


def compare(model: SceneModel, graph: SceneModel, sounds: Sequence[Sound]) -> Parity:
    """Compare a stateful graph, in random blocks, with its model.

    Args:
        model: The model.
        graph: The exported one.
        sounds: What both compute.

    Raises:
        SceneError: They find other segments.
    """
    draws = np.random.default_rng(_SEED)

    def by_graph(sound: Sound) -> Computed:
        cuts = np.sort(draws.integers(0, len(sound.samples) + 1, draws.integers(0, 12)))
        return computed(graph, sound.samples, cuts.tolist())

    with one_blas_thread():
        return _parity([(sound.name, computed(model, sound.samples), by_graph(sound)) for sound in sounds])


def compare_whole(model: SceneModel, session: Any, sounds: Sequence[Sound]) -> Parity:
    """Compare a graph of whole recordings with its model.

    Args:
        model: The model.
        session: An InferenceSession with the graph.
        sounds: What both compute.

    Raises:
        SceneError: They find other segments.
    """
    names = [output.name for output in session.get_outputs()]

    def by_graph(sound: Sound) -> Computed:
        values = dict(zip(names, session.run(names, {"samples": sound.samples}), strict=True))
        voting = ~values["silent"]
        return Computed(
            {head: np.exp(values[f"log_posterior_{head}"][voting]) for head in HEADS},
            {head: values[f"posterior_{head}"] for head in HEADS},
            values["unfamiliarity"][voting] if model.familiarity else np.zeros(0),
        )

    with one_blas_thread():
        return _parity([(sound.name, computed(model, sound.samples), by_graph(sound)) for sound in sounds])


def _parity(pairs: Sequence[tuple[str, Computed, Computed]]) -> Parity:
    for name, ours, theirs in pairs:
        n, n_theirs = (len(one.segments["svm"]) for one in (ours, theirs))
        if n != n_theirs:
            raise SceneError(f"the exported graph finds {n_theirs} segments in {name}, the model {n}; please report it")
    by_recording = [_largest(list(ours.recording.values()), list(theirs.recording.values())) for _, ours, theirs in pairs]
    familiar = [
        np.abs(theirs.unfamiliarity - ours.unfamiliarity) / np.maximum(np.abs(ours.unfamiliarity), 1.0)
        for _, ours, theirs in pairs
    ]
    return Parity(
        len(pairs),
        sum(len(ours.segments["svm"]) for _, ours, _ in pairs),
        max(_largest(list(ours.segments.values()), list(theirs.segments.values())) for _, ours, theirs in pairs),
        max(by_recording),
        max(float(one.max(initial=0.0)) for one in familiar),
        sum(
            any(ours.recording[head].argmax() != theirs.recording[head].argmax() for head in HEADS)
            for _, ours, theirs in pairs
        ),
        pairs[int(np.argmax(by_recording))][0],
    )


def _largest(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    return max(float(np.abs(b - a).max(initial=0.0)) for a, b in zip(ours, theirs, strict=True))
