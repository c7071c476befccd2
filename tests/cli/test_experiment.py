"""`soundscene experiment` and `soundscene report` as a user gives them: a whole small study, LITIS, and what is refused."""

import re
import shutil
from pathlib import Path

import pytest

from soundscene.data.manifest import Manifest
from soundscene.errors import SceneError
from soundscene.experiment.plan import Plan
from soundscene.experiment.results import RunFolder
from tests.support.command_line import TINY_SET, run
from tests.support.litis_tree import write_litis
from tests.support.tiny import SCENES, text, write_corpus

SMALL = ("--workers", "2", "--threads", "1", "--device", "cpu", *TINY_SET)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def study(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four systems, each recording tested once in one of two folds."""
    out = tmp_path_factory.mktemp("study") / "run"
    systems = "att-crnn-mel,cnn-mel,hog,mfcc-dnn"
    words = ("--systems", systems, "--splits", "folds=2,seed=1")
    assert run("experiment", manifest, "--out", out, *words, *SMALL) == 0
    return out


@pytest.mark.budget(15)  # a whole report, with all its figures and tests
def test_a_study_and_its_report(study: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("report", study) == 0
    told = capfd.readouterr()
    assert told.err == ""
    assert told.out.splitlines()[-1] == str(study / "report" / "report.html")
    for title in (
        "Att-CRNN (log-mel)",
        "CNN baseline (log-mel)",
        "HOG + linear SVM",
        "MFCC + DNN",
    ):
        assert title in told.out
    page = (study / "report" / "report.html").read_text(encoding="utf-8")
    assert "2 stratified folds by group, dealt with seed 1" in page
    assert all(scene in page for scene in SCENES)
    assert "98.53" not in page, "published numbers belong to LITIS only"
    assert {p.name for p in (study / "report").iterdir()} == {"report.html", "tables.md", "csv", "figures"}
    assert run("report", study, "--tables", "--fuse", "both=hog,mfcc-dnn", "--main", "cnn-mel/softmax") == 0
    assert "| both | mixed |" in capfd.readouterr().out


def test_a_rerun_does_nothing_and_says_so(study: Path, manifest: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ("--systems", "hog", "--splits", "folds=2,seed=1")
    assert run("experiment", manifest, "--out", study, *words, *SMALL) == 0
    told = capfd.readouterr()
    assert told.out.splitlines() == [
        "2 trainings, 2 of them already finished; 1 thread each",
        f"{study}: 2 of 2 trainings have a result; tables and a page: soundscene report {study}",
    ]
    assert told.err.startswith("note: the manifest has no column 'group'")


@pytest.mark.slow
def test_ablations_are_systems_of_a_report(manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ("--systems", "att-crnn-mel", "--ablate", "att-crnn-mel", "--splits", "folds=2,seed=1")
    assert run("experiment", manifest, "--out", tmp_path / "run", *words, *SMALL) == 0
    assert "12 of 12 trainings have a result" in capfd.readouterr().out
    assert run("report", tmp_path / "run", "--tables") == 0
    assert "no between-class training" in capfd.readouterr().out


@pytest.mark.slow
def test_equal_runs_give_equal_reports_but_for_their_cost(study: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert run("report", study, "--out", tmp_path / name) == 0
    one, two = ({p.relative_to(r): p.read_bytes() for p in r.rglob("*.*")} for r in (tmp_path / "one", tmp_path / "two"))
    assert one == two


def test_an_unfinished_run_reports_what_it_has(
    study: Path, manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(study, out)
    (out / "results" / "hog__fold_2__seed0.safetensors").unlink()
    assert run("report", out) == 0
    assert "note: 1 of 8 trainings have no result yet; the page lists them" in capfd.readouterr().err
    assert "hog on fold 2, seed 0" in (out / "report" / "report.html").read_text(encoding="utf-8")
    shutil.rmtree(out / "results")
    assert run("report", out) == 2
    assert "none of its 8 trainings has a result yet" in capfd.readouterr().err


def test_a_failure_is_reported_and_exits_with_3(manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    systems = "cnn-mel:training.learning_rate=1e30,cnn-mel"
    assert run("experiment", manifest, "--out", tmp_path / "r", "--systems", systems, "--splits", "folds=2", *SMALL) == 3
    told = capfd.readouterr()
    assert f"{tmp_path / 'r'}: 2 of 4 trainings have a result" in told.out
    assert len(re.findall(r"^soundscene: cnn-mel\+training.learning_rate=1e30__fold_[12]__seed0: ", told.err, re.M)) == 2


@pytest.mark.slow
def test_litis_is_one_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A rendered tree of the same shape, 3 recordings a scene, with two of the user's split files."""
    folder = write_litis(tmp_path / "litis", 3, 2.2)
    names = sorted(p.name for p in folder.rglob("*.wav"))
    for number in (1, 2):
        chosen = [name for name in names if re.search(rf"{number}\.wav$", name)]
        (tmp_path / "splits").mkdir(exist_ok=True)
        text(tmp_path / "splits" / f"split{number:02d}_test.txt", "\n".join(chosen) + "\n")
    words = ("--split-files", tmp_path / "splits", "--systems", "cnn-mel")
    assert run("experiment", "--litis", folder, "--out", tmp_path / "run", *words, *SMALL) == 0
    told = capfd.readouterr()
    assert told.err.startswith("note: --litis is deprecated and leaves in 0.3; write a manifest by `soundscene scan FOLDER")
    assert (
        "57 recordings of 19 scenes; LITIS Rouen has 3026 of 19, so results are not comparable with published ones"
        in told.err
    )
    plan = Plan.read(tmp_path / "run")
    results, missing = RunFolder(tmp_path / "run").read_results(plan)
    assert (len(results), missing, plan.litis) == (2, [], False)
    assert len(results[0].scenes) == 19
    assert plan.text.startswith("2 splits read from")
    assert run("report", tmp_path / "run") == 0


@pytest.mark.parametrize(("n_recordings", "preset"), [(57, "default"), (58, "small")])
def test_an_experiment_on_litis_starts_from_the_default_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], n_recordings: int, preset: str
) -> None:
    def chosen(run: Path, name: str | None, settings: list[str], default: str) -> None:
        raise SceneError(f"starts from {default}")

    monkeypatch.setattr("soundscene.data.litis.N_RECORDINGS", n_recordings)
    monkeypatch.setattr("soundscene.experiment.request.choose_recipe", chosen)
    assert run("scan", write_litis(tmp_path / "litis", 3, 2.2), "--layout", "litis", "--out", tmp_path / "litis.csv") == 0
    assert run("experiment", tmp_path / "litis.csv", "--splits", "columns=split*", "--out", tmp_path / "run") == 2
    assert capfd.readouterr().err.splitlines()[-1] == f"soundscene: starts from {preset}"


