"""Audio files and arrays as blocks of mono float32 samples at the recipe's rate, in constant memory.

What decodes is in `decoders`, what is accepted is decided in `gate`.
"""

import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from soundscene.audio.arrays import (
    ArrayLike,
    RateLike,
    as_array,
    as_channels,
    as_rate,
    as_source,
    narrow,
    source_name,
    to_float32,
)
from soundscene.audio.decoders import Decoder, block_samples, open_decoder
from soundscene.audio.gate import AudioSummary, Gate
from soundscene.audio.timing import Blocks
from soundscene.errors import AudioError, AudioWarning, SceneError, unexpected
from soundscene.recipe import AudioRecipe
from soundscene.types import Samples

_Reader = Generator[Samples, None, AudioSummary]
_checks: list[Callable[[Path], None]] = []


class AudioFile:
    """Read an audio file block by block.

    Args:
        path: Of the file.
        audio: Sample rate (Hz) of the blocks, and the shortest duration that is allowed.
    """

    def __init__(self, path: str | Path, audio: AudioRecipe) -> None:
        self._reading = _Reading(str(path), partial(_file_blocks, Path(path), audio))

    def blocks(self) -> Generator[Samples, None, None]:
        """Yield blocks [sample] of mono samples at the recipe's rate; concatenated they are the recording.

        Raises:
            AudioError: The audio is unusable, raised as soon as that is known. Lesser problems are in `notes`.
        """
        return self._reading.blocks()

    @property
    def notes(self) -> tuple[str, ...]:
        """What may make a prediction worse; known after reading."""
        return self._reading.summary.notes

    @property
    def summary(self) -> AudioSummary:
        """All that is known after reading."""
        return self._reading.summary

    @property
    def duration_s(self) -> float:
        """Seconds of audio that were decoded; known after reading."""
        return self._reading.summary.duration_s

    @property
    def content_hash(self) -> str:
        """SHA-256 of the samples (mono, source rate, 16 bits), the same for WAV, FLAC and array; known after reading."""
        return self._reading.summary.content_hash


class AudioArray:
    """Samples in memory behind the interface of `AudioFile`, with the same gate and resampling.

    Args:
        samples: [sample] or [channel, sample]. Floats are taken as they are, integers are scaled to [-1, 1).
        sample_rate: Hz.
        name: Source, for messages.

    Raises:
        AudioError: The array has another shape or type.
    """

    def __init__(self, samples: ArrayLike, sample_rate: RateLike, audio: AudioRecipe, name: str = "array") -> None:
        channels, rate = as_channels(as_array(samples, name), name), as_rate(sample_rate, name)
        self._reading = _Reading(name, partial(_array_blocks, channels, rate, audio, name))

    def blocks(self) -> Generator[Samples, None, None]:
        """Yield blocks [sample] as `AudioFile.blocks` does.

        Raises:
            AudioError: The audio is unusable, raised as soon as that is known. Lesser problems are in `notes`.
        """
        return self._reading.blocks()

    @property
    def notes(self) -> tuple[str, ...]:
        """See `AudioFile.notes`."""
        return self._reading.summary.notes

    @property
    def summary(self) -> AudioSummary:
        """See `AudioFile.summary`."""
        return self._reading.summary

    @property
    def duration_s(self) -> float:
        """See `AudioFile.duration_s`."""
        return self._reading.summary.duration_s

    @property
    def content_hash(self) -> str:
        """See `AudioFile.content_hash`."""
        return self._reading.summary.content_hash


def open_source(source: Any, audio: AudioRecipe) -> tuple[str, AudioFile | AudioArray]:
    """Return the name of a recording and what reads it.

    Args:
        source: A file, samples with their rate, or what else `audio.arrays.as_source` takes.
        audio: Rate and limits of the recipe.

    Raises:
        AudioError: It is something else, or an array of another shape or type.
    """
    given, name = as_source(source), source_name(source)
    return name, AudioArray(*given, audio, name) if isinstance(given, tuple) else AudioFile(given, audio)


class SharedFile:
    """Read an audio file once for several recipes: one decoding, and a gate with its resampling for each.

    Args:
        path: Of the file.
        audios: Rate and shortest duration of each recipe.

    Attributes:
        results: After reading, for each recipe what is known of the recording, or why it cannot be used.
    """

    def __init__(self, path: str | Path, audios: Sequence[AudioRecipe]) -> None:
        self._path, self._audios = Path(path), tuple(audios)
        self.results: list[AudioSummary | AudioError] = []

    def blocks(self) -> Generator[tuple[Samples, ...], None, None]:
        """Yield for each recipe the mono samples [sample] that are ready, perhaps none.

        Raises:
            AudioError: No recipe can use the audio.
        """
        with _decoder(self._path) as decoder:
            gates = [Gate(str(self._path), decoder.sample_rate, audio, decoder.holds_float) for audio in self._audios]
            for block in decoder.blocks:
                yield tuple(gate.push(block) for gate in gates)
            rests, notes = [], tuple(dict.fromkeys(decoder.notes))
            for gate in gates:
                try:
                    rests.append(gate.flush())
                    summary = gate.summary()
                    self.results.append(replace(summary, notes=(*notes, *summary.notes)))
                except AudioError as error:  # too short for the segments of this recipe
                    rests.append(np.zeros(0, np.float32))
                    self.results.append(error)
            yield tuple(rests)


