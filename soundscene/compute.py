"""Where a model computes: the CPU, or the GPU of this machine for its networks."""

import torch

from soundscene.errors import SceneError
from soundscene.member import networks_of
from soundscene.model import Model

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str) -> str:
    """Return the device that a name means here: of "auto" a GPU if there is one.

    Args:
        name: One of `DEVICES`.

    Raises:
        SceneError: The name is unknown, or this machine has no such device.
    """
    if name not in DEVICES:
        raise SceneError(f"device {name!r}: allowed are {', '.join(DEVICES)}")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if available[device])
    if not available[name]:
        there = ", ".join(device for device in available if available[device])
        raise SceneError(f"device {name!r} is not available here; there is {there}; --device cpu always works")
    return name


def place(model: Model, name: str) -> Model:
    """Move the networks of a model to a device.

    SVMs and frozen backbones stay on the CPU. Posteriors on a GPU differ from those of the CPU in the last digits.

    Args:
        model: A trained model, whose networks are moved.
        name: One of `DEVICES`.

    Raises:
        SceneError: As `choose_device` does.
    """
    device = choose_device(name)
    for member in networks_of(model.members):
        member.network.to(device)
    return model
