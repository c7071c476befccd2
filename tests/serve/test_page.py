"""The page at /: its files need no token, and in a browser it predicts what the service predicts."""

import http.client
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soundscene.page.files import page_files
from soundscene.predictor import load
from tests.serve.conftest import Running, running
from tests.support.browser import FAKE, visit, why_no_browser
from tests.support.tiny import SCENES, recording, write

NONE = why_no_browser(needs_engine=False)


def get(port: int, path: str) -> tuple[int, str, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.getheader("content-type", ""), response.read()


def test_the_page_and_its_files_are_given(server: Running) -> None:
    status, kind, content = get(server.port, "/")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    assert b'content="service"' in content
    for name, expected in page_files("service"):
        if name != "index.html":
            assert get(server.port, f"/{name}")[::2] == (200, expected)
    assert get(server.port, "/main.js")[1].startswith("text/javascript")
    for path in ("/engine/LICENSE.txt", "/../page/engine.py", "/static/main.js", "/index.html"):
        assert get(server.port, path)[0] == 404
    assert "/main.js" not in json.loads(get(server.port, "/openapi.json")[2])["paths"]


@pytest.mark.slow
@pytest.mark.skipif(bool(NONE), reason=NONE or "there is a browser")
def test_the_page_predicts_by_the_service(exported: Path, tmp_path: Path) -> None:
    """With a token: a file, what is none, a picture of the attention, and the microphone."""
    walk = write(tmp_path / "walk.wav", np.concatenate([recording(scene, 8.0, 7) for scene in SCENES]))
    (tmp_path / "notes.txt").write_text("no sound at all\n")
    flags = (*FAKE, f"--use-file-for-fake-audio-capture={walk}")
    with running(exported, tmp_path, token="secret") as one, visit(f"http://127.0.0.1:{one.port}/", *flags) as visited:
        page = visited.page
        page.locator("#token").wait_for()
        page.fill("#token-text", "wrong")
        page.locator("#token button").click()
        page.locator("#token").wait_for()
        page.fill("#token-text", "secret")
        page.locator("#token button").click()
        visited.ready()
        assert page.locator("#promise").inner_text() == "Sound goes to this service only"
        visited.add(walk, tmp_path / "notes.txt")
        rows = map(json.loads, visited.save("all-downloads", "JSON").read_text(encoding="utf-8").splitlines())
        found = {row["path"]: row for row in rows}
        assert "not an audio file" in found["notes.txt"]["error"]
        expected = load(exported).predict(walk, warn=False).to_dict(True)
        assert close(found["walk.wav"], expected)
        page.locator("#explain").click()
        page.locator("#dialog[open] img[src^=blob]").wait_for()
        page.keyboard.press("Escape")
        page.locator(".list [data-act=microphone]").click()
        page.locator("#recordings li.live").wait_for()
        page.locator("#verdict .scene").wait_for()
        page.wait_for_timeout(3000)
        page.locator("#stop").click()
        page.locator("#recordings li.done").nth(1).wait_for()
        assert page.locator("#scene").inner_text()
        own = f"127.0.0.1:{one.port}/"
        assert all(address.partition("//")[2].startswith(own) or address.startswith("blob:") for address in visited.requests)


def close(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Whether posteriors agree: the service may compute segments together that the command computes apart."""
    pairs = [(ours, theirs), *zip(ours["segments"], theirs["segments"], strict=True)]
    return max(abs(a["posterior"][scene] - b["posterior"][scene]) for a, b in pairs for scene in SCENES) < 1e-5
