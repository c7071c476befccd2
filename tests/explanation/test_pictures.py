"""Pictures as files: what they are, what they show, and what they never do."""

import base64
import hashlib
import html
import io
import json
import os
import re
import wave
from html.parser import HTMLParser
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree

import numpy as np
import pytest

from soundscene.errors import AudioError, SceneError
from soundscene.explanation.attention import attention
from soundscene.explanation.segment import attention_picture
from soundscene.explanation.write import explain_manifest, explain_recording
from soundscene.network.models import AttCRNN
from soundscene.signal.frontend import FrontEnd
from tests.support.tiny import RATE, TINY, blank_bundle, only, recording, write

LONG = "a scene whose name is much longer than anybody would expect $x$ & <b>bold</b>"
PNG = b"\x89PNG\r\n\x1a\n"
CNN = TINY.with_settings(["network.kind=cnn"])


def texts_of(svg: str) -> str:
    """All text of a drawing, in order."""
    return "\n".join(ElementTree.fromstring(svg).itertext())


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """9.2 s whose second segment is digital silence, under a name that is no formula."""
    samples = recording("rain", 9.2, 0).copy()
    samples[2 * RATE : 4 * RATE] = 0
    return write(tmp_path_factory.mktemp("sound") / "costs $5_$x.wav", samples)


def test_a_recording_as_svg_says_what_every_axis_is(sound: Path, tmp_path: Path) -> None:
    bundle = blank_bundle(scenes=(LONG, "office", "北京"))
    out = tmp_path / "a.svg"
    view, notes = explain_recording(bundle, sound, out, most=3)
    words = texts_of(out.read_text())
    headline = f"costs $5_$x.wav: {view.scenes[view.predicted]}, probability {view.fused[-1, view.predicted]:.2f}"
    assert headline in words.replace("\n", " ")
    for scene in bundle.scenes:
        assert scene in words  # never cut
    for phrase in (
        "waveform", "log-mel image, as recorded", "log-mel image, background noise subtracted", "frequency, Hz", "seconds",
        "temporal attention, 1 is even", "(NOT frequency)", "recurrent feature", "this is attribution, not attention",
        "Drawn in detail: 3 of 5 segments, 0 s to 6 s", "posterior of each segment alone", "fused prediction over time",
        "Hatched: digital silence, which did not vote.",
    ):  # fmt: skip
        assert phrase in words, phrase
    for value in view.fused[-1]:
        assert f"{value:.3f}" in words
    assert any("those of a segment sum to the change of log posterior" in note for note in notes[-1:])
    again = tmp_path / "b.svg"
    explain_recording(bundle, sound, again, most=3)
    assert again.read_bytes() == out.read_bytes()


