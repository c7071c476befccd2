"""`predict --out` where the lock cannot be taken: one line and exit code 2, never a loop."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tiny import recording, write

LIMIT_S = 60  # of a process that has to import PyTorch


@pytest.mark.budget(15)  # a process of its own, which can be ended if it loops
def test_a_lock_that_is_a_directory_ends_predict_with_one_line(model: Path, tmp_path: Path) -> None:
    sound, out = write(tmp_path / "x.wav", recording("rain", 2.2, 0)), tmp_path / "rows"
    (out / "lock").mkdir(parents=True)
    words = ("-m", "soundscene", "predict", str(model), str(sound), "--out", str(out))
    ended = subprocess.run([sys.executable, *words], check=False, capture_output=True, text=True, timeout=LIMIT_S)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("soundscene: ")
    assert "lock: is a directory" in line
    assert [path.name for path in out.iterdir()] == ["lock"]
