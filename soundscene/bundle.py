"""ModelBundle: everything from sample rate to scene names in one .safetensors file.

The header holds the recipe, the scenes, the temperatures and the provenance as JSON. The tensors are the network (with its
standardisation) and the SVM. There is no pickle in it, so loading an untrusted file runs no code.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float32, Float64
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from soundscene.errors import BundleError, RecipeError
from soundscene.files import url_hint, write_atomic
from soundscene.network.blocks import rename_stack
from soundscene.network.models import Network, build_network
from soundscene.network.svm import CalibratedSVM
from soundscene.recipe import FRONT_END, Recipe
from soundscene.scoring.fusion import MAX_TEMPERATURE, MIN_TEMPERATURE
from soundscene.scoring.unfamiliarity import Familiarity, Kind, SceneGaussians
from soundscene.texts import LONGEST, LONGEST_NAME, fold_name, parse_json, short
from soundscene.types import LogPosterior

FORMAT = "soundscene bundle"
VERSION = 1
_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_LARGEST = 1e15  # of a weight: those of the SVM may be large, where embeddings are small
BATCH = 64  # segments computed at once in prediction
DEVICE_BATCH = 512  # on a GPU

Head = Literal["svm", "softmax"]


@dataclass(frozen=True)
class ModelBundle:
    """A trained model.

    Attributes:
        recipe: Settings it was trained with.
        scenes: Names in the order of every posterior.
        network: The network, in evaluation mode.
        svm: The calibrated SVM on its embeddings.
        temperature: Of each head, for posteriors of recordings; 1 if none was fitted.
        provenance: Versions, corpus, split, epoch, notes.
        familiarity: Reference for unknown detection; None in a model that was saved by an older version.
        front_end: Version of the front-end that made its training images. Predictions use `recipe.FRONT_END`.
    """

    recipe: Recipe
    scenes: tuple[str, ...]
    network: Network
    svm: CalibratedSVM
    temperature: dict[str, float]
    provenance: dict[str, Any] = field(default_factory=dict)
    familiarity: Familiarity | None = None
    front_end: int = FRONT_END

    @torch.inference_mode()
    def embed(self, images: Float32[np.ndarray, "segment 2 band frame"]) -> Float32[np.ndarray, "segment embedding"]:
        """Compute the embeddings of images from the front-end."""
        device = self.network.softmax.weight.device
        pieces = torch.from_numpy(np.ascontiguousarray(images)).split(BATCH if device.type == "cpu" else DEVICE_BATCH)
        rows = [self.network.embed(piece.to(device).contiguous(memory_format=torch.channels_last)) for piece in pieces]
        width = self.network.softmax.in_features
        return torch.cat(rows).float().cpu().numpy() if rows else np.zeros((0, width), np.float32)

    @torch.inference_mode()
    def classify(self, embeddings: Float32[np.ndarray, "segment embedding"], head: Head) -> LogPosterior:
        """Classify embeddings by the softmax layer or the calibrated SVM.

        Args:
            embeddings: From `embed`.
            head: "softmax" or "svm".

        Returns:
            Log posterior [segment, scene].

        Raises:
            BundleError: If weights are so large that the posterior is not a number.
        """
        x = torch.from_numpy(embeddings).to(self.network.softmax.weight.device)
        logits = self.network.softmax(x) if head == "softmax" else self.svm(x)
        log_posterior = torch.log_softmax(logits.double(), dim=-1).cpu().numpy()
        if np.isnan(log_posterior).any():  # of finite weights so large that products overflow
            raise BundleError("the model computes no finite posterior, because its weights are too large; retrain the model")
        return log_posterior

    @torch.inference_mode()
    def unfamiliarity(self, embeddings: Float32[np.ndarray, "segment embedding"]) -> Float64[np.ndarray, " segment"]:
        """Score how unlike the training each segment is. Larger is less familiar; a recording is the mean of its segments.

        Raises:
            ValueError: If the bundle has no `familiarity`.
        """
        if self.familiarity is None:
            raise ValueError("unknown detection unavailable: the model was saved by an older version; retrain it")
        x = torch.from_numpy(embeddings).to(self.network.softmax.weight.device)
        return self.familiarity.score(embeddings, self.network.softmax(x).float().cpu().numpy())

    def save(self, path: Path) -> None:
        """Write the bundle atomically: a temporary file beside `path`, then a rename."""
        tensors = {f"network/{name}": t for name, t in self.network.state_dict().items()}
        tensors |= {f"svm/{name}": t for name, t in self.svm.state_dict().items()}
        parts: dict[str, Any] = {
            "version": VERSION,
            "recipe": self.recipe.to_dict(),
            "scenes": self.scenes,
            "temperature": self.temperature,
            "provenance": self.provenance,
            "front_end": self.front_end,  # older readers ignore it
        }
        if self.familiarity:  # older readers ignore it, so the format version stays
            parts["familiarity"] = self.familiarity.kind
            tensors |= {f"familiarity/{name}": t for name, t in _tensors(self.familiarity).items()}
        header = json.dumps(parts, sort_keys=True)
        tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        content = save(tensors, {"format": FORMAT, "bundle": header, "sha256": _digest(header, tensors)})
        write_atomic(path, content, BundleError)

    @classmethod
    def load(cls, path: Path) -> "ModelBundle":
        """Read a bundle.

        Raises:
            BundleError: If the file is missing, damaged, not a model, or of a newer version.
        """
        header, tensors = _read(path)
        try:
            recipe = Recipe.from_stored(header["recipe"])
            scenes = _scenes(header["scenes"])
            _check_shapes(recipe, len(scenes), tensors)
            with torch.random.fork_rng(devices=[]):
                network = build_network(recipe, len(scenes))
            svm = CalibratedSVM(network.softmax.in_features, len(scenes))
            network.load_state_dict(_part(tensors, "network/"))
            svm.load_state_dict(_part(tensors, "svm/"))
            temperature = _temperature(header["temperature"])
            provenance = _provenance(header["provenance"])
            shape = (len(scenes), network.softmax.in_features)
            familiarity = _familiarity(header.get("familiarity"), _part(tensors, "familiarity/"), shape)
            front_end = _front_end(header.get("front_end", 1))
        except KeyError as error:
            raise BundleError(f"{path}: its header lacks {error}; retrain the model") from None
        except (RecipeError, RuntimeError, TypeError, ValueError, ArithmeticError) as error:
            reason = " ".join(str(error).split())[:LONGEST]
            raise BundleError(f"{path}: its header and its tensors do not agree ({reason}); retrain the model") from None
        if faults := [*_faults(network, svm)]:
            raise BundleError(
                f"{path}: {faults[0]}; was the training stopped by an error, or the file changed? retrain the model"
            )
        return cls(recipe, scenes, network.eval(), svm.eval(), temperature, provenance, familiarity, front_end)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read header and tensors of a file, and check that it is a complete bundle of a known version."""
    if not os.path.exists(path):
        hint = url_hint(path) or f"no such file; make it by `soundscene train MANIFEST --out {path}`"
        raise BundleError(f"{path}: {hint}")
    if not os.path.isfile(path):
        what = "a folder" if os.path.isdir(path) else "not a regular file"
        raise BundleError(f"{path}: is {what}, expected a .safetensors file")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except MemoryError:
        raise BundleError(f"{path}: larger than the memory that is left; is it a model of soundscene?") from None
    except (SafetensorError, TypeError, ValueError, RuntimeError, AttributeError) as error:  # types that PyTorch lacks
        raise BundleError(f"{path}: damaged or not a .safetensors file ({short(str(error))}); copy it again") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error})") from None
    if metadata.get("format") != FORMAT:
        raise BundleError(f"{path}: a .safetensors file, but not a model of soundscene; `soundscene train` makes one")
    try:
        header = parse_json(metadata["bundle"], finite=True)
        version = header["version"]
        if type(version) is not int or version < 1:
            raise ValueError(f"version {version}")
    except (KeyError, TypeError, ValueError):
        raise BundleError(f"{path}: its header is damaged; copy the file again") from None
    if version > VERSION:
        raise BundleError(
            f"{path}: written in format {short(str(version))}, this soundscene reads up to {VERSION}; upgrade soundscene to "
            "use it"
        )
    if metadata.get("sha256") != _digest(metadata["bundle"], tensors):
        raise BundleError(f"{path}: differs from what was saved (checksum); copy the file again")
    return header, tensors


