"""Raw PCM: every sample type as a decoder would give it, however the pipe cuts the bytes."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from soundscene.audio.pcm import SAMPLE_TYPES, PcmStream, SampleType, decode_pcm
from soundscene.errors import AudioError
from soundscene.texts import counted

SUBTYPES = {"u8": "PCM_U8", "s16le": "PCM_16", "s24le": "PCM_24", "s32le": "PCM_32", "f32le": "FLOAT", "f64le": "DOUBLE"}


class Dribble(io.BytesIO):
    """A pipe that gives a few bytes at a time."""

    def __init__(self, data: bytes, n: int) -> None:
        super().__init__(data)
        self._n = n

    def read1(self, size: int | None = -1, /) -> bytes:
        return self.read(self._n)


@pytest.mark.parametrize(
    ("sample_type", "data", "expected"),
    [
        ("u8", b"\x00\x80\xc0", [-1.0, 0.0, 0.5]),
        ("s16le", b"\x00\x80\x00\x40\xff\xff", [-1.0, 0.5, -1 / 32768]),
        ("s24le", b"\x00\x00\x80\x00\x00\x40\xff\xff\xff", [-1.0, 0.5, -1 / 8388608]),
        ("s32le", b"\x00\x00\x00\x80\x00\x00\x00\x40", [-1.0, 0.5]),
        ("f32le", b"\x00\x00\x00\xc0\x00\x00\x00\x3f", [-2.0, 0.5]),
        ("f64le", b"\x00\x00\x00\x00\x00\x00\xe0\x3f", [0.5]),
    ],
)
def test_bytes_by_hand(sample_type: SampleType, data: bytes, expected: list[float]) -> None:
    np.testing.assert_array_equal(decode_pcm(data, 1, sample_type)[:, 0], np.array(expected, np.float32))


@pytest.mark.parametrize("sample_type", SAMPLE_TYPES)
def test_the_same_samples_as_libsndfile_reads(sample_type: SampleType) -> None:
    file = io.BytesIO()
    noise = np.random.default_rng(0).uniform(-1, 1, (500, 2))
    soundfile.write(file, noise, 8000, SUBTYPES[sample_type], format="RAW", endian="LITTLE")
    file.seek(0)
    expected, _ = soundfile.read(
        file, samplerate=8000, channels=2, subtype=SUBTYPES[sample_type], format="RAW", endian="LITTLE", dtype="float32"
    )
    (arrival,) = PcmStream(io.BytesIO(file.getvalue()), 2, sample_type).arrivals()
    assert arrival.samples.shape == (500, 2)
    np.testing.assert_array_equal(arrival.samples, expected)


@given(st.integers(1, 50), st.sampled_from(SAMPLE_TYPES), st.integers(1, 3), st.integers(0, 40))
def test_no_cut_of_the_bytes_changes_a_sample(n: int, sample_type: SampleType, n_channels: int, n_bytes: int) -> None:
    data = bytes(range(1, 1 + n_bytes))
    stream = PcmStream(Dribble(data, n), n_channels, sample_type)
    size = n_channels * {"u8": 1, "s16le": 2, "s24le": 3, "s32le": 4, "f32le": 4, "f64le": 8}[sample_type]
    whole = n_bytes // size * size
    if not whole:
        with pytest.raises(AudioError, match=rf"^the pipe ended after {counted(n_bytes, 'byte')}, before its first sample"):
            list(stream.arrivals())
        return
    pieces = [arrival.samples for arrival in stream.arrivals()]
    found = np.concatenate([np.zeros((0, n_channels), np.float32), *pieces])
    np.testing.assert_array_equal(found, decode_pcm(data[:whole], n_channels, sample_type))
    assert all(len(piece) for piece in pieces)
    assert stream.n_rest == n_bytes - whole
    assert bool(stream.notes) == (n_bytes != whole)


def test_a_rest_is_reported() -> None:
    stream = PcmStream(io.BytesIO(b"abc"), 1, "s16le")
    assert len(list(stream.arrivals())) == 1
    assert stream.notes[0].startswith("left out at the end: 1 byte, no whole sample of 1 channel of s16le; was the pipe cut")


@pytest.mark.parametrize("n_channels", [0, 65])
def test_channels_that_cannot_be(n_channels: int) -> None:
    with pytest.raises(AudioError, match=f"^{n_channels} channels: allowed are 1 to 64"):
        PcmStream(io.BytesIO(), n_channels, "s16le")
