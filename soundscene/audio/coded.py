"""What only FFmpeg reads, in packets or frames of stated length: FLV, TTA, WavPack, WMA, MPEG-TS, AMR, AC-3 and E-AC-3.

FFmpeg stops at a second file that was joined, or takes it for damage, and drops what is incomplete in silence.
"""

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

from soundscene.audio.containers import Contents, Part, at, before_zeros, find, unknown_bytes, unread

_TAIL = 64  # unknown bytes at the end that are not worth a word
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_OBJECTS = (_ASF_HEADER, bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c"))  # header, data; an index begins otherwise
_AC3_KBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_AMR_BYTES = {
    b"#!AMR\n": (13, 14, 16, 18, 20, 21, 27, 32, 6, 6, 6, 6, 1, 1, 1, 1),
    b"#!AMR-WB\n": (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 1, 1, 1, 1, 1, 1),
}
_TS_PACKET, _TS_END = 188, 1 << 20  # bytes of a packet, and in which the last one is looked for

_Step = Callable[[BinaryIO, int], int]  # length of the packet at a position, zero where there is none
_Reader = tuple[Callable[[bytes], bool], Callable[[BinaryIO, int, int], Contents]]


def _walked(file: BinaryIO, size: int, start: int, header: _Step, step: _Step) -> Contents:
    """Walk packets from a header on, and from another header where a second file was joined.

    Args:
        file: The file.
        size: Its length in bytes.
        start: Its first byte.
        header: Length of the header at a position.
        step: Length of the packet at a position.
    """
    parts, first, position = list[Part](), start, start
    while position < size:
        if length := header(file, position):
            if position > first:
                parts.append(Part(first, position, foreign=True))
                first = position
        elif not (length := step(file, position)):
            break
        position += length
    if position > size:
        parts.append(Part(first, foreign=True, after="its last packet is incomplete; it was cut at {s}"))
        return Contents(tuple(parts))
    n_bytes = unknown_bytes(file, position, size)
    after = unread(n_bytes) if n_bytes > _TAIL else ""
    parts.append(Part(first, None if position == size else position, foreign=True, after=after))
    return Contents(tuple(parts), end=position if after else None)


# --- FLV, TTA, WavPack, WMA -------------------------------------------------------------------------------------------


def _flv(file: BinaryIO, size: int, start: int) -> Contents:
    def header(file: BinaryIO, position: int) -> int:
        return 13 if at(file, position, 4) == b"FLV\1" else 0

    def tag(file: BinaryIO, position: int) -> int:
        head = at(file, position, 11)
        return int.from_bytes(head[1:4], "big") + 15 if head[:1] in (b"\x08", b"\x09", b"\x12") else 0

    return _walked(file, size, start, header, tag)


def _tta(file: BinaryIO, size: int, start: int) -> Contents:
    """Its header states the samples, and a table the bytes of each frame."""

    def whole(file: BinaryIO, position: int) -> int:
        head = at(file, position, 22)
        if head[:4] != b"TTA1" or len(head) < 22:
            return 0
        rate, n = struct.unpack("<II", head[10:18])
        frame = rate * 256 // 245
        n_frames = -(-n // frame) if frame else 0
        if not 0 < n_frames <= size // 4:
            return 0
        table = at(file, position + 22, 4 * n_frames)
        return 22 + 4 * n_frames + 4 + sum(struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4]))

    return _walked(file, size, start, whole, lambda file, position: 0)


def _wavpack(file: BinaryIO, size: int, start: int) -> Contents:
    def first(file: BinaryIO, position: int) -> int:
        """A block of sample 0 with sound, the first of those of its channels."""
        head = at(file, position, 32)
        index, n_samples = struct.unpack("<2I", head[16:24]) if len(head) == 32 else (1, 0)
        return block(file, position) if not index and n_samples and head[25] & 8 else 0

    def block(file: BinaryIO, position: int) -> int:
        head = at(file, position, 8)
        return struct.unpack("<I", head[4:])[0] + 8 if head[:4] == b"wvpk" and len(head) == 8 else 0

    return _walked(file, size, start, first, block)


