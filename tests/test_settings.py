"""What follows from another sample rate or segment length."""

import pytest

from soundscene.errors import RecipeError
from soundscene.recipe import Recipe
from soundscene.settings import adapted


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_frames_keep_their_length_in_seconds(rate: int) -> None:
    before, (settings, note) = Recipe.small(), adapted(Recipe.small(), [f"audio.sample_rate={rate}"])
    after = before.with_settings(settings)
    assert after.audio.segment_samples // after.features.hop == before.audio.segment_samples // before.features.hop == 80
    for section, key in (("features", "window"), ("features", "hop"), ("audio", "noise_hop")):
        lengths = [getattr(getattr(recipe, section), key) / recipe.audio.sample_rate for recipe in (before, after)]
        assert lengths[0] == pytest.approx(lengths[1], abs=1 / 8000)
    assert after.features.n_fft >= after.features.window > after.features.n_fft // 2
    assert note is not None
    assert f"features.window={after.features.window}" in note


def test_at_16_khz_the_lengths_are_those_of_the_paper() -> None:
    after = Recipe().with_settings(adapted(Recipe(), ["audio.sample_rate=16000"])[0])
    assert (after.audio.noise_window, after.audio.noise_hop) == (512, 256)
    assert (after.features.window, after.features.hop, after.features.n_fft) == (800, 400, 1024)


def test_what_is_set_too_stays_and_nothing_else_is_touched() -> None:
    settings, note = adapted(Recipe.small(), ["audio.segment_s=1", "training.segment_hop_s=0.5"])
    assert (settings, note) == (("audio.segment_s=1", "training.segment_hop_s=0.5"), None)
    assert adapted(Recipe.small(), ["training.epochs=3"]) == (("training.epochs=3",), None)
    half = Recipe.small().with_settings(["training.segment_hop_s=1.0"])
    assert half.with_settings(adapted(half, ["audio.segment_s=10"])[0]).training.segment_hop_s == 5


def test_a_value_out_of_range_is_refused_by_the_recipe_and_by_its_own_name() -> None:
    settings, _ = adapted(Recipe.small(), ["audio.sample_rate=many"])
    with pytest.raises(RecipeError, match=r"audio\.sample_rate: Expected `int`"):
        Recipe.small().with_settings(settings)
