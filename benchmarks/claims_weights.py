"""What the weights of attention are worth to a trained network: as learnt, another sound's, fixed, and uniform.

    python -m benchmarks.claims_weights RUN [RUN ...] --out docs/results/claims-weights.json

RUN is a run folder with its models and store, which `keep_runs.py` does not carry, of `soundscene experiment CORPUS --recipe
small --set augmentation=off --systems att-crnn-mel,att-crnn-mel:network.attention_scale=printed-2h --seeds 0`, with
`--splits by=fold` or `--diagnose same-recording`.

Weights that follow the sound choose by it; weights that are the same for every sound only scale features and frames. So,
at test, each segment gets the weights of another segment of its part, drawn at random, never its own, each once: of any
scene, over time and over space or over one of them alone. Or the mean over the training segments that were heard, or uniform
weights. A head that was trained on learnt weights may lose only because it does not fit other embeddings. So an SVM and a
softmax layer are also fitted anew to those training segments under the same kind of weights.
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
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor, nn

from benchmarks.claims_networks import whole_splits
from benchmarks.claims_questions import ARMS, HEADS
from soundscene.bundle import load_model
from soundscene.data.corpus import Corpus
from soundscene.experiment.plan import Plan, Task
from soundscene.experiment.results import RunFolder, SplitResult
from soundscene.experiment.task import read_parts
from soundscene.files import write_atomic
from soundscene.member import NetworkMember, networks_of
from soundscene.network.attention_use import learns_attention
from soundscene.network.models import AttCRNN
from soundscene.report.recipes import recipe_text
from soundscene.report.tables import generator_for
from soundscene.scoring.evaluation import LEAKAGE
from soundscene.scoring.intervals import Interval, mean_interval
from soundscene.training.calibrate import fit_softmax, fit_svm

LEARNT, FIXED, UNIFORM = "as learnt", "fixed", "uniform"
DRAWN = ("another sound's", "another sound's over time", "another sound's over space")
KINDS = (LEARNT, *DRAWN, FIXED, UNIFORM)
ANEW = ("svm, fitted anew", "softmax, fitted anew")
DRAWS = 3  # of other segments; a segment counts as right by its mean over them


@dataclass(frozen=True)
class Attended:
    """What attention pooling reads of some segments.

    Attributes:
        z: Output of the GRUs.
        spatial: Weights of its features.
        temporal: Weights of its frames.
    """

    z: Float[Tensor, "segment frame recurrent"]
    spatial: Float[Tensor, "segment recurrent"]
    temporal: Float[Tensor, "segment frame"]


@dataclass(frozen=True)
class Correct:
    """Which tested segments of one training are classified correctly.

    Attributes:
        by: [segment] for each kind of weights and head, 1 where it is right; the mean over the draws where there are some.
        groups: Of each segment's recording.
    """

    by: dict[tuple[str, str], Float64[np.ndarray, " segment"]]
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

    Splits and seeds count whose networks all have a model, or arms would be of different recordings.

    Args:
        run: Run folder.
    """
    plan, folder = Plan.read(run), RunFolder(run)
    results = {(r.system, r.split, r.seed): r for r in folder.read_results(plan)[0]}
    there = [
        task for task in plan.tasks() if folder.model(task).exists() and (task.system, task.split, task.seed) in results
    ]
    whole = whole_splits(plan, there)
    arms: dict[str, list[Correct]] = {}
    for task in (task for task in there if (task.split, task.seed) in whole):
        member = _with_attention(folder, task)
        if member is not None:
            found = of_training(member, plan, folder, task, results[task.system, task.split, task.seed])
            arms.setdefault(task.system, []).append(found)
    if not arms:
        raise SystemExit(f"{run}: holds no split with models of all arms, or none with attention; keep_runs.py carries none")
    return {
        "corpus": plan.corpus + (f" ({LEAKAGE})" if plan.diagnosis else ""),
        "splits": plan.text,
        "trainings": [f"{split}, seed {seed}" for split, seed in whole],
        "recipe": f"{recipe_text(plan.base_recipe())}, {plan.base_recipe().audio.segment_s:g}-s segments",
        "epoch": "last",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, PyTorch {torch.__version__}",
        "rows": [row for name, found in arms.items() for row in _rows(plan.corpus, name, found)],
    }


def _with_attention(folder: RunFolder, task: Task) -> NetworkMember | None:
    (member,) = networks_of(load_model(folder.model(task)).members)
    return member if learns_attention(member.network) else None


