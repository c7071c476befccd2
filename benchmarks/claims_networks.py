"""What the trained networks of a study do inside: tanh of equation (9) near its ends, and embeddings under dropout.

    python -m benchmarks.claims_networks RUN --out docs/results/claims-networks.json

RUN is a run folder of `benchmarks.claims` with its models and store, which `keep_runs.py` does not carry. Segments of each
training part, at most 512. Beyond 0.9 tanh passes on less than a fifth of a gradient. Dropout before a maximum makes it
larger, because the values that are left are scaled up and the largest of many is taken; so the classifier is trained on
other embeddings than it is tested on, and its log loss compares with that of no other arm.
"""

import argparse
import copy
import json
import os
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.claims_questions import ARMS
from soundscene.bundle import load_model
from soundscene.experiment.plan import Plan, Task
from soundscene.experiment.results import RunFolder
from soundscene.experiment.task import read_parts
from soundscene.files import write_atomic
from soundscene.member import networks_of
from soundscene.network.models import AttCRNN, Network
from soundscene.report.recipes import recipe_text

SEGMENTS, NEAR_ONE = 512, 0.9


def main() -> None:
    """Measure all models of a run folder and write one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    write_atomic(given.out, (json.dumps(measured(given.run), indent=1) + "\n").encode())


def measured(run: Path) -> dict[str, object]:
    """Return the figures of each arm: mean and range over its models.

    Args:
        run: Run folder.
    """
    plan, folder = Plan.read(run), RunFolder(run)
    arms: dict[str, list[dict[str, float]]] = {}
    there = [task for task in plan.tasks() if folder.model(task).exists()]
    whole = whole_splits(plan, there)
    for task in (task for task in there if (task.split, task.seed) in whole):
        (member,) = networks_of(load_model(folder.model(task)).members)
        training, _ = read_parts(plan, task, folder.store)
        voting = np.flatnonzero(training.voting)
        some = voting[np.linspace(0, len(voting) - 1, min(len(voting), SEGMENTS)).astype(int)]
        images = torch.from_numpy(training.features[some])
        arms.setdefault(task.system, []).append(of_network(member.network, images))
    if not arms:
        raise SystemExit(f"{run}: holds no split with the models of all arms; only the machine that trained them has them")
    study = {
        "corpus": plan.corpus,
        "splits": plan.text,
        "trainings": [f"{split}, seed {seed}" for split, seed in whole],
        "recipe": recipe_text(plan.base_recipe()),
        "diagnosis": plan.diagnosis,
        "epoch": "last",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, PyTorch {torch.__version__}",
    }
    return {
        "run": study,
        "arms": [{"arm": ARMS[name], "models": len(found), **_summary(found)} for name, found in arms.items()],
    }


def whole_splits(plan: Plan, there: Sequence[Task]) -> list[tuple[str, int]]:
    """Return splits and seeds of which all arms are there; else arms would be of different recordings.

    Args:
        plan: Of the run.
        there: Trainings that have what is needed.
    """
    trained = Counter((task.split, task.seed) for task in there)
    return [place for place, n in trained.items() if n == len(plan.systems)]


@torch.inference_mode()
def of_network(network: Network, images: Tensor) -> dict[str, float]:
    """Return by how much embeddings are longer in training than in evaluation, and the share of tanh beyond 0.9.

    As in training: with dropout, and batch norm by the statistics of these segments.

    Args:
        network: In evaluation mode.
        images: [segment, channel, band, frame] from the front-end.
    """
    torch.manual_seed(0)
    plain = network.embed(images)
    trained = copy.deepcopy(network).train().embed(images)  # a copy, because batch norm moves its statistics
    found = {"embedding, training over evaluation": float(trained.norm(dim=1).mean() / plain.norm(dim=1).mean())}
    if isinstance(network, AttCRNN) and network.attention and network.attention.scale == "mean-preserving":
        z = network.recur(network.standardise(images))
        spatial, temporal = network.attention.attend(z)
        inside = temporal[:, :, None] * spatial[:, None, :] * (z.shape[1] * z.shape[2]) * z
        found["tanh beyond 0.9"] = float((inside.tanh().abs() > NEAR_ONE).float().mean())
    return found


def _summary(found: list[dict[str, float]]) -> dict[str, list[float]]:
    """Mean, smallest and largest of each figure."""
    values = {name: [one[name] for one in found] for name in found[0]}
    return {name: [round(x, 4) for x in (float(np.mean(v)), min(v), max(v))] for name, v in values.items()}


if __name__ == "__main__":
    main()
