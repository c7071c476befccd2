"""`benchmarks/robust.py`: shifts do what their names say, and losses, intervals and calibration come from paired rows."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import robust, robust_shifts
from benchmarks.robust_shifts import SHIFTS, Sound
from soundscene.bundle import load_model
from soundscene.data.manifest import Manifest
from soundscene.member import networks_of
from soundscene.types import Recording
from tests.support.tiny import SETTINGS, write_corpus
from tests.support.yamnet import small

RATE = 44100


def noise(seconds: float = 2.0, seed: int = 0) -> Sound:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32), RATE


def level_db(sound: Sound, low: float, high: float) -> float:
    """Power between two frequencies, in dB."""
    samples, rate = sound
    power = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / rate)
    return float(10 * np.log10(power[(hz >= low) & (hz < high)].mean() + 1e-12))


# --- shifts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decibels", [6.0, -6.0, 12.0])
def test_tilt_is_linear_in_log_frequency(decibels: float) -> None:
    sound = noise(4.0)
    tilted = robust_shifts.tilt(decibels, sound)
    change = [level_db(tilted, 0.95 * hz, 1.05 * hz) - level_db(sound, 0.95 * hz, 1.05 * hz) for hz in (100, 1000, 10_000)]
    assert np.allclose(change, [-decibels / 2, 0, decibels / 2], atol=0.3)


def test_tilt_leaves_digital_silence_silent() -> None:
    samples, rate = noise()
    samples[20_000:] = 0
    assert not robust_shifts.tilt(6, (samples, rate))[0][30_000:].any()


def test_a_share_of_the_samples_is_clipped() -> None:
    whole, rate = noise()
    whole[: 9 * len(whole) // 10] = 0  # digital silence is no sample to clip
    samples, _ = robust_shifts.clip(0.1, (whole, rate))
    samples = samples[samples != 0]
    assert np.mean(np.abs(samples) == np.abs(samples).max()) == pytest.approx(0.1, abs=0.001)


def test_noise_has_the_level_asked_for_and_is_the_same_again() -> None:
    sound = noise()
    noisy, again = (robust_shifts.noise(10, sound, 7)[0] for _ in range(2))
    ratio = robust_shifts.rms(sound[0]) / robust_shifts.rms(noisy - sound[0])
    assert 20 * np.log10(ratio) == pytest.approx(10, abs=0.1)
    assert np.array_equal(noisy, again)


@pytest.mark.parametrize(("name", "rate", "edge"), [("16 kHz", 16000, 7900), ("8 kHz", 8000, 3900)])
def test_rates(name: str, rate: int, edge: float) -> None:
    low = SHIFTS[name].change(noise(), 0)
    assert low[1] == rate
    back = robust_shifts.at_rate(RATE, low)
    assert level_db(back, edge + 200, 20_000) < level_db(back, 100, edge - 1000) - 60


@pytest.mark.parametrize(("name", "rate", "edge"), [("MP3 32 kbit/s", 44100, 12_000), ("Opus 24 kbit/s", 48000, 20_500)])
def test_codecs_cut_the_top_and_keep_the_level(name: str, rate: int, edge: float) -> None:
    pytest.importorskip("av")
    sound = noise()
    found = SHIFTS[name].change(sound, 0)
    assert found[1] == rate
    assert len(found[0]) / rate == pytest.approx(2, abs=0.05)
    assert level_db(found, edge, 21_000) < level_db(found, 200, 3000) - 40
    assert level_db(found, 200, 3000) - level_db(robust_shifts.at_rate(rate, sound), 200, 3000) == pytest.approx(0, abs=3)


def test_the_issue_names_six_of_the_shifts() -> None:
    assert [s.target for s in SHIFTS.values() if s.target is not None] == [3, 5, 2, 3, 3, 3]


# --- splits and figures -----------------------------------------------------------------------------------------------


def test_leaving_one_source_out_drops_scenes_that_only_it_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("a", "x"), ("b", "x"), ("a", "y"), ("b", "y"), ("c", "y")]
    recordings = tuple(
        Recording(tmp_path / f"{i}.wav", scene, str(i), columns={"source": source}) for i, (scene, source) in enumerate(rows)
    )
    parts = dict(robust.splits(Manifest(tmp_path / "m.csv", recordings), "by=source", 0))
    assert {name: len(split.test) for name, split in parts.items()} == {"source=x": 2, "source=y": 2}
    assert "no training recording of c" in capsys.readouterr().out


def test_calibration_of_a_perfect_model_has_no_excess() -> None:
    draws = np.random.default_rng(0)
    top = draws.uniform(0.5, 1, 400)
    posterior = np.log(np.column_stack([top, 1 - top]))
    truth = (draws.random(400) > top).astype(np.int64)
    error, excess = robust.excess_calibration_error(posterior, truth)
    assert error > 0.02
    assert abs(excess) < 0.02
    assert robust.excess_calibration_error(posterior, np.zeros(400, np.int64))[1] > 0.15


def test_losses_are_paired() -> None:
    def pooled(right: list[int]) -> robust.Pooled:
        posterior = np.log(np.where(np.eye(2, dtype=bool)[[0 if r else 1 for r in right]], 0.9, 0.1))
        return robust.Pooled(posterior, np.zeros(len(right), np.int64), list("aabbcc"), list("uvwxyz"))

    figures = robust.row(pooled([1, 1, 1, 1, 0, 0]), pooled([1, 0, 1, 0, 1, 0]))
    assert figures["points_lost"] == pytest.approx([100 / 6, -50, 50])
    assert figures["accuracy"] == 0.5


# --- whole ------------------------------------------------------------------------------------------------------------


@pytest.mark.budget(20)
def test_run_and_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_corpus(tmp_path / "corpus", n_per_scene=4)

    def command(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["robust.py", *words])
        assert robust.main() == 0
        return capsys.readouterr().out

    def run(folder: str, *more: str) -> str:
        settings = [word for setting in SETTINGS for word in ("--set", setting)]
        cache = ["--cache", str(tmp_path / "cache"), "--model-folder", str(tmp_path / folder), "--folds", "2"]
        return command("run", str(manifest), *cache, "--shifts", "16 kHz,-20 dB", *settings, *more)

    first = run("one")
    assert "| 16 kHz |" in first
    models = {path.name: path.read_bytes() for path in (tmp_path / "one").glob("*.safetensors")}
    assert len(models) == 2
    found = json.loads((tmp_path / "one" / "robust.json").read_text())
    assert found["figures"]["svm"]["-20 dB"]["recordings"] == 6
    assert run("one").splitlines() == first.splitlines()[2:]  # nothing is trained or predicted again
    assert models == {path.name: path.read_bytes() for path in (tmp_path / "one").glob("*.safetensors")}
    run("two", "--set", "training.seed=1")
    assert "| -20 dB |" in command("compare", str(tmp_path / "one"), str(tmp_path / "two"))
    pair = run("pair", "--systems", "att-crnn-mel,cnn-gammatone@1", "--folds", "1", "--shifts", "-20 dB")
    assert "systems att-crnn-mel,cnn-gammatone@1, recipe small" in pair
    (model,) = (load_model(path) for path in (tmp_path / "pair").glob("*.safetensors"))
    assert [(m.name, m.recipe.features.kind, m.recipe.training.seed) for m in networks_of(model.members)] == [
        ("att-crnn-mel", "mel", 0),
        ("cnn-gammatone@1", "gammatone", 1),
    ]
    small().save(tmp_path / "backbone.safetensors")
    alone = run("alone", "--systems", "yamnet", "--backbone", str(tmp_path / "backbone.safetensors"), "--shifts", "-20 dB")
    assert [line for line in alone.splitlines() if line.startswith("###")] == [
        "### softmax, 6 recordings",
        "### svm, 6 recordings",
    ]
    monkeypatch.setattr(
        sys,
        "argv",
        ["robust.py", "run", str(manifest), "--cache", str(tmp_path / "cache"), "--model-folder", str(tmp_path / "one")],
    )
    assert robust.main() == 2  # another recipe: the models there are not its
    assert "use another --model-folder" in capsys.readouterr().err


def test_a_shift_that_is_unknown_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_corpus(tmp_path / "corpus", n_per_scene=2)
    words = ["run", str(manifest), "--cache", str(tmp_path / "cache"), "--model-folder", str(tmp_path), "--shifts", "9 kHz"]
    monkeypatch.setattr(sys, "argv", ["robust.py", *words])
    assert robust.main() == 2
    assert "'9 kHz': there are 16 kHz" in capsys.readouterr().err
