"""Rows about networks: a training step, prediction in bulk, compiling, and the networks that others run for this job."""

import copy
import math
import statistics
import warnings
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.comparison import (
    PRODUCT_FLOP,
    Comparison,
    Measured,
    MissingError,
    Settings,
    Times,
    alternate,
    matrix_product,
    seconds,
)
from benchmarks.peers import OTHERS, OtherNetwork
from benchmarks.plain import (
    PlainAttCRNN,
    multiply_accumulates,
    plain_loss,
    plain_name,
    plain_step,
    take,
)
from soundscene.member import NetworkMember, name_of, networks_of
from soundscene.model import Model
from soundscene.network.models import Network, build_network, n_frames
from soundscene.network.svm import CalibratedSVM
from soundscene.recipe import Recipe
from soundscene.training.between_class import kl_divergence
from soundscene.training.device import make_fabric
from soundscene.training.fit import LabelledImages, fit

N_SCENES = 19  # of LITIS Rouen
TOLERANCE = 1e-4
COMPARED = 2  # segments whose loss and gradients are compared
DRAWS = 9
OTHERS_BATCH = 16  # a batch of 64 takes Cnn14 ten seconds
_NOTHING_CACHED = torch.compiler.config.patch  # pyright: ignore[reportAttributeAccessIssue]
TRAINING_TO_FORWARD = 3  # a step multiplies for the output, for the gradient of the input and for that of the weights


def random_images(recipe: Recipe, n: int) -> Float32[Tensor, "segment 2 band frame"]:
    """Values as logs of powers have them, with two spectra in each segment, so that segments and frames differ."""
    first, second = 3 * torch.randn(2, n, 2, recipe.features.n_bands, 1)
    change = torch.rand(n, 1, 1, 1) * n_frames(recipe)
    colour = torch.where(torch.arange(n_frames(recipe)) < change, first, second)
    return 2 * torch.randn(n, 2, recipe.features.n_bands, n_frames(recipe)) + colour - 6


def random_network(recipe: Recipe) -> Network:
    """A network as after a training: attention that chooses, and batch norms of any factor, some of them negative.

    The attention of a new network is all but uniform, and its gradients are sums that cancel: rounding, and little else.
    """
    network = build_network(recipe, N_SCENES)
    network.standardise.fit(random_images(recipe, 8))
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 0.5, 1.0)
            nn.init.normal_(layer.bias)
            nn.init.uniform_(layer.running_mean, 0.1, 0.6)  # type: ignore[arg-type]
            nn.init.uniform_(layer.running_var, 0.2, 1.0)  # type: ignore[arg-type]
    nn.init.normal_(network.softmax.weight)
    for name, parameter in network.named_parameters():
        if name.endswith("context"):
            nn.init.normal_(parameter)
    return network.eval()


def random_bundle(recipe: Recipe) -> Model:
    """A model that was never trained."""
    network = random_network(recipe)
    scenes = tuple(f"scene{i}" for i in range(N_SCENES))
    svm = CalibratedSVM(network.softmax.in_features, N_SCENES)
    member = NetworkMember(name_of(recipe), recipe, network, svm.eval())
    return Model(scenes, (member,), {"softmax": 1.0, "svm": 1.0})


# --- training step ----------------------------------------------------------------------------------------------------


def gradient_differences(recipe: Recipe, n: int = COMPARED, draws: int = DRAWS) -> list[float]:
    """Differences of our loss and gradients from the plain rendering's, without dropout, for each draw, in rising order.

    Relative to the loss, and for a gradient to its tensor's largest value. The plain rendering computes in float64 here,
    because some gradients are sums that nearly cancel, and its own rounding in float32 would be counted as our error.
    Several draws of few segments: among thousands of maxima two are sometimes so close that rounding decides between them,
    which moves one value's gradient to another place; that is no error, and does not happen in most draws.
    """
    recipe = recipe.with_settings(["network.conv_dropout=0.0", "network.recurrent_dropout=0.0"])
    return sorted(_gradient_difference(recipe, n) for _ in range(draws))


def _gradient_difference(recipe: Recipe, n: int) -> float:
    network = random_network(recipe)
    plain = take(PlainAttCRNN(recipe, N_SCENES), network.state_dict()).double()
    network.train()
    plain.train()
    images = network.standardise(random_images(recipe, n))
    targets = torch.softmax(3 * torch.randn(n, N_SCENES), dim=1)
    ours = kl_divergence(targets, network.from_standardised(images.contiguous(memory_format=torch.channels_last)))
    theirs = plain_loss(targets.double(), plain.from_standardised(images.double()))
    ours.backward()
    theirs.backward()
    differences = [abs(float(ours.detach()) / float(theirs.detach()) - 1)]
    other = dict(plain.named_parameters())
    for name, parameter in network.named_parameters():
        expected = other[plain_name(name)].grad
        assert parameter.grad is not None
        assert expected is not None
        differences.append(float((parameter.grad - expected).abs().max() / expected.abs().max()))
    return max(differences)