class _Reading:
    """Pass blocks on and keep the summary known at the end; shared by files and arrays.

    Only `whole` warns: a program that reads many files, in threads, shows `notes` in its own way.
    """

    def __init__(self, name: str, start: Callable[[], _Reader]) -> None:
        self._name, self._start = name, start
        self._summary: AudioSummary | None = None

    def blocks(self) -> Generator[Samples, None, None]:
        self._summary = yield from self._start()

    def whole(self) -> Samples:
        samples = np.concatenate(list(self.blocks()))
        for note in self.summary.notes:
            warnings.warn(f"{self._name}: {note}", AudioWarning, stacklevel=3)
        return samples

    @property
    def summary(self) -> AudioSummary:
        if self._summary is None:
            raise RuntimeError("known only after blocks() has been read to its end")
        return self._summary


def read_samples(path: str | Path, audio: AudioRecipe) -> Samples:
    """Read a whole recording as mono samples at the recipe's rate; warn by `AudioWarning` of what may harm a prediction.

    Args:
        path: Audio file.
        audio: Rate and limits of the recipe.

    Raises:
        AudioError: The file cannot be used.
    """
    return _Reading(str(path), partial(_file_blocks, Path(path), audio)).whole()


def gate_array(samples: ArrayLike, sample_rate: RateLike, audio: AudioRecipe, name: str = "array") -> Samples:
    """Convert an array to mono samples at the recipe's rate; warn by `AudioWarning` as for a file.

    Args:
        samples: [sample] or [channel, sample]; integers are scaled to [-1, 1).
        sample_rate: Rate of the samples, Hz.
        audio: Rate and limits of the recipe.
        name: Source, for messages.

    Raises:
        AudioError: The samples cannot be used.
    """
    channels, rate = as_channels(as_array(samples, name), name), as_rate(sample_rate, name)
    return _Reading(name, partial(_array_blocks, channels, rate, audio, name)).whole()


def write_array(samples: ArrayLike, sample_rate: RateLike, path: Path) -> Path:
    """Write samples to a WAV file of 32-bit floats, for what reads files only.

    Args:
        samples: [sample] or [channel, sample]; integers are scaled to [-1, 1).
        sample_rate: Rate of the samples, Hz.
        path: File to write.

    Raises:
        AudioError: The array has another shape or type.
    """
    from scipy.io import wavfile

    channels, rate = as_channels(as_array(samples, "array"), "array"), as_rate(sample_rate, "array")
    Gate("array", rate, None, True)  # refuses an implausible rate
    wavfile.write(path, rate, np.ascontiguousarray(to_float32(channels).T))
    return path


def content_hash(path: str | Path) -> str:
    """Compute the hash of `AudioFile.content_hash` by decoding alone, for any duration.

    Raises:
        AudioError: The file cannot be decoded.
    """
    reader = _file_blocks(Path(path), None)
    while True:
        try:
            next(reader)
        except StopIteration as end:
            return end.value.content_hash


def check_files_first(check: Callable[[Path], None]) -> None:
    """Call a function with each file that this process decodes from now on, before it is opened.

    Args:
        check: Raises `AudioError` if the file is not to be opened.
    """
    _checks.append(check)


def _through(gate: Gate, native: Blocks) -> _Reader:
    """Drive a gate; empty blocks (while the resampler fills up) are left out."""
    for block in native:
        if len(ready := gate.push(block)):
            yield ready
    if len(rest := gate.flush()):
        yield rest
    return gate.summary()


def _array_blocks(samples: Shaped[np.ndarray, "channel sample"], sample_rate: int, audio: AudioRecipe, name: str) -> _Reader:
    gate = Gate(name, sample_rate, audio, samples.dtype.kind == "f")
    n = block_samples(len(samples))
    doubles = samples.dtype == np.float64

    def blocks() -> Blocks:
        for start in range(0, samples.shape[1], n):
            piece = samples[:, start : start + n]
            # C order as from a decoder, so that the mean over channels rounds alike
            yield np.ascontiguousarray(narrow(piece.T, name, sample_rate, start) if doubles else to_float32(piece).T)

    return (yield from _through(gate, blocks()))


def _file_blocks(path: Path, audio: AudioRecipe | None) -> _Reader:
    with _decoder(path) as decoder:
        gate = Gate(str(path), decoder.sample_rate, audio, decoder.holds_float)
        summary = yield from _through(gate, decoder.blocks)
        return replace(summary, notes=(*dict.fromkeys(decoder.notes), *summary.notes))


@contextmanager
def _decoder(path: Path) -> Iterator[Decoder]:
    """Open what decodes a file; whatever it does, the error is one of ours, and other files are read."""
    try:
        for check in _checks:
            check(path)
        with ExitStack() as stack:
            yield open_decoder(path, stack)
    except SceneError:
        raise
    except Exception as error:
        raise unexpected(str(path), error) from error
