"""Load on a service: thousands of requests from many connections, a tenth of them broken, slow or cut off.

python -m benchmarks.service_load MODEL --n 10000 --clients 50

Every good request must bring the line that `soundscene predict --format jsonl` prints of its recording, under a name that
no other request has: a line of another request, another line, or none is a fault. After 503 a client waits as Retry-After
says. Memory of the service is read ten times. At the end nothing may be left: no slot, no file. `predict` on as many files,
in one process with as many workers, stands beside it.
"""

import argparse
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import numpy as np
import soundfile

from soundscene.render.corpus import render_recording
from soundscene.render.scenes import SCENES

SECONDS = (2.2, 4.4, 6.1)  # of the recordings, in turn
RATE = 22050
PATIENCE_S = 60.0  # after which a request without a response is lost
BAD: dict[str, tuple[int, ...]] = {  # what is wrong with a request -> status that it must bring; 0: its client has gone
    "cut off in the body": (0,),
    "gone before the response": (0,),
    "slow body": (200,),
    "truncated WAV": (422,),
    "no sound": (415,),
    "a form": (415,),
    "no HTTP": (400,),
    "too large": (413,),
    "endless": (413,),
}


@dataclass
class Recordings:
    """Sound files with the lines that `predict --format jsonl` prints of them, without their names."""

    contents: list[bytes]
    lines: list[dict[str, object]]


@dataclass
class Tally:
    """What the clients saw.

    Attributes:
        good: Requests that brought the line of their recording.
        faults: What was wrong, lost or mixed up.
        busy: Responses 503.
        bad: Bad requests with the status they must bring, by kind.
        latencies_s: Of good requests, the last try alone.
        memory: Bytes of the service, by good requests done.
    """

    good: int = 0
    faults: list[str] = field(default_factory=list)
    busy: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    memory: list[tuple[int, int]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def make_recordings(folder: Path, n: int, model: Path) -> Recordings:
    """Render recordings, and predict them by the command line.

    Args:
        folder: Where to write them.
        n: How many.
        model: The model's file.
    """
    paths = []
    for number in range(n):
        scene = sorted(SCENES)[number % len(SCENES)]
        samples = render_recording(scene, SECONDS[number % len(SECONDS)], RATE, np.random.default_rng(number))
        paths.append(folder / f"{number}.wav")
        soundfile.write(paths[-1], samples, RATE)
    lines = predict_command(model, paths, 1)
    return Recordings([path.read_bytes() for path in paths], [json.loads(line) for line in lines])


def predict_command(model: Path, paths: list[Path], workers: int) -> list[str]:
    """Return the lines of `soundscene predict`."""
    listed = "\n".join(map(str, paths)) + "\n"
    words = ["predict", str(model), "--from", "-", "--format", "jsonl", "--workers", str(workers)]
    done = subprocess.run(
        [sys.executable, "-m", "soundscene", *words], input=listed, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@contextmanager
def service(model: Path, folder: Path, options: list[str]) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """Start a service, and end it by SIGTERM; its exit code must be 0, and its folder of bodies empty.

    Args:
        model: The model's file.
        folder: Where it may write.
        options: Of `soundscene serve`.

    Yields:
        Its port and process.
    """
    words = [sys.executable, "-m", "soundscene", "serve", str(model), "--port", "0", *options]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(folder)})
    try:
        assert process.stdout is not None
        found = re.search(r":(\d+)$", process.stdout.readline().strip())
        assert found, "the service did not start"
        yield int(found[1]), process
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert code == 0, f"exit code {code}"
    rest = [str(path) for path in folder.rglob("*")]
    assert not rest, f"files are left: {rest}"


# --- requests ---------------------------------------------------------------------------------------------------------


def good(connection: http.client.HTTPConnection, recordings: Recordings, number: int, tally: Tally) -> None:
    """Ask for a prediction until it comes, and compare it."""
    which = number % len(recordings.contents)
    name = f"{number}/{which}.wav"
    end = time.monotonic() + PATIENCE_S
    while True:
        start = time.monotonic()
        try:
            connection.request("POST", f"/v1/predict?name={quote(name)}", recordings.contents[which])
            response = connection.getresponse()
            status, content, wait = response.status, response.read(), response.headers.get("Retry-After")
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            status, content, wait = 0, repr(error).encode(), None
        took_s = time.monotonic() - start
        if status != 503:
            break
        with tally.lock:
            tally.busy += 1
        if time.monotonic() > end:
            break
        time.sleep(float(wait or "nan") * random.uniform(0.3, 1.0))
    wanted = recordings.lines[which] | {"path": name}
    with tally.lock:
        if status == 200 and content.decode() == json.dumps(wanted):
            tally.good += 1
            tally.latencies_s.append(took_s)
        else:
            tally.faults.append(f"{name}: {status} {content[:100]!r}")


