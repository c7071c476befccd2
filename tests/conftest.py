from pathlib import Path

import pytest
import torch

from soundscene.pipeline import train_on_manifest
from tests.support.tiny import TINY, write_corpus

torch.set_num_threads(1)  # toys are slower on several threads, and bit-identity is promised for one number of threads


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scenes, five recordings of 2.2 s each, folds 1 to 5; to be left as it is."""
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def model(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model trained on all folds but the first; to be left as it is."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    train_on_manifest(manifest, path, TINY, test="fold=1", workers=1)
    return path