def _scenes(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list):
        raise ValueError(f"scenes are {short(repr(names))}, expected a list of names")
    folded = dict[str, str]()
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"a scene is {short(repr(name))}, expected a name")
        if len(name) > LONGEST_NAME:
            raise ValueError(f"a scene has a name of {len(name)} characters, allowed are {LONGEST_NAME}")
        name.encode()  # ValueError: half of a surrogate pair is no text
        look = fold_name(name)
        if not look:
            raise ValueError(f"a scene is {name!r}, expected a name that can be seen")
        if look in folded:
            raise ValueError(f"scenes {folded[look]!r} and {name!r} look the same, expected different names")
        folded[look] = name
    if len(names) < 2:
        raise ValueError(f"scenes are {names}, expected two or more names")
    return tuple(names)


def _front_end(stored: Any) -> int:
    if type(stored) is not int or not 1 <= stored <= FRONT_END:  # True is 1 as well
        raise ValueError(f"front_end is {stored!r}, this soundscene knows 1 to {FRONT_END}")
    return stored


def _temperature(stored: Any) -> dict[str, float]:
    temperature = {head: stored[head] for head in get_args(Head)}
    if not all(type(value) in (int, float) and 0 < value < math.inf for value in temperature.values()):
        raise ValueError(f"temperatures are {temperature}, expected positive numbers")
    if not all(MIN_TEMPERATURE <= value <= MAX_TEMPERATURE for value in temperature.values()):
        raise ValueError(f"temperatures are {temperature}, expected {MIN_TEMPERATURE:g} to {MAX_TEMPERATURE:g}")
    return {head: float(value) for head, value in temperature.items()}


