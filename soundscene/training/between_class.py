"""Between-class examples, equations (10)-(12): pairs of different scenes, their mixture, and the loss."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from soundscene.errors import TrainingError


@dataclass(frozen=True)
class Pairs:
    """first, second: indices of training segments [pair], of different scenes; ratio r [pair] in (0, 1)."""

    first: Int64[Tensor, " pair"]
    second: Int64[Tensor, " pair"]
    ratio: Float32[Tensor, " pair"]


def draw_pairs(labels: Int64[Tensor, " segment"], n_pairs: int, generator: torch.Generator, balanced: bool = False) -> Pairs:
    """Draw the pairs of one epoch.

    The first of a pair runs through a random permutation of the segments (as often as needed), so that an epoch shows
    each of them; the second is drawn uniformly among the segments of all other scenes. With `balanced`, first and second
    are drawn by scene instead, every scene equally likely, then a segment within it. Both are direct draws: redrawing
    until the scenes differ would never end on a corpus of one scene.

    Raises: `TrainingError` when all segments are of one scene.
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

    def uniform(size: int) -> Tensor:  # float64, so that no index of a large corpus is out of reach
        return torch.rand(size, generator=generator, dtype=torch.float64)

    if balanced:
        one = torch.randint(len(scenes), (n_pairs,), generator=generator)
        other = (one + torch.randint(1, len(scenes), (n_pairs,), generator=generator)) % len(scenes)
        first = order[starts[one] + (uniform(n_pairs) * counts[one]).long()]
        second = order[starts[other] + (uniform(n_pairs) * counts[other]).long()]
    else:
        rounds = -(-n_pairs // n)
        first = torch.cat([torch.randperm(n, generator=generator) for _ in range(rounds)])[:n_pairs]
        scene = torch.searchsorted(scenes, labels[first])
        place = (uniform(n_pairs) * (n - counts[scene])).long()
        second = order[place + counts[scene] * (place >= starts[scene])]  # step over the scene of the first
    return Pairs(first, second, torch.rand(n_pairs, generator=generator))


def no_mixing(labels: Int64[Tensor, " segment"], n_pairs: int, generator: torch.Generator, balanced: bool = False) -> Pairs:
    """Pairs of ratio 1, so that every example is one segment: training without between-class examples, for comparison."""
    pairs = draw_pairs(labels, n_pairs, generator, balanced)
    return Pairs(pairs.first, pairs.first, torch.ones_like(pairs.ratio))


def mix_images(
    one: Float[Tensor, "batch channel band frame"],
    other: Float[Tensor, "batch channel band frame"],
    ratio: Float[Tensor, " batch"],
) -> Float[Tensor, "batch channel band frame"]:
    """Equation (10): (r S1 + (1-r) S2) / sqrt(r^2 + (1-r)^2), which keeps the variance of standardised images."""
    r = ratio[:, None, None, None]
    return (r * one + (1 - r) * other) / torch.sqrt(r.square() + (1 - r).square())


def mix_labels(
    one: Int64[Tensor, " batch"], other: Int64[Tensor, " batch"], ratio: Float[Tensor, " batch"], n_scenes: int
) -> Float[Tensor, "batch scene"]:
    """Equation (11): r y1 + (1-r) y2 of one-hot labels."""
    targets = torch.zeros(len(ratio), n_scenes, dtype=ratio.dtype, device=ratio.device)
    targets.scatter_add_(1, one[:, None], ratio[:, None])
    return targets.scatter_add_(1, other[:, None], 1 - ratio[:, None])


def kl_divergence(targets: Float[Tensor, "batch scene"], logits: Float[Tensor, "batch scene"]) -> Float[Tensor, ""]:
    """Equation (12): KL(y || softmax(logits)), natural logarithm, mean over the batch; 0 log 0 = 0."""
    log_posterior = torch.log_softmax(logits.float(), dim=-1)
    return (torch.xlogy(targets, targets) - targets * log_posterior).sum(dim=-1).mean()


def augment(
    images: Float[Tensor, "batch channel band frame"],
    gain_db: float,
    mask_bands: int,
    mask_frames: int,
    inverse_deviation: Float[Tensor, "channel band 1"],
    generator: torch.Generator,
) -> Float[Tensor, "batch channel band frame"]:
    """Random gain and one masked stripe of bands and of frames for each standardised image.

    A gain of g dB adds g ln(10)/10 to every log power, here over the deviation of the band. Stripes are of uniform
    width up to the given one, filled with 0, the mean of the training part. With all three at 0 nothing is drawn.
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
