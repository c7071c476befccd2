"""What a system reads of a corpus, in one array; the images of all its recordings, computed by several threads.

Decoding, FFTs, matrix products and the compiled noise tracker all release Python's lock, so threads share the machine
nearly as well as processes would (docs/decisions/0061-bulk-prediction.md), without copying images between them.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from soundscene.audio.files import AudioFile
from soundscene.data.manifest import Manifest, parse_test
from soundscene.errors import AudioError, ManifestError, RecipeError
from soundscene.recipe import Recipe
from soundscene.signal.frontend import FrontEnd, join_segments
from soundscene.threads import in_order
from soundscene.types import Recording, SegmentImages

SHOWN = 10  # broken files named in one message


@dataclass(frozen=True)
class Corpus:
    """The segments of many recordings.

    recordings; features [segment, ...], what is read of each segment: the image [2, band, frame], or what another
    representation makes of it (`data.store`); recording [segment], index into `recordings`; start_s [segment];
    silent [segment], true for digital silence; regular [segment], true for the pieces that a prediction would use, false
    for additional overlapping ones that only training sees; content_hash, duration_s and notes of each recording.
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

    @property
    def voting(self) -> Bool[np.ndarray, " segment"]:
        """Regular segments that are not digital silence: they answer and calibrate (docs/decisions/0010)."""
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
        return Corpus(
            recordings=tuple(recordings),
            features=self.features[index],
            recording=np.repeat(np.arange(len(chosen)), [len(w) for w in where]),
            start_s=self.start_s[index],
            silent=self.silent[index],
            regular=self.regular[index],
            content_hash=tuple(self.content_hash[i] for i in chosen),
            duration_s=tuple(self.duration_s[i] for i in chosen),
            notes=tuple(self.notes[i] for i in chosen),
        )


def read_corpus(
    recordings: Sequence[Recording],
    recipe: Recipe,
    segment_hop_s: float | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Corpus:
    """Read all recordings and make their images.

    Arguments: segment_hop_s: distance of segments in seconds, by default their length; workers: threads; progress:
    called with (recordings done, recordings in all).

    Raises: `ManifestError` that names every recording that could not be read, after trying all; `RecipeError` for a hop
    of which the segment's length is no multiple, since the pieces of a prediction would not be among the segments.
    """
    results: list[tuple[SegmentImages, AudioFile]] = []
    broken: list[str] = []
    work = partial(_attempt, recipe, front_end_of(recipe, segment_hop_s))
    with closing(in_order(work, recordings, workers)) as answers:  # Ctrl-C must not wait for thousands of files
        for done, answer in enumerate(answers, 1):
            if isinstance(answer, str):
                broken.append(answer)
            else:
                results.append(answer)
            if progress:
                progress(done, len(recordings))
    refuse_broken(broken, len(recordings))
    return _join(recordings, results, recipe)


def recordings_of(manifest: Path, test: str | None, scenes: Sequence[str]) -> tuple[Recording, ...]:
    """The rows of a manifest that `test` ("fold=1") names, or all, for a model of these scenes.

    Raises: `ManifestError` for a manifest that cannot be used, and for a scene that is not among them.
    """
    listed = Manifest.read(manifest)
    recordings = listed.split(*parse_test(test)).test if test else listed.recordings
    for recording in recordings:
        if recording.scene not in scenes:
            raise ManifestError(
                f"{manifest}, line {recording.line}: scene {recording.scene!r} is not one of the model's ({', '.join(scenes)})"
            )
    return recordings


def refuse_broken(broken: Sequence[str], n_recordings: int) -> None:
    """Raise `ManifestError` that names the broken ones of a manifest's recordings, if there are any."""
    if broken:
        more = f"; and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
        raise ManifestError(
            f"{len(broken)} of {n_recordings} recordings cannot be used, repair them or take their rows out: "
            + "; ".join(broken[:SHOWN])
            + more
        )


def front_end_of(recipe: Recipe, segment_hop_s: float | None = None) -> FrontEnd:
    """The front-end of a recipe; raises `RecipeError` for a hop that does not divide the segment's length."""
    front_end = FrontEnd(recipe.audio, recipe.features, segment_hop_s)
    if recipe.audio.segment_samples % front_end.segment_hop:
        raise RecipeError(
            f"recipe value training.segment_hop_s: {segment_hop_s} s are {front_end.segment_hop} samples, which do not "
            f"divide the {recipe.audio.segment_samples} of a segment; allowed are its half, its quarter, and so on"
        )
    return front_end


def read_segments(recording: Recording, recipe: Recipe, front_end: FrontEnd) -> tuple[SegmentImages, AudioFile]:
    """Images of one recording, and its file for duration, hash and notes."""
    file = AudioFile(recording.path, recipe.audio)
    stream = front_end.stream()
    pieces = [stream.push(block) for block in file.blocks()]
    pieces.append(stream.flush())
    return join_segments(pieces), file


def _attempt(recipe: Recipe, front_end: FrontEnd, recording: Recording) -> tuple[SegmentImages, AudioFile] | str:
    try:
        return read_segments(recording, recipe, front_end)
    except AudioError as error:
        return f"line {recording.line}: {error}" if recording.line else str(error)


def _join(recordings: Sequence[Recording], results: Sequence[tuple[SegmentImages, AudioFile]], recipe: Recipe) -> Corpus:
    segments = join_segments([r[0] for r in results])
    return Corpus(
        recordings=tuple(recordings),
        features=segments.images,
        recording=np.repeat(np.arange(len(results)), [len(r[0].start_s) for r in results]),
        start_s=segments.start_s,
        silent=segments.silent,
        regular=np.concatenate(
            [regular_segments(r[0].start_s, recipe.audio.segment_s, recipe.audio.last_piece) for r in results]
        ),
        content_hash=tuple(r[1].content_hash for r in results),
        duration_s=tuple(r[1].duration_s for r in results),
        notes=tuple(r[1].notes for r in results),
    )


def regular_segments(
    start_s: Float64[np.ndarray, " segment"], segment_s: float, last_piece: float
) -> Bool[np.ndarray, " segment"]:
    """Which of one recording's segments a prediction would use: whole multiples of the length, and the last piece."""
    rest = start_s / segment_s - np.round(start_s / segment_s)
    regular = np.abs(rest) < 1e-6
    last_regular = start_s[regular][-1]
    regular[-1] |= start_s[-1] - last_regular >= last_piece * segment_s - 1e-6
    return regular
