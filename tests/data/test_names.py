"""Names in manifests: what looks the same is one scene, group or fold, and what differs only in case is refused."""

from pathlib import Path

import pytest

from soundscene.data.corpus import recordings_of
from soundscene.data.designs import natural, read_splits
from soundscene.data.manifest import Manifest
from soundscene.data.scan import scan
from soundscene.errors import ManifestError
from tests.support.shared import case
from tests.support.sounds import text

SPELLINGS = ["Café", "Cafe\u0301", "Caf\u00e9\u200b", " Café", "Ca\ufefffé"]


def listed(folder: Path, rows: list[str], header: str = "path,scene,group,fold,city") -> Path:
    for number in range(len(rows)):
        text(folder / f"{number}.wav", "")
    lines = [header, *(f"{number}.wav,{row}" for number, row in enumerate(rows))]
    return text(folder / "m.csv", "\n".join(lines) + "\n")


def message(path: Path) -> str:
    with pytest.raises(ManifestError) as caught:
        Manifest.read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(str(path))


def test_spellings_of_one_look_are_one_scene_group_and_value(tmp_path: Path) -> None:
    rows = [f"{name},{name},{name},{name}" for name in SPELLINGS] + ["rain,g,f,c"]
    manifest = Manifest.read(listed(tmp_path, rows))
    assert manifest.scenes == ("Café", "rain")
    assert {r.group for r in manifest.recordings} == {"Café", "g"}
    for column, other in (("fold", "f"), ("city", "c")):
        assert set(manifest.values(column)) == {"Café", other}
    assert [r.columns["city"] for r in manifest.recordings][1] == "Cafe\u0301", "cells are carried along unchanged"


def test_a_test_part_is_named_in_any_spelling(tmp_path: Path) -> None:
    rows = [f"{scene},,{i % 2},{city}" for i, city in enumerate(("Ko\u0308ln", "Ulm")) for scene in ("a", "b")]
    manifest = Manifest.read(listed(tmp_path, rows))
    for city in ("K\u00f6ln", "Ko\u0308ln\u200b"):
        assert len(manifest.split("city", city).test) == 2
    assert list(read_splits(manifest, "by=city").splits) == ["city=K\u00f6ln", "city=Ulm"]


@pytest.mark.parametrize("one", ["Rain", "RAIN", "rain\u200b.", "rAin"])
def test_spellings_that_differ_only_in_case_name_both_rows(tmp_path: Path, one: str) -> None:
    other = "rain." if one.endswith(".") else "rain"
    one = one.upper() if one.endswith(".") else one
    found = message(listed(tmp_path, [f"{one},,,", "x,,,", f"{other},,,"]))
    shown = one.replace("\u200b", "")
    assert found == f", line 4: scene '{other}' (line 4) differs only in case from '{shown}' (line 2); use one spelling"


def test_groups_and_folds_too(tmp_path: Path) -> None:
    found = message(listed(tmp_path, ["x,Hall,1,", "y,hall,2,"]))
    assert found == ", line 3: group 'hall' (line 3) differs only in case from 'Hall' (line 2); use one spelling"
    manifest = Manifest.read(listed(tmp_path, ["x,,A,", "y,,a,", "x,,B,", "y,,B,"]))
    with pytest.raises(ManifestError, match=r"line 3: fold 'a' \(line 3\) differs only in case from 'A' \(line 2\)"):
        manifest.split("fold", "B")
    with pytest.raises(ManifestError, match=r"line 3: fold 'a' \(line 3\) differs only in case from 'A' \(line 2\)"):
        read_splits(Manifest.read(listed(tmp_path, ["x,,A,", "x,,a,", "x,,B,", "y,,A,", "y,,B,", "y,,a,"])), "by=fold")


