"""Averages over the recordings of a manifest, by scene, as running sums: memory does not grow with the corpus."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Float64

from soundscene.audio.files import AudioFile
from soundscene.data.corpus import recordings_of, refuse_unreadable
from soundscene.data.manifest import Manifest
from soundscene.errors import AudioError, ManifestError
from soundscene.explanation.attention import attention
from soundscene.explanation.attribution import attribute
from soundscene.explanation.members import choose_member
from soundscene.member import BATCH, NetworkMember
from soundscene.model import Model
from soundscene.passes import recording_notes
from soundscene.signal.meter import RangeMeter, metered
from soundscene.signal.streams import segment_batches
from soundscene.types import Head, Images, Recording

ATTRIBUTED = 4  # segments of each recording, drawn at random: an integral costs far more than a prediction


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over `n` segments of arrays of one shape."""

    n: int
    mean: Float64[np.ndarray, "..."]
    deviation: Float64[np.ndarray, "..."]


@dataclass(frozen=True)
class SceneMeans:
    """Attention and attribution in the recordings of one scene, over their segments that are not digital silence.

    Attributes:
        scene: Name.
        recordings: Number of them.
        segments: Number of them.
        temporal: Attention by frame, as a multiple of uniform; None for a network without attention.
        spatial: Attention by recurrent feature, as a multiple of uniform; None for a network without attention.
        effective_share: exp(entropy of temporal attention) / frames, 1 for uniform; None for a network without attention.
        by_band: Nats of this scene's log posterior contributed by each band of a segment, by channel.
        gained: Nats contributed by the whole image.
        error: Largest completeness error of one attribution, nats.
    """

    scene: str
    recordings: int
    segments: int
    temporal: Spread | None
    spatial: Spread | None
    effective_share: Spread | None
    by_band: Spread
    gained: Spread
    error: float


class _Sums:
    """Running mean and deviation by the sums of squares about the mean. Source: Chan, Golub and LeVeque 1979."""

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
        self.temporal, self.spatial, self.effective_share, self.by_band, self.gained = (_Sums() for _ in range(5))
        self.error = 0.0

    def means(self, scene: str) -> SceneMeans:
        """Return the means; None for attention where none was added."""
        sums = (self.temporal, self.spatial, self.effective_share)
        temporal, spatial, effective_share = (s.spread() if s.n else None for s in sums)
        by_band, gained = self.by_band.spread(), self.gained.spread()
        counts = (self.recordings, self.segments)
        return SceneMeans(scene, *counts, temporal, spatial, effective_share, by_band, gained, self.error)


def average(
    model: Model,
    manifest: Path | Manifest,
    *,
    test: str | None = None,
    head: Head | None = None,
    most: int = ATTRIBUTED,
    member: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    notes: list[str] | None = None,
) -> tuple[SceneMeans, ...]:
    """Average attention and attribution over the recordings of each scene.

    The scene is the manifest's, not the predicted one. Scenes are in the model's order. One whose every segment is digital
    silence is left out.

    Args:
        model: The model to explain.
        manifest: The manifest, or its CSV file.
        test: Rows to use, as "fold=1"; by default all.
        head: By default the recipe's.
        most: Segments of each recording that are attributed, drawn with a fixed seed.
        member: Name of the member whose attention and attribution are averaged, as in `choose_member`.
        progress: Called with recordings done and recordings in total.
        notes: Receives what is odd about the recordings, and once which members lack the head.

    Raises:
        ManifestError: A scene that the model does not have, recordings that cannot be read (all are listed), or nothing but
            digital silence.
    """
    choose_member(model, member)  # before anything is read
    recordings = recordings_of(manifest, test, model.scenes)
    head = head or model.head
    sums = {scene: _SceneSums() for scene in model.scenes}
    unreadable: list[str] = []
    for done, recording in enumerate(recordings, 1):
        try:
            odd = _add(model, member, recording, head, most, sums[recording.scene], only_read=bool(unreadable))
            if notes is not None:
                notes.extend(f"line {recording.line}: {recording.path}: {note}" for note in odd)
        except AudioError as error:
            unreadable.append(f"line {recording.line}: {error}")
        if progress:
            progress(done, len(recordings))
    refuse_unreadable(unreadable, len(recordings))
    if notes is not None and (lacking := model.lacking(head)):
        notes.append(lacking)
    means = tuple(s.means(scene) for scene, s in sums.items() if s.segments)
    if not means:
        raise ManifestError("there is nothing to explain: every segment of every recording is digital silence")
    return means


def _add(
    model: Model, member: str | None, recording: Recording, head: Head, most: int, sums: _SceneSums, only_read: bool
) -> tuple[str, ...]:
    """Add one recording to the sums of its scene, and return its notes; with `only_read`, only check that it can be read."""
    file = AudioFile(recording.path, model.audio)
    meter = RangeMeter(model.audio.sample_rate)
    blocks = metered(file.blocks(), meter)
    if only_read:
        for _ in blocks:
            pass
        return ()
    number, drawn = choose_member(model, member)
    draws = np.random.default_rng(0)
    chosen: list[Float32[np.ndarray, "2 band frame"]] = []
    n = 0
    stream = model.build_front_end().stream()
    for batch in segment_batches(stream, blocks, BATCH):
        images = batch.features[number][~batch.silent]
        _add_attention(drawn, images, sums)
        for image in images:  # a sample without knowing how many will come (Vitter 1985, algorithm R)
            n += 1
            if len(chosen) < most:
                chosen.append(image.copy())
            elif (place := int(draws.integers(n))) < most:
                chosen[place] = image.copy()
    sums.recordings += 1
    sums.segments += n
    if chosen:
        attributed = attribute(drawn, np.stack(chosen), model.scenes.index(recording.scene), head)
        sums.by_band.add(attributed.values.sum(axis=3, dtype=np.float64))
        sums.gained.add(attributed.gained)
        sums.error = max(sums.error, float(np.abs(attributed.error).max()))
    return recording_notes(model, meter, file.summary, stream)


def _add_attention(member: NetworkMember, images: Images, sums: _SceneSums) -> None:
    if not (member.has_attention and len(images)):
        return
    spatial, temporal = (vectors.astype(np.float64) for vectors in attention(member, images))
    sums.spatial.add(spatial * spatial.shape[1])
    sums.temporal.add(temporal * temporal.shape[1])
    sums.effective_share.add(effective_share(temporal))


def effective_share(weights: Float[np.ndarray, "segment frame"]) -> Float64[np.ndarray, " segment"]:
    """Return exp(entropy) / frames: 1 for uniform weights, 1 / frames where all weight is on one frame."""
    w = weights.astype(np.float64)
    return np.exp(-(w * np.log(np.maximum(w, 1e-300))).sum(axis=1)) / w.shape[1]
