"""What `make demo` does, on a tiny scale: rendered sound is called synthetic, and a user's own is left alone."""

import io
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from soundscene.bundle import load_model
from soundscene.cli import demo
from soundscene.cli.demo import DemoResult, run_demo
from soundscene.data.manifest import Manifest
from soundscene.errors import ManifestError, TrainingError
from soundscene.render.scenes import SCENES as RENDERED
from soundscene.systems.calibration import HEADS
from tests.support.tiny import RATE, SCENES, TINY, only, write

ONE_EPOCH = TINY.with_settings(["training.epochs=1"])


@contextmanager
def bar(what: str) -> Iterator[Callable[..., None]]:
    yield lambda done, total, note="": None


def told(corpus: Path | None, folder: Path, n_per_scene: int = 2) -> tuple[DemoResult, str]:
    stream = io.StringIO()
    out = Console(file=stream, width=300, markup=False, emoji=False)
    return run_demo(corpus, folder, 0, out, bar, ONE_EPOCH, n_per_scene), stream.getvalue()


@pytest.fixture
def own(manifest: Path, tmp_path: Path) -> Path:
    """A folder per scene, as a user has it: without a manifest."""
    shutil.copytree(manifest.parent, tmp_path / "own", ignore=shutil.ignore_patterns("manifest.csv"))
    return tmp_path / "own"


def rows(text: str) -> list[list[str]]:
    """Rows of the table of scores: network, head, four figures."""
    return re.findall(r"^  (Att-CRNN|CNN baseline) +(softmax|svm) +([\d.]+%) +([\d.]+%) +([\d.]+) +([\d.]+) *$", text, re.M)


def test_rendered_sound_is_called_synthetic_and_everything_is_left_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "DURATION_S", 2.2)
    folder = tmp_path / "out"
    found, text = told(None, folder)
    assert "The audio is SYNTHETIC" in text
    assert "accuracy on 10 held-out recordings (SYNTHETIC audio)" in text
    assert "10 training recordings, 10 held-out test recordings" in text
    table = rows(text)
    assert [row[:2] for row in table] == [(n, h) for n in ("Att-CRNN", "CNN baseline") for h in ("softmax", "svm")]
    for (_, head, segment, whole, loss, error), kind in zip(table, np.repeat(["att-crnn", "cnn"], 2), strict=True):
        scores = found.evaluations[kind].scores[head]
        assert (segment, whole) == (f"{scores.segment.accuracy:.1%}", f"{scores.recording.accuracy:.1%}")
        assert (loss, error) == (f"{scores.calibrated.log_loss:.2f}", f"{scores.calibrated.calibration_error:.2f}")
    assert found.model == folder / "att-crnn.safetensors"
    for kind in ("att-crnn", "cnn"):
        bundle = load_model(folder / f"{kind}.safetensors")
        assert only(bundle).recipe.network.kind == kind
        assert bundle.scenes == tuple(sorted(RENDERED))
    assert found.picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert str(found.picture) in text
    assert f"soundscene predict {found.model} YOUR_FILES" in text
    assert len(Manifest.read(folder / "rendered" / "manifest.csv").recordings) == 20
    names = {"rendered", "att-crnn.safetensors", "cnn.safetensors", "attention.png"}
    assert {p.name for p in folder.iterdir()} == names


def test_what_an_earlier_demo_rendered_is_replaced_and_anything_else_is_not_touched(tmp_path: Path) -> None:
    rendered = tmp_path / "rendered"
    for name in RENDERED:
        (rendered / name).mkdir(parents=True)
    (rendered / "manifest.csv").write_text("")
    assert demo._is_rendered(rendered)
    (rendered / "mine.wav").write_text("")
    assert not demo._is_rendered(rendered)
    with pytest.raises(ManifestError) as refusal:
        told(None, tmp_path)
    assert str(refusal.value) == (
        f"{rendered} is in use already; delete it, or choose another folder for the rendered corpus"
    )
    assert (rendered / "mine.wav").exists()


def test_a_users_folder_is_split_by_seeded_folds_and_nothing_is_called_synthetic(own: Path, tmp_path: Path) -> None:
    before = sorted(own.rglob("*"))
    found, text = told(own, tmp_path / "out")
    assert "SYNTHETIC" not in text
    assert "accuracy on 3 held-out recordings (your recordings)" in text
    assert "note: each of 15 files counts as an independent recording; give excerpts of one recording the same group" in text
    assert len(rows(text)) == 4
    assert found.evaluations["cnn"].n_recordings == 3
    for evaluation in found.evaluations.values():
        for head in HEADS:
            assert evaluation.scores[head].recording.confusion.sum(axis=1).tolist() == [1, 1, 1]  # one of each scene
    assert load_model(found.model).scenes == SCENES
    assert sorted(own.rglob("*")) == before


def test_folds_of_a_manifest_are_used(own: Path, tmp_path: Path, manifest: Path) -> None:
    lines = manifest.read_text().replace(",5\n", ",1\n")  # two of each scene are fold 1 now
    (own / "manifest.csv").write_text(lines)
    _, text = told(own, tmp_path / "out")
    assert f"{own / 'manifest.csv'}: testing on its fold 1" in text
    assert "9 training recordings, 6 held-out test recordings" in text
    assert "without a column" not in text


def test_groups_of_a_manifest_without_folds_are_kept_together(own: Path) -> None:
    names = [f"{scene}/{n}.wav,{scene},{scene} {n // 3}" for scene in SCENES for n in range(5)]
    (own / "manifest.csv").write_text("\n".join(["path,scene,group", *names]))
    stream = io.StringIO()
    split = demo._corpus(own, own, 0, Console(file=stream, width=300), bar, 0)
    assert "note: 2 folds instead of 5: " in stream.getvalue()
    assert not {r.group for r in split.train} & {r.group for r in split.test}
    assert {r.scene for r in split.train} == {r.scene for r in split.test} == set(SCENES)


def test_a_test_recording_of_late_sound_does_not_stop_it(own: Path, tmp_path: Path, manifest: Path) -> None:
    late = np.zeros(round(2.5 * RATE), np.float32)
    late[-100:] = 0.1  # too late for any segment
    write(own / "night_crickets" / "0.wav", late)  # of fold 1
    (own / "manifest.csv").write_text(manifest.read_text())
    found, text = told(own, tmp_path / "out")
    assert found.evaluations["cnn"].n_recordings == 2
    assert len(rows(text)) == 4


def test_the_same_sound_on_both_sides_and_one_scene_are_refused(own: Path, tmp_path: Path, manifest: Path) -> None:
    (own / "manifest.csv").write_text(manifest.read_text())
    shutil.copy(own / "rain" / "0.wav", own / "rain" / "1.wav")
    with pytest.raises(ManifestError, match=r"^the same audio appears in both training \(line 13, 1\.wav\) and test"):
        told(own, tmp_path / "out")
    (own / "manifest.csv").unlink()
    for scene in ("office", "night_crickets"):
        shutil.rmtree(own / scene)
    (own / "rain" / "1.wav").unlink()
    with pytest.raises(TrainingError, match=r"^the training part holds 1 scene \(rain\)"):
        told(own, tmp_path / "out")
