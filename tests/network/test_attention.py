import math
from typing import Any, Literal

import numpy as np
import pytest
import torch

from soundscene.network.attention import AttentionScore, SpatioTemporalAttentionPool


def build(scale, n_recurrent=6, n_frames=5, size=4, seed=0) -> tuple[Any, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pool = SpatioTemporalAttentionPool(n_recurrent, n_frames, size, scale).double()
    for tensor in pool.state_dict().values():
        tensor.normal_(generator=generator)
    return pool, torch.randn(2, n_frames, n_recurrent, generator=generator, dtype=torch.float64)


def score(vector, p, layer):
    """(6) or (7), with the context vector that makes a number of it."""
    v = np.tanh(vector @ p[f"{layer}.project.weight"].T + p[f"{layer}.project.bias"])
    return float(v @ p[f"{layer}.context"])


def as_printed(z, p, scale):
    """Equations (4)-(9) as loops over t and s; Z of the paper is [2H, T]."""
    n_recurrent, n_frames = z.shape
    temporal, spatial = np.empty(n_frames), np.empty(n_recurrent)
    for t in range(n_frames):  # (4)
        temporal[t] = math.exp(score(z[:, t], p, "temporal"))
        temporal[t] /= sum(math.exp(score(z[:, i], p, "temporal")) for i in range(n_frames))
    for s in range(n_recurrent):  # (5)
        spatial[s] = math.exp(score(z[s, :], p, "spatial"))
        spatial[s] /= sum(math.exp(score(z[i, :], p, "spatial")) for i in range(n_recurrent))
    x = np.zeros(n_recurrent)
    for s in range(n_recurrent):
        for t in range(n_frames):
            mask = spatial[s] * temporal[t]  # (8)
            if scale == "printed":
                x[s] += math.tanh(mask * z[s, t])  # (9)
            elif scale == "printed-2h":
                x[s] += n_recurrent * math.tanh(mask * z[s, t])
            else:
                x[s] += math.tanh(n_recurrent * n_frames * mask * z[s, t]) / n_frames
    return spatial, temporal, x


@pytest.mark.parametrize("scale", ["printed", "printed-2h", "mean-preserving"])
def test_pooling_is_equations_4_to_9(scale):
    pool, z = build(scale)
    p = {name: tensor.numpy() for name, tensor in pool.state_dict().items()}
    x = pool(z).detach().numpy()
    spatial, temporal = (a.detach().numpy() for a in pool.attend(z))
    for i in range(len(z)):
        expected = as_printed(z[i].numpy().T, p, scale)
        for ours, theirs in zip((spatial[i], temporal[i], x[i]), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_both_attention_vectors_are_distributions():
    pool, z = build("printed", n_recurrent=12, n_frames=7)
    spatial, temporal = pool.attend(50 * z)
    for weights, length in ((spatial, 12), (temporal, 7)):
        assert weights.shape == (2, length)
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.sum(dim=1).detach(), 1, rtol=1e-12)


def test_uniform_attention_in_mean_preserving_form_is_mean_pooling_of_tanh():
    pool, z = build("mean-preserving")
    with torch.no_grad():
        pool.temporal.context.zero_()
        pool.spatial.context.zero_()
    torch.testing.assert_close(pool(z), torch.tanh(z).mean(dim=1), rtol=1e-12, atol=1e-12)


def test_the_printed_form_is_the_mean_preserving_one_divided_by_2h_where_tanh_is_linear():
    """1 / (2H T) of the mask against the 1 / T of the mean: a factor of 2H is left, 256 at full size."""
    printed, z = build("printed")
    preserving, _ = build("mean-preserving")
    z = 1e-6 * z
    torch.testing.assert_close(printed(z) * 6, preserving(z), rtol=1e-9, atol=0)


def test_both_layers_have_the_attention_size():
    layer = AttentionScore(n_in=80, size=64)
    assert {name: tuple(t.shape) for name, t in layer.state_dict().items()} == {
        "project.weight": (64, 80),
        "project.bias": (64,),
        "context": (64,),
    }


@pytest.mark.parametrize("n_frames", [4, 6])
def test_another_number_of_frames_is_refused(n_frames):
    pool, _ = build("printed")
    with pytest.raises(ValueError, match="the attention was built for") as caught:
        pool(torch.zeros(1, n_frames, 6, dtype=torch.float64))
    assert str(caught.value) == (
        f"the attention was built for 5 frames and got {n_frames}: spatial attention reads rows of one length, "
        "so every segment must be as long as the recipe says"
    )


def test_attention_turns_to_what_the_context_vector_likes():
    """One loud frame, a score that grows with loudness: that frame gets the largest weight, more with a longer u."""
    pool, _ = build("printed")
    with torch.no_grad():
        for layer in (pool.temporal, pool.spatial):
            layer.project.weight.fill_(0.3)
            layer.project.bias.zero_()
            layer.context.fill_(0.5)
    z = torch.zeros(1, 5, 6, dtype=torch.float64)
    z[0, 3] = 1
    weights = pool.temporal(z)[0]
    assert int(weights.argmax()) == 3
    with torch.no_grad():
        pool.temporal.context.mul_(4)
    assert pool.temporal(z)[0, 3] > weights[3]


@pytest.mark.parametrize("scale", ["printed", "mean-preserving"])
def test_ablated_vectors_are_uniform_and_their_layers_are_gone(scale):
    z = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    learnt: dict[Literal["spatio-temporal", "temporal", "spatial", "mean"], set[str]] = {
        "spatio-temporal": {"temporal", "spatial"},
        "temporal": {"temporal"},
        "spatial": {"spatial"},
        "mean": set(),
    }
    for pooling, layers in learnt.items():
        pool = SpatioTemporalAttentionPool(6, 5, 4, scale, pooling).double()
        assert {name.partition(".")[0] for name in pool.state_dict()} == layers
        spatial, temporal = pool.attend(z)
        assert torch.allclose(spatial, torch.full_like(spatial, 1 / 6)) == ("spatial" not in layers)
        assert torch.allclose(temporal, torch.full_like(temporal, 1 / 5)) == ("temporal" not in layers)
        if pooling == "mean":
            factor = 1 / 30 if scale == "printed" else 1.0
            mean = torch.tanh(factor * z).sum(1) if scale == "printed" else torch.tanh(z).mean(1)
            torch.testing.assert_close(pool(z), mean)


def test_a_low_temperature_sharpens_attention_without_changing_its_order():
    torch.manual_seed(0)
    score_ = AttentionScore(6, 4)
    vectors = torch.randn(3, 9, 6)
    plain = score_(vectors)
    score_.temperature = 0.1
    sharp = score_(vectors)
    assert torch.equal(plain.argsort(dim=1), sharp.argsort(dim=1))
    torch.testing.assert_close(torch.softmax(10 * plain.log(), dim=1), sharp)
    assert (sharp.amax(dim=1) > plain.amax(dim=1)).all()


def test_the_start_of_attention_can_be_far_from_uniform():
    """Longer context vectors: the same draws, ten times as long, and weights farther from uniform."""
    weights = []
    for context in (0.1, 1.0, 10.0):
        torch.manual_seed(3)
        score_ = AttentionScore(6, 8, context=context)
        weights.append(score_(torch.randn(4, 20, 6)).detach())
    spread = [float((20 * w - 1).abs().max()) for w in weights]
    assert spread[0] < 0.3 * spread[1] < 0.3 * spread[2]
