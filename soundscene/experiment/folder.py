"""A run folder: plan, store, results, what half-trained tasks go on from, and the lock that keeps a second run out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from soundscene.errors import TrainingError
from soundscene.experiment.plan import Plan, Task
from soundscene.experiment.results import SplitResult
from soundscene.jobs.storage import Storage


class RunFolder:
    """The places of a run.

    path: of the folder; results: another place for finished results (see `Storage`), kept in the file `results` of the folder.
    """

    def __init__(self, path: Path, results: str | None = None) -> None:
        self.path = path
        self.store = path / "store"
        self._pointer = path / "results-are-at"
        if results is None and self._pointer.exists():
            results = self._pointer.read_text(encoding="utf-8").strip()
        elif results is not None:
            self._create()
            self._pointer.write_text(results + "\n", encoding="utf-8")
        self.results = results or str(path / "results")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The folder for one run alone; a killed run's lock is gone with it.

        Raises: `TrainingError` when another run has it, or when it cannot be made.
        """
        self._create()
        lock = FileLock(self.path / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise TrainingError(
                f"{self.path}: another run is working in it; wait for its end, or choose another --out"
            ) from None
        except OSError as error:
            raise TrainingError(f"{self.path}: cannot be written ({error.strerror or error})") from None
        try:
            yield
        finally:
            lock.release()

    def work(self, task: Task) -> Path:
        """Folder of a task that is not finished."""
        folder = self.path / "work" / task.name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def model(self, task: Task) -> Path:
        """File of a task's model."""
        return self.path / "models" / f"{task.name}.safetensors"

    def read_results(self, plan: Plan) -> tuple[list[SplitResult], list[Task]]:
        """All results of a plan in the order of its tasks, and the tasks that have none yet."""
        shelf = Storage(self.results)
        there = shelf.names()
        found = [SplitResult.from_bytes(shelf.read(t.name), t.name) for t in plan.tasks() if t.name in there]
        return found, [t for t in plan.tasks() if t.name not in there]

    def _create(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"{self.path}: cannot be made ({error.strerror or error})") from None