def of_training(member: NetworkMember, plan: Plan, folder: RunFolder, task: Task, result: SplitResult) -> Correct:
    """Classify the test part of a training with each kind of weights.

    Args:
        member: The trained network.
        plan: Of the run.
        folder: Of the run.
        task: The training.
        result: What the experiment found of it.

    Raises:
        SystemExit: The network does not give the embeddings of the result.
    """
    network = member.network
    assert isinstance(network, AttCRNN)
    training, test = read_parts(plan, task, folder.store)
    kept = training.voting & ~_held(plan, training, result)
    fitted, tested = attended(network, training.features[kept]), attended(network, test.features[test.voting])
    generator = generator_for(f"{plan.corpus} {task.system} {task.split} {task.seed}")
    fixed = fitted.spatial.mean(dim=0), fitted.temporal.mean(dim=0)
    labels, truth = training.labels(result.scenes)[kept], test.labels(result.scenes)[test.voting]
    groups = [training.groups()[i] for i in np.flatnonzero(kept)]
    calibration, n_scenes = member.recipe.calibration, len(result.scenes)
    correct: dict[tuple[str, str], list[Bool[np.ndarray, " segment"]]] = {}
    for draw in range(DRAWS):
        by_training, by_test = (embeddings(network, part, fixed, generator) for part in (fitted, tested))
        if not np.allclose(by_test[LEARNT], result.embedding, atol=1e-3):
            raise SystemExit(f"{folder.model(task)}: does not give the embeddings of its result; is it of another training?")
        for kind in DRAWN if draw else KINDS:
            found = {head: member.classify(by_test[kind], head) for head in HEADS}
            c, folds = calibration.svm_c, calibration.platt_folds
            svm, _ = fit_svm(by_training[kind], labels, groups, n_scenes, c, folds, task.seed)
            softmax, _ = fit_softmax(by_training[kind], labels, n_scenes, c)
            x = torch.from_numpy(by_test[kind])
            found |= {head: _numbers(anew, x) for head, anew in zip(ANEW, (svm, softmax), strict=True)}
            for head, scores in found.items():
                correct.setdefault((kind, head), []).append(scores.argmax(axis=1) == truth)
    by = {key: np.mean(drawn, axis=0) for key, drawn in correct.items()}
    for head in HEADS:
        found = result.heads[head].segment.argmax(axis=1) == result.truth[result.recording_of]
        if np.mean(by[LEARNT, head] == found) < 0.99:  # ties aside
            raise SystemExit(f"{folder.model(task)}: does not classify as its result, by the {head}")
    of_segment = test.groups()
    return Correct(by, [of_segment[i] for i in np.flatnonzero(test.voting)])


def _held(plan: Plan, training: Corpus, result: SplitResult) -> Bool[np.ndarray, " segment"]:
    """Segments of the training part that the network and its SVM did not hear."""
    names = {recording.path: name for recording, (name, *_) in zip(plan.all_recordings(), plan.recordings, strict=True)}
    held = set(result.held_recordings)
    return np.array([names[recording.path] in held for recording in training.recordings])[training.recording]


@torch.inference_mode()
def attended(network: AttCRNN, images: Float32[np.ndarray, "segment channel band frame"]) -> Attended:
    """Return what the pooling of a network reads.

    Args:
        network: One with attention, in evaluation mode.
        images: From the front-end.
    """
    assert network.attention is not None
    parts = []
    for batch in torch.from_numpy(images).split(64):
        z = network.recur(network.standardise(batch))
        parts.append((z, *network.attention.attend(z)))
    return Attended(*(torch.cat(part) for part in zip(*parts, strict=True)))


@torch.inference_mode()
def embeddings(
    network: AttCRNN, part: Attended, fixed: tuple[Tensor, Tensor], generator: np.random.Generator
) -> dict[str, Float32[np.ndarray, "segment embedding"]]:
    """Return embeddings of some segments under each kind of weights.

    Args:
        network: One with attention, in evaluation mode.
        part: What its pooling reads.
        fixed: Weights of features and of frames that all segments get.
        generator: Draws the other segments; each gives its weights once, and none to itself.
    """
    assert network.attention is not None
    order = generator.permutation(len(part.z))
    another = np.empty_like(order)
    another[order] = np.roll(order, 1)
    own = part.spatial, part.temporal
    others = tuple(weights[torch.from_numpy(another)] for weights in own)
    kinds = {
        LEARNT: own,
        DRAWN[0]: (others[0], others[1]),
        DRAWN[1]: (own[0], others[1]),
        DRAWN[2]: (others[0], own[1]),
        FIXED: tuple(mean.expand_as(weights) for mean, weights in zip(fixed, own, strict=True)),
        UNIFORM: tuple(torch.full_like(weights, 1 / weights.shape[1]) for weights in own),
    }
    return {kind: network.attention.pool(part.z, *weights).float().numpy() for kind, weights in kinds.items()}


@torch.inference_mode()
def _numbers(head: nn.Module, x: Float[Tensor, "segment embedding"]) -> Float[np.ndarray, "segment scene"]:
    return head(x.double()).numpy()


def _rows(corpus: str, name: str, found: Sequence[Correct]) -> list[dict[str, object]]:
    """Rows of one arm: percent and points, estimate and 95 % interval over groups, all of its trainings together."""
    groups = [group for correct in found for group in correct.groups]
    rows = []
    for head in (*HEADS, *ANEW):
        by = {kind: np.concatenate([correct.by[kind, head] for correct in found]) for kind in KINDS}
        row: dict[str, object] = {"arm": ARMS.get(name, name), "head": head, "trainings": len(found)}
        row |= {"segments": len(groups), "groups": len(set(groups))}
        row[LEARNT] = _percent(mean_interval(by[LEARNT], groups, generator_for(f"{corpus} {name} {head}")))
        for first, second in (*((LEARNT, kind) for kind in KINDS[1:]), (FIXED, UNIFORM)):
            label = f"{first} minus {second}"
            draws = generator_for(f"{corpus} {name} {head} {label}")
            row[label] = _percent(mean_interval(by[first] - by[second], groups, draws))
        rows.append(row)
    return rows


def _percent(interval: Interval) -> list[float]:
    return [round(100 * value, 2) for value in (interval.estimate, interval.low, interval.high)]


if __name__ == "__main__":
    main()
