"""Audio files given by name, found in folders, matched by globs, or listed one per line; never held as one list."""

import glob
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from soundscene.errors import AudioError

AUDIO_SUFFIXES = frozenset(
    {".wav", ".wave", ".w64", ".rf64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf"}
    | {".m4a", ".aac", ".mp4", ".mov", ".mka", ".mkv", ".webm"}  # by PyAV
)
STDIN = "-"
_BOM = b"\xef\xbb\xbf"


@dataclass
class FolderSearch:
    """Searches of folders, and what they left out.

    Linked folders are followed, each once, whatever the links that lead to it. A link back into a folder that is searched
    anyway, or to one that contains it, is not followed, so no search goes in circles.

    Attributes:
        unreadable: A line for each folder that could not be read.
        not_followed: A line for each link that was not followed.
    """

    unreadable: list[str] = field(default_factory=list)
    not_followed: list[str] = field(default_factory=list)
    _followed: set[str] = field(default_factory=set)  # real paths of linked folders

    def walk(self, folder: Path, base: Path | None = None) -> Iterator[Path]:
        """Yield all files below a folder, sorted, hidden ones left out.

        Args:
            folder: To search.
            base: The folder that is searched as a whole, if `folder` is only a part of it.
        """
        for root, _, names in self.levels(folder, base):
            yield from (Path(root, name) for name in sorted(names) if not name.startswith("."))

    def entries(self, folder: Path) -> Iterator[Path]:
        """Yield the files and folders in a folder, sorted, without hidden ones and links that are not followed.

        Args:
            folder: To list.
        """
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            self._note(error)
            return
        for path in (folder / name for name in names if not name.startswith(".")):
            if not os.path.isdir(path) or self.enters(str(path), os.path.realpath(folder)):
                yield path

    def levels(self, folder: Path, base: Path | None = None) -> Iterator[tuple[str, list[str], list[str]]]:
        """Yield each folder, its subfolders, which may be thinned out, and its files, as `os.walk` does.

        Args:
            folder: To search.
            base: As in `walk`.
        """
        real_base = os.path.realpath(base or folder)
        for root, folders, names in os.walk(folder, onerror=self._note, followlinks=True):
            shown = sorted(name for name in folders if not name.startswith("."))
            folders[:] = [name for name in shown if self.enters(os.path.join(root, name), real_base)]
            yield root, folders, names

    def enters(self, folder: str, real_base: str) -> bool:
        """Decide whether to search a folder.

        Args:
            folder: Perhaps a link.
            real_base: Real path of the folder that is searched as a whole.
        """
        linked = os.path.islink(folder)
        if not linked and not self._followed:
            return True
        real = os.path.realpath(folder)
        if not linked:
            return real not in self._followed
        known = [real_base, *self._followed]
        if any(_within(real, one) for one in known) or _within(real_base, real):
            self.not_followed.append(f"{folder}: links to {real}, which is searched already; not followed")
            return False
        self._followed.add(real)
        return True

    def _note(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # of a glob, or removed while it was searched
            self.unreadable.append(f"{error.filename}: this folder cannot be read ({error.strerror or error})")


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def sound_files(paths: Sequence[Path], search: FolderSearch | None = None) -> Iterator[Path]:
    """Yield files as given, whatever their suffix, and all audio files in folders.

    A missing file is reported when it is read. A path that does not exist and contains *, ? or [ is a glob: * and ? match
    within a name, ** matches any folders. It matches files, never hidden ones; a last part * or ** matches audio files only,
    by suffix. Only the names of one folder at a time are held, to sort them.

    Args:
        paths: Files, folders and globs.
        search: Receives what could not be read or was not followed.

    Raises:
        AudioError: A folder contains no audio file or a glob has no match, raised when its turn comes.
    """
    search = search or FolderSearch()
    for path in paths:
        if os.path.isdir(path):
            files = is_sound(search.walk(path))
            yield from _some(files, f"{path}: no audio files in this folder; known suffixes are {_known()}", search)
        elif glob.has_magic(str(path)) and not os.path.lexists(path):
            yield from _some(_matches(path, search), f"{path}: no file matches this glob, and none has this name", search)
        else:
            yield path


def is_sound(files: Iterator[Path]) -> Iterator[Path]:
    """Yield the files with the suffix of an audio file."""
    return (file for file in files if file.suffix.lower() in AUDIO_SUFFIXES)


def count_files(paths: Sequence[Path]) -> int:
    """Count the files that `sound_files` yields, by walking all folders now.

    Raises:
        AudioError: See `sound_files`.
    """
    return sum(1 for _ in sound_files(paths))


def listed(source: str) -> Iterator[str]:
    """Yield the paths in a list, one per line; "-" is stdin.

    A line is the name of a file as its bytes are, text or not, and ends with LF or CR LF; a name with a line break cannot be
    listed. Empty lines are skipped. Paths are relative to the working folder, not to the list.

    Raises:
        AudioError: The list cannot be read, or a line contains a NUL byte, which no name can.
    """
    if source == STDIN:
        yield from _lines(source, sys.stdin.buffer)
        return
    try:
        with open(source, "rb") as file:
            yield from _lines(source, file)
    except OSError as error:
        raise AudioError(f"{source}: the list cannot be read ({error.strerror or error})") from None


def count_listed(source: str) -> int | None:
    """Count the paths in a list; None where counting would consume it (stdin, pipes)."""
    try:
        if source == STDIN or not stat.S_ISREG(os.stat(source).st_mode):
            return None
    except OSError:
        return None  # `listed` says why
    return sum(1 for _ in listed(source))


def _lines(source: str, file: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        line = line.removeprefix(_BOM) if number == 1 else line
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        if b"\0" in line:
            raise AudioError(
                f"{source}, line {number}: holds a NUL byte, which no path may; is it a list of one path a line, such as "
                "find makes without -print0?"
            )
        if line:
            yield os.fsdecode(line)


def _some(files: Iterator[Path], otherwise: str, search: FolderSearch) -> Iterator[Path]:
    """Yield the files, or raise an error where there are none."""
    n_unreadable = len(search.unreadable)
    first = next(files, None)
    if first is None:
        raise AudioError(search.unreadable[n_unreadable] if len(search.unreadable) > n_unreadable else otherwise)
    yield first
    yield from files


def _matches(pattern: Path, search: FolderSearch) -> Iterator[Path]:
    """Yield the files that a glob matches, in the order of `walk`."""
    n = next(n for n, part in enumerate(pattern.parts) if glob.has_magic(part))
    base, wanted = Path(*pattern.parts[:n]), pattern.parts[n:]
    found = _down_to(base, None if "**" in wanted else len(wanted), search)
    files = (file for file in found if _fits(_below(file, base), wanted))
    return is_sound(files) if wanted[-1] in ("*", "**") else files


def _down_to(base: Path, depth: int | None, search: FolderSearch) -> Iterator[Path]:
    """Walk, but no deeper than a pattern without ** can match."""
    if depth is None:
        yield from search.walk(base)
        return
    for root, folders, names in search.levels(base):
        below = len(Path(root).parts) - len(base.parts) + 1
        folders[:] = folders if below < depth else []
        yield from (Path(root, name) for name in sorted(names) if not name.startswith(".") and below == depth)


def _below(file: Path, base: Path) -> tuple[str, ...]:
    return file.parts[len(base.parts) :]


def _fits(parts: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Test whether the parts of a path match a glob, part by part."""
    if not wanted:
        return not parts
    if wanted[0] == "**":
        # a last ** is any name in any folder
        return bool(parts) and (len(wanted) == 1 or _fits(parts, wanted[1:]) or _fits(parts[1:], wanted))
    return bool(parts) and fnmatchcase(parts[0], wanted[0]) and _fits(parts[1:], wanted[1:])


def _known() -> str:
    return ", ".join(sorted(AUDIO_SUFFIXES))
