"""`soundscene backbone`: keep the weights of a public pretrained network for use by models."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soundscene.cli.options import OUTPUT
from soundscene.cli.outputs import keep_inputs
from soundscene.cli.terminal import say, tell
from soundscene.errors import SceneError
from soundscene.extras import require
from soundscene.texts import short, show

if TYPE_CHECKING:
    from soundscene.backbone.stored import StoredBackbone  # needs PyTorch, and help pages do not

_KINDS = ("yamnet", "onnx")
KindArgument = Annotated[
    str, typer.Argument(metavar="KIND", help="yamnet, or onnx: any encoder as an ONNX file.", show_default=False)
]
FromOption = Annotated[
    Path | None, typer.Option("--from", metavar="FILE", help="File of the publisher: yamnet.tflite, or FILE.onnx.")
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="File to write. Default: in the user's data folder.",
        rich_help_panel=OUTPUT,
    ),
]


def backbone(
    kind: KindArgument,
    source: FromOption = None,
    out: OutOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace another file.", rich_help_panel=OUTPUT)] = False,
    sample_rate: Annotated[
        int | None, typer.Option(metavar="HZ", help="Rate that an ONNX file reads. Default: its metadata.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of an ONNX file in reports.")] = None,
    licence: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Licence of an ONNX file's weights.", show_default="not stated"),
    ] = None,
) -> None:
    """Keep the weights of a pretrained network for training.

    Nothing is downloaded. Licence, source and digest stay with the weights.
    """
    _check_kind(kind, out)
    keep_inputs({"--out": out}, [source])
    require("backbone", *(("torch",) if kind == "yamnet" else ("torch", "onnx")))
    from soundscene.backbone.stored import installed
    from soundscene.errors import BackboneError

    if source is None:
        raise BackboneError(
            f"backbone {kind}: give the publisher's file by --from (docs/guide/transfer.md says where it is); nothing is "
            "downloaded"
        )
    given = {"--sample-rate": sample_rate, "--name": name, "--licence": licence}
    if kind == "yamnet" and (lone := [option for option, value in given.items() if value is not None]):
        raise BackboneError(f"backbone yamnet: {lone[0]} is for an encoder in ONNX; those of YAMNet are known")
    if kind == "onnx":
        from soundscene.backbone.onnx import from_onnx

        if out is None:
            raise BackboneError("backbone onnx: name the file to write by --out, for use as --backbone FILE")
        _keep(from_onnx(source, sample_rate, name, licence or "not stated"), out, force)
        return
    from soundscene.backbone.yamnet import KNOWN, from_tflite

    stored = from_tflite(source)
    if stored.facts["source_sha256"] not in KNOWN:
        tell(
            f"{source} has the layers of YAMNet, but is not the file that soundscene was measured with (sha256 "
            f"{stored.facts['source_sha256']})"
        )
    _keep(stored, out or installed(kind), force)


def _check_kind(kind: str, out: Path | None) -> None:
    """Refuse what is no kind; of a file, the message has the command that takes it."""
    if kind in _KINDS:
        return
    suffix = Path(kind).suffix.lower()
    if suffix not in (".tflite", ".onnx") or not os.path.isfile(kind):
        raise SceneError(f"backbone {kind}: expected {' or '.join(_KINDS)}, and the publisher's file by --from")
    meant = "onnx" if suffix == ".onnx" else "yamnet"
    place = [] if out is None and meant == "yamnet" else ["--out", str(out or "BACKBONE.safetensors")]
    line = shlex.join(["soundscene", "backbone", meant, "--from", kind, *place])
    raise SceneError(f"{kind}: is a file, and the kind comes first: {line}")


def _keep(stored: "StoredBackbone", path: Path, force: bool) -> None:
    """Write a backbone, unless the file is there already, and say what was done."""
    from soundscene.backbone.stored import StoredBackbone
    from soundscene.errors import BackboneError

    if path.exists() and not force:
        try:
            there = StoredBackbone.load(path)
        except BackboneError:
            there = None
        if there is None or there.digest != stored.digest:
            raise BackboneError(f"{path}: is there already, and is something else; --force replaces it")
        for fact in ("name", "licence"):
            before, now = (show(short(repr(one.facts[fact]))) for one in (there, stored))
            if before != now:
                raise BackboneError(
                    f"{path}: is there already, with the same weights and another {fact}, {before} there and {now} now; "
                    "--force replaces it"
                )
        say(f"{path}: is there already, with the same weights")
        return
    stored.save(path)
    facts = stored.facts
    say(
        f"{path}: {stored.name} at {stored.sample_rate} Hz, {path.stat().st_size} bytes, licence {facts['licence']}, "
        f"sha256 of the source {facts['source_sha256']}"
    )