def _asf(file: BinaryIO, size: int, start: int) -> Contents:
    """WMA: its objects state their length each."""

    def header(file: BinaryIO, position: int) -> int:
        return item(file, position) if at(file, position, 16) == _ASF_HEADER else 0

    def item(file: BinaryIO, position: int) -> int:
        head = at(file, position, 24)
        length = struct.unpack("<Q", head[16:])[0] if len(head) == 24 else 0
        known = head[:16] in _ASF_OBJECTS or length <= size - position
        return length if length >= 24 and known else 0

    return _walked(file, size, start, header, item)


# --- frames -----------------------------------------------------------------------------------------------------------


def _amr(file: BinaryIO, size: int, start: int) -> Contents:
    name = next(name for name in _AMR_BYTES if at(file, start, len(name)) == name)
    lengths, end = _AMR_BYTES[name], before_zeros(file, size, start)

    def header(file: BinaryIO, position: int) -> int:
        return len(name) if at(file, position, len(name)) == name else 0

    def frame(file: BinaryIO, position: int) -> int:
        head = at(file, position, 1)
        return lengths[head[0] >> 3 & 15] if position < end and head and not head[0] & 0x83 else 0

    return _walked(file, size, start, header, frame)


def ac3_length(head: bytes) -> int:
    """Return the bytes of the AC-3 or E-AC-3 frame that six bytes begin, zero where they begin none."""
    if len(head) < 6 or head[:2] != b"\x0b\x77":
        return 0
    rate, code = head[4] >> 6, head[4] & 63
    if head[5] >> 3 > 10:  # E-AC-3
        return 2 * (((head[2] & 7) << 8 | head[3]) + 1)
    if rate == 3 or code >> 1 >= len(_AC3_KBITS):
        return 0
    kbits = _AC3_KBITS[code >> 1]
    return 2 * (2 * kbits, 320 * kbits // 147 + (code & 1), 3 * kbits)[rate]


def _ac3(file: BinaryIO, size: int, start: int) -> Contents:
    """Each frame may begin a file, so sound behind a damaged place is a part of its own."""

    def frame(file: BinaryIO, position: int) -> int:
        return ac3_length(at(file, position, 6))

    contents = _walked(file, size, start, lambda file, position: 0, frame)
    following = contents.end
    while following is not None and (following := find(file, b"\x0b\x77", following + 1, size)) >= 0:
        if (length := frame(file, following)) and frame(file, following + length):
            (first,), second = contents.parts, _ac3(file, size, following)
            first = replace(first, after="bytes at {s} are missing or damaged")
            return replace(second, parts=(first, *second.parts))
    return contents


def _ts(file: BinaryIO, size: int, start: int) -> Contents:
    if at(file, start + _TS_PACKET, 1) != b"\x47":
        return Contents()
    first = max(start, size - _TS_END)
    data = at(file, first, size - first)
    last = len(data)
    while (last := data.rfind(b"\x47", 0, last)) >= 2 * _TS_PACKET:
        if data[last - _TS_PACKET] == data[last - 2 * _TS_PACKET] == 0x47:
            break
    end = first + last + _TS_PACKET
    if end > size:
        return Contents((Part(start, foreign=True, after="its last packet is incomplete; it was cut at {s}"),))
    n_bytes = unknown_bytes(file, end, size)
    after = unread(n_bytes) if n_bytes > _TAIL else ""
    return Contents((Part(start, end if end < size else None, foreign=True, after=after),), end=end if after else None)


def _is_ts(magic: bytes) -> bool:
    return magic[:1] == b"\x47" and magic[1] & 0x80 == 0 and magic[3] & 0xC0 == 0 and magic[3] & 0x30 != 0


CODED: list[_Reader] = [
    (lambda magic: magic[:4] == b"FLV\1", _flv),
    (lambda magic: magic[:4] == b"TTA1", _tta),
    (lambda magic: magic[:4] == b"wvpk", _wavpack),
    (lambda magic: magic[:16] == _ASF_HEADER, _asf),
    (lambda magic: magic[:6] == b"#!AMR\n" or magic[:9] == b"#!AMR-WB\n", _amr),
    (lambda magic: ac3_length(magic[:6]) > 0, _ac3),
    (_is_ts, _ts),
]
"""How to tell each format by its first 16 bytes, and what reads it."""
