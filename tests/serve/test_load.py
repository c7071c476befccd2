"""The service under load, and as a process of its own; `benchmarks/service_load.py` is the same at any size."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from websockets.sync.client import connect

import soundscene
from benchmarks import service_load
from soundscene.serve.limits import Limits
from tests.serve.client import ask_json, raw
from tests.serve.conftest import running
from tests.serve.test_hostile import HEAD
from tests.serve.test_stream import SOUND, updates
from tests.support.installed import RUN, absent
from tests.support.tiny import RATE, recording, write

ROOT = Path(__file__).parents[2]


def test_a_small_load_brings_every_line_and_leaves_nothing(exported: Path, tmp_path: Path) -> None:
    predictor = soundscene.load(exported)
    paths = [write(tmp_path / "sound" / f"{i}.wav", recording("rain", 2.2, i)) for i in range(4)]
    lines = [predictor.predict(path, warn=False).to_dict() for path in paths]
    recordings = service_load.Recordings([path.read_bytes() for path in paths], lines)
    folder = tmp_path / "bodies"
    folder.mkdir()
    with running(exported, folder, Limits(workers=2, queue=2, max_bytes=1_000_000)) as service:
        tally = service_load.run(service.port, os.getpid(), recordings, 24, 8, 0.3)
        assert not service_load.left(service.port)
    assert not tally.faults
    assert tally.good + sum(tally.bad.values()) == 24
    assert not [*folder.iterdir()]


@pytest.mark.slow
def test_a_load_from_fifty_connections(exported: Path) -> None:
    words = [sys.executable, "-m", "benchmarks.service_load", str(exported), "--n", "600", "--clients", "50"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 faults" in done.stdout
    megabytes = [int(n) for n in re.findall(r"(\d+) MB after", done.stdout)]
    assert megabytes[-1] < 1.1 * megabytes[3], done.stdout  # flat, once each kind of request has come


@pytest.fixture
def process(exported: Path, tmp_path: Path):
    """A service with nothing but its extras: no PyTorch, no numba, no scikit-learn."""
    line = ["serve", str(exported), "--port", "0", "--drain", "20"]
    blocked = json.dumps([absent(("onnx", "serve", "plot")), [line]])
    program = RUN.replace("with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):", "if True:")
    one = subprocess.Popen(
        [sys.executable, "-c", program, blocked],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert one.stdout is not None
    found = re.search(r":(\d+)$", one.stdout.readline().strip())
    assert found
    yield int(found[1]), one
    one.kill()
    one.communicate()


@pytest.mark.slow
def test_sigterm_lets_requests_and_streams_finish_in_an_installation_without_pytorch(
    process: "tuple[int, subprocess.Popen[str]]", wav: Path, tmp_path: Path
) -> None:
    port, one = process
    content = wav.read_bytes()
    assert ask_json(port, "/v1/predict", content)[0] == 200
    assert ask_json(port, "/v1/timeline", content)[0] == 200
    assert ask_json(port, "/v1/model")[1]["engine"] == "ONNX Runtime"
    with connect(f"ws://127.0.0.1:{port}/v1/stream?sample_rate={RATE}") as stream:
        stream.send(SOUND.tobytes())
        time.sleep(1)

        def pieces():
            yield HEAD + f"Content-Length: {len(content)}\r\n\r\n".encode() + content[:1000]
            one.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            yield content[1000:]

        status, found = raw(port, pieces())
        assert (status, found["duration_s"]) == (200, 6.3)
        found_updates = updates(stream)
        assert (len(found_updates), stream.close_code) == (3, 1012)
    assert one.wait(20) == 0
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_schemathesis_finds_no_fault(exported: Path, tmp_path: Path) -> None:
    """Its own description against the service: every second body is sound, the others are what it draws."""
    limits = Limits(workers=2, header_s=5.0, pause_s=5.0, max_bytes=1_000_000)
    with running(exported, tmp_path, limits) as service:
        words = ["run", f"http://127.0.0.1:{service.port}/openapi.json", "--checks", "all", "--max-examples", "15"]
        words += ["--exclude-checks", "positive_data_acceptance", "--seed", "1", "--workers", "1", "--no-color"]
        config = tmp_path.parent / "schemathesis.toml"  # 501 is described: what an extra would bring
        config.write_text('[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", 501]\n')
        sound = write(tmp_path.parent / "hooked.wav", recording("rain", 2.2, 1))
        hooks = {"SCHEMATHESIS_HOOKS": "tests.serve.schemathesis_hooks", "PYTHONPATH": str(ROOT), "SOUND": str(sound)}
        done = subprocess.run(
            [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config), *words],
            cwd=tmp_path.parent,
            env={**os.environ, **hooks},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        accepted = {route: n for (route, status), n in service.service.metrics.requests.items() if status == 200}
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert min(accepted[f"/v1/{name}"] for name in ("predict", "timeline", "embed", "explain")) > 0