def bad(port: int, recordings: Recordings, number: int, kind: str, tally: Tally) -> None:
    """Send a bad request, and compare its status."""
    wav = recordings.contents[number % len(recordings.contents)]
    head = b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    sized = head + f"Content-Length: {len(wav)}\r\n\r\n".encode()
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    pieces: dict[str, list[bytes]] = {
        "cut off in the body": [sized + wav[: len(wav) // 2]],
        "gone before the response": [sized + wav],
        "slow body": [sized, *(wav[i : i + len(wav) // 4] for i in range(0, len(wav), len(wav) // 4))],
        "truncated WAV": [sized.replace(str(len(wav)).encode(), str(len(wav) // 2).encode()) + wav[: len(wav) // 2]],
        "no sound": [head + b"Content-Length: 1000\r\n\r\n" + bytes(range(250)) * 4],
        "a form": [head + b"Content-Type: multipart/form-data\r\nContent-Length: 3\r\n\r\nabc"],
        "no HTTP": [b"\x00\x01\x02\r\n\r\n"],
        "too large": [head + b"Content-Length: 100000000\r\n\r\n"],
        "endless": [chunked, *[b"10000\r\n" + bytes(65536) + b"\r\n"] * 100],
    }
    status, end = 503, time.monotonic() + PATIENCE_S
    while status == 503 and time.monotonic() < end:
        status = -1  # unless a connection is made
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
            with suppress(OSError):  # the service may have closed
                for piece in pieces[kind]:
                    connection.sendall(piece)
                    time.sleep(0.2 if kind == "slow body" else 0.0)
            status = 0 if BAD[kind] == (0,) else _status(connection)
        if status == 503:
            time.sleep(random.uniform(0.3, 1.0))
    with tally.lock:
        if status in BAD[kind]:
            tally.bad[kind] += 1
        else:
            tally.faults.append(f"{kind}: {status}, expected {BAD[kind]}")


def _status(connection: socket.socket) -> int:
    received = b""
    with suppress(OSError):
        while chunk := connection.recv(65536):
            received += chunk
    return int(received.split()[1]) if received else 0


def client(port: int, recordings: Recordings, numbers: list[int], share_bad: float, tally: Tally) -> None:
    """Send the requests of one connection; a bad one has a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    kinds = sorted(BAD)
    for number in numbers:
        draws = random.Random(number)
        if draws.random() < share_bad:
            connection.close()  # or it might be idle for so long that the service closes it; it opens again by itself
            bad(port, recordings, number, draws.choice(kinds), tally)
        else:
            good(connection, recordings, number, tally)
    connection.close()


# --- the run ----------------------------------------------------------------------------------------------------------


def resident(pid: int) -> int:
    """Return the memory of a process, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run(port: int, pid: int, recordings: Recordings, n: int, clients: int, share_bad: float) -> Tally:
    """Send all requests, and read the memory of the service ten times.

    Args:
        port: Of the service.
        pid: Of the process of the service.
        recordings: To send.
        n: Requests.
        clients: Connections at a time.
        share_bad: Share of bad requests.
    """
    tally = Tally()
    threads = [
        threading.Thread(target=client, args=(port, recordings, [*range(i, n, clients)], share_bad, tally), daemon=True)
        for i in range(clients)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if tally.good + sum(tally.bad.values()) >= len(tally.memory) * n / 10:
            tally.memory.append((tally.good, resident(pid)))
        time.sleep(0.05)
    tally.memory.append((tally.good, resident(pid)))
    return tally


def left(port: int) -> list[str]:
    """Return what the service still holds after all requests; what was cut off may take a moment."""
    names = ("recordings_running", "recordings_waiting", "uploads", "streams")
    lines: list[str] = []
    for _ in range(100):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode().splitlines()
        connection.close()
        lines = [line for line in text if line.startswith(tuple(f"soundscene_{n} " for n in names)) and line[-2:] != " 0"]
        if not lines:
            break
        time.sleep(0.1)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--n", type=int, default=10_000, help="requests")
    parser.add_argument("--clients", type=int, default=50, help="connections")
    parser.add_argument("--bad", type=float, default=0.1, help="share of bad requests")
    parser.add_argument("--recordings", type=int, default=30)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, bodies = Path(name), Path(name) / "bodies"
        bodies.mkdir()
        recordings = make_recordings(folder, words.recordings, words.model)
        options = ["--workers", str(words.workers), "--max-mb", "4"]
        with service(words.model, bodies, options) as (port, process):
            start = time.monotonic()
            tally = run(port, process.pid, recordings, words.n, words.clients, words.bad)
            served_s = time.monotonic() - start
            held = left(port)
        paths = [folder / f"{i % words.recordings}.wav" for i in range(tally.good)]
        start = time.monotonic()
        lines = predict_command(words.model, paths, words.workers)
        predicted_s = time.monotonic() - start
        assert len(lines) == tally.good
    print("\n".join(report(tally, served_s, predicted_s, held)))
    sys.exit(1 if tally.faults or held else 0)


def report(tally: Tally, served_s: float, predicted_s: float, held: list[str]) -> Iterator[str]:
    """Yield the lines of the report."""
    n_bad = sum(tally.bad.values())
    latencies = np.sort(tally.latencies_s) if tally.latencies_s else np.zeros(1)
    yield f"{tally.good} good and {n_bad} bad requests, {len(tally.faults)} faults, {tally.busy} times 503, {served_s:.1f} s"
    yield from tally.faults[:10]
    yield "bad: " + ", ".join(f"{n} {kind}" for kind, n in sorted(tally.bad.items()))
    yield f"good requests a second: {tally.good / served_s:.1f}; files a second by predict: {tally.good / predicted_s:.1f}"
    yield f"latency: {np.median(latencies):.3f} s (median), {latencies[int(0.99 * len(latencies))]:.3f} s (99 %)"
    yield "memory: " + ", ".join(f"{bytes_ / 1e6:.0f} MB after {n}" for n, bytes_ in tally.memory)
    yield f"left: {'; '.join(held) or 'nothing'}"


if __name__ == "__main__":
    main()
