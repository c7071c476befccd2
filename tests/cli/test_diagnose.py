"""`soundscene experiment --diagnose same-recording`: its splits, and that nobody can read its scores as anything else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from soundscene.data.manifest import Manifest
from soundscene.errors import AudioError, ManifestError
from soundscene.experiment.diagnosis import LEAKAGE, same_recording
from soundscene.experiment.plan import Plan
from tests.support.command_line import TINY_SET, run
from tests.support.tiny import TINY

S = TINY.audio.segment_s
RATE = TINY.audio.sample_rate
PLENTY, LITTLE = 4 * S, 2.2 * S


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of each scene three groups of two excerpts and three of one, one of them too short to cut."""
    folder, rng, rows = tmp_path_factory.mktemp("sound"), np.random.default_rng(0), ["path,scene,group"]
    for scene, colour in (("hall", 0.0), ("yard", 0.9)):
        for group in range(6):
            excerpts = 2 if group < 3 else 1
            for excerpt in range(excerpts):
                x = rng.standard_normal(round((LITTLE if group == 5 else PLENTY) * RATE))
                x = np.convolve(x, [1, -colour])[: len(x)]
                name = f"{scene}-{group}-{excerpt}.wav"
                wavfile.write(folder / name, RATE, (0.1 * x).astype(np.float32))
                rows.append(f"{name},{scene},{scene}{group}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "manifest.csv"


def test_each_group_is_heard_and_tested_in_both_directions(manifest: Path, tmp_path: Path) -> None:
    found = same_recording(Manifest.read(manifest), tmp_path, TINY.audio)
    one, other = found.design.splits.values()
    assert (one.train, one.test) == (other.test, other.train)
    groups = [r.group for r in one.train]
    assert [r.group for r in one.test] == groups
    assert len(groups) == len(set(groups)) == 10
    assert not {r.path for r in one.train} & {r.path for r in one.test}
    assert found.notes == (
        "10 groups: 6 with two excerpts, 4 cut from one recording",
        "2 groups left out: one recording, too short to cut",
    )
    first = next(r for r in one.train if r.group == "hall3")
    second = next(r for r in one.test if r.group == "hall3")
    rate, whole = wavfile.read(manifest.parent / "hall-3-0.wav")
    start, end = (wavfile.read(r.path)[1] for r in (first, second))
    assert rate == RATE
    assert len(start) == len(end) == (len(whole) - round(0.5 * S * RATE)) // 2 >= S * RATE
    np.testing.assert_array_equal(start, whole[: len(start)])
    np.testing.assert_array_equal(end, whole[-len(end) :])


def test_a_clip_filled_up_with_zeros_is_left_out(manifest: Path, tmp_path: Path) -> None:
    """As in ESC-50: its second excerpt would be digital silence, which no experiment takes."""
    x = np.zeros(round(PLENTY * RATE), np.float32)
    x[: RATE // 2] = 0.1 * np.random.default_rng(1).standard_normal(RATE // 2)
    wavfile.write(manifest.parent / "padded.wav", RATE, x)
    listed = tmp_path / "manifest.csv"
    rows = [f"{manifest.parent}/{row}" for row in manifest.read_text().splitlines()[1:]]
    listed.write_text("\n".join(["path,scene,group", *rows, f"{manifest.parent / 'padded.wav'},hall,padded"]) + "\n")
    found = same_recording(Manifest.read(listed), tmp_path / "cut", TINY.audio)
    assert "padded" not in {r.group for r in found.recordings}
    assert found.notes[-1] == "1 groups left out: one recording, of which one excerpt would be digital silence"


def test_what_cannot_be_split_so_is_refused(manifest: Path, tmp_path: Path) -> None:
    whole = Manifest.read(manifest)
    lone = replace(whole, recordings=tuple(r for r in whole.recordings if r.group.endswith("5")))
    with pytest.raises(ManifestError, match="two scenes or more with groups of two excerpts"):
        same_recording(lone, tmp_path, TINY.audio)
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    rows = [f"{p},{s},{g}" for p, s, g in ((r.path, r.scene, r.group) for r in whole.recordings)]
    (tmp_path / "m.csv").write_text("\n".join(["path,scene,group", *rows, f"{broken},hall,alone"]) + "\n")
    with pytest.raises(AudioError, match=r"broken\.wav"):
        same_recording(Manifest.read(tmp_path / "m.csv"), tmp_path / "cut", TINY.audio)
    skipped = same_recording(Manifest.read(tmp_path / "m.csv"), tmp_path / "cut", TINY.audio, skip_broken=True)
    assert len(skipped.recordings) == 20
    assert "broken.wav" in skipped.notes[-1]


@pytest.mark.slow  # a run and its report
def test_every_table_and_page_is_headed(manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    words = ("--out", out, "--systems", "hog", "--workers", "1", "--device", "cpu", *TINY_SET)
    assert run("experiment", manifest, "--diagnose", "same-recording", *words) == 0
    assert LEAKAGE in capfd.readouterr().err
    assert Plan.read(out).diagnosis == "same-recording"
    assert run("experiment", manifest, "--diagnose", "same-recording", *words) == 0, "rerun: nothing left to do"
    assert run("report", out) == 0
    assert LEAKAGE in capfd.readouterr().out
    tables = (out / "report" / "tables.md").read_text(encoding="utf-8")
    titles = [line for line in tables.splitlines() if line.startswith("#")]
    assert len(titles) > 3
    assert all(title.lstrip("# ").startswith(LEAKAGE) for title in titles)
    page = (out / "report" / "report.html").read_text(encoding="utf-8")
    assert f"<title>{LEAKAGE}" in page
    for file in (out / "report" / "csv").iterdir():
        lines = file.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("heading,")
        assert all(line.startswith(LEAKAGE) for line in lines[1:]), file.name
    assert run("experiment", manifest, *words, "--splits", "folds=2") == 2, "another experiment"
    assert "other diagnosis" in capfd.readouterr().err


def test_other_uses_are_refused_in_one_line(manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ("--out", tmp_path / "run", "--systems", "hog", *TINY_SET)
    assert run("experiment", manifest, "--diagnose", "same-recording", "--splits", "folds=2", *words) == 2
    assert "leave out --splits" in capfd.readouterr().err
    assert run("experiment", manifest, "--diagnose", "same-room", *words) == 2
    assert "allowed is same-recording" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()
