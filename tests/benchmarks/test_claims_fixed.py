"""Attention vectors that are replaced: by none, by their own mean, by uniform ones."""

from pathlib import Path

import pytest
import torch

from benchmarks.claims_fixed import LEARNT, REPLACED, Weights, embed, mean_weights, measured
from soundscene.network.attention_use import embed_uniform
from soundscene.network.models import AttCRNN, build_network, n_frames
from soundscene.scoring.evaluation import LEAKAGE
from tests.support.command_line import TINY_SET, run
from tests.support.tiny import TINY, write_corpus


@pytest.fixture
def network() -> AttCRNN:
    torch.manual_seed(0)
    built = build_network(TINY.with_settings(["network.attention_context=3"]), 3).eval()
    assert isinstance(built, AttCRNN)
    return built


@pytest.fixture
def images() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(70, 2, TINY.features.n_bands, n_frames(TINY))


def test_nothing_replaced_is_the_network(network: AttCRNN, images: torch.Tensor) -> None:
    with torch.inference_mode():
        assert torch.allclose(embed(network, images, Weights()), network.embed(images), atol=1e-6)


def test_uniform_weights_are_those_of_the_experiment(network: AttCRNN, images: torch.Tensor) -> None:
    spatial, temporal = (vector for vector in network.attend(images[:1]))
    uniform = Weights(torch.full_like(spatial[0], 1 / spatial.shape[1]), torch.full_like(temporal[0], 1 / temporal.shape[1]))
    assert torch.allclose(embed(network, images, uniform), embed_uniform(network, images), atol=1e-6)


def test_the_mean_is_a_distribution_and_changes_what_follows_the_sound(network: AttCRNN, images: torch.Tensor) -> None:
    fixed = mean_weights(network, images)
    assert fixed.spatial is not None
    assert fixed.temporal is not None
    assert float(fixed.spatial.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(fixed.temporal.sum()) == pytest.approx(1.0, abs=1e-5)
    with torch.inference_mode():
        plain = network.embed(images)
    for weights in (Weights(spatial=fixed.spatial), Weights(temporal=fixed.temporal), fixed):
        assert not torch.allclose(embed(network, images, weights), plain, atol=1e-4)
    one = images[:1].expand(3, -1, -1, -1)
    assert torch.allclose(embed(network, one, mean_weights(network, one)), plain[:1].expand(3, -1), atol=1e-5), "no variety"


@pytest.mark.slow
def test_models_of_a_run_are_tested_with_each_kind_of_weights(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "sound", 6)
    names = [line.split(",")[:2] for line in manifest.read_text(encoding="utf-8").splitlines()[1:]]
    rows = [f"{path},{scene},{scene}{number // 2}" for number, (path, scene) in enumerate(names)]  # groups of two
    manifest.write_text("\n".join(["path,scene,group", *rows]) + "\n", encoding="utf-8")
    systems = "att-crnn-mel,att-crnn-mel:network.pooling=mean,cnn-mel"
    words = ("--diagnose", "same-recording", "--systems", systems, "--workers", "1", "--threads", "1", "--device", "cpu")
    assert run("experiment", manifest, "--out", tmp_path / "run", *words, *TINY_SET) == 0
    found = measured(tmp_path / "run")
    figures = found["rows"]
    assert isinstance(figures, list)
    assert LEAKAGE in str(found["corpus"])
    assert [(row["arm"], row["head"], row["trainings"]) for row in figures] == [
        ("Att-CRNN", "svm", 2),
        ("Att-CRNN", "softmax", 2),
    ]
    for row in figures:
        assert 0 <= row[LEARNT][0] <= 100
        assert all(low <= estimate <= high for estimate, low, high in (row[f"lost, {kind}"] for kind in REPLACED))
    (tmp_path / "run" / "models").rename(tmp_path / "away")
    with pytest.raises(SystemExit, match="holds no model with attention"):
        measured(tmp_path / "run")
