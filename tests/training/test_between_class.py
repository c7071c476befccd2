import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest

from soundscene.errors import TrainingError
from soundscene.training.between_class import draw_pairs, gain_and_masks, kl_divergence, mix_images, mix_labels, no_mixing

SCENES = torch.tensor([3] * 4 + [7] * 10 + [9] * 6)[torch.randperm(20, generator=torch.Generator().manual_seed(5))]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# Pairs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("balanced", [False, True])
def test_a_pair_is_never_of_one_scene(balanced):
    pairs = draw_pairs(SCENES, 5000, seeded(), balanced)
    assert (SCENES[pairs.first] != SCENES[pairs.second]).all()


def test_an_epoch_shows_every_segment_once_as_the_first():
    pairs = draw_pairs(SCENES, len(SCENES), seeded())
    assert sorted(pairs.first.tolist()) == list(range(20))
    assert pairs.first.tolist() != list(range(20))


def test_a_longer_epoch_shows_every_segment_equally_often_up_to_one():
    pairs = draw_pairs(SCENES, 50, seeded())
    assert len(pairs.first) == len(pairs.second) == len(pairs.ratio) == 50
    assert set(torch.bincount(pairs.first, minlength=20).tolist()) == {2, 3}


def test_the_second_is_uniform_among_the_segments_of_all_other_scenes():
    pairs = draw_pairs(SCENES, 40_000, seeded())
    for segment in (0, 7, 19):
        counts = torch.bincount(pairs.second[SCENES[pairs.first] == SCENES[segment]], minlength=20)
        others = SCENES[segment] != SCENES
        assert (counts[~others] == 0).all()
        assert chisquare(counts[others]).pvalue > 0.01


def test_balanced_drawing_makes_scenes_equal_and_segments_equal_within_them():
    pairs = draw_pairs(SCENES, 40_000, seeded(), balanced=True)
    for index in (pairs.first, pairs.second):
        scenes = SCENES[index]
        assert chisquare([int((scenes == scene).sum()) for scene in (3, 7, 9)]).pvalue > 0.01
        for scene in (3, 7, 9):
            counts = torch.bincount(index[scenes == scene], minlength=20)[scene == SCENES]
            assert chisquare(counts).pvalue > 0.01
    both = 10 * SCENES[pairs.first] + SCENES[pairs.second]
    assert chisquare(torch.unique(both, return_counts=True)[1]).pvalue > 0.01  # six ordered pairs of scenes


def test_without_balance_large_scenes_come_more_often():
    pairs = draw_pairs(SCENES, 40_000, seeded())
    assert [int((SCENES[pairs.first] == scene).sum()) for scene in (3, 7, 9)] == [8000, 20_000, 12_000]


def test_the_ratio_is_uniform_between_0_and_1():
    ratio = draw_pairs(SCENES, 40_000, seeded()).ratio
    assert ratio.min() >= 0
    assert ratio.max() < 1
    assert kstest(ratio.numpy(), "uniform").pvalue > 0.01


@pytest.mark.parametrize("balanced", [False, True])
def test_one_seed_one_draw(balanced):
    one, same, other = (draw_pairs(SCENES, 30, seeded(s), balanced) for s in (1, 1, 2))
    assert torch.equal(one.first, same.first)
    assert torch.equal(one.second, same.second)
    assert torch.equal(one.ratio, same.ratio)
    assert not torch.equal(one.second, other.second)


@pytest.mark.parametrize("draw", [draw_pairs, no_mixing])
@pytest.mark.parametrize("n", [0, 4])
def test_fewer_than_two_scenes_are_refused(draw, n):
    with pytest.raises(TrainingError) as caught:
        draw(torch.zeros(n, dtype=torch.int64), 10, seeded())
    assert str(caught.value) == (
        f"between-class training needs segments of at least two scenes, this training part has {min(n, 1)}: add "
        "recordings of another scene"
    )


def test_no_mixing_is_each_segment_alone():
    pairs = no_mixing(SCENES, 20, seeded())
    images = torch.randn(20, 2, 4, 3, generator=seeded())
    assert sorted(pairs.first.tolist()) == list(range(20))
    assert torch.equal(mix_images(images[pairs.first], images[pairs.second], pairs.ratio), images[pairs.first])
    targets = mix_labels(SCENES[pairs.first], SCENES[pairs.second], pairs.ratio, 10)
    assert torch.equal(targets, torch.nn.functional.one_hot(SCENES[pairs.first], 10).float())


# Mixing and loss ------------------------------------------------------------------------------------------------------


def test_images_are_mixed_by_equation_10():
    one, other = torch.randn(2, 5, 2, 4, 3, generator=seeded(), dtype=torch.float64)
    ratio = torch.rand(5, generator=seeded(1), dtype=torch.float64)
    mixed = mix_images(one, other, ratio).numpy()
    for i in range(5):
        r, s1, s2 = float(ratio[i]), one[i].numpy(), other[i].numpy()
        np.testing.assert_allclose(mixed[i], (r * s1 + (1 - r) * s2) / np.sqrt(r**2 + (1 - r) ** 2), rtol=1e-13)


