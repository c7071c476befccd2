"""Names of a stranger's model and of files appear, and do nothing: on the terminal, in CSV, Markdown and spreadsheets."""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

import soundscene
from soundscene.bundle import save_model
from soundscene.cli.listen_screen import Screen
from soundscene.texts import show
from tests.support.command_line import run
from tests.support.shared import case
from tests.support.tiny import RATE, TINY, blank_bundle, recording, write

SCENES = (
    "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "../../etc/passwd",
    "</script><script>alert(1)</script>",
    '=HYPERLINK("http://x","y")',
    "@SUM(1)",
    "[link](javascript:alert(1)) |`",
    "two\nlines\rover",
    "\x9b2J\u202egnp",
    "-1",
)
NAME = "=\x1b[2Jwave\x07\u202e.wav"
LIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stranger") / "m.safetensors"
    save_model(blank_bundle(TINY, SCENES), path)
    return path


@pytest.fixture
def sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    write(tmp_path / NAME, recording("rain", 8.2, 0))
    (tmp_path / f"bad{NAME}").write_bytes(b"no sound")
    monkeypatch.chdir(tmp_path)
    return NAME


def quiet(captured: Any) -> str:
    assert not LIVE.search(captured.out + captured.err)
    return captured.out


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "MODEL", "SOUND", "badSOUND"],
        ["predict", "MODEL", "SOUND", "badSOUND", "--format", "csv", "--segments"],
        ["predict", "MODEL", "SOUND", "badSOUND", "--json"],
        ["predict", "MODEL", "SOUND", "badSOUND", "--format", "jsonl"],
        ["predict", "MODEL", "SOUND", "--unknown"],
        ["predict", "SOUND", "SOUND"],
        ["info", "MODEL"],
        ["info", "MODEL", "--json"],
        ["info", "absentSOUND"],
        ["info", "absent", "SOUND"],
        ["predict", "absent", "SOUND", "--format", "SOUND"],
        ["timeline", "MODEL", "SOUND", "--stay", "4"],
        ["timeline", "MODEL", "SOUND", "--stay", "4", "--format", "csv"],
        ["timeline", "MODEL", "SOUND", "--stay", "4", "--format", "labels"],
        ["timeline", "MODEL", "badSOUND"],
        ["explain", "MODEL", "SOUND", "--out", "x.html", "--scene", "\x1b[31m"],
        ["evaluate", "MODEL", "SOUND"],
        ["scan", "SOUND", "--out", "m.csv"],
        ["train", "SOUND", "--out", "x.safetensors"],
        ["report", "SOUND"],
    ],
    ids=lambda words: " ".join(words[:2] + words[3:]).replace("\x1b", "ESC"),
)
def test_nothing_printed_steers_the_terminal(
    words: list[str], model: Path, sound: str, capfd: pytest.CaptureFixture[str]
) -> None:
    run(*(word.replace("MODEL", str(model)).replace("SOUND", sound) for word in words))
    found = capfd.readouterr()
    quiet(found)
    if words[1] == "MODEL" and words[0] != "explain":
        assert r"\x1b[" in found.out + found.err or r"\u001b[" in found.out, "it is shown"


