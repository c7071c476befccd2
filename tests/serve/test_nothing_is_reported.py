"""ONNX Runtime reports nothing: it opens no connection, and leaves no identifier of the device."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from soundscene.predictor import load
load(sys.argv[1])
"""


@pytest.mark.slow
def test_no_identifier_is_left_where_a_model_is_loaded(exported: Path, tmp_path: Path) -> None:
    """ONNX Runtime 1.29 and later keep one in the folder of temporary files, unless telemetry is off."""
    hidden = ("ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "CI")  # each turns it off too
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, exported],
        env={**environment, "TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.name == ".ses"]
