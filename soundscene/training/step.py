"""One training step, from the indices of a batch's pairs to new weights: run eagerly, or captured as a CUDA graph.

A step is some hundred small kernels, more than Python can launch in the time in which a GPU runs them. On CUDA it is
therefore captured once for each batch size as a CUDA graph and replayed. A graph repeats kernels at the addresses it was
captured with and runs no Python. So a step reads nothing but tensors that stay where they are (the images, the indices of
its pairs, weights, moments, learning rate) and never waits for the device. Measurements:
docs/decisions/0063-training-on-a-gpu.md.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float, Float32, Int64
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor, nn

from soundscene.network.blocks import Standardise
from soundscene.network.models import Network
from soundscene.recipe import Recipe
from soundscene.training.augment import augment, mix_statistics
from soundscene.training.between_class import Pairs, gain_and_masks, kl_divergence, mix_images, mix_labels

WARM_UP = 3  # runs before a capture: libraries choose their algorithms, Adam makes its moments

Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""Runs a function WARM_UP times, captures its work on the device, and returns a function that replays it."""


@dataclass(frozen=True)
class LabelledImages:
    """Images of segments with their labels.

    Attributes:
        images: Images from the front-end, not standardised.
        labels: Indices of scenes.
    """

    images: Float32[Tensor, "segment 2 band frame"]
    labels: Int64[Tensor, " segment"]


class CudaGraphs:
    """`Capture` on a CUDA device. Its graphs share their memory, since only one of them runs at a time."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()
        self._memory = torch.cuda.graph_pool_handle()

    def __call__(self, compute: Callable[[], None]) -> Callable[[], None]:
        """Warm up on a side stream, capture, and return the replay.

        No seed may be set in between: cuDNN and the generators would then wait for the device during the capture.
        """
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UP):
                compute()
        torch.cuda.current_stream().wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory, stream=self._stream):
            compute()
        return graph.replay


def obstacle(recipe: Recipe, network: Network, device: str, precision: str, n_processes: int) -> str:
    """Explain why a training step cannot be captured.

    Args:
        recipe: Training settings.
        network: The network to train.
        device: Type of the device.
        precision: Precision as Fabric names it.
        n_processes: Number of processes that train together.

    Returns:
        The reason, or "" if the step can be captured.
    """
    choices = recipe.training
    if device != "cuda":
        return f"{device} has no CUDA graphs"
    if n_processes > 1:
        return "several processes average their gradients between backward pass and Adam"
    if choices.gain_db or choices.mask_bands or choices.mask_frames:
        return "gain and masks are drawn on the CPU"
    if precision == "16-mixed":
        return "16-mixed reads the gradients on the CPU to choose its scale"
    if any(isinstance(part, nn.RNNBase) and part.dropout and part.num_layers > 1 for part in network.modules()):
        return "dropout inside cuDNN has a state of its own, which a new seed frees while the graph still uses it"
    return ""


def choose_capture(recipe: Recipe, fabric: Fabric, network: Network) -> Capture | None:
    """Choose CUDA graphs, or None where `obstacle` gives a reason against them.

    Args:
        recipe: Training settings.
        fabric: Device, precision and processes.
        network: The network to train.
    """
    precision = str(fabric.strategy.precision.precision)
    return None if obstacle(recipe, network, fabric.device.type, precision, fabric.world_size) else CudaGraphs()


def make_step(
    recipe: Recipe, fabric: Fabric, network: Network, training: LabelledImages, n_scenes: int, capture: Capture | None
) -> tuple[torch.optim.Optimizer, "Step"]:
    """Move network, optimiser and images to the device, and make the step that trains with them.

    Args:
        recipe: Training settings.
        fabric: Device, precision and processes.
        network: The network to train, moved in place.
        training: Training images and labels.
        n_scenes: Number of scenes.
        capture: How to capture a step, None to run it eagerly.
    """
    optimiser = make_optimiser(network, recipe.training.learning_rate, fabric.device, capture is not None)
    model, optimiser = fabric.setup(network, optimiser)
    model.mark_forward_method("from_standardised")
    return optimiser, Step(recipe, fabric, model, optimiser, to_device(training, fabric), n_scenes, capture)


def to_device(part: LabelledImages, fabric: Fabric) -> LabelledImages:
    """Copy images and labels to the device.

    Args:
        part: Images and labels.
        fabric: Device.
    """
    return LabelledImages(fabric.to_device(part.images), fabric.to_device(part.labels))


def make_optimiser(network: Network, rate: float, device: torch.device, captured: bool) -> torch.optim.Adam:
    """Make Adam with the default moments of its paper.

    Args:
        network: The network to train.
        rate: Learning rate.
        device: Device of the network.
        captured: Whether the step will be captured. All numbers are then on the device, the rate included.
    """
    if not captured:
        return torch.optim.Adam(network.parameters(), lr=rate)
    return torch.optim.Adam(network.parameters(), lr=torch.tensor(rate, device=device), capturable=True, fused=True)


def load_moments(optimiser: torch.optim.Optimizer, moments: dict[str, Any]) -> None:
    """Load Adam's moments from a checkpoint, in the memory layout of the weights.

    A file does not keep the layout (channels-last), and fused Adam goes through memory: element k of a moment would be
    applied to another element of the weights.

    Args:
        optimiser: Optimiser of a network that is on its device.
        moments: Its state, by index of the parameter.
    """
    optimiser.load_state_dict(optimiser.state_dict() | moments)
    for weight, state in optimiser.state.items():
        for name, moment in state.items():
            if isinstance(moment, Tensor) and moment.shape == weight.shape and moment.stride() != weight.stride():
                state[name] = torch.empty_like(weight).copy_(moment)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate, in place where a captured graph reads it.

    Args:
        optimiser: Optimiser from `make_optimiser`.
        rate: New learning rate.
    """
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


