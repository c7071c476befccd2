"""A client over a real socket: whole requests by http.client, and bytes as they are."""

import http.client
import json
import socket
import time
from typing import Any
from urllib.parse import urlencode


def ask(
    port: int,
    path: str,
    body: Any = None,
    query: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
    method: str | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        target = path + ("?" + urlencode(query) if query else "")
        connection.request(method or ("GET" if body is None else "POST"), target, body, headers or {})
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        connection.close()


def ask_json(port: int, path: str, body: Any = None, query: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Status and JSON of a request."""
    status, headers, content = ask(port, path, body, query)
    assert headers["content-type"] == "application/json"
    return status, json.loads(content)


def raw(port: int, pieces: Any, pause_s: float = 0.0, timeout_s: float = 10.0) -> tuple[int, Any]:
    """Send pieces of bytes as they are; status and JSON of the response (0 and None where there is none)."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause_s)
        except OSError:
            pass
        received = b""
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except OSError:
            pass
    if not received:
        return 0, None
    head, _, content = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(content)
