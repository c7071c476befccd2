"""For the schemathesis program: every second body becomes the sound file that the variable SOUND names."""

import itertools
import os
from pathlib import Path
from typing import Any

import schemathesis

_SOUND = Path(os.environ["SOUND"]).read_bytes() if "SOUND" in os.environ else b""
_numbers = itertools.count()


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    return _SOUND if next(_numbers) % 2 else body
