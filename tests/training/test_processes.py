import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from soundscene.training.fit import fit
from tests.training.toys import N_SCENES, TINY, toy_images

ROOT = Path(__file__).parents[2]


def read(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["facts"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path):
    """torchrun, two processes on the processor, gloo between them: docs/decisions/0006."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    quiet = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*torchrun, "-m", "tests.training.rank", str(tmp_path)],
        cwd=ROOT,
        env=quiet,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    (facts, one), (other_facts, other) = (read(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    assert facts == other_facts  # the loss is that of all examples, wherever they went
    assert facts["world"] == 2
    assert facts["losses"][-1] < 0.85 * facts["losses"][0]
    running = {name for name in one if name.endswith(("running_mean", "running_var"))}
    assert len(running) == 6
    for name in one.keys() - running:
        assert torch.equal(one[name], other[name]), name
    # Batch norm saw two halves of the last batch; DDP hands rank 0's statistics to all only before the next one.
    assert all(not torch.equal(one[name], other[name]) for name in running)
    kept = load_file(tmp_path / "checkpoint.safetensors")
    assert all(torch.equal(kept[f"network/{name}"], one[name]) for name in one)  # rank 0's are kept

    recipe = TINY.with_settings(["training.epochs=8", "training.learning_rate=0.02"])
    alone = fit(recipe, toy_images(31), N_SCENES)
    losses = torch.tensor([[row["loss"] for row in alone.history], facts["losses"]])
    assert not torch.equal(losses[0], losses[1])  # dropout and batch norm are those of each process
    assert (losses[0] - losses[1]).abs().max() < 0.2  # but it is the same training
