"""The temporal transformer [10]: what a feature map does along time as magnitudes of its Fourier transform, reduced."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

_BANDS_HZ = (0.25, 0.75, 1.75, 2.75, 4.75, 8.25, 12.25)  # lower edges of the bands of modulation that it begins with
_SMALL = 1e-12  # under the root, so that the gradient of a magnitude exists at zero


class TemporalTransformer(nn.Module):
    """Reduce maps along time to a few values that a circular shift does not change.

        m_0 = Z_0 / T,  m_k = sqrt(|Z_k|^2 + 1e-12) / T      Z is the Fourier transform of the map, T its frames
        y = W m                                              W is learnt, and shared by all maps

    W begins as the mean (bin 0) and seven bands of modulation. m_0 keeps its sign, which a shift does not change either:
    standardised maps have means of both signs (docs/decisions/0115). So the mean over time is the special case of one row of
    W that holds bin 0 alone.

    Args:
        n_frames: Frames T of a map.
        frame_rate_hz: Frames in a second.

    Shape:
        Input [..., frame], output [..., value] with 8 values.
    """

    def __init__(self, n_frames: int, frame_rate_hz: float) -> None:
        super().__init__()
        hz = torch.arange(n_frames // 2 + 1) * (frame_rate_hz / n_frames)
        band = torch.bucketize(hz, torch.tensor(_BANDS_HZ)).masked_fill(hz == 0, 0)
        rows = (band[None] == torch.arange(len(_BANDS_HZ) + 1)[:, None]).float()
        self.reduction = nn.Linear(len(hz), len(rows), bias=False)
        with torch.no_grad():
            self.reduction.weight.copy_(rows / rows.sum(dim=1, keepdim=True).clamp(min=1))

    @property
    def n_values(self) -> int:
        """Values of each map."""
        return self.reduction.out_features

    def magnitudes(self, maps: Float[Tensor, "*batch frame"]) -> Float[Tensor, "*batch bin"]:
        """Return the mean of each map and the magnitudes of its modulations."""
        spectrum = torch.fft.rfft(maps)
        size = (spectrum.real.square() + spectrum.imag.square() + _SMALL).sqrt()
        return torch.cat([spectrum.real[..., :1], size[..., 1:]], dim=-1) / maps.shape[-1]

    def forward(self, maps: Float[Tensor, "*batch frame"]) -> Float[Tensor, "*batch value"]:
        """Reduce maps along time."""
        return self.reduction(self.magnitudes(maps))


class MeanOverTime(nn.Module):
    """Reduce maps along time to their mean: the plain pooling that the temporal transformer is compared with.

    Shape:
        Input [..., frame], output [..., 1].
    """

    n_values = 1

    def forward(self, maps: Float[Tensor, "*batch frame"]) -> Float[Tensor, "*batch 1"]:
        """Return the mean of each map."""
        return maps.mean(dim=-1, keepdim=True)
