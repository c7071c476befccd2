"""YAMNet for tests: random weights at an eighth of the width, and the published file and golden arrays where they are."""

from pathlib import Path

import numpy as np
import pytest
import torch

from soundscene.backbone.packing import pack
from soundscene.backbone.stored import StoredBackbone
from soundscene.network.yamnet import YAMNet

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
