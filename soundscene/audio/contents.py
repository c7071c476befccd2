"""Read what an audio file holds from its bytes, and compare it with what its header says, in both directions.

Decoders shorten a cut file silently and stop where the header tells them to, so a file is measured before anything is
decoded: less than the header says is an error or a note, more is read too. Nothing here decodes.
"""

import os
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

from soundscene.audio import flac, headers, moving, mpeg, ogg, riff, stated
from soundscene.audio.coded import CODED
from soundscene.audio.containers import Contents, after_id3, after_tag, at
from soundscene.audio.starts import begins_sound

_READERS: list[tuple[Callable[[bytes], bool], Callable[[BinaryIO, int, int], Contents]]] = [
    (riff.is_wave, riff.wave),
    (riff.is_aiff, riff.aiff),
    (headers.is_au, headers.au),
    (headers.is_caf, headers.caf),
    (riff.is_w64, riff.w64),
    (stated.is_stated, stated.stated),
    (ogg.is_ogg, ogg.ogg),
    (mpeg.is_mpeg, mpeg.mpeg),
    (moving.is_mp4, moving.mp4),
    (moving.is_avi, moving.avi),
    (moving.is_matroska, moving.matroska),
    (mpeg.is_adts, mpeg.adts),
    *CODED,
]


def read_contents(file: BinaryIO, thorough: bool = True) -> Contents:
    """Read what a sound file consists of; empty for an unknown format and for a header that is incomplete.

    Args:
        file: Opened for reading, seekable.
        thorough: Look for joined files also where that costs time, and a decoder that ends early tells it too.
    """
    size = file.seek(0, os.SEEK_END)
    try:
        contents = _read(file, size, after_id3(file), thorough)
        while (start := _next_start(file, size, contents)) is not None:
            contents = _joined(contents, _read(file, size, start, thorough), start)
        return contents
    except (struct.error, IndexError):  # the header itself ends too early: the decoder refuses it in its own words
        return Contents()


def _next_start(file: BinaryIO, size: int, contents: Contents) -> int | None:
    """Return where a file begins that was joined to these, whatever its format."""
    if contents.next_start is not None or contents.end is None or contents.fault:
        return contents.next_start
    start = contents.end
    while (behind := after_tag(file, start)) > start:
        start = behind
    return start if begins_sound(file, start, size) else None


def _read(file: BinaryIO, size: int, start: int, thorough: bool) -> Contents:
    magic = at(file, start, 16)
    if flac.is_flac(magic):
        return _without_tag(start, flac.flac(file, size, start, thorough))
    for matches, read in _READERS:
        if matches(magic):
            return _without_tag(start, read(file, size, start))
    return Contents()


def _without_tag(start: int, contents: Contents) -> Contents:
    """Leave out a tag that stands before the header, which not every decoder steps over."""
    if not start or len(contents.parts) != 1 or not contents.parts[0].whole:
        return contents
    return replace(contents, parts=(replace(contents.parts[0], start=start),))


def _joined(first: Contents, second: Contents, start: int) -> Contents:
    """Join the parts of two files, of which the second begins at a position."""
    last = first.parts[-1]
    if second.fault:
        last = replace(
            last, end=last.end or start, after="a second recording was joined at {s}; it is incomplete and left out"
        )
        return replace(first, parts=(*first.parts[:-1], last), next_start=None, end=None)
    if first.end is not None:
        last = replace(last, end=last.end or start, after="")
    notes = first.notes + second.notes
    parts = (*first.parts[:-1], last, *second.parts)
    return replace(first, parts=parts, notes=notes, next_start=second.next_start, end=second.end)
