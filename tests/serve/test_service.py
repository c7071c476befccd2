"""The service over a real socket: results are those of the command line, faults have a status and one sentence."""

import json
from pathlib import Path

import pytest

from tests.serve.client import ask, ask_json
from tests.serve.conftest import Running
from tests.support.command_line import run


def printed(capfd: pytest.CaptureFixture[str], *words: str | Path) -> list[str]:
    capfd.readouterr()
    assert run(*words) == 0
    return capfd.readouterr().out.splitlines()


def test_predictions_are_the_lines_of_the_command_line(
    server: Running, exported: Path, wav: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(wav.parent)
    for options, query in (
        ((), {}),
        (("--segments",), {"segments": "true"}),
        (("--unknown", "--head", "softmax"), {"unknown": 1, "head": "softmax"}),
    ):
        (line,) = printed(capfd, "predict", exported, wav.name, "--format", "jsonl", *options)
        status, _, content = ask(server.port, "/v1/predict", wav.read_bytes(), {"name": wav.name, **query})
        assert (status, content.decode()) == (200, line)
    lines = printed(capfd, "timeline", exported, wav.name, "--format", "json", "--stay", "20")
    status, found = ask_json(server.port, "/v1/timeline", wav.read_bytes(), {"name": wav.name, "stay": 20})
    assert status == 200
    assert found["spans"] == [json.loads(line) for line in lines]
    assert sum(share["share"] for share in found["shares"]) == pytest.approx(1, abs=1e-5)
