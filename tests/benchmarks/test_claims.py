"""The program of decision 0106 on a rendered corpus: two studies, their report, and what it must not hide."""

from pathlib import Path

import pytest

from benchmarks import claims
from benchmarks.claims_report import families, write
from soundscene.scoring.evaluation import LEAKAGE
from tests.support.command_line import TINY_SET
from tests.support.tiny import write_corpus

pytestmark = pytest.mark.slow


def test_studies_of_a_rendered_corpus_and_their_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "corpora" / "tiny", n_per_scene=5, seconds=5.2)
    monkeypatch.setattr(claims, "PLAIN", tuple(TINY_SET))
    arms = (claims.ATTENTION, claims.CNN)
    studies = {
        "same-30": claims.Study(arms, claims.SAME, ("tiny",), "0"),
        "unseen-30": claims.Study(arms, ("--splits", "by=fold"), ("tiny",), "0"),
        "same-2h": claims.Study((claims.TWICE, claims.CNN), claims.SAME, ("tiny",), "0"),
    }
    monkeypatch.setattr(claims, "STUDIES", studies)
    words = ["claims", "run", str(tmp_path / "corpora"), "--only", "tiny", "--out", str(tmp_path / "runs")]
    monkeypatch.setattr("sys.argv", [*words, "--studies", "same-30,unseen-30,same-2h", "--workers", "2"])
    claims.main()
    write(tmp_path / "runs", tmp_path / "report")
    text = (tmp_path / "report" / "tables.md").read_text(encoding="utf-8")
    leaking = [line for line in text.splitlines() if "same-" in line and line.startswith(("|", "-"))]
    assert leaking
    assert all(LEAKAGE in line for line in leaking)
    assert text.count("Att-CRNN beats the CNN with maximum pooling") == 2
    assert text.count("(9) times 2H beats another arm: same-2h, tiny (LEAKAGE BY DESIGN)") == 1
    assert {p.name for p in (tmp_path / "report").glob("*.svg")} >= {"arms.svg", "primary.svg"}
    marked = {p.stem: LEAKAGE in p.read_text() for p in (tmp_path / "report").glob("epochs-*.svg")}
    assert marked == {"epochs-same-30-tiny": True, "epochs-unseen-30-tiny": False, "epochs-same-2h-tiny": True}
    assert "Holm over 4 questions; the 2 without an answer yet count as p = 1." in text
    assert text.count("each training on ") == 3
    next((tmp_path / "runs" / "unseen-30" / "tiny" / "results").iterdir()).unlink()
    write(tmp_path / "runs", tmp_path / "report")
    text = (tmp_path / "report" / "tables.md").read_text(encoding="utf-8")
    assert "**left out below: 1 of " in text
    assert not [line for line in text.splitlines() if line.startswith("|") and "unseen" in line]


def test_without_results_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no study is complete yet"):
        write(tmp_path, tmp_path / "report")
    assert families([]) == ([], [])
