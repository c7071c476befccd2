"""What becomes of an error of a request: a status and one sentence, whoever raised it."""

from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.exceptions import HTTPException

from soundscene.serve.refusal import ClientGoneError, RefusedError


def handle_errors(app: FastAPI) -> None:
    """Give an application a handler for each kind of error."""

    async def refused(request: Request, error: Any) -> Response:
        return error.response()

    async def gone(request: Request, error: Any) -> Response:
        return Response(status_code=499)

    async def invalid(request: Request, error: Any) -> Response:
        return RefusedError(422, _sentence(error)).response()

    async def invalid_stream(socket: WebSocket, error: Any) -> None:
        await socket.send_denial_response(RefusedError(422, _sentence(error)).response())

    async def other(request: Request, error: Any) -> Response:
        sentences = {404: f"there is no {request.url.path[:100]}", 405: f"{request.method} is not allowed here"}
        sentence = sentences.get(error.status_code, str(error.detail))
        return RefusedError(error.status_code, sentence, headers=dict(error.headers or {})).response()

    async def failed(request: Request, error: Any) -> Response:
        return RefusedError(500, f"the service failed ({type(error).__name__}); please report it with its log").response()

    app.add_exception_handler(RefusedError, refused)
    app.add_exception_handler(ClientGoneError, gone)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(WebSocketRequestValidationError, invalid_stream)  # pyright: ignore[reportArgumentType]
    app.add_exception_handler(HTTPException, other)
    app.add_exception_handler(Exception, failed)


def _sentence(error: Any) -> str:
    first = error.errors()[0]
    return f"{' '.join(map(str, first['loc'][1:]))} is {str(first.get('input'))[:80]!r}: {first['msg'].lower()}"
