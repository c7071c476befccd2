"""Hostile and unlucky clients: each gets a status and one sentence, and leaves nothing behind."""

import contextlib
import io
import json
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from soundscene.serve.work import StoppedError
from tests.serve.client import ask, ask_json, raw
from tests.serve.conftest import Running
from tests.support.tiny import RATE, recording

HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
def nothing_left(server: Running) -> Iterator[None]:
    """After each test the service predicts, and holds no file and no slot."""
    yield
    wait_for(lambda: server.service.uploads.n_open == 0 and not server.service.workers.n_running)
    assert server.service.workers.n_waiting == 0
    assert not [*server.folder.iterdir()]
    assert ask(server.port, "/v1/predict", sound(np.asarray(recording("rain", 2.2, 1))))[0] == 200


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def sound(samples: np.ndarray, form: str = "WAV", rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form)
    return file.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def one_sentence(found: Any) -> str:
    assert set(found) <= {"path", "error"}
    assert found["error"]
    assert "\n" not in found["error"]
    assert "/tmp" not in found["error"]
    return found["error"]


WAV = sound(np.asarray(recording("rain", 2.2, 1)))
BODIES: list[tuple[str, bytes, dict[str, str], int, str]] = [
    # what, body, headers, status, part of the sentence
    ("a zip of WAVs", zipped("a.wav", WAV), {}, 415, "is not an audio file but a ZIP"),
    ("text", b"hello, this is no sound\n" * 50, {}, 415, "is not an audio file but plain text"),
    ("random bytes", np.random.default_rng(0).bytes(5000), {}, 415, "not readable as WAV"),
    (
        "a form",
        WAV,
        {"Content-Type": "multipart/form-data; boundary=a"},
        415,
        "the body is multipart/form-data; send the bytes",
    ),
    ("JSON", b'{"path": "/etc/passwd"}', {"Content-Type": "application/json"}, 415, "the body is application/json"),
    ("compressed", WAV, {"Content-Encoding": "gzip"}, 415, "encoded as gzip"),
    ("nothing", b"", {}, 422, "is empty (0 bytes)"),
    ("a cut WAV", WAV[:-1000], {}, 422, "is truncated"),
    ("silence", sound(np.zeros(3 * RATE)), {}, 422, "digital silence"),
    ("too short", sound(np.ones(100) / 2), {}, 422, "the recipe needs at least one segment"),
]


@pytest.mark.parametrize(("what", "body", "headers", "status", "part"), BODIES, ids=[body[0] for body in BODIES])
def test_bodies_that_are_no_recording(
    what: str, body: bytes, headers: dict[str, str], status: int, part: str, server: Running
) -> None:
    found, _, content = ask(server.port, "/v1/predict", body, {"name": "x"}, headers)
    sentence = one_sentence(json.loads(content))
    assert (found, part in sentence) == (status, True), sentence


def test_too_many_bytes(server: Running) -> None:
    endless = (chunk(bytes(65536)) for _ in range(400))
    status, found = raw(server.port, [CHUNKED, *endless])
    assert (status, one_sentence(found)) == (
        413,
        "the body is larger than 2 MB, the most that this service takes; send it in parts",
    )
    status, found = raw(server.port, [HEAD + b"Content-Length: 999999999999\r\n\r\n"])
    assert (status, "2 MB" in one_sentence(found)) == (413, True)


def test_too_many_seconds(server: Running) -> None:
    """A minute of almost nothing takes few bytes. The work stops at the limit, 30 s here."""
    small = sound(np.full(60 * RATE, 1e-4), "FLAC")
    assert len(small) < 100_000
    status, found = ask_json(server.port, "/v1/predict", small, {"name": "x"})
    assert (status, one_sentence(found)) == (
        413,
        "lasts longer than 30 s, the most that this service decodes; send it in parts",
    )


