"""What a CUDA graph is, on the processor: kernels at fixed addresses, no Python, no word back to the processor."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from soundscene.training.step import WARM_UP

WAITS = {"_local_scalar_dense", "item", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "unique_dim"}
"""Operations whose result, or its size, Python needs: CUDA would have to finish first, which ends a recording in error."""


COPIES = {torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor, Tensor.cpu, Tensor.numpy, Tensor.tolist}
"""Functions that copy between Python's memory and the device. Below autograd such a copy cannot be seen on the processor.

`torch.from_numpy` and `torch.Tensor(...)` pass no function mode; a run on the `meta` device sees what they make.
"""
INDEXED = {Tensor.__getitem__, Tensor.__setitem__}


class WaitError(Exception):
    """A step asked for a number of the device."""


class CopyError(Exception):
    """A step made a tensor of Python's numbers, or fetched one."""


class NoCopies(TorchFunctionMode):
    """Raise `CopyError` for a copy between Python's memory and the device, which ends a recording in error on CUDA."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        lists = func in INDEXED and any(isinstance(part, list) for part in (args[1], *_parts(args[1])))
        if func in COPIES or lists or (func is Tensor.to and _names_processor(args[1:], kwargs)):
            raise CopyError(func.__name__)
        return func(*args, **(kwargs or {}))


def _parts(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else ()


def _names_processor(args: tuple[Any, ...], kwargs: Any) -> bool:
    """Whether a call of `Tensor.to` asks for the processor, where all tensors of the stand-in are anyway."""
    asked = (*args, (kwargs or {}).get("device"))
    return any(isinstance(one, str | torch.device) and torch.device(one).type == "cpu" for one in asked)


def no_waiting(operation: Any, leaves: list[Any]) -> None:
    """Raise `WaitError` for an operation that a CUDA graph cannot hold."""
    name = operation.__name__.split(".")[0]
    masks = name in ("index", "index_put", "index_put_") and any(
        isinstance(leaf, Tensor) and leaf.dtype in (torch.bool, torch.uint8) for leaf in leaves
    )
    if name in WAITS or masks:
        raise WaitError(name)


def same_memory(leaf: Any) -> Any:
    """A tensor at the same address, with a shape of its own that no later operation turns."""
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


class Recording(TorchDispatchMode):
    """Every operation below autograd with the very tensors it read and wrote; replayed, it runs on those again.

    Numbers among its arguments are frozen, as in a graph. A result is copied to where the recorded one stands, which is
    where all later operations read it; a view needs no copy.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        no_waiting(func, tree_leaves((args, kwargs)))
        read = tree_map(same_memory, (args, kwargs or {}))
        found = func(*args, **(kwargs or {}))
        self.kernels.append((func, *read, tree_map(same_memory, found)))
        return found

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, recorded in self.kernels:
            read = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
            again = func(*args, **kwargs)
            for place, value in zip(tree_leaves(recorded), tree_leaves(again), strict=True):
                if isinstance(place, Tensor) and place.untyped_storage().data_ptr() not in read:
                    place.copy_(value)


class Recorder:
    """`Capture` on the processor; counts its recordings.

    A CUDA graph only records where this one also computes: `Step` has to undo the warm-up in any case.
    """

    def __init__(self) -> None:
        self.recordings: list[Recording] = []

    def __call__(self, compute: Callable[[], None]) -> Callable[[], None]:
        for _ in range(WARM_UP):
            compute()
        recording = Recording()
        with NoCopies(), recording:
            compute()
        self.recordings.append(recording)
        return recording.replay