def _provenance(stored: Any) -> dict[str, Any]:
    if not isinstance(stored, dict):
        raise TypeError(f"provenance is {short(repr(stored))}, expected names with values")
    for name in ("trained_on", "notes"):
        texts = stored.get(name, [])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"provenance.{name} is {short(repr(texts))}, expected a list of texts")
    return dict(stored)


def _check_shapes(recipe: Recipe, n_scenes: int, tensors: dict[str, Tensor]) -> None:
    """Compare names, shapes and types with what the recipe needs, before any memory is taken for it.

    Raises:
        ValueError: They differ.
    """
    with torch.device("meta"):  # shapes without memory
        network = build_network(recipe, n_scenes)
        svm = CalibratedSVM(network.softmax.in_features, n_scenes)
    needed = {f"network/{name}": t for name, t in network.state_dict().items()}
    needed |= {f"svm/{name}": t for name, t in svm.state_dict().items()}
    found = {name: t for name, t in tensors.items() if name.startswith(("network/", "svm/"))}
    rename_stack(found, "network/recurrent.")
    for name, tensor in needed.items():
        if name not in found:
            raise ValueError(f"{name} is missing")
        if found[name].shape != tensor.shape:
            sizes = (" x ".join(map(str, t.shape)) or "one number" for t in (found[name], tensor))
            raise ValueError("{} is {}, the recipe needs {}".format(name, *sizes))
        allowed = _FLOATS if tensor.is_floating_point() else (tensor.dtype,)
        if found[name].dtype not in allowed:
            raise ValueError(f"{name} holds {found[name].dtype}, expected {allowed[0]}")
    if unknown := sorted(found.keys() - needed.keys()):
        raise ValueError(f"{short(unknown[0])} belongs to no layer of the recipe")


def _faults(network: Network, svm: CalibratedSVM) -> Iterator[str]:
    """Yield what makes the weights useless, though each has the right shape."""
    for prefix, module in (("network", network), ("svm", svm)):
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point() and f"{prefix}/{name}" != "svm/offset" and not tensor.isfinite().all():
                yield f"{prefix}/{name} holds values that are not finite"
            if tensor.is_floating_point() and (tensor[tensor.isfinite()].abs() > _LARGEST).any():
                yield f"{prefix}/{name} holds values beyond {_LARGEST:g}, which no training gives"
            if name.endswith("running_var") and (tensor < 0).any():
                yield f"{prefix}/{name} holds negative variances"
    inverse = network.standardise.inverse_deviation
    if not ((inverse > 0) & (inverse < 2e6)).all():  # `Standardise.fit` takes no deviation below 1e-6
        yield "network/standardise.inverse_deviation holds values that are no inverse deviations"
    if not (network.standardise.mean.abs() < 1e3).all():
        yield "network/standardise.mean holds values that are no logarithms of a power"
    # A scene that was absent from the training has offset +inf: probability zero. All scenes cannot have it.
    if not (svm.offset > -math.inf).all() or not svm.offset.isfinite().any():
        yield "svm/offset holds values that are no offsets"


def _tensors(familiarity: Familiarity) -> dict[str, Tensor]:
    tensors = {"held": torch.from_numpy(familiarity.calibration_scores)}
    if gaussians := familiarity.gaussians:
        tensors["mean"] = torch.from_numpy(gaussians.mean).float()
        tensors["precision"] = torch.from_numpy(gaussians.precision).float()
    return tensors


def _familiarity(kind: Any, tensors: dict[str, Tensor], shape: tuple[int, int]) -> Familiarity | None:
    """Build it from the kind in the header and the tensors; shape: numbers of scenes and features."""
    if kind is None:
        return None
    if kind not in get_args(Kind):
        raise ValueError(f"familiarity is {short(repr(kind))}, expected one of {', '.join(get_args(Kind))}")
    sizes: dict[str, tuple[int, ...]] = {"held": (tensors["held"].numel(),) if "held" in tensors else ()}
    if kind == "mahalanobis":
        sizes |= {"mean": shape, "precision": (shape[1], shape[1])}
    if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != sizes:
        raise ValueError(f"familiarity has {', '.join(sorted(tensors)) or 'nothing'} of other sizes or names than {sizes}")
    if not all(tensor.dtype in _FLOATS and tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError("familiarity holds values that are not finite")
    if (tensors["held"].diff() < 0).any():
        raise ValueError("familiarity/held is not in ascending order")
    plain = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    if kind == "mahalanobis" and not (np.diagonal(plain["precision"]) > 0).all():
        raise ValueError("familiarity/precision is not positive on its diagonal, as an inverse covariance is")
    gaussians = SceneGaussians(plain["mean"], plain["precision"]) if kind == "mahalanobis" else None
    return Familiarity(kind, plain["held"], gaussians)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _digest(header: str, tensors: dict[str, Tensor]) -> str:
    """Hash header, names, shapes and bytes by SHA-256: safetensors itself detects a short file but not a flipped bit."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].dtype}{tuple(tensors[name].shape)}".encode())
        if tensors[name].numel():  # one without values has no bytes to view
            digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)  # NumPy lacks some types
    return digest.hexdigest()
