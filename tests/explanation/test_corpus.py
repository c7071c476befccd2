"""Averages over a corpus: against the plain ones, whatever the order and the size of the batches."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from soundscene.data.corpus import read_corpus
from soundscene.data.manifest import Manifest
from soundscene.errors import ManifestError
from soundscene.explanation.attention import attention
from soundscene.explanation.attribution import attribute
from soundscene.explanation.corpus import _Sums, average, effective_share
from tests.support.tiny import RATE, SCENES, TINY, blank_bundle, only, recording, text, write


def test_averages_are_those_of_all_segments_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soundscene.explanation.corpus.BATCH", 2)
    rows = ["path,scene,fold"]
    for number, (scene, seconds) in enumerate([("rain", 2.2), ("office", 6.4), ("rain", 10.1), ("rain", 4.0)]):
        samples = recording(scene, seconds, number).copy()
        if number == 2:
            samples[4 * RATE : 6 * RATE] = 0
        write(tmp_path / f"{number}.wav", samples)
        rows.append(f"{number}.wav,{scene},{number % 2}")
    manifest = text(tmp_path / "m.csv", "\n".join(rows))
    bundle, seen = blank_bundle(), []
    office, rain = average(bundle, manifest, most=100, progress=lambda done, n: seen.append((done, n)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    corpus = read_corpus(Manifest.read(manifest).recordings, TINY)
    for means, n_recordings in ((office, 1), (rain, 3)):
        of = np.array([corpus.recordings[i].scene == means.scene for i in corpus.recording]) & corpus.voting
        images = corpus.features[of]
        assert (means.recordings, means.segments) == (n_recordings, int(of.sum()))
        spatial, temporal = attention(only(bundle), images)
        assert means.temporal is not None
        assert means.spatial is not None
        assert means.effective_share is not None
        np.testing.assert_allclose(means.temporal.mean, temporal.mean(axis=0) * 80, rtol=1e-5)
        np.testing.assert_allclose(means.temporal.deviation, temporal.std(axis=0) * 80, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(means.spatial.mean, spatial.mean(axis=0) * 8, rtol=1e-5)
        assert means.temporal.mean.mean() == pytest.approx(1, abs=1e-5)  # each segment's weights sum to one
        np.testing.assert_allclose(means.effective_share.mean, effective_share(temporal).mean(), rtol=1e-6)
        found = attribute(only(bundle), images, SCENES.index(means.scene), "svm")
        np.testing.assert_allclose(means.by_band.mean, found.values.sum(axis=3).mean(axis=0), atol=2e-5)
        np.testing.assert_allclose(means.by_band.deviation, found.values.sum(axis=3).std(axis=0), atol=2e-5)
        np.testing.assert_allclose(means.gained.mean, found.gained.mean(), atol=1e-5)
        assert means.error == pytest.approx(np.abs(found.error).max(), abs=1e-5)


def test_few_segments_of_each_recording_are_attributed_the_same_ones_every_time(tmp_path: Path) -> None:
    write(tmp_path / "0.wav", recording("rain", 20.0, 0))
    manifest = text(tmp_path / "m.csv", "path,scene,part\n0.wav,rain,a\n")
    first, again = (average(blank_bundle(), manifest, most=3)[0] for _ in range(2))
    assert (first.segments, first.by_band.n) == (10, 3)
    np.testing.assert_array_equal(first.by_band.mean, again.by_band.mean)


def test_rows_chosen_and_the_baseline(manifest: Path) -> None:
    means = average(blank_bundle(TINY.with_settings(["network.kind=cnn"])), manifest, test="fold=1", most=1)
    assert [(m.scene, m.recordings) for m in means] == [(scene, 1) for scene in SCENES]
    assert all(m.temporal is m.spatial is m.effective_share is None for m in means)


def test_broken_recordings_are_all_named_and_unknown_scenes_refused(manifest: Path, tmp_path: Path) -> None:
    shutil.copytree(manifest.parent, tmp_path / "c")
    for name in ("office/1.wav", "rain/4.wav"):
        (tmp_path / "c" / name).write_bytes(b"RIFF not a sound")
    with pytest.raises(ManifestError) as refusal:
        average(blank_bundle(), tmp_path / "c" / "manifest.csv", most=1)
    assert str(refusal.value).startswith("2 of 15 recordings cannot be used; repair them or remove their rows: line 8: ")
    assert "office/1.wav" in str(refusal.value)
    assert "rain/4.wav" in str(refusal.value)
    with pytest.raises(ManifestError, match=r"line 2: scene 'night_crickets' is not one of the model's \(office, rain\)"):
        average(blank_bundle(scenes=("office", "rain")), manifest)


def test_nothing_but_silence_is_refused(tmp_path: Path) -> None:
    samples = np.zeros(round(2.5 * RATE), np.float32)
    samples[-100:] = 0.1  # too late for any segment
    write(tmp_path / "0.wav", samples)
    with pytest.raises(ManifestError, match="nothing to explain: every segment of every recording is digital silence"):
        average(blank_bundle(), text(tmp_path / "m.csv", "path,scene\n0.wav,rain\n"))


def test_running_sums_lose_no_digits_to_a_large_mean() -> None:
    values = np.random.default_rng(0).normal(1e6, 1e-2, (1000, 3))
    sums = _Sums()
    for piece in np.split(values, [1, 5, 5, 400]):
        sums.add(piece)
    found = sums.spread()
    assert found.n == 1000
    np.testing.assert_allclose(found.mean, values.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(found.deviation, values.std(axis=0), rtol=1e-6)


def test_effective_share_of_frames() -> None:
    one = np.zeros((1, 80))
    one[0, 3] = 1
    half = np.zeros((1, 80))
    half[0, :40] = 1 / 40
    np.testing.assert_allclose(effective_share(np.concatenate([one, half, np.full((1, 80), 1 / 80)])), [1 / 80, 0.5, 1])
