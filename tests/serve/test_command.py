"""`soundscene serve`: its options, refused in one line, and a model file in place of an exported one."""

import json
import socket
from pathlib import Path

import pytest

from soundscene.cli import serve as command
from tests.serve.client import ask
from tests.serve.conftest import running
from tests.support.command_line import run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--origin", "example.org"), "--origin example.org: expected scheme and host, such as https://example.org"),
        (("--origin", "https://*"), "--origin https://*: expected scheme and host"),
        (("--token-file", "no-such-file"), "no-such-file: cannot be read as a token"),
        (("--token-file", "two"), "two: a token is one word of visible ASCII letters"),
    ],
)
def test_wrong_options_are_one_line(
    words: tuple[str, ...],
    message: str,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two").write_text("two words\n")
    assert run("serve", exported, *words) == 2
    assert message in capfd.readouterr().err


def test_a_port_in_use_is_one_line(exported: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run("serve", exported, "--port", str(port)) == 2
    err = capfd.readouterr().err
    assert err == (
        f"soundscene: 127.0.0.1, port {port}: cannot listen (Address already in use); choose another --port or --host\n"
    )


def test_the_token_of_a_file_goes_before_that_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("abc\n")
    monkeypatch.setenv(command.TOKEN, "xyz")
    assert command._token(tmp_path / "token") == "abc"
    assert command._token(None) == "xyz"
    monkeypatch.setenv(command.TOKEN, "")
    assert command._token(None) is None


@pytest.mark.slow
def test_a_model_file_is_served_too_and_draws_attribution(
    model: Path, wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(wav.parent)
    capfd.readouterr()
    assert run("predict", model, wav.name, "--format", "jsonl") == 0
    line = capfd.readouterr().out.strip()
    with running(model, tmp_path) as service:
        status, _, content = ask(service.port, "/v1/predict", wav.read_bytes(), {"name": wav.name})
        assert status == 200
        found, expected = json.loads(content), json.loads(line)
        # threads of the service compute on all cores where these tests leave one to the main thread: other last bits
        assert found.pop("posterior") == pytest.approx(expected.pop("posterior"), abs=1e-6)
        for name in ("probability", "unfamiliarity"):
            assert found.pop(name, None) == pytest.approx(expected.pop(name, None), abs=1e-6)
        assert found == expected
        for query in ({"segments": 1}, {"segments": 1, "attribution": "true"}):
            status, headers, svg = ask(service.port, "/v1/explain", wav.read_bytes(), {"name": "my name.wav", **query})
            assert (status, headers["content-type"]) == (200, "image/svg+xml")
            assert b"my name.wav" in svg
            assert (b"speaks for" in svg) == ("attribution" in query)
        facts = json.loads(ask(service.port, "/v1/model")[2])
        assert (facts["engine"], facts["attribution"]) == ("PyTorch", True)
        assert not [*tmp_path.iterdir()]
