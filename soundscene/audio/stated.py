"""Old and rare formats of plain samples: whether what their header states is there, and what stands behind it.

NIST, VOC, AVR, 8SVX, MAT4, MAT5, MPC2000, SDS, WVE and SoX state a length; IRCAM, PAF and PVF state none. Their decoders
read to the end of the file, or step over what is missing.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from soundscene.audio.containers import Contents, Part, at, find, unknown_bytes, unread
from soundscene.audio.measured import chunks_of
from soundscene.audio.starts import begins_sound

_TAIL = 64  # unknown bytes behind the samples that are not worth a word
_MAT4 = {struct.pack(f"{order}4I", kind, 1, 1, 0): order for order, kind in (("<", 0), (">", 1000))}
_MAT4_BYTES = (8, 4, 4, 2, 2, 1)  # of a value, by its type
_MAT5_TYPES = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 9: "d"}
_SDS_PACKET, _SDS_DATA = 127, 120  # bytes


@dataclass(frozen=True)
class _Samples:
    """Hold where samples are and what the header says of them.

    Attributes:
        start: The first byte.
        n_bytes: How many are stated; None: no length is stated.
        block: Bytes that belong together.
        rate: Hz, 0: unknown.
        frames: Samples of each channel in a block.
        fault: What is damaged, or empty.
        foreign: Whether only FFmpeg reads the format.
    """

    start: int
    n_bytes: int | None
    block: int
    rate: int
    frames: float = 1
    fault: str = ""
    foreign: bool = False


def is_stated(magic: bytes) -> bool:
    """Tell a file of these formats by its first 16 bytes."""
    return any(matches(magic) for matches, _ in _FORMATS)


def stated(file: BinaryIO, size: int, start: int) -> Contents:
    """Compare the length that a header states with the file.

    Args:
        file: The file.
        size: Its length in bytes.
        start: Its first byte, behind a tag.
    """
    samples = _parse(file, size, start)
    if samples is None:
        return Contents()
    if samples.fault:
        return Contents(fault=samples.fault)
    if samples.n_bytes is None:
        return _of_no_length(file, size, start, samples)
    held, end = size - samples.start, samples.start + samples.n_bytes
    if samples.n_bytes > held:
        return Contents(fault=f"the header promises {samples.n_bytes} bytes of samples, the file holds {held}")
    n_frames = int(samples.n_bytes // samples.block * samples.frames)
    following = next((p for p in (end, end + 1) if begins_sound(file, p, size) or _parse(file, size, p)), None)
    n_bytes = 0 if following else unknown_bytes(file, end, size)
    after = unread(n_bytes) if n_bytes > _TAIL else ""
    cut = following or (end if samples.foreign and end < size else None)
    part = Part(start, cut, b"", samples.rate, n_frames, after=after, exact=True, foreign=samples.foreign)
    return Contents((part,), next_start=following)


def _of_no_length(file: BinaryIO, size: int, start: int, samples: _Samples) -> Contents:
    """Look for a file of the same kind behind this one, and at the last sample."""
    magic = at(file, start, 12)
    following = find(file, magic, samples.start, size)
    end = following if following >= 0 else size
    rest = (end - samples.start) % samples.block
    after = "its last sample is incomplete; it was cut at {s}" if rest else ""
    part = Part(start, end if following >= 0 else None, rate=samples.rate, after=after)
    return Contents((part,), next_start=following if following >= 0 else None)


def _parse(file: BinaryIO, size: int, start: int) -> _Samples | None:
    magic = at(file, start, 16)
    for matches, read in _FORMATS:
        if matches(magic):
            samples = read(file, size, start)
            return samples if samples and samples.block > 0 else None
    return None


# --- formats that state a length ----------------------------------------------------------------------------------------


def _nist(file: BinaryIO, size: int, start: int) -> _Samples | None:
    head = at(file, start, 1024)
    fields = [line.split() for line in head.decode("ascii", "replace").splitlines()]
    values = {f[0]: int(f[2]) for f in fields if len(f) > 2 and f[1] == "-i" and f[2].isdigit()}
    names = ("sample_count", "channel_count", "sample_n_bytes")
    if not all(name in values for name in names) or not head[8:16].strip().isdigit():
        return None
    count, channels, width = (values[name] for name in names)
    first = start + int(head[8:16])
    return _Samples(first, count * channels * width, channels * width, values.get("sample_rate", 0))


def _voc(file: BinaryIO, size: int, start: int) -> _Samples | None:
    """Walk the blocks; the samples of one block are measured, of several only whether the last is complete."""
    position = first = start + struct.unpack("<H", at(file, start + 20, 2))[0]
    found = list[tuple[int, int, int, int]]()  # position, bytes, block and rate
    while kind := at(file, position, 1)[:1]:
        if kind == b"\0":
            position += 1
            break
        length = int.from_bytes(at(file, position + 1, 3), "little")
        head = at(file, position + 4, 12)
        if kind == b"\x01":
            found.append((position + 6, length - 2, 1, 1_000_000 // (256 - head[0])))
        elif kind == b"\x09":
            rate, bits, channels = struct.unpack("<IBB", head[:6])
            found.append((position + 16, length - 12, channels * ((bits + 7) // 8), rate))
        elif kind == b"\x02" and found:
            found.append((position + 4, length, *found[-1][2:]))
        elif kind[0] > 9:
            break
        position += 4 + length
    if position > size + 1:
        return _Samples(first, position - first, 1, 0)
    if len(found) == 1:
        return _Samples(*found[0])
    # libsndfile takes the heads of further blocks for samples
    return _Samples(first, min(position, size) - first, 1, 0, frames=0, foreign=True) if found else None


def _avr(file: BinaryIO, size: int, start: int) -> _Samples | None:
    stereo, bits = struct.unpack(">hh", at(file, start + 12, 4))
    rate, count = struct.unpack(">II", at(file, start + 22, 8))
    block = (2 if stereo else 1) * (bits // 8)
    return _Samples(start + 128, count * block, block, rate & 0xFFFFFF)


def _svx(file: BinaryIO, size: int, start: int) -> _Samples | None:
    width = 2 if at(file, start + 8, 4) == b"16SV" else 1
    rate = 0
    for name, position, length in chunks_of(file, size, ">", start + 12):
        if name == b"VHDR":
            (rate,) = struct.unpack(">H", at(file, position + 12, 2))
        if name == b"BODY":
            return _Samples(position, length, width, rate)
    return None


def _mat4(file: BinaryIO, size: int, start: int) -> _Samples | None:
    """Two matrices: the rate, and the samples [channel, sample]."""
    order, position, rate = _MAT4[at(file, start, 16)], start, 0.0
    for _ in range(2):
        kind, rows, columns, _, n_name = struct.unpack(f"{order}5I", at(file, position, 20))
        width = _MAT4_BYTES[kind % 100 // 10]
        first = position + 20 + n_name
        if position > start:
            return _Samples(first, rows * columns * width, rows * width, round(rate))
        rate = struct.unpack(f"{order}d", at(file, first, 8))[0] if width == 8 else 0.0
        position = first + rows * columns * width
    return None


def _mat5(file: BinaryIO, size: int, start: int) -> _Samples | None:
    """Two matrices of MATLAB 5: the rate, and the samples [channel, sample]."""
    order = {b"IM": "<", b"MI": ">"}[at(file, start + 126, 2)]
    position, rate = start + 128, 0.0
    for _ in range(2):
        (length,) = struct.unpack(f"{order}I", at(file, position + 4, 4))
        place, rows, kind, n, first = position + 8, 1, 0, 0, 0
        for _ in range(4):  # flags, rows and columns, name, values
            kind, n = struct.unpack(f"{order}2I", at(file, place, 8))
            small = kind >> 16  # of up to four bytes, which stand in place of the length
            kind, n, first = kind & 0xFFFF, small or n, place + (4 if small else 8)
            if (kind, n) == (5, 8):
                (rows,) = struct.unpack(f"{order}I", at(file, first, 4))
            place += 8 if small else 8 + n + (-n & 7)
        code = _MAT5_TYPES.get(kind)
        if code is None:
            return None
        width = struct.calcsize(f"={code}")
        if position > start + 128:
            return _Samples(first, n, rows * width, round(rate))
        rate = float(struct.unpack(order + code, at(file, first, width))[0])
        position += 8 + length
    return None


def _mpc(file: BinaryIO, size: int, start: int) -> _Samples | None:
    head = at(file, start, 42)
    stereo, first, _, end = struct.unpack("<B3I", head[21:34])
    (rate,) = struct.unpack("<H", head[40:42])
    if stereo > 1 or first > end or not rate >= 1000 or not head[2:19].rstrip(b"\0 ").isascii():
        return None
    return _Samples(start + 42, end * 2 * (stereo + 1), 2 * (stereo + 1), rate)


def _sds(file: BinaryIO, size: int, start: int) -> _Samples | None:
    """Packets of 120 bytes with seven bits each, numbered; libsndfile prints to stdout where one is damaged."""
    head = at(file, start, 21)
    if len(head) < 21 or head[20] != 0xF7:
        return None
    period, n = (a | b << 7 | c << 14 for a, b, c in (head[7:10], head[10:13]))
    per_packet = _SDS_DATA // (-(-head[6] // 7)) if 8 <= head[6] <= 28 else 0
    if not per_packet or not period:
        return None
    rate, first = 1_000_000_000 // period, start + 21
    n_packets = -(-n // per_packet)
    fault = ""
    for i in range(min(n_packets, (size - first) // _SDS_PACKET)):
        place = first + i * _SDS_PACKET
        packet = at(file, place, 5) + at(file, place + _SDS_PACKET - 1, 1)
        if packet[:2] != b"\xf0\x7e" or packet[3] != 2 or packet[4] != i & 0x7F or packet[5] != 0xF7:
            fault = f"a packet at {i * per_packet / rate:.2f} s is damaged or missing"
            break
    return _Samples(first, n_packets * _SDS_PACKET, _SDS_PACKET, rate, n / max(1, n_packets), fault)


def _wve(file: BinaryIO, size: int, start: int) -> _Samples | None:
    (length,) = struct.unpack(">I", at(file, start + 18, 4))
    return _Samples(start + 32, length, 1, 8000)


def _sox(file: BinaryIO, size: int, start: int) -> _Samples | None:
    order = "<" if at(file, start, 4) == b".SoX" else ">"
    length, n, rate, channels = struct.unpack(f"{order}IQdI", at(file, start + 4, 24))
    first = start + 4 + length
    return _Samples(first, 4 * n if n else size - first, 4 * channels, round(rate), foreign=True) if channels else None


# --- formats that state none --------------------------------------------------------------------------------------------


def _ircam(file: BinaryIO, size: int, start: int) -> _Samples | None:
    order = "<" if at(file, start, 1) == b"\x64" else ">"
    rate, channels, encoding = struct.unpack(f"{order}fII", at(file, start + 4, 12))
    return _Samples(start + 1024, None, channels * (encoding & 0xFFFF), round(rate) if 0 < rate < 1e7 else 0)


def _paf(file: BinaryIO, size: int, start: int) -> _Samples | None:
    order = ">" if at(file, start, 4) == b" paf" else "<"
    rate, form, channels = struct.unpack(f"{order}3I", at(file, start + 12, 12))
    return _Samples(start + 2048, None, channels * {0: 2, 1: 32, 2: 1}.get(form, 0), rate)


def _pvf(file: BinaryIO, size: int, start: int) -> _Samples | None:
    head = at(file, start, 64).split(b"\n")
    channels, rate, bits = (int(word) for word in head[1].split())
    return _Samples(start + len(head[0]) + len(head[1]) + 2, None, channels * (bits // 8), rate)


_Reader = Callable[[BinaryIO, int, int], _Samples | None]
_FORMATS: list[tuple[Callable[[bytes], bool], _Reader]] = [
    (lambda magic: magic[:7] == b"NIST_1A", _nist),
    (lambda magic: magic[:12] == b"Creative Voi", _voc),
    (lambda magic: magic[:4] == b"2BIT", _avr),
    (lambda magic: magic[:4] == b"FORM" and magic[8:12] in (b"8SVX", b"16SV"), _svx),
    (lambda magic: magic in _MAT4, _mat4),
    (lambda magic: magic == b"MATLAB 5.0 MAT-f", _mat5),
    (lambda magic: magic[:2] == b"\x01\x04", _mpc),
    (lambda magic: magic[:2] == b"\xf0\x7e" and magic[3:4] == b"\x01", _sds),
    (lambda magic: magic == b"ALawSoundFile**\0", _wve),
    (lambda magic: magic[:4] in (b".SoX", b"XoS."), _sox),
    (lambda magic: magic[:2] == b"\x64\xa3" or (magic[:1] == b"\0" and magic[2:4] == b"\xa3\x64"), _ircam),
    (lambda magic: magic[:4] in (b" paf", b"fap "), _paf),
    (lambda magic: magic[:5] == b"PVF1\n", _pvf),
]