class Step:
    """Train on one batch: mix between-class examples on the device, compute loss and gradients, update by Adam.

    Args:
        recipe: Training settings.
        fabric: Device, precision and processes.
        model: Network as `Fabric.setup` returns it.
        optimiser: Optimiser as `Fabric.setup` returns it.
        training: Training images and labels, on the device.
        n_scenes: Number of scenes.
        capture: How to capture a step, None to run it eagerly.

    Attributes:
        total: Loss summed over the examples since `start`, on the device, so that no step waits for it.
    """

    total: Float32[Tensor, ""]

    def __init__(
        self,
        recipe: Recipe,
        fabric: Fabric,
        model: _FabricModule,
        optimiser: torch.optim.Optimizer,
        training: LabelledImages,
        n_scenes: int,
        capture: Capture | None = None,
    ) -> None:
        self._choices = recipe.training
        self._augmentation = recipe.augmentation
        self._floor = recipe.features.floor
        self._fabric = fabric
        self._model = model
        self._optimiser = optimiser
        self._training = training
        self._n_scenes = n_scenes
        self._capture = capture
        self._standardise = cast(Standardise, model.standardise)
        self._device = training.images.device
        self._pairs: Pairs | None = None
        self._batches: dict[int, Pairs] = {}  # by batch size: the tensors that a graph reads, filled anew for each step
        self._replays: dict[int, Callable[[], None]] = {}  # by batch size
        self.total = torch.zeros((), device=self._device)

    def start(self, pairs: Pairs) -> None:
        """Begin an epoch: training mode, all pairs copied to the device at once, `total` zero."""
        self._model.train()
        self._pairs = Pairs(*(drawn.to(self._device) for drawn in (pairs.first, pairs.second, pairs.ratio)))
        self.total.zero_()

    def run(self, part: slice, noise: int) -> None:
        """Run one step.

        Args:
            part: Which of the epoch's pairs to train on.
            noise: Seed of their gain and masks.

        Raises:
            ValueError: If the epoch was not begun by `start`.
        """
        if self._pairs is None:
            raise ValueError("an epoch begins with start(pairs)")
        drawn = (self._pairs.first[part], self._pairs.second[part], self._pairs.ratio[part])
        size = len(drawn[0])
        if size not in self._batches:
            self._batches[size] = Pairs(*(torch.empty_like(values) for values in drawn))
        batch = self._batches[size]
        for buffer, values in zip((batch.first, batch.second, batch.ratio), drawn, strict=True):
            buffer.copy_(values)
        if self._capture is None:
            self._compute(batch, torch.Generator().manual_seed(noise))
            return
        if size not in self._replays:
            self._replays[size] = self._record(self._capture, partial(self._compute, batch, torch.Generator()))
        self._replays[size]()

    def _compute(self, batch: Pairs, noise: torch.Generator) -> None:
        """Compute the step that is captured: it reads only tensors that stay, and no number goes back to Python."""
        labels = self._training.labels
        # Standardised before they are mixed: (10) keeps the variance, and the mean only if it is zero.
        one, other = (self._example(segments, noise) for segments in (batch.first, batch.second))
        images = mix_images(one, other, batch.ratio).contiguous(memory_format=torch.channels_last)
        targets = mix_labels(labels[batch.first], labels[batch.second], batch.ratio, self._n_scenes)
        self._optimiser.zero_grad()
        with self._autocast():
            logits = self._model.from_standardised(images)
        loss = kl_divergence(targets, logits)
        self._fabric.backward(loss)
        self._optimiser.step()
        self.total += loss.detach() * len(batch.ratio)  # `loss` is a mean over the batch, and batches differ in size

    def _example(
        self, segments: Int64[Tensor, " batch"], noise: torch.Generator
    ) -> Float[Tensor, "batch channel band frame"]:
        """Return standardised images of segments, augmented as the recipe says."""
        choices, standardise = self._choices, self._standardise
        images = augment(self._training.images[segments], self._augmentation, self._floor)
        images = mix_statistics(standardise(images), self._augmentation.mix_statistics)
        inverse = standardise.inverse_deviation
        return gain_and_masks(images, choices.gain_db, choices.mask_bands, choices.mask_frames, inverse, noise)

    def _autocast(self) -> AbstractContextManager[object]:
        """Return the context of the training's precision, which Fabric enters for a marked method under DDP only.

        A capture does without autocast's cache, which could hold weights that were cast outside of it.
        """
        context = self._fabric.autocast()
        if self._capture and isinstance(context, torch.autocast):
            return torch.autocast(context.device, context.fast_dtype, cache_enabled=False)
        return context

    def _record(self, capture: Capture, compute: Callable[[], None]) -> Callable[[], None]:
        """Capture `compute` and return its replay.

        The warm-up trains: weights, statistics, moments, sum and random numbers are put back to what they were before.
        """
        before = {id(tensor): tensor.detach().clone() for tensor in self._state()}
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            replay = capture(compute)
        with torch.no_grad():
            for tensor in self._state():
                if id(tensor) in before:
                    tensor.copy_(before[id(tensor)])
                else:
                    tensor.zero_()  # Adam's step and moments, made by the warm-up, begin at zero
        return replay

    def _state(self) -> Iterator[Tensor]:
        yield self.total
        yield from self._model.parameters()
        yield from self._model.buffers()
        for moments in self._optimiser.state.values():
            yield from (value for value in moments.values() if isinstance(value, Tensor))
