"""The page in a real browser: what people do with it, and that it predicts what `soundscene predict` predicts."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soundscene.bundle import load_model, save_model
from soundscene.data.manifest import Manifest
from soundscene.export.page import MODEL, export_page
from soundscene.model import Model
from soundscene.predictor import load
from soundscene.scoring.unfamiliarity import Familiarity
from tests.support.browser import FAKE, served, visit, why_no_browser
from tests.support.shared import once
from tests.support.tiny import SCENES, blank_pair, recording, text, write
from tests.support.yamnet import alone, beside

NONE = why_no_browser()
pytestmark = pytest.mark.skipif(bool(NONE), reason=NONE or "there is a browser")
DESK, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
CLOSE = 1e-3  # of a posterior, on the same samples


@pytest.fixture(scope="module")
def site(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the tiny model; to be left as it is."""

    def make(folder: Path) -> None:
        export_page(model, folder / "page")

    return once(tmp_path_factory, "site", make) / "page"


@pytest.fixture(scope="module")
def url(site: Path) -> Iterator[str]:
    with served(site) as address:
        yield address


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Recordings by name: three scenes one after the other, stereo, 8 kHz, 24 bits, and what is none."""
    folder = tmp_path_factory.mktemp("sounds")
    walk = np.concatenate([recording(scene, 10.0, 7) for scene in SCENES])
    stereo = np.stack([walk, walk[::-1]], axis=1)[: 9 * 22050]
    return {
        "walk": write(folder / "walk, home.wav", walk),
        "stereo": write(folder / "stereo.wav", stereo),
        "low": write(folder / "low.wav", walk[:80000], 8000),
        "flac": flac(folder / "rain.flac", recording("rain", 6.0, 3)),
        "text": text(folder / "notes.txt", "no sound\n"),
        "silence": write(folder / "silence.wav", np.zeros(66150)),
    }


def flac(path: Path, samples: np.ndarray) -> Path:
    import soundfile

    soundfile.write(path, samples, 22050, subtype="PCM_16")
    return path


def rows(path: Path) -> dict[str, dict[str, Any]]:
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {row["path"]: row for row in lines}


def differ(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """Largest difference of a posterior, of the recording and of its segments; all else is equal."""
    assert ours["notes"] == theirs["notes"]
    assert ours["duration_s"] == theirs["duration_s"]
    assert ours["unknown"] == theirs["unknown"]
    pairs = [(ours, theirs), *zip(ours["segments"], theirs["segments"], strict=True)]
    assert all(a["start_s"] == b["start_s"] for a, b in pairs[1:])
    return max(abs(a["posterior"][scene] - b["posterior"][scene]) for a, b in pairs for scene in SCENES)


@pytest.mark.browser
def test_a_file_is_classified_as_by_predict(site: Path, url: str, sounds: dict[str, Path]) -> None:
    """The smoke test: the engine starts, predicts, and asks no other host."""
    with visit(url, viewport=DESK) as visited:
        visited.ready()
        visited.add(sounds["walk"])
        found = rows(visited.save("downloads", "JSON"))[sounds["walk"].name]
        shown = visited.page.locator("#announce").inner_text()
    predictor = load(site / MODEL)
    expected = predictor.predict(sounds["walk"], warn=False)
    assert differ(found, expected.to_dict(True)) < CLOSE
    assert shown.startswith("walk, home.wav: ")
    assert visited.requests
    assert all(address.startswith((url, "blob:")) for address in visited.requests)
    assert not visited.faults


@pytest.mark.slow
def test_every_kind_of_file_and_what_is_none(site: Path, url: str, sounds: dict[str, Path], model: Path) -> None:
    with visit(url, viewport=DESK) as visited:
        visited.ready()
        visited.add(*sounds.values())
        found = rows(visited.save("all-downloads", "JSON"))
        page = visited.page
        page.locator("#recordings button", has_text="notes.txt").click()
        assert "no sound that this browser can decode" in page.locator("#problem").inner_text()
        assert page.locator("#problem").get_attribute("role") == "alert"
        assert not page.locator("#player").is_visible()
        page.locator("#recordings button", has_text="low.wav").click()
        assert "Sampled at 8000 Hz" in page.locator("#notes").inner_text()
    predictor = load(model)
    for name, most in (("walk", CLOSE), ("stereo", CLOSE), ("flac", 2e-6)):  # FLAC: what Chromium bends is undone
        path = sounds[name]
        assert differ(found[path.name], predictor.predict(path, warn=False).to_dict(True)) < most, name
    low = predictor.predict(sounds["low"], warn=False).to_dict(True)
    assert differ(found["low.wav"], low) < 0.02  # another resampler
    assert "digital silence" in found["silence.wav"]["error"]
    assert not visited.faults


@pytest.mark.slow
def test_a_drop_and_the_downloads(site: Path, url: str, sounds: dict[str, Path], tmp_path: Path) -> None:
    from soundscene.timelines import timeline, write_labels, write_raven

    with visit(url, viewport=DESK) as visited:
        visited.ready()
        page = visited.page
        page.locator("#welcome").wait_for()
        make = """([text, name]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([Uint8Array.from(atob(text), c => c.charCodeAt(0))], name));
          return transfer;
        }"""
        transfer = page.evaluate_handle(make, [base64.b64encode(sounds["walk"].read_bytes()).decode(), "walk.wav"])
        page.dispatch_event("body", "dragenter", {"dataTransfer": transfer})
        assert page.locator("#veil").is_visible()
        page.dispatch_event("body", "drop", {"dataTransfer": transfer})
        page.locator("#recordings li.done").wait_for()
        assert not page.locator("#veil").is_visible()
        page.fill("#true-scene", "by the sea")
        page.locator("#label button").click()
        assert "Labelled by the sea" in page.locator("#label-state").inner_text()
        saved = {
            name: visited.save("downloads", name).read_bytes() for name in ("CSV", "Timeline", "Audacity", "Raven", "Sound")
        }
        with page.expect_download() as download:
            page.locator("#manifest").click()
        labels = Path(download.value.path()).read_text(encoding="utf-8")
    assert saved["Sound"] == sounds["walk"].read_bytes()
    sound = tmp_path / "walk.wav"
    sound.write_bytes(saved["Sound"])
    predictor = load(site / MODEL)
    line = timeline(predictor.predict(sound, warn=False), predictor.model, predictor.head)
    expected = tmp_path / "labels.txt"
    with expected.open("w", encoding="utf-8") as stream:
        write_labels(line, stream)
    assert saved["Audacity"].decode() == expected.read_text(encoding="utf-8")
    with expected.open("w", encoding="utf-8") as stream:
        write_raven([line], stream, 11025.0)
    table = [row.split("\t") for row in saved["Raven"].decode().splitlines()]
    assert [row[3:5] for row in table] == [row.split("\t")[3:5] for row in expected.read_text(encoding="utf-8").splitlines()]
    assert len(saved["Timeline"].decode().splitlines()) == len(line.spans) + 1
    assert len(saved["CSV"].decode().splitlines()) == 1 + 1 + 15
    (tmp_path / "manifest.csv").write_text(labels, encoding="utf-8")
    (row,) = Manifest.read(tmp_path / "manifest.csv").recordings
    assert (row.path.name, row.scene) == ("walk.wav", "by the sea")


@pytest.mark.slow
def test_the_microphone(site: Path, url: str, tmp_path: Path) -> None:
    """Chromium's fake device plays a WAV; the recording is kept, and predicts what was shown of it."""
    fake = write(tmp_path / "fake.wav", recording("night_crickets", 20.0, 11))
    with visit(url, *FAKE, f"--use-file-for-fake-audio-capture={fake}", viewport=DESK) as visited:
        visited.ready()
        page = visited.page
        page.locator("#welcome [data-act=microphone]").click()
        page.locator("#recordings li.live").wait_for()
        page.locator("#verdict .scene").wait_for()
        time.sleep(5)
        assert page.locator("#level").is_visible()
        assert "over the last 30 s" in page.locator("#verdict-title").inner_text()
        page.locator("#stop").click()
        page.locator("#recordings li.done").wait_for()
        found = next(iter(rows(visited.save("downloads", "JSON")).values()))
        sound = tmp_path / "kept.wav"
        sound.write_bytes(visited.save("downloads", "Sound").read_bytes())
        settings = page.evaluate("navigator.mediaDevices.getSupportedConstraints().noiseSuppression")
    assert settings
    assert found["duration_s"] > 6
    kept = load(site / MODEL).predict(sound, warn=False)
    assert kept.duration_s == pytest.approx(found["duration_s"], abs=0.01)
    assert max(abs(found["posterior"][scene] - p) for scene, p in zip(SCENES, kept.posterior, strict=True)) < 0.01
    assert not visited.faults


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_text_is_readable_and_fits(url: str, sounds: dict[str, Path], scheme: str, viewport: dict[str, int]) -> None:
    """A contrast of 4.5 or more of all text that is shown, and nothing wider than the screen."""
    with visit(url, viewport=viewport, color_scheme=scheme) as visited:
        visited.ready()
        assert visited.page.evaluate(CONTRASTS) == []
        visited.add(sounds["walk"], sounds["low"], sounds["text"])
        for name in ("walk", "low.wav", "notes.txt"):
            visited.page.locator("#recordings button", has_text=name).click()
            visited.page.wait_for_timeout(300)
            assert visited.page.evaluate(CONTRASTS) == []
            wide, inner = visited.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert wide <= inner
        if viewport is PHONE:
            small = """[...document.querySelectorAll('button')].filter(b => b.offsetParent && b.offsetHeight < 34)"""
            assert visited.page.evaluate(f"{small}.length") == 0


