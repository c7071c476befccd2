"""OGG (Vorbis, Opus, FLAC, Speex): its pages, the streams that are chained in it, and the pages that are missing.

Each page counts on from the one before it, says how many samples have ended with it, and carries a checksum, so what is
missing is known, and when. Decoders step over it in silence, and libsndfile reads the first of chained streams only.
"""

import struct
import zlib
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from soundscene.audio.containers import Contents, Part, at, find, unknown_bytes, unread
from soundscene.audio.starts import begins_sound

_HEAD = 27  # bytes of a page before its table of segments
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_LATE_S = 10.0  # a stream that begins later than this was not recorded from its beginning
_OPUS_HZ = 48000  # of the positions, whatever the rate of the input
_GAP_S = 0.05  # by which a page may claim more than its packets hold
_TAIL = 64  # unknown bytes at the end that are not worth a word


@dataclass(frozen=True)
class _Page:
    start: int
    end: int
    first: bool
    last: bool
    position: int
    stream: int
    number: int
    table: bytes  # lengths of its segments; those below 255 end a packet


@dataclass
class _Stream:
    """Hold one of the streams that are chained: its header, and its pages in runs without a gap."""

    start: int
    rate: int
    position_hz: int
    skip: int
    longest: int  # samples that a packet gives at most; 0: unknown, -1: as each packet says (Opus)
    header_end: int = 0
    runs: list[list[_Page]] = field(default_factory=list)
    ended: bool = False
    in_header: bool = True
    late: bool = False  # the pages behind the header are missing
    next_number: int = 1
    position: int = 0  # of the last page that states one


def is_ogg(magic: bytes) -> bool:
    """Tell an OGG file by its first bytes."""
    return magic[:4] == b"OggS"


def ogg(file: BinaryIO, size: int, start: int) -> Contents:
    """Read the pages of an OGG file.

    Args:
        file: The file.
        size: Its length in bytes.
        start: Its first page.

    Returns:
        One part for each chained stream, more where pages are missing.
    """
    streams, chosen, position, in_headers = list[_Stream](), 0, start, False
    damaged, end = False, start
    while position < size:
        page = _page(file, position, size)
        if page is None:
            following = find(file, b"OggS", position + 1, size)
            if following < 0 or (at(file, position, 4) != b"OggS" and begins_sound(file, position, size)):
                break
            damaged, position = True, following
            continue
        end = position = page.end
        if page.first:
            if not in_headers:
                chosen = 0
            in_headers = True
            if (stream := _stream(file, page)) and not chosen:
                streams.append(stream)
                chosen = page.stream
            continue
        in_headers = False
        if streams and page.stream == chosen:
            _add(file, streams[-1], page)
    if not streams:
        return Contents()
    rest = unknown_bytes(file, end, size)
    fault = _fault(file, size, end)
    if (
        len(streams) == 1
        and not damaged
        and len(streams[0].runs) <= 1
        and streams[0].ended
        and not streams[0].late
        and not fault
    ):
        parts = (Part(rate=streams[0].rate) if end == size and not start else Part(start, end, rate=streams[0].rate),)
    else:
        parts = _parts(file, streams)
    if fault:
        return Contents(fault=fault)
    if rest > _TAIL:
        parts = (*parts[:-1], replace(parts[-1], after=parts[-1].after or unread(rest)))
    return Contents(parts, end=end if rest > _TAIL else None)


