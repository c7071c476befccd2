"""One rule for files whose header states the bytes of their samples: what it states against what is there, both ways.

A header that is wrong, or was never completed, is replaced by one that says what is there.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from soundscene.audio.containers import Contents, Part, at, before_tags, before_zeros, unread
from soundscene.audio.starts import begins_sound

MOST = 0xFFFFFFFF  # bytes that a size of four bytes can state
_PIPED = (0x7FFFF000, 0x7FFFFFFF)  # sizes that programs writing to a pipe leave: SoX, GStreamer
_PIPED_FROM = 0xFFFFFF00  # and ffmpeg: 2^32 - 1, by some less the header
_PLACEHOLDERS = (0x7EFFF000, 0x80001000)  # sizes that recorders write first, and leave there when they are stopped
_HEADER_SLACK = 64  # bytes by which a size that counts the header may be wrong beyond it
_AFTER_WRAP = 1 << 20  # bytes of chunks behind samples whose size wrapped
_PADDING = 1 << 20  # zero bytes at the end that are not worth a word
_TAIL = 64  # unknown bytes behind the samples that are not worth a word


def is_piped(promised: int) -> bool:
    """Tell whether a size of four bytes means: to the end of the file."""
    return promised in _PIPED or promised >= _PIPED_FROM


@dataclass(frozen=True)
class SampleBytes:
    """Hold where the samples are and what the header says of them.

    Attributes:
        start: Their first byte.
        promised: Bytes that the header states.
        unknown: The header states that it does not know, as programs that write to a pipe do.
        byte_rate: Bytes a second; 0: unknown.
        rate: Sample rate, Hz.
        block: Bytes of a sample of all channels, 0: not of one size.
    """

    start: int
    promised: int
    unknown: bool
    byte_rate: int
    rate: int
    block: int


@dataclass(frozen=True)
class Measured:
    """Hold what is there.

    Attributes:
        end: The byte behind the last sample.
        wrong: Whether the header must be replaced.
        fault: Why the file cannot be complete, or empty.
        notes: What is odd.
        after: What to note at the end of the sound, with {s} for the second.
        next_start: Where another file begins that was joined to this one; None: nowhere.
    """

    end: int
    wrong: bool = False
    fault: str = ""
    notes: tuple[str, ...] = ()
    after: str = ""
    next_start: int | None = None


def measure(file: BinaryIO, size: int, samples: SampleBytes, chunks_end: int) -> Measured:
    """Compare the bytes that the header states with those that are there.

    Args:
        file: The file.
        size: Its length in bytes.
        samples: What its header says.
        chunks_end: Where what is known to follow the samples (other chunks) ends.
    """
    held = size - samples.start
    if samples.unknown:
        return Measured(size, wrong=True)
    if samples.promised > held:
        missing = samples.promised - held
        if _PLACEHOLDERS[0] <= samples.promised <= _PLACEHOLDERS[1] or samples.promised >= 1 << 62:
            return Measured(
                size,
                wrong=True,
                notes=("its header was never completed (was the recorder stopped?); read to the end of the file",),
            )
        if missing <= samples.start + _HEADER_SLACK:
            note = f"its header states {missing} bytes of samples more than the file holds; read to the end of the file"
            return Measured(size, wrong=True, notes=(note,))
        return Measured(size, fault=f"the header promises {samples.promised} bytes of samples, the file holds {held}")
    return _surplus(file, size, samples, chunks_end)


def _surplus(file: BinaryIO, size: int, samples: SampleBytes, chunks_end: int) -> Measured:
    """Judge the bytes behind all that the header accounts for: tags, padding, another file, or more samples."""
    stated = samples.start + samples.promised
    wraps, rest = divmod(size - stated, MOST + 1)
    if wraps and rest < _AFTER_WRAP and samples.block and samples.byte_rate:
        note = f"its sizes wrapped at 4 GiB; all {(size - rest - samples.start) / samples.byte_rate:.2f} s of it are read"
        return Measured(size - rest, wrong=True, notes=(note,))
    untagged = before_tags(file, size, chunks_end)
    end = before_zeros(file, untagged, chunks_end)
    for start in (chunks_end, chunks_end + 1):  # with a pad byte or without
        if begins_sound(file, start, size):
            return Measured(stated, wrong=True, next_start=start)
    if end - chunks_end <= _TAIL:
        n_zeros = untagged - end
        return Measured(stated, after=f"{n_zeros} zero bytes behind {{s}} left out" if n_zeros > _PADDING else "")
    if (
        chunks_end - stated > 1 or not samples.block or not samples.byte_rate
    ):  # other chunks stand between: what these bytes are is unknown
        return Measured(stated, after=unread(end - chunks_end))
    ends_s, longer_s = samples.promised / samples.byte_rate, (end - stated) / samples.byte_rate
    end = samples.start + -(-(end - samples.start) // samples.block) * samples.block  # zeros may end the last sample
    note = f"its header ends at {ends_s:.2f} s, the file goes on for {longer_s:.2f} s; all of it is read"
    return Measured(min(end, size), wrong=True, notes=(note,))


def contents_of(start: int, samples: SampleBytes, measured: Measured, prefix: bytes) -> Contents:
    """Build the parts of a file.

    Args:
        start: Its first byte, behind a tag.
        samples: What its header says.
        measured: What is there.
        prefix: A header that says what is there; empty where none can be made.

    Returns:
        The file as it is where its header is right.
    """
    if measured.fault:
        return Contents(fault=measured.fault)
    n_frames = (measured.end - samples.start) // samples.block if samples.block else None
    part = Part(rate=samples.rate, n_frames=n_frames, after=measured.after, exact=bool(samples.block))
    if measured.wrong and prefix:
        part = replace(part, start=samples.start, end=measured.end, prefix=prefix)
    elif start or measured.next_start is not None:
        part = replace(part, start=start, end=measured.next_start)
    return Contents((part,), notes=measured.notes, next_start=measured.next_start)


def chunks_of(file: BinaryIO, size: int, order: str, position: int) -> Iterator[tuple[bytes, int, int]]:
    """Walk chunks of a name and a size of four bytes each; an odd one may lack its pad byte.

    Args:
        file: The file.
        size: Its length in bytes.
        order: Of the bytes of a size, "<" or ">".
        position: The first chunk.

    Yields:
        Name, position of the content, and length.
    """
    while position + 8 <= size:
        name, length = struct.unpack(f"{order}4sI", at(file, position, 8))
        yield name, position + 8, length
        position += 8 + length
        if length & 1 and not (is_name(at(file, position, 4)) and not is_name(at(file, position + 1, 4))):
            position += 1


def is_name(name: bytes) -> bool:
    """Tell whether four bytes may be the name of a chunk."""
    return len(name) == 4 and all(32 <= byte < 127 for byte in name)


def chunks_end(file: BinaryIO, size: int, order: str, position: int) -> int:
    """Return where the chunks that begin at a position end; what is no chunk does not count.

    Args:
        file: The file.
        size: Its length in bytes.
        order: Of the bytes of a size, "<" or ">".
        position: The first chunk.
    """
    if position > size:
        return size
    if position & 1 and not is_name(at(file, position, 4)):
        position = min(position + 1, size)
    for name, content, length in chunks_of(file, size, order, position):
        if not is_name(name) or begins_sound(file, content - 8, size) or content + length > size + 1:
            return content - 8
        position = content + length
    return min(position, size)
