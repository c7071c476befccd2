"""Licences of recordings: from the rows of a manifest into a model, what `info` shows, its export and its card."""

import csv
import json
from pathlib import Path

import pytest

import soundscene
from soundscene.data.licences import licence_facts
from soundscene.data.manifest import Manifest
from soundscene.export.write import export_model
from soundscene.pipeline import train_on_manifest
from soundscene.types import Recording
from tests.support.command_line import run
from tests.support.tiny import TINY, write_corpus


def rows(column: str, *cells: str) -> list[Recording]:
    return [Recording(Path(f"{n}.wav"), "rain", f"{n}", 0, {column: cell}) for n, cell in enumerate(cells)]


@pytest.mark.parametrize("column", ["licence", "license", "License", "LICENCE", "Licenses"])
def test_licences_are_counted(column: str) -> None:
    found = licence_facts(rows(column, "CC BY 4.0", "CC0-1.0", "cc-by-4.0", "", "CC-BY 4.0"))
    assert found == {"licences": {"CC BY 4.0": 3, "CC0-1.0": 1}, "recordings_without_licence": 1}
    assert licence_facts(rows(column, "", " "), " MIT ") == {"licences": {"MIT": 2}}
    assert licence_facts(rows(column, "CC0", ""), "MIT") == {"licences": {"CC0": 1, "MIT": 1}}
    assert licence_facts(rows(column, "", "")) == {}
    assert licence_facts(rows("rights", "CC0")) == {}
    (long,) = licence_facts(rows(column, "x" * 100_000))["licences"]
    assert len(long) < 300


def corpus_with(folder: Path, licence: dict[str, str], column: str = "License") -> Path:
    """A manifest with a licence by fold."""
    manifest = write_corpus(folder)
    with manifest.open() as file:
        found = list(csv.DictReader(file))
    with manifest.open("w", newline="") as file:
        table = csv.DictWriter(file, [*found[0], column])
        table.writeheader()
        table.writerows(row | {column: licence.get(row["fold"], "")} for row in found)
    return manifest


def test_a_model_carries_the_licences_of_its_recordings(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    manifest = corpus_with(tmp_path / "corpus", {"1": "CC0", "2": "CC-BY-4.0", "3": "CC-BY-4.0", "4": "CC-BY-NC-4.0"})
    model = tmp_path / "m.safetensors"
    train_on_manifest(manifest, model, TINY.with_settings(["training.epochs=1"]), test="fold=1", workers=1)
    counted = {"CC-BY-4.0": 6, "CC-BY-NC-4.0": 3}  # the test rows are not among them
    exported = export_model(model, tmp_path / "m.onnx").path
    for file in (model, exported):
        assert run("info", file, "--json") == 0
        facts = json.loads(capfd.readouterr().out)
        assert (facts["licences"], facts["recordings_without_licence"]) == (counted, 3)
        assert run("info", file) == 0
        assert 'licences                  {"CC-BY-4.0": 6, "CC-BY-NC-4.0": 3}' in capfd.readouterr().out
        card = tmp_path / "card.md"
        assert run("push", file, "me/scenes", "--card", card) == 0
        lines = card.read_text().splitlines()
        assert not [line for line in lines if line.startswith("license")]
        assert "- The training recordings: CC-BY-4.0 (6), CC-BY-NC-4.0 (3); of 3 it is not recorded." in lines
        assert "- No licence of the model follows from those of its recordings: its owner has to state one." in lines
        assert run("push", file, "me/scenes", "--card", card, "--licence", "My: own\nlicence 1") == 0
        lines = card.read_text().splitlines()
        assert lines[1:4] == ["license: other", 'license_name: "My: own\\\\nlicence 1"', "library_name: soundscene"]
        assert "- The model: My: own licence 1." in lines
        assert not [line for line in lines if "No licence of the model follows" in line]
        capfd.readouterr()


def test_licences_by_options_and_by_another_column(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    manifest = corpus_with(tmp_path / "corpus", {"2": "CC0"}, "rights")
    model = tmp_path / "m.safetensors"
    words = ("--recipe", "small", "--epochs", "1", "--set", "augmentation=off", "--test", "fold=1", "--workers", "1")
    words = (*words, "--columns", "licence=rights", "--licence", "CC-BY-4.0")
    assert run("train", manifest, "--out", model, *words) == 0
    capfd.readouterr()
    assert run("info", model, "--json") == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["licences"] == {"CC-BY-4.0": 9, "CC0": 3}
    assert "recordings_without_licence" not in facts
    with pytest.raises(soundscene.ManifestError, match="licence"):
        Manifest.read(manifest, {"licence": "right"})


def test_scan_keeps_the_column(tmp_path: Path) -> None:
    manifest = corpus_with(tmp_path / "corpus", {"2": "CC0"})
    found = soundscene.scan(manifest)
    assert licence_facts(found.manifest.recordings) == {"licences": {"CC0": 3}, "recordings_without_licence": 12}
