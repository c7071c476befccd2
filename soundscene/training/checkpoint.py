"""The state of a training between two epochs, in one safetensors file: no pickle, and never half-written.

Weights, Adam's moments, the best weights so far and the history decide the next epoch; random generators need not be
kept, because every epoch seeds its own. A training that resumes ends with the same bits as one never killed.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from soundscene.errors import TrainingError
from soundscene.files import write_atomic


@dataclass
class TrainingState:
    """What has to survive a kill.

    epoch: epochs finished; history: one row per finished epoch; network and best: state dictionaries (best is empty
    unless a validation part chooses); optimiser: Adam's state, by index of the parameter.
    """

    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    network: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    optimiser: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(path: Path, state: TrainingState, fingerprint: str) -> None:
    """Write the state beside `path`, then rename; `fingerprint` names the recipe and data it belongs to.

    Raises: `TrainingError` when the file cannot be written; the last one that was stays.
    """
    tensors = {f"network/{name}": t for name, t in state.network.items()}
    tensors |= {f"best/{name}": t for name, t in state.best.items()}
    for index, moments in state.optimiser.get("state", {}).items():
        tensors |= {f"adam/{index}/{name}": torch.as_tensor(t) for name, t in moments.items()}
    header = {"epoch": state.epoch, "best_epoch": state.best_epoch, "history": state.history, "fingerprint": fingerprint}
    content = save({k: t.detach().cpu().contiguous() for k, t in tensors.items()}, {"state": json.dumps(header)})
    write_atomic(path, content, TrainingError)


def load_checkpoint(path: Path, fingerprint: str) -> TrainingState | None:
    """The state in `path`, or None when there is none yet.

    Raises: `TrainingError` when the file is damaged or belongs to another recipe or other data.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            header = json.loads(file.metadata()["state"])
            owner = header["fingerprint"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"{path}: not a checkpoint of ours ({error}); delete it to train from the start") from None
    if owner != fingerprint:
        raise TrainingError(
            f"{path}: belongs to a training with another recipe or other recordings; finish that one, or delete the file"
        )
    state = TrainingState(header["epoch"], header["history"], best_epoch=header["best_epoch"])
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        kind, _, name = key.partition("/")
        if kind == "adam":
            index, _, name = name.partition("/")
            moments.setdefault(int(index), {})[name] = tensor
        else:
            {"network": state.network, "best": state.best}[kind][name] = tensor
    state.optimiser = {"state": moments}
    return state
