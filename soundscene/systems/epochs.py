"""The training loop of the networks of Table 3 that are not the paper's own: batches, Adam, half a cosine, last epoch.

It knows neither pieces nor scenes. A network is a function that makes the module, one that draws the batches of an epoch,
and one that predicts with the module so far. Between-class mixing, augmentation, several processes and the choice of an
epoch are the paper's own, and are in `training.fit`.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from soundscene.errors import TrainingError
from soundscene.systems.system import FitContext, PredictFunction
from soundscene.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from soundscene.training.step import load_moments

Batches = Iterable[tuple[Tensor, Int64[Tensor, " example"]]]
Draw = Callable[[torch.Generator], Batches]
"""Draws the batches of an epoch: inputs of the module on its device, and numbers of their scenes."""

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Optimisation:
    """How a network is trained, with Adam and cross-entropy.

    Attributes:
        epochs: Epochs; the weights are those of the last one.
        learning_rate: Rate of the first epoch, which falls along half a cosine.
        weight_decay: L2 penalty on all weights, as Adam's.
        largest_gradient: Norm of all gradients together, to which a larger one is scaled; 0: no limit.
    """

    epochs: int
    learning_rate: float
    weight_decay: float = 0.0
    largest_gradient: float = 0.0


def fabric_of(context: FitContext) -> Fabric:
    """Return the device of a fit: that of its caller, or the CPU."""
    return context.fabric or Fabric(accelerator="cpu", devices=1)


def shuffled(
    inputs: Float[Tensor, "example ..."], labels: Int64[Tensor, " example"], batch_size: int, share: float = 1.0
) -> Draw:
    """Return the usual way to draw an epoch: in random order, in even batches, without a tiny last one.

    Args:
        inputs: On the device of the network.
        labels: Their scenes, there too.
        batch_size: Most examples in a batch.
        share: Share of the examples that an epoch draws.
    """
    n = math.ceil(share * len(inputs))

    def draw(generator: torch.Generator) -> Batches:
        order = torch.randperm(len(inputs), generator=generator)[:n].to(inputs.device)
        for part in order.tensor_split(math.ceil(n / batch_size)):
            yield inputs[part], labels[part]

    return draw


def fingerprint(facts: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> str:
    """Hash what a checkpoint depends on.

    Args:
        facts: Plain values: system, settings, seed.
        arrays: Training data and labels.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def run_epochs(
    make: Callable[[], N],
    draw: Draw,
    choices: Optimisation,
    context: FitContext,
    identity: Callable[[], str],
    predict: Callable[[N], PredictFunction] | None = None,
) -> tuple[N, list[dict[str, float]]]:
    """Train a network. Killed, the same call resumes after the last finished epoch and ends with the same bits.

    Args:
        make: Makes the network; PyTorch's global generator is seeded before.
        draw: Draws the batches of an epoch.
        choices: Epochs and Adam.
        context: Seed, device, checkpoint and observer.
        identity: Hash of everything that the checkpoint depends on, asked for only where there is one.
        predict: Predictions of the network so far, for the observer. Without it the observer is not called.

    Returns:
        The network on the CPU in evaluation mode, and a row for each epoch: epoch, loss, seconds.

    Raises:
        TrainingError: The loss is not finite, or the checkpoint is damaged or belongs to another training.
    """
    fabric, path = fabric_of(context), context.checkpoint
    mark = identity() if path else ""
    state = (load_checkpoint(path, mark) if path else None) or TrainingState()
    draws = torch.Generator().manual_seed(context.seed)
    # Initialisation and dropout draw from the global generator. The caller gets it back as it was.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(context.seed)
        network = make()
        if state.epoch:
            network.load_state_dict(state.network)
        wrapped, optimiser = fabric.setup(
            network, torch.optim.Adam(network.parameters(), choices.learning_rate, weight_decay=choices.weight_decay)
        )
        if state.epoch:
            load_moments(optimiser.optimizer, state.optimiser)
            _restore_generators(state.generators, draws, fabric.device)
        for epoch in range(state.epoch, choices.epochs):
            started = time.perf_counter()
            for group in optimiser.param_groups:
                group["lr"] = choices.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / choices.epochs))
            network.train()
            total, n = torch.zeros((), device=fabric.device), 0
            for inputs, labels in draw(draws):
                optimiser.zero_grad()
                loss = functional.cross_entropy(wrapped(inputs), labels)
                fabric.backward(loss)
                if choices.largest_gradient:
                    nn.utils.clip_grad_norm_(network.parameters(), choices.largest_gradient)
                optimiser.step()
                total += loss.detach() * len(labels)
                n += len(labels)
            row = {"epoch": epoch + 1.0, "loss": float(total) / n, "seconds": time.perf_counter() - started}
            _check_finite(row, choices.learning_rate)
            state.history.append(row)
            network.eval()
            if context.observer and predict:
                context.observer(dict(row), predict(network))
            if path:  # last, so that a resumed training repeats no finished epoch
                state.epoch, state.network, state.optimiser = epoch + 1, network.state_dict(), optimiser.state_dict()
                state.generators = _generators(draws, fabric.device)
                save_checkpoint(path, state, mark)
    return network.eval().to("cpu"), state.history


def _check_finite(row: Mapping[str, float], rate: float) -> None:
    if not math.isfinite(row["loss"]):
        raise TrainingError(
            f"the loss is no longer finite in epoch {row['epoch']:.0f}: is a training recording unlike all others, or the "
            f"learning rate of {rate:g} too high for this corpus?"
        )


def _generators(draws: torch.Generator, device: torch.device) -> dict[str, Tensor]:
    states = {"draws": draws.get_state(), "global": torch.get_rng_state()}
    return states | ({"device": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _restore_generators(states: Mapping[str, Tensor], draws: torch.Generator, device: torch.device) -> None:
    draws.set_state(states["draws"])
    torch.set_rng_state(states["global"])
    if device.type == "cuda" and "device" in states:
        torch.cuda.set_rng_state(states["device"], device)
