"""Models on the Hub, against a stand-in on this machine: downloads, revisions, digests, offline, pushes, cards."""

import hashlib
import json
import re
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import typer
from huggingface_hub import constants

import soundscene
from soundscene.bundle import load_model, save_model
from soundscene.cli.app import app
from soundscene.errors import BundleError
from soundscene.hub import HubReference, check_repo, is_reference, local_model
from soundscene.systems.choice import MORE_TIME
from tests.support.command_line import run
from tests.support.hub_server import Hub
from tests.support.tiny import blank_bundle, recording, write


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    for seed in (1, 2):
        save_model(blank_bundle(seed=seed), folder / f"{seed}.safetensors")
    return folder / "1.safetensors", folder / "2.safetensors"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("sound") / "a.wav", recording("rain", 2.2, 1))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_references_are_parsed_and_local_paths_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = "0a" * 32
    assert HubReference.parse(f"hf://me/a.b/x/m.onnx@refs/pr/1#sha256={digest}") == HubReference(
        "me/a.b", "x/m.onnx", "refs/pr/1", digest
    )
    assert str(HubReference.parse("hf:/me/scenes@v1")) == "hf://me/scenes@v1"
    for wrong in ("hf://me", "hf://me/a@", "hf://me/a#sha256=12", "hf://me/../a", "hf://me/a/../../b", "hf://a b/c"):
        with pytest.raises(BundleError, match="expected hf://owner/name"):
            HubReference.parse(wrong)
    assert check_repo("hf://me/scenes") == "me/scenes"
    with pytest.raises(BundleError, match="expected the name of a repository"):
        check_repo("scenes")
    monkeypatch.chdir(tmp_path)
    assert is_reference("hf://me/scenes")
    (tmp_path / "hf:" / "me").mkdir(parents=True)
    (tmp_path / "hf:" / "me" / "scenes").touch()
    assert not is_reference("hf://me/scenes"), "a local file comes first"


def test_a_model_is_downloaded_once_and_its_revision_and_digest_hold(hub: Hub, files: tuple[Path, Path]) -> None:
    old = hub.commit("me/scenes", {"model.safetensors": files[0].read_bytes()}, "main", "v1")
    hub.commit("me/scenes", {"model.safetensors": files[1].read_bytes(), "other.safetensors": files[0].read_bytes()})
    assert soundscene.load("hf://me/scenes").scenes == soundscene.load(files[1]).scenes
    assert local_model(Path("hf://me/scenes")).read_bytes() == files[1].read_bytes()
    for name in ("@v1", f"@{old}", "/other.safetensors", f"@v1#sha256={sha256(files[0])}"):
        assert local_model(f"hf://me/scenes{name}").read_bytes() == files[0].read_bytes(), name
    gets = [request for request in hub.requests if request.startswith("GET") and "resolve" in request]
    assert len(gets) == 2  # of two contents; what the cache has under another name is not downloaded again
    with pytest.raises(BundleError, match=f"its SHA-256 is {sha256(files[1])}, expected {sha256(files[0])}"):
        soundscene.load(f"hf://me/scenes#sha256={sha256(files[0])}")


