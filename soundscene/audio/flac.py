"""FLAC: the samples that its header states against the number of its last frame, and what stands behind that frame."""

import struct
from typing import BinaryIO

from soundscene.audio.containers import Contents, Part, after_id3, at, before_tags, before_zeros, find
from soundscene.audio.starts import begins_sound

_STREAMINFO = (b"\0\0\0\x22", b"\x80\0\0\x22")  # behind "fLaC" at the start of a file: a block of 34 bytes
_NEAR_END = 1 << 17  # bytes that a decoder may hold in its buffers
_TAILS = (1 << 14, 1 << 16, 1 << 24)  # bytes at the end in which the last frame is looked for
_LONGEST = 1 << 18  # bytes of a frame that are searched
_SIZES = {1: 192, **{n: 576 << n - 2 for n in range(2, 6)}, **{n: 256 << n - 8 for n in range(8, 16)}}


def is_flac(magic: bytes) -> bool:
    """Tell a FLAC file by its first bytes."""
    return magic[:4] == b"fLaC"


def flac(file: BinaryIO, size: int, start: int, thorough: bool = False) -> Contents:
    """Read the frames of a FLAC file, or of several that were joined.

    Args:
        file: The file.
        size: Its length in bytes.
        start: Where "fLaC" stands.
        thorough: Look for another file in all of it, which costs a twentieth of decoding it, not near its end only.
    """
    searched = thorough or size <= _NEAR_END
    parts = list[Part]()
    while True:
        first = _first_frame(file, start, size)
        following = _following(file, first if searched else max(first, size - _NEAR_END), size)
        end = size if following is None else _before_id3(file, first, following)
        parts.append(_part(file, start, first, end, size))
        if parts[0].prefix and not searched:  # more than its header states: what is joined to it may be longer
            return flac(file, size, start, thorough=True)
        if following is None:
            return Contents(tuple(parts), searched=searched, end=_end(file, parts[-1], size))
        start, searched = following, True


def _following(file: BinaryIO, start: int, size: int) -> int | None:
    """Return where the next FLAC file begins that was joined to this one."""
    while (start := find(file, b"fLaC", start, size)) >= 0:
        if at(file, start + 4, 4) in _STREAMINFO:
            return start
        start += 4
    return None


def _part(file: BinaryIO, start: int, first: int, end: int, size: int) -> Part:
    head = at(file, start, first - start)
    fewest, most = struct.unpack(">HH", head[8:12])
    (bits,) = struct.unpack(">Q", head[18:26])
    rate, stated = bits >> 44, bits & (1 << 36) - 1
    untagged = before_tags(file, end, first)
    sound_end = before_zeros(file, untagged, first)
    held, frame = _last_frame(file, first, sound_end, head[8:26], fewest == most)
    after = ""
    if frame >= 0 and _is_whole(at(file, frame, sound_end - frame)):
        end = min(sound_end + 2, untagged)  # the checksum itself may end with zeros
    else:
        end = untagged
        after = "bytes behind {s} are no sound that can be read; left out" if frame >= 0 else ""
    if stated and held > stated:
        unknown = head[:21] + bytes([head[21] & 0xF0]) + bytes(4) + head[26:]
        ends_s, holds_s = stated / max(1, rate), held / max(1, rate)
        note = f"its header ends at {ends_s:.2f} s, the file holds {holds_s:.2f} s; all of it is read"
        return Part(first, end, unknown, rate, held, before=note, after=after)
    return Part(start, None if end == size else end, rate=rate, n_frames=stated or held or None, after=after)


def _end(file: BinaryIO, part: Part, size: int) -> int | None:
    """Return where the last part ends, if a file of another format begins there."""
    if not part.after:
        return None
    first = part.start if part.prefix else _first_frame(file, part.start, size)
    head = part.prefix or at(file, part.start, first - part.start)
    fewest, most = struct.unpack(">HH", head[8:12])
    _, frame = _last_frame(file, first, size, head[8:26], fewest == most)
    return _frame_end(file, frame, size) if frame >= 0 else None


def _first_frame(file: BinaryIO, start: int, size: int) -> int:
    """Return the position behind the blocks of metadata."""
    position = start + 4
    while position < size:
        (block,) = struct.unpack(">I", at(file, position, 4))
        position += 4 + (block & 0xFFFFFF)
        if block >> 31:
            break
    return min(position, size)


