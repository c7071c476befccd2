"""Integrated gradients on the input image: how much each band and frame moves the log posterior of one scene.

Attention says where the network pools; its spatial axis is recurrent features, each of which may have heard any band. Only a
derivative with respect to the image says something of frequency. It is an attribution, not an attention: it answers how the
answer would move on the straight way from the mean image to this one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from captum.attr import IntegratedGradients
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from soundscene.bundle import Head, ModelBundle
from soundscene.network.models import AttCRNN

STEPS = 64  # points of Gauss and Legendre on the way from the mean image to the segment's, to begin with
MOST_STEPS = 512
SHARE, NATS = 0.02, 0.01  # incomplete by this share of what is gained, or by so many nats, is near enough
_AT_ONCE = 64  # images differentiated at once


@dataclass(frozen=True)
class Attribution:
    """Integrated gradients of segments.

    values [segment, channel, band, frame]: nats of the scene's log posterior that a value of the standardised image brings,
    channels as the network reads them; gained [segment]: log posterior of the segment less that of the mean image; error
    [segment]: sum of the values less `gained`, which exact integrals would make zero (completeness).
    """

    values: Float32[np.ndarray, "segment channel band frame"]
    gained: Float64[np.ndarray, " segment"]
    error: Float64[np.ndarray, " segment"]


def attribute(
    bundle: ModelBundle, images: Float32[np.ndarray, "segment 2 band frame"], scene: int, head: Head, steps: int = STEPS
) -> Attribution:
    """Attribution of a scene's log posterior to the images of segments.

    images: from the front-end; scene: its number in `bundle.scenes`; steps: as in `integrate`. The baseline is zero after
    standardisation: the mean image of the training part.
    Raises ValueError for a scene that the model does not know.
    Source: Sundararajan, Taly and Yan 2017, equation (1) and proposition 1.
    """
    if not 0 <= scene < len(bundle.scenes):
        raise ValueError(f"scene number {scene}, the model has 0 to {len(bundle.scenes) - 1}")
    with torch.no_grad():
        standardised = bundle.network.standardise(torch.from_numpy(images))
    return integrate(log_posterior_of(bundle, head, scene), standardised, steps)


def integrate(
    function: Callable[[Float[Tensor, "batch channel band frame"]], Float[Tensor, " batch"]],
    inputs: Float32[Tensor, "segment channel band frame"],
    steps: int = STEPS,
) -> Attribution:
    """Integrated gradients of any function of images, from zeros to `inputs`, a segment at a time.

    steps: points of an integral, a pass forward and back each. They are doubled until the error is at most 0.02 of what is
    gained, or 0.01 nats, whichever is more, and at most to 512: where maxima jump from place to place (the CNN baseline) 64
    are too few. What is left is in `error`. A segment at a time, because the points of one integral are a batch already.
    """
    method = IntegratedGradients(function)
    values = np.zeros(inputs.shape, np.float32)
    gained, error = np.zeros(len(inputs)), np.zeros(len(inputs))
    for i, one in enumerate(inputs.split(1)):
        nothing = torch.zeros_like(one)
        with torch.no_grad():
            at_both = function(torch.cat([nothing, one])).double()
        gained[i] = float(at_both[1] - at_both[0])
        taken = steps
        while True:
            found = method.attribute(one, nothing, n_steps=taken, internal_batch_size=_AT_ONCE)
            values[i] = found[0].detach().numpy()
            error[i] = values[i].sum(dtype=np.float64) - gained[i]
            if abs(error[i]) <= max(SHARE * abs(gained[i]), NATS) or 2 * taken > MOST_STEPS:
                break
            taken *= 2
    return Attribution(values, gained, error)


def log_posterior_of(
    bundle: ModelBundle, head: Head, scene: int
) -> Callable[[Float[Tensor, "batch channel band frame"]], Float64[Tensor, " batch"]]:
    """The log posterior of a scene as a function of standardised images, with gradients: `ModelBundle.classify` has none."""
    network = bundle.network

    def function(standardised: Float[Tensor, "batch channel band frame"]) -> Float64[Tensor, " batch"]:
        if isinstance(network, AttCRNN):
            embedding = network.attention(network.recur(standardised))
        else:
            embedding = network.pool(standardised)
        logits = network.softmax(embedding) if head == "softmax" else bundle.svm(embedding)
        return torch.log_softmax(logits.double(), dim=-1)[:, scene]

    return function
