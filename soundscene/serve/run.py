"""A service from a model: load it, compute a first prediction, listen."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from soundscene.predictor import Predictor
from soundscene.serve.app import build_app
from soundscene.serve.body import Uploads
from soundscene.serve.limits import Limits
from soundscene.serve.metrics import ServiceMetrics
from soundscene.serve.server import listen_at, run_server
from soundscene.serve.service import Service
from soundscene.serve.work import Workers


def serve(
    model_path: Path,
    predictor: Predictor,
    limits: Limits,
    host: str,
    port: int,
    token: str | None = None,
    origins: tuple[str, ...] = (),
    ready: Callable[[int], None] = lambda port: None,
) -> None:
    """Serve a model until SIGTERM or SIGINT.

    Args:
        model_path: Its file.
        predictor: The loaded model.
        limits: What is accepted.
        host: Name or address to listen at.
        port: Port; 0 for a free one.
        token: Bearer token that requests must have.
        origins: Origins of pages on other hosts that may ask.
        ready: Called with the port when requests are accepted.

    Raises:
        SceneError: The address cannot be used.
    """
    with listen_at(host, port) as listening, tempfile.TemporaryDirectory(prefix="soundscene-") as folder:
        uploads = Uploads(limits, Path(folder))
        service = Service(model_path, predictor, limits, Workers(limits), uploads, ServiceMetrics(), token, origins)
        service.warm_up()
        run_server(build_app(service), service, listening, ready)
