"""What a system reads of a corpus, in one array; the images of all its recordings, computed by several threads.

Decoding, FFTs, matrix products and the compiled noise tracker all release Python's lock, so threads share the machine
nearly as well as processes would (docs/decisions/0061-bulk-prediction.md), without copying images between them.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from soundscene.audio.files import AudioFile
from soundscene.data.manifest import Manifest, parse_test
from soundscene.errors import AudioError, ManifestError, RecipeError, unexpected
from soundscene.recipe import FRONT_END, AudioRecipe, Recipe
from soundscene.signal.frontend import FrontEnd
from soundscene.signal.meter import Measures, RangeMeter, metered
from soundscene.signal.ranges import TrainingRange, sound_notes
from soundscene.signal.streams import FeatureSource, join_segments
from soundscene.texts import fold_case, match_name, short
from soundscene.threads import in_order
from soundscene.types import Features, Recording, SegmentFeatures, take_features

SHOWN = 10  # unreadable files named in one message

_Images = tuple[SegmentFeatures, AudioFile, tuple[str, ...], Measures | None]


@dataclass(frozen=True)
class Corpus:
    """The segments of many recordings.

    Attributes:
        recordings: Rows of the manifest.
        features: [segment, ...], the image [2, band, frame], or what another representation makes of a segment; of the
            first member, where the corpus is read for a model of several.
        recording: [segment], index into `recordings`.
        start_s: [segment], seconds from the start of its recording.
        silent: [segment], true for digital silence.
        regular: [segment], true for segments that a prediction would use, false for overlapping ones of training only.
        content_hash: [recording], hash of the audio.
        duration_s: [recording], seconds.
        notes: [recording], what may harm a prediction.
        further: Features of the same segments for the further members of a model, in their order.
        measured: [recording], what its signal is like; empty where nothing was measured.
        native_hz: [recording], sample rate of its file.
    """

    recordings: tuple[Recording, ...]
    features: Float32[np.ndarray, "segment ..."]
    recording: Int64[np.ndarray, " segment"]
    start_s: Float64[np.ndarray, " segment"]
    silent: Bool[np.ndarray, " segment"]
    regular: Bool[np.ndarray, " segment"]
    content_hash: tuple[str, ...]
    duration_s: tuple[float, ...]
    notes: tuple[tuple[str, ...], ...]
    further: Features = ()
    measured: tuple[Measures | None, ...] = ()
    native_hz: tuple[int, ...] = ()

    def of_members(self, chosen: Bool[np.ndarray, " segment"]) -> tuple[Float32[np.ndarray, "taken ..."], ...]:
        """Features of some segments for each member of a model.

        Args:
            chosen: Which segments, [segment].
        """
        return take_features((self.features, *self.further), chosen)

    def of_member(self, number: int) -> "Corpus":
        """The same with the features of one member only.

        Args:
            number: Of the member, from 0.
        """
        return replace(self, features=(self.features, *self.further)[number], further=())

    @property
    def voting(self) -> Bool[np.ndarray, " segment"]:
        """Regular segments that are not digital silence: they vote and calibrate (docs/decisions/0010)."""
        return self.regular & ~self.silent

    def labels(self, scenes: Sequence[str]) -> Int64[np.ndarray, " segment"]:
        """Index of each segment's scene in `scenes`."""
        of_recording = np.array([scenes.index(r.scene) for r in self.recordings], dtype=np.int64)
        return of_recording[self.recording]

    def groups(self) -> list[str]:
        """Group of each segment."""
        return [self.recordings[i].group for i in self.recording]

    def take(self, recordings: Sequence[Recording]) -> "Corpus":
        """The same, of some of the recordings, in their order."""
        place = {r.path: i for i, r in enumerate(self.recordings)}
        chosen = [place[r.path] for r in recordings]
        where = [np.flatnonzero(self.recording == i) for i in chosen]
        index = np.concatenate(where) if where else np.zeros(0, dtype=np.int64)
        features, *further = take_features((self.features, *self.further), index)
        return Corpus(
            recordings=tuple(recordings),
            features=features,
            further=tuple(further),
            recording=np.repeat(np.arange(len(chosen)), [len(w) for w in where]),
            start_s=self.start_s[index],
            silent=self.silent[index],
            regular=self.regular[index],
            content_hash=tuple(self.content_hash[i] for i in chosen),
            duration_s=tuple(self.duration_s[i] for i in chosen),
            notes=tuple(self.notes[i] for i in chosen),
            measured=tuple(self.measured[i] for i in chosen) if self.measured else (),
            native_hz=tuple(self.native_hz[i] for i in chosen) if self.native_hz else (),
        )


