"""Decoding with PyAV (FFmpeg's libraries), as the program of a child process, because a decoder may crash.

`python ffmpeg.py` reads paths from stdin, one JSON text a line, and writes messages to stdout. A message is the sizes of its
two parts (`SIZES`), facts as JSON, and samples. `decode` says which messages a file gives; `audio.child` reads them.
This module imports nothing of soundscene, so that a child starts quickly.
"""

import io
import json
import os
import queue
import signal
import struct
import sys
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

SIZES = struct.Struct("<II")  # bytes of the facts, bytes of the samples
_BLOCK_BYTES = 1 << 18  # of samples that are sent together
_LAST = 1 << 20  # bytes at the end of a file
_FROM_ZERO = ("mov,", "matroska", "avi", "flv", "asf")
_MEASURED = (  # by other means, or with an index behind the packets
    *("mov,", "matroska", "avi", "asf", "wav", "w64", "caf", "aiff", "ogg", "flv", "tta", "wv", "aac", "ac3", "eac3", "amr"),
    *("mpegts", "spdif"),
)
_STATED = (  # formats, by FFmpeg's names, whose header states a length
    *(
        "mov,mp4,m4a,3gp,3g2,mj2",
        "matroska,webm",
        "wav",
        "w64",
        "aiff",
        "caf",
        "au",
        "asf",
        "avi",
        "tta",
        "wv",
        "ape",
        "tak",
    ),
    *("mpc8", "rm", "voc", "flac"),
)

Facts = dict[str, Any]


class Slice(io.RawIOBase):
    """A part of a file that reads as a file of its own.

    Args:
        path: Of the file.
        start: The first byte.
        end: The byte behind the last; None: the end of the file.
    """

    def __init__(self, path: str, start: int, end: int | None) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 (closed with this)
        size = os.path.getsize(path)
        self._start, self._end = start, size if end is None else min(end, size)
        self._file.seek(start)

    def read(self, size: int = -1) -> bytes:
        """Read at most so many bytes, all that are left for -1."""
        left = max(0, self._end - self._file.tell())
        return self._file.read(left if size < 0 else min(size, left))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position and return it.

        Args:
            offset: Bytes.
            whence: From where they count, as in `io`.
        """
        base = {os.SEEK_SET: self._start, os.SEEK_CUR: self._file.tell(), os.SEEK_END: self._end}[whence]
        return self._file.seek(max(self._start, base + offset)) - self._start

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell() - self._start

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def decode(path: str, start: int = 0, end: int | None = None) -> Iterator[tuple[Facts, bytes | bytearray]]:
    """Decode the first audio track of a file that has a decoder.

    Args:
        path: Of the file.
        start: The first byte of the part that is decoded.
        end: The byte behind its last; None: the end of the file.

    Yields:
        First {"kind": "opened", "rate": Hz, "n_tracks": audio tracks, "promised_s": seconds that the container states of the
        track, or 0, "container_s": the same of the whole file, "from_zero": whether its time stamps begin at zero}.
        Then blocks,
        {"kind": "block", "rate": Hz, "channels": n, "time_s": time stamp of the first sample or None} with the samples as
        float32, channels interleaved. Rate and channels may change from block to block; a block continues where the one
        before ended, unless its time stamp says otherwise. At the end {"kind": "end", "rest": bytes behind what was read, 0
        where that is measured elsewhere or unknown}, or an error {"kind": one of "foreign", "no audio",
        "no decoder", "undecodable", "why": text}.
    """
    import av
    from av.error import FFmpegError

    try:  # a name such as "http:a.m4a" is a file's, and a playlist must not open others
        source: Any = Slice(path, start, end) if start or end is not None else f"file:{path}"
        container: Any = av.open(source, metadata_errors="ignore", options={"protocol_whitelist": "file"})
    except (FFmpegError, ValueError, OSError):
        yield {"kind": "foreign", "why": ""}, b""
        return
    with container:
        if not container.streams.audio:
            yield {"kind": "no audio", "why": ", ".join(s.type for s in container.streams) or "no streams"}, b""
            return
        stream = next((s for s in container.streams.audio if s.codec_context is not None), None)
        if stream is None:
            yield {"kind": "no decoder", "why": ""}, b""
            return
        promised_s = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        stated = container.format.name in _STATED  # of other formats FFmpeg guesses a length from the bit rate
        opened = {"kind": "opened", "rate": int(stream.codec_context.sample_rate), "n_tracks": len(container.streams.audio)}
        # The length of an AVI counts empty chunks, which stand for sound that is missing and have no time of their own.
        opened["promised_s"] = promised_s if stated and container.format.name != "avi" else 0.0
        opened["container_s"] = (container.duration or 0) / av.time_base if stated else 0.0
        opened["from_zero"] = container.format.name.startswith(_FROM_ZERO)
        yield opened, b""
        finish: Facts = {"kind": "end", "rest": 0}
        try:
            yield from _joined(_frames(container, stream, finish))
        except FFmpegError as error:
            yield {"kind": "undecodable", "why": error.strerror or "FFmpeg gave no reason"}, b""
            return
        if not container.format.name.startswith(_MEASURED) and finish.get("position"):
            finish["rest"] = _rest(path, start + finish["position"], end)
    yield finish, b""


def _rest(path: str, position: int, end: int | None) -> int:
    """Bytes behind a position, without zeros at the end."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END) if end is None else end
        place = max(position, size - _LAST)
        file.seek(place)
        return max(0, place - position) + len(file.read(max(0, size - place)).rstrip(b"\0"))


