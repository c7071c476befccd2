"""A pipe: a WAV is read by its header, another file is refused by name, and raw samples are never taken for a file."""

import io
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from soundscene.audio.pcm import PcmStream
from soundscene.audio.piped import Pipe, PipedFormat, read_header
from soundscene.errors import AudioError
from tests.support.sounds import headerless_mp3, noise

RATE = 22050


class Dribble(io.BytesIO):
    """A pipe that gives a few bytes at a time."""

    def read1(self, size: int | None = -1, /) -> bytes:
        return self.read(7)


def wav(subtype: str = "PCM_16", channels: int = 2, form: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, noise(0.3, RATE, channels), RATE, subtype, format=form)
    return file.getvalue()


def read(data: bytes, kind: type[io.BytesIO] = io.BytesIO) -> tuple[PipedFormat, np.ndarray, tuple[str, ...]]:
    pipe = Pipe(kind(data))
    header = read_header(pipe)
    assert header is not None
    stream = PcmStream(pipe, header.n_channels, header.sample_type)
    samples = np.concatenate([arrival.samples for arrival in stream.arrivals()])
    return header, samples, stream.notes


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("form", ["WAV", "WAVEX"])
@pytest.mark.parametrize("kind", [io.BytesIO, Dribble])
def test_a_wav_has_the_samples_that_a_decoder_finds(subtype: str, form: str, kind: type[io.BytesIO]) -> None:
    data = wav(subtype, form=form)
    header, samples, notes = read(data, kind)
    assert (header.sample_rate, header.n_channels) == (RATE, 2)
    np.testing.assert_array_equal(samples, soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0])
    assert not notes


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000, 0x80000000, 0x7FFFFF00, 0x7F000000])
def test_a_size_that_is_not_known_means_to_the_end(size: int) -> None:
    data = wav()
    at = data.index(b"data") + 4
    _, samples, notes = read(data[:at] + struct.pack("<I", size) + data[at + 4 :])
    assert len(samples) == round(0.3 * RATE)
    assert not notes


def test_chunks_around_the_samples_are_no_sound() -> None:
    data = wav()
    at = data.index(b"data")
    with_chunks = data[:at] + b"LIST" + struct.pack("<I", 5) + b"abcde\0" + data[at:] + b"LIST\4\0\0\0abcd"
    _, samples, notes = read(with_chunks, Dribble)
    assert len(samples) == round(0.3 * RATE)
    assert not notes


def test_samples_behind_those_that_the_header_states_are_read() -> None:
    data = wav()
    more = (noise(0.1, RATE, 2) * 32767).astype("<i2").tobytes()
    _, samples, notes = read(data + more)
    assert len(samples) == round(0.3 * RATE) + round(0.1 * RATE)
    assert notes == ("the pipe went on behind the samples that its WAV header states; all of it was read",)


@pytest.mark.parametrize(
    ("form", "name"),
    [
        *[("OGG", "an OGG file"), ("FLAC", "a FLAC file"), ("MP3", "an MP3 file"), ("AIFF", "an AIFF file")],
        *[("AU", "an AU file"), ("CAF", "a CAF file"), ("W64", "a W64 file"), ("RF64", "a RIFF file of a kind")],
    ],
)
def test_another_file_is_refused_by_name(form: str, name: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, noise(1.0, RATE), RATE, format=form)
    with pytest.raises(AudioError, match=f"^stdin is {name}.*; --stdin expects raw PCM or a WAV"):
        read_header(Pipe(Dribble(file.getvalue())))


def test_mp3_and_aac_without_any_header_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="stdin is an MP3 file"):
        read_header(Pipe(io.BytesIO(headerless_mp3(tmp_path / "a.mp3").read_bytes())))
    for suffix, name in (("aac", "AAC"), ("m4a", "an MP4 file"), ("mka", "a Matroska or WebM file")):
        with av.open(str(tmp_path / f"a.{suffix}"), "w") as container:
            stream: Any = container.add_stream("aac", rate=44100, layout="mono")
            frame = av.AudioFrame.from_ndarray(noise(1.0, 44100).T.copy(), "fltp", "mono")
            frame.sample_rate = 44100
            container.mux([*stream.encode(frame), *stream.encode(None)])
        with pytest.raises(AudioError, match=f"stdin is {name}"):
            read_header(Pipe(io.BytesIO((tmp_path / f"a.{suffix}").read_bytes())))


@pytest.mark.parametrize("subtype", ["ULAW", "IMA_ADPCM"])
def test_a_wav_of_another_coding_is_refused(subtype: str) -> None:
    with pytest.raises(AudioError, match="allowed are PCM of 8, 16, 24 or 32 bits"):
        read_header(Pipe(io.BytesIO(wav(subtype, channels=1))))


def test_a_wav_that_ends_in_its_header_is_refused() -> None:
    for n in (13, 30, 40):
        with pytest.raises(AudioError, match="header ends before the samples begin"):
            read_header(Pipe(io.BytesIO(wav()[:n])))


def test_raw_samples_are_raw() -> None:
    draw = np.random.default_rng(0)
    for first in (b"", b"\xff\xfb\x90\x00", b"\xff\xff", b"\xff\xf1\x50\x80\x01\x00", b"\0" * 8):
        for scale in (1, 30, 3000):
            data = first + (scale * draw.standard_normal(4000)).astype("<i2").tobytes()
            pipe = Pipe(Dribble(data))
            assert read_header(pipe) is None
            assert b"".join(iter(lambda pipe=pipe: pipe.read1(), b"")) == data
    for n in range(12):
        assert read_header(Pipe(io.BytesIO(b"\xff\xfb\x90\x00OggSRIFF"[:n]))) is None
