"""The body of a request: bytes of a sound file, received into a temporary file that has a limit."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from starlette.requests import ClientDisconnect, Request

from soundscene.serve.limits import MB, Limits
from soundscene.serve.refusal import ClientGoneError, RefusedError

_FORMS = ("multipart/", "application/json", "text/")  # what is certainly not the bytes of a sound file
_HOW = "send the bytes of the sound file as the body, as curl --data-binary @FILE does"


class _Counted:
    """Bytes of one body so far."""

    n = 0


class Uploads:
    """Receives bodies into files of one folder, as many at a time as the limits allow.

    Args:
        limits: Of bytes, uploads and waiting.
        folder: Folder that only the service reads.
    """

    def __init__(self, limits: Limits, folder: Path) -> None:
        self._limits, self._folder = limits, folder
        self.n_open = 0
        self.n_held = 0  # bytes

    def check_headers(self, request: Request) -> None:
        """Check what the headers say of the body, before any of it is read.

        Raises:
            RefusedError: 413 or 415.
        """
        kind = request.headers.get("content-type", "").lower()
        if kind.startswith(_FORMS):
            raise RefusedError(415, f"the body is {kind.partition(';')[0]}; {_HOW}")
        coding = request.headers.get("content-encoding", "identity").lower()
        if coding != "identity":
            raise RefusedError(415, f"the body is encoded as {coding[:40]}; {_HOW}, without Content-Encoding")
        length = request.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > self._limits.max_bytes:
            raise self._too_large()

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[Path]:
        """Receive a body, and yield the file that holds it as long as the block lasts.

        Raises:
            RefusedError: The body is too large (413), too slow (408), or too many are received at a time (503).
            ClientGoneError: The client closed the connection.
        """
        self.check_headers(request)
        if self.n_open >= self._limits.uploads:
            raise self._busy(f"is receiving {self.n_open} recordings")
        self.n_open += 1
        path, counted = self._folder / uuid4().hex, _Counted()
        try:
            try:
                with path.open("xb") as file:
                    await self._copy(request, file, counted)
            except OSError as error:
                raise RefusedError(507, f"the body cannot be stored ({error.strerror}); try again later") from None
            yield path
        finally:
            self.n_open -= 1
            self.n_held -= counted.n
            with suppress(OSError):
                os.unlink(path)

    async def _copy(self, request: Request, file: Any, counted: _Counted) -> None:
        n, start = 0, time.monotonic()
        chunks = request.stream()
        try:
            while True:
                chunk = await asyncio.wait_for(anext(chunks, None), self._limits.pause_s)
                if chunk is None:
                    return
                n = counted.n = n + len(chunk)
                self.n_held += len(chunk)
                if n > self._limits.max_bytes:
                    raise self._too_large()
                if self.n_held > self._limits.held * self._limits.max_bytes:
                    raise self._busy(f"holds {self.n_held / MB:.0f} MB of recordings")
                file.write(chunk)
                late_s = time.monotonic() - start - self._limits.pause_s
                if late_s > 0 and n < late_s * self._limits.least_bytes_s:
                    raise TimeoutError
        except TimeoutError:
            raise RefusedError(408, f"the body came too slowly: {n} bytes in {time.monotonic() - start:.0f} s") from None
        except ClientDisconnect:
            raise ClientGoneError from None

    def _busy(self, what: str) -> RefusedError:
        return RefusedError(503, f"the service {what}, the most it does; try again in 1 s", headers={"Retry-After": "1"})

    def _too_large(self) -> RefusedError:
        allowed = f"{self._limits.max_bytes / MB:g} MB"
        return RefusedError(413, f"the body is larger than {allowed}, the most that this service takes; send it in parts")