@pytest.mark.slow
def test_too_many_seconds_of_every_kind(server: Running) -> None:
    small = sound(np.full(60 * RATE, 1e-4), "FLAC")
    for path in ("timeline", "embed", "explain"):
        status, found = ask_json(server.port, f"/v1/{path}", small, {"name": "x"})
        assert (status, "lasts longer than 30 s" in one_sentence(found)) == (413, True)


def test_headers_that_are_too_large_or_too_slow_or_no_http(server: Running) -> None:
    for pieces, pause_s, status, sentence in (
        ([HEAD, *(b"X-%d: " % i + b"a" * 1000 + b"\r\n" for i in range(100))], 0.0, 431, "larger than 64 kB"),
        ([b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n"], 0.0, 431, "larger than 64 kB"),
        ([HEAD, *(b"X: a\r\n" for _ in range(8))], 0.1, 408, "the header of the request came too slowly"),
        ([b"\x16\x03\x01 hello\r\n\r\n"], 0.0, 400, "this is no valid HTTP"),
        ([HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n"], 0.0, 400, "this is no valid HTTP"),
        ([CHUNKED, b"zz\r\n"], 0.05, 400, "this is no valid HTTP"),
    ):
        found, content = raw(server.port, pieces, pause_s)
        assert (found, sentence in one_sentence(content)) == (status, True)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as silent:
        assert silent.recv(1) == b""  # closed without a word: nothing was asked
    first = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as again:
        again.sendall(first)
        received = b""
        while not received.endswith(b"}"):
            received += again.recv(4096)
        again.sendall(first[:10])
        assert b"408" in again.recv(4096)


def test_bodies_for_which_there_is_no_room(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many large bodies at a time, and a disk that is full."""
    monkeypatch.setattr(server.service.uploads, "n_held", 16_000_000 - len(WAV) // 2)
    status, headers, content = ask(server.port, "/v1/predict", WAV)
    assert (status, headers["retry-after"], "holds 16 MB" in one_sentence(json.loads(content))) == (503, "1", True)
    monkeypatch.undo()
    monkeypatch.setattr(server.service.uploads, "_folder", server.folder / "gone")
    status, _, content = ask(server.port, "/v1/predict", WAV)
    assert (status, "cannot be stored (No such file" in one_sentence(json.loads(content))) == (507, True)
    monkeypatch.undo()


def test_bodies_that_stall_or_drip(server: Running) -> None:
    for pieces in ([CHUNKED, chunk(WAV[:100])], [HEAD + b"Content-Length: 1000\r\n\r\n", b"a"]):
        status, found = raw(server.port, pieces)
        assert (status, one_sentence(found).startswith("the body came too slowly: ")) == (408, True)
    status, found = raw(server.port, [CHUNKED, *(chunk(b"a") for _ in range(12))], 0.1)
    assert (status, one_sentence(found).startswith("the body came too slowly: ")) == (408, True)


def test_a_client_that_reads_nothing_is_cut_off(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks again and again, and leaves every response unread until the buffers are full; others are served meanwhile."""
    monkeypatch.setattr("soundscene.serve.server._STALLED_S", 0.5)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.settimeout(5)
        sent = 0
        with contextlib.suppress(OSError):
            for sent in range(2000):
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n")
                if sent % 500 == 0:
                    assert ask(server.port, "/healthz")[0] == 200
        time.sleep(1.5)
        received = bytearray()
        with contextlib.suppress(OSError):  # the reset, where it comes before the end
            while piece := connection.recv(1 << 20):
                received += piece
    n_whole = received.count(b"HTTP/1.1 200 OK")
    assert 0 < n_whole < sent
    assert ask(server.port, "/healthz")[0] == 200


def test_paths_in_names_are_names(server: Running) -> None:
    for name in ("../../etc/passwd", "a\x00b", "é\u202e$(reboot)"):
        status, found = ask_json(server.port, "/v1/predict", WAV, {"name": name})
        assert (status, found["path"]) == (200, name)
        status, found = ask_json(server.port, "/v1/predict", WAV[:-1000], {"name": name})
        assert (status, found["path"]) == (422, name)
    for path in ("/v1/../etc/passwd", "/v1/predict/../../etc/passwd", "/etc/passwd", "/v1/%2e%2e/%2e%2e/etc/passwd"):
        assert ask(server.port, path)[0] == 404


def test_parameters_of_a_wrong_type(server: Running) -> None:
    for path, query, part in (
        ("predict", {"head": "both"}, "head is 'both': "),
        ("predict", {"segments": "perhaps"}, "segments is 'perhaps': "),
        ("predict", {"name": "a" * 201}, "name is 'aaa"),
        ("timeline", {"stay": "nan"}, "stay is "),
        ("timeline", {"stay": 0.5}, "an expected stay of 0.5 s"),
        ("explain", {"segments": 0}, "segments is '0': "),
        ("explain", {"format": "pdf"}, "format is 'pdf': "),
        ("embed", {"per": "day"}, "per is 'day': "),
    ):
        status, found = ask_json(server.port, f"/v1/{path}", WAV, query)
        assert (status, part in one_sentence(found)) == (422, True), found
    status, headers, content = ask(server.port, "/v1/predict", method="DELETE")
    assert (status, headers["allow"], json.loads(content)) == (405, "POST", {"error": "DELETE is not allowed here"})


# --- clients that go away, and too many of them -----------------------------------------------------------------------


class Blocked:
    """Stands in for `predict`: each call goes on until its client has gone, or all are released."""

    def __init__(self) -> None:
        self.n_begun = self.n_stopped = 0
        self.release = threading.Event()

    def __call__(self, service: Any, path: Path, name: str, *rest: Any) -> dict[str, Any]:
        self.n_begun += 1
        while not self.release.wait(0.01):
            try:
                rest[-1](1.0)
            except StoppedError:
                self.n_stopped += 1
                raise
        return {"path": name}


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Blocked]:
    stand_in = Blocked()
    monkeypatch.setattr("soundscene.serve.service.predict", stand_in)
    yield stand_in
    stand_in.release.set()
    monkeypatch.undo()


def test_a_client_that_goes_away_ends_its_work(server: Running, blocked: Blocked) -> None:
    head = HEAD + f"Content-Length: {len(WAV)}\r\n\r\n".encode()
    clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(4)]
    for client in clients:
        client.sendall(head + WAV)
    wait_for(lambda: server.service.workers.n_waiting == 2)
    assert blocked.n_begun == 2
    for client in clients[2:]:  # these wait for a worker
        client.close()
    wait_for(lambda: server.service.workers.n_waiting == 0)
    for client in clients[:2]:
        client.close()
    wait_for(lambda: blocked.n_stopped == 2)
    assert blocked.n_begun == 2
    with socket.create_connection(("127.0.0.1", server.port)) as client:  # in the middle of its body
        client.sendall(head + WAV[:1000])
        wait_for(lambda: server.service.uploads.n_open == 1)


def test_a_full_queue_is_503_with_the_time_to_come_again(server: Running, blocked: Blocked) -> None:
    found: list[tuple[int, Any]] = []

    def client(number: int) -> None:
        found.append(ask_json(server.port, "/v1/predict", WAV, {"name": str(number)}))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    wait_for(lambda: server.service.workers.full)
    status, headers, content = ask(server.port, "/v1/predict", WAV)
    assert (status, int(headers["retry-after"]) >= 1) == (503, True)
    assert "the service is busy (4 recordings wait); try again in" in one_sentence(json.loads(content))
    status, found_early = raw(server.port, [HEAD + b"Content-Length: 1000000\r\n\r\n"])
    assert (status, "busy" in one_sentence(found_early)) == (503, True)  # before its body
    assert ask(server.port, "/healthz")[0] == ask(server.port, "/readyz")[0] == 200
    blocked.release.set()
    for thread in threads:
        thread.join(10)
    assert sorted(found, key=lambda one: one[1]["path"]) == [(200, {"path": str(number)}) for number in range(6)]
