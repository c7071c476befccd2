"""The numbers behind the picture of one recording."""

import difflib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from jaxtyping import Bool, Float32, Float64

from soundscene.audio.files import open_source
from soundscene.errors import AudioError, BundleError, check_choice
from soundscene.explanation.attention import attention, without_attention
from soundscene.explanation.attribution import Attribution, attribute
from soundscene.explanation.members import choose_member, others
from soundscene.member import BATCH
from soundscene.model import Model
from soundscene.passes import recording_notes
from soundscene.scoring.fusion import temper
from soundscene.signal.meter import RangeMeter, metered
from soundscene.signal.streams import segment_batches
from soundscene.texts import match_name, short
from soundscene.types import Head, Images, Samples, SegmentFeatures

SEGMENTS = 15  # drawn unless more are asked for: 30 s


@dataclass(frozen=True)
class PlottedSegment:
    """The consecutive segments of a recording that are drawn in detail.

    Attributes:
        first: Number of the first of them in the recording.
        samples: Of the sound from `samples_from_s` on.
        samples_from_s: Where the samples begin, s.
        images: Of the segments.
        spatial: Attention over recurrent features, None for a network without.
        temporal: Attention over frames, None for a network without.
        attribution: Of the log posterior of the attributed scene.
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
    """The predictions of a model on a recording, and what they are based on.

    Attributes:
        name: File name of the recording.
        duration_s: Of the recording, s.
        scenes: Of the model.
        head: That made the predictions.
        attributed: Number of the scene whose log posterior is attributed.
        segment_s: Length of a segment, s.
        start_s: Start of every segment of the recording, s.
        silent: Which segments are digital silence; these do not vote.
        posterior: Of every segment alone; NaN for digital silence.
        vote_end_s: End of each segment that votes, s.
        fused: Posterior of the recording after each vote, by the product rule and tempered. The last row is the prediction
            of `soundscene predict`.
        part: What is drawn in detail.
        notes: What may make the prediction worse, as in the prediction.
        member: Name of the member that `part` is of.
        of_members: What of the picture is of that member, and what of all; None for a model of one member.
        unattended: Why that member has no attention, "" where it has one.
    """

    name: str
    duration_s: float
    scenes: tuple[str, ...]
    head: Head
    attributed: int
    segment_s: float
    start_s: Float64[np.ndarray, " segment"]
    silent: Bool[np.ndarray, " segment"]
    posterior: Float64[np.ndarray, "segment scene"]
    vote_end_s: Float64[np.ndarray, " vote"]
    fused: Float64[np.ndarray, "vote scene"]
    part: PlottedSegment
    notes: tuple[str, ...] = ()
    member: str = ""
    of_members: str | None = None
    unattended: str = ""

    @property
    def predicted(self) -> int:
        """Number of the scene predicted for the recording."""
        return int(self.fused[-1].argmax())

    @property
    def drawn(self) -> slice:
        """The segments drawn, among all segments of the recording."""
        return slice(self.part.first, self.part.first + len(self.part.images))


def analyse_recording(
    model: Model,
    sound: Any,
    *,
    head: Head | None = None,
    scene: str | None = None,
    from_s: float = 0.0,
    most: int = SEGMENTS,
    member: str | None = None,
    name: str | None = None,
) -> RecordingView:
    """Classify a recording and keep attention, attribution and posteriors.

    Images are kept only of the segments drawn, so that a recording may last for hours.

    Args:
        model: The model to explain.
        sound: Audio file, samples with their rate, or what else `audio.arrays.as_source` takes.
        head: By default the recipe's.
        scene: Whose log posterior is attributed, by default the predicted one.
        from_s: Where the part drawn begins, s.
        most: Number of segments drawn, at most.
        member: Name of the member drawn in detail, as in `choose_member`.
        name: Of the recording in the picture; by default that of its file.

    Raises:
        AudioError: A sound that cannot be used, or one that ends before `from_s`.
        BundleError: A scene or a member that the model does not have.
        ValueError: No segment, or a negative time.
    """
    if most < 1 or from_s < 0:
        raise ValueError(f"{most} segments from {from_s} s: at least 1 and 0 are needed")
    if head is not None:
        check_choice("head", head, get_args(Head))
    head = head or model.head
    if scene is not None:
        _check_scene(model, scene)
    number, drawn = choose_member(model, member)
    audio = model.audio
    first_s = from_s // audio.segment_s * audio.segment_s
    source, file = open_source(sound, audio)
    wave = _Wave(audio.sample_rate, first_s - audio.segment_s, first_s + most * audio.segment_s)
    rows: list[Float64[np.ndarray, "segment scene"]] = []
    starts: list[Float64[np.ndarray, " segment"]] = []
    silences: list[Bool[np.ndarray, " segment"]] = []
    kept: list[Images] = []
    stream = model.build_front_end().stream()
    meter = RangeMeter(audio.sample_rate)
    for piece in segment_batches(stream, wave.through(metered(file.blocks(), meter)), BATCH):
        inside = _inside(piece, from_s, audio.segment_s, most - sum(map(len, kept)))
        kept.append(piece.features[number][inside])
        rows.append(_posterior(model, piece, head))
        starts.append(piece.start_s)
        silences.append(piece.silent)
    start_s, silent, log_posterior = np.concatenate(starts), np.concatenate(silences), np.concatenate(rows)
    images = np.concatenate(kept)
    if silent.all():
        raise AudioError(f"{source}: every segment is digital silence; was the microphone connected?")
    end_s = start_s + audio.segment_s
    if not len(images):
        raise AudioError(f"{source}: nothing to draw from {from_s:g} s on, its last segment ends at {end_s[-1]:g} s")
    fused = np.exp(temper(np.cumsum(log_posterior[~silent], axis=0), model.temperature[head]))
    wanted = scene and match_name(scene, model.scenes)
    attributed = model.scenes.index(wanted) if wanted else int(fused[-1].argmax())
    spatial, temporal = attention(drawn, images) if drawn.has_attention else (None, None)
    first = int(np.flatnonzero(end_s > from_s + 1e-6)[0])
    attribution = attribute(drawn, images, attributed, head)
    part = PlottedSegment(first, wave.samples(), wave.from_s, images, spatial, temporal, attribution)
    return RecordingView(
        name or Path(source).name, file.duration_s, model.scenes, head, attributed, audio.segment_s,
        start_s, silent, np.exp(log_posterior), end_s[~silent], fused, part,
        recording_notes(model, meter, file.summary, stream, head, int(silent.sum())),
        drawn.name, others(model, drawn), without_attention(drawn),
    )  # fmt: skip


def _check_scene(model: Model, scene: str) -> None:
    if match_name(scene, model.scenes) is None:
        near = difflib.get_close_matches(short(scene), model.scenes, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(model.scenes)}"
        raise BundleError(f"this model has no scene {short(scene)!r}; {hint}")


def _inside(piece: SegmentFeatures, from_s: float, segment_s: float, most: int) -> Bool[np.ndarray, " segment"]:
    """Return which segments of a batch are drawn: the first `most` that end after the part begins."""
    inside = piece.start_s + segment_s > from_s + 1e-6
    return inside & (np.cumsum(inside) <= most)


def _posterior(model: Model, piece: SegmentFeatures, head: Head) -> Float64[np.ndarray, "segment scene"]:
    """Return log posteriors; NaN for digital silence."""
    log_posterior = np.full((len(piece.start_s), len(model.scenes)), np.nan)
    voting = ~piece.silent
    log_posterior[voting] = model.classify(model.embed(piece.take(voting)), head)
    return log_posterior


class _Wave:
    """Keeps the samples between two times of a recording that is passed through it block by block."""

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
