"""What each process of `benchmarks/gpu.py` does: prepare, wait for the others, work for a while, return how much."""

import math
import multiprocessing
import queue
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from soundscene.data.litis import N_SCENES
from soundscene.member import NetworkMember
from soundscene.model import Model
from soundscene.network.attention_use import entropies
from soundscene.network.blocks import KERNELS, POOL
from soundscene.network.models import AttCRNN, Network, build_network, n_channels, n_frames
from soundscene.network.svm import CalibratedSVM
from soundscene.recipe import Recipe
from soundscene.systems.attention_worth import PROBED
from soundscene.training.between_class import draw_pairs
from soundscene.training.device import PRECISIONS, make_fabric
from soundscene.training.fit import LabelledImages, fit
from soundscene.training.step import Capture, choose_capture, make_step, obstacle

STEPS = 20  # of a comparison

Ready = Callable[[], None]
"""Returns when all processes are ready to be timed."""


@dataclass(frozen=True)
class Job:
    """One process's work.

    what: matrix, train, compare, evaluate, resident, epochs or gru; width: full (`Recipe.paper()`), default (`Recipe()`: as
    wide, and augmented) or small; precision: 32-true and bf16-mixed as `--precision` has them, fp32 (nothing rounded) or
    tf32 (products too); captured: as a CUDA graph, which then must be possible; choose_kernels: cudnn.benchmark; streams:
    trainings at once in this process.
    """

    what: str
    device: str = "cuda"
    width: str = "full"
    kind: str = "att-crnn"
    precision: str = "32-true"
    captured: bool = False
    choose_kernels: bool = False
    batch: int = 100
    segments: int = 2000
    seconds: float = 4.0
    streams: int = 1


def recipe_of(job: Job) -> Recipe:
    """The recipe that `width` names, with the job's network and batch."""
    base = {"full": Recipe.paper, "default": Recipe, "small": Recipe.small}[job.width]()
    return base.with_settings([f"network.kind={job.kind}", f"training.batch_size={job.batch}"])


def gflop(recipe: Recipe) -> float:
    """Floating-point operations of one segment's forward pass in 1e9, two for each multiplication with addition."""
    sizes, frames, bands = recipe.network, n_frames(recipe), recipe.features.n_bands
    products, n_in = 0, n_channels(recipe)
    for kernel, n_out in zip(KERNELS, sizes.filters, strict=True):
        products += bands * frames * n_out * n_in * kernel**2
        n_in, bands = n_out, bands // POOL
    if sizes.kind == "att-crnn":
        both = 2 * sizes.hidden
        for n_read in (bands * n_in, both):
            products += frames * 2 * 3 * sizes.hidden * (n_read + sizes.hidden)
        products += frames * both * both + 2 * frames * both * sizes.attention
    return 2 * products / 1e9


