"""Vary training images as devices, codecs and places vary sound: level, response, bandwidth, codec, background, clipping.

Everything acts on the log power of the front-end, with the same draws for both channels, before standardisation. There a
gain and a frequency response are a sum, exact but for the width of a band, so a training keeps its one array of images;
docs/decisions/0100-augmentation.md compares these two with real ones. Low-pass, codec, background and clipping are rough
models of what they do to a band's power. The codec's has the form that real MP3 was seen to have; none of the four was
compared with a real one, only the accuracy that they bring under real shifts was measured.

All numbers are drawn from PyTorch's global generator on the device of the images, as dropout is: a CUDA graph can replay
the draws, and an epoch that is repeated after a resume draws the same. No tensor is made from Python's numbers, which a
graph cannot copy to the device while it is captured.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from soundscene.recipe import AugmentationRecipe

DB = math.log(10) / 10  # of log power in one decibel
KNOTS = 5  # of a random frequency response, evenly spaced over the bands
PIECE = 1024  # images of a copy in memory at a time
DULLEST = 0.55  # of the bands are below the lowest edge of a low-pass: at 22.05 kHz 2.4 kHz in mel, 1.8 kHz in gammatone

Image = Float[Tensor, "batch channel band frame"]


def augment(images: Image, choices: AugmentationRecipe, floor: float) -> Image:
    """Vary each image by itself; images of which nothing is asked are returned as they are.

    Args:
        images: Log power from the front-end, not standardised.
        choices: What to vary, and how much.
        floor: Power below which the front-end cuts the logarithm.
    """
    if not any_of(choices):
        return images
    images = images + DB * _response(images, choices)
    if choices.codec:
        images = torch.where(_chosen(images, choices.codec), _codec(images), images)
    if choices.low_pass:
        images = torch.where(_chosen(images, choices.low_pass), _low_pass(images), images)
    if choices.background:
        images = torch.where(_chosen(images, choices.background), _background(images), images)
    if choices.clipping:
        images = torch.where(_chosen(images, choices.clipping), _clipping(images), images)
    return images.clamp(min=math.log(floor))


def any_of(choices: AugmentationRecipe) -> bool:
    """Tell whether `augment` would change anything."""
    shares = (choices.low_pass, choices.codec, choices.background, choices.clipping)
    return any((*choices.level_db, choices.tilt_db, choices.response_db, *shares))


def augmented_pieces(images: np.ndarray, choices: AugmentationRecipe, floor: float, seed: int) -> Iterator[np.ndarray]:
    """Yield an augmented copy of images in pieces, the same for the same seed: what calibration sees beside the originals.

    Args:
        images: Log power from the front-end [segment, 2, band, frame].
        choices: What to vary, and how much.
        floor: Power below which the front-end cuts the logarithm.
        seed: Seed of all draws; PyTorch's generator is left as it was.
    """
    for number, at in enumerate(range(0, len(images), PIECE)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))
            piece = augment(torch.from_numpy(np.ascontiguousarray(images[at : at + PIECE])), choices, floor)
        yield piece.numpy()


def mix_statistics(standardised: Image, share: float) -> Image:
    """Give images the band-wise mean and deviation of a mixture of their own and another image's.

    A device's response shifts the log power of a band, and its noise narrows it. Mixing both over the batch teaches the
    network to do without them.

    Args:
        standardised: Standardised images.
        share: Share of the images that are changed; 0 returns them as they are.

    Source: Freq-MixStyle (Kim et al. 2022; Schmid et al. 2022), after MixStyle (Zhou et al. 2021), Beta(0.4, 0.4).
    """
    if not share:
        return standardised
    mean, deviation = standardised.mean(3, keepdim=True), standardised.std(3, keepdim=True) + 1e-3
    other = torch.rand(len(standardised), device=standardised.device).argsort()
    own = _beta(standardised, 0.4)
    mixed_mean = own * mean + (1 - own) * mean[other]
    mixed_deviation = own * deviation + (1 - own) * deviation[other]
    changed = (standardised - mean) / deviation * mixed_deviation + mixed_mean
    return torch.where(_chosen(standardised, share), changed, standardised)


def _uniform(images: Tensor, low: float = 0.0, high: float = 1.0) -> Float[Tensor, "batch 1 1 1"]:
    return low + (high - low) * torch.rand(len(images), 1, 1, 1, device=images.device)


def _chosen(images: Tensor, share: float) -> Tensor:
    return _uniform(images) < share


def _place(images: Tensor) -> Float[Tensor, "1 1 band 1"]:
    """Return the place of each band, 0 for the lowest to 1 for the highest."""
    return torch.linspace(0, 1, images.shape[2], device=images.device)[None, None, :, None]


def _beta(images: Tensor, shape: float) -> Float[Tensor, "batch 1 1 1"]:
    """Draw from Beta(shape, shape), by Johnk's method without rejection loops: a CUDA graph runs no Python.

    Powers x = u^(1/a), y = v^(1/a) are Beta-distributed as x / (x + y) where x + y <= 1. Sixteen attempts miss with
    probability 1e-4 for a = 0.4; those get 1, the image's own statistics.
    """
    u, v = torch.rand(2, 16, len(images), device=images.device).pow(1 / shape)
    fits = (u + v <= 1) & (u + v > 0)
    first = fits.float().argmax(0, keepdim=True)
    value = (u / (u + v).clamp(min=1e-12)).gather(0, first)[0]
    return torch.where(fits.any(0), value, 1.0)[:, None, None, None]


def _response(images: Image, choices: AugmentationRecipe) -> Float[Tensor, "batch 1 band 1"]:
    """Draw a gain in dB for each band: level, tilt, and for half of the images a random smooth response."""
    total = _uniform(images, *choices.level_db) + _uniform(images, -1.0, 1.0) * choices.tilt_db * (_place(images) - 0.5)
    if choices.response_db:
        knots = torch.randn(len(images), 1, KNOTS, device=images.device) * choices.response_db
        curve = functional.interpolate(knots, size=images.shape[2], mode="linear", align_corners=True)[..., None]
        total = total + torch.where(_chosen(images, 0.5), curve, 0.0)
    return total.expand(-1, -1, images.shape[2], -1)


def _low_pass(images: Image) -> Image:
    """Attenuate the bands above a random edge by 15 to 90 dB, within one band: a resampler, or a codec's low-pass."""
    edge, width = _uniform(images, DULLEST, 1.0), _uniform(images, 0.004, 0.014)
    return images - DB * _uniform(images, 15.0, 90.0) * torch.sigmoid((_place(images) - edge) / width)


