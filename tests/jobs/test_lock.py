"""One process at a time; what is dead never blocks, and nothing waits for ever."""

import errno
import json
import multiprocessing
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import pytest

from soundscene.errors import SceneError
from soundscene.jobs import lock as lock_module
from soundscene.jobs.lock import locked

LIMIT_S = 5


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    """Every test here ends within seconds, or fails."""

    def late(*_: object) -> None:
        raise AssertionError(f"not at its end after {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def dead() -> int:
    """Number of a process that has ended."""
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return int(ended.stdout)


def refused(path: Path) -> str:
    with pytest.raises(SceneError) as caught, locked(path):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def earlier(pid: int, host: str | None = None, started: str | None = None) -> str:
    """What 0.1.0 writes."""
    started = lock_module._started(pid) if started is None else started
    return json.dumps({"pid": pid, "host": host or platform.node(), "started": started})


def test_a_second_process_is_refused_by_name_and_the_file_is_gone_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    for _ in range(2):
        with locked(path):
            assert refused(path) == (
                f"{tmp_path}: process {os.getpid()} on {platform.node()} is writing there; wait until it ends, or choose "
                "another folder"
            )
            holder = json.loads(path.read_text())
            assert lock_module._alive(holder), "0.1.0 respects this lock by its content"
        assert not path.exists()


def test_an_error_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path / "lock"):
        raise KeyError
    with locked(tmp_path / "lock"):
        pass


def test_a_lock_that_0_1_0_left_behind_does_not_block(tmp_path: Path, dead: int) -> None:
    path = tmp_path / "lock"
    for content in (earlier(dead), earlier(os.getppid(), started="1"), "{", "[]", '{"pid": 1.5}', earlier(2**70)):
        path.write_text(content)
        with locked(path):
            assert json.loads(path.read_text())["pid"] == os.getpid()
        assert not path.exists()


def test_an_empty_file_never_blocks_and_stays_empty(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("")
    with locked(path):
        assert path.read_text()
    assert path.read_bytes() == b""


@pytest.mark.parametrize("host", [None, "elsewhere"])
def test_a_live_lock_of_0_1_0_is_respected(tmp_path: Path, host: str | None) -> None:
    path = tmp_path / "lock"
    content = earlier(os.getppid(), host)
    path.write_text(content)
    where = host or platform.node()
    assert refused(path) == (
        f"{tmp_path}: process {os.getppid()} on {where} is writing there; wait until it ends, or choose another folder, or "
        f"remove {path} if you know that it has ended"
    )
    assert path.read_text() == content


def _hold(path: Path) -> None:
    with locked(path):
        os._exit(9)


def test_a_killed_process_leaves_no_lock_on_any_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lock"
    process = multiprocessing.get_context("fork").Process(target=_hold, args=(path,))
    process.start()
    process.join()
    assert json.loads(path.read_text())["pid"] == process.pid
    monkeypatch.setattr(platform, "node", lambda: "a container's next name")
    with locked(path):
        pass
    assert not path.exists()


def test_waiting_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with filelock.FileLock(path):
        started = time.monotonic()
        with pytest.raises(SceneError, match=r"another process is writing there"), locked(path, 0.3):
            pass
        assert 0.2 < time.monotonic() - started < 2


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))


@pytest.mark.parametrize(
    ("create", "kind"),
    [
        (Path.mkdir, "directory"),
        (os.mkfifo, "named pipe"),
        (_socket, "socket"),
        (lambda path: path.symlink_to("gone"), "symbolic link"),
    ],
)
def test_what_is_no_file_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, create: Callable[[Path], None], kind: str
) -> None:
    monkeypatch.chdir(tmp_path)  # addresses of sockets are short
    create(Path("lock"))
    expected = f"lock: is a {kind}, expected a lock file; remove it, or choose another folder"
    assert refused(Path("lock")) == expected


@pytest.mark.parametrize("stale", [True, False])
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENOSPC])
def test_a_lock_that_cannot_be_opened_is_one_line(
    tmp_path: Path, dead: int, monkeypatch: pytest.MonkeyPatch, number: int, stale: bool
) -> None:
    path = tmp_path / "lock"
    if stale:
        path.write_text(earlier(dead))
    real = os.open

    def read_only(name: str, flags: int, *rest: int) -> int:
        if os.fspath(name) == str(path) and flags & (os.O_RDWR | os.O_WRONLY):
            raise OSError(number, os.strerror(number), name)
        return real(name, flags, *rest)

    monkeypatch.setattr(os, "open", read_only)
    assert refused(path) == f"{path}: cannot be locked ({os.strerror(number)})"


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    assert refused(tmp_path / "lock") == f"{tmp_path / 'lock'}: cannot be written (No space left on device)"
    monkeypatch.undo()
    with locked(tmp_path / "lock"):
        pass


def test_a_folder_that_vanishes_is_no_other_error(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (tmp_path / "file").write_text("")
    assert refused(tmp_path / "file" / "lock").endswith("cannot be locked (Not a directory)")
    folder.mkdir()
    with locked(folder / "lock"):
        (folder / "lock").unlink()
        folder.rmdir()
    assert not folder.exists()
