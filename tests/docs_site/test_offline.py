"""The built site in a browser, from the disk: nothing from the network, nothing wider than a phone, a search that finds."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs_site.build import ROOT
from docs_site.check import check_site, pages_of

PHONE = {"width": 390, "height": 844}
CUT = """() => {
  const width = document.documentElement.clientWidth
  const scrolls = (element) => {
    for (let e = element; e && !e.classList.contains("bd-article"); e = e.parentElement)
      if (["auto", "scroll"].includes(getComputedStyle(e).overflowX)) return true
    return false
  }
  const texts = document.querySelectorAll(".bd-article p, .bd-article li, .bd-article dt, .bd-article dd, .bd-article code")
  const cut = (element) => element.getBoundingClientRect().right > width + 1 && !scrolls(element)
  return [...texts].filter(cut).map((element) => element.innerText.slice(0, 60))
}"""
"""Texts that end beyond the right edge, in nothing that scrolls."""
CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    words = [sys.executable, "-m", "docs_site.build", "--out", str(folder)]  # not here, where imports are checked for types
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_site_has_no_fault(site: Path) -> None:
    assert check_site(site) == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_every_page_is_read_from_the_disk_at_the_width_of_a_phone(site: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    fetched: list[str] = []
    wide: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=PHONE)
        page.on("request", lambda request: fetched.append(request.url))
        for path in pages_of(site):
            page.goto(path.as_uri())
            if page.evaluate("document.documentElement.scrollWidth") > PHONE["width"]:
                wide.append(path.relative_to(site).as_posix())
            wide += [f"{path.relative_to(site).as_posix()}: {text}" for text in page.evaluate(CUT)[:1]]
        page.goto(f"{(site / 'search.html').as_uri()}?q=leakage")
        page.wait_for_selector("#search-results li a")
        found = page.locator("#search-results li a").all_inner_texts()
        browser.close()
    assert not [url for url in fetched if not url.startswith(("file:", "data:"))]
    assert not wide
    assert "Honesty" in found
