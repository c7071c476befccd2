"""Everything that the picture of one recording shows, as numbers."""

import difflib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64

from soundscene.audio.files import AudioFile
from soundscene.bundle import Head, ModelBundle
from soundscene.errors import AudioError, BundleError
from soundscene.explanation.attention import attention, has_attention
from soundscene.explanation.attribution import Attribution, attribute
from soundscene.explanation.reading import segments
from soundscene.scoring.fusion import temper
from soundscene.types import Images, Samples, SegmentImages

SEGMENTS = 15  # drawn unless more are asked for: 30 s


@dataclass(frozen=True)
class PlottedSegment:
    """The segments of a recording that are drawn, one after another.

    first: number of the first of them in the recording; samples [sample] of the sound from samples_from_s on; images;
    spatial [segment, recurrent] and temporal [segment, frame] attention, None for a network without; attribution of the
    chosen scene's log posterior.
    """

    first: int
    samples: Samples
    samples_from_s: float
    images: Images
    spatial: Float32[np.ndarray, "segment recurrent"] | None
    temporal: Float32[np.ndarray, "segment frame"] | None
    attribution: Attribution


@dataclass(frozen=True)
class RecordingView:
    """What a model made of a recording.

    start_s, silent [segment] and posterior [segment, scene] (NaN for digital silence, which does not vote) of the whole
    recording; heard_s [vote] and answer [vote, scene]: the recording's answer, fused by the product rule and tempered, when
    the segments up to heard_s (seconds, the end of the last one) have voted; its last row is what `soundscene predict` says.
    chosen: number of the scene whose log posterior is attributed; part: what is drawn in detail; notes of the sound.
    """

    name: str
    duration_s: float
    scenes: tuple[str, ...]
    head: Head
    chosen: int
    segment_s: float
    start_s: Float64[np.ndarray, " segment"]
    silent: Bool[np.ndarray, " segment"]
    posterior: Float64[np.ndarray, "segment scene"]
    heard_s: Float64[np.ndarray, " vote"]
    answer: Float64[np.ndarray, "vote scene"]
    part: PlottedSegment
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> int:
        """Number of the scene that the recording's answer names."""
        return int(self.answer[-1].argmax())

    @property
    def drawn(self) -> slice:
        """The segments drawn, among all of the recording."""
        return slice(self.part.first, self.part.first + len(self.part.images))


def analyse_recording(
    bundle: ModelBundle,
    sound: Path,
    *,
    head: Head | None = None,
    scene: str | None = None,
    from_s: float = 0.0,
    most: int = SEGMENTS,
) -> RecordingView:
    """Let a model answer for a recording and keep what it did on the way.

    head: by default the recipe's; scene: whose log posterior is attributed, by default the one that the recording's answer
    names; from_s: seconds at which the part drawn begins; most: segments drawn. Of the others only posteriors are kept, so
    that a recording may last for hours.

    Raises: `AudioError` for a sound that cannot be used, or one that ends before from_s; `BundleError` for a scene that the
    model does not know.
    """
    if most < 1 or from_s < 0:
        raise ValueError(f"{most} segments from {from_s} s: at least 1 and 0 are needed")
    head = head or bundle.recipe.calibration.head
    if scene is not None:
        _check_scene(bundle, scene)
    audio = bundle.recipe.audio
    first_s = from_s // audio.segment_s * audio.segment_s
    file = AudioFile(sound, audio)
    wave = _Wave(audio.sample_rate, first_s - audio.segment_s, first_s + most * audio.segment_s)
    rows: list[Float64[np.ndarray, "segment scene"]] = []
    starts: list[Float64[np.ndarray, " segment"]] = []
    silences: list[Bool[np.ndarray, " segment"]] = []
    kept: list[Images] = []
    for piece in segments(bundle, wave.through(file.blocks())):
        inside = _inside(piece, from_s, audio.segment_s, most - sum(map(len, kept)))
        kept.append(piece.images[inside])
        rows.append(_posterior(bundle, piece, head))
        starts.append(piece.start_s)
        silences.append(piece.silent)
    start_s, silent, log_posterior = np.concatenate(starts), np.concatenate(silences), np.concatenate(rows)
    images = np.concatenate(kept)
    if silent.all():
        raise AudioError(f"{sound}: every segment is digital silence; was the microphone connected?")
    end_s = start_s + audio.segment_s
    if not len(images):
        raise AudioError(f"{sound}: nothing to draw from {from_s:g} s on, its last segment ends at {end_s[-1]:g} s")
    answer = np.exp(temper(np.cumsum(log_posterior[~silent], axis=0), bundle.temperature[head]))
    chosen = int(answer[-1].argmax()) if scene is None else bundle.scenes.index(scene)
    spatial, temporal = attention(bundle, images) if has_attention(bundle) else (None, None)
    part = PlottedSegment(
        int(np.flatnonzero(end_s > from_s + 1e-6)[0]),
        wave.samples(),
        wave.from_s,
        images,
        spatial,
        temporal,
        attribute(bundle, images, chosen, head),
    )
    return RecordingView(
        sound.name, file.duration_s, bundle.scenes, head, chosen, audio.segment_s,
        start_s, silent, np.exp(log_posterior), end_s[~silent], answer, part, file.notes,
    )  # fmt: skip


def _check_scene(bundle: ModelBundle, scene: str) -> None:
    if scene not in bundle.scenes:
        near = difflib.get_close_matches(scene, bundle.scenes, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(bundle.scenes)}"
        raise BundleError(f"this model has no scene {scene!r}; {hint}")


def _inside(piece: SegmentImages, from_s: float, segment_s: float, room: int) -> Bool[np.ndarray, " segment"]:
    """Which segments of a batch are drawn: those that end after the part begins, as long as there is room."""
    inside = piece.start_s + segment_s > from_s + 1e-6
    return inside & (np.cumsum(inside) <= room)


def _posterior(bundle: ModelBundle, piece: SegmentImages, head: Head) -> Float64[np.ndarray, "segment scene"]:
    """Log posteriors; NaN for digital silence."""
    found = np.full((len(piece.start_s), len(bundle.scenes)), np.nan)
    voting = ~piece.silent
    found[voting] = bundle.classify(bundle.embed(piece.images[voting]), head)
    return found


class _Wave:
    """Keeps the samples between two times of a recording that goes through it."""

    def __init__(self, sample_rate: int, from_s: float, to_s: float) -> None:
        self._first, self._stop = max(0, round(from_s * sample_rate)), round(to_s * sample_rate)
        self.from_s = self._first / sample_rate
        self._kept: list[Samples] = []

    def through(self, blocks: Generator[Samples, None, None]) -> Generator[Samples, None, None]:
        at = 0
        for block in blocks:
            lost, end = max(0, self._first - at), self._stop - at
            if lost < min(len(block), end):
                self._kept.append(block[lost:end].copy())
            at += len(block)
            yield block

    def samples(self) -> Samples:
        return np.concatenate(self._kept) if self._kept else np.zeros(0, np.float32)
