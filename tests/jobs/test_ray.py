"""A wrong address of a cluster is one line, soon."""

import logging
import os
import socket
import subprocess
import sys
import time

import pytest

from soundscene.errors import SceneError
from soundscene.jobs import ray as jobs_ray
from soundscene.jobs.ray import check_versions, connected, reach


@pytest.mark.parametrize("given", ["rubbish", "host:port", "http://host:80", "ray://", ":6379", "host:99999", ""])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(SceneError, match=r"allowed are auto, local, HOST:PORT and ray://HOST:PORT$"):
        reach(given)


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_an_address_without_a_server_is_refused_at_once(form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(SceneError, match=rf"cluster {form.format(port)}: nothing listens there .*refused.*ray start"):
        reach(form.format(port))
    assert time.monotonic() - started < jobs_ray.DOOR_S


def test_a_command_for_machines_of_the_cluster_recommends_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SceneError, match=r"^cluster ray://x:1: this command runs on a machine of the cluster; run it there"):
        reach("ray://x:1", client=False)
    with pytest.raises(SceneError, match=r"allowed are auto, local and HOST:PORT$"):
        reach("rubbish", client=False)
    monkeypatch.setattr(jobs_ray, "_PROBE", "import sys; sys.exit('REASON no')")
    with pytest.raises(SceneError) as caught:
        reach("auto", client=False)
    assert "ray://" not in str(caught.value)


@pytest.mark.parametrize("fails", [False, True])
def test_a_connection_restores_the_environment_and_the_loggers(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    monkeypatch.delenv("RAY_BACKEND_LOG_LEVEL", raising=False)
    logger = logging.getLogger("ray.data")
    before, level, inside = dict(os.environ), logger.level, dict[str, str]()

    def init(address: str, **options: object) -> None:
        inside.update(os.environ)
        assert logger.level == logging.CRITICAL
        if fails:
            raise RuntimeError("two\nlines")

    monkeypatch.setattr(jobs_ray.ray, "init", init)
    if fails:
        with pytest.raises(SceneError, match=r"^cluster local: cannot be used \(two lines\)$"), connected("local"):
            pass
    else:
        with connected("local"):
            pass
        with pytest.raises(SceneError, match=r"^cluster local: gone; rerun the same command to resume$"), connected("local"):
            raise ConnectionError("a page\nof text\ngone")
    assert (inside["RAY_USAGE_STATS_ENABLED"], inside["RAY_BACKEND_LOG_LEVEL"]) == ("0", "fatal")
    assert (dict(os.environ), logger.level) == (before, level)


def test_importing_changes_no_environment_variable() -> None:
    code = (
        "import os; before = dict(os.environ)\n"
        "import soundscene.jobs.ray  # the only module that sets any\n"
        "print(sorted(name for name in before.keys() | os.environ.keys() if before.get(name) != os.environ.get(name)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nodes_of_other_versions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_ray, "version", lambda name: "2.6.0+cu128")
    check_versions({"torch": "2.6.0+cpu"})
    with pytest.raises(SceneError, match=r"has torch 2\.6\.0\+cu128, the driver 2\.6\.1; install the same version"):
        check_versions({"torch": "2.6.1"})


def test_unknown_host_is_named() -> None:
    with pytest.raises(SceneError, match=r"cluster nosuch\.invalid:6379: nothing listens there"):
        reach("nosuch.invalid:6379")


def test_a_server_that_never_responds_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_an_error_of_ray_about_a_cluster_is_one_line(said: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_ray, "_PROBE", f"import sys; sys.exit({f'noise{chr(10)}REASON {said}'!r})")
    with pytest.raises(SceneError) as caught:
        reach("auto")
    assert str(caught.value).startswith(f"cluster auto: cannot be used ({shown}); HOST:PORT is ")


def test_this_machine_alone_needs_no_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    reach("local")