def test_files_that_differ_only_in_case_are_groups_of_their_own(tmp_path: Path) -> None:
    for name in ("a.wav", "A.wav"):
        text(tmp_path / name, "")
    manifest = Manifest.read(text(tmp_path / "m.csv", "path,scene\na.wav,x\nA.wav,y\n"))
    assert len({r.group for r in manifest.recordings}) == 2


def test_a_scene_of_nothing_visible_is_empty(tmp_path: Path) -> None:
    assert message(listed(tmp_path, ["\u200b\u3164,,,"])).startswith(", line 2: the scene is empty")


def test_folders_of_one_look_are_one_scene(tmp_path: Path) -> None:
    for name in ("Cafe\u0301/a.wav", "Caf\u00e9/b.wav", "two\nlines/c.wav"):
        (tmp_path / name).parent.mkdir()
        text(tmp_path / name, "")
    manifest, _ = scan(tmp_path)
    assert manifest.scenes == ("Café", "two lines")
    manifest.write(tmp_path / "m.csv")
    assert Manifest.read(tmp_path / "m.csv").scenes == manifest.scenes
    (tmp_path / "CAFÉ").mkdir()
    text(tmp_path / "CAFÉ" / "d.wav", "")
    with pytest.raises(ManifestError, match=r"scene 'Café' \(.+a\.wav\) differs only in case from 'CAFÉ' \(.+d\.wav\)"):
        scan(tmp_path)


def test_a_model_keeps_its_spelling(tmp_path: Path) -> None:
    path = listed(tmp_path, ["Caf\u00e9,,1,", "rain\u200b,,2,"])
    scenes = ("Cafe\u0301", "rain")
    assert [r.scene for r in recordings_of(path, None, scenes)] == list(scenes)
    with pytest.raises(
        ManifestError, match=r"line 3: scene 'rain' is not one of the model's \(Café, Rain\); 'Rain' differs"
    ):
        recordings_of(path, None, ("Caf\u00e9", "Rain"))


def test_columns_are_found_without_what_is_invisible(tmp_path: Path) -> None:
    path = listed(tmp_path, ["x,,1,", "y,,2,"], "path\u200b,scene\u00a0,group,fo\u200bld,city")
    assert Manifest.read(path).columns == ("path", "scene", "group", "fold", "city")


def test_a_safe_manifest_is_read_back_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "=cmd").mkdir()
    for name in ("=cmd/a.wav", "-b.wav", "@c.wav"):
        text(tmp_path / name, "")
    rows = ["path,scene,group,fold", "=cmd/a.wav,=cmd,+g,1", "-b.wav,@rain,-g,2", '@c.wav,"=H(""x"")",g,-3']
    manifest = Manifest.read(text(tmp_path / "m.csv", "\n".join(rows) + "\n"))
    manifest.write(tmp_path / "safe.csv", safe=True)
    lines = (tmp_path / "safe.csv").read_text().splitlines()[1:]
    assert lines == ["./=cmd/a.wav,'=cmd,'+g,1", "./-b.wav,'@rain,'-g,2", './@c.wav,"\'=H(""x"")",g,-3']
    again = Manifest.read(tmp_path / "safe.csv")
    assert [(r.scene, r.group, r.columns) for r in again.recordings] == [
        (r.scene, r.group, r.columns) for r in manifest.recordings
    ]
    assert [r.path.resolve() for r in again.recordings] == [r.path.resolve() for r in manifest.recordings]


def test_natural_order_of_numbers_of_any_length() -> None:
    assert sorted(["10", "9" * 5000, "2", "002b", "1" + "0" * 4999], key=natural) == [
        *("2", "002b", "10", "1" + "0" * 4999, "9" * 5000)
    ]