def read_corpus(
    recordings: Sequence[Recording],
    recipe: Recipe,
    segment_hop_s: float | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    trained_with: int = FRONT_END,
    skipped: Callable[[str], None] | None = None,
) -> Corpus:
    """Read all recordings and compute their images.

    Args:
        recordings: Rows of a manifest.
        recipe: Audio and features.
        segment_hop_s: Seconds between starts of segments, by default their length.
        workers: Threads.
        progress: Called with (recordings done, recordings in all).
        trained_with: Version of the front-end of the model that the images are for; an earlier one may add notes.
        skipped: Called with why a recording cannot be read, which is then left out. By default that is an error.

    Raises:
        ManifestError: Some recordings cannot be read; all are tried, and all of those are named. Or none can.
        RecipeError: The segment's length is no multiple of the hop, so segments of a prediction would be missing.
    """
    front_end = front_end_of(recipe, segment_hop_s)
    return read_features(recordings, recipe.audio, front_end, workers, progress, trained_with, skipped)


def read_features(
    recordings: Sequence[Recording],
    audio: AudioRecipe,
    front_end: FeatureSource,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    trained_with: int = FRONT_END,
    skipped: Callable[[str], None] | None = None,
    usual: TrainingRange | None = None,
) -> Corpus:
    """Read all recordings once, and compute what a front-end makes of them for one or several members of a model.

    Args:
        recordings: Rows of a manifest.
        audio: Rate of the samples and segments.
        front_end: What computes the features.
        workers: As in `read_corpus`.
        progress: As in `read_corpus`.
        trained_with: As in `read_corpus`.
        skipped: As in `read_corpus`.
        usual: Range of the training recordings of the model that the features are for; what is outside it is noted.

    Raises:
        ManifestError: As `read_corpus` does.
    """
    results: list[_Images] = []
    readable: list[Recording] = []
    unreadable: list[str] = []
    work = partial(_attempt, audio, front_end, trained_with, usual)
    with closing(in_order(work, recordings, workers)) as outcomes:  # Ctrl-C must not wait for thousands of files
        for done, (recording, outcome) in enumerate(zip(recordings, outcomes, strict=True), 1):
            if isinstance(outcome, str):
                unreadable.append(outcome)
            else:
                readable.append(recording)
                results.append(outcome)
            if progress:
                progress(done, len(recordings))
    if skipped is None or len(unreadable) == len(recordings):
        refuse_unreadable(unreadable, len(recordings))
    else:
        for why in unreadable:
            skipped(why)
    return _join(readable, results, audio)


def recordings_of(manifest: Path | Manifest, test: str | None, scenes: Sequence[str]) -> tuple[Recording, ...]:
    """Return the rows of a manifest that a model of some scenes can be tested on, their scenes spelt as the model's.

    Args:
        manifest: The manifest, or its CSV file.
        test: Test part such as "fold=1"; by default all rows.
        scenes: Scenes of the model.

    Raises:
        ManifestError: The manifest cannot be used, or has a scene that is not among them.
    """
    corpus = Manifest.of(manifest)
    recordings = corpus.split(*parse_test(test)).test if test else corpus.recordings
    spellings = {scene: match_name(scene, tuple(scenes)) for scene in {recording.scene for recording in recordings}}
    for recording in recordings:
        if spellings[recording.scene] is None:
            near = [scene for scene in scenes if fold_case(scene) == fold_case(recording.scene)]
            hint = f"; {near[0]!r} differs only in case" if near else ""
            where = f"{corpus.path}, line {recording.line}" if recording.line else short(str(recording.path))
            raise ManifestError(
                f"{where}: scene {short(recording.scene)!r} is not one of the model's ({short(', '.join(scenes))}){hint}"
            )
    return tuple(replace(recording, scene=spellings[recording.scene] or "") for recording in recordings)


def refuse_unreadable(unreadable: Sequence[str], n_recordings: int) -> None:
    """Raise `ManifestError` if some recordings of a manifest cannot be read.

    Args:
        unreadable: A message for each of them.
        n_recordings: Number of recordings in the manifest.

    Raises:
        ManifestError: There are any; the message names them.
    """
    if unreadable:
        more = f"; and {len(unreadable) - SHOWN} more" if len(unreadable) > SHOWN else ""
        raise ManifestError(
            f"{len(unreadable)} of {n_recordings} recordings cannot be used; repair them or remove their rows: "
            + "; ".join(unreadable[:SHOWN])
            + more
        )


def front_end_of(
    recipe: Recipe | Sequence[Recipe], segment_hop_s: float | None = None, version: int = FRONT_END
) -> FrontEnd:
    """Build the front-end of a recipe, or of several with the same audio.

    Args:
        recipe: Audio and features; or one for each member of a model.
        segment_hop_s: Seconds between starts of segments, by default their length.
        version: As in `FrontEnd`.

    Raises:
        RecipeError: The segment's length is no multiple of the hop.
    """
    recipes = [recipe] if isinstance(recipe, Recipe) else list(recipe)
    audio = recipes[0].audio
    front_end = FrontEnd(audio, [one.features for one in recipes], segment_hop_s, version)
    check_hop(audio, segment_hop_s)
    return front_end


