"""The server: uvicorn, with limits for the header of a request, and an end that lets requests in progress finish."""

import asyncio
import json
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from soundscene.errors import SceneError
from soundscene.serve.guard import Guard
from soundscene.serve.service import Service
from soundscene.serve.stream import LARGEST_MESSAGE

HEADER_BYTES = 1 << 16
_KEEP_ALIVE_S = 75  # longer than balancers keep an idle connection, so that none is closed as they use it
_STALLED_S = 30.0  # for which a client may leave a response unread
_BACKLOG = 2048
_STREAMS_END_S = 3.0
_SENTENCES = {
    400: "this is no valid HTTP",
    408: "the header of the request came too slowly",
    431: f"the header of the request is larger than {HEADER_BYTES // 1024} kB",
}


class Connection(H11Protocol):
    """A connection that gets limited time for the header of each request, and errors as JSON with one sentence.

    uvicorn has no limit of time before a request is complete, and answers every fault of a header with 400.

    Args:
        header_s: Seconds for a header.
        config: Of uvicorn, as the following.
        server_state: Connections and tasks.
        app_state: Of the application.
    """

    def __init__(
        self, *, header_s: float, config: uvicorn.Config, server_state: Any, app_state: Any, _loop: Any = None
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._header_s = header_s
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._silent = True  # nothing was received yet

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Stop waiting when the header is complete; begin when another request has begun."""
        self._silent = False
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._unwatch()
        elif self._deadline is None and not self.transport.is_closing():
            self._watch()

    def pause_writing(self) -> None:
        """Abort unless the client reads again: what waits to be sent would wait for ever."""
        super().pause_writing()
        self._stalled = self.loop.call_later(_STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client reads."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, and abort it if its client does not read the rest of a response."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(_STALLED_S, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """Send the status of a fault in the header or the framing, and close."""
        error = sys.exception()
        self._refuse(error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400)

    def _watch(self) -> None:
        self._deadline = self.loop.call_later(self._header_s, self._refuse, 408)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: int) -> None:
        if self.transport.is_closing():
            return
        if not self._silent and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            status = status if status in _SENTENCES else 400
            body = json.dumps({"error": _SENTENCES[status]}).encode()
            headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
            events = (
                h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase.encode()),
                h11.Data(data=body),
                h11.EndOfMessage(),
            )
            for event in events:
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class Server(uvicorn.Server):
    """A server that ends by SIGTERM or SIGINT with exit code 0, after the requests in progress.

    Args:
        config: Of uvicorn.
        service: Told that it ends.
        ending: Set when it ends, for streams.
        ready: Called with the port when connections are accepted.
    """

    def __init__(
        self, config: uvicorn.Config, service: Service, ending: asyncio.Event, ready: Callable[[int], None]
    ) -> None:
        super().__init__(config)
        self._service, self._ending, self._ready = service, ending, ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals, and do not raise them again at the end as uvicorn does."""
        main = threading.current_thread() is threading.main_thread()  # no other may set handlers
        numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; a second SIGINT ends at once.

        Args:
            sig: Number of the signal.
            frame: Where it came.
        """
        self._service.draining = True
        super().handle_exit(sig, frame)

    async def startup(self, sockets: Any = None) -> None:
        """Bind, and say so."""
        await super().startup(sockets)
        if self.started:
            self._ready(sockets[0].getsockname()[1])

    async def shutdown(self, sockets: Any = None) -> None:
        """Accept no connections, let streams finish what they have, then wait for requests."""
        self._service.draining = True
        for server in self.servers:
            server.close()
        self._ending.set()
        for _ in range(round(_STREAMS_END_S / 0.05)):
            if not self._service.n_streams:
                break
            await asyncio.sleep(0.05)
        await super().shutdown(sockets)


def listen_at(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: Name or address.
        port: 0 for a free one.

    Raises:
        SceneError: The address is not of this machine, or in use.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        why = (getattr(error, "strerror", None) or str(error)).partition(" (")[0]  # of the address, which stands before
        raise SceneError(f"{host}, port {port}: cannot listen ({why}); choose another --port or --host") from None


def run_server(
    app: Any,
    service: Service,
    listening: socket.socket,
    ready: Callable[[int], None],
    started: Callable[[Server], None] = lambda server: None,
) -> None:
    """Serve until a signal ends it.

    Args:
        app: Of `app.build_app`.
        service: Limits.
        listening: Of `listen_at`.
        ready: Called with the port when connections are accepted.
        started: Called with the server, whose `should_exit` ends it without a signal.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    limits = service.limits
    config = uvicorn.Config(
        Guard(app, service),
        http=partial(Connection, header_s=limits.header_s),  # pyright: ignore[reportArgumentType]
        ws="websockets-sansio",
        ws_max_size=LARGEST_MESSAGE,
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=HEADER_BYTES,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(limits.drain_s)),
    )
    server = Server(config, service, app.state.own.ending, ready)
    started(server)
    server.run([listening])
