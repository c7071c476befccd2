"""YAMNet: a MobileNet v1 that was trained to tag AudioSet, as a small network without its training.

Batch norm is folded into the weights, as in the published files. Source: research/audioset/yamnet in tensorflow/models.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

FILTERS = 32  # of the first layer at full width
N_CLASSES = 521  # of AudioSet that YAMNet knows
LAYERS = (  # stride and filters of the depthwise-separable layers, in multiples of FILTERS
    (1, 2), (2, 4), (1, 4), (2, 8), (1, 8), (2, 16), (1, 16), (1, 16), (1, 16), (1, 16), (1, 16), (2, 32), (1, 32),
)  # fmt: skip
PIECE = 16  # patches: their largest activation, 6 MB at full width, stays in the cache until the next layer reads it


class YAMNet(nn.Module):
    """Log-mel patches -> embeddings and logits of AudioSet classes.

    Args:
        filters: Filters of the first layer, 32 in the published network; all others are multiples of them.
        n_classes: Outputs; 0 for a network that only embeds.

    Shape:
        Patches [batch, frame, band], 96 x 64 in the published network, embedding [batch, 32 filters], logits
        [batch, class].
    """

    def __init__(self, filters: int = FILTERS, n_classes: int = N_CLASSES) -> None:
        super().__init__()
        widths = [filters * multiple for _, multiple in LAYERS]
        self.first = _convolution(1, filters, 2)
        self.depthwise = nn.ModuleList(
            _convolution(n, n, stride, groups=n) for n, (stride, _) in zip([filters, *widths[:-1]], LAYERS, strict=True)
        )
        self.pointwise = nn.ModuleList(
            nn.Conv2d(n, n_out, 1) for n, n_out in zip([filters, *widths[:-1]], widths, strict=True)
        )
        self.n_features = widths[-1]
        self.logits = nn.Linear(widths[-1], n_classes) if n_classes else None

    def embed(self, patches: Float[Tensor, "batch frame band"]) -> Float[Tensor, "batch feature"]:
        """Return the averages of the last feature maps. Inference goes in pieces that stay in the cache."""
        if torch.is_grad_enabled() or len(patches) <= PIECE:
            return self._embed(patches)
        return torch.cat([self._embed(piece) for piece in patches.split(PIECE)])

    def forward(self, patches: Float[Tensor, "batch frame band"]) -> Float[Tensor, "batch class"]:
        """Return logits of AudioSet classes; the published scores are their sigmoids.

        Raises:
            ValueError: The network only embeds.
        """
        if self.logits is None:
            raise ValueError("this network was built without its classes")
        return self.logits(self.embed(patches))

    def _embed(self, patches: Float[Tensor, "batch frame band"]) -> Float[Tensor, "batch feature"]:
        # one channel: PyTorch takes the layout of a tensor of one channel for both, so that it must be told
        x = patches[:, None].contiguous(memory_format=torch.channels_last)
        x = torch.relu_(convolve(self.first, x))
        for depthwise, pointwise in zip(self.depthwise, self.pointwise, strict=True):
            x = torch.relu_(pointwise(torch.relu_(convolve(depthwise, x))))
        return x.mean(dim=(2, 3))


def convolve(layer: nn.Module, x: Float[Tensor, "batch n_in height width"]) -> Float[Tensor, "batch n_out _ _"]:
    """Apply a convolution of 3 x 3 with TensorFlow's SAME padding.

    With stride 2 and an even size, TensorFlow pads one row at the end and none at the start. PyTorch's `padding=1` would
    read other samples.

    Args:
        layer: Convolution, padded by itself if its stride is 1.
        x: Input.

    Returns:
        [batch, n_out, ceil(height / stride), ceil(width / stride)].
    """
    assert isinstance(layer, nn.Conv2d)
    if layer.stride[0] > 1:
        (top, bottom), (left, right) = (same_padding(size, layer.stride[0]) for size in x.shape[2:])
        x = functional.pad(x, (left, right, top, bottom))
    return layer(x)


def _convolution(n_in: int, n_out: int, stride: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, stride, padding=1 if stride == 1 else 0, groups=groups)


def same_padding(size: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after `size` values for a kernel of 3, by TensorFlow's rule.

    Args:
        size: Number of values.
        stride: Of the convolution.
    """
    total = max((-(-size // stride) - 1) * stride + 3 - size, 0)
    return total // 2, total - total // 2
