"""Between-class examples, equations (10)-(12): pairs of different scenes, their mixture, and the loss."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from soundscene.errors import TrainingError


@dataclass(frozen=True)
class Pairs:
    """Pairs of training segments to mix.

    Attributes:
        first: Indices of segments.
        second: Indices of segments, each of another scene than the first.
        ratio: Share r of the first, in (0, 1).
    """

    first: Int64[Tensor, " pair"]
    second: Int64[Tensor, " pair"]
    ratio: Float32[Tensor, " pair"]


def draw_pairs(labels: Int64[Tensor, " segment"], n_pairs: int, generator: torch.Generator, balanced: bool = False) -> Pairs:
    """Draw the pairs of one epoch.

    The first of a pair runs through a random permutation of the segments (as often as needed), so that an epoch shows each
    of them. The second is drawn uniformly among the segments of all other scenes. With `balanced`, both are drawn by scene
    instead, every scene equally likely, then a segment within it. All draws are direct: redrawing until the scenes differ
    would never end on a corpus of one scene.

    Args:
        labels: Scene of each training segment.
        n_pairs: Number of pairs.
        generator: Source of all draws.
        balanced: Whether every scene is equally likely, whatever its number of segments.

    Raises:
        TrainingError: If all segments are of one scene.
    """
    n = labels.shape[0]
    scenes, counts = torch.unique(labels, return_counts=True)
    if len(scenes) < 2:
        raise TrainingError(
            f"between-class training needs segments of at least two scenes, this training part has {len(scenes)}: "
            "add recordings of another scene"
        )
    order = torch.argsort(labels, stable=True)  # segments sorted by scene: scene c fills [start, start + count)
    starts = torch.cumsum(counts, 0) - counts

    def uniform(size: int) -> Tensor:  # float64, so that every index of a large corpus can be drawn
        return torch.rand(size, generator=generator, dtype=torch.float64)

    if balanced:
        one = torch.randint(len(scenes), (n_pairs,), generator=generator)
        # A shift of 1 to n - 1 scenes, modulo n: uniform over all scenes but the first one.
        other = (one + torch.randint(1, len(scenes), (n_pairs,), generator=generator)) % len(scenes)
        first = order[starts[one] + (uniform(n_pairs) * counts[one]).long()]
        second = order[starts[other] + (uniform(n_pairs) * counts[other]).long()]
    else:
        rounds = -(-n_pairs // n)
        first = torch.cat([torch.randperm(n, generator=generator) for _ in range(rounds)])[:n_pairs]
        # Among the n - counts segments of other scenes: an index into `order` that skips the first segment's own scene.
        scene = torch.searchsorted(scenes, labels[first])
        place = (uniform(n_pairs) * (n - counts[scene])).long()
        second = order[place + counts[scene] * (place >= starts[scene])]
    return Pairs(first, second, torch.rand(n_pairs, generator=generator))


def no_mixing(labels: Int64[Tensor, " segment"], n_pairs: int, generator: torch.Generator, balanced: bool = False) -> Pairs:
    """Draw pairs of ratio 1, so that every example is one segment: training without between-class examples.

    Args:
        labels: Scene of each training segment.
        n_pairs: Number of pairs.
        generator: Source of all draws.
        balanced: Whether every scene is equally likely.
    """
    pairs = draw_pairs(labels, n_pairs, generator, balanced)
    return Pairs(pairs.first, pairs.first, torch.ones_like(pairs.ratio))


def mix_images(
    one: Float[Tensor, "batch channel band frame"],
    other: Float[Tensor, "batch channel band frame"],
    ratio: Float[Tensor, " batch"],
) -> Float[Tensor, "batch channel band frame"]:
    """Mix images by equation (10): (r S1 + (1-r) S2) / sqrt(r^2 + (1-r)^2).

    The denominator keeps the variance of standardised, independent images.

    Args:
        one: Standardised images S1.
        other: Standardised images S2.
        ratio: Share r of the first.
    """
    r = ratio[:, None, None, None]
    return (r * one + (1 - r) * other) / torch.sqrt(r.square() + (1 - r).square())


def mix_labels(
    one: Int64[Tensor, " batch"], other: Int64[Tensor, " batch"], ratio: Float[Tensor, " batch"], n_scenes: int
) -> Float[Tensor, "batch scene"]:
    """Mix one-hot labels by equation (11): r y1 + (1-r) y2.

    Args:
        one: Scenes of the first segments.
        other: Scenes of the second segments.
        ratio: Share r of the first.
        n_scenes: Number of scenes.
    """
    targets = torch.zeros(len(ratio), n_scenes, dtype=ratio.dtype, device=ratio.device)
    targets.scatter_add_(1, one[:, None], ratio[:, None])
    return targets.scatter_add_(1, other[:, None], 1 - ratio[:, None])


def kl_divergence(targets: Float[Tensor, "batch scene"], logits: Float[Tensor, "batch scene"]) -> Float[Tensor, ""]:
    """Compute the loss of equation (12): KL(y || softmax(logits)), mean over the batch.

    Args:
        targets: Mixed labels y. Zeros count as 0 log 0 = 0.
        logits: Output of the network.

    Returns:
        Loss in nats.
    """
    log_posterior = torch.log_softmax(logits.float(), dim=-1)
    return (torch.xlogy(targets, targets) - targets * log_posterior).sum(dim=-1).mean()


def gain_and_masks(
    images: Float[Tensor, "batch channel band frame"],
    gain_db: float,
    mask_bands: int,
    mask_frames: int,
    inverse_deviation: Float[Tensor, "channel band 1"],
    generator: torch.Generator,
) -> Float[Tensor, "batch channel band frame"]:
    """Apply a random gain and mask one stripe of bands and one of frames of each standardised image.

    A gain of g dB adds g ln(10)/10 to every log power, here divided by the deviation of the band. Stripes have a uniform
    random width and are filled with 0, the mean of the training part. With all three settings at 0 nothing is drawn.

    Args:
        images: Standardised images.
        gain_db: Largest gain, up or down, in dB.
        mask_bands: Largest width of a stripe of bands.
        mask_frames: Largest width of a stripe of frames.
        inverse_deviation: 1 / deviation of each channel and band, from the standardisation.
        generator: Source of all draws, on the CPU.
    """
    batch, _, n_bands, n_frames = images.shape
    device = images.device
    if gain_db:
        gain = (2 * torch.rand(batch, 1, 1, 1, generator=generator) - 1) * gain_db * 0.1 * torch.log(torch.tensor(10.0))
        images = images + gain.to(device) * inverse_deviation
    for widest, length, shape in ((mask_bands, n_bands, (1, 1, -1, 1)), (mask_frames, n_frames, (1, 1, 1, -1))):
        if widest:
            width = torch.randint(0, min(widest, length) + 1, (batch, 1), generator=generator)
            start = (torch.rand(batch, 1, generator=generator) * (length - width + 1)).long()
            place = torch.arange(length)
            keep = ((place < start) | (place >= start + width)).view(batch, *shape[1:]).to(device)
            images = images * keep
    return images
