"""Whatever a user does wrong is one line on stderr and exit code 2, and never a traceback."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import save

from soundscene.bundle import save_model
from tests.support.command_line import TINY_SET, run
from tests.support.tiny import blank_bundle, text
from tests.test_bundle import told


def damaged(model: Path, folder: Path) -> Path:
    path = folder / "damaged.safetensors"
    path.write_bytes(model.read_bytes()[:-100])
    return path


def foreign(folder: Path) -> Path:
    path = folder / "foreign.safetensors"
    path.write_bytes(save({}))
    return path


def newer(model: Path, folder: Path) -> Path:
    return told(Path(shutil.copy(model, folder / "newer.safetensors")), {"version": 3})


def two_scenes(folder: Path) -> Path:
    path = folder / "two.safetensors"
    save_model(blank_bundle(scenes=("office", "rain")), path)
    return path


Words = list[str | Path]
TRAIN: Words = ["--out", "m.safetensors", "--device", "cpu", *TINY_SET]
BROKEN: list[tuple[str, Callable[[Path, Path, Path], Words], str]] = [
    # name, words (manifest, model, an empty folder), message
    ("manifest missing", lambda c, m, t: ["train", t / "no.csv", *TRAIN], r".*/no\.csv: does not exist"),
    (
        "manifest a folder without sound",
        lambda c, m, t: ["train", t, *TRAIN],
        r".*: no subfolder contains audio files; expected one subfolder per scene",
    ),
    (
        "column missing",
        lambda c, m, t: ["train", text(t / "a.csv", "path,place\n"), *TRAIN],
        r".*/a\.csv, line 1: no column 'scene'; there are path, place; say which: --columns scene=NAME",
    ),
    (
        "no such file in the manifest",
        lambda c, m, t: ["train", text(t / "a.csv", "path,scene\n[/x].wav,bus\n"), *TRAIN],
        r".*/a\.csv, line 2: \[/x\]\.wav does not exist; paths are relative to .*",
    ),
    (
        "unknown key",
        lambda c, m, t: ["train", c, *TRAIN, "--set", "training.epoch=3"],
        r"unknown recipe key 'training\.epoch'; did you mean 'training\.epochs'\?",
    ),
    (
        "value out of range",
        lambda c, m, t: ["train", c, *TRAIN, "--set", "training.epochs=0"],
        r"recipe value training\.epochs: Expected `int` >= 1",
    ),
    (
        "value of another type",
        lambda c, m, t: ["train", c, *TRAIN, "--set", "training.epochs=many"],
        r"recipe value training\.epochs: Expected `int`, got `str`",
    ),
    (
        "values too large together",
        lambda c, m, t: ["train", c, *TRAIN, "--set", "network.hidden=4096"],
        r"the weights of the network: [\d,]+, allowed are 1 to 32,000,000; use a smaller network\.hidden or fewer .+",
    ),
    (
        "a number that no parser reads",
        lambda c, m, t: ["train", c, *TRAIN, "--set", f"training.seed={'9' * 5000}"],
        r"recipe value training\.seed: Expected `int`, got `str`",
    ),
    (
        "bands that no network can pool",
        lambda c, m, t: ["train", c, *TRAIN, "--set", "features.n_bands=100"],
        r"recipe value features\.n_bands: 100 is not a multiple of 64, which three poolings by 4 need \(Table 1\)",
    ),
    (
        "seeds beyond 64 bits",
        lambda c, m, t: ["experiment", c, "--out", t / "run", "--seeds", f"0,{2**63}"],
        r"seeds '0,9223372036854775808': expected whole numbers from 0, comma-separated, such as 0,1,2",
    ),
    (
        "setting without =",
        lambda c, m, t: ["train", c, *TRAIN, "--set", "epochs"],
        r"--set 'epochs': expected section\.key=value, for example training\.epochs=30",
    ),
    (
        "unknown recipe",
        lambda c, m, t: ["train", c, *TRAIN, "--recipe", "big"],
        r"recipe 'big': neither a preset \(paper, default, small\) nor a readable file \(No such file or directory\)",
    ),
    (
        "recipe no TOML",
        lambda c, m, t: ["train", c, *TRAIN, "--recipe", text(t / "r.toml", "epochs = = 3")],
        r"recipe .*/r\.toml: not valid TOML: .*",
    ),
    (
        "recipe with unknown section",
        lambda c, m, t: ["train", c, *TRAIN, "--recipe", text(t / "r.toml", "[trainings]\nepochs = 3")],
        r"recipe .*/r\.toml: unknown recipe key 'trainings'.*",
    ),
    (
        "--test without =",
        lambda c, m, t: ["train", c, *TRAIN, "--test", "fold"],
        r"test part 'fold': expected column=value, for example fold=1",
    ),
    (
        "--test of an unknown column",
        lambda c, m, t: ["train", c, *TRAIN, "--test", "folds=1"],
        r".*: no column 'folds'; there are path, scene, group, fold; did you mean 'fold'\?",
    ),
    (
        "--test of an unknown value",
        lambda c, m, t: ["train", c, *TRAIN, "--test", "fold=9"],
        r".*: no row has fold = '9'; there are 1 \(3\), 2 \(3\), 3 \(3\), 4 \(3\), 5 \(3\)",
    ),
    (
        "one scene",
        lambda c, m, t: ["train", text(c.parent / "one.csv", "path,scene\nrain/0.wav,rain\nrain/1.wav,rain\n"), *TRAIN],
        r"the training part holds 1 scene \(rain\); at least two are needed: .*",
    ),
    (
        "unknown device",
        lambda c, m, t: ["train", c, *TRAIN, "--device", "gpu"],
        r"device 'gpu': allowed are auto, cpu, cuda, mps",
    ),
    (
        "unknown precision",
        lambda c, m, t: ["train", c, *TRAIN, "--precision", "64"],
        r"precision '64': allowed are 32-true, bf16-mixed, 16-mixed",
    ),
    (
        "train into a folder",
        lambda c, m, t: ["train", c, "--out", t, *TINY_SET],
        r".*: is a folder; name the model's file.*",
    ),
    (
        "a hop that does not divide",
        lambda c, m, t: ["train", c, *TRAIN, "--set", "training.segment_hop_s=0.7"],
        r"recipe value training\.segment_hop_s: 0\.7 s are 15435 samples, which do not divide the 44100 of a segment.*",
    ),
    (
        "model missing",
        lambda c, m, t: ["predict", t / "n", c],
        r".*/n: no such file; make it by `soundscene train MANIFEST --out .*",
    ),
    ("model damaged", lambda c, m, t: ["predict", damaged(m, t), c], r".*: damaged or not a \.safetensors file \(.*"),
    ("model foreign", lambda c, m, t: ["info", foreign(t)], r".*: a \.safetensors file, but not a model of soundscene; .*"),
    ("model newer", lambda c, m, t: ["info", newer(m, t)], r".*: written in format 3, this soundscene reads up to 2; .*"),
    (
        "model a folder",
        lambda c, m, t: ["evaluate", t, c],
        r".*/empty: is a folder, expected .*, which .*: soundscene evaluate MODEL\.safetensors .*/manifest\.csv",
    ),
    (
        "model a CSV",
        lambda c, m, t: ["info", c],
        r".*: is a list of recordings, expected .*: soundscene info MODEL\.safetensors",
    ),
    (
        "no sound in the folder",
        lambda c, m, t: ["predict", m, t],
        r".*: no audio files in this folder; known suffixes are .*",
    ),
    (
        "evaluate on an unknown scene",
        lambda c, m, t: ["evaluate", two_scenes(t), c],
        r".*, line 2: scene 'night_crickets' is not one of the model's \(office, rain\)",
    ),
    (
        "evaluate on broken files",
        lambda c, m, t: ["evaluate", m, text(c.parent / "b.csv", "path,scene\nmanifest.csv,rain\nrain,rain\n")],
        r"2 of 2 recordings cannot .*: line 2: .*/manifest\.csv: is not an audio .*; line 3: .*/rain: is a directory.*",
    ),
    (
        "scan an empty folder",
        lambda c, m, t: ["scan", t, "--out", t / "m.csv"],
        r".*: no subfolder contains audio files; expected one subfolder per scene",
    ),
    (
        "scan a sound file",
        lambda c, m, t: ["scan", c.parent / "rain" / "0.wav", "--out", t / "m.csv"],
        r".*/0\.wav: is a file; expected a folder .*",
    ),
    (
        "demo on an empty folder",
        lambda c, m, t: ["demo", "--corpus", t, "--out", t / "o"],
        r".*: no subfolder contains audio.*",
    ),
    (
        "demo into a file",
        lambda c, m, t: ["demo", "--out", text(t / "f", "")],
        r".*/f: cannot be created \(File exists\); .*",
    ),
]


@pytest.fixture
def corpus(manifest: Path, tmp_path: Path) -> Path:
    """A corpus in which a test may put further manifests; the files themselves are links."""
    shutil.copytree(manifest.parent, tmp_path / "corpus", copy_function=os.link)
    return tmp_path / "corpus" / "manifest.csv"


@pytest.mark.parametrize(("words", "message"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_what_a_user_does_wrong_is_one_line(
    corpus: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: Callable[[Path, Path, Path], Words],
    message: str,
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(tmp_path)
    assert run(*words(corpus, model, empty)) == 2
    told = capfd.readouterr()
    assert told.out == ""
    assert re.fullmatch(f"soundscene: {message}\n", told.err), told.err
    assert not (tmp_path / "m.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict"], "Missing argument"),
        (["hear"], "No such command 'hear'"),
        (["train", "a.csv"], "Missing option '--out'"),
        (["train", "a.csv", "--out", "m", "--epoch", "3"], "No such option: --epoch"),
        (["train", "a.csv", "--out", "m", "--workers", "0"], "Invalid value for '--workers'"),
        (["predict", "m", "a.wav", "--head", "tail"], "'tail' is not one of"),
        (["predict", "m", "a.wav", "--json", "--format", "csv"], "--json is --format json and contradicts --format csv"),
        (["predict", "m", "a.wav", "--segments"], "--segments needs --format csv or json; the table has one row per file"),
    ],
)
def test_misuse_of_the_options_exits_with_2_and_points_to_the_help(
    capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run(*words) == 2
    told = capfd.readouterr()
    assert told.out == ""
    assert message in told.err
    assert "Usage: soundscene" in told.err
    assert "--help" in told.err
    assert "Traceback" not in told.err
