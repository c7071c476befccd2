"""MP4 (m4a, MOV), Matroska (mka, WebM) and AVI: whether their elements fill the file, and what stands behind them.

FFmpeg decodes what is there and says nothing of an end that is missing, or of a second file behind the first.
"""

import struct
from dataclasses import replace
from itertools import pairwise
from typing import BinaryIO

from soundscene.audio.containers import Contents, Part, at, unknown_bytes, unread

_BOXES = {
    *(b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"uuid", b"moof", b"mfra", b"sidx", b"styp", b"meta", b"pnot"),
    *(b"emsg", b"ssix", b"prft", b"udta", b"pdin", b"mfro", b"PICT"),
}
_AVI = (b"AVI ", b"AVIX")
_TAIL = 64  # unknown bytes at the end that are not worth a word
_EBML, _SEGMENT, _CLUSTER, _INFO = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1549A966
_LEVEL_1 = {_CLUSTER, _INFO, 0x114D9B74, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, 0xEC, 0xBF}
_IN_CLUSTER = {0xE7, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, 0x5854, 0xEC, 0xBF}


def is_mp4(magic: bytes) -> bool:
    """Tell an MP4 or MOV file by its first bytes."""
    return magic[4:8] in _BOXES


def is_matroska(magic: bytes) -> bool:
    """Tell a Matroska or WebM file by its first bytes."""
    return magic[:4] == b"\x1a\x45\xdf\xa3"


def is_avi(magic: bytes) -> bool:
    """Tell an AVI file by its first bytes."""
    return magic[:4] == b"RIFF" and magic[8:12] in _AVI


def avi(file: BinaryIO, size: int, start: int) -> Contents:
    """Compare the sizes of an AVI file's RIFF chunks, of which a long one has several, with the file.

    Args:
        file: The file.
        size: Its length in bytes.
        start: Its first chunk.
    """
    parts, first, position = list[Part](), start, start
    while is_avi(magic := at(file, position, 12)):
        if magic[8:12] == b"AVI " and position > first:
            parts.append(Part(first, position, foreign=True))
            first = position
        (length,) = struct.unpack("<I", magic[4:8])
        if not 0 < length < 0x7F000000:  # never completed
            return Contents((Part(foreign=True),), notes=("its header was never completed (was the recorder stopped?)",))
        position += 8 + length + (length & 1)
        if position > size + 1:
            after = f"it lacks {position - size} bytes; it was cut at {{s}}, or a part before is missing"
            return Contents((*parts, Part(first, foreign=True, after=after)))
    return _to_end(file, size, (*parts, Part(first, foreign=True)), position)


def mp4(file: BinaryIO, size: int, start: int) -> Contents:
    """Walk the boxes of an MP4 file, or of several that were joined.

    Args:
        file: The file.
        size: Its length in bytes.
        start: Its first box.
    """
    parts, first, position, after, n_indices = list[Part](), start, start, "", 0
    while position + 8 <= size:
        length, name = struct.unpack(">I4s", at(file, position, 8))
        if name not in _BOXES:
            break
        if length == 1:
            length = struct.unpack(">Q", at(file, position + 8, 8))[0]
        elif length == 0:  # to the end of the file
            length = size - position
        if length < 8:
            after = "it is damaged behind {s}"
            break
        if name == b"ftyp" and n_indices:
            parts.append(Part(first, position, foreign=True))
            first, n_indices = position, 0
        if name == b"moov" and n_indices:
            after = "a second recording behind {s} is not read"
        n_indices += name == b"moov"
        if position + length > size:
            missing = position + length - size
            after = f"its last box ({name.decode('ascii')}) lacks {missing} bytes; it was cut at {{s}}"
        position += length
    if not n_indices and not parts:
        return Contents(fault="its index (moov), which may stand at the end, is missing")
    if not n_indices:
        parts[-1] = replace(parts[-1], after="a second recording was joined at {s}; it is incomplete and left out")
        return Contents(tuple(parts))
    last = Part(first, foreign=True, after=after)
    return Contents((*parts, last)) if after else _to_end(file, size, (*parts, last), position)


def _to_end(file: BinaryIO, size: int, parts: tuple[Part, ...], end: int) -> Contents:
    """Compare the end of what was recognised with that of the file; tags and zeros may stand behind it."""
    end = min(end, size)
    n_bytes = unknown_bytes(file, end, size)
    if n_bytes > _TAIL:
        last = replace(parts[-1], end=end, after=unread(n_bytes))
        return Contents((*parts[:-1], last), end=end)
    if end < size:
        parts = (*parts[:-1], replace(parts[-1], end=end))
    return Contents(parts)


