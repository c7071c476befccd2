"""Files, folders, globs and lists as one stream of paths, on this machine and elsewhere."""

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest

from soundscene.audio.folders import count_files, count_listed, listed, sound_files
from soundscene.batch.sources import count_sources, fetched, sources
from soundscene.errors import AudioError
from tests.support.tiny import text

TREE = ("a.wav", "b.txt", "sub/c.flac", "sub/deep/d.wav", "sub/deep/e.dat", ".hidden/f.wav", "sub/.g.wav", "other/h.wav")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def names(tree: Path, *paths: str) -> list[str]:
    found = [path.relative_to(tree).as_posix() for path in sound_files([tree / path for path in paths])]
    assert count_files([tree / path for path in paths]) == len(found)
    return found


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("**/*.wav", ["a.wav", "other/h.wav", "sub/deep/d.wav"]),
        ("**", ["a.wav", "other/h.wav", "sub/c.flac", "sub/deep/d.wav"]),
        ("*", ["a.wav"]),
        ("*.*", ["a.wav", "b.txt"]),  # a suffix was asked for: as the shell would give them
        ("sub/*/*", ["sub/deep/d.wav"]),
        ("sub/**/*.dat", ["sub/deep/e.dat"]),
        ("*/?.[wf]*", ["other/h.wav", "sub/c.flac"]),
        ("s*/**/d*/**/*.wav", ["sub/deep/d.wav"]),
        ("**/**/**/d.wav", ["sub/deep/d.wav"]),  # once, however many ways there are
    ],
)
def test_globs_match_files_part_by_part(tree: Path, pattern: str, wanted: list[str]) -> None:
    assert names(tree, pattern) == wanted
    expected = {p for p in tree.glob(pattern) if p.is_file() and "/." not in p.as_posix()}  # Python's, as far as it goes
    if not pattern.endswith("*"):
        assert {tree / name for name in wanted} == expected


def test_files_folders_and_globs_come_in_the_order_given(tree: Path) -> None:
    assert names(tree, "other", "gone.wav", "b.txt", "sub/*.flac") == ["other/h.wav", "gone.wav", "b.txt", "sub/c.flac"]


def test_an_existing_name_is_no_glob(tree: Path) -> None:
    (tree / "a*.wav").write_bytes(b"")
    (tree / "ab.wav").write_bytes(b"")
    assert names(tree, "a*.wav") == ["a*.wav"]


@pytest.mark.parametrize("pattern", ["*.mp3", "sub/*", "gone/**", "**/f.wav"])
def test_a_glob_without_a_match_is_one_line(tree: Path, pattern: str) -> None:
    if pattern == "sub/*":
        (tree / "sub/c.flac").unlink()
    with pytest.raises(AudioError, match=r"^.*: no file matches this glob, and none has this name$"):
        list(sound_files([tree / pattern]))


def test_sources_are_taken_one_by_one(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (tree / f"far{number:02d}").mkdir()
        (tree / f"far{number:02d}" / "x.wav").write_bytes(b"")
    looked: list[str] = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(str(path)) or scan(path))
    files = sound_files([tree])
    assert [next(files).name for _ in range(2)] == ["a.wav", "x.wav"]
    assert len(looked) < 5


# --- lists ------------------------------------------------------------------------------------------------------------


def test_a_list_is_a_path_a_line_whatever_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"\xef\xbb\xbfa.wav\n\nb c.wav\r\n caf\xe9.wav\n#no comment\nlast*.wav"
    wanted = ["a.wav", "b c.wav", " caf\udce9.wav", "#no comment", "last*.wav"]
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    assert list(listed(str(path))) == wanted
    assert count_listed(str(path)) == 5
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    assert count_listed("-") is None  # nothing is taken from it
    assert list(listed("-")) == wanted


def test_a_list_that_is_none_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"good.wav\na.wav\0b.wav\0")
    lines = listed(str(path))
    assert next(lines) == "good.wav"
    with pytest.raises(AudioError, match=r"list, line 2: holds a NUL byte, which no path may; is it a list of one path"):
        next(lines)
    with pytest.raises(AudioError, match=r"gone: the list cannot be read \(No such file or directory\)$"):
        list(listed(str(tmp_path / "gone")))


def test_a_pipe_is_not_used_up_by_counting(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert count_listed(str(pipe)) is None


# --- elsewhere --------------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket() -> Iterator[str]:
    files = fsspec.filesystem("memory")
    for name in ("a.wav", "b.txt", "sub/c.flac", "sub/.d.wav"):
        files.pipe_file(f"/many/{name}", name.encode())
    yield "memory://many"
    files.rm("/many", recursive=True)


def test_folders_globs_and_files_elsewhere(bucket: str, tree: Path) -> None:
    def found(*paths: str) -> list[str]:
        return [name.replace("memory:///", "memory://") for name in sources(paths)]

    assert found(bucket) == [f"{bucket}/a.wav", f"{bucket}/sub/c.flac"]
    assert found(f"{bucket}/*.wav", f"{bucket}/**/*.flac") == [f"{bucket}/a.wav", f"{bucket}/sub/c.flac"]
    assert found(f"{bucket}/gone.wav", str(tree / "other")) == [f"{bucket}/gone.wav", str(tree / "other" / "h.wav")]
    assert count_sources([str(tree), str(tree / "b.txt")]) == 5
    assert count_sources([str(tree), bucket]) is None
    with pytest.raises(AudioError, match=r"^memory://many/\*\.mp3: no sound files there$"):
        found(f"{bucket}/*.mp3")
    lines = text(tree / "list", f"{bucket}/a.wav\n./x.wav\n")
    assert list(sources([], str(lines))) == [f"{bucket}/a.wav", "x.wav"]


def test_a_file_elsewhere_is_here_for_a_while(bucket: str, tmp_path: Path) -> None:
    failed: dict[str, str] = {}
    with fetched(f"{bucket}/sub/c.flac", "/", failed) as name:
        assert Path(name).read_bytes() == b"sub/c.flac"
        assert name.endswith(".flac")
    assert not Path(name).exists()
    assert failed == {}
    with fetched(f"{bucket}/gone.wav", "/", failed) as name:
        assert failed == {name: "does not exist"}
    with fetched("nowhere://x/a.wav", "/", failed) as name:
        assert failed[name].startswith("cannot be fetched (nowhere://x/a.wav: this kind of place cannot be used")
    with fetched("rel/a.wav", str(tmp_path), failed) as name:
        assert name == str(tmp_path / "rel" / "a.wav")  # itself
