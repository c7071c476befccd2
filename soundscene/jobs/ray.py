"""Whether a Ray cluster can be reached: one line in about a minute at most, where Ray itself would wait for several."""

import os
import socket
import subprocess
import sys
from urllib.parse import urlsplit

from soundscene.errors import TrainingError

CLIENT_PORT = 10001  # of a head, for machines that are not of the cluster, unless said otherwise
DOOR_S = 5.0  # for a connection to be taken
ANSWER_S = 60.0  # for a cluster to answer
_HINT = (
    f"HOST:PORT is the head's own port (6379), for machines of the cluster; from elsewhere it is ray://HOST:{CLIENT_PORT}"
)
_PROBE = """
import sys, ray
try:
    ray.init(sys.argv[1], logging_level="ERROR", log_to_driver=False)
except BaseException as error:
    sys.exit(f"REASON {error or type(error).__name__}")
"""


def reach(address: str) -> None:
    """Find out whether a cluster answers, with the Ray and the Python that are used here.

    address: "auto", "local", "HOST:PORT" or "ray://HOST:PORT". Ray tries in a process of its own, because it does not give
    up on a wrong address for minutes, and cannot be stopped.
    Raises: `TrainingError` with the likely cause, when it does not.
    """
    if address == "local":
        return
    if address != "auto":
        _knock(address)
    command = [sys.executable, "-c", _PROBE, address]
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    try:
        tried = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, env=environment, check=False)
    except subprocess.TimeoutExpired:
        raise TrainingError(f"cluster {address}: no Ray cluster answers there within {ANSWER_S:.0f} s; {_HINT}") from None
    if tried.returncode:
        said = tried.stderr.rpartition("REASON ")[2].strip()
        reason = " ".join((said.splitlines()[-1] if "Traceback" in said else said).split())[:300]
        raise TrainingError(f"cluster {address}: cannot be used ({reason}); {_HINT}, with the same Ray and Python")


def _knock(address: str) -> None:
    """Whether anything at all listens at an address, which is mostly known at once."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port or (CLIENT_PORT if parts.scheme == "ray" else None)
    except ValueError:  # a port that is none
        host, port = None, None
    if not host or not port or parts.scheme not in ("", "ray"):
        raise TrainingError(f"cluster {address!r}: allowed are auto, local, HOST:PORT and ray://HOST:PORT")
    try:
        socket.create_connection((host, port), timeout=DOOR_S).close()
    except OSError as error:
        raise TrainingError(
            f"cluster {address}: nothing answers there ({error.strerror or error}); is this the address of its head, and "
            "does the head run (ray start --head)?"
        ) from None