def test_what_is_not_there_is_one_line(hub: Hub, files: tuple[Path, Path]) -> None:
    hub.commit("me/scenes", {"model.safetensors": files[0].read_bytes()})
    for name, message in (
        ("hf://me/none", "hf://me/none: no such repository, or it is private"),
        ("hf://me/scenes@v9", "hf://me/scenes@v9: has no revision v9"),
        ("hf://me/scenes/x.onnx", "hf://me/scenes/x.onnx: holds no x.onnx at the newest revision"),
    ):
        with pytest.raises(BundleError, match=re.escape(message)) as found:
            local_model(name)
        assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "the Hub answered with status 400"),
        (403, "not allowed; log in with a token that may (hf auth login, or HF_TOKEN)"),
        (404, "the Hub answered with status 404, not found; is HF_ENDPOINT the address of a Hub?"),
        (429, "the Hub answered with status 429, too many requests; wait, or log in (hf auth login, or HF_TOKEN)"),
        (500, "the Hub answered with status 500; it has a problem of its own, try again later"),
        (503, "the Hub answered with status 503; it has a problem of its own, try again later"),
    ],
)
def test_an_answer_of_the_hub_is_named_by_its_status(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, status: int, message: str
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between attempts of huggingface_hub
    hub.refuse = status
    for name in ("hf://me/scenes", "hf://me/scenes/x.onnx@v1"):
        with pytest.raises(BundleError) as found:
            local_model(name)
        assert str(found.value) == f"{name}: {message}"


def test_a_hub_that_cannot_be_reached_is_named_with_the_cause(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    )
    with pytest.raises(BundleError, match=r"^hf://me/scenes: .*the Hub cannot be reached \(.*refused"):
        local_model("hf://me/scenes")


def test_mistakes_in_a_reference_are_named_without_a_request(hub: Hub) -> None:
    for repo in ("a/b--c", "me/-x", "mé/scenes", "me/scenes.git", "me./scenes"):
        for parse in (local_model, check_repo):
            with pytest.raises(BundleError, match=f"^hf://{repo}: no name that the Hub allows; expected hf://owner/name of"):
                parse(f"hf://{repo}")
    for wrong, meant in (
        ("hf://me/scenes@v1/model.safetensors", "hf://me/scenes/model.safetensors@v1"),
        ("hf://me/scenes@refs/pr/1/a.onnx", "hf://me/scenes/a.onnx@refs/pr/1"),
    ):
        with pytest.raises(BundleError) as found:
            soundscene.load(wrong)
        assert str(found.value) == f"{wrong}: the file comes before the revision: {meant}"
    for wrong in ("HF://me/scenes", " hf://me/scenes", "hf://me/scenes "):
        with pytest.raises(BundleError, match=r"did you mean hf://me/scenes\?|expected hf://owner/name"):
            local_model(wrong)
    assert hub.requests == []


def test_a_damaged_download_names_the_reference(hub: Hub) -> None:
    hub.commit("me/scenes", {"model.safetensors": b"no model"})
    for call in (soundscene.load, lambda model: soundscene.predict(model, "a.wav")):
        with pytest.raises(BundleError, match=r"^hf://me/scenes@main: /.*model\.safetensors: "):
            call("hf://me/scenes@main")


def test_offline_is_honoured_and_the_cache_serves(
    hub: Hub, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit("me/scenes", {"model.safetensors": files[0].read_bytes()})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BundleError, match="is not in the cache"):
        local_model("hf://me/scenes")
    assert hub.requests == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    online = local_model("hf://me/scenes")
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert local_model("hf://me/scenes") == online
    assert hub.requests == []


def test_a_local_path_makes_no_request(
    files: tuple[Path, Path], sound: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    assert run("predict", files[0], sound) == 0
    assert run("push", files[0], "me/scenes", "--card", sound.with_name("card.md")) == 0
    assert soundscene.load(files[0]).scenes
    assert run("info", files[0].with_name("none.safetensors")) == 2
    capfd.readouterr()


def test_a_shell_that_completes_a_word_makes_no_request(hub: Hub) -> None:
    command = typer.main.get_group(app).commands["predict"]
    context = command.make_context("predict", ["hf://me/none", "stre"], resilient_parsing=True)
    assert str(context.params["model"]) == "hf:/me/none"
    assert hub.requests == []


def test_commands_take_a_reference(
    hub: Hub, files: tuple[Path, Path], sound: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for number, file in enumerate(files, 1):
        hub.commit(f"me/m{number}", {"model.safetensors": file.read_bytes()})
    assert run("info", "hf://me/m1", "--json") == 0
    assert json.loads(capfd.readouterr().out)["scenes"] == ["night_crickets", "office", "rain"]
    assert run("predict", "hf://me/m1", "hf://me/m2@main", sound, "--json") == 0
    rows = json.loads(capfd.readouterr().out)["predictions"]
    assert [re.findall("models--me--m.", row["model"]) for row in rows] == [["models--me--m1"], ["models--me--m2"]]
    assert run("predict", "hf://me/none", sound) == 2
    assert capfd.readouterr().err == (
        "soundscene: hf://me/none: no such repository, or it is private; log in (hf auth login, or HF_TOKEN)\n"
    )


@pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")  # huggingface_hub to its HTTP client
def test_a_push_holds_the_model_and_its_card(
    hub: Hub, model: Path, manifest: Path, sound: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("--on", manifest, "--test", "fold=1", "--licence", "apache-2.0")
    assert run("push", model, "me/scenes", *words) == 0
    pushed = capfd.readouterr().out.strip()
    assert re.fullmatch("hf://me/scenes@[0-9a-f]{40}", pushed)
    (kept,) = [files for oid, files in hub.commits.items() if pushed.endswith(oid)]
    assert kept["model.safetensors"] == model.read_bytes()
    card = kept["README.md"].decode()
    assert run("push", model, "me/scenes", *words, "--card", tmp_path / "card.md") == 0
    assert (tmp_path / "card.md").read_text() == card
    capfd.readouterr()
    assert run("info", model, "--json") == 0
    facts = json.loads(capfd.readouterr().out)
    scores = soundscene.evaluate(model, manifest, test="fold=1", workers=1)
    lines = card.splitlines()
    assert lines[:3] == ["---", "license: apache-2.0", "library_name: soundscene"]
    assert f"hf://me/scenes#sha256={sha256(model)}" in card
    assert f"| parameters | {facts['parameters']:,} |" in lines
    assert "- Corpus: manifest.csv (name of the manifest)." in lines
    assert "- Split: rows fold=1 left out for the test." in lines
    assert "- Groups: no column group: each of 12 files counts as a recording of its own." in lines
    right = scores.correct("svm")
    assert f"| **all** | 3 | 3 | {right.mean():.1%} |" in card
    for number, scene in enumerate(scores.scenes):
        assert f"| {scene} | 1 | 1 | {right[scores.truth == number].mean():.1%} | - |" in card
    assert f"expected calibration error {scores.scores['svm'].recording.calibration_error:.3f} before" in card
    assert "- The training recordings: not recorded." in lines
    assert "- Files of another sample rate than 22,050 Hz." in lines
    assert soundscene.load(pushed).scenes == soundscene.load(model).scenes
    hub.refuse = 403
    assert run("push", model, "me/scenes") == 2
    assert "hf://me/scenes: not allowed; log in with a token that may" in capfd.readouterr().err


def test_a_card_says_not_recorded_and_invents_nothing(
    files: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    card = tmp_path / "card.md"
    assert run("push", files[0], "hf://me/scenes", "--card", card) == 0
    assert capfd.readouterr().out == f"{card}: card of {files[0]}; nothing was pushed\n"
    text = card.read_text()
    assert "license:" not in text
    for line in (
        "- The model: not recorded.",
        "- Groups: not recorded.",
        "- Recordings: not recorded, and those held out for calibration: not recorded.",
        "Accuracy, with and without scenes: not recorded, because the model was pushed without an evaluation.",
        "- Expected calibration error and log loss: not recorded.",
        "- Scenes that it confuses: not recorded.",
        "- Anything: no evaluation is recorded.",
        "- Scenes that are not in its list: it has no score of unfamiliarity, and takes each for a scene of its list.",
    ):
        assert line in text.splitlines()
    # every number in it is one of the file; "sha256" is no number
    model = load_model(files[0])
    known = [sha256(files[0]), f"{files[0].stat().st_size:,}", f"{model.audio.sample_rate:,}", f"{model.audio.segment_s:g}"]
    known += [f"{len(model.scenes)}", *(f"{value:.3f}" for value in model.temperature.values())]
    known += [f"{member.n_parameters:,}" for member in model.members]
    for number in ("sha256", "SHA-256", *sorted(known, key=len, reverse=True)):
        text = text.replace(number, "")
    assert not re.search(r"\d", text)
    for words, message in (
        (("me",), "expected the name of a repository on the Hub, owner/name"),
        (("me/scenes", "--test", "fold=1"), "--test and --columns are for the recordings of --on MANIFEST"),
    ):
        assert run("push", files[0], *words, "--card", card) == 2
        assert message in capfd.readouterr().err


def test_a_card_has_the_notes_of_the_training_but_no_advice_to_who_trains(tmp_path: Path) -> None:
    model = blank_bundle()
    notes = {"notes": ["one clip is silent", MORE_TIME]}
    save_model(replace(model, provenance=dict(model.provenance) | notes), tmp_path / "m.safetensors")
    assert run("push", tmp_path / "m.safetensors", "hf://me/scenes", "--card", tmp_path / "card.md") == 0
    text = (tmp_path / "card.md").read_text()
    assert "- Of its training: one clip is silent." in text.splitlines()
    assert MORE_TIME not in text
