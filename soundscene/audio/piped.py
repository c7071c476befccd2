"""A pipe that may begin with the header of a sound file: a WAV is read by it, any other file is refused, the rest is raw."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from soundscene.audio import mpeg
from soundscene.audio.containers import not_audio
from soundscene.audio.measured import is_name, is_piped
from soundscene.audio.pcm import MOST_CHANNELS, SampleType
from soundscene.audio.starts import begins_file
from soundscene.errors import AudioError

_HEAD = 64  # bytes by which a format is told
_SEVERAL_FRAMES = 6000  # bytes that hold three frames of MP3 or AAC
_LONGEST_HEADER = 1 << 26  # bytes before the samples of a WAV
_PLACEHOLDERS_FROM = 0x7EFFF000  # sizes that mean: to the end
_TYPES: dict[tuple[int, int], SampleType] = {
    **{(1, 8): "u8", (1, 16): "s16le", (1, 24): "s24le", (1, 32): "s32le"},
    **{(3, 32): "f32le", (3, 64): "f64le"},
}
_FILES: list[tuple[Callable[[bytes], bool], str]] = [
    (lambda head: head[:4] == b"OggS", "an OGG file"),
    (lambda head: head[:4] == b"fLaC", "a FLAC file"),
    (lambda head: head[:3] == b"ID3" and head[3] < 5 and max(head[6:10], default=255) < 128, "an MP3 file"),
    (lambda head: head[:4] == b"FORM", "an AIFF file"),
    (lambda head: head[:4] in (b".snd", b"dns."), "an AU file"),
    (lambda head: head[:4] == b"caff", "a CAF file"),
    (lambda head: head[:4] == b"riff", "a W64 file"),
    (lambda head: head[:4] in (b"RIFX", b"RF64", b"BW64", b"RIFF"), "a RIFF file of a kind that cannot be piped"),
    (lambda head: head[4:8] == b"ftyp", "an MP4 file (m4a, MOV)"),
    (lambda head: head[:4] == b"\x1a\x45\xdf\xa3", "a Matroska or WebM file"),
    (lambda head: head[:4] == b"\x30\x26\xb2\x75", "a WMA file"),
    (lambda head: head[:6] == b"#!AMR\n" or head[:9] == b"#!AMR-WB\n", "an AMR file"),
]


@dataclass(frozen=True)
class PipedFormat:
    """Hold what a header says of the samples behind it.

    Attributes:
        sample_rate: Hz.
        n_channels: Number of channels, interleaved.
        sample_type: Type of a sample.
        n_bytes: Bytes of samples; None: to the end of the pipe.
    """

    sample_rate: int
    n_channels: int
    sample_type: SampleType
    n_bytes: int | None


class Pipe:
    """An open pipe whose first bytes can be looked at.

    Args:
        file: Has the method `read1`.
    """

    def __init__(self, file: Any) -> None:
        self._file, self._held = file, b""
        self._left: int | None = None  # bytes of samples that are still to come
        self.notes: tuple[str, ...] = ()

    def peek(self, n: int) -> bytes:
        """Wait for n bytes and return them, fewer at the end of the pipe, without taking them."""
        while len(self._held) < n and (data := self._read(1 << 16)):
            self._held += data
        return self._held[:n]

    def take(self, n: int) -> bytes:
        """Wait for n bytes and take them."""
        data = self.peek(n)
        self._held = self._held[n:]
        return data

    def limit(self, n_bytes: int | None) -> None:
        """End the samples after so many bytes, unless what follows them is no chunk of a file."""
        self._left = n_bytes

    def read1(self, size: int = -1) -> bytes:
        """Return what is available, at least a byte unless the samples have ended."""
        if self._left == 0 and self._ends():
            return b""
        data, self._held = self._held or self._read(size), b""
        if self._left is not None:
            data, self._held = data[: self._left], data[self._left :]
            self._left -= len(data)
        return data

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read1(size)
        except OSError as error:
            raise AudioError(f"stdin cannot be read ({error.strerror or error}); pipe raw PCM or a WAV in") from None

    def _ends(self) -> bool:
        head = self.peek(9)
        if not head or is_name(head[:4]) or is_name(head[1:5]):
            while self._read(1 << 16):  # so that the writer is not cut off
                pass
            return True
        self.notes = ("the pipe went on behind the samples that its WAV header states; all of it was read",)
        self._left = None
        return False


def read_header(pipe: Pipe) -> PipedFormat | None:
    """Read the header of a pipe if it has one; None: raw samples.

    Args:
        pipe: At its beginning.

    Raises:
        AudioError: A sound file that cannot be read from a pipe, or no sound.
    """
    head = pipe.peek(_HEAD)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return _wave(pipe)
    what = next((name for matches, name in _FILES if len(head) >= 12 and matches(head)), "") or _frames(pipe, head)
    what = what or (not_audio(head) if len(head) == _HEAD else "") or ("a sound file" if begins_file(head) else "")
    if what:
        raise AudioError(
            f"stdin is {what}; --stdin expects raw PCM or a WAV. Decode it on the way, as ffmpeg -i FILE -f wav - | "
            "soundscene listen MODEL --stdin, or give the file to soundscene predict or timeline"
        )
    return None


def _frames(pipe: Pipe, head: bytes) -> str:
    """Name MP3 and AAC, which begin with a frame and nothing else: three in a row are no accident."""
    for matches, length, name in ((mpeg.is_mpeg, mpeg.frame_length, "an MP3 file"), (mpeg.is_adts, mpeg.adts_length, "AAC")):
        if not matches(head):
            continue
        data, position = pipe.peek(_SEVERAL_FRAMES), 0
        for _ in range(3):
            if not matches(data[position : position + 16]):
                break
            position += length(data[position : position + 7])
        else:
            return name
    return ""


def _wave(pipe: Pipe) -> PipedFormat:
    """Take the header of a WAV up to its samples."""
    pipe.take(12)
    form, taken = b"", 12
    while len(head := pipe.take(8)) == 8 and taken < _LONGEST_HEADER:
        name, length = struct.unpack("<4sI", head)
        if name == b"data":
            return _format(form, length, pipe)
        content = pipe.take(min(length + (length & 1), _LONGEST_HEADER))
        taken += len(content)
        form = content if name == b"fmt " else form
    raise AudioError("stdin is a WAV whose header ends before the samples begin (no 'data' chunk); was the pipe cut?")


def _format(form: bytes, n_bytes: int, pipe: Pipe) -> PipedFormat:
    if len(form) < 16:
        raise AudioError("stdin is a WAV that does not say what its samples are (no 'fmt ' chunk); is the file damaged?")
    tag, channels, rate, _, block, bits = struct.unpack("<HHIIHH", form[:16])
    if tag == 0xFFFE and len(form) >= 26:
        (tag,) = struct.unpack("<H", form[24:26])
    sample_type = _TYPES.get((tag, bits))
    if sample_type is None or not 1 <= channels <= MOST_CHANNELS or block * 8 != channels * bits:
        raise AudioError(
            f"stdin is a WAV of format {tag:#x}, {bits} bits and {channels} channels; allowed are PCM of 8, 16, 24 or 32 "
            f"bits and floats of 32 or 64 bits, 1 to {MOST_CHANNELS} channels. Decode it on the way: ffmpeg -i FILE -f wav -"
        )
    endless = n_bytes == 0 or is_piped(n_bytes) or n_bytes >= _PLACEHOLDERS_FROM
    pipe.limit(None if endless else n_bytes)
    return PipedFormat(rate, channels, cast(SampleType, sample_type), None if endless else n_bytes)
