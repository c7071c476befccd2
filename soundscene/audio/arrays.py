"""What shapes and types of sample arrays are understood."""

import os
from collections.abc import Iterable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped

from soundscene.errors import AudioError

ArrayLike = Any
"""Samples [sample] or [channel, sample] in whatever `as_array` converts: an array, a list, a tensor."""

RateLike = Any
"""A sample rate in whatever `as_rate` converts: 44100, 44100.0, a number of numpy."""


def as_array(samples: ArrayLike, name: str) -> Shaped[np.ndarray, "..."]:
    """Return samples as an array, also those of a tensor that requires gradients, or is on a GPU.

    Args:
        samples: Anything that numpy understands, or a tensor.
        name: Source, for messages.

    Raises:
        AudioError: They cannot be read as an array.
    """
    try:
        if hasattr(samples, "detach"):  # a tensor of PyTorch, which only its owner imports
            samples = samples.detach().cpu().resolve_neg()
            samples = samples.float() if str(samples.dtype) == "torch.bfloat16" else samples
        return np.asarray(samples)
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:120]
        raise AudioError(
            f"{name}: samples of type {type(samples).__name__} cannot be read as an array ({reason}); expected a numpy "
            "array [sample] or [channel, sample]"
        ) from None


def as_source(source: Any) -> str | Path | tuple[ArrayLike, RateLike]:
    """Return a file, or samples with their rate, from what programs hold of a recording.

    Args:
        source: A path; (samples, sample rate); a mapping with "array" and "sampling_rate", as the datasets of Hugging Face
            give it, or with "path"; or a decoder whose `get_all_samples()` has `data` and `sample_rate` (torchcodec).

    Raises:
        AudioError: It is something else, or samples and rate are swapped.
    """
    if isinstance(source, str | os.PathLike):
        return source if isinstance(source, str) else Path(source)
    if isinstance(source, tuple):
        return _pair(source)
    if callable(decode := getattr(source, "get_all_samples", None)):
        samples: Any = decode()
        return samples.data, samples.sample_rate
    if isinstance(source, Mapping):
        return _of_mapping(source)
    raise AudioError(f"{_kind(source)}; expected a path, (samples, sample rate), or a mapping with array and sampling_rate")


def source_name(source: Any) -> str:
    """Return what a recording is called in its prediction and in messages: its path where it has one, else "array".

    Args:
        source: As in `as_source`.
    """
    path = source.get("path") if isinstance(source, Mapping) else source
    return os.fsdecode(path) if isinstance(path, str | os.PathLike) and str(path) else "array"


def is_one(source: Any) -> bool:
    """Whether a source is one recording, or no recording at all, rather than something to go through for recordings.

    Args:
        source: As in `as_source`, or a list, an array of paths, a column of a data frame, a data set.
    """
    if isinstance(source, str | bytes | bytearray | os.PathLike | tuple | Mapping):
        return True
    if hasattr(source, "get_all_samples") or hasattr(source, "read") or _is_table(source):
        return True
    return _is_numbers(source) or not isinstance(source, Iterable)


def _pair(source: tuple[Any, ...]) -> tuple[ArrayLike, RateLike]:
    if source and isinstance(source[0], str | os.PathLike):
        raise AudioError(
            "array: a tuple that begins with a path; expected (samples, sample rate); put several paths in a list"
        )
    if len(source) != 2:
        raise AudioError(f"array: a tuple of {len(source)}; expected (samples, sample rate)")
    first, second = source
    if _is_scalar(first) and not _is_scalar(second):
        raise AudioError("array: (sample rate, samples) given, as scipy reads it; expected (samples, sample rate)")
    return first, second


def _of_mapping(source: Mapping[Any, Any]) -> str | tuple[ArrayLike, RateLike]:
    if source.get("array") is not None and "sampling_rate" in source:
        return source["array"], source["sampling_rate"]
    if source.get("bytes") is not None:
        raise AudioError(
            f"{source_name(source)}: a mapping with the bytes of a file, which are not taken; decode them (Audio() of "
            "datasets gives array and sampling_rate), or write them to a file and give its path"
        )
    if isinstance(path := source.get("path"), str | os.PathLike) and str(path):
        return os.fsdecode(path)
    raise AudioError(
        f"a mapping with the keys {', '.join(map(str, source)) or 'none'}; expected array and sampling_rate, or path"
    )


def _is_scalar(value: Any) -> bool:
    try:
        return np.ndim(value) == 0
    except (RuntimeError, TypeError, ValueError):  # of a list of lists that differ in length; `as_array` names it
        return False


def _is_numbers(source: Any) -> bool:
    """Whether a source is an array or a tensor of numbers; an array of paths is none."""
    dtype = getattr(source, "dtype", None)
    return hasattr(source, "shape") and (hasattr(source, "detach") or getattr(dtype, "kind", "O") in "biufc")


