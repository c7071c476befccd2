"""The numbers of one recording: what they must agree with."""

from pathlib import Path

import numpy as np
import pytest
import torch

from soundscene.audio.files import AudioFile
from soundscene.errors import AudioError, AudioWarning, BundleError
from soundscene.explanation.attention import attention
from soundscene.explanation.attribution import attribute
from soundscene.explanation.recording import analyse_recording
from soundscene.explanation.recording_figure import recording_figure, time_axis
from soundscene.member import NetworkMember
from soundscene.prediction import ScenePrediction
from soundscene.predictor import Predictor
from soundscene.signal.frontend import FrontEnd
from tests.support.tiny import RATE, TINY, blank_bundle, only, recording, write

HOP_S = TINY.features.hop / RATE


def gapped(folder: Path, seconds: float = 9.2) -> Path:
    """A recording whose second segment is digital silence."""
    samples = recording("rain", seconds, 0).copy()
    samples[2 * RATE : 4 * RATE] = 0
    return write(folder / "a.wav", samples)


@pytest.mark.parametrize("head", ["svm", "softmax"])
def test_the_last_prediction_is_that_of_predict_and_every_other_what_it_would_have_been(tmp_path: Path, head: str) -> None:
    bundle, sound = blank_bundle(), gapped(tmp_path)
    view = analyse_recording(bundle, sound, head=head, most=2)  # type: ignore[arg-type]
    with pytest.warns(AudioWarning, match="did not vote"):
        prediction = Predictor(bundle, head).predict(sound)  # type: ignore[arg-type]
    assert isinstance(prediction, ScenePrediction)
    np.testing.assert_allclose(view.fused[-1], prediction.posterior, atol=1e-6)
    np.testing.assert_allclose(view.start_s, [0, 2, 4, 6, 7.2], atol=1e-9)
    assert view.silent.tolist() == [False, True, False, False, False]
    assert np.isnan(view.posterior[1]).all()
    np.testing.assert_allclose(view.posterior[~view.silent], [s.posterior for s in prediction.segments], atol=1e-6)
    np.testing.assert_allclose(view.vote_end_s, [2, 6, 8, 9.2], atol=1e-9)
    assert view.scenes[view.predicted] == prediction.scene
    # by hand: the product of what has voted so far, to the power of one over the temperature
    for k in range(1, 5):
        power = np.prod(view.posterior[~view.silent][:k], axis=0) ** (1 / bundle.temperature[head])
        np.testing.assert_allclose(view.fused[k - 1], power / power.sum(), rtol=1e-6)


def test_the_part_drawn_is_the_segments_it_says(tmp_path: Path) -> None:
    bundle, sound = blank_bundle(), gapped(tmp_path)
    images = FrontEnd(bundle.audio, only(bundle).recipe.features)(np.concatenate(list(_blocks(sound)))).images
    view = analyse_recording(bundle, sound, from_s=5.0, most=2, scene="office")
    part = view.part
    assert (view.drawn, view.scenes[view.attributed]) == (slice(2, 4), "office")
    np.testing.assert_array_equal(part.images, images[2:4])
    spatial, temporal = attention(only(bundle), images[2:4])
    assert part.spatial is not None
    assert part.temporal is not None
    np.testing.assert_allclose(part.spatial, spatial, atol=1e-6)
    np.testing.assert_allclose(part.temporal, temporal, atol=1e-6)
    np.testing.assert_array_equal(part.attribution.values, attribute(only(bundle), images[2:4], 1, "svm").values)
    whole = np.concatenate(list(_blocks(sound)))
    first = round(part.samples_from_s * RATE)
    np.testing.assert_array_equal(part.samples, whole[first : 8 * RATE])
    assert part.samples_from_s <= 4
    last = analyse_recording(bundle, sound, from_s=9.0)
    assert last.drawn == slice(4, 5)  # begins at 7.2 s
    assert last.part.samples_from_s <= 7.2


