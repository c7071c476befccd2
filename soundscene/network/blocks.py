"""Layers that both networks share: standardisation, the convolutional stack of Table 1, the bidirectional GRU.

Activations keep PyTorch's order batch x channel x band x frame; pooling works along bands only (section 2.2).
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from soundscene.network.norm_pool import fits, norm_pool

KERNELS = (5, 3, 2)  # Table 1, square
POOL = 4  # bands per pooled band, Table 1
PIECE = 16  # segments: their largest activation, 21 MB at full width, stays in the cache until the next layer reads it


class Standardise(nn.Module):
    """Standardise each band and channel by its mean and deviation on the training part, then clamp.

    Clamping limits digital silence, which sits on the floor of the logarithm some ten deviations below everything else
    and would dominate the batch norm of the first layer.

    Args:
        n_bands: Bands of an image.
        clamp: Largest absolute value of the output, in deviations.
        n_channels: Channels to keep. Channels beyond the first n are left out.

    Shape:
        Input [batch, channel, band, frame], output [batch, n_channels, band, frame].
    """

    mean: Tensor
    inverse_deviation: Tensor

    def __init__(self, n_bands: int, clamp: float, n_channels: int = 2) -> None:
        super().__init__()
        self.clamp = clamp
        self.register_buffer("mean", torch.zeros(n_channels, n_bands, 1))
        self.register_buffer("inverse_deviation", torch.ones(n_channels, n_bands, 1))

    def fit(self, images: Float[Tensor, "batch channel band frame"]) -> None:
        """Take mean and deviation from the training images. A constant band keeps deviation 1."""
        total = torch.zeros(self.mean.shape[:2], dtype=torch.float64)
        square = torch.zeros_like(total)
        for piece in images.split(1024):  # float64 without a float64 copy of the corpus
            piece = piece[:, : len(self.mean)].to("cpu", torch.float64)
            total += piece.sum(dim=(0, 3))
            square += piece.square().sum(dim=(0, 3))
        n = images.shape[0] * images.shape[3]
        mean = total / n
        deviation = (square / n - mean.square()).clamp(min=0).sqrt()
        deviation = torch.where(deviation < 1e-6, 1.0, deviation)
        self.mean.copy_(mean[..., None])
        self.inverse_deviation.copy_(1.0 / deviation[..., None])

    def forward(self, images: Float[Tensor, "batch channel band frame"]) -> Float[Tensor, "batch kept band frame"]:
        """Return images in deviations from the mean of the training part."""
        return ((images[:, : len(self.mean)] - self.mean) * self.inverse_deviation).clamp(-self.clamp, self.clamp)


class ConvBlock(nn.Module):
    """Apply convolution, ReLU, batch norm, max pooling of bands and dropout, in the order of section 2.2.

    Zero padding is SAME. An even kernel gets the extra row and column at the end, as in TensorFlow, by an explicit pad:
    PyTorch's `padding="same"` warns and copies.

    Args:
        n_in: Channels of the input.
        n_out: Filters.
        kernel: Height and width of the filters.
        dropout: Dropout probability.

    Shape:
        Input [batch, n_in, band, frame], output [batch, n_out, band // 4, frame].
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, dropout: float) -> None:
        super().__init__()
        before, after = (kernel - 1) // 2, kernel // 2
        self.pad = nn.ZeroPad2d((before, after, before, after)) if before != after else nn.Identity()
        self.convolution = nn.Conv2d(n_in, n_out, kernel, padding=before if before == after else 0)
        self.norm = nn.BatchNorm2d(n_out)
        self.pool = nn.MaxPool2d((POOL, 1))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "batch n_in band frame"]) -> Float[Tensor, "batch n_out pooled frame"]:
        """Compute one row pair of Table 1."""
        x = self.convolution(self.pad(x))
        if fits(x):  # the fused pass, on a CPU
            return norm_pool(x, self.norm, self.dropout.p if self.training else 0.0)
        return self.dropout(self.pool(self.norm(torch.relu(x))))


class ConvStack(nn.Module):
    """Apply the three blocks of Table 1 and join bands and filters into F = M/64 x filters: O of section 2.2.

    Args:
        filters: Filters of each block.
        dropout: Dropout probability of each block.
        n_channels: Channels of an image.

    Shape:
        Input [batch, n_channels, band, frame], output [batch, F, frame].
    """

    def __init__(self, filters: tuple[int, int, int], dropout: float, n_channels: int = 2) -> None:
        super().__init__()
        sizes = (n_channels, *filters)
        self.blocks = nn.Sequential(
            *(
                ConvBlock(n_in, n_out, kernel, dropout)
                for n_in, n_out, kernel in zip(sizes[:-1], sizes[1:], KERNELS, strict=True)
            )
        )

    def maps(self, images: Float[Tensor, "batch channel band frame"]) -> Float[Tensor, "batch filter pooled frame"]:
        """Return the feature maps of the last block. Inference on a CPU goes in pieces that stay in its cache."""
        if torch.is_grad_enabled() or self.training or images.device.type != "cpu" or len(images) <= PIECE:
            return self.blocks(images)
        return torch.cat([self.blocks(piece) for piece in images.split(PIECE)])

    def forward(self, images: Float[Tensor, "batch channel band frame"]) -> Float[Tensor, "batch feature frame"]:
        """Return the convolutional output O, one column per frame."""
        return self.maps(images).flatten(1, 2)


