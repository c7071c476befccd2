"""Integrated gradients on the input image: how much each band and frame moves the log posterior of one scene.

Attention shows where the network pools. Its spatial axis is recurrent features, each of which depends on all bands, so only
a derivative with respect to the image shows frequency. It is an attribution, not an attention: how the prediction would
change along the straight path from the mean image to this one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from captum.attr import IntegratedGradients
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from soundscene.member import NetworkMember
from soundscene.types import Head

STEPS = 64  # Gauss-Legendre points on the path from the mean image to the segment's, at first
MOST_STEPS = 512
SHARE, NATS = 0.02, 0.01  # tolerated error: this share of what is gained, or so many nats
_AT_ONCE = 64  # images differentiated at once


@dataclass(frozen=True)
class Attribution:
    """Integrated gradients of segments.

    Attributes:
        values: Nats of the scene's log posterior contributed by each value of the standardised image, channels as the
            network reads them.
        gained: Log posterior of the segment minus that of the mean image, nats.
        error: Sum of the values minus `gained`, nats; zero for exact integrals (completeness).
    """

    values: Float32[np.ndarray, "segment channel band frame"]
    gained: Float64[np.ndarray, " segment"]
    error: Float64[np.ndarray, " segment"]


def attribute(
    member: NetworkMember, images: Float32[np.ndarray, "segment 2 band frame"], scene: int, head: Head, steps: int = STEPS
) -> Attribution:
    """Attribute a scene's log posterior to the images of segments.

    The baseline is zero after standardisation: the mean image of the training part.

    Args:
        member: Whose log posterior is attributed.
        images: From the front-end.
        scene: Its number in the model's scenes.
        head: Whose log posterior is attributed.
        steps: As in `integrate`.

    Raises:
        ValueError: A scene that the model does not have.

    Source: Sundararajan, Taly and Yan 2017, equation (1) and proposition 1.
    """
    n_scenes = member.network.softmax.out_features
    if not 0 <= scene < n_scenes:
        raise ValueError(f"scene number {scene}, the model has 0 to {n_scenes - 1}")
    with torch.no_grad():
        standardised = member.network.standardise(torch.from_numpy(images))
    return integrate(log_posterior_of(member, head, scene), standardised, steps)


def integrate(
    function: Callable[[Float[Tensor, "batch channel band frame"]], Float[Tensor, " batch"]],
    inputs: Float32[Tensor, "segment channel band frame"],
    steps: int = STEPS,
) -> Attribution:
    """Integrate the gradients of a function of images from zeros to `inputs`, a segment at a time.

    The points are doubled until the error is at most 0.02 of what is gained or 0.01 nats, whichever is more, up to 512
    points: where maxima jump from place to place (the CNN baseline) 64 are too few. The rest is in `error`.

    Args:
        function: Of a batch of images, one value each.
        inputs: Standardised images.
        steps: Points of an integral at first, a pass forward and back each.
    """
    method = IntegratedGradients(function)
    values = np.zeros(inputs.shape, np.float32)
    gained, error = np.zeros(len(inputs)), np.zeros(len(inputs))
    for i, image in enumerate(inputs.split(1)):  # the points of one integral are a batch already
        mean_image = torch.zeros_like(image)
        with torch.no_grad():
            of_both = function(torch.cat([mean_image, image])).double()
        gained[i] = float(of_both[1] - of_both[0])
        n_points = steps
        while True:
            gradients = method.attribute(image, mean_image, n_steps=n_points, internal_batch_size=_AT_ONCE)
            values[i] = gradients[0].detach().numpy()
            error[i] = values[i].sum(dtype=np.float64) - gained[i]
            if abs(error[i]) <= max(SHARE * abs(gained[i]), NATS) or 2 * n_points > MOST_STEPS:
                break
            n_points *= 2
    return Attribution(values, gained, error)


def log_posterior_of(
    member: NetworkMember, head: Head, scene: int
) -> Callable[[Float[Tensor, "batch channel band frame"]], Float64[Tensor, " batch"]]:
    """Return the log posterior of a scene as a function of standardised images, with gradients.

    `NetworkMember.classify` has none.

    Args:
        member: Whose log posterior is attributed.
        head: Whose log posterior it is.
        scene: Its number in the model's scenes.
    """
    network = member.network

    def function(standardised: Float[Tensor, "batch channel band frame"]) -> Float64[Tensor, " batch"]:
        embedding = network.pool(standardised)
        logits = network.softmax(embedding) if head == "softmax" else member.svm(embedding)
        return torch.log_softmax(logits.double(), dim=-1)[:, scene]

    return function
