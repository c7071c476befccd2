"""Decode sound files: libsndfile, or FFmpeg for what libsndfile does not know; the only module that opens them.

libsndfile reads WAV, FLAC, OGG (Vorbis, Opus), MP3, AIFF and others; m4a, video and the rest go to FFmpeg, where PyAV is
installed. The content decides, never the suffix. `contents` says of what parts a file consists. They follow one another
at one rate, and sound that is missing between them becomes silence, with a note, so that the rest keeps its place in time.
"""

import os
import stat
import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import soundfile

from soundscene.audio.arrays import narrow
from soundscene.audio.containers import Contents, Part, Window, not_audio
from soundscene.audio.contents import read_contents
from soundscene.audio.foreign import foreign_blocks, open_foreign, undecodable
from soundscene.audio.quiet import quiet
from soundscene.audio.timing import Blocks, SampleClock, at_rate
from soundscene.errors import AudioError, FormatError
from soundscene.files import url_hint

_BLOCK_VALUES = 1 << 16  # samples times channels, of two or more, that are decoded at once
_OPENING = threading.Lock()  # libsndfile keeps why a file was refused in one place for all threads
_GAP_S = 0.05  # by which the samples of an OGG may be fewer than its time stamps say
_UNKNOWN = "not readable as WAV, FLAC, OGG, MP3 or AIFF"


@dataclass(frozen=True)
class Decoder:
    """Hold what decodes a file.

    Attributes:
        sample_rate: Hz, of all blocks.
        holds_float: Whether the file stores floating point.
        blocks: [sample, channel]; the number of channels may change from one block to the next.
        notes: What is odd about the file; complete when all blocks have been read.
    """

    sample_rate: int
    holds_float: bool
    blocks: Blocks
    notes: list[str]


def block_samples(n_channels: int) -> int:
    """Return how many samples of each channel are decoded at once."""
    return max(1, _BLOCK_VALUES // max(2, n_channels))


def open_decoder(path: Path, stack: ExitStack) -> Decoder:
    """Choose the decoder by the content of a file, whatever its name.

    Args:
        path: Of the file.
        stack: Closes what is opened.

    Raises:
        AudioError: The file is none, holds no sound, or cannot be complete.
    """
    file = stack.enter_context(_open_bytes(path))
    try:
        head = file.read(512)
        contents = read_contents(file, thorough=os.name != "posix")
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror}); is the disk or the network damaged?") from None
    if not head:
        raise AudioError(f"{path}: is empty (0 bytes); was the copy or the download interrupted?")
    if contents.fault:
        raise AudioError(f"{path}: is truncated: {contents.fault}; copy or export it again")
    notes = list(contents.notes)
    part, *others = contents.parts
    try:
        if others or part.span_s is not None:
            return _open_parts(path, file, contents.parts, notes)
        if part.foreign and not not_audio(head):
            return _open_foreign(path, part, stack, _UNKNOWN, notes, contents)
        sound = stack.enter_context(_open_soundfile(file, part, alone=True))
    except soundfile.LibsndfileError as error:
        if what := not_audio(head):
            raise FormatError(f"{path}: is not an audio file but {what}") from None
        why = f"{_UNKNOWN} ({error.error_string.rstrip('.')})"
        if others and not any(part.prefix or part.lost or part.span_s is not None for part in contents.parts):
            foreign = tuple(replace(part, foreign=True) for part in contents.parts)
            return _open_parts(path, file, foreign, notes)  # FFmpeg too would stop where the first of joined files ends
        notes.extend(part.lost for part in contents.parts if part.lost)
        whole = Part(after=contents.parts[-1].after)
        return _open_foreign(path, whole if others else part, stack, why, notes, contents)
    clock = SampleClock(sound.samplerate, notes)
    blocks = _soundfile_blocks(path, sound, part, notes)
    if not contents.searched and part.whole:
        blocks = _searched_blocks(path, file, sound.samplerate, blocks, notes)
    return Decoder(sound.samplerate, _holds_float(sound), clock.place(part, blocks), notes)


def _open_foreign(path: Path, part: Part, stack: ExitStack, why: str, notes: list[str], contents: Contents) -> Decoder:
    opened = open_foreign(path, part, stack, why, notes)
    clock = SampleClock(opened.rate, notes)
    blocks = foreign_blocks(path, opened, clock, part, _seconds(contents.parts))
    return Decoder(clock.rate, False, clock.end(part, blocks), notes)


def _seconds(parts: tuple[Part, ...]) -> float:
    """Return what the frames of a file last, if that is known of all its parts, else zero."""
    known = all(part.n_frames and part.rate for part in parts)
    return sum((part.n_frames or 0) / part.rate for part in parts) if known else 0.0


def _open_soundfile(file: BinaryIO, part: Part, alone: bool = False) -> soundfile.SoundFile:
    """By the number of the open file: calling Python back for every 8 KB costs a tenth, half beside another busy thread."""
    with _OPENING, quiet(True):
        # Elsewhere a number means nothing to another C library; and beside windows it would move the file under them.
        if os.name == "posix" and part.whole and alone:
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            return soundfile.SoundFile(file.fileno(), closefd=False)
        window: Any = Window(file, part)  # soundfile's annotation asks for more than it uses
        return soundfile.SoundFile(window)


def _open_bytes(path: Path) -> BinaryIO:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            what = "is a directory" if path.is_dir() else "is not a regular file"
            raise AudioError(f"{path}: {what}; expected an audio file")
        return path.open("rb")
    except FileNotFoundError:
        if path.is_symlink():
            raise AudioError(f"{path}: is a link to {os.readlink(path)}, which does not exist") from None
        hint = url_hint(path) or "does not exist; is the path relative to another folder?"
        raise AudioError(f"{path}: {hint}") from None
    except PermissionError:
        raise AudioError(f"{path}: may not be read (permission denied); ask its owner, or run chmod +r") from None
    except (OSError, ValueError) as error:
        raise AudioError(f"{path}: cannot be opened ({getattr(error, 'strerror', None) or error})") from None


