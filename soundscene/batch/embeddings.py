"""Embeddings of many recordings as one file, with the path that each row belongs to.

CSV and Parquet hold the column path, then e0, e1, ... A .npy holds the matrix alone, as NumPy reads it. Its paths are in a
CSV beside it, X.paths.csv, a row each.
"""

import csv
import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from soundscene.batch.rows import as_text
from soundscene.errors import SceneError
from soundscene.files import atomic_path, write_atomic
from soundscene.texts import counted, csv_cell
from soundscene.types import Compared

SUFFIXES = (".npy", ".parquet", ".csv")


@dataclass(frozen=True, eq=False, repr=False)
class EmbeddingTable(Compared):
    """Embeddings [row, embedding], and the recording of each row."""

    paths: tuple[str, ...]
    vectors: Float32[np.ndarray, "row embedding"]

    def __repr__(self) -> str:
        """Return one line: rows and the size of an embedding."""
        return f"<EmbeddingTable {counted(len(self.vectors), 'row')} of {counted(self.vectors.shape[1], 'value')}>"

    def write(self, path: Path, safe: bool = False) -> None:
        """Write a file, whole or not at all.

        Of a .npy, an earlier matrix is removed before its paths are replaced: no matrix ever stands beside others' paths.

        Args:
            path: File of one of `SUFFIXES`.
            safe: Whether no cell of a CSV may be taken for a formula.

        Raises:
            SceneError: It cannot be written, or has another suffix.
        """
        check_suffix(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        suffix = path.suffix.lower()
        if suffix == ".npy":
            with atomic_path(path) as unfinished:
                with unfinished.open("wb") as file:
                    np.save(file, self.vectors, allow_pickle=False)
                with suppress(FileNotFoundError):
                    path.unlink()
                write_atomic(paths_beside(path), self._csv(safe, vectors=False))
        elif suffix == ".csv":
            write_atomic(path, self._csv(safe))
        else:
            with atomic_path(path) as unfinished:
                self._write_parquet(unfinished)

    def _csv(self, safe: bool, vectors: bool = True) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        n = self.vectors.shape[1] if vectors else 0
        writer.writerow(["path", *(f"e{number}" for number in range(n))])
        for path, row in zip(self.paths, self.vectors[:, :n], strict=True):
            writer.writerow([csv_cell(path, safe), *(f"{value:.9g}" for value in row)])  # 9 digits are all of a float32
        return text.getvalue().encode("utf-8", "backslashreplace")

    def _write_parquet(self, path: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        columns = {"path": pyarrow.array(map(as_text, self.paths), pyarrow.string())}
        columns |= {f"e{number}": pyarrow.array(column) for number, column in enumerate(self.vectors.T)}
        pyarrow.parquet.write_table(pyarrow.table(columns), path)


def join_embeddings(pairs: Sequence[tuple[str, Float32[np.ndarray, " embedding"]]]) -> EmbeddingTable:
    """Return the table of recordings and their vectors.

    Args:
        pairs: Path and vector of each row.
    """
    vectors = [vector for _, vector in pairs]
    return EmbeddingTable(tuple(path for path, _ in pairs), np.stack(vectors) if vectors else np.zeros((0, 0), np.float32))


def paths_beside(path: Path) -> Path:
    """Return the name of the CSV of the paths of a .npy.

    >>> paths_beside(Path("street.npy")).name
    'street.paths.csv'
    """
    return path.with_name(f"{path.stem}.paths.csv")


def check_suffix(path: Path) -> None:
    """Refuse a file for embeddings whose suffix says no form.

    Raises:
        SceneError: It is none of `SUFFIXES`.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise SceneError(f"{path}: embeddings are written to a file that ends in {', '.join(SUFFIXES)}")
