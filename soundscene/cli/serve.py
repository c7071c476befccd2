"""`soundscene serve`: a model behind HTTP."""

import ipaddress
import os
from pathlib import Path
from typing import Annotated

import typer

from soundscene.cli.models import check_model, load_predictor
from soundscene.cli.options import CORES, AnyModelArgument, HeadOption, ParallelOption, extra_of
from soundscene.cli.terminal import say, tell
from soundscene.errors import SceneError
from soundscene.extras import require

LIMITS = "Limits"  # title of a panel
TOKEN = "SOUNDSCENE_TOKEN"


def serve(
    model: AnyModelArgument,
    host: Annotated[
        str, typer.Option(metavar="NAME", help="Address to listen at. 0.0.0.0: other machines too.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Port to listen at. 0: a free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"File with a token that requests must bear. Default: ${TOKEN}, or none."),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Page of another host that may ask, such as https://example.org. Repeatable."),
    ] = None,
    head: HeadOption = None,
    workers: ParallelOption = CORES,
    queue: Annotated[
        int, typer.Option(min=0, metavar="N", help="Recordings that wait; others get 503.", rich_help_panel=LIMITS)
    ] = 32,
    max_mb: Annotated[
        float, typer.Option(min=0.001, metavar="MB", help="Largest body; others get 413.", rich_help_panel=LIMITS)
    ] = 128.0,
    max_seconds: Annotated[
        float, typer.Option(min=1.0, metavar="SECONDS", help="Longest recording; others get 413.", rich_help_panel=LIMITS)
    ] = 3600.0,
    streams: Annotated[int, typer.Option(min=0, metavar="N", help="Live streams at a time.", rich_help_panel=LIMITS)] = 16,
    drain: Annotated[
        float,
        typer.Option(min=1.0, metavar="SECONDS", help="Time for requests in progress at the end.", rich_help_panel=LIMITS),
    ] = 30.0,
) -> None:
    """Serve a model over HTTP.

    POST the bytes of a sound file to /v1/predict, or stream to /v1/stream. SIGTERM or Ctrl-C ends it after the requests in
    progress.
    """
    check_model("serve", model)
    require("serve", extra_of(model), "serve")
    token, origins = _token(token_file), _origins(origin or ())
    from soundscene.serve.limits import MB, Limits
    from soundscene.serve.run import serve as run

    limits = Limits(
        max_bytes=round(max_mb * MB), max_seconds=max_seconds, workers=workers, queue=queue, streams=streams, drain_s=drain
    )
    predictor = load_predictor(model, head, "cpu")
    if token is None and not _is_loopback(host):
        tell(f"everybody who reaches {host} can ask: no token is set (--token-file)")
    shown = f"[{host}]" if ":" in host else host
    run(model, predictor, limits, host, port, token, origins, lambda n: say(f"serving http://{shown}:{n}"))
    say(f"stopped; requests in progress had up to {drain:g} s to finish")


def _token(path: Path | None) -> str | None:
    """Read the token."""
    if path is None:
        token = os.environ.get(TOKEN) or None
        source = f"${TOKEN}"
    else:
        source = str(path)
        try:
            token = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SceneError(f"{path}: cannot be read as a token ({error}); write one line of text into it") from None
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token and token):
        raise SceneError(f"{source}: a token is one word of visible ASCII letters; `openssl rand -hex 32` makes one")
    return token


def _origins(origins: "list[str] | tuple[()]") -> tuple[str, ...]:
    for origin in origins:
        scheme, _, rest = origin.partition("://")
        if scheme not in ("http", "https") or not rest or "/" in rest or "*" in rest:
            raise SceneError(f"--origin {origin}: expected scheme and host, such as https://example.org")
    return tuple(origins)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
