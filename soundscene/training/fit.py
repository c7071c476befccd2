"""fit: the training loop, on Lightning Fabric (device, precision, several processes by torchrun).

All training images live in one tensor on the device; pairs are drawn, mixed and masked there, so no data loader is in
the way. With several processes every rank draws the same epoch and takes its share of each batch; DDP averages the
gradients; batch-norm statistics are those of each process's share (docs/decisions/0006).
"""

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float32, Int64
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor

from soundscene.errors import TrainingError
from soundscene.network.blocks import Standardise
from soundscene.network.models import Network, build_network
from soundscene.recipe import Recipe, TrainingRecipe
from soundscene.training.between_class import augment, draw_pairs, kl_divergence, mix_images, mix_labels, no_mixing
from soundscene.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint

Observer = Callable[[dict[str, float], Network], None]
"""Called after each epoch with its row of the history and the network in evaluation mode; returns nothing, so that
nothing can be selected by it."""


@dataclass(frozen=True)
class LabelledImages:
    """images [segment, 2, band, frame], labels [segment] (indices of scenes)."""

    images: Float32[Tensor, "segment 2 band frame"]
    labels: Int64[Tensor, " segment"]


@dataclass(frozen=True)
class Fitted:
    """The trained network in evaluation mode, the epoch its weights are of, and one row per epoch."""

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
    observer: Observer | None = None,
) -> Fitted:
    """Train the network of a recipe on between-class examples (sections 3 and 4.3).

    Arguments: training and validation images (the validation part chooses the epoch when `training.keep` is "best" and
    is only watched otherwise); epoch_size: examples an epoch, by default as many as training segments; checkpoint: a
    file written after every epoch and resumed from if it is there, bit for bit on the same machine, threads and batch
    size; observer: see `Observer`.

    Raises: `TrainingError` for a corpus of one scene, a foreign checkpoint, a loss that is no longer finite, more
    processes than a batch has examples, or `training.keep` "best" without a validation part.
    """
    fabric = fabric or Fabric(devices=1)
    choices = recipe.training
    _check(choices, epoch_size or len(training.labels), fabric.world_size, validation)
    mark = _fingerprint(recipe, training) if checkpoint else ""
    state = (load_checkpoint(checkpoint, mark) if checkpoint else None) or TrainingState()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(choices.seed)
        network = build_network(recipe, n_scenes)
        network.standardise.fit(training.images)
        optimiser = torch.optim.Adam(network.parameters(), lr=choices.learning_rate)
        if state.epoch:
            network.load_state_dict(state.network)
        model, optimiser = fabric.setup(network, optimiser)
        if state.epoch:  # after setup, because the moments have to follow the weights to the device
            optimiser.load_state_dict(optimiser.state_dict() | state.optimiser)
        model.mark_forward_method("from_standardised")
        on_device = LabelledImages(fabric.to_device(training.images), fabric.to_device(training.labels))

        while state.epoch < choices.epochs and not _out_of_patience(recipe, state):
            started = time.perf_counter()
            _set_learning_rate(optimiser, recipe, state.epoch)
            loss = _train_epoch(recipe, fabric, model, optimiser, on_device, epoch_size, n_scenes, state.epoch)
            state.epoch += 1
            row = {"epoch": float(state.epoch), "loss": loss, "seconds": time.perf_counter() - started}
            network.eval()
            if validation is not None:
                row |= _validate(network, validation, fabric)
            row = fabric.broadcast(row)  # running statistics differ between processes; rank 0 decides
            state.history.append(row)
            if choices.keep == "best" and _is_best(state.history):
                state.best_epoch, state.best = state.epoch, _copy(network)
            if observer:
                observer(dict(row), network)
            if checkpoint and fabric.global_rank == 0:
                state.network, state.optimiser = _copy(network), optimiser.state_dict()
                save_checkpoint(checkpoint, state, mark)
    if state.best:
        network.load_state_dict(state.best)
    return Fitted(network.eval(), state.best_epoch or state.epoch, state.history)


def _check(choices: TrainingRecipe, n: int, n_processes: int, validation: LabelledImages | None) -> None:
    """What would otherwise fail late, or as a loss that is not a number."""
    if choices.keep == "best" and validation is None:
        raise TrainingError('training.keep = "best" needs a validation part to choose the epoch by; there is none')
    if n and n // math.ceil(n / choices.batch_size) < n_processes:
        raise TrainingError(
            f"{n_processes} processes cannot share batches of {choices.batch_size} out of {n} examples: every process "
            "needs at least one of each batch; start fewer, or raise training.batch_size"
        )


