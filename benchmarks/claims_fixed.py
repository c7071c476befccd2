"""What attention is worth to a trained network: its weights as learnt, fixed for all sounds, and uniform.

    python -m benchmarks.claims_fixed RUN [RUN ...] --out docs/results/claims-fixed.json

RUN is a run folder with its models and store, which `keep_runs.py` does not carry, of `soundscene experiment CORPUS --recipe
small --set augmentation=off --systems att-crnn-mel,att-crnn-mel:network.attention_scale=printed-2h --seeds 0`, with
`--splits by=fold` or `--diagnose same-recording`.

Weights that are the same for every sound choose nothing by the sound: they scale features and frames once and for all.
So the weights of a trained network are replaced, at test, by their mean over its training segments: those over space, those
over time, or both. What is lost is what following the sound is worth to that network; what uniform weights lose beyond that
is the worth of the fixed profile.
"""

import argparse
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from benchmarks.claims_questions import ARMS, HEADS
from soundscene.bundle import load_model
from soundscene.data.corpus import Corpus
from soundscene.experiment.plan import Plan
from soundscene.experiment.results import RunFolder
from soundscene.experiment.task import Task, read_parts
from soundscene.files import write_atomic
from soundscene.member import networks_of
from soundscene.network.attention_use import learns_attention
from soundscene.network.models import AttCRNN
from soundscene.report.recipes import recipe_text
from soundscene.report.tables import generator_for
from soundscene.scoring.evaluation import LEAKAGE
from soundscene.scoring.intervals import Interval, mean_interval

LEARNT, UNIFORM = "as learnt", "uniform"
REPLACED = ("fixed over space", "fixed over time", "fixed over both", UNIFORM)


@dataclass(frozen=True)
class Weights:
    """Attention vectors that stand in for those that a network computes; None leaves them to it.

    Attributes:
        spatial: [2H].
        temporal: [frame].
    """

    spatial: Float[Tensor, " recurrent"] | None = None
    temporal: Float[Tensor, " frame"] | None = None


@dataclass(frozen=True)
class Right:
    """Which tested segments are right, by the weights of attention and the head.

    Attributes:
        by: [segment] for each (weights, head).
        groups: Of each segment's recording.
    """

    by: dict[tuple[str, str], Bool[np.ndarray, " segment"]]
    groups: list[str]


def main() -> None:
    """Measure the models of run folders and write one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    write_atomic(given.out, (json.dumps({"runs": [measured(run) for run in given.runs]}, indent=1) + "\n").encode())


def measured(run: Path) -> dict[str, object]:
    """Return accuracies of a run's networks with attention, and what they lose by other weights.

    Args:
        run: Run folder.
    """
    plan, folder = Plan.read(run), RunFolder(run)
    arms: dict[str, list[Right]] = {}
    for task in (task for task in plan.tasks() if folder.model(task).exists()):
        if (right := of_model(plan, folder, task)) is not None:
            arms.setdefault(task.system, []).append(right)
    if not arms:
        raise SystemExit(f"{run}: holds no model with attention; only the machine that trained them has them")
    return {
        "corpus": plan.corpus + (f" ({LEAKAGE})" if plan.diagnosis else ""),
        "splits": plan.text,
        "seeds": list(plan.seeds),
        "recipe": f"{recipe_text(plan.base_recipe())}, {plan.base_recipe().audio.segment_s:g}-s segments",
        "epoch": "last",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, PyTorch {torch.__version__}",
        "rows": [row for name, found in arms.items() for row in _rows(plan.corpus, name, found)],
    }


def of_model(plan: Plan, folder: RunFolder, task: Task) -> Right | None:
    """Test the model of a training with each kind of weights; None if it learns no attention.

    Args:
        plan: Of the run.
        folder: Of the run.
        task: The training.
    """
    model = load_model(folder.model(task))
    (member,) = networks_of(model.members)
    network = member.network
    if not isinstance(network, AttCRNN) or not learns_attention(network):
        return None
    training, test = read_parts(plan, task, folder.store)
    fixed = mean_weights(network, _images(training))
    assert fixed.spatial is not None
    assert fixed.temporal is not None
    uniform = (torch.full_like(vector, 1 / len(vector)) for vector in (fixed.spatial, fixed.temporal))
    kinds = (Weights(), Weights(spatial=fixed.spatial), Weights(temporal=fixed.temporal), fixed, Weights(*uniform))
    labels = test.labels(model.scenes)[test.voting]
    by = {}
    for name, weights in zip((LEARNT, *REPLACED), kinds, strict=True):
        embeddings = embed(network, _images(test), weights).float().numpy()
        for head in HEADS:
            by[name, head] = member.classify(embeddings, head).argmax(axis=1) == labels
    groups = test.groups()
    return Right(by, [groups[i] for i in np.flatnonzero(test.voting)])


@torch.inference_mode()
def mean_weights(network: AttCRNN, images: Float[Tensor, "segment channel band frame"]) -> Weights:
    """Return the means of both attention vectors over some segments.

    Args:
        network: One with attention, in evaluation mode.
        images: From the front-end.
    """
    both = [network.attend(batch) for batch in images.split(64)]
    spatial, temporal = (torch.cat(vectors).mean(dim=0) for vectors in zip(*both, strict=True))
    return Weights(spatial, temporal)


@torch.inference_mode()
def embed(
    network: AttCRNN, images: Float[Tensor, "segment channel band frame"], weights: Weights
) -> Float[Tensor, "segment embedding"]:
    """Return embeddings with some of the attention vectors replaced.

    Args:
        network: One with attention, in evaluation mode.
        images: From the front-end.
        weights: What stands in for the vectors of the network.
    """
    assert network.attention is not None
    pooled = []
    for batch in images.split(64):
        z = network.recur(network.standardise(batch))
        spatial, temporal = network.attention.attend(z)
        if weights.spatial is not None:
            spatial = weights.spatial.expand_as(spatial)
        if weights.temporal is not None:
            temporal = weights.temporal.expand_as(temporal)
        pooled.append(network.attention.pool(z, spatial, temporal))
    return torch.cat(pooled)


def _images(corpus: Corpus) -> Float[Tensor, "segment channel band frame"]:
    return torch.from_numpy(corpus.features[corpus.voting])


def _rows(corpus: str, name: str, found: Sequence[Right]) -> list[dict[str, object]]:
    """Rows of one arm: percent and points, estimate and 95 % interval over groups, all of its trainings together."""
    groups = [group for right in found for group in right.groups]
    rows = []
    for head in HEADS:
        by = {kind: np.concatenate([right.by[kind, head] for right in found]).astype(float) for kind in (LEARNT, *REPLACED)}
        row: dict[str, object] = {"arm": ARMS[name], "head": head, "trainings": len(found), "segments": len(groups)}
        row[LEARNT] = _percent(mean_interval(by[LEARNT], groups, generator_for(f"{corpus} {name} {head}")))
        for kind in REPLACED:
            lost = mean_interval(by[LEARNT] - by[kind], groups, generator_for(f"{corpus} {name} {head} {kind}"))
            row[f"lost, {kind}"] = _percent(lost)
        rows.append(row)
    return rows


def _percent(interval: Interval) -> list[float]:
    return [round(100 * value, 2) for value in (interval.estimate, interval.low, interval.high)]


if __name__ == "__main__":
    main()
