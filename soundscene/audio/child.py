"""Decoders in child processes: a file that crashes or hangs one costs that file, not the run.

A thread that reads a file through FFmpeg borrows an idle child, or starts one, so there are as many as files are read at a
time. A child lives until the program ends, and decodes one file after another (`audio.ffmpeg` is its program).
"""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from soundscene.audio.ffmpeg import SIZES, Facts
from soundscene.errors import AudioError

PATIENCE_S = 60.0  # without a message, after which a decoder counts as stuck

Message = tuple[Facts, Float32[np.ndarray, "sample channel"]]


class _LostError(Exception):
    """A child that has ended, or is stuck; the text says which."""


class _Child:
    """A process that decodes."""

    def __init__(self) -> None:
        program = Path(__file__).with_name("ffmpeg.py")
        paths = os.pathsep.join(path for path in sys.path if path)  # what this process can import, the child can
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(program)],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": paths},
        )
        assert self._process.stdin
        assert self._process.stdout
        self._requests, self._replies = self._process.stdin, self._process.stdout
        if hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(self._replies, select.POLLIN)

    def ask(self, path: str, start: int, end: int | None) -> None:
        """Ask for a part of a file."""
        try:
            self._requests.write(json.dumps([path, start, end]).encode() + b"\n")
        except OSError:
            raise _LostError("ended before it") from None

    def message(self) -> Message:
        """Wait for the next message."""
        n_text, n_samples = SIZES.unpack(self._read(SIZES.size))
        facts: Facts = json.loads(self._read(n_text))
        samples = np.frombuffer(self._read(n_samples), np.float32)
        return facts, samples.reshape(-1, facts.get("channels", 1))

    def lives(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def end(self) -> None:
        """End the process now."""
        self._process.kill()
        self._process.wait()
        self._requests.close()
        self._replies.close()

    def _read(self, n: int) -> bytearray:
        content = bytearray(n)
        view, at = memoryview(content), 0
        while at < n:
            if hasattr(self, "_poll") and not self._poll.poll(PATIENCE_S * 1000):
                raise _LostError(f"gave nothing for {PATIENCE_S:.0f} s")
            read = self._replies.readinto(view[at:])  # type: ignore[attr-defined]  # unbuffered: a raw file
            if not read:
                raise _LostError(f"crashed{self._how()}")
            at += read
        return content

    def _how(self) -> str:
        code = self._process.wait()
        if code >= 0:
            return f" with code {code}"
        try:
            return f" by {signal.Signals(-code).name}"
        except ValueError:
            return f" by signal {-code}"


class _Idle:
    """The children that wait for a file, of this process and not of one that it was forked from."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children: list[_Child] = []
        self._of_parent: list[_Child] = []  # kept, or they would be waited for
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)
        atexit.register(self._end)

    def take(self) -> _Child:
        while True:
            with self._lock:
                if not self._children:
                    break
                child = self._children.pop()
            if child.lives():
                return child
            child.end()
        return _Child()

    def give(self, child: _Child) -> None:
        with self._lock:
            self._children.append(child)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._of_parent += self._children
        self._children = []

    def _end(self) -> None:
        while self._children:
            self._children.pop().end()


_IDLE = _Idle()


def messages(path: Path, start: int = 0, end: int | None = None) -> Generator[Message, None, None]:
    """Decode a file, or a part of one, in a child process.

    Args:
        path: Of the file.
        start: The first byte of the part.
        end: The byte behind its last; None: the end of the file.

    Yields:
        What `audio.ffmpeg.decode` yields, samples as arrays [sample, channel]; the last message is an "end" or an error.

    Raises:
        AudioError: The decoder crashed, or is stuck.
    """
    child = _start(path)
    whole = False
    try:
        child.ask(os.path.abspath(path), start, end)
        while not whole:
            facts, samples = child.message()
            whole = facts["kind"] not in ("opened", "block")
            if whole:  # before the reader learns of it, who may never come back
                _IDLE.give(child)
            yield facts, samples
    except _LostError as lost:
        raise AudioError(
            f"{path}: its decoder (FFmpeg, in a process of its own) {lost}; the file is damaged, or FFmpeg has a fault"
        ) from None
    finally:
        if not whole:
            child.end()


def _start(path: Path) -> _Child:
    try:
        return _IDLE.take()
    except OSError as error:
        raise AudioError(f"{path}: no process could be started to decode it ({error.strerror or error})") from None