def test_evaluation_of_names_that_a_model_of_a_stranger_has(
    model: Path, sound: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with Path("m.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "scene"), (sound, SCENES[1])])
    assert run("evaluate", model, "m.csv") == 0
    assert r"\x1b[31mred\x1b[0m" in quiet(capfd.readouterr())


def test_live_sound(model: Path, sound: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    samples, _ = soundfile.read(sound, dtype="int16")
    for form in ("lines", "csv", "jsonl"):
        stdin = io.TextIOWrapper(io.BytesIO(samples.tobytes()))
        monkeypatch.setattr("sys.stdin", stdin)
        assert run("listen", model, "--stdin", "--rate", str(RATE), "--format", form) == 0
        assert len(quiet(capfd.readouterr()).splitlines()) >= 4


def test_the_screen(model: Path, sound: str) -> None:
    from rich.console import Console

    from soundscene.cli.listen_screen import Counts

    samples, _ = soundfile.read(sound, dtype="float32")
    *_, last = soundscene.load(model).stream(iter([samples]), RATE)
    screen = Screen(SCENES, 2.0, Console(file=io.StringIO(), width=200))
    screen.add(last, Counts())
    console = Console(file=io.StringIO(), width=200, color_system=None)
    console.print(screen.render())
    assert not LIVE.search(console.file.getvalue())  # type: ignore[attr-defined]


@pytest.mark.parametrize("safe", [False, True])
def test_shards_are_quiet_and_a_restart_knows_their_rows(
    model: Path, sound: str, capfd: pytest.CaptureFixture[str], safe: bool
) -> None:
    words = ["predict", model, sound, f"bad{sound}", "--out", "rows", *(["--safe-csv"] if safe else [])]
    assert run(*words) == 3
    (shard,) = Path("rows").glob("part-*.csv")
    text = shard.read_text(encoding="utf-8")
    assert not LIVE.search(text)
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[1][0] == ("'" if safe else "") + show(sound)
    assert rows[0][8:10] == [show(SCENES[0]), SCENES[1]]
    if safe:
        assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@")) and cell != "-1"]
    assert run(*words) == 0
    assert "2 were done before" in capfd.readouterr().err
    if safe:
        assert run(*words[:-1]) == 2
        assert "were computed with --safe-csv True, these would be with False" in capfd.readouterr().err


def test_a_folder_of_0_1_with_raw_escapes_is_finished(model: Path, sound: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("predict", model, sound, "--out", "rows") == 0
    (shard,) = Path("rows").glob("part-*.csv")
    rows = list(csv.reader(io.StringIO(shard.read_text(encoding="utf-8"))))
    rows[0][8:], rows[1][0] = list(SCENES), sound
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    shard.write_bytes(text.getvalue().encode())
    capfd.readouterr()
    assert run("predict", model, sound, "--out", "rows") == 0
    assert "0 rows, 0 unreadable, 0 shards" in capfd.readouterr().err


def cells(text: str) -> Iterator[str]:
    for row in csv.reader(io.StringIO(text)):
        yield from row


def test_safe_csv_of_every_command_that_prints_it(model: Path, sound: str, capfd: pytest.CaptureFixture[str]) -> None:
    for words in (["predict", model, sound], ["timeline", model, sound, "--stay", "4"]):
        for safe in (True, False):
            assert run(*words, "--format", "csv", *(["--safe-csv"] if safe else [])) == 0
            formulas = [cell for cell in cells(quiet(capfd.readouterr())) if cell[:1] in "=+-@" and cell not in ("", "-1")]
            assert bool(formulas) is not safe
        assert run(*words, "--safe-csv") == 2
        assert "--safe-csv is for CSV" in capfd.readouterr().err
    assert run("listen", model, "--stdin", "--safe-csv") == 2


def test_scan_writes_cells_that_are_no_formulas(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("=cmd", "@sum"):
        for number in range(2):
            write(tmp_path / name / f"{number}.wav", recording("rain", 2.2, number))
    assert run("scan", tmp_path, "--out", tmp_path / "m.csv", "--safe-csv") == 0
    assert (tmp_path / "m.csv").read_text().splitlines()[1].startswith("./=cmd/0.wav,'=cmd,")
    capfd.readouterr()
    assert run("scan", tmp_path, "--out", tmp_path / "m.csv", "--force") == 0
    assert (tmp_path / "m.csv").read_text().splitlines()[1].startswith("=cmd/0.wav,=cmd,")


def test_json_keeps_names_as_they_are(model: Path, sound: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("predict", model, sound, "--json") == 0
    (found,) = json.loads(capfd.readouterr().out)["predictions"]
    assert found["path"] == sound
    assert tuple(found["posterior"]) == SCENES


def test_the_stranger_of_the_cases(sound: str, capfd: pytest.CaptureFixture[str]) -> None:
    model = case("evil-scenes.safetensors")
    for words in (["predict", model, sound, "--format", "csv"], ["info", model]):
        assert run(*words) == 0
        assert r"[31mred" in quiet(capfd.readouterr())
