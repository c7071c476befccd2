"""`soundscene experiment --diagnose same-recording`: its splits, and that nobody can read its scores as anything else."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from lightning_fabric import Fabric
from scipy.io import wavfile

from benchmarks.keep_runs import pack, unpack
from soundscene.data.manifest import Manifest
from soundscene.errors import AudioError, ManifestError, TrainingError
from soundscene.experiment.diagnosis import same_recording
from soundscene.experiment.plan import Plan
from soundscene.experiment.request import from_diagnosis, from_manifest
from soundscene.experiment.results import POINTER, RunFolder
from soundscene.experiment.run import RunOptions, run_experiment
from soundscene.scoring.evaluation import LEAKAGE
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
    printed = capfd.readouterr()
    assert LEAKAGE in printed.err
    scored = [line for line in printed.out.splitlines() if "accuracy" in line]
    assert len(scored) == 2
    assert all(f"({LEAKAGE})" in line for line in scored)
    assert Plan.read(out).diagnosis == "same-recording"
    assert run("experiment", manifest, "--diagnose", "same-recording", *words) == 0, "rerun: nothing left to do"
    assert run("report", out) == 0
    assert LEAKAGE in capfd.readouterr().out
    tables = (out / "report" / "tables.md").read_text(encoding="utf-8")
    titles = [line for line in tables.splitlines() if line.startswith("#")]
    assert len(titles) > 3
    assert all(title.lstrip("# ").startswith(LEAKAGE) for title in titles)
    assert "20 excerpts, 10 groups" in tables
    assert "20 recordings" not in tables
    page = (out / "report" / "report.html").read_text(encoding="utf-8")
    assert f"<title>{LEAKAGE}" in page
    figures = list((out / "report" / "figures").iterdir())
    assert len(figures) > 3
    for figure in figures:
        root = ElementTree.fromstring(figure.read_bytes())
        first = next(part for part in root if part.text and part.text.strip())
        top = float(root.attrib["viewBox"].split()[1])
        assert (first.text, top < float(first.attrib["y"]) < 0) == (LEAKAGE, True), figure.name
    for file in (out / "report" / "csv").iterdir():
        lines = file.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("heading,")
        assert all(line.startswith(LEAKAGE) for line in lines[1:]), file.name
    model = out / "models" / "hog__second_excerpts_tested__seed0.safetensors"
    confusion, listed = tmp_path / "confusion.svg", tmp_path / "predictions.csv"
    assert run("evaluate", model, manifest, "--confusion", confusion, "--predictions", listed) == 0
    printed = capfd.readouterr()
    assert LEAKAGE in "".join(ElementTree.fromstring(confusion.read_bytes()).itertext())
    rows = listed.read_text(encoding="utf-8").splitlines()
    assert rows[0].startswith("heading,path,")
    assert all(row.startswith(f"{LEAKAGE},") for row in rows[1:]), "what goes elsewhere, too"
    told = printed.err
    assert f"{LEAKAGE}: trained by experiment --diagnose same-recording" in told
    assert printed.out.startswith(f"{LEAKAGE}: trained by experiment --diagnose same-recording"), "beside the scores"
    assert "6 of 18 recordings are in the model's training set" in told
    assert run("info", model) == 0
    assert any(line.startswith("diagnosis") and LEAKAGE in line for line in capfd.readouterr().out.splitlines())
    assert run("info", model, "--json") == 0
    assert json.loads(capfd.readouterr().out)["diagnosis"] == "same-recording"
    assert run("experiment", manifest, *words, "--splits", "folds=2") == 2, "another experiment"
    assert "other diagnosis" in capfd.readouterr().err


def test_other_uses_are_refused_in_one_line(manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ("--out", tmp_path / "run", "--systems", "hog", *TINY_SET)
    assert run("experiment", manifest, "--diagnose", "same-recording", "--splits", "folds=2", *words) == 2
    assert "leave out --splits" in capfd.readouterr().err
    assert run("experiment", manifest, "--diagnose", "same-room", *words) == 2
    assert "allowed is same-recording" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


# --- what a rerun finds, and what a refusal leaves --------------------------------------------------------------------


@pytest.fixture
def corpus(manifest: Path, tmp_path: Path) -> Path:
    """The corpus, in a folder of its own."""
    return Path(shutil.copytree(manifest.parent, tmp_path / "c")) / "manifest.csv"


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`experiment --diagnose` up to its trainings, which it leaves out."""
    monkeypatch.setattr("soundscene.experiment.run.run_local", lambda *arguments: {})
    monkeypatch.setattr("soundscene.experiment.run.warm_up", lambda: None)
    words = ("--diagnose", "same-recording", "--systems", "hog", "--workers", "1", "--device", "cpu", *TINY_SET)
    return lambda source, out, *more: run("experiment", source, "--out", out, *words, *more)


