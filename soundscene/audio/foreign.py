"""What FFmpeg decodes, in a child process: blocks at their time stamps, and their end against what the container states."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

from soundscene.audio.child import Message, messages
from soundscene.audio.containers import Part, unread
from soundscene.audio.ffmpeg import Facts
from soundscene.audio.timing import Blocks, Resampler, SampleClock
from soundscene.errors import AudioError, FormatError
from soundscene.extras import install

_SLACK_S = 0.5  # containers state durations with the codec's padding, or without
_REST = 4096  # bytes behind the last packet that tags explain
_PADDING_S = 0.1  # by which the frames of a file may be counted wrong
_GAP_S = 0.05  # time stamps of live recordings vary by less
_LATE_S = 0.5  # from which on a first time stamp is noted


@dataclass(frozen=True)
class Opened:
    """Hold a part of a file that FFmpeg has begun to decode.

    Attributes:
        rate: Of the first block, Hz; it may be twice that of the header (AAC).
        facts: What `audio.ffmpeg` says of it when it is opened.
        messages: Blocks, and an end or an error.
    """

    rate: int
    facts: Facts
    messages: Iterator[Message]


def undecodable(path: Path, seconds: float, why: str) -> AudioError:
    """Return the error of a file whose decoder does not get further.

    Args:
        path: Of the file.
        seconds: Where it stopped.
        why: The decoder's reason.
    """
    return AudioError(f"{path}: cannot be decoded beyond {seconds:.2f} s ({why}); it is truncated or damaged")


def open_foreign(path: Path, part: Part, stack: ExitStack, why: str, notes: list[str]) -> Opened:
    """Open a part of a file with PyAV (FFmpeg's libraries) in a child process.

    Args:
        path: Of the file.
        part: Which bytes of it.
        stack: Ends the decoding.
        why: What kept other decoders from it, for messages.
        notes: Receives what is noted.

    Raises:
        AudioError: FFmpeg is not installed, or cannot decode it.
    """
    if find_spec("av") is None:  # an extra
        raise FormatError(f"{path}: {why}; if it is m4a, video or another format that FFmpeg knows, {install('av')}")
    decoded = stack.enter_context(closing(messages(path, part.start, part.end)))
    facts, _ = next(decoded)
    match facts["kind"]:
        case "foreign":
            raise FormatError(f"{path}: {why}, and FFmpeg does not know it either; it is damaged or not an audio file")
        case "no audio":
            raise FormatError(f"{path}: contains no audio, only {facts['why']}")
        case "no decoder":
            raise FormatError(
                f"{path}: its audio is of a kind that FFmpeg has no decoder for; is it protected, or damaged? Convert it to "
                "WAV or FLAC with the program that made it"
            )
        case "undecodable":
            raise undecodable(path, 0.0, facts["why"])
    if facts["n_tracks"] > 1:
        notes.append(f"it has {facts['n_tracks']} audio tracks; the first that can be decoded is read")
    first = next(decoded)
    return Opened(first[0].get("rate", facts["rate"]), facts, chain([first], decoded))


def foreign_blocks(path: Path, opened: Opened, clock: SampleClock, part: Part, held_s: float = 0.0) -> Blocks:
    """Place the blocks of a part by their time stamps, and note where its end is not that which the container states.

    Args:
        path: Of the file.
        opened: The part, opened.
        clock: Of the whole file; blocks are resampled to its rate.
        part: The part.
        held_s: Seconds that the part's frames last, if they were counted, else zero.

    Raises:
        AudioError: FFmpeg cannot decode it to its end.
    """
    start_s, rest = clock.now_s, 0
    due_s: float | None = None  # the time stamp that continues the block before
    resample: Resampler | None = None
    for facts, samples in opened.messages:
        if facts["kind"] == "undecodable":
            if not 0 < held_s <= clock.now_s - start_s + _PADDING_S:
                raise undecodable(path, clock.now_s, facts["why"])
            if not part.after:
                clock.notes.append(f"bytes behind {clock.now_s:.2f} s are no sound that can be read; left out")
        rest = facts.get("rest", 0)
        if facts["kind"] != "block":
            continue
        time_s, rate = facts["time_s"], facts["rate"]
        if due_s is None and time_s is not None and time_s > _LATE_S and opened.facts["from_zero"]:
            clock.notes.append(f"its time stamps begin at {time_s:.2f} s, here {clock.now_s:.2f} s")
        gap_s = 0.0 if time_s is None or due_s is None else time_s - due_s
        if resample is not None and (gap_s > _GAP_S or resample.setup != (rate, samples.shape[1])):
            yield from clock.count(resample.flush())
            resample = None
        if gap_s > _GAP_S:
            yield from clock.gap(gap_s, samples.shape[1])
        due_s = (due_s or 0.0) if time_s is None else time_s
        due_s += len(samples) / rate
        if rate != clock.rate:
            resample = resample or Resampler(rate, clock.rate, samples.shape[1])
            samples = resample.push(samples)
        yield from clock.count(iter([samples]))
    if resample is not None:
        yield from clock.count(resample.flush())
    read_s = max(due_s or 0.0, clock.now_s - start_s)
    if read_s < opened.facts["promised_s"] - _SLACK_S:
        raise undecodable(path, clock.now_s, f"the header promises {opened.facts['promised_s']:.2f} s")
    if part.after:
        return
    if read_s < opened.facts["container_s"] - _SLACK_S:
        stated = f"{opened.facts['container_s']:.2f} s"
        why = "was it cut, or is a part before missing?"
        clock.notes.append(f"its sound ends at {clock.now_s:.2f} s, its container states {stated}; {why}")
    if rest > _REST:
        clock.notes.append(unread(rest).format(s=f"{clock.now_s:.2f} s"))
