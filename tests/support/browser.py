"""A real browser for the tests of the page: Chromium of the machine, driven by playwright, and a server of a folder."""

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from soundscene.page.engine import missing
from soundscene.page.files import media_type

_NAMES = ("chromium", "google-chrome")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
READY_MS = 120_000
FAKE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
"""Flags for a microphone that plays a file, which needs no permission."""


def why_no_browser(needs_engine: bool = True) -> str:
    """Say why the page cannot be tried here; empty where it can.

    Args:
        needs_engine: Whether it computes in the browser.
    """
    if find_spec("playwright") is None:
        return "playwright is not installed"
    if not any(map(shutil.which, _NAMES)):
        return "no Chromium is installed"
    return "onnxruntime-web is not here: make page-engine" if needs_engine and missing() else ""


class _Handler(http.server.SimpleHTTPRequestHandler):
    def guess_type(self, path: Any) -> str:
        return media_type(str(path))

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine; yield its URL."""
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@dataclass
class Visit:
    """An open page: playwright's page, what it asked for, and what went wrong in it."""

    page: Any
    requests: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def ready(self) -> None:
        """Wait until the model is loaded."""
        self.page.locator("#engine", has_text="Ready").wait_for(timeout=READY_MS, state="attached")

    def add(self, *files: Path) -> None:
        """Choose files, and wait until each of them is done or has failed."""
        settled = self.page.locator("#recordings li:is(.done, .failed)")
        before = settled.count()
        self.page.set_input_files("#files", [str(file) for file in files])
        settled.nth(before + len(files) - 1).wait_for(timeout=READY_MS)

    def save(self, place: str, name: str) -> Path:
        """Press a button of the downloads; return the file."""
        with self.page.expect_download() as download:
            self.page.locator(f"#{place} button", has_text=name).first.click()
        return Path(download.value.path())


@contextmanager
def visit(url: str, *flags: str, **context: Any) -> Iterator[Visit]:
    """Open a page in a new browser.

    Args:
        url: Of the page.
        flags: Of Chromium, beside those that every test needs.
        context: Of playwright: viewport, color_scheme and the like.
    """
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, _NAMES)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*_FLAGS, *flags])
        try:
            opened = browser.new_context(**context)
            visited = Visit(opened.new_page())
            opened.on("request", lambda request: visited.requests.append(request.url))
            visited.page.on("pageerror", lambda error: visited.faults.append(str(error)))
            visited.page.on("console", lambda m: visited.faults.append(m.text) if m.type == "error" else None)
            visited.page.goto(url)
            yield visited
        finally:
            browser.close()
