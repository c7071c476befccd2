"""The length that the header of an audio file promises, read from its bytes, and whether the file keeps it.

Decoders shorten a truncated file silently (libsndfile lowers the number of frames to what is there), so the promise is
compared with the size of the file before anything is decoded. Nothing here decodes.
"""

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

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
_STREAMED = (0, 0x7FFFF000, 0x7FFFFFFF)  # sizes that programs writing to a pipe leave: several, SoX, GStreamer
_STREAMED_FROM = 0xFFFFFF00  # and ffmpeg: 2^32 - 1, by some less the header
_MOST = 0xFFFFFFFF  # bytes that a WAV header can promise
_OGG_PAGE = 65307  # longest page, bytes
_MP3_SLACK = 4  # frames: the encoder's delay and padding, which players cut, and the header's own frame


@dataclass(frozen=True)
class Promise:
    """Hold what the header says.

    Attributes:
        n_frames: Frames that decoding must yield at least; None: not stated.
        fault: Why the file cannot be complete, or empty.
        misread: Why libsndfile would lose part of the file, or empty.
        correction: Position and bytes to read in place of those in the file, so that libsndfile reads all of it.
    """

    n_frames: int | None = None
    fault: str = ""
    misread: str = ""
    correction: tuple[int, bytes] = (0, b"")


class Corrected:
    """A binary file that reads as if some of its bytes were others; what soundfile needs of a file object, no more.

    It has no name on purpose: soundfile would take the suffix of a name for the format.
    """

    def __init__(self, file: BinaryIO, correction: tuple[int, bytes]) -> None:
        self._file, (self._start, self._bytes) = file, correction
        self.seek, self.tell = file.seek, file.tell
        file.seek(0)

    def read(self, n: int = -1) -> bytes:
        """Read at most n bytes from the current position."""
        position = self._file.tell()
        data = self._file.read(n)
        first, last = max(self._start, position), min(self._start + len(self._bytes), position + len(data))
        if first >= last:
            return data
        new = self._bytes[first - self._start : last - self._start]
        return data[: first - position] + new + data[last - position :]


def not_audio(head: bytes) -> str:
    """Name what a file with these first bytes is, where it is certainly not audio; else empty."""
    for start, name in _NOT_AUDIO.items():
        if head.startswith(start):
            return name
    text = bytes(range(32, 127)) + b"\t\r\n"
    return "plain text" if head and not head.translate(None, text) else ""


