"""Spatio-temporal attention pooling, equations (4)-(9) of section 2.3."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn


class AttentionScore(nn.Module):
    """One attention layer: v = tanh(x W + b) of size 64, score = v . u, softmax over the vectors; (4)-(7).

    The paper's f gives a vector where (4) needs a number; the context vector u that makes it one is that of the
    first author's other code (docs/decisions/0002).

    Shape: [batch, vector, n_in] -> weights [batch, vector], each row a distribution.
    """

    def __init__(self, n_in: int, size: int) -> None:
        super().__init__()
        self.project = nn.Linear(n_in, size)
        self.context = nn.Parameter(0.1 * torch.randn(size))

    def forward(self, vectors: Float[Tensor, "batch vector n_in"]) -> Float[Tensor, "batch vector"]:
        """Weights of the vectors, (4) or (5)."""
        return torch.softmax(torch.tanh(self.project(vectors)) @ self.context, dim=-1)


class Uniform(nn.Module):
    """No attention: every vector weighs the same. Shape: [batch, vector, n_in] -> weights [batch, vector]."""

    def forward(self, vectors: Float[Tensor, "batch vector n_in"]) -> Float[Tensor, "batch vector"]:
        """1 / number of vectors."""
        return vectors.new_full(vectors.shape[:2], 1 / vectors.shape[1])


class SpatioTemporalAttentionPool(nn.Module):
    """Pool the recurrent output by the outer product of a spatial and a temporal attention vector.

    Arguments: n_recurrent = 2H; n_frames = T, fixed, because spatial attention reads rows of Z of that length; size
    of both layers; scale: "printed" is equation (9), x_s = sum_t tanh(A_st Z_st), where A is about 1/(2H T) and tanh
    is linear; "mean-preserving" multiplies A by 2H T and takes the mean over time, so that uniform attention is the
    mean of tanh(Z) (docs/decisions/0003); pooling: which of the two vectors are learnt, the other staying uniform; with
    "mean" both do.

    Shape: z [batch, frame, 2H] -> x [batch, 2H].
    Raises: ValueError when z has another number of frames.
    """

    def __init__(
        self,
        n_recurrent: int,
        n_frames: int,
        size: int,
        scale: Literal["printed", "mean-preserving"],
        pooling: Literal["spatio-temporal", "temporal", "spatial", "mean"] = "spatio-temporal",
    ) -> None:
        super().__init__()
        self.n_frames = n_frames
        self.scale = scale
        self.temporal = AttentionScore(n_recurrent, size) if "temporal" in pooling else Uniform()
        self.spatial = AttentionScore(n_frames, size) if "spatio" in pooling or pooling == "spatial" else Uniform()

    def attend(
        self, z: Float[Tensor, "batch frame recurrent"]
    ) -> tuple[Float[Tensor, "batch recurrent"], Float[Tensor, "batch frame"]]:
        """The two attention vectors (4) and (5): a_spa [batch, 2H] and a_tem [batch, frame]."""
        if z.shape[1] != self.n_frames:
            raise ValueError(
                f"the attention was built for {self.n_frames} frames and got {z.shape[1]}: spatial attention reads rows "
                "of one length, so every segment must be as long as the recipe says"
            )
        return self.spatial(z.transpose(1, 2)), self.temporal(z)

    def forward(self, z: Float[Tensor, "batch frame recurrent"]) -> Float[Tensor, "batch recurrent"]:
        """Feature vector x of equation (9), or of its mean-preserving form."""
        spatial, temporal = self.attend(z)
        mask = temporal[:, :, None] * spatial[:, None, :]  # (8), transposed: frame x recurrent
        if self.scale == "printed":
            return torch.tanh(mask * z).sum(dim=1)  # (9)
        return torch.tanh(mask * (z.shape[1] * z.shape[2]) * z).mean(dim=1)
