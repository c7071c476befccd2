"""ONNX Runtime for browsers: which files the page needs, whether they are there, and how they are fetched.

They are 14 MB, so they are not in git: `python -m soundscene.page.engine` takes them from the npm registry that npm is
configured for, and checks their digests. The wheel holds them.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from soundscene.errors import SceneError
from soundscene.files import write_atomic

STATIC = Path(__file__).parent / "static"
FOLDER = "engine"
PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
DIGESTS = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""SHA-256 of the files."""

FETCH = "python -m soundscene.page.engine"
_LONGEST_S = 600


def missing(folder: Path = STATIC / FOLDER) -> list[str]:
    """Return the files that are not there, or are others than those of the pinned version.

    Args:
        folder: Where they belong.
    """
    return [name for name, digest in DIGESTS.items() if _digest(folder / name) != digest]


def require_engine(what: str) -> None:
    """Check that the files are there.

    Args:
        what: A command, as the user wrote it.

    Raises:
        SceneError: They are not; the message says what to do.
    """
    if missing():
        raise SceneError(
            f"{what} needs {PACKAGE} {VERSION}, which is not in this installation: run `{FETCH}` (needs npm), or "
            "`make page-engine` in a checkout"
        )


def fetch(folder: Path = STATIC / FOLDER) -> list[str]:
    """Fetch the files that are missing, by `npm pack`.

    Args:
        folder: Where they go.

    Returns:
        Names of the files that were fetched.

    Raises:
        SceneError: npm is missing or fails, or a file has another digest than the pinned one.
    """
    lacking = missing(folder)
    if not lacking:
        return []
    npm = shutil.which("npm")
    if npm is None:
        raise SceneError(
            f"{FETCH}: npm is not installed, which fetches {PACKAGE}; install Node.js and npm, then run it again"
        )
    with tempfile.TemporaryDirectory() as name:
        archive = _packed(npm, Path(name))
        with tarfile.open(archive) as tar:
            for file in lacking:
                content = _member(tar, f"package/dist/{file}")
                if hashlib.sha256(content).hexdigest() != DIGESTS[file]:
                    raise SceneError(
                        f"{FETCH}: {file} of {PACKAGE} {VERSION} has another digest than the pinned one; nothing was "
                        "installed. Is the registry to be trusted?"
                    )
                write_atomic(folder / file, content)
    return lacking


def _packed(npm: str, folder: Path) -> Path:
    command = [npm, "pack", "--silent", f"{PACKAGE}@{VERSION}"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_LONGEST_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SceneError(f"{FETCH}: npm did not finish ({error}); is the registry reached?") from None
    archives = sorted(folder.glob("*.tgz"))
    if done.returncode or not archives:
        reason = " ".join((done.stderr or done.stdout).split())[:200] or f"exit code {done.returncode}"
        raise SceneError(f"{FETCH}: npm pack {PACKAGE}@{VERSION} failed ({reason}); is the registry reached?")
    return archives[0]


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    try:
        file = tar.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise SceneError(f"{FETCH}: {PACKAGE} {VERSION} has no file {name}; nothing was installed")
    return file.read()


def _digest(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    """Fetch what is missing and say so; for `python -m soundscene.page.engine`."""
    try:
        fetched = fetch()
    except SceneError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    what = f"fetched {', '.join(fetched)}" if fetched else "complete"
    sys.stdout.write(f"{STATIC / FOLDER}: {PACKAGE} {VERSION} {what}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
