"""What shapes and types of sample arrays are understood."""

import numpy as np
from jaxtyping import Float32, Shaped

from soundscene.errors import AudioError


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


def to_float32(samples: Shaped[np.ndarray, "channel sample"]) -> Float32[np.ndarray, "channel sample"]:
    """Floats as they are, integers divided by their full scale into [-1, 1); 8-bit ones may be unsigned, as in WAV."""
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, and the gate names it
            return samples.astype(np.float32)
    full_scale = np.float32(2 ** (8 * samples.dtype.itemsize - 1))
    offset = full_scale if samples.dtype.kind == "u" else np.float32(0)
    return (samples.astype(np.float32) - offset) / full_scale
