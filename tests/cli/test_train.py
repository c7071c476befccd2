"""What `train` and `soundscene.train` say of their choices."""

from pathlib import Path
from typing import Any

import pytest

import soundscene
from soundscene.bundle import load_model
from soundscene.errors import SceneError
from tests.support.command_line import TINY_SET, run
from tests.support.tiny import SETTINGS

CHOICE = "system: att-crnn-mel, 1 epoch: your settings on top of the default (att-crnn-mel, 60 epochs, chosen on ESC-10"


@pytest.mark.budget(20)  # three trainings
def test_the_choice_is_told_whatever_is_set_and_kept_in_the_model(
    manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("--test", "fold=1", "--device", "cpu", "--workers", "1", *TINY_SET, "--set", "training.epochs=1")
    out = tmp_path / "m.safetensors"
    assert run("train", manifest, "--out", out, *words, "--set", "audio.segment_s=1") == 0
    told = capfd.readouterr().err
    assert told.count(f"note: {CHOICE}") == 1
    assert told.count("note: more time: 85 epochs") == 1
    assert told.count("note: from audio.segment_s follow") == 1
    in_file = notes_of(out)
    assert in_file[0].startswith("from audio.segment_s follow training.segment_hop_s=0.5")
    assert in_file[1].startswith(CHOICE)

    options: dict[str, Any] = {"test": "fold=1", "device": "cpu", "workers": 1}
    settings, out = [*SETTINGS, "training.epochs=1"], tmp_path / "n.safetensors"
    soundscene.train(manifest, out, settings=[*settings, "audio.segment_s=1"], **options)
    assert notes_of(out) == in_file
    soundscene.train(manifest, out, systems="cnn-mel", settings=settings, **options)
    assert notes_of(out)[0].startswith("--systems of networks starts from --recipe small: 30 epochs")
    soundscene.train(manifest, out, recipe="small", settings=settings, **options)
    assert not any("--recipe small" in note for note in notes_of(out))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"systems": ""}, "^system '': allowed are att-crnn-mel"),
        ({"systems": [""]}, "^system '': allowed are att-crnn-mel"),
        ({"recipe": ""}, "^recipe '': neither a preset"),
        ({"settings": ""}, "^--set '': expected section.key=value"),
        ({"test": ""}, "^test '': expected COLUMN=VALUE"),
        ({"backbone": "", "systems": "yamnet"}, "^backbone '': is empty"),
    ],
)
def test_nothing_empty_trains_the_default(manifest: Path, tmp_path: Path, options: dict[str, Any], why: str) -> None:
    with pytest.raises(SceneError, match=why):
        soundscene.train(manifest, tmp_path / "m.safetensors", **options)
    with pytest.raises(SceneError, match=r"^manifest '': is empty"):
        soundscene.train("", tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


def notes_of(model: Path) -> list[str]:
    return load_model(model).provenance["notes"]
