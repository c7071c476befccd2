"""Files of a run, local and elsewhere: whole or absent, and every failure in one line."""

import os
import time
from pathlib import Path

import pytest

from soundscene.errors import SceneError
from soundscene.jobs.storage import Storage, is_url


def test_only_whole_files_are_there(tmp_path: Path) -> None:
    for place in (tmp_path / "a b", str(tmp_path / "c"), f"file://{tmp_path}/d", "memory://storage/run"):
        storage = Storage(place)
        assert storage.names() == set()
        storage.write("one.csv", b"content")
        storage.write("one.csv", b"other")
        assert (storage.names(), storage.read("one.csv")) == ({"one.csv"}, b"other")
        assert storage.shared == (place != "memory://storage/run")


def test_what_is_missing_or_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SceneError, match=r"^nowhere://x: this kind of place cannot be used \(.*nowhere.*\)$"):
        Storage("nowhere://x")
    with pytest.raises(SceneError, match=r"/file: cannot be written \(File exists\)$"):
        Storage(tmp_path / "file")
    storage = Storage(tmp_path / "gone")
    with pytest.raises(SceneError, match=r"gone/x: cannot be read \(No such file or directory\)$"):
        storage.read("x")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SceneError, match=r"gone: cannot be read \("):
        storage.names()


def test_a_path_is_never_a_url_and_a_text_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("~", "a::b"):
        Storage(Path(name)).write("x", b"1")
        assert (tmp_path / name / "x").read_bytes() == b"1"
    assert is_url("s3://b/a.wav")
    assert is_url("simplecache::s3://b")
    assert not is_url("a/b://c")
    assert not is_url("C:/a.wav")


def test_unfinished_files_are_removed_by_pattern_and_age(tmp_path: Path) -> None:
    for name in ("part-1.csv", "part-1.csv.7.tmp", "part-2.csv.7.tmp", "notes.7.tmp"):
        (tmp_path / name).write_text("")
    os.utime(tmp_path / "part-1.csv.7.tmp", (1, 1))
    storage = Storage(tmp_path)
    storage.clean("part-*", 3600.0)
    assert storage.names() == {"part-1.csv", "part-2.csv.7.tmp", "notes.7.tmp"}
    storage.clean("part-*")
    assert storage.names() == {"part-1.csv", "notes.7.tmp"}
    assert time.time() - (tmp_path / "notes.7.tmp").stat().st_mtime < 60
    Storage("memory://storage/clean").clean("part-*")
