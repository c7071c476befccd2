"""The network and its loss once more, as one writes them down without a thought of speed: the other side of the benchmark.

Layers of PyTorch one after another, in the order of Table 1 and of equations (1)-(12), contiguous tensors, nothing fused.
Nothing here comes from `soundscene.network`, so agreement of results says something.
"""

import re

import torch
from jaxtyping import Float
from torch import Tensor, nn

from soundscene.recipe import Recipe

N_CHANNELS = 2
POOL = 4
KERNELS = (5, 3, 2)

# Parts of the names in a bundle -> names here.
_NAMES = (
    (r"^convolutions\.blocks\.(\d)\.", r"block\1."),
    (r"^(block\d)\.convolution\.", r"\1.conv."),
    (r"^(block\d)\.norm\.", r"\1.bn."),
    (r"^recurrent\.layers\.(\d)\.(weight|bias)_(ih|hh)_l0", r"gru.\2_\3_l\1"),
    (r"^recurrent\.", ""),
    (r"^attention\.(spatial|temporal)\.project\.", r"\1."),
    (r"^attention\.(spatial|temporal)\.context$", r"\1_context"),
    (r"^standardise\.", ""),
)


class PlainBlock(nn.Module):
    """Convolution with SAME padding, ReLU, batch norm, max pooling of 4 bands, dropout.

    Shape: [batch, n_in, band, frame] -> [batch, n_out, band // 4, frame].
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, dropout: float) -> None:
        super().__init__()
        before, after = (kernel - 1) // 2, kernel // 2
        self.pad = nn.ZeroPad2d((before, after, before, after))
        self.conv = nn.Conv2d(n_in, n_out, kernel)
        self.relu = nn.ReLU()
        self.bn = nn.BatchNorm2d(n_out)
        self.pool = nn.MaxPool2d((POOL, 1))
        self.dropout = nn.Dropout(dropout)
        if before == after:
            self.pad, self.conv = nn.Identity(), nn.Conv2d(n_in, n_out, kernel, padding=before)

    def forward(self, x: Float[Tensor, "batch n_in band frame"]) -> Float[Tensor, "batch n_out pooled frame"]:
        """One row pair of Table 1."""
        return self.dropout(self.pool(self.bn(self.relu(self.conv(self.pad(x))))))


class PlainAttCRNN(nn.Module):
    """Att-CRNN of a recipe with the mean-preserving or the printed scale of attention.

    Shape: images [batch, 2, band, frame] -> logits [batch, scene]. Weights are those of PyTorch's initialisation, to be
    replaced by `take`.
    """

    mean: Tensor
    inverse_deviation: Tensor

    def __init__(self, recipe: Recipe, n_scenes: int) -> None:
        super().__init__()
        sizes, n_bands = recipe.network, recipe.features.n_bands
        n_frames = recipe.audio.segment_samples // recipe.features.hop
        self.clamp = recipe.features.clamp
        self.hidden = sizes.hidden
        self.printed = sizes.attention_scale == "printed"
        self.register_buffer("mean", torch.zeros(N_CHANNELS, n_bands, 1))
        self.register_buffer("inverse_deviation", torch.ones(N_CHANNELS, n_bands, 1))
        widths = (N_CHANNELS, *sizes.filters)
        self.block0 = PlainBlock(widths[0], widths[1], KERNELS[0], sizes.conv_dropout)
        self.block1 = PlainBlock(widths[1], widths[2], KERNELS[1], sizes.conv_dropout)
        self.block2 = PlainBlock(widths[2], widths[3], KERNELS[2], sizes.conv_dropout)
        self.dropout = nn.Dropout(sizes.recurrent_dropout)
        n_in = n_bands // POOL**3 * widths[3]
        self.gru = nn.GRU(n_in, sizes.hidden, 2, batch_first=True, bidirectional=True, dropout=sizes.recurrent_dropout)
        self.projection = nn.Linear(2 * sizes.hidden, 2 * sizes.hidden)
        self.temporal = nn.Linear(2 * sizes.hidden, sizes.attention)
        self.temporal_context = nn.Parameter(torch.randn(sizes.attention))
        self.spatial = nn.Linear(n_frames, sizes.attention)
        self.spatial_context = nn.Parameter(torch.randn(sizes.attention))
        self.softmax = nn.Linear(2 * sizes.hidden, n_scenes)

    def standardise(self, images: Float[Tensor, "batch 2 band frame"]) -> Float[Tensor, "batch 2 band frame"]:
        """Images in deviations from the mean of each band, cut."""
        return ((images - self.mean) * self.inverse_deviation).clamp(-self.clamp, self.clamp)

    def from_standardised(self, x: Float[Tensor, "batch 2 band frame"]) -> Float[Tensor, "batch scene"]:
        """Logits of standardised images."""
        x = self.block2(self.block1(self.block0(x)))
        x = x.reshape(x.shape[0], -1, x.shape[3]).permute(0, 2, 1)
        x, _ = self.gru(self.dropout(x))
        x = self.dropout(x)
        z = self.projection(torch.cat([x[:, :, self.hidden :], x[:, :, : self.hidden]], dim=2))  # backward first
        a_tem = torch.softmax(torch.tanh(self.temporal(z)) @ self.temporal_context, dim=1)
        a_spa = torch.softmax(torch.tanh(self.spatial(z.permute(0, 2, 1))) @ self.spatial_context, dim=1)
        mask = torch.bmm(a_tem.unsqueeze(2), a_spa.unsqueeze(1))
        if self.printed:
            return self.softmax(torch.tanh(mask * z).sum(dim=1))
        return self.softmax(torch.tanh(mask * z * (z.shape[1] * z.shape[2])).mean(dim=1))

    def forward(self, images: Float[Tensor, "batch 2 band frame"]) -> Float[Tensor, "batch scene"]:
        """Logits of images as the front-end makes them."""
        return self.from_standardised(self.standardise(images))


def take(plain: PlainAttCRNN, state: dict[str, Tensor]) -> PlainAttCRNN:
    """The same network with the parameters and statistics of a soundscene Att-CRNN's `state_dict`, contiguous.

    Raises `RuntimeError` (PyTorch's) when names or shapes do not fit.
    """
    plain.load_state_dict({plain_name(name): tensor.detach().clone().contiguous() for name, tensor in state.items()})
    return plain


def plain_name(name: str) -> str:
    """What a parameter of soundscene's Att-CRNN is called here."""
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def plain_loss(targets: Float[Tensor, "batch scene"], logits: Float[Tensor, "batch scene"]) -> Float[Tensor, ""]:
    """KL divergence (12), mean over the batch."""
    return nn.functional.kl_div(torch.log_softmax(logits, dim=1), targets, reduction="batchmean")


def plain_step(
    network: PlainAttCRNN,
    optimiser: torch.optim.Optimizer,
    images: Float[Tensor, "segment 2 band frame"],
    labels: Float[Tensor, "segment scene"],
    batch: int,
) -> float:
    """One step on between-class examples (10)-(12) of `batch` random pairs of segments; its loss."""
    first, second = torch.randint(len(images), (2, batch))
    r = torch.rand(batch)
    one, other = network.standardise(images[first]), network.standardise(images[second])
    scale = torch.sqrt(r**2 + (1 - r) ** 2)[:, None, None, None]
    mixed = (r[:, None, None, None] * one + (1 - r)[:, None, None, None] * other) / scale
    targets = r[:, None] * labels[first] + (1 - r)[:, None] * labels[second]
    optimiser.zero_grad()
    loss = plain_loss(targets, network.from_standardised(mixed))
    loss.backward()
    optimiser.step()
    return float(loss.detach())


def multiply_accumulates(recipe: Recipe, n_scenes: int) -> int:
    """Multiply-accumulates of one segment's forward pass through Att-CRNN; an operation (FLOP) is half of one.

    Convolutions, GRU, projection, attention scores and softmax layer, from the sizes; padding counts as data; what is
    done to each value once (activation, norm, pooling) is left out.
    """
    sizes, n_bands = recipe.network, recipe.features.n_bands
    n_frames = recipe.audio.segment_samples // recipe.features.hop
    total, widths = 0, (N_CHANNELS, *sizes.filters)
    for i, kernel in enumerate(KERNELS):
        total += n_bands // POOL**i * n_frames * kernel**2 * widths[i] * widths[i + 1]
    both = 2 * sizes.hidden
    for n_in in (n_bands // POOL**3 * widths[3], both):
        total += n_frames * 2 * 3 * sizes.hidden * (n_in + sizes.hidden)  # 2 directions, 3 gates
    total += n_frames * both * both
    total += (n_frames * both + n_frames) * sizes.attention + (both * n_frames + both) * sizes.attention
    return total + both * n_scenes
