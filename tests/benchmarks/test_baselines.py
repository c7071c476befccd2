"""The two baselines, on sounds whose scene is known."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from benchmarks import baselines
from soundscene.data.manifest import Manifest
from soundscene.errors import ManifestError

RATE = 22050


def write_corpus(folder: Path, scenes: dict[str, list[np.ndarray]]) -> Manifest:
    lines = ["path,scene,group,fold"]
    for scene, sounds in scenes.items():
        for number, samples in enumerate(sounds):
            name = f"{scene}{number}.wav"
            wavfile.write(folder / name, RATE, np.round(samples * 20000).astype(np.int16))
            lines.append(f"{name},{scene},{name},{1 + number % 2}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return Manifest.read(folder / "manifest.csv")


def tone(hz: float, seed: int) -> np.ndarray:
    noise = 0.01 * np.random.default_rng(seed).standard_normal(2 * RATE)
    return 0.3 * np.sin(2 * np.pi * hz * np.arange(2 * RATE) / RATE) + noise


def pulsed(steady: bool, seed: int) -> np.ndarray:
    """White noise of one average log spectrum: steady, or switching between +10 and -10 dB every 0.25 s."""
    noise = 0.05 * np.random.default_rng(seed).standard_normal(2 * RATE)
    switch = np.where(np.arange(2 * RATE) // (RATE // 4) % 2, 10.0, -10.0)
    return noise if steady else noise * 10 ** (switch / 20)


def accuracy(name: str, manifest: Manifest) -> float:
    return float(np.mean(list(baselines.accuracies(manifest, "fold")[name].values())))


def test_both_baselines_use_the_spectrum(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path, {f"tone{hz}": [tone(hz, hz + i) for i in range(4)] for hz in (300, 1000, 3000)})
    assert accuracy("nearest-mean", manifest) == 1.0
    assert accuracy("band-statistics", manifest) == 1.0


def test_only_band_statistics_use_modulation(tmp_path: Path) -> None:
    sounds = {name: [pulsed(name == "steady", 10 * i + len(name)) for i in range(8)] for name in ("steady", "pulsed")}
    for scene in sounds.values():  # random level, as everywhere: hides what is left of a difference in the mean
        for i, samples in enumerate(scene):
            samples *= 10 ** (((i // 2 * 7) % 4 - 3) / 4)
    manifest = write_corpus(tmp_path, sounds)
    assert accuracy("band-statistics", manifest) == 1.0
    assert accuracy("nearest-mean", manifest) <= 0.75


def test_predictions_are_in_the_order_of_the_test_recordings(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path, {"low": [tone(300, i) for i in range(2)], "high": [tone(3000, i) for i in range(2)]})
    split = manifest.split("fold", "2")
    predictions = baselines.predict_baseline("nearest-mean", split.train, split.test[::-1])
    assert predictions.tolist() == [recording.scene for recording in split.test[::-1]] == ["high", "low"]


def test_files_are_decoded_once_and_again_when_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_corpus(tmp_path, {"low": [tone(300, i) for i in range(2)], "high": [tone(3000, i) for i in range(2)]})
    decoded: list[Path] = []
    original = baselines.read_samples
    monkeypatch.setattr(baselines, "read_samples", lambda path, audio: decoded.append(path) or original(path, audio))
    baselines.accuracies(manifest, "fold")
    assert len(decoded) == 4
    wavfile.write(tmp_path / "low0.wav", RATE, np.round(tone(500, 9) * 20000).astype(np.int16))
    baselines.accuracies(manifest, "fold")
    assert len(decoded) == 5


def test_an_unknown_baseline_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no baseline 'ear'; there are nearest-mean, band-statistics"):
        baselines.predict_baseline("ear", [], [])


def test_command_prints_folds_and_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path, {"low": [tone(300, i) for i in range(2)], "high": [tone(3000, i) for i in range(2)]})
    monkeypatch.setattr(sys, "argv", ["baselines.py", str(tmp_path / "manifest.csv")])
    baselines.main()
    assert capsys.readouterr().out.splitlines()[0] == "nearest-mean     fold=1 1.000  fold=2 1.000  mean 1.000"
