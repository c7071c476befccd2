"""The rendered corpus of the demo and the tests: recordings made from a seed, so that nothing has to be downloaded."""

import difflib
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from scipy import fft
from scipy.io import wavfile

from soundscene.data.manifest import Manifest
from soundscene.errors import ManifestError, RecipeError
from soundscene.render.scenes import SCENES
from soundscene.render.textures import Take, clicks, coloured_noise, poisson_times, scatter, slow_curve, unit_rms
from soundscene.types import Recording, Samples

N_FOLDS = 5


def render_recording(scene: str, duration_s: float, sample_rate: int, generator: np.random.Generator) -> Samples:
    """Render one recording: the sound of a scene over a background that all scenes share, through a random room and device.

    Args:
        scene: A name in `SCENES`.
        duration_s: From 1 to 3600 s.
        sample_rate: From 8000 to 192000 Hz.
        generator: Of all random draws.

    Returns:
        Samples inside [-1, 1].

    Raises:
        RecipeError: A value outside its range.
    """
    if scene not in SCENES:
        near = difflib.get_close_matches(scene, SCENES, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"allowed are {', '.join(SCENES)}"
        raise RecipeError(f"cannot render the scene {scene!r}; {hint}")
    if not 1 <= duration_s <= 3600:
        raise RecipeError(f"cannot render {duration_s:g} s; a rendered recording lasts from 1 s to 3600 s")
    if not 8000 <= sample_rate <= 192000:
        raise RecipeError(f"cannot render at {sample_rate} Hz; the sample rate goes from 8000 to 192000 Hz")
    take = Take(round(duration_s * sample_rate), sample_rate, generator)
    snr_db = generator.uniform(-4, 9)
    mixture = SCENES[scene](take) * np.float32(10 ** (snr_db / 20)) + _background(take)
    coloured = unit_rms(_through_room_and_device(take, mixture))
    level_db = generator.uniform(-31, -23)
    scaled = coloured * np.float32(10 ** (level_db / 20))
    return scaled * np.float32(min(1.0, 0.95 / float(np.abs(scaled).max())))


def _background(take: Take) -> Samples:
    """Return a background that any place may have: drifting noise of unit RMS and random tilt, mains hum, a few bumps."""
    draw = take.generator
    noise = coloured_noise(take, 40.0, take.highest_hz, draw.uniform(-5, -2))
    noise = noise * np.exp(draw.uniform(0, 0.3) * slow_curve(take, 0.5))
    # one second of hum repeats exactly, because mains and rate are whole numbers of Hz
    mains = 2 * np.pi * (50 if draw.random() < 0.5 else 60) * np.arange(take.sample_rate) / take.sample_rate
    order = np.arange(1, 7)[:, None]
    strength = draw.uniform(0, 1, order.shape) / order
    second = np.sum(strength * np.sin(order * mains + draw.uniform(0, 2 * np.pi, order.shape)), axis=0)
    hum = np.resize(second, take.n_samples)
    bumps = poisson_times(take, draw.uniform(0.05, 0.5))
    knocks = scatter(take, bumps, clicks(take, draw.uniform(0.002, 0.03, bumps.size), draw.uniform(0.5, 3, bumps.size)))
    return (noise + 10 ** (draw.uniform(-30, -3) / 20) * hum + knocks).astype(np.float32)


def _through_room_and_device(take: Take, samples: Samples) -> Samples:
    """Apply a random equaliser (knots every octave and a tilt) and a short diffuse reverberation."""
    draw = take.generator
    decay_s = draw.uniform(0.03, 0.25)
    n_room = int(3 * decay_s * take.sample_rate)
    n_fft = fft.next_fast_len(take.n_samples + n_room, real=True)
    room = draw.standard_normal(n_room, dtype=np.float32)
    room *= np.exp(-np.arange(n_room, dtype=np.float32) / np.float32(decay_s * take.sample_rate))
    room *= np.float32(draw.uniform(0, 0.7) / np.sqrt(np.sum(room * room)))
    room[0] += 1
    octave = np.log2(np.maximum(fft.rfftfreq(n_fft, 1 / take.sample_rate), 30) / 30)
    knots = np.arange(0, 13)
    gain_db = np.interp(octave, knots, draw.normal(0, 1.5, knots.size)) + draw.uniform(-0.7, 0.7) * (octave - 5)
    gain = (10 ** (np.clip(gain_db, -30, 30) / 20)).astype(np.float32)
    spectrum = np.asarray(fft.rfft(samples, n_fft)) * np.asarray(fft.rfft(room, n_fft)) * gain
    return np.asarray(fft.irfft(spectrum, n_fft))[: take.n_samples]


def render_corpus(
    folder: Path,
    n_per_scene: int,
    duration_s: float,
    seed: int,
    sample_rate: int = 22050,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Render a corpus as 16-bit WAV with its manifest, and return the path of the manifest.

    The manifest has the columns path, scene, group and fold. Each recording is its own group, and the folds 1 to 5 alternate
    within a scene. A recording depends on the seed, its scene and its number, not on how many others there are.

    Args:
        folder: Must not exist, or be empty. It appears under its name only when it is complete.
        n_per_scene: Recordings of each scene.
        duration_s: Of each recording, s.
        seed: Not negative; the same seed gives the same bytes.
        sample_rate: Hz.
        progress: Called with recordings done and recordings in all.

    Raises:
        ManifestError: The folder is in use.
        RecipeError: A value outside its range.
    """
    if n_per_scene < 1 or seed < 0:
        raise RecipeError(f"cannot render {n_per_scene} recordings of each scene from seed {seed}; at least 1 and 0")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ManifestError(f"{folder} is in use already; delete it, or choose another folder for the rendered corpus")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # beside, not in the system's temporary folder: renaming is atomic only within one file system
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        recordings = []
        for scene in SCENES:
            (unfinished / scene).mkdir()
            for number in range(n_per_scene):
                samples = render_recording(scene, duration_s, sample_rate, _generator(seed, scene, number))
                name = f"{scene}_{number:04d}"
                path = f"{scene}/{name}.wav"
                wavfile.write(unfinished / path, sample_rate, _to_int16(samples))
                columns = {"group": name, "fold": str(1 + number % N_FOLDS)}
                recordings.append(Recording(unfinished / path, scene, name, columns=columns))
                if progress:
                    progress(len(recordings), len(SCENES) * n_per_scene)
        Manifest(unfinished / "manifest.csv", tuple(recordings)).write(unfinished / "manifest.csv")
        unfinished.chmod(0o755)  # mkdtemp makes private folders
        if folder.exists():
            folder.rmdir()
        os.replace(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return folder / "manifest.csv"


def _generator(seed: int, scene: str, number: int) -> np.random.Generator:
    """Return the generator of one recording, by the scene's name, so that a new scene changes no old recording."""
    return np.random.default_rng(np.random.SeedSequence((seed, zlib.crc32(scene.encode()), number)))


def _to_int16(samples: Float32[np.ndarray, " sample"]) -> np.ndarray:
    return np.round(samples * 32767).astype("<i2")
