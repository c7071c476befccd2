"""The layers that both networks share: standardisation, the convolutional stack of Table 1, the bidirectional GRU.

Activations keep PyTorch's order batch x channel x band x frame; pooling works along bands only (section 2.2).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from soundscene.network.norm_pool import fits, norm_pool

KERNELS = (5, 3, 2)  # Table 1, square
POOL = 4  # bands per pooled band, Table 1
PIECE = 16  # segments: their largest activation, 21 MB at full width, is still in the cache when the next layer reads it


class Standardise(nn.Module):
    """Image minus mean, over deviation, of each band and channel on the training part, cut at +- clamp deviations.

    The cut keeps digital silence, which sits on the floor of the logarithm some ten deviations below everything
    else, from ruling the batch norm of the first layer.

    Shape: [batch, channel, band, frame] -> [batch, n_channels, band, frame]: channels beyond the first n are left out.
    """

    mean: Tensor
    inverse_deviation: Tensor

    def __init__(self, n_bands: int, clamp: float, n_channels: int = 2) -> None:
        super().__init__()
        self.clamp = clamp
        self.register_buffer("mean", torch.zeros(n_channels, n_bands, 1))
        self.register_buffer("inverse_deviation", torch.ones(n_channels, n_bands, 1))

    def fit(self, images: Float[Tensor, "batch channel band frame"]) -> None:
        """Take mean and deviation from the training images; a constant band is left at deviation 1."""
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
        """Images in deviations from the mean of the training part."""
        return ((images[:, : len(self.mean)] - self.mean) * self.inverse_deviation).clamp(-self.clamp, self.clamp)


class ConvBlock(nn.Module):
    """Convolution, ReLU, batch norm, max pooling of bands, dropout: in the order of section 2.2.

    Zero padding is SAME. An even kernel gets the extra row and column at the end, as TensorFlow does, by an explicit
    pad: `padding="same"` of PyTorch warns and copies.

    Shape: [batch, n_in, band, frame] -> [batch, n_out, band // 4, frame].
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
        """One row pair of Table 1."""
        x = self.convolution(self.pad(x))
        if fits(x):
            return norm_pool(x, self.norm, self.dropout.p if self.training else 0.0)
        return self.dropout(self.pool(self.norm(torch.relu(x))))


class ConvStack(nn.Module):
    """Three blocks (Table 1), then bands and filters joined into F = M/64 x filters: O of section 2.2.

    Shape: [batch, 2, band, frame] -> [batch, F, frame].
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
        """Feature maps of the last block; without gradients, on the processor, in pieces that stay in its cache."""
        if torch.is_grad_enabled() or self.training or images.device.type != "cpu" or len(images) <= PIECE:
            return self.blocks(images)
        return torch.cat([self.blocks(piece) for piece in images.split(PIECE)])

    def forward(self, images: Float[Tensor, "batch channel band frame"]) -> Float[Tensor, "batch feature frame"]:
        """Convolutional output O, one column a frame."""
        return self.maps(images).flatten(1, 2)


class BidirectionalGRU(nn.Module):
    """Two bidirectional GRU layers and the projection of equations (1)-(3).

    Dropout is applied to the input of each layer and to the output of the last ("commonly applied to their inputs
    and outputs", section 4.3). Each layer reads both directions of the one below, PyTorch's stack. The reset gate acts
    after the recurrent product, as in cuDNN and PyTorch; reference [23] applies it before, which no fast kernel does.

    Shape: o [batch, frame, F] -> z [batch, frame, 2H].
    """

    def __init__(self, n_in: int, hidden: int, dropout: float, n_layers: int = 2) -> None:
        super().__init__()
        self.hidden = hidden
        self.dropout = nn.Dropout(dropout)
        # A module a layer, so that dropout between them is PyTorch's own: that inside cuDNN's stack keeps a state which
        # cannot be captured in a CUDA graph (docs/decisions/0063). Weights, masks and answers are those of one stack.
        widths = [n_in] + [2 * hidden] * (n_layers - 1)
        self.layers = nn.ModuleList(nn.GRU(width, hidden, batch_first=True, bidirectional=True) for width in widths)
        self.projection = nn.Linear(2 * hidden, 2 * hidden)
        self.register_load_state_dict_pre_hook(_from_stack)

    def forward(self, o: Float[Tensor, "batch frame feature"]) -> Float[Tensor, "batch frame recurrent"]:
        """Recurrent output Z, one row a frame."""
        for layer in self.layers:
            o, _ = layer(self.dropout(o))
        forward, backward = self.dropout(o).split(self.hidden, dim=-1)
        return self.projection(torch.cat((backward, forward), dim=-1))  # (1): backward first, as printed


def _from_stack(module: nn.Module, state: dict[str, Tensor], prefix: str, *rest_of_hook: object) -> None:
    """Names of a bundle written before layers were modules: gru.weight_ih_l1_reverse -> layers.1.weight_ih_l0_reverse."""
    for old in [name for name in state if name.startswith(f"{prefix}gru.")]:
        kind, _, rest = old.removeprefix(f"{prefix}gru.").rpartition("_l")
        layer, _, way = rest.partition("_")
        state[f"{prefix}layers.{layer}.{kind}_l0{'_' + way if way else ''}"] = state.pop(old)
