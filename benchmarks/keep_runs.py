"""Keep finished results of experiments in the repository, so that another machine goes on with them.

    python -m benchmarks.keep_runs pack RUNS --corpora CORPORA --out docs/results/kept/NAME.tar.xz
    python -m benchmarks.keep_runs unpack docs/results/kept/NAME.tar.xz --corpora CORPORA --out RUNS

RUNS is a run folder, or holds run folders. Kept are plans and results, without embeddings, which only the table of
separation reads. After `unpack`, the same `soundscene experiment` computes what is missing, and `report` reads the rest.
"""

import argparse
import io
import json
import lzma
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from soundscene.experiment.plan import PLAN
from soundscene.experiment.results import SUFFIX, RunFolder, SplitResult
from soundscene.files import write_atomic
from soundscene.jobs.storage import same_place

CORPORA, RUNS = "$CORPORA", "$RUNS"


def main() -> None:
    """Pack or unpack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, work, given in (("pack", pack, "RUNS"), ("unpack", unpack, "FILE")):
        command = commands.add_parser(name)
        command.add_argument("given", type=Path, metavar=given)
        command.add_argument("--corpora", type=Path, required=True)
        command.add_argument("--out", type=Path, required=True)
        command.set_defaults(work=work)
    arguments = parser.parse_args()
    arguments.work(arguments.given.absolute(), arguments.corpora.absolute(), arguments.out.absolute())


def pack(runs: Path, corpora: Path, out: Path) -> None:
    """Write the plans and results of all run folders.

    Args:
        runs: One run folder, or a folder of them.
        corpora: Its path is kept as a name, as is that of `runs`.
        out: The file.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    n = 0
    whole = io.BytesIO()
    with lzma.open(whole, "wb", preset=9 | lzma.PRESET_EXTREME) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in _members(runs, corpora):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
            n += 1
    write_atomic(out, whole.getvalue())
    print(f"{out}: {n} files, {out.stat().st_size:,} bytes")


def _members(runs: Path, corpora: Path) -> Iterator[tuple[str, bytes]]:
    for plan in sorted(runs.rglob(PLAN)):
        text = plan.read_text("utf-8")
        root = Path(json.loads(text)["root"])
        names = {os.path.relpath(runs, root): RUNS, str(runs): RUNS, str(corpora): CORPORA}
        yield plan.relative_to(runs).as_posix(), renamed(text, names).encode()
        results = plan.parent / "results"
        if not same_place(place := RunFolder(plan.parent).results, str(results)):
            raise SystemExit(f"{plan.parent}: its results are at {place}; only runs that keep their own can be packed")
        for path in sorted(results.glob(f"*{SUFFIX}")):
            result = SplitResult.from_bytes(path.read_bytes(), path.name)
            slim = replace(result, embedding=np.zeros((len(result.embedding), 0), np.float32))
            yield path.relative_to(runs).as_posix(), _renamed_result(slim, names).to_bytes()


def unpack(file: Path, corpora: Path, out: Path) -> None:
    """Write run folders. A result that is there already stays.

    Args:
        file: From `pack`.
        corpora: Where they are here.
        out: Folder of the run folders.
    """
    n = 0
    with lzma.open(file) as packed, tarfile.open(fileobj=packed) as archive:
        names: dict[str, str] = {}
        for member in archive.getmembers():  # a plan comes before its results
            found, path = archive.extractfile(member), out / member.name
            if found is None or not path.resolve().is_relative_to(out.resolve()):
                raise SystemExit(f"{file}: {member.name} is no file inside the folder")
            content = found.read()
            if path.name == PLAN:
                text = content.decode()
                root = renamed(json.loads(text)["root"], {CORPORA: str(corpora), RUNS: str(out)})
                names = {CORPORA: str(corpora), RUNS: os.path.relpath(out, root)}
                content = renamed(text, names).encode()
            else:
                content = _renamed_result(SplitResult.from_bytes(content, member.name), names).to_bytes()
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                n += 1
    print(f"{out}: {n} files")


def renamed(text: str, names: Mapping[str, str]) -> str:
    """Replace paths in a text.

    Args:
        text: The text.
        names: What stands for what, longer ones that hold others first.
    """
    for old, new in names.items():
        text = text.replace(old, new)
    return text


def _renamed_result(result: SplitResult, names: Mapping[str, str]) -> SplitResult:
    parts = {
        name: tuple(renamed(text, names) for text in getattr(result, name))
        for name in ("recordings", "held_recordings", "notes")
    }
    return replace(result, **parts)


if __name__ == "__main__":
    main()