def side_by_side(jobs: list[Job], timeout_s: float) -> dict[str, float | str]:
    """Jobs in processes of their own that begin together: segments a second in sum, other numbers by their median."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(len(jobs)), context.Queue()
    processes = [context.Process(target=work, args=(job, barrier, results), daemon=True) for job in jobs]
    for process in processes:
        process.start()
    found, ends = [], time.monotonic() + timeout_s
    while len(found) < len(jobs) and time.monotonic() < ends:
        try:
            found.append(results.get(timeout=1))
        except queue.Empty:
            dead = [process.exitcode for process in processes if process.exitcode]
            if dead:
                found.append({"failed": f"a process ended with code {dead[0]}"})
                break
    for end in ("terminate", "kill"):  # the second for one that is stuck in the driver of a card that hangs
        for process in processes:
            getattr(process, end)()
        ends = time.monotonic() + 15
        for process in processes:
            process.join(max(0.0, ends - time.monotonic()))
    return together(found, len(jobs))


def together(found: list[dict[str, Any]], n: int) -> dict[str, float | str]:
    """One row of what n processes measured."""
    reasons = [one["failed"] for one in found if "failed" in one]
    if reasons:
        return {"failed": min(reasons, key=lambda reason: reason.startswith("another"))}
    if len(found) < n:
        return {"failed": f"{n - len(found)} of {n} did not end in time"}
    medians = {name: statistics.median(one[name] for one in found) for name in found[0]}
    return medians | ({"segments/s": math.fsum(one["segments/s"] for one in found)} if "segments/s" in medians else {})


def work(job: Job, barrier: Any, results: Any) -> None:
    """Entry of a process: puts a dictionary of numbers, or why there are none."""

    def ready() -> None:
        _wait(job)
        barrier.wait(timeout=300)

    try:
        if job.precision in ("fp32", "tf32"):  # else as PyTorch has them, and so `experiment`: convolutions and GRUs in tf32
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = job.precision == "tf32"
        torch.backends.cudnn.benchmark = job.choose_kernels
        numbers = WORK[job.what](job, ready)
        if job.device == "cuda":
            numbers["GB"] = torch.cuda.max_memory_reserved() / 1e9
        results.put(numbers)
    except threading.BrokenBarrierError:
        results.put({"failed": "another process failed"})
    except Exception as error:
        barrier.abort()
        results.put({"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"})


def matrix(job: Job, ready: Ready) -> dict[str, float]:
    """Rate of a large square matrix product, in 1e12 operations a second."""
    n = 8192 if job.device == "cuda" else 1024
    one = torch.randn(n, n, device=job.device, dtype=torch.bfloat16 if job.precision == "bf16-mixed" else torch.float32)
    product = one @ one
    ready()
    started, rounds = time.perf_counter(), 0
    while time.perf_counter() - started < min(job.seconds, 2.0):
        for _ in range(5):
            torch.mm(one, one, out=product)
        rounds += 5
        _wait(job)
    return {"tflops": rounds * 2 * n**3 / (time.perf_counter() - started) / 1e12}


def train(job: Job, ready: Ready) -> dict[str, float]:
    """Segments trained a second: whole steps, from the numbers of the pairs on the device to new weights."""
    trainings = [_Training(job, seed) for seed in range(job.streams)]
    for training in trainings:
        training.step(1)  # records, where captured
    ready()
    started, segments = time.perf_counter(), 0
    while time.perf_counter() - started < job.seconds:
        for _ in range(10):
            segments += sum(training.step(1) for training in trainings)
        _wait(job)
    return {"segments/s": segments / (time.perf_counter() - started)}


def compare(job: Job, ready: Ready) -> dict[str, float]:
    """Loss and weights after `STEPS` steps, captured and twice as written, with the same Adam.

    Captured against as written may differ as much as the second as written does, whose sums have no fixed order either.
    """
    ready()
    ways = {"as written": _at_once, "as written again": _at_once, "captured": None}
    found: dict[str, float] = {}
    first = None
    for name, capture in ways.items():
        training = _Training(replace(job, captured=True), 0, capture)
        torch.manual_seed(1)
        training.step(STEPS)
        found[f"loss, {name}"] = float(training.loss.total)
        first = first or training
        if training is not first:
            pairs = zip(_weights(first), _weights(training), strict=True)
            found[f"largest difference of a weight, {name}"] = max(
                float((a - b).abs().max() / a.abs().max()) for a, b in pairs
            )
    return found


def _weights(training: "_Training") -> list[torch.Tensor]:
    return [weight.detach() for weight in training.network.parameters()]


def _at_once(compute: Callable[[], None]) -> Callable[[], None]:
    """`Capture` that captures nothing: the step runs as written, with the Adam of a captured one."""
    return compute


def gru(job: Job, ready: Ready) -> dict[str, float]:
    """What a GRU computes in under the job's autocast: 7 bits of mantissa are bfloat16, 10 are float16, 23 float32.

    float16 has a smallest gradient below which all is zero, and nothing here scales the loss.
    """
    fabric = _fabric(job)
    layer = torch.nn.GRU(8, 8, batch_first=True).to(job.device)
    ready()
    with fabric.autocast():
        found = layer(torch.randn(2, 4, 8, device=job.device))[0].dtype
    return {"GRU's output, bits of mantissa": -math.log2(torch.finfo(found).eps)}


def evaluate(job: Job, ready: Ready) -> dict[str, float]:
    """Segments predicted a second as after each epoch: from numpy on the host through `Model.embed`."""
    images = np.random.default_rng(0).standard_normal((job.segments // 4, 2, 64, 80), dtype=np.float32)
    bundle = _bundle(job, build_network(recipe_of(job), N_SCENES).to(job.device).eval())
    return _predicted(job, ready, lambda: bundle.classify(bundle.embed((images,)), "softmax"), len(images))


@torch.inference_mode()
def resident(job: Job, ready: Ready) -> dict[str, float]:
    """The same with the images on the device, 512 at a time."""
    images = torch.randn(job.segments // 4, 2, 64, 80, device=job.device).contiguous(memory_format=torch.channels_last)
    network = build_network(recipe_of(job), N_SCENES).to(job.device).eval()
    return _predicted(job, ready, lambda: torch.cat([network(piece) for piece in images.split(512)]).cpu(), len(images))


def epochs(job: Job, ready: Ready) -> dict[str, float]:
    """Seconds an epoch of `fit` itself on one split, with what follows it: test pass, entropies, checkpoint; 4 epochs."""
    few = np.random.default_rng(0).standard_normal((512, 2, 64, 80), dtype=np.float32)
    images = torch.from_numpy(few)[torch.arange(job.segments) % 512]
    testing = few[np.arange(job.segments // 4) % 512]
    ends: list[float] = []

    def observe(_: dict[str, float], network: Network) -> None:
        bundle = _bundle(job, network)
        bundle.classify(bundle.embed((testing,)), "softmax")
        if isinstance(network, AttCRNN):
            entropies(network, torch.from_numpy(few[:PROBED]))
        ends.append(time.perf_counter())

    recipe = recipe_of(job).with_settings(["training.epochs=4"])
    ready()
    with tempfile.TemporaryDirectory() as folder:
        corpus = LabelledImages(images, torch.arange(job.segments) % N_SCENES)
        fitted = fit(
            recipe,
            corpus,
            N_SCENES,
            fabric=_fabric(job),
            checkpoint=Path(folder) / "checkpoint.safetensors",
            on_epoch=observe,
        )
    epoch = statistics.median(np.diff(ends[1:]))  # without the first, which records
    return {"s/epoch": float(epoch), "of it training": fitted.history[-1]["seconds"], "segments/s": job.segments / epoch}


WORK = {
    "matrix": matrix,
    "train": train,
    "compare": compare,
    "evaluate": evaluate,
    "resident": resident,
    "epochs": epochs,
    "gru": gru,
}


class _Training:
    """A step with its pairs, on a stream of its own where several share a process."""

    def __init__(self, job: Job, seed: int, capture: Capture | None = None) -> None:
        recipe, fabric = recipe_of(job), _fabric(job)
        torch.manual_seed(seed)
        self.network = build_network(recipe, N_SCENES)
        precision = str(fabric.strategy.precision.precision)
        chosen = job.captured and capture is None
        if chosen and (why := obstacle(recipe, self.network, job.device, precision, 1)):
            raise RuntimeError(why)
        self._beside = torch.cuda.Stream() if job.streams > 1 else None
        with self._on_its_stream():
            images = torch.randn(job.segments, 2, 64, 80, device=job.device)
            training = LabelledImages(images, torch.arange(job.segments, device=job.device) % N_SCENES)
            if chosen:
                capture = choose_capture(recipe, fabric, self.network)
            _, self.loss = make_step(recipe, fabric, self.network, training, N_SCENES, capture)
            self._pairs = draw_pairs(training.labels.cpu(), job.segments, torch.Generator().manual_seed(seed))
            self.loss.start(self._pairs)
        self._batch, self._at = job.batch, 0

    def step(self, n: int) -> int:
        """Run n steps and return the number of segments they took."""
        with self._on_its_stream():
            for _ in range(n):
                if self._at + self._batch > len(self._pairs.first):
                    self.loss.start(self._pairs)
                    self._at = 0
                self.loss.run(slice(self._at, self._at + self._batch), 0)
                self._at += self._batch
        return n * self._batch

    def _on_its_stream(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self._beside) if self._beside else nullcontext()


def _fabric(job: Job) -> Fabric:
    return make_fabric(job.device, job.precision if job.precision in PRECISIONS else "32-true")


def _bundle(job: Job, network: Network) -> Model:
    scenes = tuple(f"scene {i}" for i in range(N_SCENES))
    svm = CalibratedSVM(network.softmax.in_features, N_SCENES)
    return Model(scenes, (NetworkMember("gpu", recipe_of(job), network, svm),), {"softmax": 1.0})


def _predicted(job: Job, ready: Ready, predict: Callable[[], object], n: int) -> dict[str, float]:
    predict()
    ready()
    started, rounds = time.perf_counter(), 0
    while time.perf_counter() - started < job.seconds:
        predict()
        rounds += 1
    return {"segments/s": rounds * n / (time.perf_counter() - started)}


def _wait(job: Job) -> None:
    if job.device == "cuda":
        torch.cuda.synchronize()
