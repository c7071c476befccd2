"""Averages over the recordings of a manifest, a scene at a time, as running sums: a corpus of any size fits."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Float64

from soundscene.audio.files import AudioFile
from soundscene.bundle import Head, ModelBundle
from soundscene.data.corpus import recordings_of, refuse_broken
from soundscene.errors import AudioError, ManifestError
from soundscene.explanation.attention import attention, has_attention
from soundscene.explanation.attribution import attribute
from soundscene.explanation.reading import segments
from soundscene.types import Images, Recording

ATTRIBUTED = 4  # segments of each recording, drawn at random: an integral costs far more than an answer


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (over segments) of arrays of one shape; n: segments."""

    n: int
    mean: Float64[np.ndarray, "..."]
    deviation: Float64[np.ndarray, "..."]


@dataclass(frozen=True)
class SceneMeans:
    """What a model listened to in the recordings of one scene, over their segments that are not digital silence.

    recordings; segments; temporal [frame], spatial [recurrent], both as multiples of uniform attention; listened: effective
    number of frames, exp(entropy of temporal attention) / frames, 1 for uniform; all three None for a network without
    attention. by_band [channel, band]: nats of this scene's log posterior brought by each band of a segment; error: largest
    gap of completeness of one attribution, nats; gained [one]: nats brought by all of the image.
    """

    scene: str
    recordings: int
    segments: int
    temporal: Spread | None
    spatial: Spread | None
    listened: Spread | None
    by_band: Spread
    gained: Spread
    error: float


class _Sums:
    """Running mean and deviation by the sums of squares about the mean (Chan, Golub and LeVeque 1979)."""

    def __init__(self) -> None:
        self.n = 0
        self._mean = np.zeros(())
        self._square = np.zeros(())

    def add(self, values: Float[np.ndarray, "segment ..."]) -> None:
        if not len(values):
            return
        values = values.astype(np.float64)
        mean = values.mean(axis=0)
        apart, n = mean - self._mean, self.n + len(values)
        self._square = self._square + ((values - mean) ** 2).sum(axis=0) + apart**2 * (self.n * len(values) / n)
        self._mean = self._mean + apart * (len(values) / n)
        self.n = n

    def spread(self) -> Spread:
        return Spread(self.n, np.asarray(self._mean), np.asarray(np.sqrt(self._square / max(self.n, 1))))


class _SceneSums:
    """The sums of one scene."""

    def __init__(self) -> None:
        self.recordings = 0
        self.segments = 0
        self.temporal, self.spatial, self.listened, self.by_band, self.gained = (_Sums() for _ in range(5))
        self.error = 0.0

    def means(self, scene: str) -> SceneMeans:
        """None for attention where none was added."""
        temporal, spatial, listened = (s.spread() if s.n else None for s in (self.temporal, self.spatial, self.listened))
        found = self.by_band.spread(), self.gained.spread(), self.error
        return SceneMeans(scene, self.recordings, self.segments, temporal, spatial, listened, *found)


def average(
    bundle: ModelBundle,
    manifest: Path,
    *,
    test: str | None = None,
    head: Head | None = None,
    most: int = ATTRIBUTED,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[SceneMeans, ...]:
    """What a model listened to in each scene of the rows that `test` ("fold=1") names, or of all rows.

    head: by default the recipe's; most: segments of each recording that are attributed, drawn with a fixed seed; progress:
    called with (recordings done, recordings in all). The scene is the manifest's, not the model's answer. Scenes are in the
    model's order; one whose every segment is digital silence is left out.

    Raises: `ManifestError` for a scene that the model does not know, or that names every recording which could not be read.
    """
    recordings = recordings_of(manifest, test, bundle.scenes)
    head = head or bundle.recipe.calibration.head
    sums = {scene: _SceneSums() for scene in bundle.scenes}
    broken: list[str] = []
    for done, recording in enumerate(recordings, 1):
        try:
            _add(bundle, recording, head, most, sums[recording.scene], only_read=bool(broken))
        except AudioError as error:
            broken.append(f"line {recording.line}: {error}")
        if progress:
            progress(done, len(recordings))
    refuse_broken(broken, len(recordings))
    found = tuple(s.means(scene) for scene, s in sums.items() if s.segments)
    if not found:
        raise ManifestError("there is nothing to explain: every segment of every recording is digital silence")
    return found


def _add(bundle: ModelBundle, recording: Recording, head: Head, most: int, sums: _SceneSums, only_read: bool) -> None:
    """One recording into the sums of its scene; once another is broken, this one is only read to see whether it is too."""
    blocks = AudioFile(recording.path, bundle.recipe.audio).blocks()
    if only_read:
        for _ in blocks:
            pass
        return
    draws = np.random.default_rng(0)
    chosen: list[Float32[np.ndarray, "2 band frame"]] = []
    n = 0
    for piece in segments(bundle, blocks):
        images = piece.images[~piece.silent]
        _add_attention(bundle, images, sums)
        for image in images:  # a sample without knowing how many will come (Vitter 1985, algorithm R)
            n += 1
            if len(chosen) < most:
                chosen.append(image.copy())
            elif (place := int(draws.integers(n))) < most:
                chosen[place] = image.copy()
    sums.recordings += 1
    sums.segments += n
    if chosen:
        found = attribute(bundle, np.stack(chosen), bundle.scenes.index(recording.scene), head)
        sums.by_band.add(found.values.sum(axis=3, dtype=np.float64))
        sums.gained.add(found.gained)
        sums.error = max(sums.error, float(np.abs(found.error).max()))


def _add_attention(bundle: ModelBundle, images: Images, sums: _SceneSums) -> None:
    if not (has_attention(bundle) and len(images)):
        return
    spatial, temporal = (vectors.astype(np.float64) for vectors in attention(bundle, images))
    sums.spatial.add(spatial * spatial.shape[1])
    sums.temporal.add(temporal * temporal.shape[1])
    sums.listened.add(effective(temporal))


def effective(weights: Float[np.ndarray, "segment frame"]) -> Float64[np.ndarray, " segment"]:
    """Effective share of the frames: exp(entropy) / frames; 1 for uniform weights, 1 / frames for all on one."""
    w = weights.astype(np.float64)
    return np.exp(-(w * np.log(np.maximum(w, 1e-300))).sum(axis=1)) / w.shape[1]
