"""Features of a corpus on disk: computed once, by several processes, appended, and never half-written.

A store is a folder for one representation. `values.bin` holds the float16 values of all segments one after another,
`journal.jsonl` a line for each recording that is complete: its identity (path, size, time of change), where its values are,
and what else is known of it. A line is written after its values, so an interrupted run resumes behind the last line.
float16 keeps 11 bits: their effect on predictions is measured in docs/decisions/0050-feature-store.md.
"""

import hashlib
import json
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from jaxtyping import Bool, Float32, Float64
from threadpoolctl import ThreadpoolController, threadpool_limits

from soundscene.audio.quiet import silence_decoders
from soundscene.data.corpus import Corpus, reason
from soundscene.errors import AudioError, ManifestError, TrainingError, unexpected
from soundscene.processes import deaf_to_ctrl_c, server_context
from soundscene.texts import parse_json, short
from soundscene.types import Recording

VERSION = 1  # of the code that makes values; another one is another store
DTYPE = np.dtype("<f2")


@dataclass(frozen=True)
class Extract:
    """Hold the features of one recording.

    Attributes:
        features: [segment, ...].
        start_s: [segment], seconds, as in `Corpus`.
        silent: [segment], as in `Corpus`.
        regular: [segment], as in `Corpus`.
        content_hash: Hash of the audio.
        duration_s: Seconds.
        notes: What may make a prediction worse.
    """

    features: Float32[np.ndarray, "segment ..."]
    start_s: Float64[np.ndarray, " segment"]
    silent: Bool[np.ndarray, " segment"]
    regular: Bool[np.ndarray, " segment"]
    content_hash: str
    duration_s: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Representation:
    """Describe how recordings become features.

    Attributes:
        name: For messages and folders.
        key: Everything that decides the values beside the audio: settings and a version.
        extract: Function from a recording to features, picklable for other processes; it raises `AudioError`.
    """

    name: str
    key: str
    extract: Callable[[Recording], Extract]


