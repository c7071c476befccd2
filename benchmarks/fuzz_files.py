"""The seeds of the sound fuzzing, rendered and encoded at run time, and the mutations that are applied to them."""

import io
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile

from soundscene.render.corpus import render_recording

SECONDS = 4.0
_RATE = 48000
_SIZES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7F000000, 0x7FFFFF00, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)

# name: suffix, sample rate, channels, and either format and subtype of libsndfile or container and codec of FFmpeg
SEEDS: dict[str, tuple[str, int, int, str, str]] = {
    "wav-16": ("wav", 44100, 1, "WAV", "PCM_16"),
    "wav-16-stereo": ("wav", 22050, 2, "WAV", "PCM_16"),
    "wav-24": ("wav", 48000, 2, "WAV", "PCM_24"),
    "wav-float": ("wav", 22050, 1, "WAV", "FLOAT"),
    "wav-u8": ("wav", 16000, 1, "WAV", "PCM_U8"),
    "wav-adpcm": ("wav", 22050, 1, "WAV", "IMA_ADPCM"),
    "wav-rf64": ("wav", 22050, 1, "RF64", "PCM_16"),
    "flac-16": ("flac", 44100, 1, "FLAC", "PCM_16"),
    "flac-24": ("flac", 48000, 2, "FLAC", "PCM_24"),
    "ogg-vorbis": ("ogg", 44100, 1, "OGG", "VORBIS"),
    "ogg-vorbis-stereo": ("ogg", 22050, 2, "OGG", "VORBIS"),
    "opus": ("opus", 48000, 1, "OGG", "OPUS"),
    "opus-stereo": ("opus", 48000, 2, "OGG", "OPUS"),
    "mp3": ("mp3", 44100, 1, "MP3", "MPEG_LAYER_III"),
    "mp3-stereo": ("mp3", 22050, 2, "MP3", "MPEG_LAYER_III"),
    "aiff-16": ("aiff", 44100, 1, "AIFF", "PCM_16"),
    "aiff-24": ("aiff", 22050, 2, "AIFF", "PCM_24"),
    "caf-16": ("caf", 44100, 1, "CAF", "PCM_16"),
    "caf-alac": ("caf", 22050, 2, "CAF", "ALAC_16"),
    "m4a-aac": ("m4a", 44100, 2, "ipod", "aac"),
    "m4a-faststart": ("m4a", 22050, 1, "ipod+faststart", "aac"),
    "m4a-alac": ("m4a", 44100, 1, "ipod", "alac"),
    "mka-aac": ("mka", 48000, 1, "matroska", "aac"),
    "mka-flac": ("mka", 44100, 2, "matroska", "flac"),
    "webm-opus": ("webm", 48000, 1, "webm", "libopus"),
    "webm-opus-stereo": ("webm", 48000, 2, "webm", "libopus"),
}


@cache
def seed_bytes(name: str) -> bytes:
    """Encode the seed of a name; the same bytes in every process with the same encoders."""
    _, rate, channels, form, codec = SEEDS[name]
    samples = _sound(rate, channels)
    if form.isupper():
        file = io.BytesIO()
        soundfile.write(file, samples, rate, codec, format=form)
        return file.getvalue()
    container_format, _, flag = form.partition("+")
    with tempfile.TemporaryDirectory() as folder:  # the index of an MP4 is moved to the front by reading the file again
        path = Path(folder, "seed")
        _encode(path, container_format, {"movflags": flag} if flag else {}, samples, rate, codec)
        return path.read_bytes()


def _encode(path: Path, form: str, options: dict[str, str], samples: np.ndarray, rate: int, codec: str) -> None:
    channels = samples.shape[1]
    with av.open(str(path), "w", format=form, options={"fflags": "bitexact"} | options) as container:
        stream: Any = container.add_stream(codec, rate=rate, layout="stereo" if channels == 2 else "mono")
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(np.rint(samples * 32767).astype(np.int16).reshape(1, -1)),
            "s16",
            "stereo" if channels == 2 else "mono",
        )
        frame.sample_rate, frame.pts = rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@cache
def _sound(rate: int, channels: int) -> np.ndarray:
    generator = np.random.default_rng(12)
    mono = render_recording("rain", SECONDS, rate, generator)
    other = 0.5 * mono + 0.01 * generator.standard_normal(len(mono)).astype(np.float32)
    return np.stack([mono, other][:channels], axis=1)


def mutate(data: bytes, others: list[bytes], draw: np.random.Generator) -> tuple[bytes, str]:
    """Apply one to three mutations: bits, truncation, lies about sizes, splices.

    Args:
        data: The bytes of a seed.
        others: Bytes of other files, for splices.
        draw: Of all random draws.

    Returns:
        The mutated bytes, and what was done.
    """
    done: list[str] = []
    for _ in range(int(draw.integers(1, 4))):
        kind = str(draw.choice(["bits", "cut", "size", "splice"]))
        data = {"bits": _bits, "cut": _cut_end, "size": _size, "splice": _splice}[kind](data, others, draw)
        done.append(kind)
    return data, "+".join(done)


def _bits(data: bytes, _: list[bytes], draw: np.random.Generator) -> bytes:
    changed = bytearray(data)
    end = len(data) if draw.random() < 0.5 else min(len(data), 300)
    for at in draw.integers(0, max(1, end), int(draw.integers(1, 21))):
        if at < len(changed):
            changed[at] ^= 1 << int(draw.integers(8))
    return bytes(changed)


def _cut_end(data: bytes, _: list[bytes], draw: np.random.Generator) -> bytes:
    return data[: int(draw.integers(0, len(data) + 1))]


def _size(data: bytes, _: list[bytes], draw: np.random.Generator) -> bytes:
    width = int(draw.choice([1, 2, 4, 4, 8]))
    value = int(draw.choice(_SIZES)) & ((1 << 8 * width) - 1)
    end = min(len(data), 400) if draw.random() < 0.8 else len(data)
    at = int(draw.integers(0, max(1, end)))
    return data[:at] + value.to_bytes(width, "little" if draw.random() < 0.5 else "big") + data[at + width :]


def _splice(data: bytes, others: list[bytes], draw: np.random.Generator) -> bytes:
    source = others[int(draw.integers(len(others)))] if draw.random() < 0.5 else data
    start, stop = sorted(int(v) for v in draw.integers(0, len(source) + 1, 2))
    at, skipped = (int(v) for v in draw.integers(0, len(data) + 1, 2))
    way = int(draw.integers(4))
    if way == 0:
        return data + source
    if way == 1:
        return data[:at] + source[start:stop] + data[at:]
    if way == 2:
        return data[: min(at, skipped)] + data[max(at, skipped) :]
    return data[:at] + bytes(int(draw.integers(1, 5000))) + data[at:]


def shorten(data: bytes, draw: np.random.Generator) -> tuple[bytes, str]:
    """Cut the end off, or delete a part.

    Args:
        data: The bytes of a seed.
        draw: Of all random draws.

    Returns:
        The remaining bytes, and what was done.
    """
    if draw.random() < 0.5:
        end = int(draw.uniform(0.2, 0.999) * len(data))
        return data[:end], f"cut at byte {end} of {len(data)}"
    start = int(draw.uniform(0.1, 0.95) * len(data))
    stop = min(len(data), start + int(10 ** draw.uniform(1, np.log10(0.4 * len(data)))))
    return data[:start] + data[stop:], f"bytes {start} to {stop} of {len(data)} deleted"
