"""Keep freed memory for the next block instead of returning it to the system.

The front-end works on a few seconds at a time, in arrays of a few hundred KB to some MB. glibc takes such arrays from the
system and returns them each time, and the system clears each page anew: 10,600 page faults for a file of 30 s where 150
suffice. See docs/decisions/0064-freed-memory.md.
"""

import ctypes
import functools
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_KEPT = 32 << 20  # bytes; glibc allows no more, and moves its own threshold up to this if it is let
_KEPT_AT_MOST = 64 << 20  # bytes at the top of a heap, twice the other, as glibc's own rule has it


@functools.cache
def keep_freed_memory() -> bool:
    """Let the process keep up to 64 MiB of freed memory per heap; True where that was done, False without glibc.

    The setting holds for the whole process until its end, and no result depends on it. It overrides MALLOC_ variables of the
    environment.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEPT_AT_MOST))
