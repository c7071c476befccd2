"""Export a model as a page: a folder for any static host, in which the model listens and the sound stays in the browser."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from soundscene.errors import SceneError
from soundscene.export.check import Parity, Sound
from soundscene.graph_model import SUFFIX, load_graph
from soundscene.page.engine import require_engine
from soundscene.page.files import INDEX, page_files

MODEL = f"model{SUFFIX}"
_MARK = b'<meta name="soundscene-engine"'


@dataclass(frozen=True)
class ExportedPage:
    """What was written.

    Attributes:
        folder: The folder.
        size: Bytes of all its files.
        parity: Differences of the model from PyTorch; None without a check.
    """

    folder: Path
    size: int
    parity: Parity | None


def export_page(path: Path, out: Path, int8: bool = False, sounds: Sequence[Sound] = ()) -> ExportedPage:
    """Write a page with a model into a folder, which gets its name when it is whole; an earlier page is replaced.

    Args:
        path: Model file (.safetensors), or an exported one (.onnx), which needs no PyTorch.
        out: Folder to write.
        int8: Whether the weights of the networks are kept in 8 bits.
        sounds: What the exported model is checked on.

    Raises:
        BundleError: The model cannot be read.
        SceneError: It cannot be exported, the folder holds something else, or the engine for browsers is missing.
    """
    require_engine("export --format page")
    _check_folder(out)
    is_graph = path.suffix.lower() == SUFFIX
    if is_graph and int8:
        raise SceneError(
            "--int8 is for a model file; this one is exported already: leave --int8 out, or give the model file"
        )
    if is_graph:
        load_graph(path)  # refuses what the page cannot use
    with _new_folder(out) as unfinished:
        parity = None
        if is_graph:
            shutil.copyfile(path, unfinished / MODEL)
        else:
            from soundscene.export.write import export_model

            parity = export_model(path, unfinished / MODEL, int8=int8, sounds=sounds).parity
        for name, content in page_files("local"):
            (unfinished / name).parent.mkdir(exist_ok=True)
            (unfinished / name).write_bytes(content)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    return ExportedPage(out, size, parity)


def _check_folder(out: Path) -> None:
    """Refuse a file, and a folder with anything but an earlier page."""
    if out.exists() and not out.is_dir():
        raise SceneError(f"--out {out}: is a file; with --format page name a folder")
    if out.suffix.lower() == SUFFIX:
        raise SceneError(f"--out {out}: with --format page name a folder, which will hold the page and its model")
    if out.is_dir() and any(out.iterdir()):
        index = out / INDEX
        if not index.is_file() or _MARK not in index.read_bytes()[:4096]:
            raise SceneError(f"--out {out}: the folder is not empty and holds no page of soundscene; name another one")


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out`, whose files take their place there after the block."""
    unfinished = out.with_name(f"{out.name}.{os.getpid()}.tmp")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        if out.is_dir() and any(out.iterdir()):
            files = [file for file in unfinished.rglob("*") if file.is_file()]
            for file in sorted(files, key=lambda file: file.name == INDEX):
                place = out / file.relative_to(unfinished)
                place.parent.mkdir(exist_ok=True)
                os.replace(file, place)
        else:
            os.replace(unfinished, out)
    except OSError as error:
        reason = error.strerror or error
        raise SceneError(
            f"--out {out}: cannot be written ({reason}); is the folder writable, and the disk not full?"
        ) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
