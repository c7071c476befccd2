"""Lightning Fabric of a training: device, precision, and the processes that torchrun may have started."""

import os

import torch
from lightning_fabric import Fabric

from soundscene.compute import DEVICES
from soundscene.errors import TrainingError

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def make_fabric(device: str = "auto", precision: str = "32-true") -> Fabric:
    """Make a Fabric for one process, or for all that torchrun started (DDP then averages their gradients).

    Args:
        device: One of `DEVICES`.
        precision: One of `PRECISIONS`.

    Raises:
        TrainingError: If the device or precision is unknown or not available.
    """
    if device not in DEVICES:
        raise TrainingError(f"device {device!r}: allowed are {', '.join(DEVICES)}")
    if precision not in PRECISIONS:
        raise TrainingError(f"precision {precision!r}: allowed are {', '.join(PRECISIONS)}")
    world, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    try:
        fabric = Fabric(
            accelerator=device,
            precision=precision,  # type: ignore[arg-type]
            devices=local,
            num_nodes=world // local,
            strategy="ddp" if world > 1 else "auto",
        )
        fabric.launch()
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(f"device {device!r} cannot be used here ({reason}); --device cpu always works") from None
    return fabric


def started_by_torchrun() -> bool:
    """Tell whether this process is one of several that train together."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def close(fabric: Fabric) -> None:
    """Wait for all processes of a training, then disconnect: one that exits early can abort those still connected to it."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        fabric.barrier()
        torch.distributed.destroy_process_group()
