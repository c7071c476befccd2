"""The command line inside the process of the tests."""

from pathlib import Path

import pytest

from soundscene.cli.app import main
from tests.support.tiny import SETTINGS

TINY_SET = [word for setting in SETTINGS for word in ("--set", setting)]


def run(*arguments: str | Path) -> int:
    """Exit code of a command line."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in arguments])
    assert isinstance(end.value.code, int)
    return end.value.code
