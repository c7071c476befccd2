"""Read what an audio file holds from its bytes, and compare it with what its header says, in both directions.

Decoders shorten a cut file silently and stop where the header tells them to, so a file is measured before anything is
decoded: less than the header says is an error or a note, more is read too. Nothing here decodes.
"""

import os
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

from soundscene.audio import flac, headers, moving, mpeg, ogg, riff
from soundscene.audio.containers import Contents, after_id3, at

_READERS: list[tuple[Callable[[bytes], bool], Callable[[BinaryIO, int, int], Contents]]] = [
    (riff.is_wave, riff.wave),
    (riff.is_aiff, riff.aiff),
    (headers.is_au, headers.au),
    (headers.is_caf, headers.caf),
    (riff.is_w64, riff.w64),
    (headers.is_other, headers.other),
    (ogg.is_ogg, ogg.ogg),
    (mpeg.is_mpeg, mpeg.mpeg),
    (moving.is_mp4, moving.mp4),
    (moving.is_avi, moving.avi),
    (moving.is_matroska, moving.matroska),
    (mpeg.is_adts, mpeg.adts),
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
        while contents.next_start is not None:
            contents = _joined(contents, _read(file, size, contents.next_start, thorough))
        return contents
    except (struct.error, IndexError):  # the header itself ends too early: the decoder refuses it in its own words
        return Contents()


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


def _joined(first: Contents, second: Contents) -> Contents:
    if second.fault:
        last = replace(first.parts[-1], after="a second recording was joined at {s}; it is incomplete and left out")
        return replace(first, parts=(*first.parts[:-1], last), next_start=None)
    return replace(first, parts=first.parts + second.parts, notes=first.notes + second.notes, next_start=second.next_start)
