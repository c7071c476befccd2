"""The routes of the service, as an application of FastAPI."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from fastapi.security import HTTPBearer
from pydantic import TypeAdapter

from soundscene.audio.pcm import MOST_CHANNELS, SampleType
from soundscene.errors import SceneError
from soundscene.live import DEFAULT_WINDOW_S
from soundscene.page.files import INDEX, media_type, page_files
from soundscene.serve import schemas
from soundscene.serve import service as works
from soundscene.serve.explain import (
    MEDIA_TYPES,
    MOST_SEGMENTS,
    PictureForm,
    attention_picture,
    attribution_picture,
    check_explain,
)
from soundscene.serve.handlers import handle_errors
from soundscene.serve.limits import NAME_LETTERS
from soundscene.serve.metrics import MEDIA_TYPE
from soundscene.serve.refusal import ClientGoneError, RefusedError, json_response
from soundscene.serve.service import Service
from soundscene.serve.stream import Stream, StreamForm
from soundscene.threads import one_blas_thread
from soundscene.timelines import DEFAULT_STAY_S
from soundscene.types import Head

T = TypeVar("T")

_ABOUT = """Acoustic scene classification: predicts where a recording was made.

The body of a request is the bytes of a sound file (WAV, FLAC, OGG, MP3, AIFF and others), as `curl --data-binary @FILE`
sends them. `WS /v1/stream` takes raw PCM in binary messages, and sends a message of the schema `StreamUpdate` for each
prediction."""
_BEARER = "bearer."  # before a token among the protocols of a WebSocket: pages cannot set its headers
_PICTURE_SAFETY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "X-Content-Type-Options": "nosniff",
}
_PAGE_SAFETY = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache", "X-Frame-Options": "DENY"}
_SOUND: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes of a sound file. The content decides, not the type; forms and JSON are refused.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_STATUSES = {
    403: "A page of an origin that is not allowed.",
    408: "The body came too slowly.",
    413: "Too many bytes, or too many seconds of sound.",
    415: "No format that can be decoded.",
    422: "A sound that cannot be used, or a parameter out of range.",
    500: "A fault of the service or of its model.",
    503: "Too many requests; Retry-After says when to come again.",
    507: "The service has no space for the body.",
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.Error, "description": what} for status, what in _STATUSES.items()
}
_WITH_501: dict[int | str, dict[str, Any]] = {
    501: {"model": schemas.Error, "description": "Needs an extra that is not installed."}
}
_PICTURES = {media: {"schema": {"type": "string", "format": "binary"}} for media in MEDIA_TYPES.values()}

Name = Annotated[str, Query(min_length=1, max_length=NAME_LETTERS, description="Of the recording, in the result.")]
HeadName = Annotated[Head | None, Query(description="Classifier; by default the model's own.")]


@dataclass
class AppState:
    """What the application holds beside the service.

    Attributes:
        streams: Threads for the work of streams, so that they do not wait behind files.
        ending: Set when the service ends.
    """

    streams: ThreadPoolExecutor
    ending: asyncio.Event = field(default_factory=asyncio.Event)


def build_app(service: Service) -> FastAPI:
    """Return the application.

    Args:
        service: Model, limits and workers.
    """
    state = AppState(ThreadPoolExecutor(service.limits.workers, "stream"))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with one_blas_thread():
            yield
            service.workers.close()
            state.streams.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(
        title="soundscene",
        version=version("soundscene"),
        description=_ABOUT,
        lifespan=lifespan,
        docs_url=None,  # their pages would load programs from elsewhere
        redoc_url=None,
    )
    app.state.service, app.state.own = service, state
    handle_errors(app)
    app.include_router(_status_routes(service))
    app.include_router(_routes(service))
    app.include_router(_stream_route(service, state))
    app.include_router(_page_routes())
    if service.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(service.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
            expose_headers=["retry-after"],
        )
    _describe_updates(app)
    return app


# --- routes -----------------------------------------------------------------------------------------------------------


def _routes(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1", dependencies=_token_checks(service), responses=_errors_of(service))
    sound = partial(router.post, openapi_extra=_SOUND, response_model=None)

    @sound("/predict", responses={200: {"model": schemas.Prediction}})
    async def predict(
        request: Request,
        name: Name = "audio",
        head: HeadName = None,
        segments: Annotated[bool, Query(description="Include each segment.")] = False,
        unknown: Annotated[bool, Query(description='Label out-of-distribution recordings "unknown".')] = False,
    ) -> Response:
        """Classify a recording: the line of `soundscene predict --format jsonl`."""
        return json_response(await _compute(service, request, works.predict, name, head, segments, unknown))

    @sound("/timeline", responses={200: {"model": schemas.ScenesOverTime}})
    async def timeline(
        request: Request,
        name: Name = "audio",
        head: HeadName = None,
        stay: Annotated[float, Query(gt=0, allow_inf_nan=False, description="Expected stay in a scene, seconds.")] = (
            DEFAULT_STAY_S
        ),
    ) -> Response:
        """Segment a recording into scenes over time: the lines of `soundscene timeline --format json`."""
        return json_response(await _compute(service, request, works.timeline, name, head, stay))

    @sound("/embed", responses={200: {"model": schemas.Embedding}})
    async def embed(
        request: Request,
        name: Name = "audio",
        per: Annotated[Literal["recording", "segment"], Query(description="A row per recording, or per segment.")] = (
            "recording"
        ),
    ) -> Response:
        """Compute embeddings: what the heads of the model read."""
        return json_response(await _compute(service, request, works.embed, name, per))

    @sound(
        "/explain",
        response_class=Response,
        responses={200: {"content": _PICTURES, "description": "The picture."}, **_WITH_501},
    )
    async def explain(
        request: Request,
        name: Name = "audio",
        head: HeadName = None,
        form: Annotated[PictureForm, Query(alias="format", description="Of the picture.")] = "svg",
        from_s: Annotated[float, Query(alias="from", ge=0, le=1e6, description="Start of the picture, seconds.")] = 0.0,
        segments: Annotated[int, Query(ge=1, le=MOST_SEGMENTS, description="Segments drawn, at most.")] = 15,
        attribution: Annotated[bool, Query(description="Also draw what speaks for the scene.")] = False,
    ) -> Response:
        """Draw images and attention, and with `attribution` the picture of `soundscene explain`."""
        check_explain(service, attribution)
        draw = attribution_picture if attribution else attention_picture
        content = await _compute(service, request, draw, name, head, form, from_s, segments)
        return Response(content, media_type=MEDIA_TYPES[form], headers=_PICTURE_SAFETY)

    return router


def _status_routes(service: Service) -> APIRouter:
    router = APIRouter()
    private = _token_checks(service)
    refused = _errors_of(service, 401) if service.token else {}

    @router.get(
        "/v1/model", dependencies=private, response_model=None, responses={200: {"model": schemas.ModelFacts}, **refused}
    )
    async def model() -> Response:
        """Describe the model and the limits."""
        return json_response(service.facts)

    @router.get("/healthz", response_model=None, responses={200: {"model": schemas.ServiceStatus}})
    async def healthz() -> Response:
        """Say that the process lives."""
        return json_response({"status": "ok"})

    unready = {503: {"model": schemas.ServiceStatus, "description": "The service ends."}}

    @router.get("/readyz", response_model=None, responses={200: {"model": schemas.ServiceStatus}, **unready})
    async def readyz() -> Response:
        """Say whether requests are taken: the model is loaded, and the service does not end. A full queue is ready too."""
        return json_response({"status": "ending"}, 503) if service.draining else json_response({"status": "ready"})

    text = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Text format of Prometheus."}}

    @router.get(
        "/metrics", dependencies=private, response_model=None, response_class=Response, responses={**text, **refused}
    )
    async def metrics() -> Response:
        """Count requests, seconds, sound and streams."""
        return Response(service.metrics.text(service.gauges()), media_type=MEDIA_TYPE)

    return router


def _page_routes() -> APIRouter:
    """The page at / and its files, which need no token: it asks the service like any other client."""
    router = APIRouter(include_in_schema=False)
    for name, content in page_files("service"):
        path = "/" if name == INDEX else f"/{name}"
        router.add_api_route(path, _giving(content, media_type(name)), methods=["GET", "HEAD"], response_model=None)
    return router


def _giving(content: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def give() -> Response:
        return Response(content, media_type=kind, headers=_PAGE_SAFETY)

    return give


def _stream_route(service: Service, state: AppState) -> APIRouter:
    router = APIRouter()

    @router.websocket("/v1/stream")
    async def stream(
        socket: WebSocket,
        sample_rate: Annotated[int, Query(ge=1000, le=768000)] = 48000,
        channels: Annotated[int, Query(ge=1, le=MOST_CHANNELS)] = 1,
        sample_type: Annotated[SampleType, Query(alias="type")] = "s16le",
        hop: Annotated[float | None, Query()] = None,
        window: Annotated[float, Query()] = DEFAULT_WINDOW_S,
        head: HeadName = None,
    ) -> None:
        """Classify live sound."""
        protocol = next((p for p in socket.scope["subprotocols"] if p.startswith(_BEARER)), "")
        try:
            _check_token(service, socket.headers.get("authorization", ""), protocol)
            if service.n_streams >= service.limits.streams or service.draining:
                raise RefusedError(503, f"{service.n_streams} streams, which is the most; try again later")
            form = StreamForm(sample_rate, channels, sample_type, hop, window, head)
            run = Stream(service, form, socket, state.streams)
        except SceneError as error:
            await socket.send_denial_response(RefusedError(422, str(error)).response())
            return
        except RefusedError as refusal:
            await socket.send_denial_response(refusal.response())
            return
        service.n_streams += 1
        try:
            chosen = [p for p in socket.scope["subprotocols"] if not p.startswith(_BEARER)]
            await run.run(chosen[0] if chosen else None, state.ending)
        finally:
            service.n_streams -= 1

    return router


# --- a request --------------------------------------------------------------------------------------------------------


async def _compute(service: Service, request: Request, work: Callable[..., T], *arguments: Any) -> T:
    """Receive a sound, and compute on it as long as the client waits.

    Args:
        service: Model and workers.
        request: With the sound as its body.
        work: Function of (service, path, *arguments, check).
        arguments: What the request asks for.

    Raises:
        RefusedError: The sound cannot be used, or too many wait.
        ClientGoneError: The client closed the connection.
    """
    service.uploads.check_headers(request)
    service.workers.check_room()
    async with service.uploads.receive(request) as path:
        return await _while_connected(request, service.workers.compute(partial(work, service, path, *arguments)))


async def _while_connected(request: Request, work: Awaitable[T]) -> T:
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGoneError
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _token_checks(service: Service) -> list[Any]:
    if service.token is None:
        return []

    def check(request: Request) -> None:
        _check_token(service, request.headers.get("authorization", ""))

    return [Depends(HTTPBearer(auto_error=False, description="The service's token.")), Depends(check)]


def _check_token(service: Service, header: str, protocol: str = "") -> None:
    if service.token is None:
        return
    kind, _, value = header.partition(" ")
    given = value.strip() if kind.lower() == "bearer" else protocol.removeprefix(_BEARER)
    if not hmac.compare_digest(given.encode(), service.token.encode()):
        raise RefusedError(
            401, "a bearer token is needed: Authorization: Bearer TOKEN", headers={"WWW-Authenticate": "Bearer"}
        )


def _errors_of(service: Service, *only: int) -> dict[int | str, dict[str, Any]]:
    errors = {401: {"model": schemas.Error, "description": "No token, or a wrong one."}} if service.token else {}
    return {k: v for k, v in (errors | _ERRORS).items() if not only or k in only}


# --- description ------------------------------------------------------------------------------------------------------


def _describe_updates(app: FastAPI) -> None:
    """Add the messages of streams to the description, which has no place for WebSockets."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        document["components"]["schemas"]["StreamUpdate"] = TypeAdapter(schemas.StreamUpdate).json_schema()
        return document

    app.openapi = openapi