def test_the_baselines_picture_says_what_it_lacks(sound: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.svg"
    _, notes = explain_recording(blank_bundle(CNN), sound, out, most=2)
    words = texts_of(out.read_text())
    assert "This model is the CNN baseline" in words
    assert any("has no attention" in note for note in notes)
    assert "temporal attention" not in words.replace("no attention. Temporal attention", "")
    last = blank_bundle(TINY.with_settings(["network.pooling=last"]))
    _, notes = explain_recording(last, sound, out, most=2)
    assert any(note.startswith("This model takes the last states of its GRUs (network.pooling=last)") for note in notes)
    assert "what speaks for" in words


class Links(HTMLParser):
    """Everything that a page could fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "action")]


def test_a_page_holds_everything_itself_and_escapes_names(sound: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.html"
    view, _ = explain_recording(blank_bundle(scenes=(LONG, "office", "rain")), sound, out, most=2)
    page = out.read_text(encoding="utf-8")
    found = Links()
    found.feed(page)
    assert {"svg", "table", "h1"} <= found.tags
    assert not found.tags & {"iframe", "link", "object", "b b"}
    assert all(link.startswith(("data:image/png;base64,", "data:audio/wav;base64,", "#")) for link in found.links)
    assert "url(http" not in page
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; script-src 'sha256-{digest}'"
    assert f'content="{policy}"' in page  # this script and no other
    assert "<b>bold" not in page
    (sound_of_page,) = [link for link in found.links if link.startswith("data:audio")]
    with wave.open(io.BytesIO(base64.b64decode(sound_of_page.split(",", 1)[1]))) as played:
        assert (played.getframerate(), played.getnframes()) == (RATE, 4 * RATE)  # the two segments drawn
    facts = json.loads(html.unescape(re.findall(r'data-facts="([^"]*)"', page)[0]))
    assert facts["startsS"] == 0
    assert {(panel["start_s"], panel["end_s"]) for panel in facts["panels"]} == {(0, 4), (0, 9.2)}
    width, height = (float(x) for x in re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', page)[0])
    assert all(0 < p["left"] < p["right"] < width and 0 < p["top"] < p["bottom"] < height for p in facts["panels"])
    pictures = [base64.b64decode(link.split(",", 1)[1]) for link in found.links if link.startswith("data:image")]
    assert pictures
    assert all(data[:8] == PNG for data in pictures)
    rows = re.findall(r'<tr><th scope="row"[^>]*>(.*?)</th><td[^>]*>(.*?)</td>', page)
    assert [value for _, value in rows] == [f"{p:.3f}" for p in view.fused[-1]]


def test_letters_unknown_to_the_font_are_noted_as_boxes_in_a_png_only(sound: Path, tmp_path: Path) -> None:
    bundle = blank_bundle(CNN, scenes=("北京", "office"))
    _, notes = explain_recording(bundle, sound, tmp_path / "a.png", most=1)
    assert any("shows boxes" in note for note in notes)
    _, notes = explain_recording(bundle, sound, tmp_path / "a.svg", most=1)
    assert not any("shows boxes" in note for note in notes)
    assert (tmp_path / "a.png").read_bytes()[:8] == PNG
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "a.svg"]


def test_a_part_of_nothing_but_silence_is_drawn_without_explanation(sound: Path, tmp_path: Path) -> None:
    _, notes = explain_recording(blank_bundle(), sound, tmp_path / "a.svg", from_s=2.0, most=1)
    assert any("All segments drawn are digital silence" in note for note in notes)
    assert "integrated gradients" not in texts_of((tmp_path / "a.svg").read_text())


@pytest.mark.parametrize("recipe", [TINY, CNN], ids=["att-crnn", "cnn"])
def test_a_corpus_is_a_row_for_each_scene(manifest: Path, tmp_path: Path, recipe: object) -> None:
    bundle = blank_bundle(recipe)  # type: ignore[arg-type]
    means, notes = explain_manifest(bundle, manifest, tmp_path / "a.html", test="fold=2", most=1)
    page = (tmp_path / "a.html").read_text()
    assert "manifest.csv: 3 recordings, 3 segments" in page
    for m in means:
        assert f"{m.scene}   (1 recordings, 1 segments)" in page
        assert re.search(rf">{m.scene}</th><td[^>]*>1</td><td[^>]*>1</td>", page)
    assert "rows with fold=2 only" in notes
    assert "attributed: 3 segments, at most 1 of a recording, drawn with a fixed seed" in notes
    assert ("recurrent feature (NOT frequency)" in page) == (recipe is TINY)
    assert any("CNN baseline" in note for note in notes) == (recipe is CNN)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.pdf", "a picture ends in .png, .svg or .html, not in '.pdf'"),
        ("a", "a picture ends in .png, .svg or .html, not in ''"),
        ("folder.png", "is a folder; name the picture's file"),
        ("no/a.png", "cannot be written there, the folder {folder}/no does not exist; create it first"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_anything_is_read(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.png").mkdir()
    for explain in (explain_recording, explain_manifest):
        with pytest.raises(SceneError) as refusal:
            explain(blank_bundle(), tmp_path / "missing", tmp_path / name)
        assert str(refusal.value) == f"{tmp_path / name}: {message.format(folder=tmp_path)}"


@pytest.mark.parametrize("kind", ["mel", "gammatone"])
def test_a_picture_is_a_png_of_the_segment_that_attention_is_choosiest_in(tmp_path: Path, kind: str) -> None:
    bundle = blank_bundle(TINY.with_settings([f"features.kind={kind}"]))
    network = only(bundle).network
    assert isinstance(network, AttCRNN)
    assert network.attention is not None
    for parameter in network.attention.temporal.parameters():
        parameter.data.mul_(30)  # untrained attention is uniform, and every segment a tie
    samples = recording("rain", 6.2, 0).copy()
    samples[4 * RATE : 6 * RATE] = 0
    sound = write(tmp_path / "costs $5_$x.wav", samples)  # no formula
    out = tmp_path / "a.png"
    drawn = attention_picture(bundle, sound, out)
    data = out.read_bytes()
    assert data[:8] == PNG
    assert data[-12:] == b"\0\0\0\0IEND\xaeB`\x82"
    assert len(data) > 20_000
    assert int.from_bytes(data[16:20]) == int.from_bytes(data[20:24]) == 1200  # pixels
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", sound.name]
    images = FrontEnd(bundle.audio, only(bundle).recipe.features)(
        np.round(samples * 32768).astype(np.float32) / 32768
    ).images
    temporal = attention(only(bundle), images)[1].astype(np.float64)
    entropy = -(temporal * np.log(temporal + 1e-300)).sum(axis=1)
    assert abs(entropy[0] - entropy[1]) > 1e-3
    assert drawn == int(np.argmin(entropy[:2]))  # the third is digital silence


def test_a_segment_that_is_not_there_is_refused(tmp_path: Path) -> None:
    sound = write(tmp_path / "a.wav", recording("rain", 4.2, 0))
    with pytest.raises(AudioError) as refusal:
        attention_picture(blank_bundle(), sound, tmp_path / "a.png", 2)
    assert str(refusal.value) == f"{sound}: segment 2, allowed are 0 to 1"
    assert not (tmp_path / "a.png").exists()


def test_a_failure_in_the_middle_leaves_no_half_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    sound = write(tmp_path / "a.wav", recording("rain", 2.2, 0))
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(SceneError, match=r"a\.png: cannot be written \(No space left on device\); is the folder"):
        attention_picture(blank_bundle(), sound, tmp_path / "a.png", 0)
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]
