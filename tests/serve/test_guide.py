"""The Python of the guide, against a service."""

import re
from pathlib import Path

import pytest

from tests.serve.conftest import Running
from tests.support.blocks import ROOT, blocks_of
from tests.support.tiny import recording, write

RUNS = "docs/guide/service.md"


def test_the_python_of_the_guide(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "street.wav", recording("rain", 4.3, 1))
    blocks = [block.text for block in blocks_of(ROOT / RUNS) if block.language == "python"]
    assert len(blocks) == 2
    for block in blocks:
        program = block.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
        exec(compile(program, RUNS, "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\S+ 0\.\d+", lines[0])
    assert [line.split()[0] for line in lines[1:]] == ["2.0", "4.0"]
