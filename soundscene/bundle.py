"""ModelBundle: everything from sample rate to scene names in one .safetensors file.

The header holds the recipe, the scenes, the temperatures and where the model comes from as JSON; the tensors are the
network (with its standardisation) and the SVM. There is no pickle in it, so opening a stranger's file runs nothing.
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
from soundscene.recipe import Recipe
from soundscene.scoring.unfamiliarity import Familiarity, Kind, SceneGaussians
from soundscene.types import LogPosterior

FORMAT = "soundscene bundle"
VERSION = 1
BATCH = 64  # segments computed at once in prediction
DEVICE_BATCH = 512  # on a graphics card

Head = Literal["svm", "softmax"]


@dataclass(frozen=True)
class ModelBundle:
    """A trained model.

    recipe; scenes in the order of every posterior; network in evaluation mode; svm; temperature of each head for the
    recording's answer (1: none was fitted); provenance: versions, corpus, split, epoch, notes; familiarity: what it takes
    to notice sound of an unknown scene, None in a model of before soundscene had it.
    """

    recipe: Recipe
    scenes: tuple[str, ...]
    network: Network
    svm: CalibratedSVM
    temperature: dict[str, float]
    provenance: dict[str, Any] = field(default_factory=dict)
    familiarity: Familiarity | None = None

    @torch.inference_mode()
    def embed(self, images: Float32[np.ndarray, "segment 2 band frame"]) -> Float32[np.ndarray, "segment embedding"]:
        """Embeddings of images from the front-end."""
        device = self.network.softmax.weight.device
        pieces = torch.from_numpy(np.ascontiguousarray(images)).split(BATCH if device.type == "cpu" else DEVICE_BATCH)
        found = [self.network.embed(piece.to(device).contiguous(memory_format=torch.channels_last)) for piece in pieces]
        width = self.network.softmax.in_features
        return torch.cat(found).float().cpu().numpy() if found else np.zeros((0, width), np.float32)

    @torch.inference_mode()
    def classify(self, embeddings: Float32[np.ndarray, "segment embedding"], head: Head) -> LogPosterior:
        """Log posterior [segment, scene] of embeddings, by the softmax layer or the calibrated SVM."""
        x = torch.from_numpy(embeddings).to(self.network.softmax.weight.device)
        logits = self.network.softmax(x) if head == "softmax" else self.svm(x)
        return torch.log_softmax(logits.double(), dim=-1).cpu().numpy()

    @torch.inference_mode()
    def unfamiliarity(self, embeddings: Float32[np.ndarray, "segment embedding"]) -> Float64[np.ndarray, " segment"]:
        """How unlike the training each segment is, larger is less familiar; a recording is the mean of its segments.

        Raises ValueError where the bundle has no `familiarity`.
        """
        if self.familiarity is None:
            raise ValueError("this bundle knows nothing of what is familiar")
        x = torch.from_numpy(embeddings).to(self.network.softmax.weight.device)
        return self.familiarity.score(embeddings, self.network.softmax(x).float().cpu().numpy())

    def save(self, path: Path) -> None:
        """Write the bundle beside `path`, then rename, so that no half file ever carries the name."""
        tensors = {f"network/{name}": t for name, t in self.network.state_dict().items()}
        tensors |= {f"svm/{name}": t for name, t in self.svm.state_dict().items()}
        parts: dict[str, Any] = {
            "version": VERSION,
            "recipe": self.recipe.to_dict(),
            "scenes": self.scenes,
            "temperature": self.temperature,
            "provenance": self.provenance,
        }
        if self.familiarity:  # readers that do not know of it pass it over, so it is no new version
            parts["familiarity"] = self.familiarity.kind
            tensors |= {f"familiarity/{name}": t for name, t in _tensors(self.familiarity).items()}
        header = json.dumps(parts, sort_keys=True)
        tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        content = save(tensors, {"format": FORMAT, "bundle": header, "sha256": _digest(header, tensors)})
        write_atomic(path, content, BundleError)

    @classmethod
    def load(cls, path: Path) -> "ModelBundle":
        """Read a bundle.

        Raises: `BundleError` for a file that is missing, damaged, foreign, or of a newer version.
        """
        header, tensors = _read(path)
        try:
            recipe = Recipe.from_dict(header["recipe"])
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
        except KeyError as error:
            raise BundleError(f"{path}: its header lacks {error}; train the model again") from None
        except (RecipeError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BundleError(f"{path}: its header and its tensors do not agree ({reason}); train the model again") from None
        return cls(recipe, scenes, network.eval(), svm.eval(), temperature, provenance, familiarity)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file that has been proven to be a whole bundle of a version we know."""
    if not path.exists():
        raise BundleError(f"{path}: no such file; `soundscene train MANIFEST --out {path}` would make it")
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


def _scenes(found: Any) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found) or len(set(found)) < len(found):
        raise ValueError(f"scenes are {found!r}, expected different names")
    return tuple(found)


def _temperature(found: Any) -> dict[str, float]:
    temperature = {head: float(found[head]) for head in get_args(Head)}
    if not all(0 < value < math.inf for value in temperature.values()):
        raise ValueError(f"temperatures are {temperature}, expected positive numbers")
    return temperature


def _tensors(familiarity: Familiarity) -> dict[str, Tensor]:
    found = {"held": torch.from_numpy(familiarity.held)}
    if clouds := familiarity.clouds:
        found |= {"mean": torch.from_numpy(clouds.mean).float(), "precision": torch.from_numpy(clouds.precision).float()}
    return found


def _familiarity(kind: Any, found: dict[str, Tensor], shape: tuple[int, int]) -> Familiarity | None:
    """From the header's word and the tensors; shape: numbers of scenes and features."""
    if kind is None:
        return None
    if kind not in get_args(Kind):
        raise ValueError(f"familiarity is {kind!r}, expected one of {', '.join(get_args(Kind))}")
    sizes: dict[str, tuple[int, ...]] = {"held": (found["held"].numel(),) if "held" in found else ()}
    if kind == "mahalanobis":
        sizes |= {"mean": shape, "precision": (shape[1], shape[1])}
    if {name: tuple(tensor.shape) for name, tensor in found.items()} != sizes:
        raise ValueError(f"familiarity has {', '.join(sorted(found)) or 'nothing'} of other sizes or names than {sizes}")
    if not all(tensor.is_floating_point() and tensor.isfinite().all() for tensor in found.values()):
        raise ValueError("familiarity holds what is no finite number")
    if (found["held"].diff() < 0).any():
        raise ValueError("familiarity/held is not in ascending order")
    plain = {name: tensor.double().numpy() for name, tensor in found.items()}
    clouds = SceneGaussians(plain["mean"], plain["precision"]) if kind == "mahalanobis" else None
    return Familiarity(kind, plain["held"], clouds)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _digest(header: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 over the header, names, shapes and bytes; safetensors itself notices a short file but not a flipped bit."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].dtype}{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
