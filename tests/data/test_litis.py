"""LITIS Rouen from folders and zips of its shape, with splits of the user or drawn ones."""

import io
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soundscene.audio.files import read_samples
from soundscene.data.designs import Design, check, random_splits, read_splits
from soundscene.data.litis import litis_design, litis_manifest, read_litis
from soundscene.data.manifest import Manifest
from soundscene.errors import ManifestError
from soundscene.experiment.request import Request, from_litis, from_manifest
from soundscene.types import Recording, Split
from tests.support.litis_tree import COUNTS, names, write_litis
from tests.support.tiny import TINY

SCENES = ("bus", "metro-paris", "train-tgv")


def corpus(n: int = 4) -> Manifest:
    """n recordings of three scenes, numbered from 1."""
    files = [Path(f"sounds/{scene}{number}.wav") for scene in SCENES for number in range(1, n + 1)]
    return Manifest(Path("sounds/manifest.csv"), tuple(Recording(f, f.stem.rstrip("0123456789"), f.name) for f in files))


def zipped(path: Path, members: dict[str, bytes] | list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, content)
    return path


def put(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


def said(recordings: tuple[Recording, ...]) -> list[tuple[str, str]]:
    return [(r.path.name, r.scene) for r in recordings]


# --- recordings -------------------------------------------------------------------------------------------------------


def test_a_folder_and_a_zip_of_the_right_shape_are_the_same_corpus(tmp_path: Path) -> None:
    folder = tmp_path / "data_rouen"
    folder.mkdir()
    for name in names():
        (folder / name).write_bytes(name.encode())
    archive = zipped(tmp_path / "data_rouen.zip", {f"data_rouen/{name}": name.encode() for name in names()})
    loose, no_notes = read_litis(folder, tmp_path / "unused")
    packed, none_either = read_litis(archive, tmp_path / "unpacked" / "here")
    assert no_notes == none_either == ()
    assert Counter(r.scene for r in loose.recordings) == COUNTS
    assert said(loose.recordings) == said(packed.recordings)
    assert [r.group for r in loose.recordings] == [r.group for r in packed.recordings] == sorted(names())
    assert all(r.path.read_bytes() == r.path.name.encode() for r in packed.recordings)
    assert not (tmp_path / "unused").exists()
    assert len(list((tmp_path / "unpacked" / "here").iterdir())) == 3026


def test_a_rendered_tree_can_be_read_and_written_as_a_manifest(tmp_path: Path) -> None:
    folder = write_litis(tmp_path / "litis", 1, 2.0)
    manifest, (note,) = read_litis(folder, tmp_path)
    assert note == (
        f"{folder}: 19 recordings of 19 scenes; LITIS Rouen has 3026 of 19, so results are not comparable "
        "with published ones"
    )
    assert manifest.scenes == tuple(sorted(COUNTS))
    assert [len(read_samples(r.path, TINY.audio)) for r in manifest.recordings] == [44100] * 19
    manifest.write(manifest.path)
    again = Manifest.read(manifest.path)
    assert [(r.path, r.scene, r.group) for r in again.recordings] == [
        (r.path, r.scene, r.group) for r in manifest.recordings
    ]


def test_names_tell_the_scene(tmp_path: Path) -> None:
    wanted = {
        "a/scene12.wav": "scene",
        "a/b/quiet-street3.wav": "quiet-street",
        "metro-paris_07.FLAC": "metro-paris",
        "train-ter-1.wav": "train-ter",
        "bus 4b2.ogg": "bus",
        "Café9.mp3": "Café",
    }
    hidden = ("._bus1.wav", ".cache/bus1.wav", "__MACOSX/bus1.wav", "__MACOSX/a/._bus1.wav", "readme1.txt", "fold3026.mat")
    for name in (*wanted, *hidden):
        (tmp_path / "sounds" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sounds" / name).touch()
    manifest, _ = read_litis(tmp_path / "sounds", tmp_path)
    assert {r.path.relative_to(tmp_path / "sounds").as_posix(): r.scene for r in manifest.recordings} == wanted
    members = dict.fromkeys((*wanted, *(name for name in hidden if not name.startswith(".cache")), "a/"), b"x")
    packed, _ = read_litis(zipped(tmp_path / "z.zip", members), tmp_path / "out")
    assert said(packed.recordings) == said(manifest.recordings)
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == sorted(Path(name).name for name in wanted)


def test_nothing_is_unpacked_outside_its_folder(tmp_path: Path) -> None:
    members = {"../../bus1.wav": b"1", "/etc/bus2.wav": b"2", "C:\\temp\\bus3.wav": b"3", "../run.sh": b"4", "..": b"5"}
    out = tmp_path / "deep" / "er"
    manifest, _ = read_litis(zipped(tmp_path / "z.zip", members), out)
    assert [r.path for r in manifest.recordings] == [out / f"bus{i}.wav" for i in (1, 2, 3)]
    assert sorted(f.name for f in tmp_path.rglob("*")) == ["bus1.wav", "bus2.wav", "bus3.wav", "deep", "er", "z.zip"]


def test_what_lies_there_in_its_size_is_not_unpacked_again(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "z.zip", {"bus1.wav": b"one", "bus2.wav": b"two"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "bus1.wav").write_bytes(b"ONE")  # of the right size, so taken for the one of before
    (tmp_path / "out" / "bus2.wav").write_bytes(b"tw")  # cut short
    read_litis(archive, tmp_path / "out")
    assert (tmp_path / "out" / "bus1.wav").read_bytes() == b"ONE"
    assert (tmp_path / "out" / "bus2.wav").read_bytes() == b"two"


def test_a_cut_off_download_leaves_only_whole_files(tmp_path: Path) -> None:
    draws = Random(0)
    whole = {f"bus{i}.wav": draws.randbytes(1000) for i in range(1, 6)}
    content = bytearray(zipped(tmp_path / "z.zip", whole).read_bytes())
    at = content.index(b"bus3.wav") + 500
    content[at] ^= 1
    (tmp_path / "z.zip").write_bytes(bytes(content))
    with pytest.raises(ManifestError) as error:
        read_litis(tmp_path / "z.zip", tmp_path / "out")
    assert str(error.value) == (
        f"{tmp_path / 'z.zip'}: not a zip, or a damaged one (Bad CRC-32 for file 'bus3.wav'); was its download complete?"
    )
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["bus1.wav", "bus2.wav"]


GOOD = io.BytesIO()
with zipfile.ZipFile(GOOD, "w", zipfile.ZIP_DEFLATED) as archive:
    for i in range(3):
        archive.writestr(f"data/bus{i}.wav", Random(i).randbytes(30) * 5)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(end=st.integers(0, 2000), flips=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=3))
def test_a_damaged_zip_is_one_line(tmp_path_factory: pytest.TempPathFactory, end: int, flips: list[tuple[int, int]]) -> None:
    content = bytearray(GOOD.getvalue())
    for at, value in flips:
        content[at % len(content)] = value
    folder = tmp_path_factory.mktemp("z")
    (folder / "z.zip").write_bytes(bytes(content[:end]))
    message = ""
    try:
        manifest, _ = read_litis(folder / "z.zip", folder / "out")
        assert all(r.path.is_file() and r.path.parent == folder / "out" for r in manifest.recordings)
    except ManifestError as error:
        message = str(error)
    intact = bytes(content[:end]) == GOOD.getvalue()
    assert not (message and intact)
    assert not message or (message.startswith(f"{folder / 'z.zip'}: ") and "\n" not in message)
    assert not list(folder.glob("out/.*"))


NO_NAME = (
    "{source}: {name!r} is not named by a scene and a number, such as quietstreet12.wav; for other names write a manifest"
)
MEMBERS: list[tuple[str, list[str], str]] = [
    ("no number", ["bus1.wav", "x/bus.wav"], NO_NAME.replace("{name!r}", "'bus.wav'")),
    ("no scene", ["bus1.wav", "12.wav"], NO_NAME.replace("{name!r}", "'12.wav'")),
    ("only a separator", ["_-1.wav"], NO_NAME.replace("{name!r}", "'_-1.wav'")),
    (
        "the same name twice",
        ["a/bus1.wav", "b/Bus1.flac"],
        "{source}: 'a/bus1.wav' and 'b/Bus1.flac' have the same name; without folder and suffix, names must be unique",
    ),
    ("no sound", ["readme.txt"], "{source}: contains no audio files; expected WAV files such as quietstreet12.wav"),
]


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize(("members", "message"), [m[1:] for m in MEMBERS], ids=[m[0] for m in MEMBERS])
def test_names_that_are_refused(tmp_path: Path, members: list[str], message: str, packed: bool) -> None:
    source = tmp_path / "litis"
    if packed:
        zipped(source, dict.fromkeys(members, b""))
    else:
        for name in members:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).touch()
    with pytest.raises(ManifestError) as error:
        read_litis(source, tmp_path / "out")
    assert str(error.value) == message.replace("{source}", str(source))
    assert not (tmp_path / "out").exists()


def test_zips_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as error:
        read_litis(tmp_path / "litis.zip", tmp_path)
    assert str(error.value) == (
        f"{tmp_path / 'litis.zip'}: does not exist; expected the zip of LITIS Rouen or its unpacked folder"
    )
    (tmp_path / "litis.zip").write_bytes(b"no zip")
    with pytest.raises(ManifestError, match="not a zip, or a damaged one"):
        read_litis(tmp_path / "litis.zip", tmp_path)
    with pytest.warns(UserWarning, match="Duplicate name"):
        zipped(tmp_path / "litis.zip", [("bus1.wav", b"1"), ("bus1.wav", b"2")])
    with pytest.raises(ManifestError, match=r"'bus1.wav' and 'bus1.wav' have the same name"):
        read_litis(tmp_path / "litis.zip", tmp_path)
    zipped(tmp_path / "litis.zip", {"bus1.wav": b"1"})
    (tmp_path / "file").touch()
    with pytest.raises(ManifestError, match=rf"cannot be unpacked to {tmp_path / 'file'} \(File exists\)"):
        read_litis(tmp_path / "litis.zip", tmp_path / "file")


# --- splits -----------------------------------------------------------------------------------------------------------


def test_drawn_splits_have_the_sizes_of_the_data_set_s_own() -> None:
    """2419 and 607 recordings, read off public code that uses the data set's splits (docs/decisions/0052-litis.md)."""
    files = [Path(name) for name in names()]
    whole = Manifest(Path("m.csv"), tuple(Recording(f, f.stem.rstrip("0123456789"), f.name) for f in files))
    design = litis_design(whole, None, 3)
    assert {(len(split.train), len(split.test)) for split in design.splits.values()} == {(2419, 607)}
    assert list(design.splits) == [f"split {i:02d}" for i in range(1, 21)]
    assert design.splits == random_splits(whole, 20, 0.8, 3).splits
    assert design.kind == "repeated"
    assert design.text == (
        "20 stratified splits by recording, drawn with seed 3, 80 % for training (not the data set's own splits)"
    )


def sides(design: Design) -> dict[str, tuple[list[str], list[str]]]:
    return {
        name: ([r.path.stem for r in split.train], [r.path.stem for r in split.test])
        for name, split in design.splits.items()
    }


def test_part_files_in_many_ways_of_writing(tmp_path: Path) -> None:
    rest = [f"{scene}{i}" for scene in SCENES for i in (2, 3, 4)]
    tests = ["bus1", "metro-paris1", "train-tgv1"]
    files = {
        "split10_test.txt": "bus1.wav\nmetro-paris1.wav\n\n# of the fast train\ntrain-tgv1.wav\n",
        "test_2.csv": "data_rouen/bus1.wav,0\nC:\\d\\metro-paris1.wav , 9\n'train-tgv1';17\n",
        "rouen19_Split03_Test.TSV": "bus1\t1\nMETRO-PARIS1.WAV\t10\r\ntrain-tgv1.flac 18\n",
        "split03_learn.txt": "\ufeffbus2 1\nmetro-paris2 10\ntrain-tgv2 18\n",
        "1_train.lst": "\n".join(rest),
        "1_test.lst": "\n".join(tests),
        "README.txt": "how these were made",
        "latest.mat": "binary",
        ".test1.txt": "of a file manager",
    }
    design = litis_design(corpus(), put(tmp_path / "splits", files), 0)
    small = (["bus2", "metro-paris2", "train-tgv2"], tests)
    assert sides(design) == {
        "split 01": (rest, tests),
        "split 02": (rest, tests),
        "split 03": small,
        "split 10": (rest, tests),
    }
    assert (design.kind, design.text) == ("repeated", f"4 splits read from {tmp_path / 'splits'} (the user's files)")


def test_part_files_that_test_nothing_twice_are_folds(tmp_path: Path) -> None:
    files = {f"test{i}.txt": "\n".join(f"{scene}{i}" for scene in SCENES) for i in (1, 2)}
    assert litis_design(corpus(), put(tmp_path / "splits", files), 0).kind == "once"


def index_files(folder: Path, design: Design, manifest: Manifest, seed: int) -> Path:
    """A design as the files of the data set have it: numbers in MATLAB's way of writing, a line a split."""
    numbered = list(manifest.recordings)
    Random(seed).shuffle(numbered)
    number = {r.path.name: i for i, r in enumerate(numbered, 1)}

    def line(recordings: tuple[Recording, ...]) -> str:
        return "".join(f"   {number[r.path.name]:.7e}" for r in recordings) + "\n"

    return put(
        folder,
        {
            "relation_wav_examples.txt": "".join(f"{name}\t {i}\n" for name, i in number.items()),
            "fold3026-matrices_Learn.txt": "".join(line(s.train) for s in design.splits.values()),
            "fold3026-matrices_Test.txt": "".join(line(s.test) for s in design.splits.values()),
        },
    )


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(n=st.integers(2, 5), n_splits=st.integers(1, 4), seed=st.integers(0, 99))
def test_splits_come_back_from_either_kind_of_files(
    tmp_path_factory: pytest.TempPathFactory, n: int, n_splits: int, seed: int
) -> None:
    manifest, folder = corpus(n), tmp_path_factory.mktemp("splits")
    drawn = random_splits(manifest, n_splits, 0.6, seed)
    files = {
        f"{number:02d}_{side}.txt": "\n".join(r.path.name for r in getattr(split, side))
        for number, split in enumerate(drawn.splits.values(), 1)
        for side in ("train", "test")
    }
    for read in (put(folder / "parts", files), index_files(folder / "index", drawn, manifest, seed)):
        design = litis_design(manifest, read, 0)
        assert design.splits == drawn.splits
        assert design.text.startswith("1 split read from " if n_splits == 1 else f"{n_splits} splits read from ")
        check(design, None)


TEST = "bus1\nmetro-paris1\ntrain-tgv1\n"
RELATION = "relation_wav_examples.txt"
INDEX = {RELATION: "bus1.wav 1\nbus2.wav 2\n", "matrices_Learn.txt": "1\n", "matrices_Test.txt": "2\n"}
TOGETHER = f": expected {RELATION} and two text files with 'matrices' and 'Learn' or 'Test' in their names; there are "
NONE = (
    ": contains no split files; expected text files whose names contain a number and train or test, such as "
    "split01_test.txt, or "
    f"{RELATION} with its two files of matrices"
)
FILES: list[tuple[str, dict[str, str], str]] = [
    ("nothing", {}, NONE),
    ("nothing of use", {"readme.txt": "", "test1.mat": ""}, NONE),
    (
        "an unknown name",
        {"1_test.txt": "bus1\n\nbus99.wav\n"},
        "/1_test.txt, line 3: 'bus99.wav' is not one of the 12 recordings",
    ),
    (
        "twice in a part",
        {"1_test.txt": "bus1\nx/bus1.wav\n"},
        "/1_test.txt, line 2: x/bus1.wav is listed twice in this part, first in {folder}/1_test.txt, line 1",
    ),
    (
        "on both sides",
        {"1_test.txt": TEST, "1_train.txt": "bus2\nmetro-paris1\ntrain-tgv2"},
        "/1_test.txt, line 2: metro-paris1.wav appears in both training ({folder}/1_train.txt, line 2) and test",
    ),
    ("an empty part", {"1_test.txt": "# none\n"}, "/1_test.txt: lists no recordings; expected one per line"),
    (
        "no test file",
        {"1_test.txt": TEST, "train2.txt": "bus2"},
        "/train2.txt: split 2 has no test file beside it",
    ),
    (
        "a test file twice",
        {"1_test.txt": TEST, "test01.csv": TEST},
        "/test01.csv: 1_test.txt is the test part of split 1 already",
    ),
    (
        "no number",
        {"test.txt": TEST},
        "/test.txt: the name contains no split number; rename it, for example to split01_test.txt would",
    ),
    (
        "both sides by name",
        {"train_and_test1.txt": TEST},
        "/train_and_test1.txt: the name contains both train and test; expected one of them",
    ),
    (
        "two names a line",
        {"1_test.txt": "bus1 bus2\n"},
        "/1_test.txt, line 1: 'bus1 bus2' is not a file name, or a file name and a whole number",
    ),
    (
        "a scene that training lacks",
        {"1_test.txt": TEST, "1_train.txt": "bus2\ntrain-tgv2\n"},
        "/1_test.txt, line 2: metro-paris1.wav tests the scene metro-paris, of which split 1 has no recording in training",
    ),
    (
        "everything is tested",
        {"1_test.txt": "\n".join(f"{s}{i}" for s in SCENES for i in (1, 2, 3, 4))},
        "/1_test.txt, line 1: bus1.wav tests the scene bus, of which split 1 has no recording in training",
    ),
    (
        "matrices without names",
        {"matrices_Learn.txt": "1", "matrices_Test.txt": "2"},
        TOGETHER + "matrices_Learn.txt, matrices_Test.txt",
    ),
    ("names without matrices", {RELATION: "bus1.wav 1"}, TOGETHER + RELATION),
    (
        "two numbers alike",
        INDEX | {RELATION: "bus1.wav 1\nbus2.wav 1\n"},
        f"/{RELATION}, line 2: 'bus2.wav 1' is not a file name and a number of its own",
    ),
    (
        "no number beside a name",
        INDEX | {RELATION: "bus1.wav\n"},
        f"/{RELATION}, line 1: 'bus1.wav' is not a file name and a number of its own",
    ),
    (
        "a number of no name",
        INDEX | {"matrices_Test.txt": "2\n\n2 3.0e+00\n", "matrices_Learn.txt": "1\n1\n"},
        "/matrices_Test.txt, line 3: 'number 3.0e+00' is not one of the 12 recordings",
    ),
    (
        "more training than test",
        INDEX | {"matrices_Learn.txt": "1\n1\n"},
        ": matrices_Learn.txt has 2 lines, matrices_Test.txt 1; each split is a line in both",
    ),
    (
        "on both sides by number",
        INDEX | {"matrices_Learn.txt": "1 2\n"},
        "/matrices_Test.txt, line 1: bus2.wav appears in both training ({folder}/matrices_Learn.txt, line 1) and test",
    ),
]


@pytest.mark.parametrize(("files", "message"), [f[1:] for f in FILES], ids=[f[0] for f in FILES])
def test_files_of_splits_that_are_refused(tmp_path: Path, files: dict[str, str], message: str) -> None:
    folder = put(tmp_path / "splits", files)
    with pytest.raises(ManifestError) as error:
        litis_design(corpus(), folder, 0)
    assert str(error.value) == f"{folder}{message}".replace("{folder}", str(folder))


def test_splits_of_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as error:
        litis_design(corpus(), tmp_path / "splits", 0)
    assert str(error.value) == f"{tmp_path / 'splits'}: is not a folder; expected a folder with split files"


def test_recordings_of_one_name_cannot_be_distinguished_by_files_of_splits(tmp_path: Path) -> None:
    twins = Manifest(Path("m.csv"), tuple(Recording(Path(f, "bus1.wav"), "bus", f) for f in ("a", "b")))
    with pytest.raises(ManifestError) as error:
        litis_design(twins, put(tmp_path / "splits", {"test1.txt": "bus1"}), 0)
    assert str(error.value) == (
        "m.csv: two recordings are named bus1.wav, and split files, which name recordings without folder and suffix, "
        "cannot distinguish them"
    )


def test_groups_of_a_manifest_stay_on_one_side(tmp_path: Path) -> None:
    grouped = tuple(
        Recording(r.path, r.scene, "day 1" if r.path.stem in ("bus2", "metro-paris2") else r.group)
        for r in corpus().recordings
    )
    manifest = Manifest(Path("m.csv"), grouped)
    files = {"1_test.txt": "bus2\nmetro-paris1\ntrain-tgv1\n"}
    with pytest.raises(
        ManifestError, match=r"^split 01: group 'day 1' appears in both training \(sounds/metro-paris2.wav\)"
    ):
        litis_design(manifest, put(tmp_path / "splits", files), 0)
    assert "splits by group, drawn" in litis_design(manifest, None, 0).text


# --- a manifest -------------------------------------------------------------------------------------------------------


def by_name(design: Design) -> dict[str, tuple[list[tuple[str, str, str]], ...]]:
    """Of each split, under the name of its column, the file, scene and group of each recording of both parts."""
    return {
        name.replace(" ", ""): tuple([(r.path.name, r.scene, r.group) for r in part] for part in (split.train, split.test))
        for name, split in design.splits.items()
    }


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("drawn", [False, True], ids=["files", "drawn"])
def test_a_converted_corpus_has_the_same_splits(tmp_path: Path, packed: bool, drawn: bool) -> None:
    files = [f"{scene}{number}.wav" for scene in SCENES for number in range(1, 6)]
    source = tmp_path / "rouen"
    if packed:
        zipped(source, {f"data/{name}": b"x" for name in files})
    else:
        put(source, dict.fromkeys(files, "x"))
    corpus, _ = read_litis(source, tmp_path / "run" / "litis")
    split_files = None
    if not drawn:
        own = random_splits(corpus, 3, 0.4, 7)
        last = own.splits["split 03"]
        smaller = Split(last.train[1:], last.test[:4])  # two recordings in neither part
        split_files = index_files(
            tmp_path / "index", Design({**own.splits, "split 03": smaller}, "repeated", "by hand"), corpus, 1
        )
    wanted = litis_design(corpus, split_files, 0)
    manifest, notes = litis_manifest(source, tmp_path / "csv" / "litis.csv", split_files)
    (tmp_path / "csv").mkdir(exist_ok=True)
    manifest.write(manifest.path)
    assert notes[1:] == (wanted.text,)
    assert "15 recordings of 3 scenes" in notes[0]
    design = read_splits(Manifest.read(tmp_path / "csv" / "litis.csv"), "columns=split*")
    assert list(design.splits) == [f"split{i:02d}" for i in range(1, 21 if drawn else 4)]
    assert by_name(design) == by_name(wanted)
    assert design.kind == wanted.kind
    assert (tmp_path / "csv" / "litis" / "bus1.wav").exists() == packed


# --- an experiment on the manifest ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rouen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the names of LITIS Rouen."""
    folder = tmp_path_factory.mktemp("data_rouen")
    for name in names():
        (folder / name).touch()
    return folder


def asked(manifest: Manifest, splits: str = "columns=split*") -> Request:
    manifest.write(manifest.path)
    return from_manifest(manifest.path, splits, ["cnn-mel"])


@pytest.mark.slow
def test_a_converted_corpus_is_compared_with_published_results_as_by_the_deprecated_option(
    rouen: Path, tmp_path: Path
) -> None:
    before = from_litis(rouen, tmp_path, None, ["cnn-mel"])
    found = asked(litis_manifest(rouen, tmp_path / "rouen.csv")[0])
    assert (before.corpus, before.litis) == (found.corpus, found.litis) == ("LITIS Rouen", True)
    assert found.design.text.endswith(f": {before.design.text}")
    assert "not the data set's own splits" in found.design.text
    assert by_name(found.design) == by_name(before.design)
    first, *rest = Manifest.read(tmp_path / "rouen.csv").recordings
    moved = replace(
        first, columns={**first.columns, "split01": {"train": "test", "test": "train"}[first.columns["split01"]]}
    )
    own = asked(Manifest(tmp_path / "own.csv", (moved, *rest)))
    assert own.litis
    assert own.design.text.endswith(": the data set's own if they were read from its split files")


@pytest.mark.slow
def test_what_is_not_litis_rouen_is_not_compared(rouen: Path, tmp_path: Path) -> None:
    whole = litis_manifest(rouen, tmp_path / "rouen.csv")[0]
    once = asked(whole, "columns=split01")
    assert (once.corpus, once.litis) == ("LITIS Rouen", False)
    assert once.notes[-1] == "LITIS Rouen, but not with repeated splits, so published results are left out"
    first, second, *rest = whole.recordings
    fewer = asked(Manifest(tmp_path / "fewer.csv", (second, *rest)))
    other = asked(Manifest(tmp_path / "other.csv", (replace(first, scene="bus"), second, *rest)))
    for request, name in ((fewer, "fewer"), (other, "other")):
        assert (request.corpus, request.litis) == (name, False)
        assert "the manifest's 20 columns of splits" in request.design.text
