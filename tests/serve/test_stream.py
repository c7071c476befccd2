"""`WS /v1/stream` over a real socket: updates are those of `Predictor.stream`, and no client keeps a place."""

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

import soundscene
from tests.serve.client import ask_json
from tests.serve.conftest import Running, running
from tests.serve.test_hostile import wait_for
from tests.support.tiny import RATE, recording

SOUND = np.round(np.asarray(recording("rain", 6.3, 1)) * 32767).astype("<i2")


def url(server: Running, query: str = "") -> str:
    return f"ws://127.0.0.1:{server.port}/v1/stream?sample_rate={RATE}{query}"


def updates(socket: ClientConnection) -> list[dict[str, Any]]:
    """All messages up to the end of the stream."""
    found = []
    with suppress(ConnectionClosed):
        while True:
            found.append(json.loads(socket.recv(10)))
    return found


def streamed(server: Running, pieces: Sequence[bytes], query: str = "") -> list[dict[str, Any]]:
    """Messages of a stream of these pieces."""
    with connect(url(server, query)) as socket:
        for piece in pieces:
            socket.send(piece)
        socket.send("end")
        found = updates(socket)
        assert socket.close_code == 1000
    return found


def expected(model: Path, hop_s: float | None = None) -> list[dict[str, Any]]:
    return [update.to_dict() for update in soundscene.load(model).stream([SOUND], RATE, hop_s)]


def same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    """The same rows but for the time that they took, within the rounding of a graph by the size of its blocks."""
    assert [row["start_s"] for row in found] == [row["start_s"] for row in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one["notes"] == []
        assert set(one) == {*other, "notes"}
        for key in ("end_s", "scene", "n_segments", "silent", "segment_scene", "unknown"):
            assert one[key] == other[key], key
        assert list(one["posterior"].values()) == pytest.approx(list(other["posterior"].values()), abs=3e-6)


def test_updates_are_those_of_python_however_the_bytes_are_cut(server: Running, exported: Path) -> None:
    data = SOUND.tobytes()
    cuts = [0, 1, 4001, 4002, 100_001, len(data) - 1, len(data)]  # inside of samples too
    same(streamed(server, [data[a:b] for a, b in pairwise(cuts)]), expected(exported))
    stereo = np.repeat(SOUND[:, None], 2, axis=1).tobytes()
    same(streamed(server, [stereo], "&channels=2&hop=1"), expected(exported, 1.0))


@pytest.mark.slow
def test_two_replicas_hold_a_stream_each_and_agree_on_files(
    server: Running, exported: Path, tmp_path: Path, wav: Path
) -> None:
    """Replicas behind a balancer hold no state: whichever a request reaches, the answer is the same."""
    with running(exported, tmp_path) as other, connect(url(server)) as one, connect(url(other)) as two:
        halves = np.array_split(SOUND, 2)
        for half in halves:
            one.send(half.tobytes())
            two.send(half[::-1].tobytes())
            found = [ask_json(s.port, "/v1/predict", wav.read_bytes()) for s in (server, other)]
            assert found[0] == found[1]
            assert found[0][0] == 200
        one.send("end")
        two.send("end")
        same(updates(one), expected(exported))
        backwards = [half[::-1] for half in halves]
        wanted = [u.to_dict() for u in soundscene.load(exported).stream(backwards, RATE)]
        same(updates(two), wanted)


def refused(server: Running, query: str, **options: Any) -> tuple[int, str]:
    """Status and sentence of a stream that does not begin."""
    with pytest.raises(InvalidStatus) as error, connect(url(server, query), **options):
        pass
    response = error.value.response
    assert response.body
    return response.status_code, json.loads(response.body)["error"]


def test_streams_that_do_not_begin(server: Running, exported: Path, tmp_path: Path) -> None:
    assert refused(server, "&channels=0") == (422, "channels is '0': input should be greater than or equal to 1")
    assert refused(server, "&type=mp3")[0] == 422
    assert refused(server, "&hop=0")[1].startswith("a hop of 0 s: allowed are 0.01 s to 3600 s")
    assert refused(server, "&window=nan")[0] == 422
    assert refused(server, "", origin="https://b.example")[0] == 403
    with connect(url(server)), connect(url(server)):
        assert refused(server, "") == (503, "2 streams, which is the most; try again later")
    wait_for(lambda: not server.service.n_streams)
    with running(exported, tmp_path, token="secret") as guarded:
        assert refused(guarded, "")[0] == 401
        assert refused(guarded, "", subprotocols=["bearer.wrong"])[0] == 401
        with connect(url(guarded), subprotocols=["soundscene", "bearer.secret"]) as socket:  # pyright: ignore[reportArgumentType]
            assert socket.subprotocol == "soundscene"
        with connect(url(guarded), additional_headers={"Authorization": "Bearer secret"}):
            pass


def ended(server: Running, message: bytes | str | None, query: str = "") -> tuple[int | None, str]:
    """How a stream ends after a message: code, and the sentence of its last message."""
    with connect(url(server, query)) as socket:
        if message is not None:
            socket.send(message)
        sentences = []
        try:
            while True:
                sentences.append(json.loads(socket.recv(10))["error"])
        except ConnectionClosed:
            pass
        return socket.close_code, sentences[-1] if sentences else ""


def test_streams_that_are_ended(server: Running) -> None:
    assert ended(server, np.full(8, np.nan, "<f4").tobytes(), "&type=f32le") == (
        1007,
        "stream: holds nan at 0.000 s (channel 1), samples must be finite; did the program that wrote it divide by zero?",
    )
    assert ended(server, "stop") == (1008, 'a text message that is not "end"; send sound as binary messages')
    assert ended(server, None) == (1008, "no sound for 0.6 s")
    assert ended(server, bytes((1 << 20) + 1))[0] == 1009
    assert ended(server, "end") == (1000, "")
    with connect(url(server)) as socket:
        socket.send(SOUND.tobytes())
        socket.socket.close()  # without a word
    wait_for(lambda: not server.service.n_streams)


def test_the_end_of_the_service_is_the_end_of_the_sound(exported: Path, tmp_path: Path) -> None:
    with running(exported, tmp_path) as service:
        with connect(url(service)) as socket:
            socket.send(SOUND[: 5 * RATE].tobytes())
            time.sleep(0.3)
            service.service.draining = True
            assert ask_json(service.port, "/readyz") == (503, {"status": "ending"})
            service.stop()
            found = updates(socket)
            assert socket.close_code == 1012
        assert [row["start_s"] for row in found] == [0.0, 2.0, 3.0]
