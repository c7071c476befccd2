"""Splits that leak on purpose, to find out what a system owes to having heard the same recording.

Only `soundscene experiment --diagnose` makes them. The plan names the diagnosis, and it heads every table of the report.
"""

import hashlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scipy.io import wavfile

from soundscene.audio.files import read_samples
from soundscene.data.designs import Design, natural
from soundscene.data.manifest import Manifest
from soundscene.errors import AudioError, AudioWarning, ManifestError
from soundscene.files import write_atomic
from soundscene.recipe import AudioRecipe
from soundscene.types import Recording, Samples, Split

DIAGNOSES = ("same-recording",)
LEAKAGE = "LEAKAGE BY DESIGN"
"""Heads every table and page of such an experiment."""

GAP = 0.5  # of a segment, between the two excerpts that are cut from one recording
SHORT, SILENT = "too short to cut", "of which one excerpt would be digital silence"
_TEXT = "one excerpt of each group trains, another of the same group is tested, then the other way round"


@dataclass(frozen=True)
class Diagnosis:
    """Recordings and splits of a diagnosis.

    Attributes:
        recordings: The excerpts, two of each group that has two.
        design: The two directions.
        notes: How many groups were cut or left out.
    """

    recordings: tuple[Recording, ...]
    design: Design
    notes: tuple[str, ...]


def same_recording(manifest: Manifest, folder: Path, audio: AudioRecipe, skip_broken: bool = False) -> Diagnosis:
    """Split a corpus so that each recording is tested by a system that has heard another excerpt of it.

    A group with several recordings of a scene gives the first two, in natural order of their paths. That of one recording is
    cut into two excerpts with half a segment between them, where each holds a segment and sound; otherwise it is left out.

    Args:
        manifest: Recordings with groups.
        folder: For the excerpts that are cut, WAV files of samples as they are read.
        audio: Rate and length of segments.
        skip_broken: Leave out recordings that cannot be read.

    Raises:
        ManifestError: Fewer than two scenes have two excerpts of a group.
        AudioError: A recording that is to be cut cannot be read, or an excerpt not be written.
    """
    pairs: list[tuple[Recording, Recording]] = []
    left_out = {SHORT: 0, SILENT: 0}
    n_cut, broken = 0, []
    for rows in _by_group(manifest.recordings):
        if len(rows) > 1:
            pairs.append((rows[0], rows[1]))
            continue
        try:
            cut = _cut(rows[0], folder, audio)
        except AudioError as error:
            if not skip_broken:
                raise
            broken.append(str(error))
            continue
        if isinstance(cut, str):
            left_out[cut] += 1
        else:
            n_cut += 1
            pairs.append(cut)
    if len({first.scene for first, _ in pairs}) < 2:
        raise ManifestError(
            f"{manifest.path}: --diagnose same-recording needs two scenes or more with groups of two excerpts, or with "
            f"recordings of {(2 + GAP) * audio.segment_s:g} s or more to cut; give excerpts of one recording the same group"
        )
    first, second = (tuple(side) for side in zip(*pairs, strict=True))
    splits = {"second excerpts tested": Split(first, second), "first excerpts tested": Split(second, first)}
    notes = [f"{len(pairs)} groups: {len(pairs) - n_cut} with two excerpts, {n_cut} cut from one recording"]
    notes += [f"{n} groups left out: one recording, {why}" for why, n in left_out.items() if n]
    notes += [f"left out: {reason}" for reason in broken]
    return Diagnosis((*first, *second), Design(splits, "once", _TEXT), tuple(notes))


def _by_group(recordings: Sequence[Recording]) -> list[list[Recording]]:
    """Return the recordings of each scene of each group, in natural order."""
    rows: dict[tuple[str, str], list[Recording]] = {}
    for recording in sorted(recordings, key=lambda r: natural(str(r.path))):
        rows.setdefault((recording.group, recording.scene), []).append(recording)
    return list(rows.values())


def _cut(recording: Recording, folder: Path, audio: AudioRecipe) -> tuple[Recording, Recording] | str:
    """Cut two excerpts of equal length, from the start and the end; or say why there are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioWarning)  # they are given when the excerpts are used
        samples = read_samples(recording.path, audio)
    length = (len(samples) - round(GAP * audio.segment_samples)) // 2
    if length < audio.segment_samples:
        return SHORT
    halves = samples[:length], samples[-length:]
    if not all(half.any() for half in halves):  # a clip that was filled up with zeros
        return SILENT
    name = hashlib.sha256(str(recording.path).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    parts = []
    for number, part in enumerate(halves, 1):
        path = folder / f"{name}-{number}.wav"
        _write(path, part, audio.sample_rate)
        parts.append(replace(recording, path=path))
    return parts[0], parts[1]


def _write(path: Path, samples: Samples, rate: int) -> None:
    content = io.BytesIO()
    wavfile.write(content, rate, samples)  # float32, as they are
    if not (path.exists() and path.read_bytes() == content.getvalue()):
        write_atomic(path, content.getvalue(), AudioError)