@cache
def _training_times(settings: Settings) -> tuple[Times, list[float]]:
    """Median seconds of a step of `fit`, of the plain step and of the product, in turn; the differences of gradients.

    `fit` itself is timed, by epochs of one batch; the others run between its epochs.
    """
    torch.manual_seed(0)
    differences = gradient_differences(settings.recipe)
    recipe, batch = settings.recipe, settings.batch
    recipe = recipe.with_settings([f"training.epochs={settings.repetitions + 1}", f"training.batch_size={batch}"])
    images = random_images(recipe, 2 * batch)
    labels = torch.arange(2 * batch) % N_SCENES
    one_hot = nn.functional.one_hot(labels, N_SCENES).float()
    plain = take(PlainAttCRNN(recipe, N_SCENES), random_network(recipe).state_dict()).train()
    optimiser = torch.optim.Adam(plain.parameters(), lr=recipe.training.learning_rate)
    product = matrix_product()
    taken: dict[str, list[float]] = {"ours": [], "plain": [], "product": []}

    def after_epoch(row: dict[str, float], network: Network) -> None:
        taken["ours"].append(row["seconds"])
        taken["plain"].append(seconds(partial(plain_step, plain, optimiser, images, one_hot, batch)))
        taken["product"].append(seconds(product))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Fabric's advice on devices and loaders
        fit(
            recipe,
            LabelledImages(images, labels),
            N_SCENES,
            fabric=make_fabric("cpu"),
            epoch_size=batch,
            on_epoch=after_epoch,
        )
    medians = {name: statistics.median(values[1:]) for name, values in taken.items()}
    return Times(medians, settings.repetitions), differences


def training_against_plain(settings: Settings) -> Measured:
    times, differences = _training_times(settings)
    difference = statistics.median(differences)
    fault = "" if difference <= TOLERANCE else f"gradients differ by {difference:.1e}, allowed are {TOLERANCE:.0e}"
    spread = f"{difference:.1e} (median of {len(differences)} draws, worst {differences[-1]:.1e})"
    note = f"loss and gradients differ from float64 by {spread}; {settings.batch / times['ours']:.1f} segments/s"
    return Measured(times["ours"], times["plain"], times.n, note, fault)


def training_against_product(settings: Settings) -> Measured:
    times, _ = _training_times(settings)
    per_segment = TRAINING_TO_FORWARD * 2 * multiply_accumulates(settings.recipe, N_SCENES)
    return _against_product(times, per_segment * settings.batch)


def _against_product(times: Times, operations: int) -> Measured:
    rate = PRODUCT_FLOP / times["product"]
    note = f"{operations / 1e9:.1f} GFLOP; the product runs at {rate / 1e9:.1f} GFLOP/s"
    return Measured(times["ours"], operations / rate, times.n, note)


# --- prediction -------------------------------------------------------------------------------------------------------


@cache
def _prediction_times(settings: Settings) -> tuple[Times, float]:
    """Median seconds for `bulk` segments of ours, plain and the product; the largest difference of a probability."""
    torch.manual_seed(0)
    bundle = random_bundle(settings.recipe)
    plain = take(PlainAttCRNN(settings.recipe, N_SCENES), networks_of(bundle.members)[0].network.state_dict()).eval()
    images = random_images(settings.recipe, settings.bulk).numpy()

    def ours() -> np.ndarray:
        return bundle.classify(bundle.embed((images,)), "softmax")

    @torch.inference_mode()
    def other() -> np.ndarray:
        return torch.log_softmax(plain(torch.from_numpy(images)), dim=1).numpy()

    difference = float(np.abs(np.exp(ours()) - np.exp(other())).max())
    return alternate({"ours": ours, "plain": other, "product": matrix_product()}, settings.repetitions), difference


def prediction_against_plain(settings: Settings) -> Measured:
    times, difference = _prediction_times(settings)
    fault = "" if difference <= TOLERANCE else f"probabilities differ by {difference:.1e}, allowed are {TOLERANCE:.0e}"
    note = f"probabilities differ by {difference:.1e}; {settings.bulk / times['ours']:.0f} segments/s"
    return Measured(times["ours"], times["plain"], times.n, note, fault)


