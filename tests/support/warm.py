"""Compile once what numba compiles, before several processes of tests would each do so: python -m tests.support.warm."""

import tempfile
from pathlib import Path

import torch

from soundscene.pipeline import train_on_manifest
from soundscene.predictor import load
from tests.support.tiny import TINY, recording, write, write_corpus


def main() -> None:
    """Train a tiny model and predict with it; numba keeps what it compiles beside the source files."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = TINY.with_settings(["training.epochs=1"])
        model = folder / "tiny.safetensors"
        train_on_manifest(write_corpus(folder / "corpus", 2), model, recipe, test="fold=2", workers=1)
        load(model).predict(write(folder / "rain.wav", recording("rain", 2.2, 0)))


if __name__ == "__main__":
    main()
