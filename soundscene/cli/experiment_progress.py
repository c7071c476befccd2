"""How a run is going, in words: a line for each task that ends, one bar over all."""

import time
from collections.abc import Callable

from soundscene.experiment.plan import Plan, Task
from soundscene.experiment.worker import Event


class RunProgress:
    """Takes in what tasks say.

    bar: called with (done, in all, note); say: called with each line.
    """

    def __init__(self, bar: Callable[..., None], say: Callable[[str], None]) -> None:
        self._bar = bar
        self._say = say
        self._done = self._total = 0
        self._epochs: dict[str, str] = {}

    def started(self, plan: Plan, n: int, n_done: int) -> None:
        """How much there is to do."""
        self._done, self._total = n_done, n
        self._say(f"{n} trainings, {n_done} of them finished before; {plan.threads} thread(s) each")

    def told(self, task: Task, event: Event) -> None:
        """An epoch, an end, or a failure of a task."""
        if event.kind == "epoch":
            self._epochs[task.name] = f"{task.system} {event.numbers['epoch']:.0f}"
        else:
            self._epochs.pop(task.name, None)
            self._done += event.kind == "done"
            said = ", ".join(f"{head} {value:.3f}" for head, value in event.numbers.items() if head != "seconds")
            what = event.text or f"recordings {said}; {event.numbers.get('seconds', 0):.0f} s"
            self._say(f"{time.strftime('%H:%M:%S')} {task.system}, {task.split}, seed {task.seed}: {what}")
        self._bar(self._done, self._total, ", ".join(list(self._epochs.values())[:2]))
