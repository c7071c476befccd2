"""What every request passes first: counting, the origin of pages, and an end of connections that no client can delay."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from soundscene.serve.refusal import RefusedError, json_response
from soundscene.serve.service import Service

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_LINGER_S = 3.0  # for which a body is read and discarded after an early response, so that its sender sees the response
_LINGER_BYTES = 64_000_000
NO_ROUTE = "none"
TOO_SLOW = 408


class Guard:
    """Wraps the application.

    Args:
        app: The application.
        service: Origins and metrics.
    """

    def __init__(self, app: App, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._foreign_origin(scope)
        if scope["type"] == "websocket":
            if refusal is None:
                await self._app(scope, receive, send)
            else:
                await _deny(send, refusal)
            return
        exchange = _Exchange(receive, send, dict(scope["headers"]))
        start = time.monotonic()
        try:
            if refusal is None:
                await self._app(scope, exchange.receive, exchange.send)
            else:
                await refusal.response()(scope, exchange.receive, exchange.send)
        finally:
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            self._service.metrics.add_request(route or "/", exchange.status, time.monotonic() - start)

    def _foreign_origin(self, scope: Scope) -> RefusedError | None:
        """Refuse what a page of another host sends, unless that is named: a browser would send it, whatever it may read."""
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1")
        if not origin or origin in self._service.origins or scope.get("method") in ("GET", "HEAD", "OPTIONS"):
            return None
        if urlsplit(origin).netloc.lower() == headers.get(b"host", b"").decode("latin-1").lower():
            return None
        return RefusedError(
            403, f"the origin {origin[:100]} is not allowed; the service allows it with --origin {origin[:100]}"
        )


class _Exchange:
    """Receive and send of one request; after a response that comes before the end of the body, the rest is discarded."""

    def __init__(self, receive: Receive, send: Send, headers: dict[bytes, bytes]) -> None:
        self._receive, self._send = receive, send
        self._complete = b"transfer-encoding" not in headers and headers.get(b"content-length", b"0") == b"0"  # the body
        self.status = 499  # as nginx has it: the client closed the connection before a response

    async def receive(self) -> Any:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._complete = True
        return message

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if not self._complete:
                message = message | {"headers": [*message.get("headers", ()), (b"connection", b"close")]}
        elif not message.get("more_body", False) and not self._complete:
            await self._send(message | {"more_body": True})
            if self.status != TOO_SLOW:  # its client would only use the time
                await self._linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _linger(self) -> None:
        end, n = time.monotonic() + _LINGER_S, 0
        while not self._complete and n < _LINGER_BYTES and (left_s := end - time.monotonic()) > 0:
            try:
                message = await asyncio.wait_for(self.receive(), left_s)
            except TimeoutError:
                return
            n += len(message.get("body", b""))


async def _deny(send: Send, refusal: RefusedError) -> None:
    response = json_response(refusal.to_dict(), refusal.status)
    start = {"type": "websocket.http.response.start", "status": refusal.status, "headers": response.raw_headers}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": response.body, "more_body": False})
