"""The picture of the attention, and the vectors it is drawn from."""

import os
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch

from soundscene import bundle as bundle_module
from soundscene.errors import AudioError, BundleError
from soundscene.explain import attention, attention_picture
from soundscene.network.models import AttCRNN
from soundscene.signal.frontend import FrontEnd
from tests.tiny import RATE, TINY, blank_bundle, recording, write

IMAGES = np.random.default_rng(0).normal(-6, 3, (5, 2, 64, 80)).astype(np.float32)


def test_attention_vectors_are_distributions_of_the_networks_own() -> None:
    bundle = blank_bundle()
    spatial, temporal = attention(bundle, IMAGES)
    assert (spatial.shape, temporal.shape) == ((5, 8), (5, 80))  # 2H recurrent features, T frames
    for vectors in (spatial, temporal):
        assert (vectors > 0).all()
        np.testing.assert_allclose(vectors.sum(axis=1), 1, rtol=1e-5)
        assert vectors.std(axis=1).min() > 0
    network = bundle.network
    assert isinstance(network, AttCRNN)
    # equations (8) and (9), scaled to keep the mean, give the embedding: so these are the vectors that decide
    with torch.inference_mode():
        z = network.recur(network.standardise(torch.from_numpy(IMAGES))).numpy()
    mask = temporal[:, :, None] * spatial[:, None, :]
    np.testing.assert_allclose(np.tanh(mask * 80 * 8 * z).mean(axis=1), bundle.embed(IMAGES), atol=1e-5)


def test_a_long_recording_is_looked_at_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, seen = blank_bundle(), []
    assert isinstance(bundle.network, AttCRNN)
    attend = bundle.network.attend

    def spied(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(len(images))
        return attend(images)

    monkeypatch.setattr(bundle.network, "attend", spied)
    many = np.concatenate([IMAGES] * 14)
    assert attention(bundle, many)[1].shape == (70, 80)
    assert seen == [bundle_module.BATCH, 70 - bundle_module.BATCH]


def test_the_baseline_has_no_attention_to_show() -> None:
    with pytest.raises(BundleError) as refusal:
        attention(blank_bundle(TINY.with_settings(["network.kind=cnn"])), IMAGES)
    assert str(refusal.value) == ("this model is the CNN baseline, which pools by its maximum and has no attention to show")


@pytest.mark.parametrize("kind", ["mel", "gammatone"])
def test_a_picture_is_a_png_of_the_segment_that_attention_is_choosiest_in(tmp_path: Path, kind: str) -> None:
    bundle = blank_bundle(TINY.with_settings([f"features.kind={kind}"]))
    assert isinstance(bundle.network, AttCRNN)
    for parameter in bundle.network.attention.temporal.parameters():
        parameter.data.mul_(30)  # untrained attention is uniform, and every segment a tie
    samples = recording("rain", 6.2, 0).copy()
    samples[4 * RATE : 6 * RATE] = 0
    sound = write(tmp_path / "costs $5_$x.wav", samples)  # no formula
    out = tmp_path / "a.png"
    drawn = attention_picture(bundle, sound, out)
    data = out.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data[-12:] == b"\0\0\0\0IEND\xaeB`\x82"
    assert len(data) > 20_000
    assert int.from_bytes(data[16:20]) == int.from_bytes(data[20:24]) == 1100  # pixels
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", sound.name]
    images = FrontEnd(bundle.recipe.audio, bundle.recipe.features)(
        np.round(samples * 32768).astype(np.float32) / 32768
    ).images
    temporal = attention(bundle, images)[1].astype(np.float64)
    entropy = -(temporal * np.log(temporal + 1e-300)).sum(axis=1)
    assert abs(entropy[0] - entropy[1]) > 1e-3
    assert drawn == int(np.argmin(entropy[:2]))  # the third is digital silence


def test_a_segment_that_is_not_there_is_refused(tmp_path: Path) -> None:
    sound = write(tmp_path / "a.wav", recording("rain", 4.2, 0))
    with pytest.raises(AudioError) as refusal:
        attention_picture(blank_bundle(), sound, tmp_path / "a.png", 2)
    assert str(refusal.value) == f"{sound}: segment 2, allowed are 0 to 1"
    assert not (tmp_path / "a.png").exists()


def test_a_failure_in_the_middle_leaves_no_half_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    sound = write(tmp_path / "a.wav", recording("rain", 2.2, 0))
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        attention_picture(blank_bundle(), sound, tmp_path / "a.png", 0)
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]
