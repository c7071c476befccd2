"""The training loop, on Lightning Fabric (device, precision, several processes by torchrun).

All training images live in one tensor on the device. Pairs are drawn here, then mixed and masked there (`training.step`),
so there is no data loader. With several processes every rank draws the same epoch and takes its share of each batch, and
DDP averages the gradients. Batch-norm statistics are those of each process's share (docs/decisions/0006).
"""

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Int64
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from soundscene.errors import TrainingError
from soundscene.network.models import Network, build_network
from soundscene.recipe import Recipe, TrainingRecipe
from soundscene.training.between_class import draw_pairs, no_mixing
from soundscene.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from soundscene.training.step import LabelledImages, Step, choose_capture, load_moments, make_step, set_rate, to_device

EpochCallback = Callable[[dict[str, float], Network], None]
"""Called after each epoch with its row of the history and what would be kept, in evaluation mode; returns nothing, so that
nothing can be selected by it."""


StepCallback = Callable[[int, int], None]
"""Called with (steps done, steps in all); it must not wait for the device."""


@dataclass(frozen=True)
class TrainedNetwork:
    """Result of a training.

    Attributes:
        network: The network, in evaluation mode; the averaged one, if `training.average` asks for it.
        epoch: Epoch that its weights are from.
        history: One row per epoch: epoch, loss, seconds and, with a validation part, its log loss and accuracy.
    """

    network: Network
    epoch: int
    history: list[dict[str, float]]


def fit(
    recipe: Recipe,
    training: LabelledImages,
    n_scenes: int,
    *,
    fabric: Fabric | None = None,
    validation: LabelledImages | None = None,
    epoch_size: int | None = None,
    checkpoint: Path | None = None,
    on_epoch: EpochCallback | None = None,
    on_step: StepCallback | None = None,
) -> TrainedNetwork:
    """Train the network of a recipe on between-class examples (sections 3 and 4.3).

    Args:
        recipe: Network and training settings.
        training: Training images and labels.
        n_scenes: Number of scenes.
        fabric: Device, precision and processes, by default one process on the device that Fabric finds.
        validation: Images that choose the epoch if `training.keep` is "best", and are only scored otherwise.
        epoch_size: Examples per epoch, by default the number of training segments.
        checkpoint: File that is written after every epoch, and resumed from if it exists. The result is the same to the
            bit on the same machine with the same number of threads.
        on_epoch: Called after each epoch.
        on_step: Called before each step.

    Raises:
        TrainingError: If the corpus has one scene, the checkpoint belongs to another training, the loss is not finite,
            there are more processes than examples in a batch, or `training.keep` is "best" without a validation part.
    """
    fabric = fabric or Fabric(devices=1)
    choices, n = recipe.training, epoch_size or len(training.labels)
    _check(choices, n, fabric.world_size, validation)
    fingerprint = _fingerprint(recipe, training) if checkpoint else ""
    state = (load_checkpoint(checkpoint, fingerprint) if checkpoint else None) or TrainingState()

    # Initialisation and dropout draw from the global generator. The caller gets it back as it was.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        # The same seed on every rank: all processes start from the same weights.
        torch.manual_seed(choices.seed)
        network = build_network(recipe, n_scenes)
        network.standardise.fit(training.images)
        if state.epoch:
            network.load_state_dict(state.network)
        optimiser, step = make_step(recipe, fabric, network, training, n_scenes, choose_capture(recipe, fabric, network))
        average = _average(choices, network, n, state) if choices.average else None
        kept = cast(Network, average.module) if average else network
        after_step = partial(average.update_parameters, network) if average else None
        if state.epoch:  # after `make_step` has moved the weights, because the moments follow them to the device
            load_moments(optimiser, state.optimiser)
        validation = to_device(validation, fabric) if validation else None

        while state.epoch < choices.epochs and not _out_of_patience(recipe, state):
            # 1. Train: draw pairs, mix them, step.
            started = time.perf_counter()
            set_rate(optimiser, _learning_rate(recipe, state.epoch))
            loss = _train_epoch(recipe, fabric, step, training.labels.cpu(), n, state.epoch, on_step, after_step)
            state.epoch += 1
            row = {"epoch": float(state.epoch), "loss": loss, "seconds": time.perf_counter() - started}

            # 2. Score the validation part. Running statistics differ between processes, so rank 0's scores count for all:
            # otherwise one process could stop early and leave the others waiting for its gradients.
            kept.eval()
            if validation:
                row |= _validate(kept, validation)
            row = fabric.broadcast(row)
            state.history.append(row)
            if choices.keep == "best" and _is_best(state.history):
                state.best_epoch, state.best = state.epoch, _copy(kept)

            # 3. Report and save. The checkpoint comes last, so a resumed training repeats no finished epoch.
            if on_epoch:
                on_epoch(dict(row), kept)
            if checkpoint and fabric.global_rank == 0:
                _save(checkpoint, state, fingerprint, network, average, optimiser)
    if state.best:
        kept.load_state_dict(state.best)
    return TrainedNetwork(kept.eval(), state.best_epoch or state.epoch, state.history)


