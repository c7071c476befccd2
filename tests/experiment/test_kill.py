"""Killed at ten random moments, an experiment ends with what an undisturbed one gives, and leaves no process behind."""

import time
from pathlib import Path

import pytest

from benchmarks.kill import differences, kill_often, orphans, run
from tests.support.tiny import SETTINGS, write_corpus

OPTIONS = [
    *("--systems", "att-crnn-mel,cnn-mel", "--splits", "by=fold", "--workers", "2", "--threads", "1", "--device", "cpu"),
    *(word for setting in SETTINGS for word in ("--set", setting)),
    *("--set", "training.epochs=12"),
]


@pytest.mark.kill
@pytest.mark.slow
def test_killed_at_ten_random_moments_it_gives_the_same(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "sound")
    run(manifest, tmp_path / "reference", OPTIONS)
    kills = kill_often(manifest, tmp_path / "killed", OPTIONS, 10, 1.5, seed=2)
    assert len(kills) >= 5, "the run was over before it could be killed often"
    assert any(kill.n_half or kill.n_results for kill in kills)
    ends = time.monotonic() + 20
    sessions = [kill.session for kill in kills]
    while orphans(sessions) and time.monotonic() < ends:
        time.sleep(0.1)
    assert orphans(sessions) == []
    run(manifest, tmp_path / "killed", OPTIONS)
    assert differences(tmp_path / "reference", tmp_path / "killed") == []
    assert not list((tmp_path / "killed" / "work").glob("*/*"))
