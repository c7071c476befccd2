"""The files of the page, for a folder of its own or for a service that gives it at /."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from soundscene.page.engine import FOLDER, STATIC

Engine = Literal["local", "service"]
"""What predicts: ONNX Runtime in the browser, or the service that the page comes from."""

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".txt": "text/plain; charset=utf-8",
}
"""Media type by suffix; a browser runs no module that comes as anything else."""

INDEX = "index.html"
_LOCAL, _SERVICE = (f'<meta name="soundscene-engine" content="{name}">' for name in ("local", "service"))
_WORKER_ONLY = ("worker.js",)


def page_files(engine: Engine = "local") -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file of the page, `index.html` last; a model is not among them.

    Names have slashes between folders. Of a "local" page the engine's files are part, which `engine.require_engine` checks.

    Args:
        engine: What predicts.
    """
    for path in sorted(_paths(engine), key=lambda path: path.name == INDEX):
        content = path.read_bytes()
        if path.name == INDEX and engine == "service":
            content = content.replace(_LOCAL.encode(), _SERVICE.encode())
        yield path.relative_to(STATIC).as_posix(), content


def media_type(name: str) -> str:
    """Return the media type of a file of the page."""
    return TYPES.get(Path(name).suffix, "application/octet-stream")


def _paths(engine: Engine) -> list[Path]:
    paths = [path for path in STATIC.rglob("*") if path.is_file() and path.suffix in TYPES]
    if engine == "local":
        return paths
    return [path for path in paths if path.parent.name != FOLDER and path.name not in _WORKER_ONLY]
