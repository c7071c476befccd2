"""A service of this process, on a thread and a real socket.

The modules of the service are imported without jaxtyping's hook, which takes the coroutine of an async function for its
result.
"""

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soundscene.export.write import export_model
from soundscene.predictor import load
from tests.support.shared import once
from tests.support.tiny import recording, write


def _import_unhooked() -> None:
    hooks = [finder for finder in sys.meta_path if type(finder).__module__.startswith("jaxtyping")]
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder not in hooks]
    try:
        for name in ("app", "run"):
            importlib.import_module(f"soundscene.serve.{name}")
    finally:
        sys.meta_path[:0] = hooks


_import_unhooked()

from soundscene.serve.app import build_app  # noqa: E402
from soundscene.serve.body import Uploads  # noqa: E402
from soundscene.serve.limits import Limits  # noqa: E402
from soundscene.serve.metrics import ServiceMetrics  # noqa: E402
from soundscene.serve.server import listen_at, run_server  # noqa: E402
from soundscene.serve.service import Service  # noqa: E402
from soundscene.serve.work import Workers  # noqa: E402

QUICK = Limits(workers=2, queue=4, header_s=0.4, pause_s=0.4, idle_s=0.6, max_bytes=2_000_000, max_seconds=30, streams=2)


@dataclass
class Running:
    """A service that listens at a port of this machine."""

    port: int
    service: Service
    folder: Path
    stop: Callable[[], None]


@contextmanager
def running(
    model: Path, folder: Path, limits: Limits = QUICK, token: str | None = None, origins: tuple[str, ...] = (), **other: Any
) -> Iterator[Running]:
    """Serve a model on a thread; at the end, wait until it has drained."""
    uploads, workers = Uploads(limits, folder), Workers(limits)
    service = Service(model, load(model), limits, workers, uploads, ServiceMetrics(), token, origins, **other)
    service.warm_up()
    app, ready, ports = build_app(service), threading.Event(), list[int]()

    def started(port: int) -> None:
        ports.append(port)
        ready.set()

    with listen_at("127.0.0.1", 0) as listening:
        servers: list[Any] = []
        thread = threading.Thread(target=run_server, args=(app, service, listening, started, servers.append))
        thread.start()
        try:
            assert ready.wait(20)
            yield Running(ports[0], service, folder, lambda: setattr(servers[0], "should_exit", True))
        finally:
            servers[0].should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture(scope="session")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        export_model(model, folder / "m.onnx", sounds=[])

    return once(tmp_path_factory, "served", make) / "m.onnx"


@pytest.fixture(scope="module")
def server(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(exported, tmp_path_factory.mktemp("uploads")) as one:
        yield one


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = recording("rain", 6.3, 1)
    samples[-1000:] = np.float32(0.0)
    return write(tmp_path_factory.mktemp("wav") / "street.wav", samples)