def _page(file: BinaryIO, start: int, size: int) -> _Page | None:
    """Read the page at a position, or None where there is none that is whole and right."""
    head = at(file, start, _HEAD)
    if len(head) < _HEAD or head[:4] != b"OggS":
        return None
    table = at(file, start + _HEAD, head[26])
    body = at(file, start + _HEAD + len(table), sum(table))
    if len(table) < head[26] or len(body) < sum(table):
        return None
    position, stream, number, checksum = struct.unpack("<qIII", head[6:26])
    whole = head[:22] + bytes(4) + head[26:] + table + body
    # OGG's checksum is that of zlib with its bits in the other order, and without the two inversions
    found = zlib.crc32(whole.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    if int.from_bytes(found.to_bytes(4, "little").translate(_REVERSED), "big") != checksum:
        return None
    flags = head[5]
    return _Page(start, start + len(whole), bool(flags & 2), bool(flags & 4), position, stream, number, table)


def _stream(file: BinaryIO, page: _Page) -> _Stream | None:
    """Read the first page of a stream; None where it is no sound."""
    body = at(file, page.start, page.end - page.start)
    body = body[_HEAD + body[26] :]
    if body[:7] == b"\x01vorbis" and len(body) >= 16:
        (rate,) = struct.unpack("<I", body[12:16])
        longest = 1 << (body[28] >> 4) - 1 if len(body) > 28 and body[28] >> 4 else 0
        return _Stream(page.start, rate, rate, 0, longest, page.end, next_number=page.number + 1)
    if body[:8] == b"OpusHead" and len(body) >= 16:
        skip, rate = struct.unpack("<HI", body[10:16])
        return _Stream(page.start, rate, _OPUS_HZ, skip, -1, page.end, next_number=page.number + 1)
    if body[:5] == b"\x7fFLAC" and len(body) >= 35:
        rate = int.from_bytes(body[27:30], "big") >> 4
        return _Stream(page.start, rate, rate, 0, 0, page.end, next_number=page.number + 1)
    if body[:8] == b"Speex   " and len(body) >= 40:
        (rate,) = struct.unpack("<I", body[36:40])
        return _Stream(page.start, rate, rate, 0, 0, page.end, next_number=page.number + 1)
    return None


def _add(file: BinaryIO, stream: _Stream, page: _Page) -> None:
    """Add a page to the header or to the last run, or begin a run where sound before it is missing."""
    if stream.runs and stream.runs[-1][-1].number == page.number and stream.runs[-1][-1].position == page.position:
        return  # the same page twice
    follows = page.number == stream.next_number
    stream.next_number = page.number + 1 & 0xFFFFFFFF
    stream.ended = stream.ended or page.last
    if stream.in_header and page.position == 0 and follows:
        stream.header_end = page.end
        return
    follows = follows and not _jumps(file, stream, page)
    if not stream.runs or not follows:
        stream.late = stream.late or not (stream.runs or follows)
        stream.runs.append([])
    stream.in_header = False
    stream.runs[-1].append(page)
    if page.position >= 0:
        stream.position = page.position


def _jumps(file: BinaryIO, stream: _Stream, page: _Page) -> bool:
    """Tell whether the time of a page is later than its packets explain."""
    more = page.position - stream.position
    if page.position < 0 or not stream.longest or more <= _GAP_S * stream.position_hz:
        return False
    if stream.longest > 0:
        most = stream.longest * sum(length < 255 for length in page.table)
    else:
        most = _opus_samples(at(file, page.end - sum(page.table), sum(page.table)), page.table)
    return more > most + _GAP_S * stream.position_hz


def _opus_samples(body: bytes, table: bytes) -> int:
    """Return the samples at 48 kHz of the packets of a page, by the first bytes of each (RFC 6716, section 3.1)."""
    n, place, begins = 0, 0, True
    for length in table:
        if begins and length:
            config, code = body[place] >> 3, body[place] & 3
            if config < 16:
                samples = (480, 960, 1920, 2880)[config & 3] if config < 12 else (480, 960)[config & 1]
            else:
                samples = 120 << (config & 3)
            n += samples * ((body[place + 1] & 63 if length > 1 else 0) if code == 3 else 1 + (code > 0))
        begins = length < 255
        place += length
    return n


def _fault(file: BinaryIO, size: int, end: int) -> str:
    """Say why the end of the file cannot be complete, or nothing: tags and zeros may stand there, or a damaged page."""
    head, rest = at(file, end, _HEAD + 255), size - end
    if not rest or not b"OggS".startswith(head[:4]):
        return ""
    n = head[26] if len(head) >= _HEAD else 255
    whole = len(head) >= _HEAD + n and rest >= _HEAD + n + sum(head[_HEAD : _HEAD + n])
    return "" if whole else "its last OGG page is incomplete"


def _parts(file: BinaryIO, streams: list[_Stream]) -> tuple[Part, ...]:
    """Make a part of each run: the first of a stream with its header, the others with the header before them."""
    parts = list[Part]()
    for i, stream in enumerate(streams):
        header = at(file, stream.start, stream.header_end - stream.start)
        last, own = None, list[Part]()
        for run in stream.runs:
            position = max(page.position for page in run)
            if position <= 0:  # a piece of one packet
                continue
            if not own and run[0].start == stream.header_end and not stream.late:
                own.append(Part(stream.start, run[-1].end, rate=stream.rate))
            elif not own and run[0].position > _LATE_S * stream.position_hz:  # as recorded from a stream that was on
                before = "pages behind its header are missing: it begins at a later time of its stream"
                own.append(Part(run[0].start, run[-1].end, header, stream.rate, before=before))
            else:
                span = max(0, position - (stream.skip if last is None else last)) / max(1, stream.position_hz)
                lost = f"pages of its OGG are missing from {(last or 0) / max(1, stream.position_hz):.2f} s on"
                own.append(Part(run[0].start, run[-1].end, header, stream.rate, span_s=span, lost=lost))
            last = position
        if own and not stream.ended:
            after = f"its OGG stream {i + 1} of {len(streams)} has no end; sound may be missing from {{s}} on"
            own[-1] = replace(own[-1], after=after)
        parts.extend(own)
    return tuple(parts) or (Part(),)