def read_promise(file: BinaryIO) -> Promise:
    """Read the promise of a WAV, AIFF, FLAC, OGG or MP3 file; empty for any other format and for an incomplete header."""
    size = file.seek(0, os.SEEK_END)
    try:
        start = _after_id3(file)
        magic = _at(file, start, 12)
        if magic[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and magic[8:] == b"WAVE":
            return _wave(file, size, magic[:4])
        if magic[:4] == b"FORM" and magic[8:] in (b"AIFF", b"AIFC"):
            return _aiff(file, size)
        if magic[:4] == b"fLaC":
            return _flac(file, start)
        if magic[:4] == b"OggS":
            return _ogg(file, size)
        if _mp3_frame(magic[:4]):
            return _mp3(file, size, start)
    except struct.error:  # the header itself ends too early: the decoder refuses it in its own words
        pass
    return Promise()


def _at(file: BinaryIO, position: int, n: int) -> bytes:
    file.seek(position)
    return file.read(n)


def _after_id3(file: BinaryIO) -> int:
    """Position behind an ID3v2 tag, which may precede MP3 and FLAC; its size has 7 bits to the byte."""
    head = _at(file, 0, 10)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    a, b, c, d = head[6:10]
    return 10 + (a << 21 | b << 14 | c << 7 | d) + (10 if head[5] & 0x10 else 0)


def _chunk(file: BinaryIO, size: int, order: str, wanted: bytes) -> tuple[int, int] | None:
    """Position of the content and promised size of a RIFF or IFF chunk."""
    position = 12
    while position + 8 <= size:
        name, length = struct.unpack(f"{order}4sI", _at(file, position, 8))
        if name == wanted:
            return position + 8, length
        position += 8 + length + (length & 1)
    return None


def _held(promised: int, held: int) -> Promise:
    if held >= promised:
        return Promise()
    return Promise(fault=f"the header promises {promised} bytes of samples, the file holds {held}")


def _wave(file: BinaryIO, size: int, magic: bytes) -> Promise:
    order = ">" if magic == b"RIFX" else "<"
    data = _chunk(file, size, order, b"data")
    if data is None:
        return Promise(fault="the header ends before the samples begin (no 'data' chunk)")
    start, promised = data
    if magic in (b"RF64", b"BW64") and (big := _chunk(file, size, order, b"ds64")):
        promised = struct.unpack("<Q", _at(file, big[0] + 8, 8))[0] if promised == 0xFFFFFFFF else promised
    elif promised in _STREAMED or promised >= _STREAMED_FROM:
        return _streamed(file, size, start, order)
    return _held(promised, size - start)


def _streamed(file: BinaryIO, size: int, start: int, order: str) -> Promise:
    """Read a file from a pipe, or from a recorder that lost power: its length was never filled in, all bytes are samples."""
    (whole,) = struct.unpack(f"{order}I", _at(file, 4, 4))
    if whole + 8 == size:  # the header was completed: 0 samples are meant, and other chunks may follow
        return Promise()
    if size - start > _MOST:
        return Promise(misread="a WAV file from a pipe, longer than its header can say")
    return Promise(correction=(start - 4, b"\xff\xff\xff\xff"))  # libsndfile takes 0 at its word, and this for "all"


def _aiff(file: BinaryIO, size: int) -> Promise:
    sound = _chunk(file, size, ">", b"SSND")
    if sound is None:
        return Promise()  # allowed when there are no samples
    start, promised = sound
    return Promise() if promised in _STREAMED or promised >= _STREAMED_FROM else _held(promised, size - start)


def _flac(file: BinaryIO, start: int) -> Promise:
    """STREAMINFO: 20 bits of rate, 3 of channels, 5 of depth, 36 of total samples (0: unknown)."""
    (bits,) = struct.unpack(">Q", _at(file, start + 8 + 10, 8))
    return Promise(n_frames=(bits & (1 << 36) - 1) or None)


def _ogg(file: BinaryIO, size: int) -> Promise:
    """A whole OGG file ends with a complete page that carries the end-of-stream flag."""
    tail = _at(file, max(0, size - 2 * _OGG_PAGE), 2 * _OGG_PAGE)
    page = tail[tail.rfind(b"OggS") :]
    n_lacing = page[26] if len(page) > 26 else 0
    if len(page) < 27 + n_lacing or len(page) < 27 + n_lacing + sum(page[27 : 27 + n_lacing]):
        return Promise(fault="its last OGG page is incomplete")
    return Promise() if page[5] & 4 else Promise(fault="its last OGG page does not end the stream")


_KBITS = {  # layer III and, of no use here, no other: MPEG 1, then MPEG 2 and 2.5
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def _mp3_frame(head: bytes) -> tuple[int, int, int] | None:
    """Bytes, samples and bytes of side information of a layer III frame, or None when these four bytes start none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, kbits, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or kbits in (0, 15) or rate == 3:
        return None
    first, mono = version == 3, head[3] >> 6 == 3
    samples = 1152 if first else 576
    length = samples // 8 * _KBITS[first][kbits] * 1000 // _RATES[version][rate] + (head[2] >> 1 & 1)
    return length, samples, (17 if mono else 32) if first else (9 if mono else 17)


def _mp3(file: BinaryIO, size: int, start: int) -> Promise:
    """The Xing (VBR) or Info (CBR) header counts frames and bytes; without one the frames themselves are counted."""
    first = _mp3_frame(_at(file, start, 4))
    assert first is not None
    length, samples, side = first
    tag = _at(file, start + 4 + side, 16)
    if tag[:4] in (b"Xing", b"Info"):
        (flags,) = struct.unpack(">I", tag[4:8])
        counts = list(struct.unpack(">2I", tag[8:16]))
        n_frames = counts.pop(0) if flags & 1 else 0
        n_bytes = counts.pop(0) if flags & 2 else 0
        if n_bytes > size - start + length:  # a frame of tolerance: some count the header's own frame, some do not
            return _held(n_bytes, size - start)
        return Promise(n_frames=max(0, n_frames - _MP3_SLACK) * samples or None)
    return _walk_mp3(file, size, start)


def _walk_mp3(file: BinaryIO, size: int, start: int) -> Promise:
    """Count the frames of an MP3 without a length header.

    libsndfile guesses the length from the first frame's bit rate; at a variable bit rate it then drops the rest of the
    recording in silence (measured: 40 s read as 7 s).
    """
    rates, n_samples, position = set(), 0, start
    while position + 4 <= size and (frame := _mp3_frame(head := _at(file, position, 4))):
        rates.add(head[2] >> 4)
        n_samples += frame[1]
        position += frame[0]
    if len(rates) > 1:
        return Promise(misread="an MP3 of variable bit rate without a length header")
    return Promise()
