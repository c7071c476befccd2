"""Systems of Table 3 as small as they can be, and made-up features of their shapes."""

from dataclasses import replace

import numpy as np
import pytest

from soundscene.data.corpus import Corpus
from soundscene.recipe import Recipe
from soundscene.systems import factors, fisher_hog, mfcc_dnn
from tests.support.vectors import corpus_of

SHAPES: dict[str, tuple[int, tuple[int, ...]]] = {  # segments of a recording, and the shape of one
    "hog": (1, (1024,)),
    "hog-spd": (1, (1024 + 72 * 64,)),
    "cqt-hog": (1, (1536,)),
    "fisher-hog": (2, (20, 36)),
    "sparse-nmf": (5, (200,)),
    "conv-nmf": (5, (200,)),
    "kernel-pca": (5, (200,)),
    "mfcc-dnn": (2, (10, 60)),
    "tt-dnn": (2, (2, 64, 80)),
    "tt-cnn": (2, (2, 64, 80)),
    "tt-lstm": (2, (2, 64, 80)),
    "lstm-sa": (2, (2, 64, 80)),
    "cnn-1d-2d-3d": (2, (5512,)),
    "nearest-mean": (1, (5 * 64,)),
    "band-statistics": (1, (5 * 64,)),
}
TINY = Recipe.small().with_settings(["training.epochs=2", "network.hidden=4", "network.filters=[4, 4, 4]"])
SHORT = TINY.with_settings(["audio.segment_s=0.25"])  # of waves


def make_small(patch: pytest.MonkeyPatch) -> None:
    """Make few atoms, Gaussians and epochs the choices of the systems that have such."""
    tiny = factors.FactorSettings(n_atoms=4, visits=500, n_patches=4, iterations=5, n_components=4, c=(1.0,))
    mixture = replace(fisher_hog.FisherSettings(), n_components=3, n_gaussians=2, patches=200, c=(1e-3,))
    quick = replace(mfcc_dnn.MfccDnnSettings(), epochs=2, hidden=(8, 8))
    patch.setattr(factors, "FactorSettings", lambda: tiny)
    patch.setattr(fisher_hog, "FisherSettings", lambda: mixture)
    patch.setattr(mfcc_dnn, "MfccDnnSettings", lambda: quick)


def made_up(name: str, quiet: float, louder: float) -> Corpus:
    """Features of two scenes of six recordings each, of the shape of a system or a variant; one scene has larger values."""
    n_segments, shape = SHAPES[name.partition(":")[0]]
    labels = ["ab"[i % 2] for i in range(12)]
    level = np.repeat([quiet + louder * (label == "a") for label in labels], n_segments)
    features = np.random.default_rng(0).uniform(0, 1, (len(level), *shape)) * level.reshape(-1, *[1] * len(shape))
    return corpus_of(features, labels, [n_segments] * 12)
