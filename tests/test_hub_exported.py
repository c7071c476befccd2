"""Exported models on the Hub: alone, beside a model file, and in an installation without PyTorch; their cards."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from huggingface_hub import constants

import soundscene
from soundscene import hub as hub_module
from soundscene.bundle import load_model, save_model
from soundscene.errors import BundleError
from soundscene.export.write import export_model, facts_of
from soundscene.graph_facts import GraphFacts
from soundscene.hub import local_model
from soundscene.model_card import CardFacts, PushedFile, model_card
from soundscene.model_facts import model_facts
from tests.support.command_line import run
from tests.support.hub_server import Hub
from tests.support.installed import HIDE, absent, run_installed
from tests.support.tiny import blank_bundle, recording, write
from tests.support.yamnet import beside

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")  # huggingface_hub to its HTTP client


@pytest.fixture(scope="module")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(model, tmp_path_factory.mktemp("exported") / "tiny.onnx").path


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("other") / "other.safetensors"
    save_model(blank_bundle(seed=5), path)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if PyTorch were not installed, as far as the choice of the file goes."""
    monkeypatch.setattr(hub_module, "is_installed", lambda extra: extra != "torch")


def test_a_repository_that_holds_an_exported_model_only(hub: Hub, exported: Path, tmp_path: Path) -> None:
    old = hub.commit("me/scenes", {"model.onnx": exported.read_bytes()}, "main", "v1")
    sound = (recording("rain", 2.2, 1), 22050)
    expected = soundscene.load(exported).predict(sound, warn=False)
    for name in ("", "@v1", f"@{old}", "/model.onnx", f"#sha256={sha256(exported)}"):
        assert soundscene.load(f"hf://me/scenes{name}").predict(sound, warn=False) == expected, name
    wav = write(tmp_path / "a.wav", sound[0])
    assert run("predict", "hf://me/scenes", wav, "--json") == 0
    with pytest.raises(BundleError, match=f"its SHA-256 is {sha256(exported)}, expected {'0' * 64}"):
        soundscene.load(f"hf://me/scenes#sha256={'0' * 64}")


