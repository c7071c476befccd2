"""Audio files and arrays as blocks of mono float32 samples at the recipe's rate, in constant memory.

The only module that decodes. libsndfile reads WAV, FLAC, OGG (Vorbis, Opus), MP3 and AIFF; what it does not know (m4a,
video) goes to PyAV, where that is installed. The content decides, never the suffix. What is accepted is decided in `gate`.
"""

import os
import stat
import threading
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
from jaxtyping import Float32, Shaped

from soundscene.audio.arrays import as_channels, to_float32
from soundscene.audio.child import Message, messages
from soundscene.audio.containers import Corrected, not_audio, read_promise
from soundscene.audio.gate import AudioSummary, Gate
from soundscene.errors import AudioError, AudioWarning, SceneError, unexpected
from soundscene.extras import install
from soundscene.recipe import AudioRecipe
from soundscene.types import Samples

_BLOCK_VALUES = 1 << 16  # samples times channels, of two or more, that are decoded at once
_OPENING = threading.Lock()  # libsndfile keeps why a file was refused in one place for all threads
_AV_SLACK_S = 0.5  # containers state durations with the codec's padding, or without

_Blocks = Iterator[Float32[np.ndarray, "sample channel"]]
_Reader = Generator[Samples, None, AudioSummary]


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

    def __init__(
        self, samples: Shaped[np.ndarray, "..."], sample_rate: int, audio: AudioRecipe, name: str = "array"
    ) -> None:
        self._reading = _Reading(name, partial(_array_blocks, as_channels(samples, name), sample_rate, audio, name))

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
    def duration_s(self) -> float:
        """See `AudioFile.duration_s`."""
        return self._reading.summary.duration_s

    @property
    def content_hash(self) -> str:
        """See `AudioFile.content_hash`."""
        return self._reading.summary.content_hash


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


def gate_array(samples: Shaped[np.ndarray, "..."], sample_rate: int, audio: AudioRecipe, name: str = "array") -> Samples:
    """Convert an array to mono samples at the recipe's rate; warn by `AudioWarning` as for a file.

    Args:
        samples: [sample] or [channel, sample]; integers are scaled to [-1, 1).
        sample_rate: Rate of the samples, Hz.
        audio: Rate and limits of the recipe.
        name: Source, for messages.

    Raises:
        AudioError: The samples cannot be used.
    """
    return _Reading(name, partial(_array_blocks, as_channels(samples, name), sample_rate, audio, name)).whole()


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


def _block_samples(n_channels: int) -> int:
    return max(1, _BLOCK_VALUES // max(2, n_channels))


def _through(gate: Gate, native: _Blocks) -> _Reader:
    """Drive a gate; empty blocks (while the resampler fills up) are left out."""
    for block in native:
        if len(ready := gate.push(block)):
            yield ready
    if len(rest := gate.flush()):
        yield rest
    return gate.summary()


def _array_blocks(samples: Shaped[np.ndarray, "channel sample"], sample_rate: int, audio: AudioRecipe, name: str) -> _Reader:
    gate = Gate(name, sample_rate, audio, samples.dtype.kind == "f")
    n = _block_samples(len(samples))
    pieces = (samples[:, start : start + n] for start in range(0, samples.shape[1], n))
    # C order as from a decoder, so that the mean over channels rounds alike
    return (yield from _through(gate, (np.ascontiguousarray(to_float32(piece).T) for piece in pieces)))


# --- files ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Decoder:
    sample_rate: int
    holds_float: bool
    blocks: _Blocks


def _file_blocks(path: Path, audio: AudioRecipe | None) -> _Reader:
    try:
        with ExitStack() as stack:
            decoder = _open(path, stack)
            gate = Gate(str(path), decoder.sample_rate, audio, decoder.holds_float)
            return (yield from _through(gate, decoder.blocks))
    except SceneError:
        raise
    except Exception as error:  # of a decoder: whatever a file does, others are read
        raise unexpected(str(path), error) from error


def _open(path: Path, stack: ExitStack) -> _Decoder:
    """Choose the decoder by the content of the file, whatever its name."""
    file = stack.enter_context(_open_bytes(path))
    try:
        head = file.read(512)
        promise = read_promise(file)
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror}); is the disk or the network damaged?") from None
    if not head:
        raise AudioError(f"{path}: is empty (0 bytes); was the copy or the download interrupted?")
    if promise.fault:
        raise AudioError(f"{path}: is truncated: {promise.fault}; copy or export it again")
    if promise.misread:
        return _open_av(path, stack, promise.misread)
    try:
        sound = stack.enter_context(_open_soundfile(file, promise.correction))
    except soundfile.LibsndfileError as error:
        if what := not_audio(head):
            raise AudioError(f"{path}: is not an audio file but {what}") from None
        return _open_av(path, stack, f"not readable as WAV, FLAC, OGG, MP3 or AIFF ({error.error_string.rstrip('.')})")
    blocks = _soundfile_blocks(path, sound, promise.n_frames)
    return _Decoder(sound.samplerate, sound.subtype in ("FLOAT", "DOUBLE"), blocks)


