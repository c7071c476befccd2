"""One training step, from the numbers of a batch's pairs to new weights: run as it is written, or captured.

A step is some hundred small kernels, more than Python can start in the time in which a graphics card runs them. On CUDA it
is therefore recorded once for each batch size as a CUDA graph and replayed. A graph repeats kernels at the addresses it
was recorded with and no line of Python, so here a step reads nothing but tensors that stay where they are (the images, the
numbers of its pairs, weights, moments, learning rate) and never waits for the device. What was found and measured:
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
from soundscene.training.between_class import Pairs, augment, kl_divergence, mix_images, mix_labels

WARM_UP = 3  # runs before a recording: libraries choose their algorithms, Adam makes its moments

Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""Runs a function WARM_UP times, records what it does on the device, and returns what repeats the recording."""


@dataclass(frozen=True)
class LabelledImages:
    """images [segment, 2, band, frame], labels [segment] (indices of scenes)."""

    images: Float32[Tensor, "segment 2 band frame"]
    labels: Int64[Tensor, " segment"]


class CudaGraphs:
    """`Capture` on a CUDA card. Its graphs share their memory, since only one of them runs at a time."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()
        self._memory = torch.cuda.graph_pool_handle()

    def __call__(self, compute: Callable[[], None]) -> Callable[[], None]:
        """Warm up beside the current stream, record, and return the replay.

        No seed may be set in between: cuDNN and the generators would then wait for the device within the recording.
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
    """Why a training step cannot be captured here; "" where it can. device: type of device; precision: as Fabric has it."""
    choices = recipe.training
    if device != "cuda":
        return f"{device} has no CUDA graphs"
    if n_processes > 1:
        return "several processes average their gradients between backward pass and Adam"
    if choices.gain_db or choices.mask_bands or choices.mask_frames:
        return "gain and masks are drawn on the processor"
    if precision == "16-mixed":
        return "16-mixed looks at the gradients on the processor to choose its scale"
    if any(isinstance(part, nn.RNNBase) and part.dropout and part.num_layers > 1 for part in network.modules()):
        return "dropout inside cuDNN has a state of its own, which a new seed frees while the graph still uses it"
    return ""


def choose_capture(recipe: Recipe, fabric: Fabric, network: Network) -> Capture | None:
    """CUDA graphs where nothing stands in their way."""
    precision = str(fabric.strategy.precision.precision)
    return None if obstacle(recipe, network, fabric.device.type, precision, fabric.world_size) else CudaGraphs()


def make_step(
    recipe: Recipe, fabric: Fabric, network: Network, training: LabelledImages, n_scenes: int, capture: Capture | None
) -> tuple[torch.optim.Optimizer, "Step"]:
    """Network, optimiser and images on the device, and the step that trains with them."""
    optimiser = make_optimiser(network, recipe.training.learning_rate, fabric.device, capture is not None)
    model, optimiser = fabric.setup(network, optimiser)
    model.mark_forward_method("from_standardised")
    return optimiser, Step(recipe, fabric, model, optimiser, to_device(training, fabric), n_scenes, capture)


def to_device(part: LabelledImages, fabric: Fabric) -> LabelledImages:
    """The same images and labels, resident on the device."""
    return LabelledImages(fabric.to_device(part.images), fabric.to_device(part.labels))


def make_optimiser(network: Network, rate: float, device: torch.device, captured: bool) -> torch.optim.Adam:
    """Adam with the moments of its paper; for a captured step all its numbers are on the device, the rate included."""
    if not captured:
        return torch.optim.Adam(network.parameters(), lr=rate)
    return torch.optim.Adam(network.parameters(), lr=torch.tensor(rate, device=device), capturable=True, fused=True)


def load_moments(optimiser: torch.optim.Optimizer, moments: dict[str, Any]) -> None:
    """Take Adam's moments from a checkpoint, in the layout in memory of the weights.

    A file has lost the layout, and fused Adam goes by memory: element k of a moment would meet element k of another order.
    """
    optimiser.load_state_dict(optimiser.state_dict() | moments)
    for weight, state in optimiser.state.items():
        for name, moment in state.items():
            if isinstance(moment, Tensor) and moment.shape == weight.shape and moment.stride() != weight.stride():
                state[name] = torch.empty_like(weight).copy_(moment)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Change the learning rate, in place where a recording reads it."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


