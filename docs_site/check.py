"""Check a built site: every link inside of it leads somewhere, and nothing is fetched from the network."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("object", "data")}
"""What a browser fetches by itself; a link in the text is followed by the reader only."""
CANONICAL = ("canonical", "alternate", "author", "license")


class Page(HTMLParser):
    """What a page has to be linked to, what it links, and what it fetches.

    Attributes:
        ids: Anchors.
        links: Targets of its links.
        fetched: Addresses of scripts, styles, pictures and the like.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the attributes of a tag.

        Args:
            tag: Its name.
            attrs: Its attributes.
        """
        values = dict(attrs)
        self.ids |= {value for name in ("id", "name") if (value := values.get(name))}
        if tag == "a" and (href := values.get("href")):
            self.links.append(href)
        for name, value in attrs:
            if (tag, name) in FETCHED and value and values.get("rel") not in CANONICAL:
                self.fetched.append(value)


def pages_of(site: Path) -> list[Path]:
    """Return the pages of a site, without the files that can only be downloaded from it.

    Args:
        site: Its folder.
    """
    return [path for path in sorted(site.rglob("*.html")) if not {"_downloads", "_static"} & set(path.parts)]


def check_site(site: Path) -> list[str]:
    """Return what is wrong with a site, a line for each fault.

    Args:
        site: Its folder.
    """
    pages = {}
    for path in pages_of(site):
        pages[path] = Page()
        pages[path].feed(path.read_text(encoding="utf-8"))
    faults = [f"{site}: holds no pages"] if not pages else []
    for path, page in pages.items():
        name = path.relative_to(site)
        faults += [f"{name}: {fault}" for target in page.links if (fault := _broken(path, target, pages))]
        faults += [f"{name}: {fault}" for target in page.fetched if (fault := _missing(path, target))]
    for path in sorted(site.rglob("*.css")):
        found = re.findall(r"(?:url\(|@import\s+)['\"]?(https?:)?//[^)'\"]+", path.read_text(encoding="utf-8"))
        faults += [f"{path.relative_to(site)}: fetches from the network" for _ in found]
    return faults


def _broken(page: Path, target: str, pages: dict[Path, Page]) -> str | None:
    """Say what is wrong with a link, or None; links to the network are the reader's."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return None
    there = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not there.is_file():
        return f"links {target}, which does not exist"
    known = pages.get(there)
    if parts.fragment and known is not None and unquote(parts.fragment) not in known.ids:
        return f"links {target}, which has no such anchor"
    return None


def _missing(page: Path, target: str) -> str | None:
    """Say what is wrong with what a page fetches, or None."""
    parts = urlsplit(target)
    if parts.scheme == "data" or not (parts.scheme or parts.netloc or parts.path):
        return None
    if parts.scheme or parts.netloc:
        return f"fetches {target} from the network"
    return None if (page.parent / unquote(parts.path)).is_file() else f"fetches {target}, which does not exist"
