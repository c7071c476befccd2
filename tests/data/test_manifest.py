"""Manifests: reading, writing, building from folders, and splits by a column."""

import os
from pathlib import Path

import pytest

from soundscene.data.columns import parse_columns
from soundscene.data.manifest import Manifest, parse_test
from soundscene.errors import ManifestError
from soundscene.types import Recording
from tests.support.sounds import text

CSV = """path,scene,group,fold,note
park/a.wav,park,g1,1,"dogs, far"
park/b.wav, park ,g1,1,

bus/c.wav,bus,,2,"two
lines"
bus/d.wav,bus,g3,1,é
tram/e.wav,tram,g4,2,
park/f.wav,park,g5,2,
tram/g.wav,tram,g6,1,
"""


def corpus(folder: Path, content: str = CSV, bom: bool = False) -> Path:
    for name in ("park/a", "park/b", "bus/c", "bus/d", "tram/e", "park/f", "tram/g"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        text(folder / f"{name}.wav", "")
    return text(folder / "manifest.csv", content.encode("utf-8-sig" if bom else "utf-8"))


@pytest.mark.parametrize("bom", [False, True])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_rows_become_recordings(tmp_path: Path, bom: bool, ends: str) -> None:
    path = corpus(tmp_path, CSV.replace("\n", ends), bom)
    manifest = Manifest.read(path)
    assert manifest.path == path
    assert manifest.scenes == ("bus", "park", "tram")
    assert [r.line for r in manifest.recordings] == [2, 3, 5, 7, 8, 9, 10]
    assert [r.group for r in manifest.recordings] == ["g1", "g1", "bus/c.wav", "g3", "g4", "g5", "g6"]
    assert manifest.recordings[1].scene == "park"
    assert manifest.recordings[0] == Recording(
        tmp_path / "park" / "a.wav", "park", "g1", 2, {"group": "g1", "fold": "1", "note": "dogs, far"}
    )
    assert manifest.recordings[2].columns == {"group": "", "fold": "2", "note": f"two{ends}lines"}


def test_without_groups_each_file_is_its_own(tmp_path: Path) -> None:
    path = corpus(tmp_path, "scene,path\npark,park/a.wav\nbus,bus/c.wav\n")
    assert [r.group for r in Manifest.read(path).recordings] == ["park/a.wav", "bus/c.wav"]


def test_absolute_paths_are_kept(tmp_path: Path) -> None:
    corpus(tmp_path / "sounds")
    path = text(tmp_path / "m.csv", f"path,scene\n{tmp_path / 'sounds' / 'bus' / 'c.wav'},bus\nsounds/park/a.wav,park\n")
    assert [r.path for r in Manifest.read(path).recordings] == [
        tmp_path / "sounds" / "bus" / "c.wav",
        tmp_path / "sounds" / "park" / "a.wav",
    ]


def test_what_is_written_is_what_was_read(tmp_path: Path) -> None:
    manifest = Manifest.read(corpus(tmp_path))
    manifest.write(tmp_path / "copy.csv")
    again = Manifest.read(tmp_path / "copy.csv")
    assert [(r.path, r.scene, r.group, r.columns) for r in again.recordings] == [
        (r.path, r.scene, r.group, r.columns) for r in manifest.recordings
    ]
    assert (tmp_path / "copy.csv").read_bytes().startswith(b"path,scene,group,fold,note\npark/a.wav,park,g1,1,")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["bus", "copy.csv", "manifest.csv", "park", "tram"]


def test_written_elsewhere_a_manifest_still_finds_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus(tmp_path / "sounds")
    (tmp_path / "lists").mkdir()
    monkeypatch.chdir(tmp_path)
    Manifest.read(Path("sounds/manifest.csv")).write(Path("lists/all.csv"))
    monkeypatch.chdir("/")
    again = Manifest.read(tmp_path / "lists" / "all.csv")
    assert again.recordings[0].path == tmp_path / "sounds" / "park" / "a.wav"


def test_groups_made_in_code_are_written(tmp_path: Path) -> None:
    corpus(tmp_path)
    rows = (
        Recording(tmp_path / "park" / "a.wav", "park", "day 1"),
        Recording(tmp_path / "bus" / "c.wav", "bus", "bus/c.wav"),
    )
    Manifest(tmp_path / "m.csv", rows).write(tmp_path / "m.csv")
    assert (tmp_path / "m.csv").read_text() == "path,scene,group\npark/a.wav,park,day 1\nbus/c.wav,bus,\n"


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = corpus(tmp_path)
    manifest = Manifest.read(path)

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(MemoryError):
        manifest.write(path)
    assert path.read_text(encoding="utf-8") == CSV


@pytest.mark.parametrize(
    ("column", "value", "tested"),
    [("fold", "1", "abdg"), ("fold", "2", "cef"), ("group", "g1", "ab"), ("group", "bus/c.wav", "c"), ("note", "é", "d")],
)
def test_any_column_splits(tmp_path: Path, column: str, value: str, tested: str) -> None:
    manifest = Manifest.read(corpus(tmp_path))
    split = manifest.split(column, value)
    assert "".join(r.path.stem for r in split.test) == tested
    assert sorted([*split.train, *split.test], key=lambda r: r.line) == list(manifest.recordings)


def test_test_part_as_written_on_the_command_line() -> None:
    assert parse_test("fold=1") == ("fold", "1")
    assert parse_test(" source = a=b ") == ("source", "a=b")


# --- as other programs write them ---------------------------------------------------------------------------------------

FORMS = {
    "names": "filename,label\na.wav,park\nsub/b.wav,bus\n",
    "case": "File Path,SCENE_LABEL,Fold\na.wav,park,1\nsub/b.wav,bus,2\n",
    "semicolons": "file;class;note\na.wav;park;a, b, c\nsub/b.wav;bus;\n",
    "tabs": "filename\tscene_label\na.wav\tpark\nsub/b.wav\tbus\n",
    "named separator": "sep=;\r\nfilename;category\r\na.wav;park\r\nsub/b.wav;bus\r\n",
    "empty columns": "path;scene;;\na.wav;park;;\nsub/b.wav;bus;;\n",
    "Windows": "path,scene\n.\\a.wav,park\nsub\\b.wav,bus\n",
    "home": "path,scene\n~/a.wav,park\n~\\sub\\b.wav,bus\n",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
@pytest.mark.parametrize("form", FORMS)
def test_other_forms_of_a_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, encoding: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "sub").mkdir()
    text(tmp_path / "a.wav", "")
    text(tmp_path / "sub" / "b.wav", "")
    manifest = Manifest.read(text(tmp_path / "m.csv", FORMS[form].encode(encoding)))
    assert [(r.path.resolve(), r.scene) for r in manifest.recordings] == [
        (tmp_path / "a.wav", "park"),
        (tmp_path / "sub" / "b.wav", "bus"),
    ]
    assert manifest.recordings[0].group != manifest.recordings[1].group
    if form == "case":
        assert manifest.values("fold") == ["1", "2"]
    if form == "semicolons":
        assert manifest.values("note") == ["a, b, c", ""]


def test_columns_that_are_named(tmp_path: Path) -> None:
    text(tmp_path / "a.wav", "")
    path = text(tmp_path / "m.csv", "id,Audio File,scene,habitat,site\n1,a.wav,7,wood,north\n")
    recording = Manifest.read(path, parse_columns("path=audio file, scene=habitat,group=site")).recordings[0]
    assert (recording.scene, recording.group, recording.columns["scene (column 3)"]) == ("wood", "north", "7")
    with pytest.raises(ManifestError, match=r"line 1: no column 'habitats', which --columns names; .*mean 'habitat'\?"):
        Manifest.read(path, {"scene": "habitats"})
    for given in ("", "scene", "scene=", "scene=a,scene=b"):
        with pytest.raises(ManifestError, match=r"^columns '"):
            parse_columns(given)


def test_the_very_name_goes_before_others(tmp_path: Path) -> None:
    text(tmp_path / "a.wav", "")
    path = text(tmp_path / "m.csv", "file,path,class,Scene,scene\n1,a.wav,x,y,z\n")
    recording = Manifest.read(path).recordings[0]
    assert (recording.path.name, recording.scene) == ("a.wav", "z")
    assert recording.columns == {"file": "1", "class": "x", "Scene": "y"}
