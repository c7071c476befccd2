"""Folders and small disks for `survive.py`."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PAGE = 4096
AMPLE = 64 * 2**20 // PAGE  # pages that are enough for any command


def can_mount() -> bool:
    """Whether this process may mount a tmpfs."""
    with temporary_folder() as work, disk(work / "disk", True) as folder:
        return os.path.ismount(folder)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder, and remove it in the end."""
    folder = Path(tempfile.mkdtemp(prefix="survive-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def disk(folder: Path, small: bool) -> Iterator[Path]:
    """Make a folder; remove it in the end.

    Args:
        folder: New.
        small: Whether it is to be on a disk of its own, where that is allowed.
    """
    folder.mkdir()
    mounted = small and _mount("-t", "tmpfs", "-o", f"size={AMPLE * PAGE}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        shutil.rmtree(folder, ignore_errors=True)


def resize(folder: Path, pages: int) -> None:
    """Give a disk another size, if the folder is one.

    Args:
        folder: As `disk` has made it.
        pages: Its new size in pages.
    """
    if os.path.ismount(folder):
        _mount("-o", f"remount,size={pages * PAGE}", str(folder))


def pages_of(folder: Path) -> int:
    """Return how many pages the files of a folder take.

    Args:
        folder: Of any depth.
    """
    return sum(-(-path.stat().st_size // PAGE) for path in folder.rglob("*") if path.is_file())


def _mount(*words: str) -> bool:
    try:
        return subprocess.run(["mount", *words], capture_output=True, check=False).returncode == 0
    except OSError:
        return False