class BidirectionalGRU(nn.Module):
    """Apply bidirectional GRU layers and the projection of equations (1)-(3).

        z_t = [hb_t, hf_t] W + b        both directions, backward first     (1)
        hf_t = GRU(o_t, hf_{t-1})       forward in time                     (2)
        hb_t = GRU(o_t, hb_{t+1})       backward in time                    (3)

    Dropout is applied to the input of each layer and to the output of the last ("commonly applied to their inputs and
    outputs", section 4.3). Each layer reads both directions of the one below, as in PyTorch's stack. The reset gate acts
    after the recurrent product, as in cuDNN and PyTorch. Reference [23] applies it before, which no fast kernel does.

    Args:
        n_in: Features F of a frame.
        hidden: Size H of one direction's state.
        dropout: Dropout probability.
        n_layers: Layers of the stack.

    Shape:
        Input O [batch, frame, F], output Z [batch, frame, 2H].
    """

    def __init__(self, n_in: int, hidden: int, dropout: float, n_layers: int = 2) -> None:
        super().__init__()
        self.hidden = hidden
        self.dropout = nn.Dropout(dropout)
        # One module per layer, so that dropout between them is PyTorch's own: that inside cuDNN's stack keeps a state which
        # cannot be captured in a CUDA graph (docs/decisions/0063). Weights, masks and outputs are those of one stack.
        widths = [n_in] + [2 * hidden] * (n_layers - 1)
        self.layers = nn.ModuleList(nn.GRU(width, hidden, batch_first=True, bidirectional=True) for width in widths)
        self.projection = nn.Linear(2 * hidden, 2 * hidden)
        self.register_load_state_dict_pre_hook(_from_stack)

    def states(
        self, o: Float[Tensor, "batch frame feature"]
    ) -> tuple[Float[Tensor, "batch frame hidden"], Float[Tensor, "batch frame hidden"]]:
        """Return the backward and the forward states of the last layer, one row per frame."""
        for layer in self.layers:  # nn.GRU runs (2) and (3) and puts the forward states first
            o, _ = layer(self.dropout(o))
        forward, backward = self.dropout(o).split(self.hidden, dim=-1)
        return backward, forward

    def forward(self, o: Float[Tensor, "batch frame feature"]) -> Float[Tensor, "batch frame recurrent"]:
        """Return the recurrent output Z, one row per frame."""
        return self.projection(torch.cat(self.states(o), dim=-1))  # (1): backward first, as printed

    def last(self, o: Float[Tensor, "batch frame feature"]) -> Float[Tensor, "batch recurrent"]:
        """Return (1) of the state of each direction that has heard the whole segment: pooling without attention."""
        backward, forward = self.states(o)
        return self.projection(torch.cat((backward[:, 0], forward[:, -1]), dim=-1))


class FrameProjection(nn.Module):
    """Map each frame to the size of a recurrent output by itself: what is left of the recurrent layers without the GRUs.

    Args:
        n_in: Features F of a frame.
        hidden: Half of the size of the output.
        dropout: Dropout probability of the input.

    Shape:
        Input O [batch, frame, F], output [batch, frame, 2 hidden].
    """

    def __init__(self, n_in: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(n_in, 2 * hidden)

    def forward(self, o: Float[Tensor, "batch frame feature"]) -> Float[Tensor, "batch frame recurrent"]:
        """Return one row per frame."""
        return self.projection(self.dropout(o))


def _from_stack(module: nn.Module, state: dict[str, Tensor], prefix: str, *rest_of_hook: object) -> None:
    rename_stack(state, prefix)


def rename_stack(state: dict[str, Any], prefix: str) -> None:
    """Rename, in place, tensors of a bundle that was written when the stack was one nn.GRU.

    gru.weight_ih_l1_reverse becomes layers.1.weight_ih_l0_reverse.

    Args:
        state: Tensors, or anything else that belongs to them, by name.
        prefix: Of the names of the stack.
    """
    for old in [name for name in state if name.startswith(f"{prefix}gru.")]:
        kind, _, rest = old.removeprefix(f"{prefix}gru.").rpartition("_l")
        layer, _, direction = rest.partition("_")
        state[f"{prefix}layers.{layer}.{kind}_l0{'_' + direction if direction else ''}"] = state.pop(old)
