"""`soundscene timeline` from end to end, in a command line of its own."""

import csv
import io
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer

from soundscene.cli.timeline import _duration_s, timeline
from soundscene.errors import AudioWarning, SceneError
from soundscene.timelines import DEFAULT_STAY_S
from tests.support.tiny import RATE, SCENES, recording, write

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
app.command()(timeline)


def run(*arguments: str | Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioWarning)  # as the command line does: they come as notes
        with pytest.raises(SystemExit) as end:
            app([str(word) for word in arguments])
    assert end.value.code == 0


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds of two scenes, with two seconds of silence between them."""
    samples = np.concatenate([recording("rain", 8.0, 0), np.zeros(2 * RATE, np.float32), recording("office", 8.0, 0)])
    return write(tmp_path_factory.mktemp("sound") / "two, scenes.wav", samples)


def test_every_form_says_the_same(model: Path, sound: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(model, sound, "--format", "csv", "--stay", "20")
    told = capfd.readouterr()
    assert told.out.splitlines()[0] == "path,start_s,end_s,scene,probability,change_probability,start_time,end_time"
    rows = list(csv.DictReader(io.StringIO(told.out)))
    assert rows
    assert told.err == f"note: {sound}: 1 segment of digital silence did not vote\n"
    assert all(row["path"] == str(sound) and row["scene"] in SCENES for row in rows)
    assert float(rows[0]["start_s"]) == 0
    assert float(rows[-1]["end_s"]) == 18
    run(model, sound, "--format", "json", "--stay", "20")
    plain = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(r["start_s"], r["end_s"], r["scene"]) for r in plain] == [
        (float(r["start_s"]), float(r["end_s"]), r["scene"]) for r in rows
    ]
    run(model, sound, "--format", "labels", "--stay", "20")
    labels = [line.split("\t") for line in capfd.readouterr().out.splitlines()]
    assert [(float(a), float(b), text.rpartition(" ")[0]) for a, b, text in labels] == [
        (float(r["start_s"]), float(r["end_s"]), r["scene"]) for r in rows
    ]
    run(model, sound, "--stay", "20")
    table = capfd.readouterr().out
    assert "two, scenes.wav, 0:00:18" in table
    lasting = {scene: sum(float(r["end_s"]) - float(r["start_s"]) for r in rows if r["scene"] == scene) for scene in SCENES}
    shares = table[table.index("share of time, 0:00:18") :].split()
    assert all(f"{seconds / 18:.1%}" in shares for seconds in lasting.values() if seconds)
    assert all(row["scene"] in table for row in rows)


def test_head_and_stay_decide(model: Path, sound: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told = set()
    for head in ("svm", "softmax"):
        run(model, sound, "--format", "csv", "--stay", "3", "--head", head)
        told.add(capfd.readouterr().out)
    run(model, sound, "--format", "csv")
    by_default = capfd.readouterr().out
    run(model, sound, "--format", "csv", "--stay", f"{DEFAULT_STAY_S:g}")
    assert capfd.readouterr().out == by_default
    assert len(told | {by_default}) == 3


def test_picture_and_parquet_are_written_beside_the_print(
    model: Path, sound: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    run(model, sound, "--format", "json", "--picture", tmp_path / "a.svg", "--parquet", tmp_path / "a.parquet")
    plain = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    rows = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert [row["scene"] for row in rows] == [row["scene"] for row in plain]
    assert "scene over time" in (tmp_path / "a.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--stay", "1"), "an expected stay of 1 s"),
        (("--picture", "a.jpg"), "ends in .png or .svg"),
        (("--parquet", "a.parquet"), 'pip install "soundscene[parquet]"'),
    ],
)
def test_what_cannot_be_is_refused_before_the_sound_is_read(
    model: Path, options: tuple[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SceneError) as refusal:
        app([str(model), "no-such-file.wav", *options])
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_help_names_the_default_stay(capfd: pytest.CaptureFixture[str]) -> None:
    run("--help")
    assert f"Default: {DEFAULT_STAY_S:g}." in " ".join(capfd.readouterr().out.split())


def test_a_folder_of_recordings_has_a_file_each_and_the_shares_of_time(
    model: Path, sound: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    for name in ("SITE_20260503_140000.wav", "b.wav"):
        (log / name).parent.mkdir(exist_ok=True)
        (log / name).write_bytes(sound.read_bytes())
    (log / "c.wav").write_text("no sound")
    with pytest.raises(SystemExit) as end:
        app([str(word) for word in (model, log, "--out", tmp_path / "out", "--stay", "20", "--format", "raven")])
    assert end.value.code == 3
    told = capfd.readouterr()
    assert "began 2026-05-03 14:00:00 by its file name" in told.err
    assert "c.wav: is not an audio file" in told.err
    names = ["SITE_20260503_140000.selections.txt", "b.selections.txt", "shares.csv"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    header, first, *_ = (line.split("\t") for line in (tmp_path / "out" / names[0]).read_text().splitlines())
    box = dict(zip(header, first, strict=True))
    assert (box["Begin Clock Time"], box["High Freq (Hz)"], box["Begin Time (s)"]) == ("14:00:00", "11025", "0.000000")
    shares = list(csv.DictReader(io.StringIO((tmp_path / "out" / "shares.csv").read_text())))
    assert {row["scene"] for row in shares} >= set(SCENES)
    assert sum(float(row["share"]) for row in shares) == pytest.approx(2, abs=1e-4)  # one for each recording
    run(model, log / "b.wav", log / "SITE_20260503_140000.wav", "--out", tmp_path / "rows.csv", "--stay", "20")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "rows.csv").read_text())))
    assert [Path(row["path"]).name for row in rows] == sorted(Path(row["path"]).name for row in rows)[::-1]
    assert {row["start_time"][:10] for row in rows} == {"", "2026-05-03"}
    with pytest.raises(SceneError, match="--start is for one recording, and these are 3"):
        app([str(word) for word in (model, log, "--start", "2026-05-03T14:00:00")])


def test_the_start_that_is_given_counts(model: Path, sound: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(model, sound, "--start", "2026-05-03T23:59:55+02:00", "--format", "csv", "--stay", "20")
    rows = list(csv.DictReader(io.StringIO(capfd.readouterr().out)))
    assert rows[0]["start_time"] == "2026-05-03T23:59:55+02:00"
    assert rows[-1]["end_time"] == "2026-05-04T00:00:13+02:00"
    with pytest.raises(SceneError, match="--start 'noon': expected a time such as"):
        app([str(model), str(sound), "--start", "noon"])


def test_headers_tell_how_long_a_recording_is(sound: Path, tmp_path: Path) -> None:
    samples, rate = soundfile.read(sound)
    for suffix in (".wav", ".flac", ".ogg", ".mp3"):
        path = tmp_path / f"a{suffix}"
        soundfile.write(path, samples, rate)
        assert _duration_s(path) == pytest.approx(18, abs=0.1)
    (tmp_path / "b.flac").write_text("no sound")
    assert _duration_s(tmp_path / "b.flac") is None
