"""Windows, and the grid of frames: which samples a frame owns, and what stands where there are none."""

import numpy as np
from jaxtyping import Float64, Int

# pocketfft transforms as many rows at once as a SIMD register holds and the rest one by one. Multiples of 8 doubles
# (the widest register there is) leave no rest, so a spectrum cannot depend on how many neighbours it was computed with.
ROWS = 8


def hann(n: int) -> Float64[np.ndarray, " tap"]:
    """Return the periodic Hann window of `n` taps: 0.5 - 0.5 cos(2 pi i / n)."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)


def root_hamming(n: int) -> Float64[np.ndarray, " tap"]:
    """Return the square root of the periodic Hamming window of `n` taps, scaled so that squares `n / 2` apart add to one.

    Used for analysis and for synthesis, it reconstructs the input where the spectrum is left unchanged.
    """
    return np.sqrt((0.54 - 0.46 * np.cos(2 * np.pi * np.arange(n) / n)) / 1.08)


def mirror(start: int, stop: int, n: int) -> Int[np.ndarray, " index"]:
    """Return indices start .. stop - 1 into `n` samples extended by reflection that repeats the samples at both ends.

    The rule of Kaldi (snip_edges=false) and of VOICEBOX's `v_enframe`. Indices may lie any number of lengths outside.

    >>> mirror(-2, 5, 3)
    array([1, 0, 0, 1, 2, 2, 1])

    Args:
        start: First index.
        stop: Index after the last one.
        n: Samples that exist.
    """
    index = np.arange(start, stop) % (2 * n)
    return np.where(index < n, index, 2 * n - 1 - index)


def owned_frames(n: int, hop: int) -> int:
    """Count the frames of `n` samples when frame t owns samples [hop t, hop (t + 1)): n // hop.

    >>> owned_frames(44100, 551)
    80

    Args:
        n: Samples of the piece.
        hop: Samples between frames.
    """
    return n // hop


def owned_start(window: int, hop: int) -> int:
    """Return the first sample (negative) of the window of frame 0 when it is centred on the samples that the frame owns.

    Args:
        window: Length of the window in samples.
        hop: Samples between frames.
    """
    return hop // 2 - window // 2
