"""A tiny recipe, tiny models, and rendered recordings to go with them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch

from soundscene.member import NetworkMember, name_of, networks_of
from soundscene.model import Model
from soundscene.network.models import build_network
from soundscene.network.svm import CalibratedSVM
from soundscene.recipe import Recipe
from soundscene.render.corpus import render_recording

RATE = 22050
SCENES = ("night_crickets", "office", "rain")
SETTINGS = (
    "network.filters=[4, 4, 4]",
    "network.hidden=4",
    "network.attention=4",
    "training.batch_size=10",
    "training.epochs=2",
    "training.learning_rate=0.01",
    "augmentation=off",  # two epochs learn nothing of what varies; its tests turn it on
)
TINY = Recipe.small().with_settings(SETTINGS)


def blank_bundle(recipe: Recipe = TINY, scenes: tuple[str, ...] = SCENES, name: str | None = None, seed: int = 1) -> Model:
    """An untrained model that listens all the same: random weights, standardisation as for real sound."""
    draws = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(recipe, len(scenes))
    network.standardise.fit(3 * torch.randn(8, 2, recipe.features.n_bands, 8, generator=draws) - 6)
    svm = CalibratedSVM(network.softmax.in_features, len(scenes))
    svm.weight.copy_(5 * torch.randn(svm.weight.shape, generator=draws, dtype=torch.float64))
    svm.slope.fill_(-2.0)
    svm.offset.copy_(torch.randn(len(scenes), generator=draws, dtype=torch.float64))
    provenance = {"manifest": "none", "notes": ["never trained"], "trained_on": ["00ff"]}
    member = NetworkMember(name or name_of(recipe), recipe, network.eval(), svm.eval())
    return Model(scenes, (member,), {"softmax": 0.8, "svm": 1.3}, provenance)


def blank_pair(recipe: Recipe = TINY, scenes: tuple[str, ...] = SCENES) -> Model:
    """An untrained model of two members, on mel and on gammatone bands."""
    members = [
        only(blank_bundle(recipe.with_settings([f"features.kind={kind}"]), scenes, seed=seed))
        for seed, kind in enumerate(("mel", "gammatone"), 1)
    ]
    return replace(blank_bundle(recipe, scenes), members=tuple(members))


def only(model: Model) -> NetworkMember:
    """The member of a model of one network."""
    (member,) = networks_of(model.members)
    return member


def recording(scene: str, seconds: float, seed: int) -> np.ndarray:
    return render_recording(scene, seconds, RATE, np.random.default_rng([seed, len(scene)]))


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    """Samples [sample] or [sample, channel] as 16-bit WAV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:  # by handle, because libsndfile wants names that are text
        soundfile.write(file, samples, rate, format="WAV")
    return path


def write_corpus(folder: Path, n_per_scene: int = 5, seconds: float = 2.2) -> Path:
    """A folder per scene, and a manifest whose folds 1 to 5 take turns within a scene; the manifest."""
    rows = ["path,scene,fold"]
    for scene in SCENES:
        for number in range(n_per_scene):
            name = f"{scene}/{number}.wav"
            write(folder / name, recording(scene, seconds, number))
            rows.append(f"{name},{scene},{1 + number % 5}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path
