"""`benchmarks/open_world.py`: the four figures of a row, and models of several members."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.open_world import left_out, measure
from benchmarks.robust_members import MemberRecipes
from soundscene.data.corpus import read_features
from soundscene.data.manifest import Manifest
from tests.support.tiny import TINY
from tests.support.yamnet import small


def test_a_threshold_comes_from_the_held_out_and_is_tried_on_the_test_recordings() -> None:
    held, known = np.arange(19.0), np.arange(20.0)  # the threshold that keeps 95 % of others like the held-out is 18
    found = measure(known, np.array([10.5, 18.0, 18.5, 30.0]), held)
    assert found["known kept"] == pytest.approx(19 / 20)
    assert found["unknown kept"] == pytest.approx(2 / 4)
    assert found["accepted"] == pytest.approx(3 / 4)  # at 19, above which no known test recording is
    assert found["auroc"] == pytest.approx((11 + 18.5 + 19 + 20) / 80)


def test_a_backbone_beside_a_network_has_every_score_but_the_energy(manifest: Path, tmp_path: Path) -> None:
    small().save(tmp_path / "backbone.safetensors")
    recipe = TINY.with_settings(["training.epochs=1"])
    members = MemberRecipes.of(recipe, "att-crnn-mel,yamnet", tmp_path / "backbone.safetensors")
    listed = Manifest.read(manifest)
    corpus = read_features(listed.recordings, members.audio, members.source(training=True))
    rows = left_out(listed.scenes[:1], listed.split("fold", "1"), members, corpus)
    assert [row["score"] for row in rows] == ["probability", "mahalanobis", "relative-mahalanobis"]
    assert all(np.isfinite(row["auroc"]) for row in rows)
    of_network = left_out(listed.scenes[:1], listed.split("fold", "1"), MemberRecipes.of(recipe), corpus.of_member(0))
    assert [row["score"] for row in of_network][1] == "energy"
