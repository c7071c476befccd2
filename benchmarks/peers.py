"""The other packages that `speed` measures beside soundscene: how each is found, and why one is missing.

`pip install soundscene[bench]` brings those that fit beside PyTorch as it is. Two more ask for torchaudio or torchvision,
which would replace or double PyTorch here; only their model files are read, so they come by `pip install --no-deps`
(docs/decisions/0060-peers.md). Weights are random: none is downloaded, and speed does not depend on them.
"""

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.comparison import MissingError


def peer(module: str, install: str) -> Any:
    """A module of another package; `install` is what to give to pip. Raises `MissingError` with the reason."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it is built on is its own affair
        try:
            return importlib.import_module(module)
        except ImportError as error:
            raise MissingError(_reason(error, install)) from None


def model_file(module: str, install: str) -> Any:
    """A module of another package without the `__init__` of the packages that hold it, which may download or need more.

    The packages are shells as long as the import lasts; afterwards nothing of them is left in `sys.modules`. Raises
    `MissingError` with the reason.
    """
    top = module.partition(".")[0]
    found = None if top in sys.modules else importlib.util.find_spec(top)
    if top in sys.modules or found is None or not found.submodule_search_locations:
        raise MissingError(_reason(ImportError(f"no package {top!r}"), install))
    folder = Path(next(iter(found.submodule_search_locations)))
    try:
        for name in _packages_of(folder):
            shell = ModuleType(name)
            shell.__path__ = [str(folder.parent.joinpath(*name.split(".")))]
            sys.modules[name] = shell
        return peer(module, install)
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == top]:
            del sys.modules[name]


def _packages_of(folder: Path) -> Iterator[str]:
    for init in [folder / "__init__.py", *sorted(folder.rglob("*/__init__.py"))]:
        yield ".".join(init.parent.relative_to(folder.parent).parts)


def _reason(error: ImportError, install: str) -> str:
    return f"{' '.join(str(error).split())}; pip install {install}"


# --- networks that others run for this job ----------------------------------------------------------------------------


@dataclass(frozen=True)
class OtherNetwork:
    """A network of others: its module, one segment of its input [1, ...], and the seconds of sound in that segment.

    note: what of it is measured, and what is not.
    """

    module: nn.Module
    segment: Tensor
    seconds: float
    note: str


def cnn14() -> OtherNetwork:
    """PANNs Cnn14 on log-mel images of 2 s at 32 kHz, 201 frames of 64 bands."""
    models = model_file("panns_inference.models", "panns-inference")
    network = models.Cnn14(
        sample_rate=32000, window_size=1024, hop_size=320, mel_bins=64, fmin=50, fmax=14000, classes_num=527
    )
    network.spectrogram_extractor = network.logmel_extractor = nn.Identity()
    return OtherNetwork(network, torch.randn(1, 1, 201, 64), 2.0, "panns-inference; from log-mel images")


def yamnet() -> OtherNetwork:
    """YAMNet on its native input, log-mel images of 0.96 s at 16 kHz, 96 frames of 64 bands."""
    model = model_file("torch_vggish_yamnet.yamnet.model", "--no-deps torch-vggish-yamnet")
    return OtherNetwork(model.YAMNet(), torch.randn(1, 1, 96, 64), 0.96, "torch-vggish-yamnet; from log-mel images")


def mn10() -> OtherNetwork:
    """EfficientAT mn10 on log-mel images of 2 s at 32 kHz, 128 bands of 200 frames; without its classifier."""
    with _stand_ins() as used:
        model = model_file("deepaudiox.modules.backbones.mobilenet.model", "--no-deps deepaudio-x")
        network = model.MobileNet(cfg=model.MobileNetConfig({"width_mult": 1}))
    network.feature_extractor = nn.Identity()
    note = "deepaudio-x; from log-mel images, without the classifier" + (f"; ours in place of {used}" if used else "")
    return OtherNetwork(network, torch.randn(1, 1, 128, 200), 2.0, note)


OTHERS: dict[str, Callable[[], OtherNetwork]] = {
    "PANNs Cnn14": cnn14,
    "YAMNet": yamnet,
    "EfficientAT mn10": mn10,
}


class _ConvNormActivation(nn.Sequential):
    """torchvision's `Conv2dNormActivation` as far as mn10 uses it: convolution, norm, activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        groups: int = 1,
        norm_layer: Callable[[int], nn.Module] = nn.BatchNorm2d,
        activation_layer: Callable[..., nn.Module] | None = nn.ReLU,
        dilation: int = 1,
        bias: bool = False,
    ) -> None:
        padding = (kernel_size - 1) // 2 * dilation
        layers = [nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)]
        rest = [norm_layer(out_channels)] + ([activation_layer(inplace=True)] if activation_layer else [])
        super().__init__(*layers, *rest)


@contextmanager
def _stand_ins() -> Iterator[str]:
    """The one layer of torchvision, and the name of torchaudio, that mn10's file asks for, where they are not installed.

    Gives the names of the packages that are stood in for.
    """
    absent = [name for name in ("torchvision", "torchaudio") if importlib.util.find_spec(name) is None]
    made: list[str] = []
    if "torchvision" in absent:
        misc = ModuleType("torchvision.ops.misc")
        misc.Conv2dNormActivation = _ConvNormActivation  # pyright: ignore[reportAttributeAccessIssue]
        sys.modules |= {"torchvision": ModuleType("torchvision"), "torchvision.ops": ModuleType("torchvision.ops")}
        sys.modules["torchvision.ops.misc"] = misc
        made += ["torchvision.ops.misc", "torchvision.ops", "torchvision"]
    if "torchaudio" in absent:  # for the spectrogram only, which is not measured
        audio, transforms = ModuleType("torchaudio"), ModuleType("torchaudio.transforms")
        for name in ("FrequencyMasking", "TimeMasking"):
            setattr(transforms, name, lambda *_, iid_masks: nn.Identity())
        audio.transforms = transforms  # pyright: ignore[reportAttributeAccessIssue]
        sys.modules["torchaudio"] = audio
        made.append("torchaudio")
    try:
        yield " and ".join(absent[:1]) if "torchvision" in absent else ""
    finally:
        for name in made:
            sys.modules.pop(name, None)
