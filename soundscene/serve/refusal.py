"""Refusals: a status and one sentence, as JSON."""

import json
from typing import Any

from starlette.responses import Response

from soundscene.errors import AudioError, BundleError, FormatError, SceneError

JSON = "application/json"


class RefusedError(Exception):
    """End a request with a status and one sentence.

    Args:
        status: Of HTTP, from 400.
        sentence: What was given, and what is allowed.
        path: Name of the recording, where it is its fault.
        headers: To add to the response.
    """

    def __init__(self, status: int, sentence: str, path: str | None = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.path, self.headers = status, " ".join(sentence.split()), path, headers or {}

    def to_dict(self) -> dict[str, Any]:
        """Return the body: `error`, and `path` where a recording is at fault, as in `predict --format jsonl`."""
        return {"error": self.sentence} if self.path is None else {"path": self.path, "error": self.sentence}

    def response(self) -> Response:
        """Return the response."""
        return json_response(self.to_dict(), self.status, self.headers)


class ClientGoneError(Exception):
    """The client closed the connection, so nobody reads a response."""


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a response of JSON with the bytes that the command line prints.

    Args:
        value: Plain values.
        status: Of HTTP.
        headers: To add.
    """
    return Response(json.dumps(value), status, headers, JSON)


def refusal_of(error: SceneError, path: str, name: str) -> RefusedError:
    """Return the refusal for an error of a recording.

    Args:
        error: What was raised.
        path: Where the bytes of the recording are; clients never see it.
        name: Name of the recording for its client.
    """
    sentence = str(error).removeprefix(f"{path}: ").replace(path, name)
    if isinstance(error, BundleError):
        return RefusedError(500, sentence)
    if isinstance(error, FormatError):
        return RefusedError(415, sentence, name)
    return RefusedError(422, sentence, name if isinstance(error, AudioError) else None)
