"""Cases for `benchmarks.fuzz_process` that end well, are refused, fail, crash and hang."""

import os
from collections.abc import Callable

from soundscene.errors import AudioError


def factory(word: str) -> Callable[[int], str]:
    """The function whose cases 0 to 4 do what the first line says, in this order."""

    def run(case: int) -> str:
        if case == 1:
            raise AudioError("no sound")
        if case == 2:
            raise KeyError(word)
        if case == 3:
            os._exit(7)
        if case == 4:
            while True:  # busy: CPU time counts
                pass
        return word

    return run
