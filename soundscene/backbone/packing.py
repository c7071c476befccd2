"""Weights of a backbone in fewer bytes: 8 bits where that is exact, as for the published file of YAMNet, else 16.

A matrix of 8-bit integers with a scale for each output channel is what TensorFlow Lite stores. Its products are found again
from the products alone, because the largest integer of a channel is 127 (docs/decisions/0099).
"""

from typing import Literal

import torch
from torch import Tensor

WeightStorage = Literal["exact", "float16", "int8", "float32"]

SCALE = ".scale"  # suffix of the tensor of scales
SMALLEST = 4096  # values of a tensor that is worth packing
_EXACT = 1e-6  # largest error, relative to the largest weight of a channel, that counts as rounding of float32


def pack(tensors: dict[str, Tensor], storage: WeightStorage = "exact") -> dict[str, Tensor]:
    """Store weights in fewer bytes.

    Args:
        tensors: Of float32. Those of fewer than 4096 values, or of other types, stay as they are.
        storage: "exact" is int8 where nothing is lost, else float16.
    """
    packed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if storage == "float32" or tensor.dtype != torch.float32 or tensor.ndim < 2 or tensor.numel() < SMALLEST:
            packed[name] = tensor
            continue
        integers, scale = _quantise(tensor)
        if storage == "int8" or (storage == "exact" and _is_exact(tensor, integers, scale)):
            packed[name], packed[name + SCALE] = integers, scale
        else:
            packed[name] = tensor.half()
    return packed


def unpack(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights as float32.

    Raises:
        ValueError: Scales do not belong to the integers.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in packed.items():
        if name.endswith(SCALE):
            if packed.get(name.removesuffix(SCALE), tensor).dtype != torch.int8:
                raise ValueError(f"{name} are scales of no integers")
            continue
        if tensor.dtype == torch.int8:
            scale = packed.get(name + SCALE)
            if scale is None or scale.dtype != torch.float32 or tensor.ndim < 1 or scale.shape != tensor.shape[:1]:
                raise ValueError(f"{name} holds integers without fitting scales")
            tensor = tensor.float() * scale.reshape(-1, *[1] * (tensor.ndim - 1))
        tensors[name] = tensor.float() if tensor.is_floating_point() else tensor
    return tensors


def _quantise(tensor: Tensor) -> tuple[Tensor, Tensor]:
    rows = tensor.flatten(1)
    scale = rows.abs().amax(dim=1) / 127
    scale = torch.where(scale > 0, scale, 1.0)
    integers = (rows / scale[:, None]).round().clamp(-127, 127).to(torch.int8)
    return integers.reshape(tensor.shape), scale


def _is_exact(tensor: Tensor, integers: Tensor, scale: Tensor) -> bool:
    error = (integers.flatten(1).float() * scale[:, None] - tensor.flatten(1)).abs().amax(dim=1)
    return bool((error <= _EXACT * 127 * scale).all())