CONTRASTS = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgb = (colour, under) => {
    canvas.clearRect(0, 0, 1, 1);
    if (under) { canvas.fillStyle = under; canvas.fillRect(0, 0, 1, 1); }
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const back = node => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (rgb(colour)[3] > 200) return colour;
    }
    return "white";
  };
  const bad = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim());
    if (!own || !node.offsetParent || node.closest(":disabled, .visually-hidden, .skip, .hertz, script, datalist")) continue;
    const under = back(node);
    const [a, b] = [light(rgb(getComputedStyle(node).color, under)), light(rgb(under))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) bad.push(`${node.tagName} ${node.className} ${node.textContent.slice(0, 30)} ${contrast}`);
  }
  return bad;
}"""


@pytest.mark.slow
def test_the_keyboard_and_words_for_a_screen_reader(url: str, sounds: dict[str, Path]) -> None:
    with visit(url, viewport=DESK) as visited:
        visited.ready()
        page = visited.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        visited.add(sounds["walk"], sounds["stereo"])
        slider = page.locator("#stage")
        slider.focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        assert slider.get_attribute("role") == "slider"
        assert float(slider.get_attribute("aria-valuenow") or 0) == pytest.approx(3, abs=0.2)
        assert any(scene.replace("_", " ") in (slider.get_attribute("aria-valuetext") or "") for scene in SCENES)
        page.keyboard.press("+")
        assert page.locator("#out").is_enabled()
        page.keyboard.press("End")
        assert float(slider.get_attribute("aria-valuenow") or 0) == pytest.approx(30, abs=0.2)
        page.keyboard.press("Home")
        page.keyboard.press(" ")
        page.locator("#play[aria-label=Pause]").wait_for()
        page.keyboard.press(" ")
        page.locator("#play[aria-label=Play]").wait_for()
        page.keyboard.press("j")
        assert page.locator("#name").inner_text() == "stereo.wav"
        page.keyboard.press("k")
        assert page.locator("#name").inner_text() == "walk, home.wav"
        page.locator("summary").press("Enter")
        assert page.locator("#spans tr").count() >= 1
        tree = page.locator("body").aria_snapshot()
        for words in (
            'navigation "Recordings"',
            'slider "Position in the recording"',
            'heading "Time by scene"',
            "banner",
            "main",
        ):
            assert words in tree, words
        unnamed = "[...document.querySelectorAll('button, input, a')].filter(n => n.offsetParent && !n.textContent.trim()"
        unnamed += " && !n.ariaLabel && !n.labels?.length).length"
        assert page.evaluate(unnamed) == 0


@pytest.mark.slow
def test_two_networks_and_what_they_do_not_know(sounds: dict[str, Path], tmp_path: Path) -> None:
    """A model of two members, whose posteriors are fused in the graph, and to which everything is unknown."""
    model = replace(blank_pair(), familiarity=Familiarity("energy", np.arange(40.0) - 1000))
    save_model(model, tmp_path / "pair.safetensors")
    export_page(tmp_path / "pair.safetensors", tmp_path / "page")
    with served(tmp_path / "page") as address, visit(address, viewport=DESK) as visited:
        visited.ready()
        visited.add(sounds["walk"])
        found = rows(visited.save("downloads", "JSON"))[sounds["walk"].name]
        assert visited.page.locator("#unknown").is_visible()
        assert visited.page.locator("#verdict-title").inner_text() == "Nearest known scene"
    expected = load(tmp_path / "pair.safetensors").predict(sounds["walk"], warn=False).to_dict(True)
    assert expected["unknown"]
    assert found["unfamiliarity"] == pytest.approx(expected["unfamiliarity"], rel=1e-4)
    assert found["unfamiliarity_threshold"] == expected["unfamiliarity_threshold"]
    assert differ(found, expected) < CLOSE


@pytest.mark.slow
@pytest.mark.parametrize("make", [alone, beside])
def test_a_model_of_a_backbone(make: Callable[[], Model], sounds: dict[str, Path], tmp_path: Path) -> None:
    """It predicts as `soundscene predict` does. Alone it reads no images: the page draws a spectrogram of one channel."""
    save_model(make(), tmp_path / "yamnet.safetensors")
    export_page(tmp_path / "yamnet.safetensors", tmp_path / "page")
    with served(tmp_path / "page") as address, visit(address, viewport=DESK) as visited:
        visited.ready()
        visited.add(sounds["walk"])
        found = rows(visited.save("downloads", "JSON"))[sounds["walk"].name]
        colours = visited.page.evaluate(
            """() => { const c = document.getElementById("picture");
            const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
            return new Set(Array.from({length: d.length / 4}, (_, i) => d[4 * i] + 256 * d[4 * i + 1])).size }"""
        )
        two_channels = visited.page.locator("#channels").is_visible()
        assert not visited.faults
    expected = load(tmp_path / "yamnet.safetensors").predict(sounds["walk"], warn=False).to_dict(True)
    assert differ(found, expected) < CLOSE
    assert colours > 20
    assert two_channels == (make is beside)


@pytest.mark.slow
def test_a_page_that_is_opened_as_a_file_says_what_to_do(site: Path) -> None:
    with visit((site / "index.html").as_uri(), viewport=DESK) as visited:
        visited.page.wait_for_timeout(2500)
        assert "python -m http.server" in visited.page.locator("#unserved").inner_text()
        assert visited.page.locator("#unserved").is_visible()


@pytest.mark.slow
def test_a_page_without_its_model_says_so(site: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(site, tmp_path / "page")
    (tmp_path / "page" / MODEL).write_bytes(b"<!doctype html>")
    with served(tmp_path / "page") as address, visit(address, viewport=DESK) as visited:
        visited.page.locator("#engine.failed").wait_for()
        assert "cannot be read" in visited.page.locator("#engine").inner_text()


@pytest.mark.slow
def test_the_model_of_a_page_is_the_one_given(site: Path, model: Path) -> None:
    assert load(site / MODEL).scenes == load_model(model).scenes
