"""`export --format page`: a whole folder or none, one line where it cannot be, and the files that a service gives."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from soundscene.bundle import save_model
from soundscene.errors import SceneError
from soundscene.export import page
from soundscene.export.page import MODEL, export_page
from soundscene.export.write import export_model
from soundscene.page import engine
from soundscene.page.files import TYPES, media_type, page_files
from tests.support.command_line import run
from tests.support.tiny import TINY, blank_bundle


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file, and beside it the exported one."""
    folder = tmp_path_factory.mktemp("page")
    save_model(blank_bundle(TINY), folder / "tiny.safetensors")
    export_model(folder / "tiny.safetensors", folder / "tiny.onnx")
    return folder / "tiny.safetensors"


@pytest.fixture
def no_engine_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the engine were there; it need not be, for the rest of the page."""
    monkeypatch.setattr(page, "require_engine", lambda what: None)


@pytest.mark.usefixtures("no_engine_needed")
@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
def test_a_page_is_written_whole_and_replaced(stored: Path, suffix: str, tmp_path: Path) -> None:
    out = tmp_path / "sites" / "mine"
    written = export_page(stored.with_suffix(suffix), out)
    names = {file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()}
    assert names == {MODEL, *(name for name, _ in page_files())}
    assert (out / MODEL).read_bytes() == stored.with_suffix(".onnx").read_bytes()
    assert written.size == sum((out / name).stat().st_size for name in names)
    (out / "index.html").write_text('<meta name="soundscene-engine" of an older page')
    (out / "notes.txt").write_text("kept")
    export_page(stored.with_suffix(suffix), out)
    assert "<title>soundscene" in (out / "index.html").read_text(encoding="utf-8")
    assert (out / "notes.txt").exists()
    assert [path.name for path in out.parent.iterdir()] == ["mine"]


@pytest.mark.usefixtures("no_engine_needed")
def test_what_cannot_be_written_is_one_line_and_leaves_nothing(stored: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    for model, out, int8, words in (
        (stored, "full", False, "holds no page"),
        (stored, "file", False, "is a file"),
        (stored, "page.onnx", False, "name a folder"),
        (stored.with_suffix(".onnx"), "new", True, "exported already"),
        (tmp_path / "bad.onnx", "new", False, "cannot load"),
        (tmp_path / "none.safetensors", "new", False, "no such file"),
        (stored, "file/new", False, "cannot be written"),
    ):
        with pytest.raises(SceneError, match=words):
            export_page(model, tmp_path / out, int8)
    assert {path.name for path in tmp_path.iterdir()} == {"full", "file", "bad.onnx"}


def test_without_the_engine_the_command_says_what_to_do(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine, "DIGESTS", {"none.wasm": "00"})
    assert run("export", str(stored), "--format", "page", "--out", str(tmp_path / "new")) == 2
    error = capfd.readouterr().err.strip()
    assert error.count("\n") == 0
    assert "python -m soundscene.page.engine" in error
    assert not list(tmp_path.iterdir())


def test_the_page_of_a_service_has_no_engine_of_its_own() -> None:
    local, remote = dict(page_files("local")), dict(page_files("service"))
    assert b'content="local"' in local["index.html"]
    assert b'content="service"' in remote["index.html"]
    assert not any(name.startswith("engine/") for name in remote)
    assert {"main.js", "style.css"} <= set(remote)
    assert list(local)[-1] == "index.html"
    assert media_type("a.mjs").startswith("text/javascript")
    assert media_type("model.onnx") == "application/octet-stream"


def test_the_page_names_only_files_that_it_has() -> None:
    """Imports, links and workers; and nothing of another host, but for what a browser is told in words."""
    files = {name: content for name, content in page_files("local") if not name.startswith("engine/")}
    text = b"".join(files.values()).decode()
    for name in {word.strip("\"'./") for word in text.replace("(", " ").replace("=", " ").split() if "./" in word}:
        name = name.strip("\"',;)").removeprefix("./").rstrip("\"',;)")
        if Path(name).suffix in TYPES and not name.startswith("engine"):
            assert name in files, name
    addresses = [word for word in text.split() if "://" in word and "www.w3.org" not in word]
    assert all("localhost" in word for word in addresses), addresses


def npm_that_packs(folder: Path, content: bytes) -> Path:
    """A program in npm's place, which puts an archive with this content into its folder."""
    archive = folder / "made.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo("package/dist/one.wasm")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    npm = folder / "npm"
    npm.write_text(f'#!/bin/sh\ntest "$2" = --silent || exit 3\ncp "{archive}" onnxruntime-web.tgz\n')
    npm.chmod(0o755)
    return npm


def test_the_engine_is_fetched_once_and_its_digest_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    npm_that_packs(tmp_path, b"wasm")
    there = tmp_path / "engine"
    monkeypatch.setattr(engine, "DIGESTS", {"one.wasm": hashlib.sha256(b"other").hexdigest()})
    with pytest.raises(SceneError, match="another digest"):
        engine.fetch(there)
    assert not there.exists()
    monkeypatch.setattr(engine, "DIGESTS", {"one.wasm": hashlib.sha256(b"wasm").hexdigest()})
    assert engine.fetch(there) == ["one.wasm"]
    assert engine.fetch(there) == []
    monkeypatch.setattr(engine, "DIGESTS", {"two.wasm": "00"})
    with pytest.raises(SceneError, match=r"has no file package/dist/two\.wasm"):
        engine.fetch(there)
    (tmp_path / "npm").write_text("#!/bin/sh\necho no such host >&2\nexit 1\n")
    with pytest.raises(SceneError, match="no such host"):
        engine.fetch(there)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(SceneError, match="npm is not installed"):
        engine.fetch(there)