def matroska(file: BinaryIO, size: int, start: int) -> Contents:
    """Walk the elements of a Matroska file down to its blocks, as far as they follow one another.

    Args:
        file: The file.
        size: Its length in bytes.
        start: Its first element.
    """
    walk = _Walk(file, size)
    try:
        end = walk.file_level(start)
    except _DamagedError as damage:
        walk.starts.append(size)
        parts = [Part(a, b, foreign=True) for a, b in pairwise(walk.starts)]
        return Contents((*parts[:-1], replace(parts[-1], end=None, after=str(damage))))
    parts = [Part(a, b, foreign=True) for a, b in pairwise([*walk.starts, end])]
    if walk.lacks:
        return Contents((*parts[:-1], replace(parts[-1], after=walk.lacks)))
    return _to_end(file, size, (*parts[:-1], replace(parts[-1], end=None)), end)


class _DamagedError(Exception):
    """The elements do not follow one another any more."""


class _Walk:
    """Hold where a walk through a Matroska file is: the time of its cluster and of its last block, in ticks."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._cluster = self._block = 0
        self._tick_s = 1e-3
        self._before_s = 0.0  # length of the recordings before, where files were joined
        self.starts = list[int]()  # of the recordings
        self.lacks = ""  # what to note at the end

    def file_level(self, position: int) -> int:
        """Walk EBML headers and segments, more than one of each where files were joined; return where they end."""
        n_segments = 0
        while position < self._size:
            if (name := self._name(position)) not in (_SEGMENT, _EBML, 0xEC, 0xBF):
                break
            _, content, length = self._element(position)
            if name == _EBML and n_segments == len(self.starts):
                self.starts.append(position)
            if name == _SEGMENT:
                n_segments += 1
                self._before_s += self._block * self._tick_s
                self._cluster = self._block = 0
                position = self._segment(content, None if length is None else content + length)
            elif length is None:
                raise self._damage(position)
            else:
                position = content + length
        return position

    def _segment(self, position: int, end: int | None) -> int:
        if end is not None and end > self._size:
            self.lacks = f"it lacks {end - self._size} bytes; it was cut at {{s}}, or a part before is missing"
        stop = self._size if end is None else min(end, self._size)
        while position < stop:
            if end is None and self._name(position) == _EBML:
                return position
            if end is None and at(self._file, position, 4) == bytes(4):
                return position
            name, content, length = self._element(position)
            if name not in _LEVEL_1:
                raise self._damage(position)
            if name == _CLUSTER:
                position = self._children(content, None if length is None else content + length)
            elif length is None:
                raise self._damage(position)
            else:
                if name == _INFO:
                    self._scale(content, min(content + length, self._size))
                position = self._inside(content, length)
        return position

    def _children(self, position: int, end: int | None) -> int:
        """Walk the children of a cluster; one of unknown size ends where an element stands that is none of them."""
        stop = self._size if end is None else min(end, self._size)
        while position < stop:
            name, content, length = self._element(position)
            if name not in _IN_CLUSTER or length is None:
                if end is None:
                    return position
                raise self._damage(position)
            if name == 0xE7:
                self._cluster = self._block = int.from_bytes(at(self._file, content, min(length, 8)), "big")
            elif name == 0xA3:
                self._block = self._cluster + int.from_bytes(at(self._file, content + 1, 2), "big", signed=True)
            position = self._inside(content, length)
        return position

    def _scale(self, position: int, end: int) -> None:
        while position < end:
            name, content, length = self._element(position)
            if length is None:
                return
            if name == 0x2AD7B1:
                self._tick_s = int.from_bytes(at(self._file, content, min(length, 8)), "big") / 1e9
            position = content + length

    def _inside(self, content: int, length: int) -> int:
        if content + length > self._size:
            raise _DamagedError(f"it ends within an element, at about {self._seconds()}; the file was cut at its end")
        return content + length

    def _name(self, position: int) -> int:
        """Return the name of the element at a position, zero where there is none."""
        head = at(self._file, position, 4)
        n = 9 - head[0].bit_length() if head else 9
        return int.from_bytes(head[:n], "big") if n <= 4 else 0

    def _element(self, position: int) -> tuple[int, int, int | None]:
        """Return the name, the position of the content and its length, None where that is unknown."""
        head = at(self._file, position, 12)
        n = 9 - head[0].bit_length()
        if n > 4 or len(head) < n + 1:
            raise self._damage(position)
        m = 9 - head[n].bit_length()
        if m > 8 or len(head) < n + m:
            raise self._damage(position)
        length = int.from_bytes(head[n : n + m], "big") & (1 << 7 * m) - 1
        return int.from_bytes(head[:n], "big"), position + n + m, None if length == (1 << 7 * m) - 1 else length

    def _damage(self, position: int) -> _DamagedError:
        return _DamagedError(f"it is damaged at about {self._seconds()} (byte {position}); sound may be missing there")

    def _seconds(self) -> str:
        return f"{self._before_s + self._block * self._tick_s:.2f} s"
