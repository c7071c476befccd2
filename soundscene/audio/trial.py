"""Trial readings in a child process: after a run was killed, which of its files crash their decoder?

libsndfile decodes in the process of the run, so a crash of it ends the run. The next run tries the files that may have
been in work before it reads them itself, and leaves out those that end the child.
"""

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from soundscene.audio.files import check_files_first, content_hash
from soundscene.errors import AudioError

_PROGRAM = "from soundscene.audio.trial import serve; serve()"


class Trial:
    """Reads files in a child process, which is started when it is first needed; close it at the end."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def crash(self, path: str | Path) -> AudioError | None:
        """Read a file to its end.

        Args:
            path: Of the file. Whether it can be used does not matter here.

        Returns:
            The error of the file, if its decoder crashes; else None.
        """
        child = self._child = self._child or _start()
        assert child.stdin
        assert child.stdout
        with suppress(OSError):  # it has ended; then nothing comes back either
            child.stdin.write(json.dumps(os.path.abspath(path)).encode() + b"\n")
        if child.stdout.readline():
            return None
        self.close()
        return AudioError(f"{path}: crashes its decoder (exit code {child.returncode}); it is damaged, and was left out")

    def close(self) -> None:
        """End the child process."""
        if self._child:
            self._child.kill()
            self._child.communicate()
            self._child = None


def try_all_files_first() -> None:
    """Let this process try each file in a child process before it decodes it: one of them crashes a decoder."""
    trial, alone = Trial(), threading.Lock()

    def check(path: Path) -> None:
        with alone:
            crash = trial.crash(path)
        if crash:
            raise crash

    check_files_first(check)


def _start() -> subprocess.Popen[bytes]:
    paths = os.pathsep.join(path for path in sys.path if path)  # what this process can import, the child can
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": paths},
    )


def serve() -> None:
    """Read the files whose paths come in on stdin, and write a line to stdout after each: the program of the child."""
    for line in sys.stdin.buffer:
        with suppress(Exception):
            content_hash(json.loads(line))
        sys.stdout.write("whole\n")
        sys.stdout.flush()
