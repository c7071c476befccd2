"""`WS /v1/stream`: raw PCM in, predictions out, one listener a connection."""

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.websockets import WebSocket, WebSocketDisconnect

from soundscene.audio.pcm import SampleType, bytes_per_sample, decode_pcm
from soundscene.errors import SceneError
from soundscene.live import Listener
from soundscene.live import Update as LiveUpdate
from soundscene.serve.service import Service
from soundscene.types import Head

T = TypeVar("T")

LARGEST_MESSAGE = 1 << 20  # bytes: 5 s of 48 kHz in two channels of 16 bits
END = "end"  # the text message after the last sound
NORMAL, RESTART, INVALID, POLICY = 1000, 1012, 1007, 1008  # codes of RFC 6455 and its registry


@dataclass(frozen=True)
class StreamForm:
    """What a client says of its sound: Hz, channels, type of a sample, seconds between predictions, and that they cover."""

    sample_rate: int
    channels: int
    sample_type: SampleType
    hop_s: float | None
    window_s: float
    head: Head | None


class Stream:
    """One connection: messages of bytes in, messages of JSON out, in the order of the sound.

    Args:
        service: The model.
        form: Of the sound.
        socket: Accepted by `run`.
        pool: Threads for the work of all streams.
    """

    def __init__(self, service: Service, form: StreamForm, socket: WebSocket, pool: ThreadPoolExecutor) -> None:
        self._service, self._form, self._socket, self._pool = service, form, socket, pool
        self._rest = b""  # less than a sample of every channel
        self._size = bytes_per_sample(form.sample_type) * form.channels
        predictor = service.of_head(form.head)
        self._listener = Listener(
            predictor.model, predictor.head, form.sample_rate, form.hop_s, form.window_s, keep=predictor.keep
        )

    async def run(self, subprotocol: str | None, ending: asyncio.Event) -> None:
        """Serve the connection to its end.

        Args:
            subprotocol: To accept with.
            ending: Set when the service ends: the sound so far is then finished as if it had ended.
        """
        await self._socket.accept(subprotocol)
        ended = asyncio.ensure_future(ending.wait())
        try:
            await self._serve(ended)
        except WebSocketDisconnect:
            return  # the client has gone; what it was to receive is lost
        finally:
            ended.cancel()

    async def _serve(self, ended: "asyncio.Future[Any]") -> None:
        try:
            while await self._take(await self._next(ended)):
                pass
        except SceneError as error:
            await self._fail(INVALID, str(error))
        except TimeoutError:
            await self._fail(POLICY, f"no sound for {self._service.limits.idle_s:g} s")

    async def _take(self, message: Any) -> bool:
        """Deal with a message, None at the end of the service; return whether the stream goes on."""
        if message is None:
            await self._finish(RESTART, "the service ends; connect again")
        elif message["type"] == "websocket.disconnect":
            pass
        elif message.get("bytes") is not None:
            await self._push(message["bytes"])
            return True
        elif message.get("text") == END:
            await self._finish(NORMAL, "")
        else:
            await self._fail(POLICY, f'a text message that is not "{END}"; send sound as binary messages')
        return False

    async def _next(self, ended: "asyncio.Future[Any]") -> Any:
        """Return the next message; None when the service ends."""
        message = asyncio.ensure_future(self._socket.receive())
        try:
            done, _ = await asyncio.wait(
                {message, ended}, timeout=self._service.limits.idle_s, return_when="FIRST_COMPLETED"
            )
            if message in done:
                return message.result()
            if not done:
                raise TimeoutError
            return None
        finally:
            message.cancel()

    async def _push(self, data: bytes) -> None:
        arrived = time.perf_counter()
        data = self._rest + data
        whole = len(data) // self._size * self._size
        self._rest = data[whole:]
        samples = decode_pcm(data[:whole], self._form.channels, self._form.sample_type)
        rate = self._form.sample_rate
        for at in range(0, len(samples), rate):  # a second at a time, so that other streams come in between
            await self._send(await self._work(lambda at=at: self._listener.push(samples[at : at + rate], arrived)))
        self._service.metrics.add_sound(len(samples) / rate)

    async def _finish(self, code: int, reason: str) -> None:
        await self._send(await self._work(self._listener.flush))
        await self._socket.close(code, reason)

    async def _fail(self, code: int, sentence: str) -> None:
        await self._socket.send_text(json.dumps({"error": sentence}))
        await self._socket.close(code, sentence.encode()[:120].decode(errors="ignore"))

    async def _send(self, updates: list[LiveUpdate]) -> None:
        for update in updates:
            await self._socket.send_text(json.dumps(update.to_dict() | {"notes": list(update.notes)}))
        self._service.metrics.updates += len(updates)

    async def _work(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)