def _frames(container: Any, stream: Any, end: Facts) -> Iterator[tuple[Facts, memoryview]]:
    """Each frame as interleaved float32: PyAV reads beyond the end of an array of eight planes and more."""
    import av

    setup, resampler = None, None
    for frame in _decoded(container, stream, end):
        if (frame.format.name, frame.layout.name, frame.sample_rate) != setup:
            setup = (frame.format.name, frame.layout.name, frame.sample_rate)
            resampler = av.AudioResampler(format="flt")  # at the frame's own rate and layout
        time_s = frame.time
        for packed in resampler.resample(frame) if resampler else ():
            channels = packed.layout.nb_channels
            facts = {"kind": "block", "rate": packed.sample_rate, "channels": channels, "time_s": time_s}
            yield facts, memoryview(packed.planes[0]).cast("B")[: packed.samples * channels * 4]
            time_s = None


def _decoded(container: Any, stream: Any, end: Facts) -> Iterator[Any]:
    """Decode the packets of a track, and keep where in the file the last of them ends, if there is no other track."""
    alone = len(container.streams) == 1
    for packet in container.demux(stream):
        if alone and packet.pos is not None:
            end["position"] = max(end.get("position", 0), packet.pos + packet.size)
        yield from packet.decode()


def _joined(frames: Iterator[tuple[Facts, memoryview]]) -> Iterator[tuple[Facts, bytearray]]:
    """Join frames that belong together: a message for each would cost more than the decoding.

    Those decoded before an error are yielded before it is raised.
    """
    first: Facts = {}
    samples = bytearray()
    try:
        for facts, piece in frames:
            if samples and (len(samples) >= _BLOCK_BYTES or not _continues(first, len(samples), facts)):
                yield first, samples
                samples = bytearray()
            if not samples:
                first = facts
            samples += piece
    finally:
        if samples and sys.exc_info()[0] is not GeneratorExit:
            yield first, samples


def _continues(first: Facts, n_bytes: int, facts: Facts) -> bool:
    """Whether a frame continues a block: of one rate and width, and in time to a sample or the stamp's rounding."""
    if (first["rate"], first["channels"]) != (facts["rate"], facts["channels"]):
        return False
    if first["time_s"] is None or facts["time_s"] is None:
        return True
    expected = first["time_s"] + n_bytes / (4 * first["channels"] * first["rate"])
    return abs(facts["time_s"] - expected) < 0.002


# --- the process ------------------------------------------------------------------------------------------------------


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Decode the files whose paths come in, until no more can come.

    Args:
        requests: Lines, each a path, the first byte and the end of a part as JSON.
        replies: Receives the messages.
    """
    paths: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()

    def read() -> None:
        for line in requests:
            paths.put(json.loads(line))
        os._exit(0)  # the parent has ended, or wants no more, even if a decoder is busy or stuck

    threading.Thread(target=read, daemon=True).start()
    while True:
        request = paths.get()
        try:
            for facts, samples in decode(*request):
                _send(replies, facts, samples)
        except Exception as error:
            _send(replies, {"kind": "undecodable", "why": f"{type(error).__name__}: {error}"}, b"")


def _send(replies: BinaryIO, facts: Facts, samples: bytes | bytearray) -> None:
    text = json.dumps(facts).encode()
    try:
        replies.write(SIZES.pack(len(text), len(samples)) + text)
        replies.write(samples)
        replies.flush()
    except OSError:
        os._exit(0)  # nobody reads


def main() -> None:
    """Serve stdin and stdout; what FFmpeg prints goes nowhere, and the parent alone decides about signals."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    serve(sys.stdin.buffer, replies)


if __name__ == "__main__":
    main()
