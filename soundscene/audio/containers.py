"""What an audio file holds: its parts, their position in time, and what is odd; and what the readers of formats share."""

import os
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

_NOT_AUDIO = {  # first bytes of files that are often found under the name of a sound file
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"version https://git-lfs": "a Git LFS pointer (run git lfs pull)",
    b"<!DOCTYPE": "an HTML page (did the download fail?)",
    b"<html": "an HTML page (did the download fail?)",
}
_HEADER = 1 << 27  # bytes of a header of safetensors, at most
_ONNX = b"\x12\x1a\x3a"  # keys that stand behind the version of the format: of the writer's name, its version, the graph
_CHUNK = 1 << 20  # bytes that are searched at a time


@dataclass(frozen=True)
class Part:
    """Describe a part of a file that a decoder reads as a file of its own.

    Attributes:
        start: Its first byte.
        end: The byte behind its last; None: the end of the file.
        prefix: Bytes to read before those of the file: a corrected header, or one that the part lacks.
        rate: Sample rate in Hz as its header says; 0: unknown.
        n_frames: Frames that decoding must yield at least; None: not stated.
        span_s: Seconds from the end of the part before it to its own end, of which it fills the last; None: it follows
            directly.
        before: What to note at its start, with {s} for the second.
        after: What to note at its end, with {s} for the second.
        lost: What to note if the decoder gets the whole file, and steps over what is missing before the part.
        exact: Whether `n_frames` are all there is, though the decoder would go on.
        foreign: Whether only FFmpeg reads it.
    """

    start: int = 0
    end: int | None = None
    prefix: bytes = b""
    rate: int = 0
    n_frames: int | None = None
    span_s: float | None = None
    before: str = ""
    after: str = ""
    lost: str = ""
    exact: bool = False
    foreign: bool = False

    @property
    def whole(self) -> bool:
        """Whether the part is the file as it is."""
        return not (self.start or self.prefix or self.end is not None)


@dataclass(frozen=True)
class Contents:
    """Hold what a file consists of.

    Attributes:
        parts: What decoders read, in order.
        fault: Why the file cannot be complete, or empty.
        notes: What is odd about the file, though it can be read.
        next_start: Where another file begins that was joined to this one; None: nowhere.
        end: Where what was recognised ends, and a file of another format may begin; None: not before the end of the file.
        searched: Whether no other file can stand in the middle of this one.
    """

    parts: tuple[Part, ...] = (Part(),)
    fault: str = ""
    notes: tuple[str, ...] = ()
    next_start: int | None = None
    end: int | None = None
    searched: bool = True