def _codec(images: Image) -> Image:
    """Take away what a lossy codec has no bits for: bands far below the loudest of their frame, the more the higher.

    A channel is thinned by its own power, relative to the loudest band of channel 0. So the cells are not the same in both:
    after noise subtraction there is less power, and more is taken. A real codec takes them from the sound, before.
    """
    below = images[:, :1].amax(2, keepdim=True) - images
    spared = 75 - 55 * _uniform(images) * _place(images) + 6 * torch.randn_like(images[:, :1])
    return images - DB * _uniform(images, 5.0, 40.0) * (below > DB * spared)


def _background(images: Image) -> Image:
    """Add stationary noise 5 to 40 dB below the mean power, of random tilt; 12 dB less of it after noise subtraction."""
    level = images[:, :1].exp().mean((2, 3), keepdim=True).log() - DB * _uniform(images, 5.0, 40.0)
    tilt = DB * _uniform(images, -10.0, 10.0) * (2 * _place(images) - 1)
    # The power of a band in one frame is the mean of some eight exponential values: its log has deviation 0.365.
    noise = level + tilt - 0.064 + 0.365 * torch.randn_like(images[:, :1])
    subtracted = 12 * DB * torch.arange(images.shape[1], device=images.device)[:, None, None]  # 0 and 12 dB
    return torch.logaddexp(images, noise - subtracted)


def _clipping(images: Image) -> Image:
    """Lower loud frames, by half of what they are above 3 to 15 dB below the loudest, and spread distortion over all bands.

    The loudest frame falls by 1.5 to 7.5 dB before the distortion, which is 10 to 25 dB below the frame's power, is added.
    """
    energy = images[:, :1].exp().sum(2, keepdim=True).log()
    over = (energy - energy.amax(3, keepdim=True) + DB * _uniform(images, 3.0, 15.0)).clamp(min=0)
    distortion = energy - math.log(images.shape[2]) - DB * _uniform(images, 10.0, 25.0)
    distorted = torch.logaddexp(images - over / 2, distortion.expand_as(images))
    return torch.where(over > 0, distorted, images)
