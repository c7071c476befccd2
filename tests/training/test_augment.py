import math

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from scipy.signal import firwin2, lfilter

from soundscene.recipe import Recipe
from soundscene.signal.frontend import FrontEnd
from soundscene.training.augment import DB, _beta, any_of, augment, mix_statistics

RECIPE = Recipe.small()
FLOOR = RECIPE.features.floor


def images(n=64, seed=0):
    draws = np.random.default_rng(seed)
    scene = draws.normal(0, 2, (n, 2, 64, 1)) + draws.normal(0, 1, (n, 2, 64, 80)) - np.linspace(4, 12, 64)[:, None]
    return torch.from_numpy(scene.astype(np.float32))


def varied(one=None, seed=0, **choices):
    torch.manual_seed(seed)
    return augment(images() if one is None else one, only(**choices), FLOOR)


def only(**choices):
    return replace(Recipe.paper().augmentation, **choices)


def test_nothing_is_drawn_where_nothing_is_asked():
    torch.manual_seed(3)
    before, one = torch.get_rng_state(), images()
    assert augment(one, only(), FLOOR) is one
    assert mix_statistics(one, 0.0) is one
    assert torch.equal(torch.get_rng_state(), before)


ALL = [
    {"level_db": (-30.0, 20.0)},
    {"tilt_db": 6.0},
    {"response_db": 4.0},
    {"low_pass": 0.5},
    {"codec": 0.5},
    {"background": 0.5},
    {"clipping": 0.5},
]


@pytest.mark.parametrize("name", ["low_pass", "codec", "background", "clipping"])
def test_a_share_of_one_changes_every_example(name):
    one = images(256)
    torch.manual_seed(0)
    assert (augment(one, only(**{name: 1.0}), FLOOR) != one).flatten(1).any(1).all()
    mixed = (mix_statistics(one, 1.0) != one).flatten(1).any(1)
    assert mixed.float().mean() > 0.95, "all but those that are mixed with themselves"


@pytest.mark.parametrize("choices", ALL, ids=lambda choices: next(iter(choices)))
def test_each_kind_repeats_with_the_seed_and_leaves_its_input_alone(choices):
    one = images()
    kept = one.clone()
    assert any_of(only(**choices))
    first = varied(one, **choices)
    assert torch.equal(one, kept)
    assert torch.equal(first, varied(one, **choices))
    assert not torch.equal(first, varied(one, seed=1, **choices))
    assert first.isfinite().all()
    assert first.min() >= math.log(FLOOR) - 1e-5


@pytest.mark.parametrize("choices", ALL[3:], ids=lambda choices: next(iter(choices)))
def test_a_share_is_the_share_of_images_that_change(choices):
    one = images(2000)[:, :, ::4, ::8].contiguous()
    changed = (varied(one, **choices) != one).flatten(1).any(1).float().mean()
    assert 0.35 < changed < 0.55, "a codec finds nothing to take from some"


def test_the_level_is_uniform_and_the_same_for_both_channels_and_all_bands():
    one = images(1000) + 5  # above the floor
    gain = ((varied(one, level_db=(-20.0, 10.0)) - one) / DB)[:, :, :, 0]
    torch.testing.assert_close(gain, gain[:, :1, :1].expand_as(gain), rtol=0, atol=1e-3)
    drawn = gain[:, 0, 0]
    assert -20 <= drawn.min() < -19
    assert 9 < drawn.max() <= 10
    assert abs(drawn.mean() + 5) < 1


def front_end(samples):
    return FrontEnd(RECIPE.audio, RECIPE.features)(samples.astype(np.float32)).images


def test_gain_and_response_of_an_image_are_those_of_the_sound():
    rate, draws = RECIPE.audio.sample_rate, np.random.default_rng(5)
    sound = lfilter([1], [1, -0.9], draws.normal(0, 0.02, 4 * rate))
    plain = front_end(sound)
    np.testing.assert_allclose(front_end(np.multiply(0.1, sound)) - plain, -20 * DB, atol=0.02)
    # A tilt of 8 dB over the bands, as a filter of the sound and as a sum on the image: channel 0 agrees but for band width.
    mel = np.linspace(2595 * np.log10(1 + 50 / 700), 2595 * np.log10(1 + rate / 2 / 700), 66)
    hz = 700 * (10 ** (mel / 2595) - 1)
    gain = np.linspace(-4, 4, 66)
    taps = firwin2(4097, np.r_[0, hz[:-1], rate / 2], 10 ** (np.r_[gain[0], gain] / 20), fs=rate)
    filtered = front_end(np.r_[lfilter(taps, 1, sound)[2048:], np.zeros(2048)])
    error = (filtered - plain)[0, 0, :, 5:-5].mean(1) / DB - gain[1:-1]
    assert np.abs(error).max() < 0.3


def test_a_low_pass_ends_above_its_edge_and_spares_what_is_below():
    one = images(200) + 25  # so that nothing reaches the floor
    change = ((varied(one, low_pass=0.999) - one) / DB).mean((1, 3))
    assert change[:, :26].abs().max() < 1e-3
    assert (change[:, -1] < -5).float().mean() > 0.8
    assert (change.diff(dim=1) < 1e-3).all()  # the higher, the less is left


