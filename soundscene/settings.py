"""What follows from a setting of sample rate or segment length: frames keep their length in seconds."""

from collections.abc import Sequence
from contextlib import suppress

import msgspec

from soundscene.recipe import AudioRecipe, Recipe
from soundscene.texts import parse_toml

NOISE_HOP_S = 0.016  # half a noise frame of the paper, section 2.1
RATE, LENGTH = "audio.sample_rate", "audio.segment_s"


def adapted(recipe: Recipe, settings: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
    """Add to settings of sample rate or segment length what follows from them, unless it is set too.

    Windows and hops keep their length in seconds, and the FFT has the next power of two. The highest band ends at half the
    sample rate in any case. The hop of training segments keeps its share of a segment.

    >>> adapted(Recipe(), ["audio.segment_s=1"])
    (('audio.segment_s=1', 'training.segment_hop_s=1.0'), 'from audio.segment_s follow training.segment_hop_s=1.0')

    Args:
        recipe: What the settings change.
        settings: As a user gave them, see `Recipe.with_settings`, which refuses what is wrong with them.

    Returns:
        The settings with those that follow, and a note that names these; None where there are none.
    """
    given = {key.strip(): value for key, _, value in (setting.partition("=") for setting in settings)}
    new = _audio(recipe.audio, given)
    follows: dict[str, int | float] = {}
    if new.sample_rate != recipe.audio.sample_rate:
        follows |= _at_rate(recipe, new.sample_rate)
    if new.segment_s != recipe.audio.segment_s:
        follows["training.segment_hop_s"] = recipe.training.segment_hop_s * new.segment_s / recipe.audio.segment_s
    added = tuple(f"{key}={value}" for key, value in follows.items() if key not in given)
    if not added:
        return tuple(settings), None
    return (*settings, *added), f"from {' and '.join(sorted(given.keys() & {RATE, LENGTH}))} follow {', '.join(added)}"


def _audio(audio: AudioRecipe, given: dict[str, str]) -> AudioRecipe:
    """Return the sample rate and segments that settings ask for; as they were, if they cannot be read."""
    values = msgspec.to_builtins(audio)
    with suppress(ValueError, msgspec.ValidationError):
        for key in given.keys() & {RATE, LENGTH}:
            values[key.partition(".")[2]] = parse_toml(f"value = {given[key].strip()}")["value"]
        return msgspec.convert(values, AudioRecipe, strict=True)
    return audio


def _at_rate(recipe: Recipe, sample_rate: int) -> dict[str, int | float]:
    """Return lengths in samples at another rate."""
    old, features = recipe.audio, recipe.features
    scale = sample_rate / old.sample_rate
    noise_hop = round(old.noise_hop * scale)
    if old.noise_hop == int(NOISE_HOP_S * old.sample_rate):  # as the paper has it, rounded down
        noise_hop = int(NOISE_HOP_S * sample_rate)
    window = round(features.window * scale)
    return {
        "audio.noise_window": 2 * noise_hop,
        "audio.noise_hop": noise_hop,
        "features.window": window,
        "features.hop": round(features.hop * scale),
        "features.n_fft": 1 << (window - 1).bit_length(),
    }
