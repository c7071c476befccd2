"""What a listing must not hide: parts that tear recordings, levels of two kinds, metadata and options that are not used."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from soundscene.data.grouping import FileName, group_by_name, group_by_pattern
from soundscene.data.layouts import detect_layout, read_layout
from soundscene.data.levels import places
from soundscene.data.manifest import Manifest
from soundscene.data.scan import arrange, list_folder, list_manifest, scan
from soundscene.data.source import read_source
from soundscene.data.table import scan_recordings
from soundscene.errors import ManifestError
from tests.data.test_scan import excerpts, tree
from tests.support.sounds import text


def torn(scenes: tuple[str, ...] = ("bus", "park")) -> list[tuple[str, str]]:
    """Two excerpts of each of six recordings: name and scene."""
    return [(f"{scene}_{i:02}_{k}.wav", scene) for scene in scenes for i in range(6) for k in (0, 1)]


@pytest.mark.parametrize(
    "form", ["metadata.csv in each part", "metadata.csv below data", "a table of all", "typed otherwise"]
)
def test_a_table_of_parts_does_not_tear_recordings(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    below = "data/" if form == "metadata.csv below data" else ""
    rows = [(f"{below}{('train', 'test')[int(name[-5])]}", name, scene) for name, scene in torn()]
    tree(tmp_path / "c", [f"{part}/{name}" for part, name, _ in rows])
    if form.startswith("metadata"):
        for part in {part for part, _, _ in rows}:
            lines = [f"{name},{scene}\n" for own, name, scene in rows if own == part]
            text(tmp_path / "c" / part / "metadata.csv", "file_name,label\n" + "".join(lines))
        assert detect_layout(tmp_path / "c") == "audiofolder"
        listing = read_layout(tmp_path / "c", "audiofolder")
        assert Counter(r.columns["split"] for r in listing.recordings) == {"train": 12, "test": 12}
    else:
        table = text(tmp_path / "c" / "all.csv", "file,class\n" + "".join(f"{p}/{n},{s}\n" for p, n, s in rows))
        monkeypatch.chdir(tmp_path)
        listing = list_manifest(table if form == "a table of all" else "c/../c/all.csv")
    manifest, notes = arrange(listing)
    assert Counter(Counter(r.group for r in manifest.recordings).values()) == {2: 12}
    assert manifest.recordings[0].group == f"{manifest.recordings[0].scene}/{manifest.recordings[0].path.stem[:-2]}"
    assert "24 files look like 12 recordings; grouped by stem, --group none to undo" in notes
    assert any(note.startswith("12 of 12 recordings have excerpts in more than one of") for note in notes) == (
        form.startswith("metadata")
    )


def test_names_that_begin_again_in_each_part_of_a_table_are_others(tmp_path: Path) -> None:
    rows = [f"{part}/{i:02}_{k}.wav" for part in ("train", "test") for i in range(6) for k in (0, 1)]
    tree(tmp_path, rows)
    table = text(tmp_path / "all.csv", "file,class\n" + "".join(f"{name},bus\n" for name in rows))
    manifest, _ = arrange(list_manifest(table))
    assert Counter(Counter(r.group for r in manifest.recordings).values()) == {2: 12}


def test_a_file_in_two_parts_does_not_tear_the_others(tmp_path: Path) -> None:
    names = [f"{('train', 'test')[int(name[-5])]}/{scene}/{name}" for name, scene in torn()]
    manifest, _ = scan(tree(tmp_path, [*names, "test/bus/bus_00_0.wav"]))
    assert Counter(Counter(r.group for r in manifest.recordings).values()) == {2: 11, 3: 1}


def test_patterns_of_groups_that_find_nothing(tmp_path: Path) -> None:
    folder = tree(tmp_path, [*excerpts("bus", 6), *excerpts("tram", 6)])
    for pattern, message in (
        ("", "--group '': is empty; give parent, stem, none, or a regular expression that finds the recording"),
        ("x*", "--group x*: matches none of 24 paths but with an empty text, such as bus/bus_00_0.wav"),
        ("Parent", "--group Parent: matches none of 24 paths, such as bus/bus_00_0.wav; did you mean 'parent'?"),
    ):
        with pytest.raises(ManifestError) as error:
            scan(folder, group=pattern)
        assert str(error.value) == message
    assert group_by_pattern(["x1.wav", "b.wav"], "x*") == (("x", "b.wav"), 1), "an empty match is none"
    _, notes = scan(folder, group="bus|tram/tram_05_1|tram")
    assert notes[0] == "24 files are 3 recordings by --group bus|tram/tram_05_1|tram"


def test_each_folder_is_a_recording_where_folders_are_columns_too(tmp_path: Path) -> None:
    days = [f"2024-01-{d:02}/{s}/{k}{d}.wav" for d in range(1, 7) for s in ("bus", "park") for k in "xyz"]
    manifest, notes = scan(tree(tmp_path, days), group="parent")
    assert {r.group for r in manifest.recordings} == {f"{s}/2024-01-{d:02}" for s in ("bus", "park") for d in range(1, 7)}
    assert "36 files are 12 recordings by --group parent" in notes


@pytest.mark.parametrize(
    "form",
    [
        *("rec{i}_{k}0sec", "rec_{i:03}_{k}of4", "rec{i}_00-{k}0-00", "rec{i}_00m{k}0s", "rec{i}_t{k}0.5", "rec{i}_t{k}"),
        *("house{i}_{side}", "5E90A4D{hex}_00{k}", "PXL_202401{day}_210{k}00123"),
    ],
)
def test_more_names_of_excerpts(form: str) -> None:
    files = [
        (i, form.format(i=i, k=k, hex=format(i, "X"), side=("front", "rear")[k], day=10 + i))
        for i in range(8, 16)
        for k in range(2)
    ]
    found = group_by_name([FileName("bus", "", stem) for _, stem in files])
    assert len({(i, group) for (i, _), group in zip(files, found.groups, strict=True)}) == 8
    assert len(set(found.groups)) == 8


@pytest.mark.parametrize("form", ["5E90A4{i:02X}", "5E90A4{i:01X}{i:01X}", "site_{i:02}-01-24", "rec_0001{i:02}"])
def test_more_names_that_are_recordings(form: str) -> None:
    files = [FileName("bus", "", form.format(i=i)) for i in range(1, 16)]
    assert len(set(group_by_name(files).groups)) == 15


def test_metadata_that_names_no_scenes_is_no_layout(tmp_path: Path) -> None:
    folder = tree(tmp_path / "c", [*excerpts("bus", 6), *excerpts("park", 6)])
    text(folder / "park" / "metadata.csv", "notes,weather\nabc,def\n")
    text(folder / "metadata.csv", "filename,weather\nbus/bus_00_0.wav,sunny\n")
    assert detect_layout(folder) is None
    manifest, note = read_source(folder)
    assert manifest.scenes == ("bus", "park")
    assert "; metadata.csv, park/metadata.csv: names no scenes, so the folders do; soundscene scan " in note
    with pytest.raises(ManifestError, match=r"; give this file in the folder's place, with --columns scene=NAME$"):
        read_layout(folder, "audiofolder")
    flat = tree(tmp_path / "flat", ["train/a.wav", "test/b.wav"])
    for part in ("train", "test"):
        text(flat / part / "metadata.csv", "file,weather\n")
    with pytest.raises(
        ManifestError, match=r"; if one of test/metadata\.csv, train/metadata\.csv in it names the scenes, give"
    ):
        list_folder(flat)


def test_one_line_says_that_a_grouping_was_refused(tmp_path: Path) -> None:
    _, note = read_source(tree(tmp_path, [*excerpts("bus", 3), *excerpts("park", 6)]))
    assert "18 files of 2 scenes, 12 recordings" in note
    assert "; not grouped by name: bus would have 3 groups of 6 files, and a scene needs 5; if they are excerpts" in note


def test_levels_of_two_kinds(tmp_path: Path) -> None:
    def roles(*folders: str) -> list[tuple[str, dict[str, str]]]:
        found = places([tuple(folder.split("/")) for folder in folders], "x")
        return [(place.scene, place.columns) for place in found if place]

    scenes = ("rain", "train", "wind")
    for parts, column in ((("train", "test", "extra"), "split"), (("2024-01-05", "2024-01-06", "misc"), "date")):
        found = roles(*(f"{part}/{scene}" for part in parts for scene in scenes))
        assert found == [(scene, {column: part}) for part in parts for scene in scenes]
    found = roles(*(f"mydataset/{part}/{scene}" for part in ("train", "test") for scene in scenes))
    assert found == [(scene, {"split": part}) for part in ("train", "test") for scene in scenes]
    assert roles("park/train", "park/test") == [("park", {"split": "train"}), ("park", {"split": "test"})]
    assert roles("train/a", "test/a", "rain/b", "wind/b") == [(scene, {}) for scene in ("train", "test", "rain", "wind")]
    files = [
        f"{part}/{s}/{s}{i}.wav" for part in ("train/fold1", "train/fold2", "test") for s in ("rain", "wind") for i in "ab"
    ]
    listing = list_folder(tree(tmp_path, files))
    assert listing.doubts == (
        "fold1, fold2 look like folds, but are taken for scenes, as are rain, wind: have folders of one kind in each level, "
        "or give a CSV that names the scenes",
    )
    assert listing.doubts[0] in listing.notes
    assert listing.doubts[0] in read_source(tmp_path)[1]


@pytest.mark.parametrize(
    "date", ["10.01.24", "24-01-05", "Jan 2024", "31012024", "5.1.2024", "January_2024", "Mon 3 May 2024 0", "2024"]
)
def test_dates_of_folders(date: str) -> None:
    (place,) = places([(date, "park")], "x")
    assert place is not None
    assert (place.scene, place.columns) == ("park", {"date": date})
    (place,) = places([("cv3", "park")], "x")
    assert place is not None
    assert place.columns == {"fold": "3"}


def test_options_that_are_not_used(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"^--group, --folds, --seed, --columns: not for --layout litis, whose groups"):
        scan_recordings(tmp_path, layout="litis", group="none", n_folds=3, seed=3, columns={"path": "a"})
    tree(tmp_path, ["a.wav", "b.wav"])
    table = text(tmp_path / "m.csv", "path,scene,fold\na.wav,bus,1\nb.wav,park,2\n")
    _, notes = arrange(list_manifest(table), n_folds=3, seed=1)
    assert notes[-1] == "--folds 3 and --seed 1: not used, because the corpus has folds or splits of its own"
    assert not any("not used" in note for note in arrange(list_manifest(table))[1])


@pytest.mark.parametrize("group", [None, "none", "rec\\s\\d"])
def test_names_of_several_lines_are_read_back(tmp_path: Path, group: str | None) -> None:
    names = [f"{scene}/rec\n{i}_{k}.wav" for scene in ("bus", "park") for i in range(6) for k in "ab"]
    manifest, _ = scan(tree(tmp_path / "c", names), group=group)
    manifest.write(tmp_path / "m.csv")
    again = Manifest.read(tmp_path / "m.csv")
    assert len({r.group for r in again.recordings}) == {None: 12, "none": 24}.get(group, 6)
    with (tmp_path / "m.csv").open(newline="") as file:
        assert not any("\n" in row["group"] for row in csv.DictReader(file))
