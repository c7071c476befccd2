"""A wrong address of a cluster is one line, soon."""

import socket
import sys
import time

import pytest

from soundscene.errors import SceneError
from soundscene.jobs import ray as jobs_ray
from soundscene.jobs.ray import reach


@pytest.mark.parametrize("given", ["rubbish", "host:port", "http://host:80", "ray://", ":6379", "host:99999", ""])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(SceneError, match=r"allowed are auto, local, HOST:PORT and ray://HOST:PORT$"):
        reach(given)


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_where_nothing_listens_is_known_at_once(form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(SceneError, match=rf"cluster {form.format(port)}: nothing listens there .*refused.*ray start"):
        reach(form.format(port))
    assert time.monotonic() - started < jobs_ray.DOOR_S


def test_unknown_host_is_named() -> None:
    with pytest.raises(SceneError, match=r"cluster nosuch\.invalid:6379: nothing listens there"):
        reach("nosuch.invalid:6379")


def test_what_listens_but_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_ray, "REPLY_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        with pytest.raises(SceneError, match=rf"{port}: no Ray cluster replies there .*ray://HOST:10001$"):
            reach(f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "Version mismatch: The cluster was started with:\n    Ray: 1.0",
            "Version mismatch: The cluster was started with: Ray: 1.0",
        ),
        ("Failure: Traceback (most recent call last):\n  File x\ngrpc.FutureTimeoutError\n", "grpc.FutureTimeoutError"),
    ],
)
def test_what_ray_says_of_a_cluster_it_cannot_use_is_one_line(
    said: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_ray, "_PROBE", f"import sys; sys.exit({f'noise{chr(10)}REASON {said}'!r})")
    with pytest.raises(SceneError) as caught:
        reach("auto")
    assert str(caught.value).startswith(f"cluster auto: cannot be used ({shown}); HOST:PORT is ")


def test_this_machine_alone_needs_no_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    reach("local")
