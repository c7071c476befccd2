"""ModelBundle: everything from sample rate to scene names in one .safetensors file.

The header holds the recipe, the scenes, the temperatures and the provenance as JSON. The tensors are the network (with its
standardisation) and the SVM. There is no pickle in it, so loading an untrusted file runs no code.
"""

import hashlib
import json
import math
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
from soundscene.files import write_atomic
from soundscene.network.models import Network, build_network
from soundscene.network.svm import CalibratedSVM
from soundscene.recipe import FRONT_END, Recipe
from soundscene.scoring.unfamiliarity import Familiarity, Kind, SceneGaussians
from soundscene.types import LogPosterior

FORMAT = "soundscene bundle"
VERSION = 1
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
        """
        x = torch.from_numpy(embeddings).to(self.network.softmax.weight.device)
        logits = self.network.softmax(x) if head == "softmax" else self.svm(x)
        return torch.log_softmax(logits.double(), dim=-1).cpu().numpy()

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
            with torch.random.fork_rng(devices=[]):
                network = build_network(recipe, len(scenes))
            svm = CalibratedSVM(network.softmax.in_features, len(scenes))
            network.load_state_dict(_part(tensors, "network/"))
            svm.load_state_dict(_part(tensors, "svm/"))
            temperature = _temperature(header["temperature"])
            provenance = dict(header["provenance"])
            shape = (len(scenes), network.softmax.in_features)
            familiarity = _familiarity(header.get("familiarity"), _part(tensors, "familiarity/"), shape)
            front_end = _front_end(header.get("front_end", 1))
        except KeyError as error:
            raise BundleError(f"{path}: its header lacks {error}; retrain the model") from None
        except (RecipeError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BundleError(f"{path}: its header and its tensors do not agree ({reason}); retrain the model") from None
        return cls(recipe, scenes, network.eval(), svm.eval(), temperature, provenance, familiarity, front_end)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read header and tensors of a file, and check that it is a complete bundle of a known version."""
    if not path.exists():
        raise BundleError(f"{path}: no such file; make it by `soundscene train MANIFEST --out {path}`")
    if path.is_dir():
        raise BundleError(f"{path}: is a folder, expected a .safetensors file")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise BundleError(f"{path}: damaged or not a .safetensors file ({error}); copy it again") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error})") from None
    if metadata.get("format") != FORMAT:
        raise BundleError(f"{path}: a .safetensors file, but not a model of soundscene; `soundscene train` makes one")
    try:
        header = json.loads(metadata["bundle"])
        version = int(header["version"])
    except (KeyError, TypeError, ValueError):
        raise BundleError(f"{path}: its header is damaged; copy the file again") from None
    if version > VERSION:
        raise BundleError(
            f"{path}: written in format {version}, this soundscene reads up to {VERSION}; upgrade soundscene to use it"
        )
    if metadata.get("sha256") != _digest(metadata["bundle"], tensors):
        raise BundleError(f"{path}: differs from what was saved (checksum); copy the file again")
    return header, tensors


def _scenes(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(f"scenes are {names!r}, expected different names")
    return tuple(names)


def _front_end(stored: Any) -> int:
    if type(stored) is not int or not 1 <= stored <= FRONT_END:  # True is 1 as well
        raise ValueError(f"front_end is {stored!r}, this soundscene knows 1 to {FRONT_END}")
    return stored


def _temperature(stored: Any) -> dict[str, float]:
    temperature = {head: float(stored[head]) for head in get_args(Head)}
    if not all(0 < value < math.inf for value in temperature.values()):
        raise ValueError(f"temperatures are {temperature}, expected positive numbers")
    return temperature


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
        raise ValueError(f"familiarity is {kind!r}, expected one of {', '.join(get_args(Kind))}")
    sizes: dict[str, tuple[int, ...]] = {"held": (tensors["held"].numel(),) if "held" in tensors else ()}
    if kind == "mahalanobis":
        sizes |= {"mean": shape, "precision": (shape[1], shape[1])}
    if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != sizes:
        raise ValueError(f"familiarity has {', '.join(sorted(tensors)) or 'nothing'} of other sizes or names than {sizes}")
    if not all(tensor.is_floating_point() and tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError("familiarity holds values that are not finite")
    if (tensors["held"].diff() < 0).any():
        raise ValueError("familiarity/held is not in ascending order")
    plain = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    gaussians = SceneGaussians(plain["mean"], plain["precision"]) if kind == "mahalanobis" else None
    return Familiarity(kind, plain["held"], gaussians)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _digest(header: str, tensors: dict[str, Tensor]) -> str:
    """Hash header, names, shapes and bytes by SHA-256: safetensors itself detects a short file but not a flipped bit."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].dtype}{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
