"""Linear heads on embeddings, as plain tensors: the SVM with Platt's probabilities (section 2.4), and a softmax layer."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.nn import functional


class CalibratedSVM(nn.Module):
    """One-vs-rest linear SVM with Platt's sigmoid for each scene, normalised over the scenes.

    A new module gives equal probabilities until `load_state_dict` fills its buffers, which `training.calibrate.fit_svm`
    computes:

        d_c = weight_c . x + bias_c                     the training part's standardisation is folded in
        p_c = 1 / (1 + exp(slope_c d_c + offset_c))     Platt 1999, equation (1); slope_c is negative
        posterior_c = p_c / sum of p

    A scene that was absent from the training has offset +inf: probability zero. Everything is float64, because folding
    a mean into the bias cancels most digits of float32 when a feature's mean is large against its deviation.

    Args:
        n_features: Size of the embedding.
        n_scenes: Number of scenes.

    Shape:
        Input [batch, feature], output [batch, scene].
    """

    weight: Float64[Tensor, "scene feature"]
    bias: Float64[Tensor, " scene"]
    slope: Float64[Tensor, " scene"]
    offset: Float64[Tensor, " scene"]

    def __init__(self, n_features: int, n_scenes: int) -> None:
        super().__init__()
        # Buffers, not parameters: no optimiser may find them.
        self.register_buffer("weight", torch.zeros(n_scenes, n_features, dtype=torch.float64))
        self.register_buffer("bias", torch.zeros(n_scenes, dtype=torch.float64))
        self.register_buffer("slope", torch.zeros(n_scenes, dtype=torch.float64))
        self.register_buffer("offset", torch.zeros(n_scenes, dtype=torch.float64))

    def forward(self, embedding: Float[Tensor, "batch feature"]) -> Float64[Tensor, "batch scene"]:
        """Return the natural logarithm of the posterior, on the device of the buffers.

        Computed in logarithms throughout, so that an embedding far outside the training data still ranks the scenes.
        Quotients of probabilities that underflow, as in scikit-learn, would give equal ones.
        """
        distance = functional.linear(embedding.to(self.weight), self.weight, self.bias)
        return functional.log_softmax(functional.logsigmoid(-(self.slope * distance + self.offset)), dim=-1)


def linear(n_features: int, n_scenes: int, state: Mapping[str, Tensor] | None = None) -> nn.Linear:
    """Return a softmax layer in float64 that no optimiser trains: scikit-learn fits it to embeddings.

    Args:
        n_features: Size of the embedding.
        n_scenes: Number of scenes.
        state: Weight and bias, for a layer that was fitted.
    """
    with torch.random.fork_rng(devices=[]):
        layer = nn.Linear(n_features, n_scenes, dtype=torch.float64)
    if state is not None:
        layer.load_state_dict(state)
    return layer.requires_grad_(False)
