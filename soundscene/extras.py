"""Optional dependencies: which modules each extra installs, and one message for what is missing."""

import sys
from importlib.util import find_spec

from soundscene.errors import SceneError

_TORCH = {"torch": "PyTorch"}
_TRAIN = {**_TORCH, "lightning_fabric": "Lightning Fabric", "sklearn": "scikit-learn", "tensorboard": "TensorBoard"}
_PLOT = {"matplotlib": "Matplotlib", "jinja2": "Jinja2"}
_PARQUET = {"pyarrow": "PyArrow"}
_REPORT = {**_PLOT, "statsmodels": "statsmodels"}
_EXPERIMENT = {**_TRAIN, **_REPORT, "librosa": "librosa", "skimage": "scikit-image"}

EXTRAS: dict[str, dict[str, str]] = {
    "torch": _TORCH,
    "plot": _PLOT,
    "parquet": _PARQUET,
    "av": {"av": "PyAV"},
    "onnx": {"onnxruntime": "ONNX Runtime", "onnx": "ONNX"},
    "hub": {"huggingface_hub": "huggingface_hub"},
    "serve": {"fastapi": "FastAPI", "uvicorn": "Uvicorn", "websockets": "websockets"},
    "live": {**_TORCH, "sounddevice": "sounddevice"},
    "train": _TRAIN,
    "explain": {**_TORCH, **_PLOT, "captum": "Captum"},
    "report": _REPORT,
    "experiment": _EXPERIMENT,
    "ray": {**_EXPERIMENT, **_PARQUET, "ray": "Ray"},
}
"""Extra of pyproject.toml -> the modules it installs, with their names; small extras come first."""


def require(what: str, *extras: str) -> None:
    """Check, without importing anything, that the extras are installed.

    Args:
        what: A command or a function, as the user wrote it.
        extras: Names of extras, which together are enough for it.

    Raises:
        SceneError: A module is missing; the message names the extras that bring it and all others.
    """
    lacking = [extra for extra in extras if not is_installed(extra)]
    if lacking:
        name = next(name for module, name in EXTRAS[lacking[0]].items() if not _installed(module))
        raise SceneError(_message(what, name, ",".join(lacking)))


def is_installed(extra: str) -> bool:
    """Return whether all modules of an extra can be imported, without importing them."""
    return all(map(_installed, EXTRAS[extra]))


def explain_missing(what: str, error: ModuleNotFoundError) -> str | None:
    """Say which extra brings a module that could not be imported; None for a module of no extra.

    Args:
        what: A command or a function, as the user wrote it.
        error: The error of the import.
    """
    module = (error.name or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if module in modules:
            return _message(what, modules[module], extra)
    return None


def install(extras: str) -> str:
    """Return the command that installs extras, separated by commas."""
    return f'pip install "soundscene[{extras}]"'


def _message(what: str, name: str, extras: str) -> str:
    return f"{what} needs {name}, which is not installed: {install(extras)}"


def _installed(module: str) -> bool:
    if module in sys.modules:
        return sys.modules[module] is not None
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