def _open_soundfile(file: BinaryIO, correction: tuple[int, bytes]) -> soundfile.SoundFile:
    """By the number of the open file: calling Python back for every 8 KB costs a tenth, half beside another busy thread."""
    with _OPENING:
        if os.name == "posix" and not correction[1]:  # elsewhere a number means nothing to another C library
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            return soundfile.SoundFile(file.fileno(), closefd=False)
        corrected: Any = Corrected(file, correction)  # soundfile's annotation asks for more than it uses
        return soundfile.SoundFile(corrected)


def _open_bytes(path: Path) -> BinaryIO:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            what = "is a directory" if path.is_dir() else "is not a regular file"
            raise AudioError(f"{path}: {what}; expected an audio file")
        return path.open("rb")
    except FileNotFoundError:
        if path.is_symlink():
            raise AudioError(f"{path}: is a link to {os.readlink(path)}, which does not exist") from None
        raise AudioError(f"{path}: does not exist; is the path relative to another folder?") from None
    except PermissionError:
        raise AudioError(f"{path}: may not be read (permission denied); ask its owner, or run chmod +r") from None
    except (OSError, ValueError) as error:
        raise AudioError(f"{path}: cannot be opened ({getattr(error, 'strerror', None) or error})") from None


def _undecodable(path: Path, seconds: float, why: str) -> AudioError:
    return AudioError(f"{path}: cannot be decoded beyond {seconds:.2f} s ({why}); it is truncated or damaged")


def _soundfile_blocks(path: Path, sound: soundfile.SoundFile, promised: int | None) -> _Blocks:
    # soundfile seeks after every read to where it is already; in a FLAC file of unknown length the last such seek fails
    # and takes a block with it. Nothing here needs to seek.
    sound.seekable = lambda: False
    n_read, why = 0, f"the header promises {(promised or 0) / sound.samplerate:.2f} s"
    while True:
        try:
            block = sound.read(_block_samples(sound.channels), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            why = why if promised else error.error_string.rstrip(". ")
            raise _undecodable(path, n_read / sound.samplerate, why) from None
        if not len(block):
            break
        n_read += len(block)
        yield block
    if promised is not None and n_read < promised:
        raise _undecodable(path, n_read / sound.samplerate, why)


def _open_av(path: Path, stack: ExitStack, why: str) -> _Decoder:
    """Decode with PyAV (FFmpeg's libraries) in a child process; `why` says what kept libsndfile from it."""
    if find_spec("av") is None:  # an extra
        raise AudioError(f"{path}: {why}; if it is m4a, video or another format that FFmpeg knows, {install('av')}")
    decoded = stack.enter_context(closing(messages(path)))
    facts, _ = next(decoded)
    match facts["kind"]:
        case "foreign":
            raise AudioError(f"{path}: {why}, and FFmpeg does not know it either; it is damaged or not an audio file")
        case "no audio":
            raise AudioError(f"{path}: contains no audio, only {facts['why']}")
        case "no decoder":
            raise AudioError(
                f"{path}: its audio is of a kind that FFmpeg has no decoder for; is it protected, or damaged? Convert it to "
                "WAV or FLAC with the program that made it"
            )
        case "undecodable":
            raise _undecodable(path, 0.0, facts["why"])
    return _Decoder(facts["rate"], False, _av_blocks(path, decoded, facts["rate"], facts["promised_s"]))


def _av_blocks(path: Path, decoded: Iterator[Message], rate: int, promised_s: float) -> _Blocks:
    n_read = 0
    for facts, samples in decoded:
        if facts["kind"] == "undecodable":
            raise _undecodable(path, n_read / rate, facts["why"])
        if facts["kind"] == "block":
            n_read += len(samples)
            yield samples
    if n_read / rate < promised_s - _AV_SLACK_S:
        raise _undecodable(path, n_read / rate, f"the header promises {promised_s:.2f} s")