def _before_id3(file: BinaryIO, first: int, end: int) -> int:
    """Return where an ID3v2 tag begins that ends here, or `end`."""
    for distance in (1 << 12, 1 << 20):
        start = max(first, end - distance)
        data = at(file, start, end - start)
        place = data.rfind(b"ID3")
        if place >= 0 and after_id3(file, start + place) == end:
            return start + place
    return end


def _last_frame(file: BinaryIO, first: int, end: int, info: bytes, fixed: bool) -> tuple[int, int]:
    """Find the last frame; return the sample at which it ends and its position, or zero and -1 where none is found."""
    sync = b"\xff\xf8" if fixed else b"\xff\xf9"
    for length in _TAILS:
        begin = max(first, end - length)
        data = at(file, begin, end - begin)
        place = len(data)
        while (place := data.rfind(sync, 0, place)) >= 0:
            if samples := _frame_samples(data[place : place + 16], info, fixed):
                return samples, begin + place
        if begin == first:
            break
    return 0, -1


def _frame_samples(head: bytes, info: bytes, fixed: bool) -> int:
    """Return the number of the sample behind a frame, or zero where bytes with its first 15 bits are none of this stream."""
    if len(head) < 7 or head[3] & 1:
        return 0
    (bits,) = struct.unpack(">Q", info[10:18])
    channels, depth = (bits >> 41 & 7) + 1, (bits >> 36 & 31) + 1
    coded, code = head[3] >> 4, head[3] >> 1 & 7
    if (coded + 1 if coded < 8 else 2) != channels or coded > 10:
        return 0
    if code and {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}.get(code) != depth:
        return 0
    number, n = _number(head[4:11])
    if not n:
        return 0
    size_code, rate_code, position = head[2] >> 4, head[2] & 15, 4 + n
    extra = (size_code == 6) + 2 * (size_code == 7)
    block = _SIZES.get(size_code) or (int.from_bytes(head[position : position + extra], "big") + 1 if extra else 0)
    position += extra + (rate_code == 12) + 2 * (rate_code in (13, 14))
    if not block or rate_code == 15 or len(head) <= position or _crc8(head[:position]) != head[position]:
        return 0
    return number * struct.unpack(">H", info[2:4])[0] + block if fixed else number + block


def _number(data: bytes) -> tuple[int, int]:
    """Decode a number as UTF-8 does, up to 36 bits; return it and its bytes, zero where it is none."""
    first = data[0]
    if first < 0x80:
        return first, 1
    n = 8 - (first ^ 0xFF).bit_length()
    if not 2 <= n <= 7 or len(data) < n or any(byte >> 6 != 2 for byte in data[1:n]):
        return 0, 0
    value = first & (0x7F >> n)
    for byte in data[1:n]:
        value = value << 6 | byte & 63
    return value, n


def _table(polynomial: int, bits: int) -> list[int]:
    table = []
    for byte in range(256):
        value = byte << bits - 8
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> bits - 1 else 0)
            value &= (1 << bits) - 1
        table.append(value)
    return table


_CRC8, _CRC16 = _table(0x07, 8), _table(0x8005, 16)


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value = _CRC8[value ^ byte]
    return value


def _is_whole(data: bytes) -> bool:
    """Tell whether bytes are a whole frame, by the checksum at their end: a multiple of x^16 + x^15 + x^2 + 1.

    That is (x + 1)(x^15 + x + 1), and modulo the second factor x^(15 * 2^k) = x^(2^k) + 1, so that long numbers fold
    together in some steps where a table takes one for each byte. Zeros behind the frame change nothing.
    """
    value = int.from_bytes(data, "big")
    if value.bit_count() & 1:  # modulo x + 1
        return False
    for k in range(max(0, (value.bit_length() // 15).bit_length()), -1, -1):
        while high := value >> (15 << k):
            value = value & ((1 << (15 << k)) - 1) ^ high ^ high << (1 << k)
    return not value


def _frame_end(file: BinaryIO, start: int, end: int) -> int | None:
    """Return where the frame at a position ends, other bytes behind it, or None.

    The checksum fits by chance at one of 65536 positions, so another file must begin there.
    """
    value, data = 0, at(file, start, min(end - start, _LONGEST))
    for n, byte in enumerate(data):
        if not value and n > 10 and begins_sound(file, start + n, end):
            return start + n
        value = (value << 8 & 0xFFFF) ^ _CRC16[value >> 8 ^ byte]
    return None
