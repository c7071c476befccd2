"""PyTorch's bidirectional stack against two separate stacks that are joined once at the end (docs/decisions/0005).

    python benchmarks/gru_stack.py MANIFEST --out RESULTS [all other options of accuracy.py run]

Runs `accuracy.py run` with the recurrent layers replaced; compare with the same command on accuracy.py itself.
"""

import sys

import torch
from accuracy import main
from jaxtyping import Float
from torch import Tensor, nn

from soundscene.network import models


class SeparateStacks(nn.Module):
    """A forward and a backward stack of two GRU layers that never see each other; the same interface and dropout."""

    def __init__(self, n_in: int, hidden: int, dropout: float, n_layers: int = 2) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.forwards = nn.GRU(n_in, hidden, n_layers, batch_first=True, dropout=dropout)
        self.backwards = nn.GRU(n_in, hidden, n_layers, batch_first=True, dropout=dropout)
        self.projection = nn.Linear(2 * hidden, 2 * hidden)

    def forward(self, o: Float[Tensor, "batch frame feature"]) -> Float[Tensor, "batch frame recurrent"]:
        """Recurrent output Z, one row a frame."""
        o = self.dropout(o)
        backward = self.backwards(o.flip(1))[0].flip(1)
        return self.projection(self.dropout(torch.cat((backward, self.forwards(o)[0]), dim=-1)))


if __name__ == "__main__":
    models.BidirectionalGRU = SeparateStacks  # type: ignore[misc,assignment]
    sys.argv.insert(1, "run")
    main()