class Window:
    """A binary file that reads as a part of another; what soundfile needs of a file object.

    It has no name on purpose: soundfile would take the suffix of a name for the format.

    Args:
        file: The whole file.
        part: Which bytes of it, and what stands before them.
    """

    def __init__(self, file: BinaryIO, part: Part) -> None:
        self._file, self._prefix, self._start = file, part.prefix, part.start
        end = file.seek(0, os.SEEK_END)
        self._end = end if part.end is None else min(end, part.end)
        self._length = len(self._prefix) + max(0, self._end - self._start)
        self._position = 0

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from the current position and return how many bytes there were."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, n: int = -1) -> bytes:
        """Read at most n bytes from the current position, all that is left for -1."""
        left = max(0, self._length - self._position)
        n = left if n < 0 else min(n, left)
        data = self._prefix[self._position : self._position + n]
        if len(data) < n:
            self._file.seek(self._start + self._position + len(data) - len(self._prefix))
            data += self._file.read(n - len(data))
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position and return it.

        Args:
            offset: Bytes.
            whence: From where they count, as in `io`.
        """
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position


def unread(n_bytes: int) -> str:
    """Return what to note of bytes at the end of a part that no decoder reads; {s} stands for the second."""
    return f"{n_bytes} bytes behind {{s}} are no sound that can be read; left out"


def not_audio(head: bytes) -> str:
    """Name what a file with these first bytes is, where it is certainly not audio; else empty."""
    for start, name in _NOT_AUDIO.items():
        if head.startswith(start):
            return name
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _HEADER:
        return "a model"
    if len(head) > 3 and head[0] == 8 and head[1] < 32 and head[2] in _ONNX:
        return "an exported model"
    text = bytes(range(32, 127)) + b"\t\r\n"
    return "plain text" if head and not head.translate(None, text) else ""


def at(file: BinaryIO, position: int, n: int) -> bytes:
    """Read bytes at a position, fewer at the end of the file.

    Args:
        file: The file.
        position: The first byte.
        n: How many.

    Raises:
        struct.error: The position is before the file.
    """
    if position < 0:
        raise struct.error("a size in the header is out of range")
    file.seek(position)
    return file.read(n)


def after_id3(file: BinaryIO, start: int = 0) -> int:
    """Return the position behind an ID3v2 tag, whose size has 7 bits to the byte, or `start` where there is none.

    Args:
        file: The file.
        start: Where the tag may begin.
    """
    head = at(file, start, 10)
    if head[:3] != b"ID3" or len(head) < 10:
        return start
    a, b, c, d = head[6:10]
    return start + 10 + (a << 21 | b << 14 | c << 7 | d) + (10 if head[5] & 0x10 else 0)


def after_tag(file: BinaryIO, position: int) -> int:
    """Return the position behind a tag that stands between two joined files, or the position itself.

    Args:
        file: The file.
        position: Where the tag may begin.
    """
    head = at(file, position, 32)
    if head[:3] == b"TAG":
        return position + 128
    if head[:8] == b"APETAGEX" and len(head) == 32:
        return position + 32 + struct.unpack("<I", head[12:16])[0]
    return after_id3(file, position)


def before_tags(file: BinaryIO, end: int, start: int = 0) -> int:
    """Return where the sound ends before the tags (ID3v1, APE, Lyrics3) that stand at the end of a file.

    Args:
        file: The file.
        end: Where to look from.
        start: No tag begins before this.
    """
    while end - start >= 32:
        tail = at(file, max(start, end - 160), min(160, end - start))
        if tail[-128:-125] == b"TAG" and len(tail) >= 128:
            end -= 128
        elif tail[-32:-24] == b"APETAGEX":
            length, _, flags = struct.unpack("<3I", tail[-20:-8])
            end -= length + (32 if flags & 1 << 31 else 0)
        elif tail[-9:] == b"LYRICS200" and tail[-15:-9].isdigit():
            end -= int(tail[-15:-9]) + 15
        else:
            break
    return max(start, end)


def unknown_bytes(file: BinaryIO, end: int, size: int) -> int:
    """Return how many bytes behind the end of what was recognised are neither tags nor zeros.

    Args:
        file: The file.
        end: The byte behind what was recognised.
        size: Length of the file in bytes.
    """
    while (behind := after_tag(file, end)) > end:
        end = min(behind, size)
    return max(0, before_zeros(file, before_tags(file, size, end), end) - end)


def before_zeros(file: BinaryIO, end: int, start: int = 0) -> int:
    """Return the position behind the last byte that is not zero.

    Args:
        file: The file.
        end: Where to look from, backwards.
        start: Where to stop.
    """
    n_bytes = 1 << 10  # as a rule there are none
    while end > start:
        first = max(start, end - n_bytes)
        data = at(file, first, end - first).rstrip(b"\0")
        if data:
            return first + len(data)
        end, n_bytes = first, min(4 * n_bytes, _CHUNK)
    return start


def find(file: BinaryIO, wanted: bytes, start: int, end: int) -> int:
    """Return the position of the first occurrence of some bytes, or -1.

    Args:
        file: The file.
        wanted: What to look for.
        start: Where to begin.
        end: Where to stop.
    """
    while start < end:
        data = at(file, start, min(_CHUNK, end - start) + len(wanted) - 1)
        if (found := data.find(wanted)) >= 0:
            return start + found
        start += _CHUNK
    return -1