def test_a_codec_takes_weak_high_bands_only():
    one = images(400)
    lost = (varied(one, codec=0.999) - one)[:, 0] < -5 * DB + 1e-4
    loudness = (one[:, 0] - one[:, 0].amax(1, keepdim=True)) / DB
    assert lost[:, :8].float().mean() < 0.05 < lost[:, -8:].float().mean()
    assert loudness[lost].mean() < loudness[~lost].mean() - 10


def test_a_codec_thins_each_channel_by_its_own_power_relative_to_the_first() -> None:
    """What is the same in both channels is lost in both; of a weaker second channel more is lost, of a louder one less."""
    one = images(200) + 25  # so that nothing reaches the floor
    one[:, 1] = one[:, 0]
    lost = {}
    for shift_db in (-20.0, 0.0, 20.0, 200.0):
        shifted = one.clone()
        shifted[:, 1] += shift_db * DB
        change = (varied(shifted, codec=0.999) - shifted) / DB
        first, second = change.unbind(1)
        assert (change <= 1e-4).all()
        taken = (first < -1) & (second < -1)
        torch.testing.assert_close(first[taken], second[taken], rtol=0, atol=1e-4)  # as many decibels
        lost[shift_db] = first < -1, second < -1
    for first, _ in lost.values():
        assert torch.equal(first, lost[0.0][0])
    seconds = {shift_db: second for shift_db, (_, second) in lost.items()}
    assert torch.equal(seconds[0.0], lost[0.0][0])
    assert (seconds[20.0] <= seconds[0.0]).all()
    assert (seconds[0.0] <= seconds[-20.0]).all()
    assert 0 == seconds[200.0].sum() < seconds[20.0].sum() < seconds[0.0].sum() < seconds[-20.0].sum()


def test_background_raises_the_weak_parts_and_less_so_after_noise_subtraction():
    one = images(400)
    raised = (varied(one, background=0.999) - one) / DB
    assert raised.min() > -1e-3
    weak = one[:, 0] < one[:, 0].flatten(1).median(1).values[:, None, None]
    assert raised[:, 0][weak].mean() > 3 * raised[:, 0][~weak].mean()
    assert raised[:, 0].mean() > 1.5 * raised[:, 1].mean()


def test_clipping_limits_the_loudest_frames_and_spares_the_others():
    one = images(50)
    one[:, :, :, 10:20] += 20 * DB
    changed = ((varied(one, clipping=0.999) - one).abs() > 1e-6).flatten(1, 2).any(1)
    assert changed[:, 10:20].float().mean() > 0.8
    assert changed[:, :10].float().mean() < 0.1


def test_clipping_lowers_the_loudest_frame_by_half_of_what_is_over_and_adds_distortion():
    one = images(500) + 25
    one[:, :, :, 10] += 40 * DB  # one frame is over the threshold, and no other
    change = (varied(one, clipping=0.999) - one) / DB
    chosen = change.flatten(1).any(1)
    one, change = one[chosen], change[chosen]
    assert len(one) > 490
    assert change[:, :, :, :10].abs().max() < 1e-3
    assert change[:, :, :, 11:].abs().max() < 1e-3
    power = one[:, 0, :, 10]
    row = torch.arange(len(one))[:, None]
    loudest, weakest = (change[row, :, places, 10] for places in (power.topk(1).indices, (-power).topk(5).indices))
    assert -7.5 <= loudest.min() < -7
    assert -1.6 < loudest[:, :, 0].max() < -0.9
    assert (weakest > 0).float().mean() > 0.9, "distortion fills the weak bands"
    energy = (one + change * DB)[:, 0, :, 10].logsumexp(1) / DB - power.logsumexp(1) / DB
    # 1.5 to 7.5 dB less, and distortion of a tenth of the power at most
    assert -7.5 <= energy.min() < -6.5
    assert -1.5 < energy.max() <= 10 * math.log10(10**-0.15 + 10**-1) + 1e-3


def test_mixed_statistics_lie_between_those_of_the_batch_and_keep_the_pattern():
    torch.manual_seed(0)
    one = images(200) * torch.rand(200, 1, 1, 1)
    mixed = mix_statistics(one, 0.5)
    changed = (mixed != one).flatten(1).any(1)
    assert 0.3 < changed.float().mean() < 0.6
    mean, before = mixed.mean(3), one.mean(3)
    assert (mean <= before.amax(0) + 1e-4).all()
    assert (mean >= before.amin(0) - 1e-4).all()
    pattern = torch.nn.functional.cosine_similarity(mixed - mean[..., None], one - before[..., None], dim=3)
    assert pattern.min() > 0.999


def test_the_share_of_an_image_in_its_statistics_is_beta_distributed():
    torch.manual_seed(0)
    drawn = _beta(torch.zeros(20_000, 1, 1, 1), 0.4).flatten()
    assert 0 <= drawn.min() <= drawn.max() <= 1
    assert abs(drawn.mean() - 0.5) < 0.01
    assert abs(drawn.var() - 0.25 / 1.8) < 0.005  # ab / ((a + b)^2 (a + b + 1))
