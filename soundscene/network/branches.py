"""The three branches of 1D+2D+3D CNNs [9]: on the wave, on its image, and on blocks of the image."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from soundscene.network.blocks import ConvStack

N_FEATURES = 256  # of each branch


class WaveBranch(nn.Module):
    """Three 1-D convolutions on the wave, then maximum and mean over time.

    Shape:
        Input [piece, sample], output [piece, 256].
    """

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv1d(1, 32, 64, 8, padding=32), nn.BatchNorm1d(32), nn.ReLU(), nn.MaxPool1d(8, ceil_mode=True)),
            *(nn.Conv1d(32, 64, 16, 2, padding=8), nn.BatchNorm1d(64), nn.ReLU(), nn.MaxPool1d(8, ceil_mode=True)),
            *(nn.Dropout1d(dropout), nn.Conv1d(64, 128, 8, 2, padding=4), nn.BatchNorm1d(128), nn.ReLU()),
        )

    def forward(self, waves: Float[Tensor, "piece sample"]) -> Float[Tensor, "piece feature"]:
        """Return the features of waves."""
        maps = self.layers(waves[:, None])
        return torch.cat([maps.amax(dim=2), maps.mean(dim=2)], dim=1)


class ImageBranch(nn.Module):
    """The convolutional stack of the paper's Table 1 on the image, then the maximum over bands and frames.

    Dropout follows the maximum: before it, a maximum of what is scaled up in training would be larger than in prediction.

    Shape:
        Input [piece, 1, band, frame], output [piece, 256].
    """

    def __init__(self, filters: tuple[int, int, int], dropout: float) -> None:
        super().__init__()
        self.stack = ConvStack(filters, 0.0, 1)
        self.out = nn.Sequential(nn.Dropout(dropout), nn.Linear(filters[-1], N_FEATURES))

    def forward(self, images: Float[Tensor, "piece 1 band frame"]) -> Float[Tensor, "piece feature"]:
        """Return the features of images."""
        return torch.relu(self.out(self.stack.maps(images).amax(dim=(2, 3))))


class BlockBranch(nn.Module):
    """Three 3-D convolutions on the image as blocks of frames, one behind the other, then the global maximum.

    Frame t stands in block t // (frames of a block). Frames that fill no block are left out.

    Shape:
        Input [piece, 1, band, frame], output [piece, 256].
    """

    def __init__(self, n_blocks: int, dropout: float) -> None:
        super().__init__()
        self.n_blocks = n_blocks
        layers = []
        for n_in, n_out in ((1, 16), (16, 32), (32, 64)):
            layers += [nn.Conv3d(n_in, n_out, 3, padding=1), nn.BatchNorm3d(n_out), nn.ReLU()]
            layers += [nn.MaxPool3d((1, 4, 2), ceil_mode=True), nn.Dropout3d(dropout)]
        self.layers = nn.Sequential(*layers)
        self.out = nn.Linear(64, N_FEATURES)

    def blocks(self, images: Float[Tensor, "piece 1 band frame"]) -> Float[Tensor, "piece 1 block band within"]:
        """Return an image as blocks."""
        n = max(1, images.shape[3] // self.n_blocks)
        cut = images[..., : n * (images.shape[3] // n)].unflatten(3, (-1, n))
        return cut.transpose(2, 3)

    def forward(self, images: Float[Tensor, "piece 1 band frame"]) -> Float[Tensor, "piece feature"]:
        """Return the features of images."""
        return torch.relu(self.out(self.layers(self.blocks(images)).amax(dim=(2, 3, 4))))
