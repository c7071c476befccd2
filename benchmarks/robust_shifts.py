"""Shifted sound for `robust.py`: other rates, codecs, levels, responses, clipping and noise, and its cached arrays."""

import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import soxr
from jaxtyping import Float32, Float64

from benchmarks.robust_members import MemberRecipes
from soundscene.audio.decoders import open_decoder
from soundscene.audio.evidence import mean_of_channels
from soundscene.audio.files import AudioArray
from soundscene.data.corpus import Corpus, read_features
from soundscene.signal.streams import join_segments
from soundscene.threads import in_order
from soundscene.types import Recording, SegmentFeatures

Mono = Float32[np.ndarray, " sample"]
Sound = tuple[Mono, int]
"""Mono samples and their rate in Hz."""

VERSION = 1  # of the shifts: a change of one needs new cached arrays
_LOW_HZ, _HIGH_HZ = 100.0, 10_000.0
_TAPS = 4097


@dataclass(frozen=True)
class Shift:
    """A change of sound.

    change: of a recording, given a seed of its own; target: points that the issue allows to lose, None for extra ones;
    codec: whether other versions of a library may give other sound, so that its arrays are worth keeping.
    """

    change: Callable[[Sound, int], Sound]
    target: float | None = None
    codec: bool = False


# --- changes ----------------------------------------------------------------------------------------------------------


def at_rate(rate: int, sound: Sound, seed: int = 0) -> Sound:
    """Resampled by soxr, HQ, as a file of this rate."""
    samples, own = sound
    return (samples if own == rate else np.asarray(soxr.resample(samples, own, rate, "HQ"), np.float32)), rate


def gain(decibels: float, sound: Sound, seed: int = 0) -> Sound:
    """Louder or softer, in floating point: nothing is cut and nothing rounded to 16 bits."""
    return sound[0] * np.float32(10 ** (decibels / 20)), sound[1]


