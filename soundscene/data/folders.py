"""Sound files named one by one or found in folders."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from soundscene.data.manifest import AUDIO_SUFFIXES, walk
from soundscene.errors import AudioError


def sound_files(paths: Sequence[Path]) -> Iterator[Path]:
    """Files as given, whatever their suffix (a missing one is found out by reading it), and all sound files in folders.

    Raises: `AudioError` for a folder without any sound file.
    """
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = [file for file in walk(path) if file.suffix.lower() in AUDIO_SUFFIXES]
        if not found:
            raise AudioError(
                f"{path}: no sound files in this folder; known suffixes are {', '.join(sorted(AUDIO_SUFFIXES))}"
            )
        yield from found