@pytest.mark.parametrize("r", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_mixing_keeps_mean_zero_and_variance_one(r):
    one, other = torch.randn(2, 50, 2, 64, 8, generator=seeded())
    mixed = mix_images(one, other, torch.full((50,), r))
    assert float(mixed.mean()) == pytest.approx(0, abs=0.02)  # 51 200 values: a deviation of 0.004
    assert float(mixed.var()) == pytest.approx(1, abs=0.03)


def test_labels_are_mixed_by_equation_11():
    """The paper's example: restaurant (1) and tube station (4), r = 0.3."""
    targets = mix_labels(torch.tensor([1, 0]), torch.tensor([4, 2]), torch.tensor([0.3, 0.9]), 5)
    np.testing.assert_allclose(targets, [[0, 0.3, 0, 0, 0.7], [0.9, 0, 0.1, 0, 0]], rtol=1e-6)


def test_mixed_labels_sum_to_one():
    pairs = draw_pairs(SCENES, 1000, seeded())
    targets = mix_labels(SCENES[pairs.first], SCENES[pairs.second], pairs.ratio, 19)
    np.testing.assert_allclose(targets.sum(dim=1), 1, rtol=1e-6)
    assert (targets >= 0).all()


def test_loss_is_equation_12_averaged_over_the_batch():
    targets = torch.tensor([[0.3, 0.0, 0.7], [1.0, 0.0, 0.0]], dtype=torch.float64)
    logits = torch.randn(2, 3, generator=seeded(), dtype=torch.float64)
    divergences = []
    for y, a in zip(targets.numpy(), logits.numpy(), strict=True):
        y_hat = np.exp(a) / np.exp(a).sum()
        divergences.append(sum(y[c] * np.log(y[c] / y_hat[c]) for c in range(3) if y[c] > 0))
    assert float(kl_divergence(targets, logits)) == pytest.approx(np.mean(divergences), rel=1e-6)


def test_loss_is_zero_only_where_the_posterior_is_the_target():
    targets = torch.tensor([[0.3, 0.6, 0.1]])
    assert float(kl_divergence(targets, targets.log() + 5)) == pytest.approx(0, abs=1e-6)
    assert float(kl_divergence(targets, torch.zeros(1, 3))) > 0.1


def test_loss_of_a_confident_error_is_finite_and_large():
    assert float(kl_divergence(torch.tensor([[1.0, 0.0]]), torch.tensor([[-200.0, 200.0]]))) == pytest.approx(400)


def test_gradient_of_the_loss_is_posterior_minus_target():
    targets = torch.tensor([[0.3, 0.0, 0.7]])
    logits = torch.randn(1, 3, generator=seeded(), requires_grad=True)
    kl_divergence(targets, logits).backward()
    torch.testing.assert_close(logits.grad, torch.softmax(logits, -1).detach() - targets)


# Augmentation ---------------------------------------------------------------------------------------------------------


def augmented(images, gain_db=0.0, mask_bands=0, mask_frames=0, deviation=1.0, seed=0):
    inverse = torch.full((2, images.shape[2], 1), 1 / deviation)
    return gain_and_masks(images, gain_db, mask_bands, mask_frames, inverse, seeded(seed))


def test_nothing_asked_for_changes_nothing_and_draws_nothing():
    images, generator = torch.randn(3, 2, 8, 6, generator=seeded()), seeded(1)
    before = generator.get_state()
    assert gain_and_masks(images, 0.0, 0, 0, torch.ones(2, 8, 1), generator) is images
    assert torch.equal(generator.get_state(), before)


def test_a_gain_is_the_same_step_of_log_power_over_the_deviation_everywhere():
    """g dB are g ln(10) / 10 in natural log power; standardised, over the deviation of the band."""
    raw = torch.rand(400, 2, 3, 4, generator=seeded()).double() + 1  # power
    deviation = torch.tensor([[1.0, 2, 4], [3, 5, 7]], dtype=torch.float64)[..., None]
    standardised = raw.log() / deviation
    louder = gain_and_masks(standardised, 6.0, 0, 0, 1 / deviation, seeded(1))
    gain_db = 10 * torch.log10((louder * deviation).exp() / raw)
    per_image = gain_db[:, 0, 0, 0]
    torch.testing.assert_close(gain_db, per_image[:, None, None, None].expand_as(gain_db), rtol=1e-6, atol=1e-6)
    assert per_image.abs().max() <= 6 + 1e-6
    assert kstest(per_image.numpy(), "uniform", args=(-6, 12)).pvalue > 0.01


@pytest.mark.parametrize(("bands", "frames"), [(3, 0), (0, 2)])
def test_a_mask_is_one_stripe_of_zeros_up_to_its_width(bands, frames):
    images = torch.ones(600, 2, 8, 6)
    masked = augmented(images, mask_bands=bands, mask_frames=frames)
    assert set(masked.unique().tolist()) == {0.0, 1.0}
    stripes = (masked == 0).all(dim=3 if bands else 2)  # whole bands, or whole frames
    assert torch.equal(stripes[:, 0], stripes[:, 1])  # both channels
    assert int((masked == 0).sum()) == int(stripes.sum()) * (6 if bands else 8)
    widths = stripes[:, 0].sum(dim=1)
    assert chisquare(torch.bincount(widths)).pvalue > 0.01
    assert len(torch.bincount(widths)) == max(bands, frames) + 1  # 0 up to the widest
    rises = (stripes[:, 0, 1:] & ~stripes[:, 0, :-1]).sum(dim=1) + stripes[:, 0, 0]
    assert (rises <= 1).all()  # one stripe
    assert stripes[:, 0].any(dim=0).all()  # it reaches every place


def test_a_mask_wider_than_the_image_may_cover_it_all():
    masked = augmented(torch.ones(200, 2, 4, 3), mask_bands=100)
    assert set((masked[:, 0, :, 0] == 0).sum(dim=1).tolist()) == {0, 1, 2, 3, 4}


def test_augmentation_leaves_its_input_alone():
    images = torch.ones(3, 2, 8, 6)
    augmented(images, gain_db=6.0, mask_bands=4, mask_frames=3)
    assert (images == 1).all()