def test_time_axis_has_each_moment_once_and_frames_where_they_are(tmp_path: Path) -> None:
    bundle = blank_bundle()
    view = analyse_recording(bundle, gapped(tmp_path))
    time = time_axis(view, HOP_S)
    assert (np.diff(time.edges_s) > 0).all()
    assert time.overlaps
    assert time.edges_s[[0, -1]].tolist() == pytest.approx([0, 9.2])
    np.testing.assert_allclose(time.edges_s[:-1], view.start_s[time.segment] + time.frame * HOP_S)
    assert np.diff(time.edges_s).max() < 1.6 * HOP_S
    counts = np.bincount(time.segment)
    assert counts[:4].tolist() == [80] * 4
    assert counts[4] == pytest.approx(1.2 / HOP_S, abs=1)  # 8 s to 9.2 s are new
    values = np.arange(5 * 3 * 80, dtype=np.float64).reshape(5, 3, 80)
    np.testing.assert_array_equal(time.columns(values)[:, 85], values[1, :, 5])


def test_attention_of_an_overlapping_last_segment_is_dashed(tmp_path: Path) -> None:
    view = analyse_recording(blank_bundle(), write(tmp_path / "a.wav", recording("rain", 3.1, 0)))
    centres_hz = np.geomspace(60, 10_000, view.part.images.shape[2])
    figure = recording_figure(view, centres_hz, "mel", RATE, TINY.features.hop, (True, True))
    axis = next(axis for axis in figure.axes if "temporal attention" in axis.get_title("left"))
    assert [line.get_linestyle() for line in axis.lines[:2]] == ["-", "--"]


def test_images_of_a_long_recording_are_not_kept_and_it_is_embedded_in_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soundscene.explanation.recording.BATCH", 4)
    sizes = []
    embed = NetworkMember.embed

    def spied(self: NetworkMember, images: np.ndarray) -> np.ndarray:
        sizes.append(len(images))
        return embed(self, images)

    monkeypatch.setattr(NetworkMember, "embed", spied)
    view = analyse_recording(blank_bundle(), write(tmp_path / "a.wav", recording("rain", 40.0, 0)), most=3)
    assert len(view.start_s) == 20
    assert len(view.part.images) == len(view.part.attribution.values) == 3
    assert len(view.part.samples) == 6 * RATE
    assert sum(sizes) == 20
    assert max(sizes) < 8


def test_the_baseline_has_everything_but_attention(tmp_path: Path) -> None:
    view = analyse_recording(blank_bundle(TINY.with_settings(["network.kind=cnn"])), gapped(tmp_path), most=1)
    assert view.part.spatial is None
    assert view.part.temporal is None
    assert np.abs(view.part.attribution.values).max() > 0


def test_what_cannot_be_explained_is_one_line(tmp_path: Path) -> None:
    bundle, sound = blank_bundle(), gapped(tmp_path)
    with pytest.raises(AudioError) as late:
        analyse_recording(bundle, sound, from_s=9.3)
    assert str(late.value) == f"{sound}: nothing to draw from 9.3 s on, its last segment ends at 9.2 s"
    with pytest.raises(BundleError, match=r"^this model has no scene 'rian'; did you mean 'rain'\?$"):
        analyse_recording(bundle, sound, scene="rian")
    with pytest.raises(BundleError, match=r"^this model has no scene 'moon'; it has night_crickets, office, rain$"):
        analyse_recording(bundle, sound, scene="moon")
    samples = np.zeros(round(2.5 * RATE), np.float32)
    samples[-100:] = 0.1  # too late for any segment
    with pytest.raises(AudioError, match="every segment is digital silence"):
        analyse_recording(bundle, write(tmp_path / "b.wav", samples))
    with pytest.raises(ValueError, match="0 segments"):
        analyse_recording(bundle, sound, most=0)
    assert torch.is_grad_enabled()


def _blocks(sound: Path) -> list[np.ndarray]:
    return list(AudioFile(sound, TINY.audio).blocks())