def _is_table(source: Any) -> bool:
    return type(source).__name__ == "DataFrame"  # of pandas or polars; to go through one gives its columns


def _kind(source: Any) -> str:
    """Say in a few words what was given that is no recording, and the likely cause."""
    if hasattr(source, "read"):
        return f"an open file ({type(source).__name__}), which is not taken"
    if _is_table(source):
        return "a data frame; give its column of paths"
    if _is_numbers(source) and len(source.shape):
        return f"an array of shape {tuple(source.shape)} without its sample rate"
    cause = ", perhaps samples without their rate" if isinstance(source, Real | np.generic) else ""
    return f"a source of type {type(source).__name__}{cause}"


def as_rate(rate: RateLike, name: str) -> int:
    """Return a sample rate as a whole number; 44100.0 is one, as other libraries give it.

    Args:
        rate: Number of hertz.
        name: Source, for messages.

    Raises:
        AudioError: It is no whole number.
    """
    number = as_array(rate, name)
    if number.size != 1 or number.dtype.kind not in "iuf":
        what = f"an array of shape {number.shape}" if number.size != 1 else repr(rate)[:40]
        raise AudioError(
            f"{name}: a sample rate of {what}, expected a whole number of hertz such as 44100; are samples and rate swapped?"
        )
    hertz = number.item()
    if hertz != hertz or hertz in (np.inf, -np.inf) or hertz != int(hertz):
        raise AudioError(
            f"{name}: a sample rate of {hertz} Hz is not plausible, expected a whole number such as 44100; is it in kHz?"
        )
    return int(hertz)


def as_channels(samples: Shaped[np.ndarray, "..."], name: str) -> Shaped[np.ndarray, "channel sample"]:
    """Return a view of samples as [channel, sample].

    Args:
        samples: [sample] or [channel, sample].
        name: Source, for messages.

    Raises:
        AudioError: The array has another shape or type.
    """
    shape, dtype = samples.shape, samples.dtype
    if dtype.kind not in "fiu" or (dtype.itemsize > 4 and dtype.kind != "f") or dtype in (np.uint16, np.uint32):
        raise AudioError(
            f"{name}: samples of type {dtype} have no known full scale; allowed are float, int8, int16, int32 and uint8; "
            "convert with samples.astype(np.int16), or divide to [-1, 1] as float"
        )
    if samples.ndim == 1:
        return samples[np.newaxis]
    if samples.ndim != 2:
        raise AudioError(f"{name}: shape {shape}; allowed are [sample] and [channel, sample]")
    if shape[0] == 0:
        raise AudioError(f"{name}: shape {shape} has no channel; allowed are [sample] and [channel, sample]")
    if 0 < shape[1] <= shape[0]:
        raise AudioError(
            f"{name}: shape {shape} looks like [sample, channel], allowed are [sample] and [channel, sample]; "
            "hand in samples.T"
        )
    return samples


def narrow(samples: Shaped[np.ndarray, "sample channel"], name: str, rate: int, n_before: int) -> Shaped[np.ndarray, "..."]:
    """Convert samples in double precision to single, where single precision holds them.

    Args:
        samples: [sample, channel].
        name: Source, for messages.
        rate: Sample rate, Hz.
        n_before: Samples before these.

    Raises:
        AudioError: A finite sample is beyond single precision.
    """
    narrowed = to_float32(samples)
    if np.isinf(narrowed).any():
        beyond = np.argwhere(np.isinf(narrowed) & np.isfinite(samples))
        if len(beyond):
            sample, channel = (int(number) for number in beyond[0])
            raise beyond_scale(name, float(samples[sample, channel]), (n_before + sample) / rate, channel)
    return narrowed


def beyond_scale(name: str, value: float, second: float, channel: int) -> AudioError:
    """Return the error of a sample that is finite and too large.

    Args:
        name: Source.
        value: The sample.
        second: Its time.
        channel: Its channel, from 0.
    """
    return AudioError(
        f"{name}: holds {value:g} at {second:.3f} s (channel {channel + 1}), samples are expected within -1 to 1; is the "
        "file damaged?"
    )


def to_float32(samples: Shaped[np.ndarray, "channel sample"]) -> Float32[np.ndarray, "channel sample"]:
    """Floats as they are, integers divided by their full scale into [-1, 1); 8-bit ones may be unsigned, as in WAV."""
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):  # a float64 beyond float32 becomes inf, which is refused
            return samples.astype(np.float32)
    full_scale = np.float32(2 ** (8 * samples.dtype.itemsize - 1))
    offset = full_scale if samples.dtype.kind == "u" else np.float32(0)
    return (samples.astype(np.float32) - offset) / full_scale