def _holds_float(sound: soundfile.SoundFile) -> bool:
    return sound.subtype in ("FLOAT", "DOUBLE")


# --- libsndfile -------------------------------------------------------------------------------------------------------


def _soundfile_blocks(path: Path, sound: soundfile.SoundFile, part: Part, notes: list[str]) -> Blocks:
    # soundfile seeks after every read to where it is already; in a FLAC file of unknown length the last such seek fails
    # and takes a block with it. Nothing here needs to seek.
    sound.seekable = lambda: False
    promised = part.n_frames
    n_read, why = 0, f"the header promises {(promised or 0) / sound.samplerate:.2f} s"
    # libFLAC fails at what stands behind the last frame, and other decoders take it for samples.
    exact = promised if part.exact or sound.format == "FLAC" else None
    mp3, doubles = sound.format == "MP3", sound.subtype == "DOUBLE"
    kind = "float64" if doubles else "float32"
    while exact is None or n_read < exact:
        n = block_samples(sound.channels) if exact is None else min(block_samples(sound.channels), exact - n_read)
        try:
            with quiet(mp3):
                block = sound.read(n, dtype=kind, always_2d=True)
        except soundfile.LibsndfileError as error:
            why = why if promised else error.error_string.rstrip(". ")
            raise undecodable(path, n_read / sound.samplerate, why) from None
        if not len(block):
            break
        yield narrow(block, str(path), sound.samplerate, n_read) if doubles else block
        n_read += len(block)
    if promised is not None and n_read < promised:
        raise undecodable(path, n_read / sound.samplerate, why)
    missing_s = (sound.frames - n_read) / sound.samplerate
    if sound.format == "OGG" and missing_s > _GAP_S:  # of continuous pages, whose times are not
        notes.append(
            f"its time stamps have gaps of {missing_s:.2f} s in all, where no sound is; what follows comes too early"
        )


def _searched_blocks(path: Path, file: BinaryIO, rate: int, blocks: Blocks, notes: list[str]) -> Blocks:
    """Decode a file as if it were one; if its decoder fails, or has not come to its end, look for others joined to it."""
    n, error = 0, None
    try:
        for block in blocks:
            n += len(block)
            yield block
        if os.lseek(file.fileno(), 0, os.SEEK_CUR) >= os.fstat(file.fileno()).st_size:
            return
    except AudioError as failed:
        error = failed
    with path.open("rb") as again:  # the decoder has moved the other
        parts = read_contents(again).parts
        if len(parts) > 1:
            for block in _part_blocks(path, again, parts, SampleClock(rate, notes)):
                skipped = min(n, len(block))
                n -= skipped
                if skipped < len(block):
                    yield block[skipped:]
        elif error is not None:
            raise error


def _open_parts(path: Path, file: BinaryIO, parts: tuple[Part, ...], notes: list[str]) -> Decoder:
    """Open a file of several parts; its rate is the highest of theirs."""
    rate, holds_float, error = max(part.rate for part in parts), False, None
    for part in parts:
        try:
            if part.foreign:
                with ExitStack() as stack:
                    rate = max(rate, open_foreign(path, part, stack, _UNKNOWN, []).rate)
                break
            with _open_soundfile(file, part) as sound:
                rate, holds_float = max(rate, sound.samplerate), _holds_float(sound)
                break
        except (soundfile.LibsndfileError, AudioError) as refused:
            error = error or refused
    else:
        assert error is not None
        raise error
    return Decoder(rate, holds_float, _part_blocks(path, file, parts, SampleClock(rate, notes)), notes)


def _part_blocks(path: Path, file: BinaryIO, parts: tuple[Part, ...], clock: SampleClock) -> Blocks:
    """Decode the parts of a file one after another; one that cannot be decoded is noted, if another can."""
    error, due_s = None, 0.0  # where the part before should have ended
    for part in parts:
        try:
            if part.foreign:
                yield from _foreign_part(path, part, clock)
                due_s = clock.now_s
                continue
            with _open_soundfile(file, part) as sound:
                if part.span_s is not None:
                    due_s += part.span_s
                    gap_s = due_s - sound.frames / sound.samplerate - clock.now_s
                    if gap_s > 1 / sound.samplerate:
                        yield from clock.gap(gap_s, sound.channels)
                blocks = _soundfile_blocks(path, sound, part, clock.notes)
                if sound.samplerate != clock.rate:
                    blocks = at_rate(blocks, sound.samplerate, clock.rate)
                yield from clock.place(part, blocks)
                due_s = clock.now_s
        except (soundfile.LibsndfileError, AudioError) as refused:
            try:
                if isinstance(refused, AudioError) or part.prefix:
                    raise refused
                yield from _foreign_part(path, part, clock)
                continue
            except (soundfile.LibsndfileError, AudioError):
                error = error or refused
            clock.notes.append(f"a part of the file at {clock.now_s:.2f} s cannot be decoded to its end; left out")
    if not clock.n and error is not None:
        raise error if isinstance(error, AudioError) else undecodable(path, 0.0, str(error).rstrip(". "))


def _foreign_part(path: Path, part: Part, clock: SampleClock) -> Blocks:
    with ExitStack() as stack:
        opened = open_foreign(path, part, stack, _UNKNOWN, clock.notes)
        yield from clock.end(part, foreign_blocks(path, opened, clock, part, _seconds((part,))))