# --- stray quotes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "column", "line", "last", "rows"),
    [
        ('path,scene\n"a.wav,x\nb.wav,y\nc.wav",x\n', "path", 2, 4, 3),
        ('path,scene\na.wav,"x\nb.wav,y\nc.wav,x"\n', "scene", 2, 4, 3),
        ('path,scene,group\na.wav,x,"g\nb.wav,y,g"\nc.wav,x,g\n', "group", 2, 3, 2),
        ('path,scene,fold\na.wav,x,1\nb.wav,y,"2\nc.wav,x,1"\n', "fold", 3, 4, 2),
        ('path,scene,note\na.wav,x,"loud\nb.wav,y,quiet\nc.wav,x,far"\n', "note", 2, 4, 3),
        ('path,scene,city,note\na.wav,x,"Ulm,\nb.wav,y,Bonn",\nc.wav,x,Bonn,\n', "city", 2, 3, 2),
        ('note,path,scene\n"loud,a.wav,x\nquiet,b.wav,y\nfar",c.wav,x\n', "note", 2, 4, 3),
    ],
)
def test_a_stray_quote_that_swallows_rows_is_named(
    tmp_path: Path, content: str, column: str, line: int, last: int, rows: int
) -> None:
    for name in "abc":
        text(tmp_path / f"{name}.wav", "")
    assert message(text(tmp_path / "m.csv", content)) == (
        f', line {line}: a quote (") opens in the column {column} and closes in line {last}, so that {rows} rows are one; '
        "remove the stray quote"
    )


def test_text_of_several_lines_is_no_stray_quote(tmp_path: Path) -> None:
    for name in ("a.wav", "two\nlines.wav"):
        text(tmp_path / name, "")
    content = 'path,scene,note\na.wav,x,"one,two,\nthree, four, five\nsix"\n"two\nlines.wav",y,\n'
    manifest = Manifest.read(text(tmp_path / "m.csv", content))
    assert [r.path.name for r in manifest.recordings] == ["a.wav", "two\nlines.wav"]


@pytest.mark.parametrize(
    "content",
    [
        "path,scene\n" + "x" * 100_000 + ",a\n",
        "path,scene\na\0b.wav,a\n",
        "path,scene\n" + "../" * 30_000 + ",a\n",
        'path,"scene\na.wav",x\n',
        "path,scene\n" + "x" * 200_000 + ",a\n",
        "path,scene," + ",".join("x" * 1000 for _ in range(100)) + "\n",
        "p\u200bath,scene\n,\n",
        "path,scene\na.wav," + "\u0301\u0323" * 50_000 + "\n",
        "path,scene,group\na.wav,x," + "\u200d" * 100_000 + "\n",
    ],
    ids=range(9),
)
def test_anything_else_is_one_short_line(tmp_path: Path, content: str) -> None:
    text(tmp_path / "a.wav", "")
    path = text(tmp_path / "m.csv", content)
    assert len(message(path)) < 700


# --- what failed on 0.1.0 ---------------------------------------------------------------------------------------------


def beside_files(name: str, folder: Path) -> Path:
    """A manifest of the shared cases beside empty files of the names that it lists."""
    content = case(name).read_bytes()
    for number in range(8):
        text(folder / f"l{number}.wav", "")
    return text(folder / name, content)


def test_labels(tmp_path: Path) -> None:
    assert message(beside_files("labels.csv", tmp_path)) == (
        ", line 7: scene 'rain' (line 7) differs only in case from 'Rain' (line 6); use one spelling"
    )
    fixed = (tmp_path / "labels.csv").read_text().replace("Rain", "rain")
    assert Manifest.read(text(tmp_path / "labels.csv", fixed)).scenes == ("Café", "rain")


def test_stray_quote(tmp_path: Path) -> None:
    assert message(beside_files("stray_quote.csv", tmp_path)).startswith(
        ', line 2: a quote (") opens in the column path and closes in line 13, so that 12 rows are one;'
    )


def test_cities_in_chinese(tmp_path: Path) -> None:
    manifest = Manifest.read(beside_files("cjk_cities.csv", tmp_path))
    assert list(read_splits(manifest, "by=city").splits) == ["city=上海", "city=北京"]