def test_litis_is_a_layout_of_scan(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_litis(tmp_path / "litis", 3, 2.2)
    assert run("scan", folder, "--layout", "litis", "--out", tmp_path / "litis.csv") == 0
    told = capfd.readouterr()
    assert told.out.splitlines()[-1] == f"{tmp_path / 'litis.csv'}: 57 recordings of 19 scenes"
    assert "note: 20 " in told.err
    recordings = Manifest.read(tmp_path / "litis.csv").recordings
    assert {r.columns["split01"] for r in recordings} == {r.columns["split20"] for r in recordings} == {"train", "test"}
    assert run("scan", folder, "--split-files", folder, "--out", tmp_path / "m.csv") == 2
    assert "--split-files is for --layout litis" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give a manifest"),
        (("MANIFEST", "--litis", "x"), "--litis takes no manifest; leave one of them out"),
        (("nothing.csv",), "nothing.csv: "),
        (("MANIFEST", "--systems", "att-crn-mel"), "system 'att-crn-mel': allowed are att-crnn-mel"),
        (("MANIFEST", "--splits", "by"), "there are path, scene, group, fold"),
        (("MANIFEST", "--splits", "fold=1"), "splits 'fold=1': allowed are by=COLUMN, columns=NAME,NAME, folds=N["),
        (("MANIFEST", "--splits", "folds=x"), "splits 'folds=x': allowed are"),
        (("MANIFEST", "--splits", "random=2,test=0.1"), "splits 'random=2,test=0.1': allowed are"),
        (("MANIFEST", "--splits", "by=scene"), "all rows of a scene have the same scene"),
        (("MANIFEST", "--seeds", "1,a"), "seeds '1,a': expected whole numbers from 0, comma-separated, such as 0,1,2"),
        (("MANIFEST", "--seeds", "-1"), "seeds '-1': expected whole numbers from 0"),
        (("MANIFEST", "--set", "training.epoch=3"), "unknown recipe key 'training.epoch'"),
        (("MANIFEST", "--ablate", "hogs"), "system 'hogs': allowed are"),
        (("--litis", "nowhere.zip"), "nowhere.zip: does not exist; expected the zip of LITIS Rouen or its unpacked folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_is_refused(
    manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    given = [manifest if word == "MANIFEST" else word for word in words]
    assert run("experiment", *given, "--out", tmp_path / "run") == 2
    told = capfd.readouterr().err
    assert message in " ".join(told.split()), told
    assert "Traceback" not in told
    assert not (tmp_path / "run" / "plan.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--main", "att-crnn/svm"), "--main att-crnn/svm: allowed are att-crnn-mel/softmax"),
        (("--fuse", "x"), "--fuse 'x': expected NAME=SYSTEM,SYSTEM, such as both=att-crnn-mel,hog"),
        (("--fuse", "x=hog,cnn"), "--fuse x: no results of cnn; there are att-crnn-mel"),
    ],
)
def test_what_a_report_refuses(study: Path, capfd: pytest.CaptureFixture[str], words: tuple[str, ...], message: str) -> None:
    assert run("report", study, *words) == 2
    assert message in " ".join(capfd.readouterr().err.split())


def test_a_report_on_something_else_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("report", tmp_path) == 2
    assert "holds no experiment (No such file or directory: plan.json); `soundscene experiment" in capfd.readouterr().err