class FeatureStore:
    """Store the features of one representation, for any number of recordings.

    Args:
        folder: Holds the stores of all representations; this one has a subfolder named after its key.
        representation: How recordings become features.
    """

    def __init__(self, folder: Path, representation: Representation) -> None:
        digest = hashlib.sha256(f"{VERSION} {representation.key}".encode()).hexdigest()[:12]
        self.representation = representation
        self.folder = folder / f"{representation.name}-{digest}"
        self._rows: dict[str, dict[str, Any]] = {}
        self._read_from = 0

    def build(
        self, recordings: Sequence[Recording], workers: int = 1, progress: Callable[[int, int], None] | None = None
    ) -> dict[Path, str]:
        """Compute what is missing. What is complete stays, whatever happens to the rest.

        Args:
            recordings: Rows of a manifest.
            workers: Processes; 1 is this one.
            progress: Called with (recordings done, recordings in all).

        Returns:
            The recordings that cannot be used, by path, with the reason.

        Raises:
            TrainingError: The folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(self.folder / "lock") and not os.path.isfile(self.folder / "lock"):
                raise TrainingError(f"{self.folder / 'lock'}: is not a file, expected a lock file; remove it")
            with FileLock(self.folder / "lock"):
                return self._build(recordings, workers, progress)
        except OSError as error:
            raise TrainingError(
                f"{self.folder}: cannot be written ({error.strerror or error}); is the folder there, writable, and not full?"
            ) from None

    def load(self, recordings: Sequence[Recording]) -> Corpus:
        """Load the features of some recordings into memory, as float32.

        Raises:
            ManifestError: A recording is not in the store, or was changed since.
        """
        self._read_journal()
        rows = [self._rows.get(_identity(r)) for r in recordings]
        for recording, row in zip(recordings, rows, strict=True):
            if row is None:
                raise ManifestError(f"{recording.path}: not in the store {self.folder}, or changed since; build it again")
        entries = [row for row in rows if row is not None]
        shape = tuple(entries[0]["shape"]) if entries else (0,)
        size = int(np.prod(shape))
        counts = [row["count"] for row in entries]
        features = np.empty((sum(counts), *shape), np.float32)
        at = 0
        with ExitStack() as stack:
            file = stack.enter_context((self.folder / "values.bin").open("rb")) if entries else None
            for row in entries:
                assert file is not None
                file.seek(row["first"])
                values = np.frombuffer(file.read(row["count"] * size * DTYPE.itemsize), DTYPE)
                features[at : at + row["count"]] = values.reshape(row["count"], *shape)
                at += row["count"]

        def joined(name: str, dtype: type) -> Any:
            return np.array([value for row in entries for value in row[name]], dtype=dtype)

        return Corpus(
            recordings=tuple(recordings),
            features=features,
            recording=np.repeat(np.arange(len(entries)), counts),
            start_s=joined("start_s", np.float64),
            silent=joined("silent", np.bool_),
            regular=joined("regular", np.bool_),
            content_hash=tuple(row["content_hash"] for row in entries),
            duration_s=tuple(row["duration_s"] for row in entries),
            notes=tuple(tuple(row["notes"]) for row in entries),
        )

    def content_hashes(self, recordings: Sequence[Recording]) -> dict[Path, str]:
        """Return the content hash of each stored recording, by path, for the leakage check."""
        self._read_journal()
        rows = ((r.path, self._rows.get(_identity(r))) for r in recordings)
        return {path: row["content_hash"] for path, row in rows if row is not None}

    def _build(
        self, recordings: Sequence[Recording], workers: int, progress: Callable[[int, int], None] | None
    ) -> dict[Path, str]:
        self._read_journal()
        missing = list({key: r for r in recordings if (key := _identity(r)) not in self._rows}.values())
        unreadable: dict[Path, str] = {}
        end = max((row["first"] + _n_bytes(row) for row in self._rows.values()), default=0)
        with (self.folder / "values.bin").open("ab") as values, (self.folder / "journal.jsonl").open("ab") as journal:
            values.truncate(end)  # what a killed run left without a line
            journal.truncate(self._read_from)
            for done, (recording, extract) in enumerate(self._extracts(missing, workers), 1):
                if isinstance(extract, Extract):
                    end = _append(values, journal, end, recording, extract)
                else:
                    unreadable[recording.path] = extract
                if progress:
                    progress(done, len(missing))
        self._read_journal()
        return unreadable

    def _extracts(self, recordings: Sequence[Recording], workers: int) -> Iterator[tuple[Recording, Extract | str]]:
        """Each recording with its values, or with what is wrong with it, in order, few at a time."""
        work = _Extraction(self.representation)
        if workers == 1:
            yield from self._one_by_one(work, recordings)
            return
        rest = deque(recordings)
        while rest:
            pool = _pool(workers)
            jobs: deque[tuple[Recording, Future[Extract | str]]] = deque()
            try:
                while rest or jobs:
                    while rest and len(jobs) < 4 * workers:
                        jobs.append((rest[0], _submit(pool, work, rest[0])))
                        rest.popleft()
                    recording, job = jobs[0]
                    yield recording, job.result()
                    jobs.popleft()
            except BrokenProcessPool:  # a process has died, and all jobs with it: which recording was it?
                pool.shutdown(cancel_futures=True)
                yield from ((recording, _alone(work, recording)) for recording, _ in jobs)
            finally:
                pool.shutdown(cancel_futures=True)

    def _one_by_one(self, work: "_Extraction", recordings: Sequence[Recording]) -> Iterator[tuple[Recording, Extract | str]]:
        """Work in this process; a recording that killed it is tried in another one by the next run."""
        in_work, threads = self.folder / "in-work", ThreadpoolController()
        suspect = in_work.read_text(encoding="utf-8", errors="surrogateescape") if in_work.exists() else ""
        try:
            for recording in recordings:
                if (identity := _identity(recording)) == suspect:
                    yield recording, _alone(work, recording)
                    continue
                in_work.write_text(identity, encoding="utf-8", errors="surrogateescape")
                with threads.limit(limits=1):  # as in the other processes: products round otherwise with more
                    extract = work(recording)
                yield recording, extract
        finally:  # also of an interruption or a full disk: only the death of this process leaves a suspect
            in_work.unlink(missing_ok=True)

    def _read_journal(self) -> None:
        """Take in the lines that are complete and whose values are there."""
        journal, values = self.folder / "journal.jsonl", self.folder / "values.bin"
        if not (journal.exists() and values.exists()):
            return
        n_bytes = values.stat().st_size
        with journal.open("rb") as file:
            file.seek(self._read_from)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                try:
                    row = parse_json(line)
                    end = row["first"] + _n_bytes(row)
                except (ValueError, KeyError, TypeError, OverflowError) as error:
                    raise ManifestError(
                        f"{journal}: damaged ({short(str(error))}); delete the folder {self.folder} to compute it again"
                    ) from None
                if end > n_bytes:
                    return
                self._rows[row["identity"]] = row
                self._read_from += len(line)


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, server_context(), _begin)


def _submit(pool: ProcessPoolExecutor, work: "_Extraction", recording: Recording) -> "Future[Extract | str]":
    with deaf_to_ctrl_c():  # the first job starts the processes
        return pool.submit(work, recording)


def _alone(work: "_Extraction", recording: Recording) -> Extract | str:
    """Work in a process for one recording, whose end is the error of that recording."""
    pool = _pool(1)
    try:
        return _submit(pool, work, recording).result()
    except BrokenProcessPool:
        error = AudioError(f"{recording.path}: ends the process that reads it; is it damaged, or too long for the memory?")
        return reason(recording, error)
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """A process that reads sound: one thread, because those of BLAS that wait for each other cost ten times more."""
    threadpool_limits(1)
    silence_decoders()
    end_with_parent()


def end_with_parent() -> None:
    """Let this process end when the one that started it ends, even if that was killed and could tell nobody."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@dataclass(frozen=True)
class _Extraction:
    """The work of a process: errors of the sound come back as text, because one file must not end the others."""

    representation: Representation

    def __call__(self, recording: Recording) -> Extract | str:
        try:
            return self.representation.extract(recording)
        except AudioError as error:
            return reason(recording, error)
        except Exception as error:
            return reason(recording, unexpected(str(recording.path), error))


def _append(values: BinaryIO, journal: BinaryIO, first: int, recording: Recording, extract: Extract) -> int:
    """Values, then their line; the place behind them."""
    values.write(np.ascontiguousarray(extract.features, DTYPE).data)
    values.flush()
    row = {
        "identity": _identity(recording),
        "first": first,
        "count": len(extract.features),
        "shape": extract.features.shape[1:],
        "start_s": extract.start_s.tolist(),
        "silent": extract.silent.tolist(),
        "regular": extract.regular.tolist(),
        "content_hash": extract.content_hash,
        "duration_s": extract.duration_s,
        "notes": extract.notes,
    }
    journal.write(json.dumps(row).encode() + b"\n")
    journal.flush()
    return first + _n_bytes(row)


def _n_bytes(row: dict[str, Any]) -> int:
    return row["count"] * int(np.prod(row["shape"])) * DTYPE.itemsize


def _identity(recording: Recording) -> str:
    """A file as it was when it was read: another size or time of change is another recording."""
    try:
        facts = os.stat(recording.path)
    except OSError as error:
        raise ManifestError(f"{recording.path}: cannot be read ({error.strerror})") from None
    return f"{facts.st_size} {facts.st_mtime_ns} {recording.path.resolve()}"
