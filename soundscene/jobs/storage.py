"""Where finished results stand: a local folder, or any place that fsspec knows (s3://, gs://, ...)."""

from pathlib import Path

import fsspec

from soundscene.errors import TrainingError
from soundscene.files import write_atomic

SUFFIX = ".safetensors"


class Storage:
    """Results by name, each whole or absent.

    place: a folder, or a URL such as s3://bucket/run. A local file is written beside and renamed; object stores show an
    object only when it is whole.
    """

    def __init__(self, place: str | Path) -> None:
        self.place = str(place)
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.place)
            self._local = "file" in self._files.protocol
            self._files.makedirs(self._root, exist_ok=True)
        except (ImportError, OSError, ValueError) as error:
            raise TrainingError(f"{place}: results cannot be kept there ({error})") from None

    def names(self) -> set[str]:
        """Names of the results that are there."""
        paths = self._files.ls(self._root, detail=False, refresh=True)
        return {Path(path).name.removesuffix(SUFFIX) for path in paths if path.endswith(SUFFIX)}

    def read(self, name: str) -> bytes:
        """Content of a result."""
        return self._files.cat_file(f"{self._root}/{name}{SUFFIX}")

    def write(self, name: str, content: bytes) -> None:
        """Put a result there, all or nothing."""
        path = f"{self._root}/{name}{SUFFIX}"
        if self._local:
            write_atomic(Path(path), content, TrainingError)
            return
        try:
            self._files.pipe_file(path, content)
        except OSError as error:
            raise TrainingError(f"{path}: cannot be written ({error.strerror or error}); is the disk full?") from None
