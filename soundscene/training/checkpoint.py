"""The state of a training between two epochs, in one safetensors file: no pickle, and never half-written.

Weights, their average, Adam's moments, the best weights so far and the history decide the next epoch. So do random
generators, where epochs do not seed their own. A resumed training ends with the same bits as an uninterrupted one.
"""

import json
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from soundscene.errors import TrainingError
from soundscene.files import check_permission, write_atomic
from soundscene.texts import parse_json


@dataclass
class TrainingState:
    """State of a training after a whole number of epochs.

    Attributes:
        epoch: Number of finished epochs.
        history: One row per finished epoch.
        network: State dictionary of the network.
        average: State dictionary of the averaged network; empty unless `training.average` asks for one.
        best: State dictionary of the best epoch so far; empty unless a validation part chooses the epoch.
        best_epoch: Number of the best epoch so far, 0 without one.
        optimiser: Adam's state, by index of the parameter.
        generators: States of random generators by name, where one sequence runs through all epochs.
    """

    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    network: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    optimiser: dict[str, Any] = field(default_factory=dict)
    generators: dict[str, Tensor] = field(default_factory=dict)


def save_checkpoint(path: Path, state: TrainingState, fingerprint: str) -> None:
    """Write a checkpoint atomically.

    Args:
        path: File to write.
        state: State of the training.
        fingerprint: Hash of the recipe and data that the state belongs to.

    Raises:
        TrainingError: If the file cannot be written. The previous checkpoint stays.
    """
    tensors = {f"network/{name}": t for name, t in state.network.items()}
    tensors |= {f"average/{name}": t for name, t in state.average.items()}
    tensors |= {f"best/{name}": t for name, t in state.best.items()}
    tensors |= {f"generators/{name}": t for name, t in state.generators.items()}
    for index, moments in state.optimiser.get("state", {}).items():
        tensors |= {f"adam/{index}/{name}": torch.as_tensor(t) for name, t in moments.items()}
    header = {"epoch": state.epoch, "best_epoch": state.best_epoch, "history": state.history}
    header |= {"fingerprint": fingerprint, "soundscene": version("soundscene")}  # 0.1 named no version
    content = save({k: t.detach().cpu().contiguous() for k, t in tensors.items()}, {"state": json.dumps(header)})
    write_atomic(path, content, TrainingError)


def load_checkpoint(path: Path, fingerprint: str) -> TrainingState | None:
    """Read a checkpoint.

    Args:
        path: File to read.
        fingerprint: Hash of the recipe and data of this training.

    Returns:
        The state, or None if there is no file yet.

    Raises:
        TrainingError: If the file is damaged or belongs to another recipe or other data.
    """
    if not path.exists():
        return None
    check_permission(path, TrainingError)
    try:
        with safe_open(path, "pt") as file:
            header = parse_json(file.metadata()["state"])
            owner = header["fingerprint"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"{path}: damaged or not a soundscene checkpoint ({error}); delete it to train from the start"
        ) from None
    if owner != fingerprint:
        images = ", or with the images of soundscene 0.1" if "soundscene" not in header else ""
        raise TrainingError(
            f"{path}: belongs to a training with another recipe or other recordings{images}; finish that one, or delete "
            "the file"
        )
    state = TrainingState(header["epoch"], header["history"], best_epoch=header["best_epoch"])
    of_kind = {kind: getattr(state, kind) for kind in ("network", "average", "best", "generators")}
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        kind, _, name = key.partition("/")
        if kind == "adam":
            index, _, name = name.partition("/")
            moments.setdefault(int(index), {})[name] = tensor
        else:
            of_kind[kind][name] = tensor
    state.optimiser = {"state": moments}
    return state
