"""Data frames of pandas or polars, whichever is there; neither is a dependency."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from soundscene.errors import SceneError


def data_frame(rows: Sequence[dict[str, Any]], columns: Sequence[str], library: str | None = None) -> Any:
    """Make a data frame of pandas or polars.

    Args:
        rows: With a value for each column.
        columns: Names, in order.
        library: "pandas" or "polars"; by default the one that the program has imported, else the one that is there.

    Raises:
        SceneError: Neither is installed, or not the one asked for.
    """
    known = ("pandas", "polars")
    wanted = (library,) if library else (*(k for k in known if k in sys.modules), *known)
    for name in wanted:
        if name not in known:
            raise SceneError(f"to_frame: library {name!r}; allowed are pandas and polars")
        if sys.modules.get(name) or find_spec(name):
            return import_module(name).DataFrame({column: [row[column] for row in rows] for column in columns})
    raise SceneError(f"to_frame needs {library or 'pandas or polars'}: pip install {library or 'pandas'}")
