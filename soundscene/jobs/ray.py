"""A Ray cluster: reached, connected to and left again; the only module that imports Ray.

Ray itself waits for minutes at a wrong address; here it takes a line, and a minute at most.
"""

import logging
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from soundscene.errors import SceneError
from soundscene.extras import explain_missing
from soundscene.jobs.storage import one_line

CLIENT_PORT = 10001  # of a head's door for machines outside of the cluster, unless given
DOOR_S = 5.0  # for a connection to be accepted
REPLY_S = 60.0  # for a cluster to reply
SAME = ("soundscene", "torch")  # packages whose version decides the numbers
_PROBE = """
import sys, ray
try:
    ray.init(sys.argv[1], logging_level="ERROR", log_to_driver=False)
except BaseException as error:
    sys.exit(f"REASON {error or type(error).__name__}")
"""


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables within it."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


try:
    # read on import only; without it Ray prints a page of its state for every node that dies
    with _environment({"RAY_DEDUP_LOGS_SKIP_REGEX": os.environ.get("RAY_DEDUP_LOGS_SKIP_REGEX", "^")}):
        import ray
        import ray.exceptions
except ModuleNotFoundError as error:
    raise SceneError(explain_missing("--cluster", error) or f"--cluster: {error}") from None


def import_ray_data() -> Any:
    """Return the module `ray.data`.

    Raises:
        SceneError: Something it needs is not installed.
    """
    try:
        import ray.data
    except ModuleNotFoundError as error:
        raise SceneError(explain_missing("--cluster", error) or f"--cluster: {error}") from None
    return ray.data


@contextmanager
def connected(address: str, client: bool = True) -> Iterator[None]:
    """Connect to a cluster; tasks that still run are ended with the connection.

    Ray prints nothing meanwhile. Environment variables and loggers are as before in the end.

    Args:
        address: "auto", "local", "HOST:PORT" or, with `client`, "ray://HOST:PORT".
        client: Whether this machine may be outside of the cluster.

    Raises:
        SceneError: The cluster cannot be used, or the connection is lost; in one line.
        ValueError: This process is connected already.
    """
    if ray.is_initialized():
        raise ValueError("this process is connected to a Ray cluster already; ray.shutdown() first")
    reach(address, client)
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data")]
    levels = [logger.level for logger in loggers]
    level = os.environ.get("RAY_BACKEND_LOG_LEVEL", "fatal")  # or its core writes to stderr, past Python
    with _environment({"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": level}):
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)  # what matters is raised
            _connect(address)
            yield
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise SceneError(f"cluster {address}: {last_line(error)}; rerun the same command to resume") from None
        finally:
            ray.shutdown()
            for logger, before in zip(loggers, levels, strict=True):
                logger.setLevel(before)


def _connect(address: str) -> None:
    dashboard = False if address == "local" else None
    try:
        ray.init(address, include_dashboard=dashboard, logging_level=logging.CRITICAL, log_to_driver=False)
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        raise SceneError(f"cluster {address}: cannot be used ({one_line(error)})") from None


def reach(address: str, client: bool = True) -> None:
    """Check that a cluster replies, with the Ray and the Python that are used here.

    Ray tries in a process of its own, because it does not give up on a wrong address for minutes, and cannot be stopped.

    Args:
        address: "auto", "local", "HOST:PORT" or, with `client`, "ray://HOST:PORT".
        client: Whether this machine may be outside of the cluster.

    Raises:
        SceneError: The cluster does not reply; the message holds the likely cause.
    """
    if address.startswith("ray://") and not client:
        raise SceneError(f"cluster {address}: this command runs on a machine of the cluster; run it there, with auto")
    if address == "local":
        return
    if address != "auto":
        _knock(address, client)
    command = [sys.executable, "-c", _PROBE, address]
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    try:
        probe = subprocess.run(command, capture_output=True, text=True, timeout=REPLY_S, env=environment, check=False)
    except subprocess.TimeoutExpired:
        raise SceneError(
            f"cluster {address}: no Ray cluster replies there within {REPLY_S:.0f} s; {_hint(client)}"
        ) from None
    if probe.returncode:
        text = probe.stderr.rpartition("REASON ")[2].strip()
        reason = " ".join((text.splitlines()[-1] if "Traceback" in text else text).split())[:300]
        raise SceneError(f"cluster {address}: cannot be used ({reason}); {_hint(client)}, with the same Ray and Python")


def _hint(client: bool) -> str:
    own = "HOST:PORT is the head's own port (6379), for machines of the cluster"
    return f"{own}; from elsewhere it is ray://HOST:{CLIENT_PORT}" if client else own


def _knock(address: str, client: bool) -> None:
    """Check that anything at all listens at an address, which is mostly known at once."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port or (CLIENT_PORT if parts.scheme == "ray" else None)
    except ValueError:  # a port that is none
        host, port = None, None
    if not host or not port or parts.scheme not in ("", "ray"):
        allowed = "auto, local, HOST:PORT and ray://HOST:PORT" if client else "auto, local and HOST:PORT"
        raise SceneError(f"cluster {address!r}: allowed are {allowed}")
    try:
        socket.create_connection((host, port), timeout=DOOR_S).close()
    except OSError as error:
        raise SceneError(
            f"cluster {address}: nothing listens there ({error.strerror or error}); is this the address of its head, and "
            "does the head run (ray start --head)?"
        ) from None


def versions_here() -> dict[str, str]:
    """Return the versions of the packages that decide the numbers."""
    return {name: version(name) for name in SAME}


def check_versions(expected: Mapping[str, str]) -> None:
    """Check that this node has the driver's versions; builds ("+cpu", "+cu128") of one version may differ.

    Args:
        expected: `versions_here` of the driver.

    Raises:
        SceneError: A version differs.
    """
    for name, there in expected.items():
        here = version(name)
        if here.partition("+")[0] != there.partition("+")[0]:
            raise SceneError(
                f"node {platform.node()} has {name} {here}, the driver {there}; install the same version on every node, or "
                "results could not be compared"
            )


def last_line(error: Exception) -> str:
    """Return the last line of an error of Ray, which says what happened, cut to 300 characters."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[-1].split())[:300]
