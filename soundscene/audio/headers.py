"""AU and CAF."""

import struct
from typing import BinaryIO

from soundscene.audio.containers import Contents, Part, at
from soundscene.audio.measured import MOST, SampleBytes, contents_of, is_name, is_piped, measure

_AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}  # of a sample, by encoding


def is_au(magic: bytes) -> bool:
    """Tell an AU file by its first bytes."""
    return magic[:4] in (b".snd", b"dns.")


def is_caf(magic: bytes) -> bool:
    """Tell a CAF file by its first bytes."""
    return magic[:4] == b"caff"


def au(file: BinaryIO, size: int, start: int) -> Contents:
    """Measure an AU file.

    Args:
        file: The file.
        size: Its length in bytes.
        start: Its first byte, behind a tag.
    """
    order = ">" if at(file, start, 4) == b".snd" else "<"
    name, offset, promised, encoding, rate, channels = struct.unpack(f"{order}4s5I", at(file, start, 24))
    block = _AU_BYTES.get(encoding, 0) * channels
    unknown = is_piped(promised) or (promised == 0 and size - start > offset)
    samples = SampleBytes(start + offset, promised, unknown, rate * block, rate, block)
    measured = measure(file, size, samples, min(size, start + offset + promised))
    n_bytes = measured.end - samples.start
    header = struct.pack(f"{order}4s5I", name, 24, min(n_bytes, MOST), encoding, rate, channels)
    return contents_of(start, samples, measured, header)


def caf(file: BinaryIO, size: int, start: int) -> Contents:
    """Measure a CAF file, whose chunk of samples may have the size -1: to the end of the file.

    Args:
        file: The file.
        size: Its length in bytes.
        start: Its first byte, behind a tag.
    """
    position, description, found = start + 8, b"", None
    while position + 12 <= size:
        name, length = struct.unpack(">4sq", at(file, position, 12))
        if name == b"desc":
            description = at(file, position + 12, 32)
        if name == b"data":
            found = position + 12, length
            break
        position += 12 + max(0, length)
    if found is None or len(description) < 32:
        return Contents(fault="the header ends before the samples begin (no 'data' chunk)")
    rate, form, _, packet, frames, _, _ = struct.unpack(">d4s5I", description)
    block = packet if form in (b"lpcm", b"ulaw", b"alaw") and frames == 1 else 0
    rate = round(rate) if 0 < rate < 1e9 else 0
    first, promised = found[0] + 4, found[1] - 4  # an edit count precedes the samples
    unknown = found[1] < 4 and size > first
    samples = SampleBytes(first, max(0, promised), unknown, rate * block, rate, block)
    end = first + samples.promised
    while end + 12 <= size and is_name((head := at(file, end, 12))[:4]) and head[:4] != b"caff":
        length = struct.unpack(">q", head[4:])[0]
        if not 0 <= length <= size - end - 12:
            break
        end += 12 + length
    measured = measure(file, size, samples, min(end, size))
    if unknown and not block:
        return Contents((Part(rate=rate),))
    header = at(file, start, 8) + struct.pack(">4sq", b"desc", 32) + description
    header += struct.pack(">4sqI", b"data", measured.end - first + 4, 0)
    return contents_of(start, samples, measured, header if block else b"")