def check_hop(audio: AudioRecipe, segment_hop_s: float | None) -> None:
    """Check that training segments include those that a prediction would use.

    Args:
        audio: Rate and segments.
        segment_hop_s: Seconds between starts of segments, by default their length.

    Raises:
        RecipeError: The segment's length is no multiple of the hop.
    """
    hop = audio.segment_samples if segment_hop_s is None else round(segment_hop_s * audio.sample_rate)
    if hop < 1 or audio.segment_samples % hop:
        raise RecipeError(
            f"recipe value training.segment_hop_s: {segment_hop_s} s are {hop} samples, which do not "
            f"divide the {audio.segment_samples} of a segment; allowed are its half, its quarter, and so on"
        )


def read_segments(
    recording: Recording,
    audio: AudioRecipe,
    front_end: FeatureSource,
    trained_with: int = FRONT_END,
    usual: TrainingRange | None = None,
) -> tuple[SegmentFeatures, AudioFile, tuple[str, ...], Measures | None]:
    """Compute the features of one recording.

    Args:
        recording: Row of a manifest.
        audio: Rate of the samples and segments.
        front_end: What computes the features.
        trained_with: As in `read_corpus`.
        usual: As in `read_features`.

    Returns:
        The features, the file, which has duration and hash now, what may harm a prediction, and what was measured.

    Raises:
        AudioError: The recording cannot be used.
    """
    file = AudioFile(recording.path, audio)
    stream = front_end.stream()
    meter = RangeMeter(audio.sample_rate)
    pieces = [stream.push(block) for block in metered(file.blocks(), meter)]
    pieces.append(stream.flush())
    found, read = meter.measures(), file.summary
    notes = sound_notes(usual, found, read.notes, read.rate_notes, read.sample_rate, audio.sample_rate)
    return join_segments(pieces), file, (*notes, *stream.notes(trained_with)), found


def _attempt(
    audio: AudioRecipe,
    front_end: FeatureSource,
    trained_with: int,
    usual: TrainingRange | None,
    recording: Recording,
) -> _Images | str:
    try:
        return read_segments(recording, audio, front_end, trained_with, usual)
    except AudioError as error:
        return reason(recording, error)
    except Exception as error:
        return reason(recording, unexpected(str(recording.path), error))


def reason(recording: Recording, error: AudioError) -> str:
    """Return why a recording cannot be used, with its line in the manifest.

    Args:
        recording: Row of a manifest.
        error: Of its file.
    """
    return f"line {recording.line}: {error}" if recording.line else str(error)


def _join(recordings: Sequence[Recording], results: Sequence[_Images], audio: AudioRecipe) -> Corpus:
    segments = join_segments([r[0] for r in results])
    return Corpus(
        recordings=tuple(recordings),
        features=segments.features[0],
        further=segments.features[1:],
        recording=np.repeat(np.arange(len(results)), [len(r[0].start_s) for r in results]),
        start_s=segments.start_s,
        silent=segments.silent,
        regular=np.concatenate([regular_segments(r[0].start_s, audio.segment_s, audio.last_piece) for r in results]),
        content_hash=tuple(r[1].content_hash for r in results),
        duration_s=tuple(r[1].duration_s for r in results),
        notes=tuple(r[2] for r in results),
        measured=tuple(r[3] for r in results),
        native_hz=tuple(int(r[1].summary.sample_rate) for r in results),
    )


def notes_of(corpus: Corpus, n_audible: int) -> tuple[str, ...]:
    """Return the notes of all recordings with their names, and how many were silent.

    Args:
        corpus: Recordings.
        n_audible: How many of them are not digital silence throughout.
    """
    notes = [f"{r.path.name}: {note}" for r, rows in zip(corpus.recordings, corpus.notes, strict=True) for note in rows]
    if n_audible < len(corpus.recordings):
        notes.append(f"{len(corpus.recordings) - n_audible} recordings of digital silence were left out")
    return tuple(notes)


def regular_segments(
    start_s: Float64[np.ndarray, " segment"], segment_s: float, last_piece: float
) -> Bool[np.ndarray, " segment"]:
    """Tell which segments of one recording a prediction would use: whole multiples of the length, and the last one.

    Args:
        start_s: Start of each segment, seconds.
        segment_s: Length of a segment, seconds.
        last_piece: Share of the length that the rest must have, see docs/decisions/0014-last-piece.md.
    """
    rest = start_s / segment_s - np.round(start_s / segment_s)
    regular = np.abs(rest) < 1e-6
    last_regular = start_s[regular][-1]
    regular[-1] |= start_s[-1] - last_regular >= last_piece * segment_s - 1e-6
    return regular
