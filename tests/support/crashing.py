"""A libsndfile that crashes on files with "crash" in their names, in processes with a certain folder on their path."""

from pathlib import Path

_PROGRAM = """
import os, signal
try:
    import soundfile
except ImportError:
    soundfile = None
if soundfile:
    read = soundfile.SoundFile.read

    def crashing(self, *arguments, **named):
        if "crash" in os.path.basename(os.readlink(f"/proc/self/fd/{self.name}")):
            os.kill(os.getpid(), signal.SIGSEGV)
        return read(self, *arguments, **named)

    soundfile.SoundFile.read = crashing
"""


def crashing_libsndfile(folder: Path) -> Path:
    """A folder that makes the libsndfile of a Python process crash, if it is on its PYTHONPATH."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_PROGRAM)
    return folder