def _check(choices: TrainingRecipe, n: int, n_processes: int, validation: LabelledImages | None) -> None:
    """Refuse what would otherwise fail late, or as a loss that is not a number."""
    if choices.keep == "best" and validation is None:
        raise TrainingError('training.keep = "best" needs a validation part to choose the epoch by; there is none')
    if n and n // math.ceil(n / choices.batch_size) < n_processes:
        raise TrainingError(
            f"{n_processes} processes cannot share batches of {choices.batch_size} out of {n} examples: every process "
            "needs at least one of each batch; start fewer, or raise training.batch_size"
        )


def _average(choices: TrainingRecipe, network: Network, n: int, state: TrainingState) -> AveragedModel:
    """Make the moving average of a network's weights and batch-norm statistics, or go on with that of a checkpoint.

    Its time constant is a share of the training, not a number of steps, so that a small corpus with few steps forgets its
    first weights as a large one does.
    """
    steps = choices.epochs * math.ceil(n / choices.batch_size)
    decay = math.exp(-1 / max(1.0, choices.average * steps))
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    if state.epoch:
        average.module.load_state_dict(state.average)
        average.n_averaged.fill_(1)  # what decides is that it is not 0, where the average begins with the weights
    return average


def _save(
    path: Path,
    state: TrainingState,
    fingerprint: str,
    network: Network,
    average: AveragedModel | None,
    optimiser: torch.optim.Optimizer,
) -> None:
    state.network, state.optimiser = _copy(network), optimiser.state_dict()
    state.average = _copy(average.module) if average else {}
    save_checkpoint(path, state, fingerprint)


def _train_epoch(
    recipe: Recipe,
    fabric: Fabric,
    step: Step,
    labels: Int64[Tensor, " segment"],
    n: int,
    epoch: int,
    on_step: StepCallback | None,
    after_step: Callable[[], None] | None,
) -> float:
    """Train on n freshly drawn examples and return the mean loss.

    Everything random is seeded by (seed, epoch), so an epoch after a resume is the epoch of an uninterrupted training.
    """
    choices, rank = recipe.training, fabric.global_rank
    draws = torch.Generator().manual_seed(_seed(choices.seed, epoch, 0))  # the same on all ranks: one epoch, shared out
    torch.manual_seed(_seed(choices.seed, epoch, 1 + rank))  # dropout uses the global generator, and differs by rank
    draw = draw_pairs if choices.mixing == "between-class" else no_mixing
    step.start(draw(labels, n, draws, choices.balanced))
    parts = torch.arange(n).tensor_split(math.ceil(n / choices.batch_size))  # even batches: no tiny last one
    for number, part in enumerate(parts):
        if on_step:
            on_step(epoch * len(parts) + number, choices.epochs * len(parts))
        augmentation_seed = int(torch.randint(2**62, (), generator=draws))
        # Rank r takes every world_size-th example of the batch, from the r-th on.
        step.run(slice(int(part[0]) + rank, int(part[-1]) + 1, fabric.world_size), _seed(augmentation_seed, rank, 0))
        if after_step:
            after_step()
    mean = cast(Tensor, fabric.all_reduce(step.total, reduce_op="sum")).item() / n
    if not math.isfinite(mean):
        raise TrainingError(
            f"the loss is no longer finite in epoch {epoch + 1}: the learning rate {choices.learning_rate:g} may be too "
            "high for this corpus; try a tenth of it (--set training.learning_rate=...)"
        )
    return mean


@torch.no_grad()
def _validate(network: Network, validation: LabelledImages) -> dict[str, float]:
    """Score the softmax layer on segments of the validation part, which is on the network's device."""
    log_posterior = torch.cat([torch.log_softmax(network(piece), -1) for piece in validation.images.split(500)]).cpu()
    truth = validation.labels.cpu()
    log_posterior_of_truth = log_posterior.gather(1, truth[:, None])
    correct = (log_posterior.argmax(dim=1) == truth).float()
    return {"validation_log_loss": -float(log_posterior_of_truth.mean()), "validation_accuracy": float(correct.mean())}


def _is_best(history: list[dict[str, float]]) -> bool:
    """Tell whether the last row has the lowest validation log loss. The earliest wins a tie."""
    losses = [row["validation_log_loss"] for row in history]
    return losses.index(min(losses)) == len(losses) - 1


def _out_of_patience(recipe: Recipe, state: TrainingState) -> bool:
    patience = recipe.training.patience
    return bool(patience) and state.epoch - state.best_epoch >= patience


def _learning_rate(recipe: Recipe, epoch: int) -> float:
    """Return the rate of an epoch: constant as in the paper, or half a cosine from the full rate to zero."""
    rate = recipe.training.learning_rate
    if recipe.training.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * epoch / recipe.training.epochs))
    return rate


def _seed(*parts: int) -> int:
    """Hash several numbers to one seed, so that epochs, ranks and purposes do not share a sequence."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def _fingerprint(recipe: Recipe, training: LabelledImages) -> str:
    """Hash everything a checkpoint depends on: the recipe and the training images with their labels."""
    digest = hashlib.sha256(json.dumps(recipe.to_stored(), sort_keys=True).encode())
    digest.update(training.labels.numpy().tobytes())
    digest.update(np.ascontiguousarray(training.images.numpy()).data)
    return digest.hexdigest()
