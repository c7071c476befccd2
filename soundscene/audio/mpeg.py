"""MP3 (also MP2) and AAC in ADTS: every frame is counted, because a header, where there is one, tells of one part only.

Files are joined, cut and damaged, and their rate changes; libsndfile reads the first part of them, or guesses a length.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import BinaryIO

from soundscene.audio.containers import Contents, Part, after_tag, at, before_tags, before_zeros, find, unknown_bytes, unread

_SLACK = 4  # frames: the encoder's delay and padding, which players cut, and the header's own frame
_VBRI = 36  # bytes of a frame before Fraunhofer's length header
_SEARCH = 1 << 17  # bytes in which the next frame is looked for at once
_ID3V1 = 128  # bytes
_TAIL = 64  # unknown bytes at the end that are not worth a word
_KBITS = {  # by whether it is MPEG 1, and layer
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_ADTS_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)


@dataclass(frozen=True)
class _Frame:
    """Hold what the four bytes of a frame's header say.

    Attributes:
        length: Bytes.
        samples: Of each channel.
        side: Bytes of side information, behind which a length header stands.
        rate: Hz.
        kind: Version, layer, and whether it is mono: equal for frames that one decoder takes in a row.
    """

    length: int
    samples: int
    side: int
    rate: int
    kind: tuple[int, int, bool]


@dataclass
class _Run:
    """Hold frames without a gap.

    Attributes:
        start: The first byte.
        end: The byte behind the last frame.
        frame: The first of them.
        skipped: Bytes before the run that are no frames.
        tag: The frame with the length header, empty where the run begins without one.
        n: Number of frames but that one.
        last: Where the last of them begins.
        rest: Bytes behind the run that are no frames, at the end of the file.
    """

    start: int
    end: int
    frame: _Frame
    skipped: int
    tag: bytes
    n: int = 0
    last: int = 0
    rest: int = 0


def is_mpeg(magic: bytes) -> bool:
    """Tell MPEG audio of layers I to III by its first bytes."""
    return _frame(magic[:4]) is not None


def frame_length(head: bytes) -> int:
    """Return the bytes of the frame that four bytes begin, zero where they begin none."""
    frame = _frame(head[:4])
    return frame.length if frame else 0


def adts_length(head: bytes) -> int:
    """Return the bytes of the AAC frame that seven bytes begin."""
    return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5


def is_adts(magic: bytes) -> bool:
    """Tell AAC in ADTS by its first bytes."""
    return len(magic) >= 7 and magic[0] == 0xFF and magic[1] & 0xF6 == 0xF0


@lru_cache(maxsize=1 << 12)
def _frame(head: bytes) -> _Frame | None:
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer, kbits, rate = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or kbits in (0, 15) or rate == 3:
        return None
    first, mono, padding = version == 3, head[3] >> 6 == 3, head[2] >> 1 & 1
    samples = {1: 384, 2: 1152, 3: 1152 if first else 576}[layer]
    hz, bits = _RATES[version][rate], _KBITS[first, layer][kbits] * 1000
    length = (12 * bits // hz + padding) * 4 if layer == 1 else samples // 8 * bits // hz + padding
    side = (17 if mono else 32) if first else (9 if mono else 17)
    return _Frame(length, samples, side, hz, (version, layer, mono))


def mpeg(file: BinaryIO, size: int, start: int) -> Contents:
    """Count the frames of an MPEG audio file.

    Args:
        file: The file.
        size: Its length in bytes.
        start: Its first frame.

    Returns:
        One part for each run of frames of one kind, each with a header that states the length of the run.
    """
    end = before_tags(file, size, start)
    runs = list(_runs(file, start, end))
    first, alone = runs[0], not any(run.tag for run in runs[1:])
    stated, n_bytes = _stated(first)
    if alone and n_bytes > size - start + first.frame.length:  # some count the header's own frame, some do not
        return Contents(fault=f"the header promises {n_bytes} bytes of samples, the file holds {size - start}")
    vbri = _is_vbri(first.tag)  # which libmpg123 does not heed
    if len(runs) == 1 and vbri and stated > first.n + _SLACK:
        return Contents(fault=f"the header promises {stated} frames, the file holds {first.n}")
    if (
        len(runs) == 1
        and not vbri
        and (stated > first.n + _SLACK or (stated >= first.n - _SLACK and not _after(first, end)))
    ):
        part = Part(rate=first.frame.rate, n_frames=max(0, stated - _SLACK) * first.frame.samples or None)
        # A tag of another length, and zeros, make libmpg123 doubt the length header.
        return Contents((part if size - first.end in (0, _ID3V1) else replace(part, start=start, end=first.end),))
    parts = tuple(_part(file, run, end) for run in runs)
    return Contents(parts, end=runs[-1].end if runs[-1].rest > _TAIL else None)


def _runs(file: BinaryIO, start: int, end: int) -> Iterator[_Run]:
    """Yield the runs of frames between two positions; there is a frame at the first."""
    tagged = _tagged(file, start, end)
    position, run, skipped = start, None, 0
    while position + 4 <= end:
        frame = _frame(at(file, position, 4))
        if frame is None or (run and not _alike(frame, run.frame) and not _confirmed(file, position, frame)):
            behind_tag = after_tag(file, position)
            fresh = behind_tag if behind_tag > position else _next_frame(file, run.last + 4 if run else position + 1, end)
            if fresh is None:
                break
            if run:
                run.end = min(run.end, fresh)
                yield run
            run, skipped = None, 0 if fresh == behind_tag else max(1, abs(fresh - position))
            position = fresh
            continue
        tag = _tag(file, position, frame) if position in tagged else b""
        if run is None or tag or not _alike(frame, run.frame):
            if run:
                yield run
            run, skipped = _Run(position, position, frame, skipped, tag), 0
        run.n += not tag
        run.last = position
        position = run.end = position + frame.length
    if run:
        run.rest = max(0, before_zeros(file, end, min(run.end, end)) - run.end)
        yield run


def _alike(a: _Frame, b: _Frame) -> bool:
    return a.kind == b.kind and a.rate == b.rate


def _confirmed(file: BinaryIO, position: int, frame: _Frame) -> bool:
    """Tell whether a frame is followed by one of its kind: bytes at random look like a frame now and then."""
    following = _frame(at(file, position + frame.length, 4))
    return following is not None and _alike(frame, following)


def _next_frame(file: BinaryIO, start: int, end: int) -> int | None:
    """Return the position of the next frame that is followed by one of its kind."""
    while start < end:
        data = at(file, start, min(_SEARCH, end - start))
        place = -1
        while (place := data.find(b"\xff", place + 1)) >= 0:
            frame = _frame(data[place : place + 4] if place + 4 <= len(data) else at(file, start + place, 4))
            if frame is not None and _confirmed(file, start + place, frame):
                return start + place
        start += _SEARCH
    return None


def _tagged(file: BinaryIO, start: int, end: int) -> set[int]:
    """Return where a frame would begin that holds a length header, for each place where the name of one stands."""
    found = set[int]()
    for name, behind in ((b"Xing", (13, 21, 36)), (b"Info", (13, 21, 36)), (b"VBRI", (_VBRI,))):
        place = start
        while (place := find(file, name, place, end)) >= 0:
            found.update(place - n for n in behind)
            place += 4
    return found


def _tag(file: BinaryIO, position: int, frame: _Frame) -> bytes:
    """Return the bytes of a frame that holds a length header, or none."""
    data = at(file, position, frame.length)
    return data if data[4 + frame.side : 8 + frame.side] in (b"Xing", b"Info") or _is_vbri(data) else b""


def _is_vbri(tag: bytes) -> bool:
    return tag[_VBRI : _VBRI + 4] == b"VBRI" and len(tag) >= _VBRI + 18


def _stated(run: _Run) -> tuple[int, int]:
    """Return the frames and the bytes that the length header of a run states, zero where it states none."""
    if not run.tag:
        return 0, 0
    if _is_vbri(run.tag):
        n_bytes, n_frames = struct.unpack(">2I", run.tag[_VBRI + 10 : _VBRI + 18])
        return n_frames, n_bytes
    place = 8 + run.frame.side
    (flags,) = struct.unpack(">I", run.tag[place : place + 4])
    counts = list(struct.unpack(">2I", run.tag[place + 4 : place + 12]))
    n_frames = counts.pop(0) if flags & 1 else 0
    return n_frames, counts.pop(0) if flags & 2 else 0


def _part(file: BinaryIO, run: _Run, end: int) -> Part:
    """Make a part of a run, with a header before it that states its length, unless it has one that does."""
    before = f"{run.skipped} bytes at {{s}} are missing or damaged; left out" if run.skipped else ""
    n_frames = max(0, run.n - _SLACK) * run.frame.samples or None
    start, prefix = run.start, b""
    if abs(_stated(run)[0] - run.n) > (_SLACK if run.tag and not _is_vbri(run.tag) else -1) and run.frame.kind[1] == 3:
        start += len(run.tag)
        prefix = _length_header(run, at(file, run.start, 4), run.end - start)
    return Part(start, min(run.end, end), prefix, run.frame.rate, n_frames, before=before, after=_after(run, end))


def _after(run: _Run, end: int) -> str:
    if run.end > end:
        return "its last frame is incomplete; it was cut at {s}"
    return unread(run.rest) if run.rest > _TAIL else ""


def _length_header(run: _Run, head: bytes, n_bytes: int) -> bytes:
    """Make the frame that states the length of a run: that of its encoder, corrected, or a plain one."""
    if run.tag and not _is_vbri(run.tag):
        place, data = 8 + run.frame.side, run.tag
        (flags,) = struct.unpack(">I", data[place : place + 4])
        counts = [run.n] * (flags & 1) + [n_bytes + len(data)] * (flags >> 1 & 1)
        new = struct.pack(f">{len(counts)}I", *counts)
        return data[: place + 4] + new + data[place + 4 + len(new) :]
    head = bytes([head[0], head[1] | 1, 9 << 4 | head[2] & 0x0C, head[3]])  # no checksum, 80 or 128 kbit/s: room enough
    frame = _frame(head)
    assert frame is not None
    tag = struct.pack(">4s3I", b"Xing", 3, run.n, n_bytes + frame.length)
    return (head + bytes(frame.side) + tag).ljust(frame.length, b"\0")


def adts(file: BinaryIO, size: int, start: int) -> Contents:
    """Count the frames of an AAC file in ADTS, and note what is no frame; a decoder steps over it in silence.

    Args:
        file: The file.
        size: Its length in bytes.
        start: Its first frame.
    """
    end = before_tags(file, size, start)
    position, n, notes, rate, after = start, 0, list[str](), 0, ""
    while position + 7 <= end:
        head = at(file, position, 7)
        length = adts_length(head)
        if is_adts(head) and length >= 7:
            rate = _ADTS_RATES[min(head[2] >> 2 & 15, len(_ADTS_RATES) - 1)]
            n, position = n + 1, position + length
            continue
        if (behind := after_tag(file, position)) > position:
            position = behind
            continue
        following = _next_adts(file, position + 1, end)
        if following is None:
            break
        notes.append(f"bytes at {n * 1024 / max(1, rate):.2f} s are missing or damaged")
        position = following
    rest = unknown_bytes(file, min(position, size), size)
    if position > end:
        after = "its last frame is incomplete; it was cut at {s}"
    elif rest > _TAIL:
        after = unread(rest)
    part = Part(start, position if position < size else None, rate=rate, n_frames=n * 1024, after=after, foreign=True)
    return Contents((part,), notes=tuple(dict.fromkeys(notes[:3])), end=position if rest > _TAIL else None)


def _next_adts(file: BinaryIO, start: int, end: int) -> int | None:
    """Return the position of the next frame that is followed by one."""
    while (start := find(file, b"\xff", start, end)) >= 0:
        head = at(file, start, 7)
        if len(head) == 7 and is_adts(head) and is_adts(at(file, start + max(1, adts_length(head)), 7)):
            return start
        start += 1
    return None
