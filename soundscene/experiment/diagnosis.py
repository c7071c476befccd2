"""Splits that leak on purpose, to find out what a system owes to having heard the same recording.

Only `soundscene experiment --diagnose` makes them. The plan names the diagnosis, and it heads every table of the report.
"""

import hashlib
import io
import os
import re
import warnings
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from soundscene.audio.files import read_samples
from soundscene.data.designs import Design, natural
from soundscene.data.manifest import Manifest
from soundscene.errors import AudioError, AudioWarning, ManifestError, TrainingError
from soundscene.files import write_atomic
from soundscene.recipe import AudioRecipe
from soundscene.texts import fold_name
from soundscene.types import Recording, Samples, Split

DIAGNOSES = ("same-recording",)
GAP = 0.5  # of a segment, between the two excerpts that are cut from one recording
EXCERPTS = "excerpts"
"""Folder in that of the run, for what is cut."""

_SAME = 1e-3  # of full scale: less is a decoder or resampler of another version
SHORT = "one recording, too short to cut"
SILENT = "one recording, of which one excerpt would be digital silence"
FEW = "fewer than two excerpts can be used"
TEXT = "one excerpt of each group trains, another of the same group is tested, then the other way round"
"""Where the splits come from."""


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


def same_recording(
    manifest: Manifest,
    folder: Path,
    audio: AudioRecipe,
    skip_broken: bool = False,
    names: Mapping[tuple[str, str], str] | None = None,
    unusable: Container[Path] = (),
) -> Diagnosis:
    """Split a corpus so that each recording is tested by a system that has heard another excerpt of it.

    A group with several recordings of a scene gives the first two that can be used, in natural order of their paths. That of
    one recording is cut into two excerpts with half a segment between them, where each holds a segment and sound. Other
    groups are left out.

    Args:
        manifest: Recordings with groups.
        folder: For the excerpts that are cut, WAV files of samples as they are read.
        audio: Rate and length of segments.
        skip_broken: Leave out recordings that cannot be read.
        names: Of excerpts that the plan of the run has, from `excerpt_names`, if there is a plan. Then no file that is there
            is changed.
        unusable: Paths of recordings and excerpts that an earlier call gave and that cannot be used.

    Raises:
        ManifestError: Fewer than two scenes have two excerpts of a group.
        AudioError: A recording that is to be cut cannot be read, or an excerpt not be written.
        TrainingError: An excerpt of the plan was cut from another recording.
    """
    pairs: list[tuple[Recording, Recording]] = []
    left_out = Counter[str]()
    n_cut, further, broken = 0, list[int](), list[str]()
    for rows in _by_group(manifest.recordings):
        usable = [recording for recording in rows if recording.path not in unusable]
        if len(rows) > 1:
            if len(usable) < 2:
                left_out[FEW] += 1
                continue
            pairs.append((usable[0], usable[1]))
            further += [len(usable) - 2] if len(usable) > 2 else []
            continue
        try:
            cut = _cut(rows[0], manifest.path.parent, folder, audio, names)
        except AudioError as error:
            if not skip_broken:
                raise
            broken.append(str(error))
            continue
        if isinstance(cut, str):
            left_out[cut] += 1
        elif any(part.path in unusable for part in cut):
            left_out[FEW] += 1
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
    notes = _notes(len(pairs), n_cut, further, left_out, broken)
    return Diagnosis((*first, *second), Design(splits, "once", TEXT), notes)


def excerpt_names(rows: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str], str]:
    """Return how the excerpts of a plan are named, by scene and group.

    A run goes on with its names, wherever the corpus is now. Earlier they were made of the path as it was typed.

    Args:
        rows: (path, scene, group) of the plan's recordings.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for path, scene, group in rows:
        if name := re.search(rf"(?:^|[/\\]){EXCERPTS}[/\\]([0-9a-f]{{16}})-1\.wav$", path):
            found.setdefault((fold_name(scene), fold_name(group)), []).append(name[1])
    return {key: names[0] for key, names in found.items() if len(names) == 1}


def _notes(
    n: int, n_cut: int, further: Sequence[int], left_out: Mapping[str, int], broken: Sequence[str]
) -> tuple[str, ...]:
    """Return what became of the groups, in words."""
    notes = [f"{n} groups: {n - n_cut} with two excerpts, {n_cut} cut from one recording"]
    if further:
        notes.append(f"{sum(further)} further excerpts of {len(further)} groups are not used")
    notes += [f"{left_out[why]} groups left out: {why}" for why in (SHORT, SILENT, FEW) if left_out[why]]
    return (*notes, *(f"left out: {reason}" for reason in broken))


def _by_group(recordings: Sequence[Recording]) -> list[list[Recording]]:
    """Return the recordings of each scene of each group, in natural order."""
    rows: dict[tuple[str, str], list[Recording]] = {}
    for recording in sorted(recordings, key=lambda r: natural(str(r.path))):
        rows.setdefault((recording.group, recording.scene), []).append(recording)
    return list(rows.values())


def _cut(
    recording: Recording, home: Path, folder: Path, audio: AudioRecipe, names: Mapping[tuple[str, str], str] | None
) -> tuple[Recording, Recording] | str:
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
    key = fold_name(recording.scene), fold_name(recording.group)
    name = (names or {}).get(key) or _name(recording.path, home)
    parts = []
    for number, part in enumerate(halves, 1):
        path = folder / f"{name}-{number}.wav"
        if names is None or not _is_there(path, part, recording.path):
            _write(path, part, audio.sample_rate)
        parts.append(replace(recording, path=path))
    return parts[0], parts[1]


def _name(path: Path, home: Path) -> str:
    """Return a name for the excerpts of a recording that does not depend on where the corpus is, nor on how that is typed.

    Args:
        path: Of the recording.
        home: Folder of the manifest.
    """
    inside = Path(os.path.relpath(path, home))
    if ".." in inside.parts:  # outside, or by another link to the same folder
        inside = Path(os.path.relpath(os.path.realpath(path.parent), os.path.realpath(home)), path.name)
    return hashlib.sha256(inside.as_posix().encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _is_there(path: Path, samples: Samples, source: Path) -> bool:
    """Whether an excerpt is there already; raises `TrainingError` where it was cut from another recording."""
    try:
        there = wavfile.read(path)[1]
    except (OSError, ValueError):
        return False
    if there.shape != samples.shape or np.abs(there - samples).max() > _SAME:
        raise TrainingError(f"{path}: was cut from another recording than {source}; choose another --out")
    return True


def _write(path: Path, samples: Samples, rate: int) -> None:
    content = io.BytesIO()
    wavfile.write(content, rate, samples)  # float32, as they are
    if not (path.exists() and path.read_bytes() == content.getvalue()):
        write_atomic(path, content.getvalue(), AudioError)
