"""Which paths have been met, in 8 bytes a path: a million strings would take more memory than the model."""

from hashlib import blake2b

import numpy as np
from jaxtyping import UInt64

_FRESH = 1 << 16  # digests kept apart before they are sorted in


class PathSet:
    """A set of texts by digests of 8 bytes, sorted in one array, the latest in a set beside it.

    Two of a million texts share a digest with a probability of 3e-8; the second then counts as met.
    """

    def __init__(self) -> None:
        self._sorted: UInt64[np.ndarray, " path"] = np.zeros(0, np.uint64)
        self._fresh: set[int] = set()

    def __len__(self) -> int:
        return len(self._sorted) + len(self._fresh)

    def __contains__(self, text: str) -> bool:
        return self._has(_digest(text))

    def add(self, text: str) -> bool:
        """Take a text in; whether it is new."""
        number = _digest(text)
        if self._has(number):
            return False
        self._fresh.add(number)
        if len(self._fresh) >= _FRESH:
            fresh = np.fromiter(self._fresh, np.uint64, len(self._fresh))
            self._sorted = np.sort(np.concatenate([self._sorted, fresh]))
            self._fresh = set()
        return True

    def _has(self, number: int) -> bool:
        if number in self._fresh:
            return True
        place = int(np.searchsorted(self._sorted, np.uint64(number)))
        return place < len(self._sorted) and int(self._sorted[place]) == number


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
