"""Decoding with PyAV (FFmpeg's libraries), as the program of a child process, because a decoder may crash.

`python ffmpeg.py` reads paths from stdin, one JSON text a line, and writes messages to stdout. A message is the sizes of its
two parts (`SIZES`), facts as JSON, and samples. `decode` says which messages a file gives; `audio.child` reads them.
This module imports nothing of soundscene, so that a child starts quickly.
"""

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
_MEASURED = ("mov,", "matroska", "avi", "asf", "wav", "w64", "caf", "aiff", "ogg")  # or with an index behind the packets
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


def decode(path: str) -> Iterator[tuple[Facts, bytes | bytearray]]:
    """Decode the first audio track of a file that has a decoder.

    Args:
        path: Of the file.

    Yields:
        First {"kind": "opened", "rate": Hz, "n_tracks": audio tracks, "promised_s": seconds that the container states of the
        track, or 0, "container_s": the same of the whole file}. Then blocks,
        {"kind": "block", "rate": Hz, "channels": n, "time_s": time stamp of the first sample or None} with the samples as
        float32, channels interleaved. Rate and channels may change from block to block; a block continues where the one
        before ended, unless its time stamp says otherwise. At the end {"kind": "end", "rest": bytes behind what was read, 0
        where that is measured elsewhere or unknown}, or an error {"kind": one of "foreign", "no audio",
        "no decoder", "undecodable", "why": text}.
    """
    import av
    from av.error import FFmpegError

    try:  # a name such as "http:a.m4a" is a file's, and a playlist must not open others
        container = av.open(f"file:{path}", metadata_errors="ignore", options={"protocol_whitelist": "file"})
    except (FFmpegError, ValueError):
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
        opened["promised_s"] = promised_s if stated else 0.0
        opened["container_s"] = (container.duration or 0) / av.time_base if stated else 0.0
        yield opened, b""
        end: Facts = {"kind": "end", "rest": 0}
        try:
            yield from _joined(_frames(container, stream, end))
        except FFmpegError as error:
            yield {"kind": "undecodable", "why": error.strerror or "FFmpeg gave no reason"}, b""
            return
        if not container.format.name.startswith(_MEASURED):
            end["rest"] = max(0, os.path.getsize(path) - end["position"]) if end.get("position") else 0
    yield end, b""


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
        requests: Lines, each a path as JSON.
        replies: Receives the messages.
    """
    paths: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in requests:
            paths.put(json.loads(line))
        os._exit(0)  # the parent has ended, or wants no more, even if a decoder is busy or stuck

    threading.Thread(target=read, daemon=True).start()
    while True:
        path = paths.get()
        try:
            for facts, samples in decode(path):
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