def prediction_against_product(settings: Settings) -> Measured:
    times, _ = _prediction_times(settings)
    operations = 2 * multiply_accumulates(settings.recipe, N_SCENES) * settings.bulk
    return _against_product(times, operations)


@torch.inference_mode()
def compiled(settings: Settings) -> Measured:
    """The network of `build_network` by `torch.compile`, nothing cached, against the same as prediction runs it."""
    torch.manual_seed(0)
    network = random_network(settings.recipe)
    images = random_images(settings.recipe, settings.bulk).contiguous(memory_format=torch.channels_last)
    fast = torch.compile(copy.deepcopy(network), dynamic=False)
    try:
        with _NOTHING_CACHED(force_disable_caches=True), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            first_s = seconds(lambda: fast(images))
    except RuntimeError as error:  # what PyTorch raises without a C++ compiler, and where it cannot compile
        raise MissingError(f"torch.compile: {' '.join(str(error).split())[:100]}") from None
    times = alternate({"eager": lambda: network(images), "compiled": lambda: fast(images)}, settings.repetitions)
    compile_s = first_s - times["compiled"]
    gain_s = (times["eager"] - times["compiled"]) / settings.bulk
    pays = f"pays from {math.ceil(compile_s / gain_s)} segments" if gain_s > 0 else "never pays"
    note = f"compiling takes {compile_s:.0f} s and {pays}"
    return Measured(times["eager"], times["compiled"], times.n, note)


# --- networks of others -----------------------------------------------------------------------------------------------


def others(make: Callable[[], OtherNetwork], settings: Settings) -> Measured:
    """A forward pass of ours and of another network, in seconds for each second of sound, same batch and thread."""
    theirs = make()
    theirs.module.eval()
    ours = random_network(settings.recipe)
    n = min(OTHERS_BATCH, settings.bulk)
    one = random_images(settings.recipe, n).contiguous(memory_format=torch.channels_last)
    other = theirs.segment.expand(n, *theirs.segment.shape[1:]).contiguous()
    with torch.inference_mode():
        times = alternate({"ours": lambda: ours(one), "other": lambda: theirs.module(other)}, settings.repetitions)
    length_s = settings.recipe.audio.segment_s
    notes = [
        _size("ours", ours, one[:1], length_s, n / times["ours"]),
        _size("theirs", theirs.module, theirs.segment, theirs.seconds, n / times["other"]),
    ]
    note = f"{'; '.join(notes)} ({theirs.note}); batch {n}"
    return Measured(times["ours"] / n / length_s, times["other"] / n / theirs.seconds, times.n, note)


def _size(name: str, network: nn.Module, segment: Tensor, length_s: float, rate: float) -> str:
    parameters = sum(parameter.numel() for parameter in network.parameters())
    products = operations(network, segment) / 2
    return (
        f"{name}: {parameters / 1e6:.2f} M parameters, {products / 1e6:.0f} M multiply-accumulates for {length_s:g} s, "
        f"{rate:.1f} segments/s = {rate * length_s:.0f} s of sound/s"
    )


@torch.inference_mode()
def operations(network: nn.Module, segment: Tensor) -> int:
    """Floating-point operations of the convolutions and products of a forward pass, counted by PyTorch."""
    with FlopCounterMode(display=False) as counter:
        network(segment)
    return counter.get_total_flops()


def _small(settings: Settings) -> OtherNetwork:
    recipe = Recipe.small()
    return OtherNetwork(random_network(recipe), random_images(recipe, 1), recipe.audio.segment_s, "Recipe.small()")


COMPARISONS = {
    "training-step": (
        Comparison("training step, full width", "plain PyTorch", "times as fast", 1.4, training_against_plain),
        Comparison("training step, full width", "matrix-product rate", "times as fast", 0.65, training_against_product),
    ),
    "prediction": (
        Comparison("images -> posteriors", "plain PyTorch", "times as fast", 1.5, prediction_against_plain),
        Comparison("images -> posteriors", "matrix-product rate", "times as fast", 0.9, prediction_against_product),
    ),
    "compiled": (Comparison("images -> logits", "torch.compile of the same", "times as fast", None, compiled),),
    "others": (
        Comparison("a second of sound", "Recipe.small()", "times as fast", None, lambda s: others(partial(_small, s), s)),
        *(
            Comparison("a second of sound", name, "times as fast", None, partial(others, make))
            for name, make in OTHERS.items()
        ),
    ),
}
