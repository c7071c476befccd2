"""WAV (also RF64, BW64, RIFX), W64 and AIFF."""

import struct
from dataclasses import replace
from typing import BinaryIO

from soundscene.audio.containers import Contents, Part, at
from soundscene.audio.measured import MOST, SampleBytes, chunks_end, chunks_of, contents_of, is_piped, measure

_PCM = (1, 3, 6, 7)  # WAVE formats of samples of one size: integer, float, A-law, mu-law
_RAW_AIFF = (b"NONE", b"sowt", b"twos", b"raw ", b"fl32", b"FL32", b"fl64", b"FL64", b"in24", b"in32", b"ulaw", b"alaw")
_GUID = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"  # what follows the name of a chunk in W64


def is_wave(magic: bytes) -> bool:
    """Tell a WAV file by its first bytes."""
    return magic[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and magic[8:12] == b"WAVE"


def is_aiff(magic: bytes) -> bool:
    """Tell an AIFF or AIFF-C file by its first bytes."""
    return magic[:4] == b"FORM" and magic[8:12] in (b"AIFF", b"AIFC")


def is_w64(magic: bytes) -> bool:
    """Tell a W64 file by its first bytes."""
    return magic[:4] == b"riff" and magic[4:8] == b"\x2e\x91\xcf\x11"


# --- WAV --------------------------------------------------------------------------------------------------------------


def wave(file: BinaryIO, size: int, start: int) -> Contents:
    """Measure a WAV file.

    Args:
        file: The file.
        size: Its length in bytes.
        start: Its first byte, behind a tag.
    """
    magic = at(file, start, 4)
    order = ">" if magic == b"RIFX" else "<"
    chunks = dict[bytes, tuple[int, int]]()
    for name, position, length in chunks_of(file, size, order, start + 12):
        chunks.setdefault(name, (position, length))
        if name == b"data":
            break
    if b"data" not in chunks:
        return Contents(fault="the header ends before the samples begin (no 'data' chunk)")
    position, promised = chunks[b"data"]
    (riff_size,) = struct.unpack(f"{order}I", at(file, start + 4, 4))
    unknown = is_piped(promised)
    if magic in (b"RF64", b"BW64") and (big := chunks.get(b"ds64")):
        promised = struct.unpack("<Q", at(file, big[0] + 8, 8))[0] if promised == 0xFFFFFFFF else promised
        unknown = promised in (0, MOST, (1 << 64) - 1) and size > position
    elif promised == 0 and riff_size + 8 != size - start:  # a completed header of no samples may be followed by chunks
        unknown = True
    unknown = unknown and not (promised and promised == size - position)
    form = _whole_bytes(at(file, *chunks[b"fmt "]) if b"fmt " in chunks else b"", order)
    samples = _wave_samples(form, order, position, promised, unknown)
    known_end = chunks_end(file, size, order, position + promised)
    measured = measure(file, size, samples, known_end)
    # A chunk lacks its pad byte, or samples have more bytes than bits: libsndfile would read them elsewhere.
    if (position - start) & 1 or (b"fmt " in chunks and form != at(file, *chunks[b"fmt "])):
        measured = replace(measured, wrong=True)
    contents = contents_of(start, samples, measured, _wave_header(form, order, measured.end - position))
    more = [] if measured.wrong or contents.fault else _more_data(file, size, order, samples, known_end)
    if not more:
        return contents
    parts = [replace(contents.parts[0], end=measured.end)]
    parts += [Part(p, p + n, _wave_header(form, order, n), samples.rate) for p, n in more]
    return replace(contents, parts=tuple(parts))


def _more_data(file: BinaryIO, size: int, order: str, samples: SampleBytes, end: int) -> list[tuple[int, int]]:
    """Find further chunks of samples, which recorders that were paused append; libsndfile reads the first only."""
    position = samples.start + samples.promised
    position += position & 1
    return [(p, min(n, size - p)) for name, p, n in chunks_of(file, end, order, position) if name == b"data" and n > 64]


def _whole_bytes(form: bytes, order: str) -> bytes:
    """Correct the bits of integers that fill more bytes than they need, as 24 bits in 4 bytes: the upper ones count."""
    if len(form) < 26:
        return form
    tag, channels, rate, byte_rate, block, bits = struct.unpack(f"{order}HHIIHH", form[:16])
    kind = struct.unpack(f"{order}H", form[24:26])[0] if tag == 0xFFFE else tag
    width = block // channels if channels and block % channels == 0 else 0
    if kind != 1 or not 2 <= width <= 4 or not 8 < bits <= 8 * (width - 1):
        return form
    return struct.pack(f"{order}HHIIHH", tag, channels, rate, byte_rate, block, 8 * width) + form[16:]


def _wave_samples(form: bytes, order: str, position: int, promised: int, unknown: bool) -> SampleBytes:
    if len(form) < 16:
        return SampleBytes(position, promised, unknown, 0, 0, 0)
    tag, channels, rate, byte_rate, block, bits = struct.unpack(f"{order}HHIIHH", form[:16])
    if tag == 0xFFFE and len(form) >= 26:
        (tag,) = struct.unpack(f"{order}H", form[24:26])
    if tag not in _PCM or block != channels * (bits + 7) // 8 or not block:
        return SampleBytes(position, promised, unknown, byte_rate, rate, 0)
    return SampleBytes(position, promised, unknown, rate * block, rate, block)


def _wave_header(form: bytes, order: str, n_bytes: int) -> bytes:
    """Make the header of a WAV file, RF64 where 32 bits do not hold the length."""
    if len(form) < 16:
        return b""
    form = struct.pack(f"{order}4sI", b"fmt ", len(form)) + form + b"\0" * (len(form) & 1)
    if n_bytes + len(form) + 12 <= MOST - 8:
        name = b"RIFX" if order == ">" else b"RIFF"
        head = struct.pack(f"{order}4sI4s", name, n_bytes + len(form) + 12, b"WAVE")
        return head + form + struct.pack(f"{order}4sI", b"data", n_bytes)
    big = struct.pack("<4sI3QI", b"ds64", 28, n_bytes + len(form) + 48, n_bytes, 0, 0)
    return struct.pack("<4sI4s", b"RF64", MOST, b"WAVE") + big + form + struct.pack("<4sI", b"data", MOST)


# --- W64 --------------------------------------------------------------------------------------------------------------


def w64(file: BinaryIO, size: int, start: int) -> Contents:
    """Measure a W64 file, whose chunks have names of 16 bytes and sizes of 8 that count name and size.

    Args:
        file: The file.
        size: Its length in bytes.
        start: Its first byte, behind a tag.
    """
    position, form, found = start + 40, b"", None
    while position + 24 <= size:
        name, length = at(file, position, 4), struct.unpack("<Q", at(file, position + 16, 8))[0]
        if name == b"fmt ":
            form = at(file, position + 24, min(length - 24, 200)) if length >= 24 else b""
        if name == b"data":
            found = position + 24, length - 24
            break
        position += max(24, length + 7 & ~7)
    if found is None:
        return Contents(fault="the header ends before the samples begin (no 'data' chunk)")
    unknown = found[1] <= 0 and size > found[0]
    samples = _wave_samples(form, "<", found[0], max(0, found[1]), unknown)
    end = position = samples.start + samples.promised
    position += -(position - start) % 8
    while position + 24 <= size and at(file, position + 4, 12) == _GUID:
        position += max(24, struct.unpack("<Q", at(file, position + 16, 8))[0] + 7 & ~7)
        end = min(position, size)
    measured = measure(file, size, samples, min(end, size))
    return contents_of(start, samples, measured, _wave_header(form, "<", measured.end - samples.start))


# --- AIFF -------------------------------------------------------------------------------------------------------------


def aiff(file: BinaryIO, size: int, start: int) -> Contents:
    """Measure an AIFF or AIFF-C file.

    Args:
        file: The file.
        size: Its length in bytes.
        start: Its first byte, behind a tag.
    """
    chunks = dict[bytes, tuple[int, int]]()
    for name, position, length in chunks_of(file, size, ">", start + 12):
        chunks.setdefault(name, (position, length))
        if name == b"SSND":
            break
    if b"SSND" not in chunks or b"COMM" not in chunks:
        return Contents()  # allowed when there are no samples; COMM behind SSND is left to the decoder
    position, promised = chunks[b"SSND"]
    common = at(file, *chunks[b"COMM"])
    channels, _, bits = struct.unpack(">hIh", common[:8])
    exponent, mantissa = struct.unpack(">HQ", common[8:18])
    rate = round(mantissa * 2.0 ** (max(-60, min(40, (exponent & 0x7FFF) - 16383)) - 63))
    raw = len(common) < 22 or common[18:22] in _RAW_AIFF
    block = channels * ((bits + 7) // 8) if raw and channels > 0 and 0 < bits <= 64 else 0
    (offset,) = struct.unpack(">I", at(file, position, 4))
    unknown = (promised <= 8 or is_piped(promised)) and size - position > 72
    first = position + 8 + (offset if offset < size - position else 0)
    samples = SampleBytes(first, max(0, promised - (first - position)), unknown, rate * block, rate, block)
    measured = measure(file, size, samples, chunks_end(file, size, ">", position + promised))
    if measured.fault:
        return Contents(fault=f"the header promises {promised} bytes of samples, the file holds {size - position}")
    n_bytes = measured.end - first
    common = common[:2] + struct.pack(">I", (n_bytes // block if block else 0) & MOST) + common[6:]
    head = struct.pack(">4sI", b"COMM", len(common)) + common + b"\0" * (len(common) & 1)
    head += struct.pack(">4sIII", b"SSND", n_bytes + 8 & MOST, 0, 0)
    kind = at(file, start + 8, 4)
    prefix = struct.pack(">4sI4s", b"FORM", len(head) + n_bytes + 4 & MOST, kind) + head
    return contents_of(start, samples, measured, prefix if block else b"")
