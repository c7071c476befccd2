"""Spatio-temporal attention pooling, equations (4)-(9) of section 2.3."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn


class AttentionScore(nn.Module):
    """Score vectors by one attention layer and normalise the scores over the vectors, equations (4)-(7).

        v_i = tanh(x_i W + b)                             hidden vector of `size` values, (6) and (7)
        a_i = exp(v_i . u / d) / sum_j exp(v_j . u / d)   weight of vector i, (4) and (5), where d is 1

    The paper's f gives a vector where (4) needs a number. The context vector u that makes it one is that of the first
    author's other code (docs/decisions/0002).

    Args:
        n_in: Size of each vector.
        size: Size of the hidden vectors, 64 in the paper.
        temperature: The divisor d; below 1 the weights start farther from uniform and learn faster.
        context: Deviation of the values of u at the start; a large one starts farther from uniform too.

    Shape:
        Input [batch, vector, n_in], output [batch, vector]. Each row of the output is a distribution.
    """

    def __init__(self, n_in: int, size: int, temperature: float = 1.0, context: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature
        self.project = nn.Linear(n_in, size)
        empty = torch.empty(size)  # on the meta device, where models are checked, randn would import PyTorch's compiler: 1 s
        self.context = nn.Parameter(empty if empty.is_meta else context * torch.randn(size))

    def forward(self, vectors: Float[Tensor, "batch vector n_in"]) -> Float[Tensor, "batch vector"]:
        """Return the weights of the vectors, (4) or (5)."""
        scores = torch.tanh(self.project(vectors)) @ self.context
        return torch.softmax(scores if self.temperature == 1.0 else scores / self.temperature, dim=-1)


class Uniform(nn.Module):
    """Give every vector the same weight: no attention.

    Shape:
        Input [batch, vector, n_in], output [batch, vector].
    """

    def forward(self, vectors: Float[Tensor, "batch vector n_in"]) -> Float[Tensor, "batch vector"]:
        """Return 1 / number of vectors for each vector."""
        return vectors.new_full(vectors.shape[:2], 1 / vectors.shape[1])


class SpatioTemporalAttentionPool(nn.Module):
    """Pool the recurrent output by the outer product of a spatial and a temporal attention vector.

    With scale "printed" it computes equation (9), x_s = sum_t tanh(A_st Z_st). There A is about 1/(2H T), and tanh is
    linear for such small arguments. "printed-2h" is 2H times that, so that uniform attention gives about the mean of Z.
    "mean-preserving" multiplies A by 2H T inside tanh and takes the mean over time, so that uniform attention gives the
    mean of tanh(Z) (docs/decisions/0003).

    Args:
        n_recurrent: Size 2H of the recurrent output.
        n_frames: Number of frames T. Fixed, because spatial attention reads rows of Z of that length.
        size: Size of the hidden vectors of both attention layers.
        scale: Equation (9) as printed, 2H times that, or its mean-preserving form.
        pooling: Which of the two attention vectors are learnt. The other one is uniform; with "mean" both are.
        temperature: Of both attention layers.
        context: Deviation of the context vectors of both at the start.

    Shape:
        Input Z [batch, frame, 2H], output x [batch, 2H].
    """

    def __init__(
        self,
        n_recurrent: int,
        n_frames: int,
        size: int,
        scale: Literal["printed", "printed-2h", "mean-preserving"],
        pooling: Literal["spatio-temporal", "temporal", "spatial", "mean"] = "spatio-temporal",
        temperature: float = 1.0,
        context: float = 0.1,
    ) -> None:
        super().__init__()
        self.n_frames = n_frames
        self.scale = scale
        spatial = "spatio" in pooling or pooling == "spatial"
        self.temporal = AttentionScore(n_recurrent, size, temperature, context) if "temporal" in pooling else Uniform()
        self.spatial = AttentionScore(n_frames, size, temperature, context) if spatial else Uniform()

    def attend(
        self, z: Float[Tensor, "batch frame recurrent"]
    ) -> tuple[Float[Tensor, "batch recurrent"], Float[Tensor, "batch frame"]]:
        """Return the spatial [batch, 2H] and the temporal [batch, frame] attention vector, (4) and (5).

        Raises:
            ValueError: If z has another number of frames than the module was built for.
        """
        if z.shape[1] != self.n_frames:
            raise ValueError(
                f"the attention was built for {self.n_frames} frames and got {z.shape[1]}: spatial attention reads rows "
                "of one length, so every segment must be as long as the recipe says"
            )
        # Z along both axes: the temporal layer scores its T columns of size 2H, the spatial layer its 2H rows of size T.
        return self.spatial(z.transpose(1, 2)), self.temporal(z)

    def forward(self, z: Float[Tensor, "batch frame recurrent"]) -> Float[Tensor, "batch recurrent"]:
        """Return the feature vector x of equation (9), or of another form of it."""
        return self.pool(z, *self.attend(z))

    def pool(
        self,
        z: Float[Tensor, "batch frame recurrent"],
        spatial: Float[Tensor, "batch recurrent"],
        temporal: Float[Tensor, "batch frame"],
    ) -> Float[Tensor, "batch recurrent"]:
        """Return the feature vector x for given attention vectors.

        Args:
            z: Recurrent output.
            spatial: Weights of its 2H features.
            temporal: Weights of its frames.
        """
        mask = temporal[:, :, None] * spatial[:, None, :]  # (8), transposed: frame x recurrent
        if self.scale == "mean-preserving":
            return torch.tanh(mask * (z.shape[1] * z.shape[2]) * z).mean(dim=1)
        pooled = torch.tanh(mask * z).sum(dim=1)  # (9)
        return pooled * z.shape[2] if self.scale == "printed-2h" else pooled
