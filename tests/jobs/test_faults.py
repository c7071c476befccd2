"""Every change that a run makes on the disk fails once, and kills the run once; resumed, it ends as if nothing had been.

Ten kills of whole processes at random moments: tests/experiment/test_kill.py.
"""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from benchmarks.kill import differences
from soundscene.batch.run import run_batch
from soundscene.data import store as store_module
from soundscene.data.corpus import Corpus
from soundscene.data.designs import Design
from soundscene.data.store import Extract, Representation
from soundscene.errors import SceneError
from soundscene.experiment import run as run_module
from soundscene.experiment.local import TaskCallback, run_together
from soundscene.experiment.plan import Plan, Task
from soundscene.experiment.request import Request
from soundscene.experiment.results import RunFolder
from soundscene.experiment.run import RunOptions, run_experiment
from soundscene.files import write_atomic
from soundscene.recipe import Recipe
from soundscene.systems.catalogue import SystemSpec
from soundscene.systems.system import FitContext, Fitted, System, SystemPredictions
from soundscene.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from soundscene.types import Recording, Split
from tests.support.faults import DIED, DONE, REFUSED, Kind, in_fork
from tests.support.shards import Answering, config

EPOCHS = 2
FABRIC = Fabric(accelerator="cpu", devices=1)
PATHS = [f"{n}{'bad' if n == 3 else ''}.wav" for n in range(7)]


# --- a batch ----------------------------------------------------------------------------------------------------------


def batch(out: Path) -> None:
    run_batch(Answering(), config(), PATHS, out, 3)


def rows(out: Path) -> list[str]:
    """All lines of all shards; a damaged shard or a row that comes twice shows as a difference."""
    return sorted(line for path in out.glob("part-*.csv") for line in path.read_text().splitlines()[1:] if line)


@pytest.mark.budget(20)  # every change on the disk, once each
@pytest.mark.parametrize("kind", ["fail", "die"])
def test_a_batch_survives_a_fault_at_every_change(tmp_path: Path, kind: Kind) -> None:
    code, n = in_fork(lambda: batch(tmp_path / "whole"), tmp_path / "whole")
    assert code == DONE
    assert n >= 15, "run.json and three shards: opened, synced, renamed; the folder; the lock"
    expected = rows(tmp_path / "whole")
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    codes = set()
    for number in range(1, n + 1):
        out = tmp_path / f"{kind}-{number}"
        code, _ = in_fork(lambda out=out: batch(out), out, kind, number)
        codes.add(code)
        batch(out)
        assert rows(out) == expected, f"change {number}"
        left = {path.name for path in out.iterdir() if path.stat().st_size}  # an empty lock may stay, and blocks nobody
        assert left <= names | {"part-00003.csv"}, f"change {number}"
    assert codes == ({DONE, REFUSED} if kind == "fail" else {DIED})


# --- an experiment ----------------------------------------------------------------------------------------------------


def extract(recording: Recording) -> Extract:
    number = int(recording.path.stem)
    draws = np.random.default_rng(number)
    features = draws.normal(size=(2, 4)).astype(np.float32)
    return Extract(features, np.array([0.0, 2.0]), np.zeros(2, bool), np.ones(2, bool), f"hash {number}", 4.0, ())


def fit(training: Corpus, context: FitContext) -> Fitted:
    """A system that learns nothing, but resumes from a checkpoint as the networks do: weights depend on all epochs."""
    scenes = sorted({r.scene for r in training.recordings})
    assert context.checkpoint is not None
    state = load_checkpoint(context.checkpoint, "stub") or TrainingState(network={"w": torch.ones(4, len(scenes))})

    def predict(corpus: Corpus) -> dict[str, SystemPredictions]:
        logits = corpus.features.astype(np.float64) @ state.network["w"].double().numpy()
        segment = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        recording = segment.reshape(-1, 2, len(scenes)).sum(1)
        recording -= np.log(np.exp(recording).sum(1, keepdims=True))
        return {"softmax": SystemPredictions(segment, corpus.recording.astype(np.int64), recording, recording)}

    for epoch in range(state.epoch, EPOCHS):
        draws = torch.Generator().manual_seed(epoch + 10 * context.seed)
        state.network = {"w": 0.5 * state.network["w"] + torch.randn(4, len(scenes), generator=draws)}
        state.epoch = epoch + 1
        state.history.append({"epoch": float(state.epoch), "seconds": 0.1, "loss": float(state.network["w"].sum())})
        if context.observer:
            context.observer(state.history[-1], predict)
        save_checkpoint(context.checkpoint, state, "stub")
    weights = json.dumps(state.network["w"].tolist()).encode()
    return Fitted(predict, EPOCHS, state.history, save=lambda path, facts: write_atomic(path, weights))


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system as a module of soundscene.systems, and tasks in the process of the run."""
    module = ModuleType("soundscene.systems.stub")
    module.system = lambda recipe, name, title, front_end=None: System(  # type: ignore[attr-defined]
        name, title, Representation("numbers", "numbers 1", extract), {}, fit
    )
    monkeypatch.setitem(sys.modules, "soundscene.systems.stub", module)

    def here(
        folder: RunFolder, plan: Plan, tasks: list[Task], workers: int, device: str, progress: TaskCallback
    ) -> dict[str, str]:
        return run_together(folder, plan, tasks, FABRIC, progress)

    monkeypatch.setattr(run_module, "run_local", here)
    monkeypatch.setattr(store_module, "_alone", lambda work, recording: work(recording))  # a process each takes too long


@pytest.fixture
def request_of_stub(tmp_path: Path) -> Request:
    sounds = tmp_path / "sound"
    sounds.mkdir()
    recordings = []
    for number in range(6):
        (sounds / f"{number}.wav").write_text(str(number))
        recordings.append(Recording(sounds / f"{number}.wav", "ab"[number % 2], f"g{number}"))
    split = Split(tuple(recordings[:4]), tuple(recordings[4:]))
    design = Design({"split": split}, "once", "one split")
    spec = SystemSpec("stub", "Stub", "stub")
    return Request("toys", sounds, tuple(recordings), design, Recipe.small(), (spec,))


@pytest.mark.budget(20)  # every change on the disk, once each
@pytest.mark.parametrize("kind", [pytest.param("fail", marks=pytest.mark.slow), pytest.param("die", marks=pytest.mark.kill)])
@pytest.mark.usefixtures("stub")
def test_an_experiment_survives_a_fault_at_every_change(tmp_path: Path, request_of_stub: Request, kind: Kind) -> None:
    options = RunOptions(workers=1, threads=1, device="cpu")

    def experiment(out: Path) -> None:
        failures = run_experiment(request_of_stub, out, options).failures
        if failures:
            raise SceneError(str(failures))

    whole = tmp_path / "whole"
    code, n = in_fork(lambda: experiment(whole), whole)
    assert code == DONE
    assert n >= 25, "store, plan, diary, checkpoints, model, result, locks"
    for number in range(1, n + 1):
        out = tmp_path / f"{kind}-{number}"
        code, _ = in_fork(lambda out=out: experiment(out), out, kind, number)
        assert code in ((DONE, REFUSED) if kind == "fail" else (DIED,)), f"change {number}"
        experiment(out)
        assert differences(whole, out) + unlike_models(whole, out) == [], f"change {number}"
        assert not list((out / "work").iterdir()), f"change {number}"


def unlike_models(one: Path, other: Path) -> list[str]:
    paths = [run / "models" / "stub__split__seed0.safetensors" for run in (one, other)]
    return [] if paths[0].read_bytes() == paths[1].read_bytes() else ["models differ"]