class Step:
    """Between-class examples of one batch, mixed on the device, their loss, gradients and Adam's step.

    model, optimiser: as `Fabric.setup` returns them; training: on the device; capture: how to record a step, None to run
    it as written.

    total: loss summed over the examples since `start`, on the device, so that no step waits for it.
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
        self._fabric = fabric
        self._model = model
        self._optimiser = optimiser
        self._training = training
        self._n_scenes = n_scenes
        self._capture = capture
        self._standardise = cast(Standardise, model.standardise)
        self._device = training.images.device
        self._pairs: Pairs | None = None
        self._batches: dict[int, Pairs] = {}  # by size; filled anew for each step
        self._replays: dict[int, Callable[[], None]] = {}
        self.total = torch.zeros((), device=self._device)

    def start(self, pairs: Pairs) -> None:
        """Begin an epoch: the network in training mode, all pairs taken to the device at once, `total` zero."""
        self._model.train()
        self._pairs = Pairs(*(drawn.to(self._device) for drawn in (pairs.first, pairs.second, pairs.ratio)))
        self.total.zero_()

    def run(self, part: slice, noise: int) -> None:
        """One step with a part of the epoch's pairs; noise: seed of their gain and masks.

        Raises: ValueError before `start`.
        """
        if self._pairs is None:
            raise ValueError("an epoch begins with start(pairs)")
        drawn = (self._pairs.first[part], self._pairs.second[part], self._pairs.ratio[part])
        size = len(drawn[0])
        if size not in self._batches:
            self._batches[size] = Pairs(*(torch.empty_like(one) for one in drawn))
        batch = self._batches[size]
        for place, one in zip((batch.first, batch.second, batch.ratio), drawn, strict=True):
            place.copy_(one)
        if self._capture is None:
            self._compute(batch, torch.Generator().manual_seed(noise))
            return
        if size not in self._replays:
            self._replays[size] = self._record(self._capture, partial(self._compute, batch, torch.Generator()))
        self._replays[size]()

    def _compute(self, batch: Pairs, noise: torch.Generator) -> None:
        """What is captured: no argument but tensors that stay, no number that goes back to Python."""
        labels = self._training.labels
        one, other = (self._example(segments, noise) for segments in (batch.first, batch.second))
        images = mix_images(one, other, batch.ratio).contiguous(memory_format=torch.channels_last)
        targets = mix_labels(labels[batch.first], labels[batch.second], batch.ratio, self._n_scenes)
        self._optimiser.zero_grad()
        with self._autocast():
            logits = self._model.from_standardised(images)
        loss = kl_divergence(targets, logits)
        self._fabric.backward(loss)
        self._optimiser.step()
        self.total += loss.detach() * len(batch.ratio)

    def _example(
        self, segments: Int64[Tensor, " batch"], noise: torch.Generator
    ) -> Float[Tensor, "batch channel band frame"]:
        """Standardised images of segments, with gain and masks of the recipe."""
        choices, standardise = self._choices, self._standardise
        images = standardise(self._training.images[segments])
        inverse = standardise.inverse_deviation
        return augment(images, choices.gain_db, choices.mask_bands, choices.mask_frames, inverse, noise)

    def _autocast(self) -> AbstractContextManager[object]:
        """The precision of the training, by hand: Fabric enters it for a marked method under DDP only.

        In a recording without autocast's cache, which would hand on weights cast outside of it.
        """
        context = self._fabric.autocast()
        if self._capture and isinstance(context, torch.autocast):
            return torch.autocast(context.device, context.fast_dtype, cache_enabled=False)
        return context

    def _record(self, capture: Capture, compute: Callable[[], None]) -> Callable[[], None]:
        """The replay of `compute`; weights, statistics, moments, sum and random numbers stay as they were before."""
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
