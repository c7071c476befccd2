"""What a search of folders leaves out is named: folders that cannot be read, and links that lead back."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from soundscene.audio.files import AudioFile
from soundscene.audio.folders import FolderSearch, sound_files
from soundscene.data.litis import litis_manifest
from soundscene.data.scan import scan
from soundscene.errors import AudioError, BundleError, ManifestError
from soundscene.predictor import load
from soundscene.recipe import AudioRecipe
from tests.support.command_line import run
from tests.support.tiny import recording, write

LONG = "x" * 300


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two scenes, and another folder beside the corpus."""
    for name in ("in/office/a.wav", "in/office/deep/b.wav", "in/rain/c.wav", "out/d.wav", "out/deep/e.wav"):
        write(tmp_path / name, recording("rain", 2.2, len(name)))
    return tmp_path / "in"


@pytest.fixture
def deny(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Take the permission to list a folder away, from root too."""

    def take(folder: Path) -> None:
        def denying(listing: Callable[..., Any]) -> Callable[..., Any]:
            def listed(path: Any = ".") -> Any:
                if os.fspath(path) == str(folder):
                    raise PermissionError(13, "Permission denied", str(path))
                return listing(path)

            return listed

        monkeypatch.setattr(os, "scandir", denying(os.scandir))
        monkeypatch.setattr(os, "listdir", denying(os.listdir))

    return take


def found(folder: Path, *paths: str) -> tuple[list[str], FolderSearch]:
    search = FolderSearch()
    return [
        os.path.relpath(path, folder) for path in sound_files([folder / path for path in paths or (".",)], search)
    ], search


def test_a_folder_that_cannot_be_read_is_named(corpus: Path, deny: Callable[[Path], None]) -> None:
    deny(corpus / "office/deep")
    files, search = found(corpus)
    assert files == ["office/a.wav", "rain/c.wav"]
    assert search.unreadable == [f"{corpus}/office/deep: this folder cannot be read (Permission denied)"]
    assert found(corpus, "*/*.wav")[1].unreadable == [], "a glob looks only where it can match"
    assert found(corpus, "**/*.wav")[1].unreadable == search.unreadable
    with pytest.raises(AudioError, match=r"office/deep: this folder cannot be read \(Permission denied\)"):
        list(sound_files([corpus / "office/deep"]))


def test_scan_and_predict_name_it_and_exit_with_3(
    corpus: Path, deny: Callable[[Path], None], model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    deny(corpus / "office")
    line = f"soundscene: {corpus}/office: this folder cannot be read (Permission denied)\n"
    assert run("scan", corpus, "--out", tmp_path / "m.csv") == 3
    assert line in capfd.readouterr().err
    assert "rain/c.wav" in (tmp_path / "m.csv").read_text()
    assert run("predict", model, corpus) == 3
    assert line in capfd.readouterr().err
    assert run("predict", model, corpus, "--out", tmp_path / "rows") == 3
    assert line in capfd.readouterr().err
    with pytest.raises(ManifestError, match=r"office: this folder cannot be read"):
        litis_manifest(corpus, tmp_path / "l.csv", None)


def test_scan_of_a_folder_that_cannot_be_listed(corpus: Path, deny: Callable[[Path], None]) -> None:
    deny(corpus)
    with pytest.raises(ManifestError, match=r"in: this folder cannot be read \(Permission denied\)$"):
        scan(corpus)


def test_linked_folders_are_followed_once(corpus: Path) -> None:
    (corpus / "rain/far").symlink_to(corpus.parent / "out")
    (corpus / "rain/far again").symlink_to(corpus.parent / "out")
    (corpus / "rain/part").symlink_to(corpus.parent / "out/deep")
    files, search = found(corpus)
    assert files == ["office/a.wav", "office/deep/b.wav", "rain/c.wav", "rain/far/d.wav", "rain/far/deep/e.wav"]
    assert [line.partition(":")[0] for line in search.not_followed] == [f"{corpus}/rain/far again", f"{corpus}/rain/part"]
    assert found(corpus, "rain/*/*.wav")[0] == ["rain/far/d.wav"], "the rest is below the first link"
    assert found(corpus, "rain/part/*.wav")[0] == ["rain/part/e.wav"]


def test_links_that_lead_back_are_named_and_end(corpus: Path) -> None:
    (corpus / "rain/self").symlink_to(corpus)
    (corpus / "office/up").symlink_to("../..")
    (corpus / "office/beside").symlink_to("../rain")
    (corpus.parent / "out/back").symlink_to(corpus)
    (corpus / "rain/far").symlink_to(corpus.parent / "out")
    files, search = found(corpus)
    assert files == ["office/a.wav", "office/deep/b.wav", "rain/c.wav", "rain/far/d.wav", "rain/far/deep/e.wav"]
    assert len(search.not_followed) == 4
    assert f"{corpus}/rain/self: links to {corpus}, which is searched already; not followed" in search.not_followed
    assert search.unreadable == []


def test_a_scene_may_be_a_link_but_not_to_the_corpus(corpus: Path) -> None:
    (corpus / "far").symlink_to(corpus.parent / "out")
    (corpus / "self").symlink_to(corpus)
    search = FolderSearch()
    manifest, _ = scan(corpus, search)
    assert sorted({r.scene for r in manifest.recordings}) == ["far", "office", "rain"]
    assert len(search.not_followed) == 1


def test_names_that_are_too_long_and_urls_and_pipes_are_one_line(tmp_path: Path, model: Path) -> None:
    with pytest.raises(AudioError, match=r"cannot be opened \(File name too long\)"):
        list(AudioFile(next(sound_files([Path(LONG)])), AudioRecipe()).blocks())
    assert run("predict", model, LONG) == 3
    assert run("scan", LONG, "--out", tmp_path / "m.csv") == 2
    assert run("predict", LONG, "a.wav") == 2
    with pytest.raises(AudioError, match=r"http:/x/a\.wav: is a URL; download it first"):
        list(AudioFile("http://x/a.wav", AudioRecipe()).blocks())
    with pytest.raises(BundleError, match=r"http:/x/m\.safetensors: is a URL; download it first, and give the file"):
        load("http://x/m.safetensors")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BundleError, match=r"pipe: is not a regular file, expected a \.safetensors file"):
        load(tmp_path / "pipe")
    with pytest.raises(AudioError, match=r"pipe: is not a regular file; expected an audio file"):
        list(AudioFile(tmp_path / "pipe", AudioRecipe()).blocks())