def _train_epoch(
    recipe: Recipe,
    fabric: Fabric,
    model: _FabricModule,
    optimiser: torch.optim.Optimizer,
    training: LabelledImages,
    epoch_size: int | None,
    n_scenes: int,
    epoch: int,
) -> float:
    """One pass over freshly drawn examples; mean loss. Everything random is seeded by (seed, epoch)."""
    choices = recipe.training
    draws = torch.Generator().manual_seed(_seed(choices.seed, epoch, 0))
    torch.manual_seed(_seed(choices.seed, epoch, 1 + fabric.global_rank))  # dropout knows only the global generator
    n = epoch_size or len(training.labels)
    draw = draw_pairs if choices.mixing == "between-class" else no_mixing
    pairs = draw(training.labels.cpu(), n, draws, choices.balanced)
    standardise = cast(Standardise, model.standardise)
    total = torch.zeros((), device=fabric.device)
    model.train()
    for part in torch.arange(n).tensor_split(math.ceil(n / choices.batch_size)):  # even batches: no tiny last one
        shifts = int(torch.randint(2**62, (), generator=draws))
        part = part[fabric.global_rank :: fabric.world_size]
        first, second = pairs.first[part].to(fabric.device), pairs.second[part].to(fabric.device)
        ratio = pairs.ratio[part].to(fabric.device)
        noise = torch.Generator().manual_seed(_seed(shifts, fabric.global_rank, 0))
        one, other = (_vary(recipe, standardise(training.images[i]), standardise, noise) for i in (first, second))
        images = mix_images(one, other, ratio).contiguous(memory_format=torch.channels_last)
        targets = mix_labels(training.labels[first], training.labels[second], ratio, n_scenes)
        optimiser.zero_grad()
        with fabric.autocast():  # by hand: Fabric enters it for a marked method under DDP only
            logits = model.from_standardised(images)
        loss = kl_divergence(targets, logits)
        fabric.backward(loss)
        optimiser.step()
        total += loss.detach() * len(part)
    mean = cast(Tensor, fabric.all_reduce(total, reduce_op="sum")).item() / n
    if not math.isfinite(mean):
        raise TrainingError(
            f"the loss is no longer finite in epoch {epoch + 1}: the learning rate {choices.learning_rate:g} may be too "
            "high for this corpus; try a tenth of it (--set training.learning_rate=...)"
        )
    return mean


def _vary(
    recipe: Recipe, images: Float32[Tensor, "batch channel band frame"], standardise: Standardise, draws: torch.Generator
) -> Float32[Tensor, "batch channel band frame"]:
    """Gain and masks of the recipe."""
    choices = recipe.training
    return augment(images, choices.gain_db, choices.mask_bands, choices.mask_frames, standardise.inverse_deviation, draws)


@torch.no_grad()
def _validate(network: Network, validation: LabelledImages, fabric: Fabric) -> dict[str, float]:
    """Segment accuracy and log loss of the softmax layer on the validation part."""
    log_posterior = torch.cat(
        [torch.log_softmax(network(fabric.to_device(piece)), -1).cpu() for piece in validation.images.split(500)]
    )
    chosen = log_posterior.gather(1, validation.labels[:, None])
    right = (log_posterior.argmax(dim=1) == validation.labels).float()
    return {"validation_log_loss": -float(chosen.mean()), "validation_accuracy": float(right.mean())}


def _is_best(history: list[dict[str, float]]) -> bool:
    """Whether the last row has the lowest validation log loss; the earliest wins a tie."""
    losses = [row["validation_log_loss"] for row in history]
    return losses.index(min(losses)) == len(losses) - 1


def _out_of_patience(recipe: Recipe, state: TrainingState) -> bool:
    patience = recipe.training.patience
    return bool(patience) and state.epoch - state.best_epoch >= patience


def _set_learning_rate(optimiser: torch.optim.Optimizer, recipe: Recipe, epoch: int) -> None:
    """Constant as in the paper, or half a cosine from the full rate to zero over all epochs."""
    rate = recipe.training.learning_rate
    if recipe.training.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * epoch / recipe.training.epochs))
    for group in optimiser.param_groups:
        group["lr"] = rate


def _seed(*parts: int) -> int:
    """One seed from several numbers, so that epochs, ranks and purposes do not share a sequence."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def _copy(network: Network) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def _fingerprint(recipe: Recipe, training: LabelledImages) -> str:
    """Hash of everything a checkpoint depends on: the recipe and the training images with their labels."""
    digest = hashlib.sha256(json.dumps(recipe.to_dict(), sort_keys=True).encode())
    digest.update(training.labels.numpy().tobytes())
    digest.update(np.ascontiguousarray(training.images.numpy()).data)
    return digest.hexdigest()