def test_which_of_two_files_is_loaded(hub: Hub, model: Path, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit("me/scenes", {"model.safetensors": model.read_bytes(), "model.onnx": exported.read_bytes()})
    assert local_model("hf://me/scenes").read_bytes() == model.read_bytes()
    assert not [request for request in hub.requests if "model.onnx" in request]
    without_torch(monkeypatch)
    assert local_model("hf://me/scenes").read_bytes() == exported.read_bytes()
    # a digest says which file is meant, in either installation
    for file in (model, exported):
        assert local_model(f"hf://me/scenes#sha256={sha256(file)}").read_bytes() == file.read_bytes()
    with pytest.raises(BundleError) as found:
        local_model(f"hf://me/scenes#sha256={'0' * 64}")
    assert str(found.value) == (
        f"hf://me/scenes: the SHA-256 of model.onnx is {sha256(exported)} and of model.safetensors is {sha256(model)}, "
        f"expected {'0' * 64}; was the file changed?"
    )
    hub.commit("me/only", {"model.safetensors": model.read_bytes()})
    assert local_model("hf://me/only").suffix == ".safetensors"  # what loads it says that PyTorch is missing


def test_offline_the_cache_serves_an_exported_model(hub: Hub, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit("me/scenes", {"model.onnx": exported.read_bytes()})
    online = local_model("hf://me/scenes")
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert local_model("hf://me/scenes") == online
    with pytest.raises(BundleError, match="hf://me/none: is not in the cache, and HF_HUB_OFFLINE is set"):
        local_model("hf://me/none")
    assert hub.requests == []


def test_a_repository_without_a_model_of_these_names_says_what_it_holds(hub: Hub, exported: Path) -> None:
    hub.commit("me/scenes", {"README.md": b"", "small.onnx": exported.read_bytes()})
    with pytest.raises(BundleError) as found:
        local_model("hf://me/scenes@main")
    assert str(found.value) == (
        "hf://me/scenes@main: holds neither model.safetensors nor model.onnx at main; it holds small.onnx: name it, as in "
        "hf://me/scenes/small.onnx@main"
    )
    assert soundscene.load("hf://me/scenes/small.onnx").scenes
    hub.commit("me/empty", {"README.md": b""})
    with pytest.raises(BundleError, match=r"hf://me/empty: holds neither model.safetensors nor model.onnx at the newest"):
        local_model("hf://me/empty")


def test_a_model_is_pushed_with_its_export(
    hub: Hub, model: Path, exported: Path, other: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("push", model, "me/scenes", "--onnx", exported) == 0
    pushed = capfd.readouterr().out.strip()
    kept = hub.commits[pushed.partition("@")[2]]
    assert kept["model.safetensors"] == model.read_bytes()
    assert kept["model.onnx"] == exported.read_bytes()
    card = kept["README.md"].decode()
    assert f"hf://me/scenes/model.onnx#sha256={sha256(exported)}` is the same model, exported to ONNX." in card
    line = f"| exported file | {exported.stat().st_size:,} bytes, SHA-256 `{sha256(exported)}`, weights float32 |"
    assert line in card.splitlines()
    # the same model again keeps its export; another one removes it, and says so
    assert run("push", model, "me/scenes") == 0
    assert "model.onnx" in hub.commits[capfd.readouterr().out.strip().partition("@")[2]]
    assert run("push", other, "me/scenes") == 0
    out, err = capfd.readouterr()
    assert "model.onnx" not in hub.commits[out.strip().partition("@")[2]]
    assert "hf://me/scenes: model.onnx, which was of another model, is removed; --onnx FILE pushes a new one" in err
    # an export of another model, and an export alone where a model file is
    assert run("push", other, "me/scenes", "--onnx", exported) == 2
    err = capfd.readouterr().err
    assert f"was exported from another model file (SHA-256 {sha256(model)})" in err
    assert f"export it again: soundscene export {other} --out {exported}" in err
    assert run("push", exported, "me/scenes") == 2
    assert (
        "hf://me/scenes: holds model.safetensors, and an exported model alone may be of another model; push both: "
        f"soundscene push MODEL.safetensors me/scenes --onnx {exported}"
    ) in capfd.readouterr().err


def test_an_exported_model_is_pushed_alone(
    hub: Hub, model: Path, exported: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("push", exported, "me/scenes", "--licence", "Apache-2.0", "--revision", "main") == 0
    kept = hub.commits[capfd.readouterr().out.strip().partition("@")[2]]
    assert sorted(kept) == ["README.md", "model.onnx"]
    card = kept["README.md"].decode()
    facts = load_model(model).provenance
    lines = card.splitlines()
    assert lines[1] == "license: apache-2.0"
    assert f'model = soundscene.load("hf://me/scenes#sha256={sha256(exported)}")' in lines
    assert (
        'The file is an exported model in ONNX. It predicts without PyTorch (`pip install "soundscene[hub,onnx]"`).' in lines
    )
    assert f"| exported from | a model file, SHA-256 {sha256(model)} |" in lines
    assert "- Split: rows fold=1 left out for the test." in lines
    assert f"- Recordings: {sum(facts['recordings'].values())}, and those held out for calibration: 3." in lines
    assert "- Notes of its training: not recorded in an exported model." in lines
    assert "- Anything: no evaluation is recorded." in lines
    # no number of it is typed: all are of the file
    metadata = " ".join(entry.value for entry in onnx.load(exported).metadata_props)
    known = {*re.findall(r"\d+", metadata), *re.findall(r"\d+", f"{sha256(exported)} {exported.stat().st_size}"), "256"}
    loaded = soundscene.load(exported)
    known |= {str(sum(facts["recordings"].values())), f"{len(loaded.scenes)}"}
    known |= set(re.findall(r"\d+", json.dumps([f"{t:.3f}" for t in load_model(model).temperature.values()])))
    usual = loaded.model.usual
    assert usual
    limits = usual.limits(loaded.model.audio.sample_rate / 2)
    assert f"- Sound unlike its {usual.recordings} training recordings, which has a note: {limits}." in lines
    known |= set(re.findall(r"\d+", f"{limits.replace(',', '')} {loaded.model.audio.segment_s:g}"))
    known |= {f"{loaded.model.facts.to_facts()['parameters']}"}  # pyright: ignore[reportAttributeAccessIssue]
    found = set(re.findall(r"\d+", "\n".join(lines[2:]).replace(",", "")))
    assert found <= known, found - known
    assert run("info", exported, "--json") == 0
    shown = json.loads(capfd.readouterr().out)
    assert shown["exported"] == {"form": "stateful", "weights": "float32", "model_sha256": sha256(model)}
    assert shown["recordings"] == facts["recordings"]
    assert shown["training_range"] == usual.to_stored()
    assert "trained_on" not in shown
    for words, message in (
        (("--on", tmp_path), "is an exported model, and --on evaluates a model file: soundscene push MODEL.safetensors"),
        (("--onnx", exported), "is an exported model, and --onnx goes with a model file"),
    ):
        (tmp_path / "rain").mkdir(exist_ok=True)
        write(tmp_path / "rain" / "a.wav", recording("rain", 2.2, 1))
        shutil.copytree(tmp_path / "rain", tmp_path / "office", dirs_exist_ok=True)
        assert run("push", exported, "me/scenes", *words, "--card", tmp_path / "card.md") == 2
        assert message in capfd.readouterr().err


def test_early_exports_have_no_facts_of_training(model: Path, exported: Path, tmp_path: Path) -> None:
    graph = onnx.load(exported)
    for entry in [e for e in graph.metadata_props if e.key in ("training", "parameters")]:
        graph.metadata_props.remove(entry)
    old = tmp_path / "old.onnx"
    onnx.save(graph, old)
    card = tmp_path / "card.md"
    assert run("push", old, "me/scenes", "--card", card) == 0
    text = card.read_text().splitlines()
    assert "| parameters | not recorded |" in text
    assert "- Corpus: not recorded (name of the manifest)." in text
    assert "- The training recordings: not recorded." in text
    assert soundscene.load(old).scenes == soundscene.load(exported).scenes


def test_the_licence_of_a_backbone_is_in_the_card_of_an_export() -> None:
    model = beside()
    facts = GraphFacts.from_metadata(facts_of(model, "0").to_metadata()).to_facts()
    (backbone,) = [member["backbone"] for member in facts["members"] if "backbone" in member]
    of_model = [line for line in _card(model_facts(model)) if line.startswith("- Its backbone")]
    assert of_model == [line for line in _card(facts) if line.startswith("- Its backbone")]
    assert of_model
    assert of_model[0].endswith(f": {backbone['licence']}.")
    assert f"| parameters | {facts['parameters']:,} |" in _card(facts)
    with pytest.raises(TypeError, match="backbone is 'x', expected names with values"):
        GraphFacts.from_metadata(facts_of(model, "0").to_metadata() | {"backbones": '{"a": "x"}'})


def _card(facts: dict[str, Any]) -> list[str]:
    return model_card(CardFacts("me/scenes", PushedFile("0" * 64, 1), facts, "svm")).splitlines()


LOAD = (
    """
import json, sys
absent, reference, endpoint, cache = json.loads(sys.argv[1])
"""
    + HIDE
    + """
import os
os.environ |= {"HF_ENDPOINT": endpoint, "HF_HUB_CACHE": cache, "HF_HUB_DISABLE_XET": "1"}
import soundscene
print(soundscene.load(reference))
"""
)


def test_without_pytorch_the_exported_model_is_loaded_and_pushed(
    hub: Hub, model: Path, exported: Path, tmp_path: Path
) -> None:
    hub.commit("me/scenes", {"model.safetensors": model.read_bytes(), "model.onnx": exported.read_bytes()})
    words = json.dumps([absent(("onnx", "hub")), "hf://me/scenes", hub.url, str(tmp_path / "cache")])
    done = subprocess.run([sys.executable, "-c", LOAD, words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("<Predictor att-crnn-mel; svm head; 3 scenes")
    assert not [request for request in hub.requests if "model.safetensors" in request]
    lines = [("push", exported, "me/scenes", "--card", tmp_path / "c.md"), ("info", exported)]
    (code, _, err), (code_info, text, _) = run_installed(("onnx", "hub"), lines)
    assert (code, code_info) == (0, 0), err
    assert "exported" in text
