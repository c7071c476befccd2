"""YAMNet for tests: random weights at an eighth of the width, and the published file and golden arrays where they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from soundscene.backbone.encoder import Pooling
from soundscene.backbone.packing import pack
from soundscene.backbone.stored import StoredBackbone
from soundscene.member import BackboneMember
from soundscene.model import Model
from soundscene.network.svm import CalibratedSVM, linear
from soundscene.network.yamnet import YAMNet
from soundscene.recipe import Recipe
from soundscene.scoring.unfamiliarity import Familiarity, SceneGaussians
from soundscene.systems.backbone import untrained_member
from tests.support.tiny import SCENES, TINY, blank_bundle

EIGHTH = 4  # filters of the first layer, of 32
_SHARED = Path(__file__).parents[3] / "shared"


def small(seed: int = 0, filters: int = EIGHTH) -> StoredBackbone:
    """A backbone whose features vary with the sound: weights as large as keep activations alive through 27 layers."""
    network = YAMNet(filters, 0)
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 100
            parameter.copy_(torch.randn(parameter.shape, generator=draws) * (2 / fan_in) ** 0.5)
    facts = {
        "name": "YAMNet", "sample_rate": 16000, "licence": "none", "source": "random", "source_sha256": f"seed {seed}",
    }  # fmt: skip
    return StoredBackbone("yamnet", facts, pack(network.state_dict()))


def with_heads(member: BackboneMember) -> BackboneMember:
    """The member with heads that were fitted to nothing, whose logits are of the size of fitted ones."""
    draws = torch.Generator().manual_seed(5)
    n = member.backbone.n_features
    svm = CalibratedSVM(n, len(SCENES))
    svm.weight.copy_(0.2 * torch.randn(svm.weight.shape, generator=draws, dtype=torch.float64))
    svm.slope.fill_(-2.0)
    svm.offset.copy_(torch.randn(len(SCENES), generator=draws, dtype=torch.float64))
    softmax = linear(n, len(SCENES))
    softmax.weight.copy_(0.2 * torch.randn(softmax.weight.shape, generator=draws, dtype=torch.float64))
    return replace(member, svm=svm.eval(), softmax=softmax)


def alone(recipe: Recipe = TINY, pooling: Pooling = "mean") -> Model:
    """A model of a small YAMNet of random weights, with unknown detection."""
    member = with_heads(untrained_member("yamnet", recipe, small(), pooling))
    draws = np.random.default_rng(2)
    n = member.backbone.n_features
    root = draws.normal(size=(n, n)) / 10
    gaussians = SceneGaussians(draws.normal(size=(len(SCENES), n)), root @ root.T).rounded()
    familiarity = Familiarity("mahalanobis", np.arange(30.0), (gaussians,))
    return Model(SCENES, (member,), {"softmax": 0.8, "svm": 1.3}, {}, familiarity)


def beside() -> Model:
    """It and a network, fused; without unknown detection."""
    network = blank_bundle(TINY)
    return replace(network, members=(*network.members, *alone().members))


def published() -> Path:
    """The published file, which is no part of the project; the test is skipped where it is absent."""
    path = _SHARED / "models" / "yamnet.tflite"
    if not path.exists():
        pytest.skip("needs ../shared/models/yamnet.tflite")
    return path


def golden() -> dict[str, np.ndarray]:
    """What an independent runtime makes of the published file, see ../shared/golden/README.md."""
    path = _SHARED / "golden" / "yamnet.npz"
    if not path.exists():
        pytest.skip("needs ../shared/golden/yamnet.npz")
    with np.load(path) as arrays:
        return dict(arrays)
