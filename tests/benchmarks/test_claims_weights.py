"""Attention vectors that are replaced: by none, by those of another segment, by their mean, by uniform ones."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.claims_weights import ANEW, DRAWN, FIXED, KINDS, LEARNT, UNIFORM, Attended, attended, embeddings, measured
from soundscene.experiment.plan import Plan
from soundscene.experiment.results import RunFolder
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
def images() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(70, 2, TINY.features.n_bands, n_frames(TINY))).astype(np.float32)


def by_kind(network: AttCRNN, part: Attended) -> dict[str, np.ndarray]:
    fixed = part.spatial.mean(dim=0), part.temporal.mean(dim=0)
    return embeddings(network, part, fixed, np.random.default_rng(0))


def test_learnt_and_uniform_weights_are_those_of_the_network(network: AttCRNN, images: np.ndarray) -> None:
    found = by_kind(network, attended(network, images))
    with torch.inference_mode():
        assert np.allclose(found[LEARNT], network.embed(torch.from_numpy(images)), atol=1e-6)
    assert np.allclose(found[UNIFORM], embed_uniform(network, torch.from_numpy(images)), atol=1e-6)


def test_each_segment_gets_the_weights_of_one_other(network: AttCRNN, images: np.ndarray) -> None:
    """Pooling of ones tells the weights: tanh grows with them."""
    part = attended(network, images)
    ones = Attended(torch.ones_like(part.z), part.spatial, part.temporal)
    found = by_kind(network, ones)
    own, others = found[LEARNT], found[DRAWN[0]]
    assert len(np.unique(own, axis=0)) == len(own)
    assert not (own == others).all(axis=1).any(), "none its own"
    assert np.array_equal(np.unique(own, axis=0), np.unique(others, axis=0)), "each once"
    order = [int(np.flatnonzero((own == row).all(axis=1))[0]) for row in others]
    spatial, temporal = part.spatial[order], part.temporal[order]
    assert network.attention is not None
    with torch.inference_mode():
        over_time = network.attention.pool(ones.z, part.spatial, temporal)
        over_space = network.attention.pool(ones.z, spatial, part.temporal)
    assert np.allclose(found[DRAWN[1]], over_time, atol=1e-6)
    assert np.allclose(found[DRAWN[2]], over_space, atol=1e-6)


def test_fixed_weights_are_the_same_for_all(network: AttCRNN, images: np.ndarray) -> None:
    part = attended(network, images)
    ones = Attended(torch.ones_like(part.z), part.spatial, part.temporal)
    assert len(np.unique(by_kind(network, ones)[FIXED], axis=0)) == 1
    alike = Attended(part.z[:1].expand(3, -1, -1), part.spatial[:1].expand(3, -1), part.temporal[:1].expand(3, -1))
    found = by_kind(network, alike)
    assert np.allclose(found[FIXED], found[LEARNT], atol=1e-6), "nothing to follow"
    assert not np.allclose(by_kind(network, part)[FIXED], by_kind(network, part)[LEARNT], atol=1e-4)


@pytest.mark.slow
def test_models_of_a_run_are_tested_with_each_kind_of_weights(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "sound", 6)
    names = [line.split(",")[:2] for line in manifest.read_text(encoding="utf-8").splitlines()[1:]]
    rows = [f"{path},{scene},{scene}{number // 2}" for number, (path, scene) in enumerate(names)]  # groups of two
    manifest.write_text("\n".join(["path,scene,group", *rows]) + "\n", encoding="utf-8")
    systems = "att-crnn-mel,att-crnn-mel:network.pooling=mean,cnn-mel"
    words = ("--diagnose", "same-recording", "--systems", systems, "--workers", "1", "--threads", "1", "--device", "cpu")
    assert run("experiment", manifest, "--out", tmp_path / "run", *words, *TINY_SET) == 0
    found = json.loads(json.dumps(measured(tmp_path / "run")))
    assert LEAKAGE in found["corpus"]
    assert [(row["arm"], row["head"], row["trainings"], row["groups"]) for row in found["rows"]] == [
        ("Att-CRNN", head, 2, 9) for head in ("svm", "softmax", *ANEW)
    ]
    results, _ = RunFolder(tmp_path / "run").read_results(Plan.read(tmp_path / "run"))
    own = [result for result in results if result.system == "att-crnn-mel"]
    for row in found["rows"][:2]:
        right = [(r.heads[row["head"]].segment.argmax(1) == r.truth[r.recording_of]) for r in own]
        assert row[LEARNT][0] == pytest.approx(100 * np.concatenate(right).mean(), abs=0.01)
    uniform = [100 * (r.history[-1]["test_accuracy"] - r.history[-1]["test_accuracy_uniform_attention"]) for r in own]
    assert len({len(r.recording_of) for r in own}) == 1
    assert found["rows"][1][f"{LEARNT} minus {UNIFORM}"][0] == pytest.approx(np.mean(uniform), abs=0.01)
    assert set(KINDS) <= {word for row in found["rows"] for key in row for word in key.split(" minus ")}
    next((tmp_path / "run" / "models").glob("cnn-mel*")).unlink()
    left = json.loads(json.dumps(measured(tmp_path / "run")))
    assert len(left["trainings"]) == 1, "arms of the same splits only"
    (tmp_path / "run" / "models").rename(tmp_path / "away")
    with pytest.raises(SystemExit, match="holds no split with models of all arms"):
        measured(tmp_path / "run")
