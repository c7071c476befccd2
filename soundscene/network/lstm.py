"""A stack of LSTM layers that read frames in one direction."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LSTMStack(nn.Module):
    """Apply LSTM layers with dropout behind each, of the same units in all frames of a sequence.

    Dropout that differs from frame to frame is a modulation: what reads the outputs along time would learn from a noise that
    no prediction has (docs/decisions/0115).

    The bias of the forget gates is 1 at the start, so that a gate lets most of the state through before it has learnt what
    to forget (Jozefowicz et al. 2015).

    Args:
        n_in: Features of a frame.
        hidden: Size of a layer's state.
        n_layers: Layers of the stack.
        dropout: Dropout probability.

    Shape:
        Input [batch, frame, n_in], output [batch, frame, hidden].
    """

    def __init__(self, n_in: int, hidden: int, n_layers: int = 2, dropout: float = 0.3) -> None:
        super().__init__()
        widths = [n_in, *[hidden] * n_layers]
        self.layers = nn.ModuleList(nn.LSTM(a, b, batch_first=True) for a, b in pairwise(widths))
        self.dropout = nn.Dropout1d(dropout)  # of whole rows [hidden, frame]
        for layer in self.layers:
            for name, bias in layer.named_parameters():
                if name.startswith("bias"):  # of the four gates: input, forget, cell, output; two vectors that are added
                    with torch.no_grad():
                        bias[hidden : 2 * hidden] = 0.5

    def forward(self, frames: Float[Tensor, "batch frame feature"]) -> Float[Tensor, "batch frame hidden"]:
        """Return the outputs of the last layer."""
        for layer in self.layers:
            frames = self.dropout(layer(frames)[0].transpose(1, 2)).transpose(1, 2)
        return frames
