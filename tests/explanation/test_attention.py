"""The attention vectors: what they are, and that they line up with time."""

import numpy as np
import pytest
import torch

from soundscene.errors import BundleError
from soundscene.explanation.attention import attention, learnt
from soundscene.member import BATCH
from soundscene.network.models import AttCRNN
from soundscene.render.textures import unit_rms
from soundscene.signal.frontend import FrontEnd
from tests.support.tiny import RATE, TINY, blank_bundle, only

IMAGES = np.random.default_rng(0).normal(-6, 3, (5, 2, 64, 80)).astype(np.float32)
CNN = TINY.with_settings(["network.kind=cnn"])


def test_attention_vectors_are_distributions_of_the_networks_own() -> None:
    bundle = blank_bundle()
    spatial, temporal = attention(only(bundle), IMAGES)
    assert (spatial.shape, temporal.shape) == ((5, 8), (5, 80))  # 2H recurrent features, T frames
    for vectors in (spatial, temporal):
        assert (vectors > 0).all()
        np.testing.assert_allclose(vectors.sum(axis=1), 1, rtol=1e-5)
        assert vectors.std(axis=1).min() > 0
    network = only(bundle).network
    assert isinstance(network, AttCRNN)
    # equations (8) and (9), scaled to keep the mean, give the embedding: so these are the vectors that decide
    with torch.inference_mode():
        z = network.recur(network.standardise(torch.from_numpy(IMAGES))).numpy()
    mask = temporal[:, :, None] * spatial[:, None, :]
    np.testing.assert_allclose(np.tanh(mask * 80 * 8 * z).mean(axis=1), bundle.embed((IMAGES,))[0], atol=1e-5)


@pytest.mark.parametrize("onset_s", [0.3, 0.9, 1.5])
def test_attention_set_by_hand_to_follow_energy_peaks_where_a_planted_event_is(onset_s: float) -> None:
    """Recurrent output replaced by the mean level of each frame, temporal score by that level: time must line up."""
    bundle = blank_bundle()
    network = only(bundle).network
    assert isinstance(network, AttCRNN)

    class Level(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean(dim=(1, 2))[:, None, :]  # [batch, feature, frame]

    class Same(torch.nn.Module):
        def forward(self, o: torch.Tensor) -> torch.Tensor:
            return o.expand(-1, -1, 8)  # [batch, frame, recurrent]

    network.convolutions, network.recurrent = Level(), Same()  # type: ignore[assignment]
    assert network.attention is not None
    score = network.attention.temporal
    with torch.no_grad():
        score.project.weight.fill_(0.05)  # type: ignore[union-attr]
        score.project.bias.zero_()  # type: ignore[union-attr]
        score.context.fill_(5.0)  # type: ignore[union-attr]
    draws = np.random.default_rng(1)
    samples = np.float32(0.01) * draws.standard_normal(6 * RATE, dtype=np.float32)
    at, length = round((2 + onset_s) * RATE), RATE // 5
    samples[at : at + length] += np.float32(0.3) * unit_rms(draws.standard_normal(length, dtype=np.float32))
    found = FrontEnd(bundle.audio, only(bundle).recipe.features)(samples)
    temporal = attention(only(bundle), found.images)[1]
    seconds = found.start_s[1] + (np.arange(80) + 0.5) * only(bundle).recipe.features.hop / RATE
    inside = (seconds > 2 + onset_s) & (seconds < 2 + onset_s + 0.2)
    assert inside[temporal[1].argmax()]
    assert temporal[1, inside].mean() > 2 * temporal[1, ~inside].mean()
    np.testing.assert_allclose(temporal.sum(axis=1), 1, rtol=1e-5)


def test_a_long_recording_is_looked_at_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, seen = blank_bundle(), []
    network = only(bundle).network
    assert isinstance(network, AttCRNN)
    attend = network.attend

    def spied(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(len(images))
        return attend(images)

    monkeypatch.setattr(only(bundle).network, "attend", spied)
    many = np.concatenate([IMAGES] * 14)
    assert attention(only(bundle), many)[1].shape == (70, 80)
    assert seen == [BATCH, 70 - BATCH]


def test_the_baseline_has_no_attention_to_show() -> None:
    bundle = blank_bundle(CNN)
    with pytest.raises(BundleError) as refusal:
        attention(only(bundle), IMAGES)
    assert str(refusal.value) == "this model pools without attention, as the CNN baseline does, and has none to show"
    assert not only(bundle).has_attention
    assert learnt(only(bundle)) == (False, False)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("spatio-temporal", (True, True)), ("temporal", (False, True)), ("spatial", (True, False)), ("mean", (False, False))],
)
def test_what_was_not_learnt_is_uniform(pooling: str, expected: tuple[bool, bool]) -> None:
    bundle = blank_bundle(TINY.with_settings([f"network.pooling={pooling}"]))
    assert learnt(only(bundle)) == expected
    for vectors, was_learnt in zip(attention(only(bundle), IMAGES), expected, strict=True):
        assert (float(np.ptp(vectors)) > 1e-6) == was_learnt
