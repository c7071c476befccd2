"""Counters of the service in the text format of Prometheus."""

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator

BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ServiceMetrics:
    """What happened since the start."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()  # by route and status
        self.buckets: Counter[float] = Counter()  # requests that took at most so many seconds, of the class above the last
        self.n_timed = 0
        self.sum_s = 0.0
        self.sound_s = 0.0
        self.updates = 0
        self._start = time.time()
        self._adding = threading.Lock()

    def add_sound(self, seconds: float) -> None:
        """Count seconds of sound; from any thread."""
        with self._adding:
            self.sound_s += seconds

    def add_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            route: Path of the route, not of the request: clients could invent any number of those.
            status: Of the response.
            seconds: From its header to the end of the response.
        """
        self.requests[route, status] += 1
        self.n_timed += 1
        self.sum_s += seconds
        self.buckets[next((b for b in BUCKETS_S if seconds <= b), float("inf"))] += 1

    def text(self, gauges: dict[str, tuple[float, str]]) -> str:
        """Return all numbers.

        Args:
            gauges: What is counted elsewhere: name without prefix -> value and help.
        """
        return "\n".join(self._lines(gauges)) + "\n"

    def _lines(self, gauges: dict[str, tuple[float, str]]) -> Iterator[str]:
        yield from _head("requests_total", "counter", "Requests by route and status.")
        for (route, status), n in sorted(self.requests.items()):
            yield f'soundscene_requests_total{{route="{route}",status="{status}"}} {n}'
        yield from _head("request_seconds", "histogram", "Seconds from a request's header to the end of its response.")
        n = 0
        for bucket in BUCKETS_S:
            n += self.buckets[bucket]
            yield f'soundscene_request_seconds_bucket{{le="{bucket:g}"}} {n}'
        yield f'soundscene_request_seconds_bucket{{le="+Inf"}} {self.n_timed}'
        yield f"soundscene_request_seconds_sum {self.sum_s:.6f}"
        yield f"soundscene_request_seconds_count {self.n_timed}"
        counters = {
            "sound_seconds_total": (self.sound_s, "Seconds of sound classified, of files and streams."),
            "stream_updates_total": (self.updates, "Predictions sent to streams."),
        }
        for name, (value, what) in counters.items():
            yield from _head(name, "counter", what)
            yield f"soundscene_{name} {value:g}"
        own = {
            "start_time_seconds": (self._start, "Start of the process, seconds since 1970."),
            "resident_memory_bytes": (resident_bytes(), "Memory of the process; 0 where the system does not say."),
        }
        for name, (value, what) in {**gauges, **own}.items():
            yield from _head(name, "gauge", what)
            yield f"soundscene_{name} {value:.15g}"


def resident_bytes() -> int:
    """Return the memory of this process, 0 where the system does not say."""
    if not sys.platform.startswith("linux"):
        return 0
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _head(name: str, kind: str, what: str) -> Iterator[str]:
    yield f"# HELP soundscene_{name} {what}"
    yield f"# TYPE soundscene_{name} {kind}"
