"""Low-level features of label trees [2, 6, 36]: three sets over stretches of half a second, of both channels.

Source: the authors' public feature matrix and code (facts, not code); what is inferred and what is ours:
docs/decisions/0116-label-trees.md. A stored segment is a piece of 2 s with all its stretches.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial

import numpy as np
import scipy.fft
from jaxtyping import Bool, Float, Float32, Float64, Int64

from soundscene.audio.files import AudioFile
from soundscene.data.corpus import Corpus, regular_segments
from soundscene.data.store import Extract, Representation
from soundscene.errors import RecipeError
from soundscene.recipe import FRONT_END, AudioRecipe, Recipe
from soundscene.signal.filterbanks import gammatone_filters, mel_filters
from soundscene.signal.noise import TwoChannelStream
from soundscene.signal.segments import SegmentStream
from soundscene.signal.windows import hann
from soundscene.types import Recording, Samples

_VERSION = 1  # of the code that makes features; another one is another store
_FLOOR = 1e-10  # smallest power in a logarithm
_SAME_S = 1e-3  # two stretches that begin within it are one
_CENTROID = 51  # where the mean of the centroid stands: 45 energies, crossings, level and quarters are before it
_DEVIATIONS = (138, 210)  # where the deviations of the levels of both long-frame sets stand: their first cosines
_STEADY = 1e-2  # what a deviation of equal levels stays below, whatever is rounded

SETS = {"spectral": slice(0, 106), "gammatone": slice(106, 170), "cepstral": slice(170, 250)}
"""Where the values of each set stand among those of a stretch."""


@dataclass(frozen=True)
class LowLevelSettings:
    """Settings of the features.

    Attributes:
        stretch_s: Length of a stretch in seconds.
        hop_s: Seconds from one stretch to the next.
        short_s: Length of a frame of the spectral set in seconds; the next one begins after half of it.
        long_s: The same of the other two sets.
        n_bands: Mel bands of the spectral set.
        low_hz: Lower edge of all bands.
        n_gammatone: Gammatone bands, and twice the cosines kept of them.
        n_mel: Mel bands of the cepstral set, and twice the cosines kept of them.
    """

    stretch_s: float = 0.5
    hop_s: float = 0.25
    short_s: float = 0.03
    long_s: float = 0.05
    n_bands: int = 15
    low_hz: float = 50.0
    n_gammatone: int = 64
    n_mel: int = 40


@dataclass(frozen=True)
class Stretches:
    """Each stretch of some pieces of a corpus once, in time order within a recording.

    Attributes:
        features: [stretch, channel, value].
        recording: [stretch], index of its recording.
        start_s: [stretch], in its recording.
        of_piece: [piece, position], index of the stretch, for each of the pieces.
        silent: [stretch], whether it is digital silence as recorded.
    """

    features: Float32[np.ndarray, "stretch channel value"]
    recording: Int64[np.ndarray, " stretch"]
    start_s: Float64[np.ndarray, " stretch"]
    of_piece: Int64[np.ndarray, "piece position"]
    silent: Bool[np.ndarray, " stretch"]


def low_level(recipe: Recipe, front_end: int = FRONT_END, choices: LowLevelSettings | None = None) -> Representation:
    """Describe the features of pieces that begin every half of their length, [piece, stretch, channel, value].

    Every second piece is not regular: it trains, and does not vote.

    Args:
        recipe: Only `audio` is used.
        front_end: Version of the front-end, which makes the noise-subtracted channel.
        choices: Settings.

    Raises:
        RecipeError: The length of a piece is no multiple of a stretch, or the filters do not fit the sample rate.
    """
    choices = choices or LowLevelSettings()
    audio = recipe.audio
    if abs(audio.segment_s / choices.stretch_s - round(audio.segment_s / choices.stretch_s)) > 1e-6:
        raise RecipeError(
            f"recipe value audio.segment_s: {audio.segment_s:g} s are no multiple of {choices.stretch_s:g} s, the length of "
            "the stretches that label trees describe; use 2.0, the paper's"
        )
    _filters(audio.sample_rate, choices)  # refuses here, not in each recording
    names = ("sample_rate", "segment_s", "last_piece", "noise_window", "noise_hop")
    facts = {
        "version": _VERSION,
        "audio": {name: getattr(audio, name) for name in names},
        "choices": asdict(choices),
        "front_end": front_end,
    }
    key = json.dumps(facts, sort_keys=True)
    return Representation("low-level", key, partial(_extract, audio, choices, front_end))


def stretches_of(corpus: Corpus, pieces: Bool[np.ndarray, " piece"], choices: LowLevelSettings) -> Stretches:
    """Take each stretch of pieces once; neighbouring pieces share some.

    Args:
        corpus: Of this representation.
        pieces: Which pieces.
        choices: Settings.
    """
    features, of = corpus.features[pieces], corpus.recording[pieces]
    start_s = corpus.start_s[pieces][:, None] + choices.hop_s * np.arange(corpus.features.shape[1])
    recording = np.repeat(of, start_s.shape[1])
    place = np.stack([recording, np.round(start_s.ravel() / _SAME_S).astype(np.int64)])
    _, first, inverse = np.unique(place, axis=1, return_index=True, return_inverse=True)
    flat = features.reshape(-1, *features.shape[2:])[first]
    silent = without_sound(flat) | np.repeat(corpus.silent[pieces], start_s.shape[1])[first]
    return Stretches(flat, recording[first], start_s.ravel()[first], inverse.reshape(start_s.shape), silent)


def without_sound(features: Float32[np.ndarray, "*rows channel value"]) -> Bool[np.ndarray, "*rows"]:
    """Tell by features as they are stored which stretches are digital silence in the recorded channel.

    The centroid of a frame is a mean of frequencies weighted by power, with a floor of 1e-10 in its denominator. It is
    exactly zero without power, and hundreds of Hz for one sample of 24 bits in the middle of a frame. The frames of the
    spectral set end up to half a frame before the stretch does; what is behind them changes the levels of the last of the
    longer frames, so that these deviate. Sound that does neither is in no value of the stretch.

    Args:
        features: Of stretches.
    """
    recorded = features[..., 0, :]
    return (recorded[..., _CENTROID] == 0) & (recorded[..., list(_DEVIATIONS)] < _STEADY).all(axis=-1)


def with_zeros(values: Float32[np.ndarray, "sounding value"], stretches: Stretches) -> Float32[np.ndarray, "stretch value"]:
    """Put zeros, which is what padding has, in the places of stretches of digital silence.

    Args:
        values: Of the stretches that are not silent.
        stretches: All of them.
    """
    places = np.zeros((len(stretches.silent), values.shape[1]), np.float32)
    places[~stretches.silent] = values
    return places


def evenly(stretches: Stretches, choices: LowLevelSettings) -> Bool[np.ndarray, " stretch"]:
    """Tell which stretches make an even sequence of each recording, from its first stretch with sound to its last.

    Each follows the one before by a hop or more, so those of a last piece that was shifted back are left out. Silence within
    a recording keeps its place. A recording that has no sound keeps all its stretches.

    Args:
        stretches: From `stretches_of`.
        choices: Settings.
    """
    sounding = np.flatnonzero(~stretches.silent)
    with_sound, first, n = np.unique(stretches.recording[sounding], return_index=True, return_counts=True)
    inside = ~np.isin(stretches.recording, with_sound)
    for begin, end in zip(sounding[first], sounding[first + n - 1], strict=True):
        inside[begin : end + 1] = True
    kept = np.zeros(len(stretches.start_s), np.bool_)
    last, recording = -math.inf, -1
    for i in np.flatnonzero(inside):
        start_s, of = stretches.start_s[i], stretches.recording[i]
        if of != recording or start_s >= last + choices.hop_s - _SAME_S:
            kept[i], last, recording = True, start_s, of
    return kept


def describe_stretches(
    waves: Float32[np.ndarray, "stretch sample"], sample_rate: int, choices: LowLevelSettings
) -> Float32[np.ndarray, "stretch value"]:
    """Compute all three sets: mean and deviation over the frames of a stretch. No frame reaches beyond its stretch.

    Args:
        waves: Samples of stretches.
        sample_rate: In Hz.
        choices: Settings.

    Returns:
        Values in the order of `SETS`: 106, 64 and 80. Energies are natural logs of power.
    """
    banks = _filters(sample_rate, choices)
    short, long = (_frames(waves, round(length * sample_rate)) for length in (choices.short_s, choices.long_s))
    power = {frames.shape[-1]: _power(frames) for frames in (short, long)}
    short_power, long_power = power[short.shape[-1]], power[long.shape[-1]]
    gammatone = _cosines(_log(long_power @ banks[1]), choices.n_gammatone // 2)
    cepstra = _cosines(_log(long_power @ banks[2]), choices.n_mel // 2)
    cepstral = np.concatenate([cepstra, np.gradient(cepstra, axis=1)], axis=-1)
    sets = (_spectral(short, short_power, banks[0], sample_rate), gammatone, cepstral)
    found = [value for one in sets for value in (one.mean(axis=1), one.std(axis=1))]
    return np.concatenate(found, axis=1).astype(np.float32)


def _spectral(
    frames: Float[np.ndarray, "stretch frame sample"],
    power: Float[np.ndarray, "stretch frame bin"],
    bank: Float[np.ndarray, "bin band"],
    sample_rate: int,
) -> Float[np.ndarray, "stretch frame value"]:
    """Compute 15 frequency-filtered log energies with differences along bands, and eight values of wave and spectrum."""
    filtered = _along_bands(_log(power @ bank))
    first = _along_bands(filtered)
    crossings = np.mean(np.diff(np.signbit(frames), axis=-1), axis=-1)
    hz = np.linspace(0, sample_rate / 2, power.shape[-1])
    total = power.sum(axis=-1) + _FLOOR
    centroid = power @ hz / total
    bandwidth = np.sqrt(np.maximum(power @ hz**2 / total - centroid**2, 0))
    quarters = [_log(part.mean(axis=-1)) for part in np.array_split(power, 4, axis=-1)]
    single = [crossings, _log(np.mean(frames**2, axis=-1)), *quarters, centroid, bandwidth]
    return np.concatenate([filtered, first, _along_bands(first), np.stack(single, axis=-1)], axis=-1)


def _along_bands(values: Float[np.ndarray, "*rows band"]) -> Float[np.ndarray, "*rows band"]:
    """Return f_i = z_(i+1) - z_(i-1), where what is outside is zero; so the first and the last carry the level."""
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(1, 1)])
    return padded[..., 2:] - padded[..., :-2]


def _log(power: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return np.log(np.maximum(power, _FLOOR))


def _cosines(levels: Float[np.ndarray, "*rows band"], n: int) -> Float[np.ndarray, "*rows cosine"]:
    return np.asarray(scipy.fft.dct(levels, axis=-1, norm="ortho"))[..., :n]


def _frames(waves: Float32[np.ndarray, "stretch _"], length: int) -> Float32[np.ndarray, "stretch frame sample"]:
    """Cut frames every half of their length."""
    length = min(length, waves.shape[1])
    return np.lib.stride_tricks.sliding_window_view(waves, length, axis=1)[:, :: max(1, length // 2)]


def _power(frames: Float32[np.ndarray, "stretch frame sample"]) -> Float32[np.ndarray, "stretch frame bin"]:
    window = hann(frames.shape[-1]).astype(np.float32)
    spectrum = np.asarray(scipy.fft.rfft(frames * window, _n_fft(frames.shape[-1]), axis=-1))
    return np.square(np.abs(spectrum))


def _n_fft(length: int) -> int:
    return 2 ** math.ceil(math.log2(max(2, length)))


@lru_cache(4)
def _filters(sample_rate: int, choices: LowLevelSettings) -> Sequence[Float32[np.ndarray, "bin band"]]:
    short, long = (_n_fft(round(length * sample_rate)) for length in (choices.short_s, choices.long_s))
    banks = (
        mel_filters(sample_rate, short, choices.n_bands, choices.low_hz),
        gammatone_filters(sample_rate, long, choices.n_gammatone, choices.low_hz),
        mel_filters(sample_rate, long, choices.n_mel, choices.low_hz),
    )
    return tuple(np.ascontiguousarray(bank.T, np.float32) for bank in banks)


def _extract(audio: AudioRecipe, choices: LowLevelSettings, front_end: int, recording: Recording) -> Extract:
    file = AudioFile(recording.path, audio)
    channels = _two_channels(np.concatenate(list(file.blocks())), audio, front_end)
    stream = SegmentStream(audio.sample_rate, audio.segment_samples, audio.segment_samples // 2, audio.last_piece)
    pieces = [stream.push(channels), stream.flush()]
    waves, start_s = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    n_stretches = 1 + round((audio.segment_s - choices.stretch_s) / choices.hop_s)
    starts = [round(i * choices.hop_s * audio.sample_rate) for i in range(n_stretches)]  # the same of neighbouring pieces
    length = min(round(choices.stretch_s * audio.sample_rate), audio.segment_samples - starts[-1])
    cut = np.lib.stride_tricks.sliding_window_view(waves, length, axis=2)[:, :, starts]
    described = [describe_stretches(piece.reshape(-1, length), audio.sample_rate, choices) for piece in cut]
    features = np.stack(described).reshape(len(waves), 2, n_stretches, -1).swapaxes(1, 2)
    return Extract(
        features=np.ascontiguousarray(features),
        start_s=start_s,
        silent=np.asarray(~waves[:, 0].any(axis=1)),
        regular=regular_segments(start_s, audio.segment_s, audio.last_piece),
        content_hash=file.content_hash,
        duration_s=float(file.duration_s),
        notes=tuple(file.notes),
    )


def _two_channels(samples: Samples, audio: AudioRecipe, front_end: int) -> Float32[np.ndarray, "2 sample"]:
    """Return the whole recording with and without its noise; never of a piece, whose noise could not be tracked."""
    stream = TwoChannelStream(audio.sample_rate, audio.noise_window, audio.noise_hop, mean_square=front_end < 2)
    return np.concatenate([stream.push(samples), stream.flush()], axis=1)
