"""Rows about sound: the noise tracker, the front-end, gammatone images, and files."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import scipy.fft
import soundfile
from jaxtyping import Float32, Float64

from benchmarks.comparison import Comparison, Measured, MissingError, Settings, alternate
from benchmarks.peers import peer
from soundscene.audio.files import AudioFile
from soundscene.recipe import Recipe
from soundscene.render.corpus import render_recording
from soundscene.signal.frontend import FrontEnd
from soundscene.signal.minimum_statistics import noise_psd
from soundscene.signal.noise import two_channels
from soundscene.signal.streams import join_segments
from soundscene.signal.windows import root_hamming

FILE_RATE = 44100
VOICEBOX_HOP = 353  # at 22050 Hz; the window is twice as long
TOLERANCE = 1e-9
Measure = Callable[[Settings], Measured]
SLOW_REPETITIONS = 3  # where one call of the other side takes seconds


@cache
def sound(duration_s: float, rate: int, seed: int = 0) -> Float32[np.ndarray, " sample"]:
    """A rendered office: speech-like, ringing and steady sound, so that noise tracking has something to follow."""
    return render_recording("office", duration_s, rate, np.random.default_rng(seed)).astype(np.float32)


# --- noise tracker ----------------------------------------------------------------------------------------------------


def tracker(settings: Settings) -> Measured:
    voicebox = peer("pyvoicebox", "pyvoicebox-sap")
    rate = settings.recipe.audio.sample_rate
    samples = sound(settings.seconds, rate).astype(np.float64)
    frames = np.lib.stride_tricks.sliding_window_view(samples, 2 * VOICEBOX_HOP)[::VOICEBOX_HOP]
    power = np.square(np.abs(np.asarray(scipy.fft.rfft(frames * root_hamming(2 * VOICEBOX_HOP)))))
    hop_s = VOICEBOX_HOP / rate
    theirs = voicebox.v_estnoisem(power, hop_s)[0]
    difference = float(np.max(np.abs(noise_psd(power, hop_s) - theirs) / theirs))
    fault = "" if difference <= TOLERANCE else f"the numbers differ by {difference:.1e}, allowed are {TOLERANCE:.0e}"
    times = alternate(
        {"ours": lambda: noise_psd(power, hop_s), "other": lambda: voicebox.v_estnoisem(power, hop_s)}, settings.repetitions
    )
    note = f"{len(power)} frames of {power.shape[1]} bins; largest relative difference {difference:.1e}"
    return Measured(times["ours"], times["other"], times.n, note, fault)


# --- front-end --------------------------------------------------------------------------------------------------------


def log_mel(settings: Settings) -> Measured:
    subtract, librosa = peer("pyvoicebox", "pyvoicebox-sap").v_specsub, peer("librosa", "librosa")
    audio, features = settings.recipe.audio, settings.recipe.features
    samples = sound(settings.seconds, audio.sample_rate)
    front_end = FrontEnd(audio, features)
    length = audio.segment_samples
    n_segments = len(samples) // length

    def theirs() -> Float32[np.ndarray, "segment 2 band frame"]:
        cleaned = subtract(samples, audio.sample_rate)
        both = np.stack([samples[: n_segments * length], cleaned[: n_segments * length].astype(np.float32)])
        power = librosa.feature.melspectrogram(
            y=both.reshape(2, n_segments, length),
            sr=audio.sample_rate,
            n_fft=features.n_fft,
            win_length=features.window,
            hop_length=features.hop,
            n_mels=features.n_bands,
            fmin=features.low_hz,
        )
        return np.log(np.maximum(power, features.floor)).swapaxes(0, 1)

    # Their frames lie half a hop beside ours, so single values differ; the levels of the bands may not.
    gap = front_end(samples).images[:n_segments].mean(axis=(0, 3)) - theirs().mean(axis=(0, 3))
    gap_db = float(np.abs(gap).max() * 10 / np.log(10))
    fault = "" if gap_db < 1.0 else f"the levels of a band differ by {gap_db:.1f} dB, so it is not the same job"
    times = alternate({"ours": lambda: front_end(samples), "other": theirs}, settings.repetitions)
    note = f"mean levels of the bands differ by {gap_db:.2f} dB at most (706/353 against 704/352, other frame grid)"
    return Measured(times["ours"], times["other"], times.n, note, fault)


@dataclass(frozen=True)
class _Transform:
    function: Callable[..., Any]
    values: np.ndarray
    arguments: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]

    def __call__(self) -> object:
        return self.function(self.values, *self.arguments, **dict(self.keywords))


def transforms_of(work: Callable[[], object]) -> list[_Transform]:
    """Every real FFT of scipy that `work` calls, with the very values, to be called again without anything around it."""
    calls: list[_Transform] = []

    def watch(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(values: np.ndarray, *arguments: Any, **keywords: Any) -> Any:
            calls.append(_Transform(function, np.array(values), arguments, tuple(keywords.items())))
            return function(values, *arguments, **keywords)

        return call

    with (
        mock.patch.object(scipy.fft, "rfft", watch(scipy.fft.rfft)),
        mock.patch.object(scipy.fft, "irfft", watch(scipy.fft.irfft)),
    ):
        work()
    return calls


def front_end_ffts(settings: Settings) -> Measured:
    samples = sound(settings.seconds, settings.recipe.audio.sample_rate)
    front_end = FrontEnd(settings.recipe.audio, settings.recipe.features)
    transforms = transforms_of(lambda: front_end(samples))
    if not transforms:
        raise MissingError("the front-end calls no FFT through scipy.fft, so there is nothing to replay")

    def bare() -> None:
        for transform in transforms:
            transform()

    times = alternate({"ours": lambda: front_end(samples), "other": bare}, settings.repetitions)
    return Measured(times["ours"], times["other"], times.n, _described(transforms))


def _described(transforms: Iterable[_Transform]) -> str:
    rows: dict[str, int] = {}
    for t in transforms:
        n = t.arguments[0] if t.arguments else t.values.shape[-1]
        kind = f"{t.function.__name__} of {n} ({t.values.dtype})"
        rows[kind] = rows.get(kind, 0) + int(np.prod(t.values.shape[:-1]))
    return "; ".join(f"{n} {kind}" for kind, n in rows.items())


# --- gammatone --------------------------------------------------------------------------------------------------------


def gammatone_against_mel(settings: Settings) -> Measured:
    samples = sound(settings.seconds, settings.recipe.audio.sample_rate)
    ours, other = _front_end(settings.recipe, "gammatone"), _front_end(settings.recipe, "mel")
    times = alternate({"ours": lambda: ours(samples), "other": lambda: other(samples)}, settings.repetitions)
    return Measured(times["ours"], times["other"], times.n)


def gammatone_against_filters(settings: Settings) -> Measured:
    gtgram = peer("gammatone.gtgram", "gammatone").gtgram
    audio, features = settings.recipe.audio, settings.recipe.features
    samples, front_end = sound(settings.seconds, audio.sample_rate), _front_end(settings.recipe, "gammatone")
    channels = two_channels(samples, audio.sample_rate).astype(np.float64)
    window_s, hop_s = features.window / audio.sample_rate, features.hop / audio.sample_rate

    def theirs() -> list[Float64[np.ndarray, "band frame"]]:
        shape = (audio.sample_rate, window_s, hop_s, features.n_bands, features.low_hz)
        return [np.log(np.maximum(gtgram(channel, *shape), features.floor)) for channel in channels]

    repetitions = min(settings.repetitions, SLOW_REPETITIONS)
    times = alternate({"ours": lambda: front_end(samples), "other": theirs}, repetitions)
    note = "noise subtraction counted on our side only"
    return Measured(times["ours"], times["other"], times.n, note)


def _front_end(recipe: Recipe, kind: str) -> FrontEnd:
    return FrontEnd(recipe.audio, recipe.with_settings([f"features.kind={kind}"]).features)


# --- files ------------------------------------------------------------------------------------------------------------


def write_flac(path: Path, duration_s: float, seed: int = 0) -> Path:
    """A stereo FLAC file at 44.1 kHz with a rendered office in each channel."""
    channels = np.stack([sound(duration_s, FILE_RATE, 2 * seed), sound(duration_s, FILE_RATE, 2 * seed + 1)], axis=1)
    soundfile.write(path, channels, FILE_RATE)
    return path


def file_on_one_core(settings: Settings) -> Measured:
    return _file(settings, iter)


def file_read_ahead(settings: Settings) -> Measured:
    try:
        from soundscene.threads import read_ahead
    except ImportError as error:
        raise MissingError(f"reading ahead is not there ({error})") from None
    return _file(settings, read_ahead)


def _file(settings: Settings, ahead: Callable[[Iterator[Any]], Iterable[Any]]) -> Measured:
    audio, front_end = settings.recipe.audio, FrontEnd(settings.recipe.audio, settings.recipe.features)
    path = write_flac(settings.folder / "recording.flac", settings.seconds)

    def ours() -> None:
        stream = front_end.stream()
        join_segments([*map(stream.push, ahead(AudioFile(path, audio).blocks())), stream.flush()])

    def decode() -> None:
        for _ in AudioFile(path, audio).blocks():
            pass

    times = alternate({"ours": ours, "other": decode}, settings.repetitions)
    return Measured(times["ours"], times["other"], times.n, f"{path.stat().st_size / 1e6:.1f} MB")


COMPARISONS = {
    "tracker": (Comparison("minimum statistics, 706/353", "pyvoicebox-sap v_estnoisem", "times as fast", 15, tracker),),
    "log-mel": (Comparison("samples -> log-mel images", "pyvoicebox-sap + librosa", "times as fast", 6, log_mel),),
    "front-end-ffts": (
        Comparison("samples -> log-mel images", "the bare FFTs of the same frames", "times the cost", 3, front_end_ffts),
    ),
    "gammatone": (
        Comparison("log-gammatone images", "log-mel images", "times the cost", 1.1, gammatone_against_mel),
        Comparison("log-gammatone images", "gammatone gtgram", "times as fast", 60, gammatone_against_filters),
    ),
    "file": (
        Comparison("FLAC -> images", "decode, downmix, resample alone", "times the cost", 2.2, file_on_one_core),
        Comparison(
            "FLAC -> images, read ahead, 2 cores", "decode, downmix, resample alone", "times the cost", 1.6, file_read_ahead
        ),
    ),
}
