"""What the service accepts: bytes, seconds of sound, requests and streams at a time, and how long it waits for a client."""

import os
from dataclasses import dataclass

MB = 1_000_000
NAME_LETTERS = 200  # of the name that a client gives a recording


@dataclass(frozen=True)
class Limits:
    """Limits of the service.

    Attributes:
        max_bytes: Bytes of a recording, at most.
        max_seconds: Seconds of decoded sound of a recording, at most.
        workers: Recordings computed at a time, a core each.
        queue: Recordings that wait for a worker, at most; further ones are refused with 503.
        uploads: Recordings received at a time, at most.
        held: Bodies of the largest size that the folder may hold at a time; smaller ones may be more.
        streams: Live streams at a time, at most.
        header_s: Seconds in which the header of a request must arrive.
        pause_s: Seconds without a byte after which a body is given up.
        least_bytes_s: Bytes a second that a body must bring on average, after the first `pause_s`.
        idle_s: Seconds without sound after which a stream ends.
        drain_s: Seconds that SIGTERM leaves to requests in progress.
    """

    max_bytes: int = 128 * MB
    max_seconds: float = 3600.0
    workers: int = os.cpu_count() or 1
    queue: int = 32
    uploads: int = 64
    held: int = 8
    streams: int = 16
    header_s: float = 10.0
    pause_s: float = 10.0
    least_bytes_s: float = 1000.0
    idle_s: float = 60.0
    drain_s: float = 30.0