class SecondProcess(Fabric):
    """The second of two processes, whose first one has not come this far."""

    @property
    def global_rank(self) -> int:
        """Not the first."""
        return 1

    def barrier(self, name: str | None = None) -> None:
        """Wait for nobody."""


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run but its features, which may grow."""
    files = (p for p in folder.rglob("*") if p.is_file() and "store" not in p.relative_to(folder).parts)
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def name_as_before(out: Path, corpus: Path) -> None:
    """Name the excerpts of a run as was done earlier, by the path of the recording as it was typed."""
    plan = out / "plan.json"
    for scene, number in (("hall", 3), ("hall", 4), ("yard", 3), ("yard", 4)):
        name = f"{scene}-{number}-0.wav"
        new, old = (hashlib.sha256(text.encode()).hexdigest()[:16] for text in (name, f"{corpus.parent}/{name}"))
        plan.write_text(plan.read_text().replace(new, old))
        for half in (1, 2):
            (out / "excerpts" / f"{new}-{half}.wav").rename(out / "excerpts" / f"{old}-{half}.wav")


def test_a_run_goes_on_however_the_manifest_is_spelt(
    corpus: Path, prepared: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert prepared("../c/manifest.csv", "run") == 0
    before = contents(tmp_path / "here" / "run")
    assert sum(name.startswith("excerpts") for name in before) == 8
    assert prepared(corpus, tmp_path / "here" / "run") == 0
    assert contents(tmp_path / "here" / "run") == before


def test_a_run_that_named_excerpts_by_the_path_as_typed_goes_on_with_those_names(
    corpus: Path, prepared: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    assert prepared(corpus, out) == 0
    name_as_before(out, corpus)
    before = contents(out)
    monkeypatch.chdir(corpus.parent)
    for source in (corpus, Path("manifest.csv")):
        assert prepared(source, out) == 0
        assert contents(out) == before


def test_a_run_whose_results_lie_elsewhere_is_not_packed(tmp_path: Path) -> None:
    run_folder = tmp_path / "runs" / "one"
    (run_folder / "results").mkdir(parents=True)
    (run_folder / "plan.json").write_text('{"root": "/corpora"}')
    (run_folder / "results" / "experiment.json").write_text("{}")  # as of --results RUN/results: no result
    (run_folder / POINTER).write_text(f"{run_folder}/results\n")
    pack(tmp_path / "runs", tmp_path, tmp_path / "kept.tar.xz")
    (run_folder / POINTER).write_text(f"{tmp_path}/elsewhere\n")
    with pytest.raises(SystemExit, match=r"its results are at .*elsewhere; only runs that keep their own"):
        pack(tmp_path / "runs", tmp_path, tmp_path / "again.tar.xz")
    assert not (tmp_path / "again.tar.xz").exists()


def test_kept_runs_go_on_with_a_corpus_elsewhere(corpus: Path, prepared: Callable[..., int], tmp_path: Path) -> None:
    runs, packed, elsewhere = tmp_path / "runs", tmp_path / "kept.tar.xz", tmp_path / "a" / "b"
    assert prepared(corpus, runs / "same") == 0
    name_as_before(runs / "same", corpus)
    pack(runs, tmp_path, packed)
    elsewhere.mkdir(parents=True)
    corpus.parent.rename(elsewhere / "c")
    shutil.rmtree(runs)
    unpack(packed, elsewhere, tmp_path / "unpacked")
    kept = Plan.read(tmp_path / "unpacked" / "same").recordings
    assert prepared(elsewhere / "c" / "manifest.csv", tmp_path / "unpacked" / "same") == 0
    assert Plan.read(tmp_path / "unpacked" / "same").recordings == kept


def test_a_refused_command_changes_nothing(
    corpus: Path, prepared: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert prepared(corpus, out) == 0
    before = contents(out)
    assert prepared(corpus, out, "--set", f"audio.segment_s={S / 2}") == 2
    assert "other recipe" in capfd.readouterr().err
    assert contents(out) == before
    rows = corpus.read_text().replace("hall-3-0.wav,hall,hall3", "hall-3-0.wav,hall,another")
    corpus.write_text(rows)
    assert prepared(corpus, out) == 2
    assert "other recordings" in capfd.readouterr().err
    assert contents(out) == before
    corpus.write_text(rows.replace("another", "hall3"))
    shutil.copy(corpus.parent / "yard-4-0.wav", corpus.parent / "hall-3-0.wav")
    assert prepared(corpus, out) == 2
    assert "was cut from another recording" in capfd.readouterr().err
    assert contents(out) == before


def test_nothing_is_cut_without_the_lock_nor_by_another_process_of_torchrun(
    corpus: Path, prepared: Callable[..., int], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with RunFolder(out).locked():
        assert prepared(corpus, out) == 2
    assert not (out / "excerpts").exists()
    request = from_diagnosis(from_manifest(corpus, None, ["hog"], recipe=TINY), corpus, "same-recording")
    with pytest.raises(TrainingError, match="holds no experiment"):
        run_experiment(request, out, RunOptions(1, fabric=SecondProcess(accelerator="cpu", devices=1)))
    assert not (out / "excerpts").exists()


def test_a_recording_that_cannot_be_used_takes_no_place_in_a_pair(
    corpus: Path, prepared: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wavfile.write(corpus.parent / "hall-0-00.wav", RATE, np.zeros(round(PLENTY * RATE), np.float32))
    (corpus.parent / "yard-1-0.wav").write_bytes(b"no sound")
    extra = "hall-0-00.wav,hall,hall0\nhall-0-2.wav,hall,hall0\nyard-0-2.wav,yard,yard0\n"
    for name in ("hall-0-2.wav", "yard-0-2.wav"):
        shutil.copy(corpus.parent / "hall-5-0.wav", corpus.parent / name)
        rate, samples = wavfile.read(corpus.parent / name)
        wavfile.write(corpus.parent / name, rate, samples * (0.5 if name.startswith("hall") else 0.25))
    corpus.write_text(corpus.read_text() + extra)
    assert prepared(corpus, tmp_path / "run", "--skip-broken") == 0
    plan = Plan.read(tmp_path / "run")
    train, test = plan.splits["second excerpts tested"]
    groups = [[plan.recordings[i][2] for i in part] for part in (train, test)]
    assert groups[0] == groups[1]
    assert len(groups[0]) == len(set(groups[0])) == 9
    assert "yard1" not in groups[0]
    assert [path for path, _, group in plan.recordings if group == "hall0"] == ["hall-0-0.wav", "hall-0-1.wav"]
    assert len(plan.left_out) == 2
    assert plan.notes[1:] == (
        "9 groups: 5 with two excerpts, 4 cut from one recording",
        "2 further excerpts of 2 groups are not used",
        "2 groups left out: one recording, too short to cut",
        "1 groups left out: fewer than two excerpts can be used",
        "10 % of the groups are held out from a network for its temperature (calibration.held_out): their tested excerpts "
        "were not heard; --set calibration.held_out=0 trains on all",
    )
    told = capfd.readouterr().err
    assert "further excerpts" in told
    assert "their tested excerpts were not heard" in told
    assert prepared(corpus, tmp_path / "all", "--skip-broken", "--set", "calibration.held_out=0") == 0
    assert Plan.read(tmp_path / "all").notes == plan.notes[:-1], "a network hears every group"
