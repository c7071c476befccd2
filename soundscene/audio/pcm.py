"""Raw PCM, samples without a header, as another program pipes them, and the blocks that every live source yields."""

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float32, Shaped

from soundscene.audio.arrays import to_float32
from soundscene.errors import AudioError
from soundscene.texts import counted

SampleType = Literal["u8", "s16le", "s24le", "s32le", "f32le", "f64le"]
"""Names as ffmpeg has them: unsigned, signed or floating point, bits, little-endian."""

SAMPLE_TYPES: tuple[SampleType, ...] = get_args(SampleType)
MOST_CHANNELS = 64
_NUMPY = {"u8": "u1", "s16le": "<i2", "s24le": "u1", "s32le": "<i4", "f32le": "<f4", "f64le": "<f8"}
_BYTES = {"u8": 1, "s16le": 2, "s24le": 3, "s32le": 4, "f32le": 4, "f64le": 8}
_READ = 1 << 16  # bytes at most at a time; what is there comes at once, however little


@dataclass(frozen=True)
class Arrival:
    """Hold a block of live audio.

    Attributes:
        samples: [sample, channel] at the source's rate.
        arrived: `time.perf_counter()` when it arrived.
        n_lost: Samples lost just before it.
    """

    samples: Float32[np.ndarray, "native channel"]
    arrived: float
    n_lost: int = 0


class PcmStream:
    """Read raw PCM with interleaved channels from an open binary file, usually a pipe.

    Args:
        file: Has the method `read1`, and perhaps notes.
        n_channels: 1 to 64.
        sample_type: Type of a sample.

    Raises:
        AudioError: The number of channels is outside the range.
    """

    def __init__(self, file: Any, n_channels: int, sample_type: SampleType) -> None:
        if not 1 <= n_channels <= MOST_CHANNELS:
            raise AudioError(f"{n_channels} channels: allowed are 1 to {MOST_CHANNELS}, as many as the sound has")
        self._file, self._n_channels = file, n_channels
        self._type: SampleType = sample_type
        self._size = _BYTES[sample_type] * n_channels
        self.n_rest = 0  # bytes at the end that are no whole sample of every channel

    @property
    def notes(self) -> tuple[str, ...]:
        """What looks wrong; known at the end."""
        own = getattr(self._file, "notes", ())
        if not self.n_rest:
            return own
        return (
            *own,
            f"left out at the end: {counted(self.n_rest, 'byte')}, no whole sample of "
            f"{counted(self._n_channels, 'channel')} of {self._type}; was the pipe cut, or is the sample type or the number "
            "of channels wrong?",
        )

    def arrivals(self) -> Generator[Arrival, None, None]:
        """Yield what is available, as soon as it is available, to the end of the file.

        Raises:
            AudioError: It ends before its first sample.
        """
        rest, n = b"", 0
        while data := self._file.read1(_READ):
            arrived = time.perf_counter()
            data = rest + data
            whole = len(data) // self._size * self._size
            rest = data[whole:]
            if whole:
                n += 1
                yield Arrival(decode_pcm(data[:whole], self._n_channels, self._type), arrived)
        if not n:
            raise AudioError(
                f"the pipe ended after {counted(len(rest), 'byte')}, before its first sample; has the program that "
                "writes failed?"
            )
        self.n_rest = len(rest)


def bytes_per_sample(sample_type: SampleType) -> int:
    """Return the bytes of a sample of one channel."""
    return _BYTES[sample_type]


def decode_pcm(data: bytes, n_channels: int, sample_type: SampleType) -> Float32[np.ndarray, "native channel"]:
    """Decode bytes to samples; integers are scaled to [-1, 1).

    Args:
        data: Whole samples of all channels, interleaved.
        n_channels: Number of channels.
        sample_type: Type of a sample.

    Returns:
        [sample, channel].
    """
    values: Shaped[np.ndarray, " value"] = np.frombuffer(data, _NUMPY[sample_type])
    if sample_type == "s24le":
        wide = np.zeros((len(values) // 3, 4), np.uint8)
        wide[:, 1:] = values.reshape(-1, 3)  # the upper three bytes of 32 bits, so that the sign is in its place
        values = wide.view("<i4")[:, 0]
    return to_float32(values.reshape(-1, n_channels))
