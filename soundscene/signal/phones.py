"""Rendered phones: stretches of speech-like sound in 32 categories, made of numbers alone.

They stand for a corpus of real speech, which cannot be shipped, where a system describes sound by its likeness to speech.
They are not speech: vowels are three resonances of a pulse train, fricatives bands of noise (docs/decisions/0117).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.signal
from jaxtyping import Float32, Float64

# Formants of adult speakers in Hz, rounded from Peterson and Barney (1952) and common textbook values.
VOWELS = {
    "i": (280, 2250, 2900),
    "ɪ": (400, 1950, 2550),
    "e": (450, 2100, 2650),
    "ɛ": (550, 1800, 2500),
    "æ": (690, 1650, 2430),
    "a": (750, 1300, 2500),
    "ɑ": (720, 1100, 2450),
    "ɔ": (580, 860, 2420),
    "o": (450, 800, 2400),
    "ʊ": (440, 1020, 2240),
    "u": (310, 870, 2250),
    "ɜ": (480, 1350, 1700),
}
FRICATIVES = {  # bands of noise in Hz, and whether the voice sounds with it
    "s": (4500, 9000, False),
    "z": (4500, 9000, True),
    "ʃ": (2200, 6000, False),
    "ʒ": (2200, 6000, True),
    "f": (1200, 9500, False),
    "v": (1200, 9500, True),
    "x": (900, 2500, False),
    "h": (500, 3500, False),
}
BURSTS = {  # centre of the noise in Hz, and seconds of its decay
    "p": (700, 0.008),
    "t": (4000, 0.015),
    "k": (1800, 0.025),
    "b": (500, 0.006),
    "d": (3200, 0.010),
    "g": (1500, 0.018),
}
GLIDES = {  # formants from and to
    "m": ((250, 1000, 2200), (250, 1000, 2200)),
    "n": ((250, 1600, 2500), (250, 1600, 2500)),
    "l": ((350, 1100, 2700), (350, 1300, 2600)),
    "r": ((400, 1100, 1500), (450, 1300, 1700)),
    "w": ((300, 650, 2200), (550, 1000, 2400)),
    "j": ((270, 2250, 3000), (450, 1700, 2600)),
}
CATEGORIES = (*VOWELS, *FRICATIVES, *BURSTS, *GLIDES)

_WIDTHS_HZ = (60.0, 80.0, 100.0)  # of the resonances
_EDGE_HZ = 2000.0  # of the voice; a lower one hides the third formant
_BLOCK_S = 0.02  # over which moving resonances stand still


@dataclass(frozen=True)
class Speaker:
    """What differs between stretches of one category.

    Attributes:
        pitch_hz: Pitch at the start.
        glide: Pitch at the end, as a factor.
        size: Factor on all resonances, of shorter and longer vocal tracts.
        noise: Level of the breath against the voice.
    """

    pitch_hz: float
    glide: float
    size: float
    noise: float

    @classmethod
    def draw(cls, draws: np.random.Generator) -> "Speaker":
        """Draw a speaker: 80 to 300 Hz, higher voices with shorter tracts."""
        octave = draws.uniform(0, np.log2(300 / 80))
        size = 0.92 + 0.12 * octave + draws.uniform(-0.05, 0.05)
        return cls(80 * 2**octave, draws.uniform(0.8, 1.2), size, draws.uniform(0.005, 0.03))


def render_phone(
    category: str, seconds: float, sample_rate: int, draws: np.random.Generator
) -> Float32[np.ndarray, " sample"]:
    """Render a stretch of one category by a new speaker, at a root mean square of 0.1.

    Args:
        category: One of `CATEGORIES`.
        seconds: Length.
        sample_rate: In Hz.
        draws: Of everything random.

    Raises:
        KeyError: The category is unknown.
    """
    n, speaker = round(seconds * sample_rate), Speaker.draw(draws)
    if category in VOWELS:
        formants = VOWELS[category]
        sound = _resonances(_voice(n, sample_rate, speaker, draws), sample_rate, speaker, formants, formants)
    elif category in FRICATIVES:
        low, high, voiced = FRICATIVES[category]
        sound = _band(draws.normal(0, 1, n), sample_rate, low * speaker.size, high * speaker.size)
        sound /= np.sqrt(np.mean(sound**2)) + 1e-12
        if voiced:
            voice = _band(_voice(n, sample_rate, speaker, draws), sample_rate, 60.0, 500.0)
            sound = sound + 1.5 * voice / (np.sqrt(np.mean(voice**2)) + 1e-12)
    elif category in BURSTS:
        sound = _bursts(category, n, sample_rate, speaker, draws)
    else:
        start, end = GLIDES[category]
        sound = _resonances(_voice(n, sample_rate, speaker, draws), sample_rate, speaker, start, end)
    return (0.1 * sound / (np.sqrt(np.mean(sound**2)) + 1e-12)).astype(np.float32)


def render_phones(
    categories: Sequence[str], count: int, seconds: float, sample_rate: int, seed: int
) -> Float32[np.ndarray, "stretch sample"]:
    """Render some stretches of each category, one category after the other.

    Args:
        categories: Of `CATEGORIES`.
        count: Stretches of each, each by a speaker of its own.
        seconds: Length of a stretch.
        sample_rate: In Hz.
        seed: Of everything random.
    """
    return np.stack(
        [
            render_phone(category, seconds, sample_rate, np.random.default_rng([seed, CATEGORIES.index(category), number]))
            for category in categories
            for number in range(count)
        ]
    )


def _voice(n: int, sample_rate: int, speaker: Speaker, draws: np.random.Generator) -> Float64[np.ndarray, " sample"]:
    """Return a train of pulses whose spectrum falls above `_EDGE_HZ`, with a little breath."""
    pitch = (
        speaker.pitch_hz * speaker.glide ** (np.arange(n) / n) * (1 + 0.01 * np.cumsum(draws.normal(0, 1, n)) / np.sqrt(n))
    )
    phase = np.cumsum(pitch / sample_rate) + draws.random()
    pulses = np.diff(np.floor(phase), prepend=np.floor(phase[0]))
    pole = np.exp(-2 * np.pi * _EDGE_HZ / sample_rate)
    voice = np.asarray(scipy.signal.lfilter([1 - pole], [1, -pole], pulses))
    return voice + speaker.noise * np.std(voice) * draws.normal(0, 1, n)


def _resonances(
    source: Float64[np.ndarray, " sample"],
    sample_rate: int,
    speaker: Speaker,
    start: tuple[int, int, int],
    end: tuple[int, int, int],
) -> Float64[np.ndarray, " sample"]:
    """Filter a source by resonances that move from one place to another."""
    block = max(1, round(_BLOCK_S * sample_rate))
    sound = source
    for first, last, width in zip(start, end, _WIDTHS_HZ, strict=True):
        pieces, state = [], np.zeros(2)
        for at in range(0, len(source), block):
            hz = min(speaker.size * (first + (last - first) * at / len(source)), 0.45 * sample_rate)
            radius = np.exp(-np.pi * width / sample_rate)
            poles = [1, -2 * radius * np.cos(2 * np.pi * hz / sample_rate), radius**2]
            piece, state = scipy.signal.lfilter([sum(poles)], poles, sound[at : at + block], zi=state)
            pieces.append(piece)
        sound = np.concatenate(pieces)
    return sound


def _band(
    sound: Float64[np.ndarray, " sample"], sample_rate: int, low_hz: float, high_hz: float
) -> Float64[np.ndarray, " sample"]:
    """Keep a band of a sound; what the rate has no room for is left out."""
    edges = [min(max(hz, 20.0), 0.45 * sample_rate) for hz in (low_hz, high_hz)]
    edges[0] = min(edges[0], 0.8 * edges[1])
    return np.asarray(scipy.signal.sosfilt(scipy.signal.butter(2, edges, "bandpass", fs=sample_rate, output="sos"), sound))


def _bursts(
    category: str, n: int, sample_rate: int, speaker: Speaker, draws: np.random.Generator
) -> Float64[np.ndarray, " sample"]:
    """Return two or three bursts of decaying noise, with a hum between them where the voice goes on."""
    centre, decay_s = BURSTS[category]
    sound = 1e-3 * draws.normal(0, 1, n)
    for onset in draws.uniform(0, 0.9, draws.integers(2, 4)):
        time = (np.arange(n) - onset * n) / sample_rate
        sound += np.where(time >= 0, np.exp(-np.maximum(time, 0) / decay_s), 0) * draws.normal(0, 1, n)
    sound = _band(sound, sample_rate, speaker.size * centre * 0.6, speaker.size * centre * 1.7)
    if category in "bdg":
        voice = _band(_voice(n, sample_rate, speaker, draws), sample_rate, 60.0, 250.0)
        sound += 0.3 * np.abs(sound).max() * voice / (np.abs(voice).max() + 1e-12)
    return sound