def tilt(decibels: float, sound: Sound, seed: int = 0) -> Sound:
    """From -decibels / 2 at 100 Hz to +decibels / 2 at 10 kHz, linear in the logarithm of frequency, constant beyond.

    A symmetric filter; digital silence stays what it is.
    """
    samples, rate = sound
    hz = np.maximum(np.fft.rfftfreq(_TAPS - 1, 1 / rate), 1e-3)
    place = np.log(np.clip(hz, _LOW_HZ, _HIGH_HZ) / _LOW_HZ) / np.log(_HIGH_HZ / _LOW_HZ)
    taps = np.roll(np.fft.irfft(10 ** (decibels * (place - 0.5) / 20)), (_TAPS - 1) // 2) * np.hanning(_TAPS - 1)
    n = fast_length(len(samples) + len(taps))
    product = np.asarray(scipy.fft.rfft(samples.astype(np.float64), n)) * np.asarray(scipy.fft.rfft(taps, n))
    out = np.asarray(scipy.fft.irfft(product, n))[(_TAPS - 1) // 2 :][: len(samples)]
    out[np.abs(out) < 1e-12] = 0.0  # rounding of the transform, where the recording is digital silence
    return out.astype(np.float32), rate


def clip(share: float, sound: Sound, seed: int = 0) -> Sound:
    """The largest samples, this share of those that are not zero, are cut to the size of the smallest of them."""
    samples, rate = sound
    edge = np.quantile(np.abs(samples[samples != 0]), 1 - share) if samples.any() else 0.0
    return np.clip(samples, -edge, edge), rate


def noise(decibels: float, sound: Sound, seed: int) -> Sound:
    """Pink noise is added, this much weaker than the recording as a whole."""
    samples, rate = sound
    draws = np.random.default_rng(seed)
    n = fast_length(len(samples))
    spectrum = draws.standard_normal((2, n // 2 + 1))
    hz = np.maximum(np.fft.rfftfreq(n, 1 / rate), 20.0)
    pink = np.asarray(scipy.fft.irfft((spectrum[0] + 1j * spectrum[1]) / np.sqrt(hz), n))[: len(samples)]
    pink *= rms(samples) * 10 ** (-decibels / 20) / rms(pink)
    return (samples + pink).astype(np.float32), rate


def coded(codec: str, suffix: str, rate: int, bits: int, sound: Sound, seed: int = 0) -> Sound:
    """Encoded by PyAV at a rate in Hz and bits per second, and decoded as any file of a user is."""
    import av

    samples, _ = at_rate(rate, sound)
    whole = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"sound{suffix}"
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(codec, rate=rate, layout="mono")
            stream.bit_rate = bits
            frame = av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, 0
            container.mux(stream.encode(frame))  # PyAV converts the format and cuts frames to the codec's size
            container.mux(stream.encode(None))
        return read(path)


def read(path: Path) -> Sound:
    """A file, decoded at its own rate."""
    with ExitStack() as stack:
        decoder = open_decoder(path, stack)
        return np.concatenate([mean_of_channels(block) for block in decoder.blocks]), decoder.sample_rate


def fast_length(n: int) -> int:
    return int(scipy.fft.next_fast_len(n, real=True) or n)


def rms(samples: Float32[np.ndarray, " sample"] | Float64[np.ndarray, " sample"]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


AS_IT_IS = "as it is"
SHIFTS: dict[str, Shift] = {
    "16 kHz": Shift(partial(at_rate, 16000), 3),
    "MP3 32 kbit/s": Shift(partial(coded, "libmp3lame", ".mp3", 44100, 32000), 5, codec=True),
    "-20 dB": Shift(partial(gain, -20), 2),
    "tilt +6 dB": Shift(partial(tilt, 6), 3),
    "tilt -6 dB": Shift(partial(tilt, -6), 3),
    "10 % clipped": Shift(partial(clip, 0.1), 3),
    "Opus 24 kbit/s": Shift(partial(coded, "libopus", ".opus", 48000, 24000), codec=True),
    "8 kHz": Shift(partial(at_rate, 8000)),
    "+12 dB": Shift(partial(gain, 12)),
    "tilt +12 dB": Shift(partial(tilt, 12)),
    "tilt -12 dB": Shift(partial(tilt, -12)),
    "noise at 10 dB": Shift(partial(noise, 10)),
}
"""By name, in the order of the table. Those of the issue have a target."""


# --- cached arrays ----------------------------------------------------------------------------------------------------


def corpus_as_it_is(recordings: Sequence[Recording], members: MemberRecipes, cache: Path) -> Corpus:
    """Features of all recordings for each member, with the overlapping segments of training among them."""
    path = folder_of(recordings, cache) / f"{members.key(VERSION, training=True)}.npz"
    if not path.exists():
        _save(path, read_features(recordings, members.audio, members.source(training=True)))
    return _load(path, recordings)


def shifted_corpus(
    recordings: Sequence[Recording], members: MemberRecipes, name: str, cache: Path, workers: int = 2
) -> Corpus:
    """Features of all recordings for each member, shifted, read without overlap.

    Args:
        recordings: Rows of a manifest.
        members: Audio and features.
        name: One of `SHIFTS`.
        cache: Folder of arrays.
        workers: Threads.
    """
    path = folder_of(recordings, cache) / f"{members.key(VERSION, training=False)}-{slug(name)}.npz"
    if not path.exists():
        source = members.source(training=False)

        def work(recording: Recording) -> tuple[SegmentFeatures, AudioArray]:
            samples, rate = shifted(recording, name, path.parent)
            sound = AudioArray(samples, rate, members.audio, f"{recording.path.name} ({name})")
            stream = source.stream()
            pieces = [stream.push(block) for block in sound.blocks()]
            return join_segments([*pieces, stream.flush()]), sound

        found = list(in_order(work, recordings, workers))
        segments = join_segments([images for images, _ in found])
        n = [len(images.start_s) for images, _ in found]
        corpus = Corpus(
            tuple(recordings), segments.features[0], np.repeat(np.arange(len(n)), n), segments.start_s, segments.silent,
            np.ones(sum(n), bool), tuple(sound.content_hash for _, sound in found),
            tuple(sound.duration_s for _, sound in found), tuple(sound.notes for _, sound in found),
            further=segments.features[1:],
        )  # fmt: skip
        _save(path, corpus)
    return _load(path, recordings)


def shifted(recording: Recording, name: str, folder: Path) -> Sound:
    """A recording, shifted; sound of a codec is kept in the folder, so that all models hear the same.

    Args:
        recording: Row of a manifest.
        name: One of `SHIFTS`.
        folder: Of `folder_of`.
    """
    shift = SHIFTS[name]
    kept = folder / f"{slug(name)}-{VERSION}" / f"{hashlib.sha256(str(recording.path).encode()).hexdigest()[:16]}.npz"
    if shift.codec and kept.exists():
        with np.load(kept) as arrays:
            return arrays["samples"], int(arrays["rate"])
    samples, rate = shift.change(read(recording.path), zlib.crc32(recording.path.name.encode()))
    if shift.codec:
        write_arrays(kept, samples=samples, rate=np.array(rate))
    return samples, rate


def folder_of(recordings: Sequence[Recording], cache: Path) -> Path:
    """The cache's folder for these very recordings."""
    facts = json.dumps([(str(r.path), r.path.stat().st_size) for r in recordings])
    return cache / f"{recordings[0].path.parent.parent.name}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"


def _save(path: Path, corpus: Corpus) -> None:
    texts = {"hash": corpus.content_hash, "duration": corpus.duration_s, "notes": corpus.notes}
    write_arrays(
        path, images=corpus.features, recording=corpus.recording, start_s=corpus.start_s, silent=corpus.silent,
        regular=corpus.regular, texts=np.array(json.dumps(texts)),
        **{f"further_{number}": features for number, features in enumerate(corpus.further)},
    )  # fmt: skip


def _load(path: Path, recordings: Sequence[Recording]) -> Corpus:
    with np.load(path) as held:
        texts = json.loads(str(held["texts"]))
        return Corpus(
            tuple(recordings), held["images"], held["recording"], held["start_s"], held["silent"], held["regular"],
            tuple(texts["hash"]), tuple(texts["duration"]), tuple(tuple(n) for n in texts["notes"]),
            further=tuple(held[f"further_{number}"] for number in range(len(held.files) - 6)),
        )  # fmt: skip


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """All or nothing: several processes may share the cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        np.savez(file, allow_pickle=False, **arrays)
    os.replace(file.name, path)


def slug(name: str) -> str:
    """The name as part of a file's."""
    return "".join(c if c.isalnum() or c in "+-" else "_" for c in name)
