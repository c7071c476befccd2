"""Broken manifests, folders and splits: each is answered by one sentence, pinned here, and never by a traceback."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from soundscene.audio.files import content_hash
from soundscene.data.columns import parse_columns
from soundscene.data.manifest import Manifest, parse_test
from soundscene.data.scan import scan
from soundscene.data.splits import check_leakage, group_folds, hold_out
from soundscene.errors import ManifestError
from soundscene.types import Recording
from tests.support.sounds import noise, sound, text

# name, content of the CSV (a.wav and b.wav exist beside it), the message after its path
MANIFESTS: list[tuple[str, str | bytes, str]] = [
    ("empty", "", ": is empty; expected a header with the columns path and scene, then one row per file"),
    ("blank", "\n \n", ": is empty; expected a header with the columns path and scene, then one row per file"),
    ("header only", "path,scene\n", ": holds no recordings; at least one row below the header is needed"),
    (
        "no scene",
        "path,group\na.wav,1\n",
        ", line 1: no column 'scene'; there are path, group; say which: --columns scene=NAME",
    ),
    (
        "no path, but near",
        "paths,scene\na.wav,x\n",
        ", line 1: no column 'path'; there are paths, scene; did you mean 'paths'?",
    ),
    (
        "no header",
        "a.wav,park\nb.wav,bus\n",
        ", line 1: no columns 'path' and 'scene'; there are a.wav, park; the first line must name the columns: path,scene",
    ),
    (
        "bars",
        "path|scene\na.wav|x\n",
        ", line 1: no columns 'path' and 'scene'; there are path|scene; the separator must be a comma, a semicolon or a tab,"
        " not '|'",
    ),
    (
        "two columns of scenes",
        "path,Label,class\na.wav,x,3\n",
        ", line 1: the columns 'Label' and 'class' may each be the scene; say which one, for example --columns scene=Label",
    ),
    (
        "column twice",
        "path,scene,fold,fold\na.wav,x,1,1\n",
        ", line 1: column 'fold' appears twice; column names must be unique",
    ),
    (
        "file twice",
        "path,scene\na.wav,x\nb.wav,x\n./a.wav,y\n",
        ", line 4: a.wav is already listed in line 2; list each file once",
    ),
    ("no such file", "path,scene\na.wav,x\n\nc.wav,x\n", ", line 4: c.wav does not exist; paths are relative to {folder}"),
    ("backslashes", "path,scene\nx\\a.wav,x\n", ", line 2: x\\a.wav does not exist; paths are relative to {folder}"),
    (
        "no such user",
        "path,scene\n~nobody-/a.wav,x\n",
        ", line 2: ~nobody-/a.wav does not exist; paths are relative to {folder}",
    ),
    (
        "too many cells between semicolons",
        "path;scene\na.wav;park;by night\n",
        ", line 2: 3 cells, the header has 2; put quotes around text that holds a semicolon",
    ),
    ("path empty", "path,scene\n,x\n", ", line 2: the path is empty; every row needs a path and a scene"),
    ("scene empty", "path,scene\na.wav, \n", ", line 2: the scene is empty; every row needs a path and a scene"),
    ("too few cells", "path,scene,fold\na.wav,x,1\nb.wav,x\n", ", line 3: 2 cells, the header has 3; is the row complete?"),
    (
        "too many cells",
        "path,scene\na.wav,park, by night\n",
        ", line 2: 3 cells, the header has 2; put quotes around text that holds a comma",
    ),
    ("quote not closed", 'path,scene\n"a.wav,x\n', ", line 2: not valid CSV: unexpected end of data"),
    (
        "Latin-1",
        "path,scene\na.wav,café\n".encode("latin-1"),
        ', line 2: byte 0xe9 is not UTF-8; save the file as UTF-8 (in spreadsheet programs: "CSV UTF-8")',
    ),
    (
        "half of UTF-16",
        "path,scene\n".encode("utf-16")[:-1],
        ': is UTF-16, but damaged (truncated data); save the file as UTF-8 (in spreadsheet programs: "CSV UTF-8")',
    ),
]


@pytest.mark.parametrize(("content", "message"), [row[1:] for row in MANIFESTS], ids=[row[0] for row in MANIFESTS])
def test_broken_manifest(tmp_path: Path, content: str | bytes, message: str) -> None:
    text(tmp_path / "a.wav", "")
    text(tmp_path / "b.wav", "")
    path = text(tmp_path / "m.csv", content)
    with pytest.raises(ManifestError) as error:
        Manifest.read(path)
    assert str(error.value) == f"{path}{message.replace('{folder}', str(tmp_path))}"


def test_manifest_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as error:
        Manifest.read(tmp_path)
    assert str(error.value) == f"{tmp_path}: is a directory; expected the CSV file itself, for example manifest.csv in it"
    with pytest.raises(ManifestError) as error:
        Manifest.read(tmp_path / "absent.csv")
    assert str(error.value) == f"{tmp_path / 'absent.csv'}: does not exist"
    with pytest.raises(ManifestError) as error:
        Manifest.read(text(tmp_path / "file", "") / "m.csv")
    assert str(error.value) == f"{tmp_path / 'file' / 'm.csv'}: cannot be read (Not a directory)"


def test_manifest_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "m.csv", (Recording(tmp_path / "a.wav", "x", "a.wav"),))
    (tmp_path / "taken").mkdir()
    with pytest.raises(ManifestError) as error:
        manifest.write(tmp_path / "taken")
    assert (
        str(error.value)
        == f"{tmp_path / 'taken'}: cannot be written (Is a directory); is the folder there, writable, and not full?"
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]


def test_scenes_that_do_not_fit_the_recordings(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"the scenes given are \('y',\), those of the recordings \('x',\)"):
        Manifest(tmp_path / "m.csv", (Recording(tmp_path / "a.wav", "x", "a.wav"),), ("y",))


# name, files of the folder, the message after its path
FOLDERS: list[tuple[str, list[str], str]] = [
    ("nothing", [], ": no subfolder contains audio files; expected one subfolder per scene"),
    ("hidden only", ["park/.a.wav", ".bus/b.wav"], ": no subfolder contains audio files; expected one subfolder per scene"),
    (
        "no subfolders",
        ["a.wav", "b.flac"],
        ": no subfolder contains audio files; expected one subfolder per scene; "
        "2 audio files are directly in it, without a scene",
    ),
]


def tree(folder: Path, files: list[str]) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        text(folder / name, "")
    return folder


@pytest.mark.parametrize(("files", "message"), [row[1:] for row in FOLDERS], ids=[row[0] for row in FOLDERS])
def test_folder_without_scenes(tmp_path: Path, files: list[str], message: str) -> None:
    with pytest.raises(ManifestError) as error:
        scan(tree(tmp_path, files))
    assert str(error.value) == f"{tmp_path}{message}"


def test_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as error:
        scan(tmp_path / "absent")
    assert str(error.value) == f"{tmp_path / 'absent'}: does not exist; expected a folder with one subfolder per scene"
    with pytest.raises(ManifestError) as error:
        scan(text(tmp_path / "a.wav", ""))
    assert str(error.value) == f"{tmp_path / 'a.wav'}: is a file; expected a folder with one subfolder per scene"


def corpus(rows: list[tuple[str, str, str]]) -> Manifest:
    """Rows of scene, group and fold, as of lines 2, 3, ..."""
    recordings = [
        Recording(Path(f"{line}.wav"), scene, group, line, {"group": group, "fold": fold})
        for line, (scene, group, fold) in enumerate(rows, 2)
    ]
    return Manifest(Path("m.csv"), tuple(recordings))


FOUR = [("park", "a", "1"), ("park", "b", "2"), ("bus", "c", "1"), ("bus", "d", "2")]

# name, rows, column and value to test on, the message
SPLITS: list[tuple[str, list[tuple[str, str, str]], str, str, str]] = [
    ("column", FOUR, "Fold", "1", "m.csv: no column 'Fold'; there are path, scene, group, fold; did you mean 'fold'?"),
    ("value", FOUR, "fold", "01", "m.csv: no row has fold = '01'; there are 1 (2), 2 (2)"),
    (
        "one of many values",
        [("park", str(n), str(n)) for n in range(13)],
        "fold",
        "x",
        "m.csv: no row has fold = 'x'; there are "
        "0 (1), 1 (1), 2 (1), 3 (1), 4 (1), 5 (1), 6 (1), 7 (1), 8 (1), 9 (1) and 3 more",
    ),
    (
        "nothing to train on",
        [("park", "a", "1"), ("bus", "b", "1")],
        "fold",
        "1",
        "m.csv: testing on fold=1 leaves no recordings to train on, because every row has this value",
    ),
    (
        "unseen scene",
        [*FOUR, ("tram", "e", "1")],
        "fold",
        "1",
        "m.csv: testing on fold=1 would test scenes without training recordings: tram; use a column whose every "
        "value leaves recordings of each scene",
    ),
    (
        "scene as a test",
        FOUR,
        "scene",
        "bus",
        "m.csv: testing on scene=bus would test scenes without training recordings: bus; use a column whose every "
        "value leaves recordings of each scene",
    ),
    (
        "group on both sides",
        [*FOUR, ("bus", "d", "1")],
        "fold",
        "1",
        "group 'd' appears in both training (line 5, 5.wav) and test (line 6, 6.wav); keep each group in one part, "
        "or scores are optimistic",
    ),
]


@pytest.mark.parametrize(("rows", "column", "value", "message"), [row[1:] for row in SPLITS], ids=[row[0] for row in SPLITS])
def test_impossible_split(rows: list[tuple[str, str, str]], column: str, value: str, message: str) -> None:
    with pytest.raises(ManifestError) as error:
        corpus(rows).split(column, value)
    assert str(error.value) == message


def test_same_sound_on_both_sides(tmp_path: Path) -> None:
    x = (noise() * 32768).astype(np.int16)  # integers, because writers round floats differently
    one, other = sound(tmp_path / "one.wav", x), sound(tmp_path / "other.flac", x)
    text(tmp_path / "m.csv", "path,scene,fold\none.wav,park,1\nother.flac,park,2\n")
    split = Manifest.read(tmp_path / "m.csv").split("fold", "1")
    check_leakage(split, None)
    check_leakage(split, {})  # nothing known about either
    with pytest.raises(ManifestError) as error:
        check_leakage(split, {path: content_hash(path) for path in (one, other)})
    assert str(error.value) == (
        "the same audio appears in both training (line 3, other.flac) and test (line 2, one.wav); remove one, or give "
        "both the same group"
    )
    sound(other, noise(seed=1))
    check_leakage(split, {path: content_hash(path) for path in (one, other)})


@pytest.mark.parametrize("given", ["fold", "fold=", "=1", "", "fold:1"])
def test_unreadable_test_part(given: str) -> None:
    with pytest.raises(ManifestError) as error:
        parse_test(given)
    assert str(error.value) == f"test part {given!r}: expected column=value, for example fold=1"


@pytest.mark.parametrize("share", [-0.1, 1.0, np.nan])
def test_impossible_share(share: float) -> None:
    with pytest.raises(ManifestError) as error:
        hold_out(corpus(FOUR).recordings, share, np.random.default_rng(0))
    assert str(error.value) == f"a share of {share} cannot be held out, allowed is 0 <= share < 1"


def test_impossible_cross_validation() -> None:
    impossible: list[tuple[Callable[[], object], str]] = [
        (
            lambda: group_folds(["a", "b", "b"], ["park", "bus", "bus"], 3, np.random.default_rng(0)),
            "cross-validation by group needs 2 folds or more, and 2 groups or more of each scene; asked for 3 folds, "
            "'bus' has 1 group",
        ),
        (
            lambda: group_folds(["a", "b"], ["bus", "bus"], 1, np.random.default_rng(0)),
            "cross-validation by group needs 2 folds or more, and 2 groups or more of each scene; asked for 1 fold, "
            "'bus' has 2 groups",
        ),
        (  # three groups that share a scene two by two: no two folds can hold each scene on both sides
            lambda: group_folds(list("aabbcc"), ["park", "bus", "bus", "tram", "tram", "park"], 2, np.random.default_rng(0)),
            "the groups of 'tram' all fall into one fold, because they hold other scenes too; ask for fewer folds, or use "
            "smaller groups",
        ),
        (lambda: group_folds([], [], 5, np.random.default_rng(0)), "cross-validation by group: there are no recordings"),
    ]
    for attempt, message in impossible:
        with pytest.raises(ManifestError) as error:
            attempt()
        assert str(error.value) == message


# --- columns that are named ---------------------------------------------------------------------------------------------


def test_columns_that_are_named_twice_or_wrongly(tmp_path: Path) -> None:
    text(tmp_path / "a.wav", "")
    path = text(tmp_path / "m.csv", "a,b\na.wav,rain\n")
    with pytest.raises(
        ManifestError, match=r"^columns 'path=a,scene=a': the column 'a' is given as 'path' and as 'scene'; "
    ):
        parse_columns("path=a,scene=a")
    for columns, message in (
        ({"path": "a", "scene": "b", "foo": "A"}, "the column 'A' is given as 'path' and as 'foo'; give each column once"),
        ({"pth": "a", "scene": "b"}, "no column 'path'; there are a, b; --columns names 'pth'; did you mean 'path'?"),
        ({"scene": "b"}, "no column 'path'; there are a, b; say which: --columns path=NAME"),
    ):
        with pytest.raises(ManifestError) as error:
            Manifest.read(path, columns)
        assert str(error.value) == f"{path}, line 1: {message}"
