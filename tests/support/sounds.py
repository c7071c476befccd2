"""Sound files for the tests: whole ones, and the ways in which they break."""

import os
import struct
from pathlib import Path

import av
import numpy as np
import soundfile

RATE = 22050  # of the recipe


def noise(seconds: float = 3.0, rate: int = RATE, channels: int = 1, seed: int = 0) -> np.ndarray:
    x = 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
    return x.clip(-0.9, 0.9).astype(np.float32)


def sound(
    path: Path, x: np.ndarray | None = None, rate: int = RATE, subtype: str | None = None, form: str | None = None
) -> Path:
    """Noise, or x [sample, channel], in the format that the suffix says."""
    soundfile.write(path, noise() if x is None else x, rate, subtype, format=form)
    return path


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * share)])
    return path


def patched(path: Path, tag: bytes, skip: int, data: bytes) -> Path:
    """Overwrite the bytes that stand `skip` bytes after the start of a tag."""
    old = path.read_bytes()
    at = old.index(tag) + skip
    return text(path, old[:at] + data + old[at + len(data) :])


def text(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def spoiled(value: float, at_s: float) -> np.ndarray:
    x = noise(3.0, channels=2)
    x[round(at_s * RATE), 1] = value
    return x


def riff(rate: int) -> bytes:
    """A WAV file of four bytes of samples at a rate that no writer accepts."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return b"RIFF" + struct.pack("<I", 40) + b"WAVE" + form + b"data" + struct.pack("<I", 4) + b"\1\0\2\0"


def link(path: Path) -> Path:
    path.symlink_to("gone.wav")
    return path


def made(path: Path) -> Path:
    path.mkdir()
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def empty_flac(path: Path) -> Path:
    """A STREAMINFO block (16-bit mono, number of samples unknown) and nothing after it."""
    bits = RATE << 44 | 0 << 41 | 15 << 36
    return text(path, b"fLaC" + b"\x80\0\0\x22" + struct.pack(">HH6xQ16x", 4096, 4096, bits))


def aac(path: Path, x: np.ndarray | None = None, rate: int = 44100, flags: str = "") -> Path:
    """Stereo noise, or x [sample, 2], as AAC in the container that the suffix says."""
    x = (noise(3.0, rate, 2) if x is None else x).T
    with av.open(str(path), "w", options={"movflags": flags} if flags else {}) as container:
        stream = container.add_stream("aac", rate=rate, layout="stereo")
        for start in range(0, x.shape[1], 1024):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(x[:, start : start + 1024]), "fltp", "stereo")
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def silent_film(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, width=32, height=32, pix_fmt="yuv420p")
        container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    return path


def never_closed(path: Path) -> Path:
    """A WAV file whose recorder lost power before it could fill in the two lengths."""
    return patched(patched(sound(path), b"RIFF", 4, bytes(4)), b"data", 4, bytes(4))


def piped_flac(path: Path) -> Path:
    """A FLAC file whose writer could not go back to fill in the number of samples (36 bits)."""
    half = sound(path).read_bytes()[21] & 0xF0
    return patched(path, b"fLaC", 21, bytes([half, 0, 0, 0, 0]))


def headerless_mp3(path: Path) -> Path:
    """An MP3 of variable bit rate as cut from a stream: without its first frame, which holds the length header."""
    x = np.concatenate([noise(4.0, 44100), 1e-3 * noise(8.0, 44100)])
    soundfile.write(path, x, 44100, bitrate_mode="VARIABLE", compression_level=0.3)
    data = path.read_bytes()
    return text(path, data[data.find(data[:2], 4) :])
