"""Reference data made by programs that nobody here wrote; README.md tells which."""

from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32

_HERE = Path(__file__).parent
RATE = 22050


def wave(name: str) -> Float32[np.ndarray, " sample"]:
    """A signal by name, int16 / 32768, mono at 22050 Hz."""
    samples, rate = soundfile.read(_HERE / f"{name}.wav", dtype="float32")
    assert rate == RATE
    return samples


def arrays(name: str) -> dict[str, np.ndarray]:
    """All arrays of one .npz file."""
    with np.load(_HERE / f"{name}.npz") as data:
        return {key: data[key] for key in data.files}
