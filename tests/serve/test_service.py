"""The service over a real socket: results are those of the command line, pictures, facts, and who may ask."""

import json
from pathlib import Path

import numpy as np
import pytest

import soundscene
from soundscene.bundle import save_model
from soundscene.export.write import export_model
from soundscene.extras import EXTRAS
from tests.serve.client import ask, ask_json
from tests.serve.conftest import Running, running
from tests.support.command_line import run
from tests.support.yamnet import alone


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


@pytest.mark.slow
def test_embeddings_are_those_of_python(server: Running, exported: Path, wav: Path) -> None:
    for per in ("recording", "segment"):
        status, found = ask_json(server.port, "/v1/embed", wav.read_bytes(), {"per": per})
        assert status == 200
        expected = soundscene.embed(exported, wav, per=per)
        np.testing.assert_array_equal(np.array(found["members"][0]["embedding"], np.float32), expected)
        assert len(found["start_s"]) == len(expected)


@pytest.mark.slow
def test_attention_is_drawn_from_the_graph_and_attribution_names_its_extra(server: Running, wav: Path) -> None:
    status, headers, svg = ask(server.port, "/v1/explain", wav.read_bytes(), {"name": "a<b>.wav", "from": 2, "segments": 1})
    assert (status, headers["content-type"]) == (200, "image/svg+xml")
    text = svg.decode()
    assert "a&lt;b&gt;.wav" in text
    assert "temporal attention" in text
    assert "Drawn: 1 of " in text
    assert headers["content-security-policy"].startswith("default-src 'none'")
    status, headers, png = ask(server.port, "/v1/explain", wav.read_bytes(), {"format": "png", "segments": 1})
    assert (status, headers["content-type"], png[:4]) == (200, "image/png", b"\x89PNG")
    status, found = ask_json(server.port, "/v1/explain", wav.read_bytes(), {"attribution": 1})
    assert status == 501
    assert 'pip install "soundscene[explain]"' in found["error"]
    status, found = ask_json(server.port, "/v1/explain", wav.read_bytes(), {"from": 100, "name": "x"})
    assert (status, found) == (422, {"path": "x", "error": "nothing to draw from 100 s on, its last segment ends at 6 s"})


def test_a_model_that_reads_no_images_has_no_picture(wav: Path, tmp_path: Path) -> None:
    """One of a frozen backbone, as it is and exported; it predicts, and its picture is 501."""
    save_model(alone(), tmp_path / "m.safetensors")
    export_model(tmp_path / "m.safetensors", tmp_path / "m.onnx")
    for name in ("m.safetensors", "m.onnx"):
        (tmp_path / name[-4:]).mkdir()
        with running(tmp_path / name, tmp_path / name[-4:]) as one:
            assert ask_json(one.port, "/v1/predict", wav.read_bytes())[0] == 200
            status, found = ask_json(one.port, "/v1/explain", wav.read_bytes())
        assert (status, found["error"]) == (
            501,
            "this model is a frozen backbone only, which has no attention, so there is nothing to draw",
        )


def test_a_picture_without_matplotlib_is_501(server: Running, wav: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, "plot", {"no_such_module": "Matplotlib"})
    status, found = ask_json(server.port, "/v1/explain", wav.read_bytes())
    assert (status, found["error"]) == (
        501,
        '/v1/explain needs Matplotlib, which is not installed: pip install "soundscene[plot]"',
    )


def test_facts_health_and_metrics(server: Running, exported: Path, wav: Path) -> None:
    status, facts = ask_json(server.port, "/v1/model")
    model = soundscene.load(exported)
    assert status == 200
    assert (facts["scenes"], facts["head"], facts["engine"]) == (list(model.scenes), model.head, "ONNX Runtime")
    assert facts["limits"]["max_bytes"] == server.service.limits.max_bytes
    assert [ask_json(server.port, f"/{name}") for name in ("healthz", "readyz")] == [
        (200, {"status": "ok"}),
        (200, {"status": "ready"}),
    ]
    before = server.service.metrics.requests["/v1/predict", 200]
    ask(server.port, "/v1/predict", wav.read_bytes())
    ask(server.port, "/no/such/path")
    _, headers, text = ask(server.port, "/metrics")
    lines = text.decode().splitlines()
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert f'soundscene_requests_total{{route="/v1/predict",status="200"}} {before + 1}' in lines
    assert not any("/no/such" in line for line in lines)
    assert {"soundscene_recordings_running 0", "soundscene_uploads 0"} <= set(lines)
    assert len({line.split()[2] for line in lines if line.startswith("# TYPE")}) == sum("# TYPE" in line for line in lines)


def test_the_description_is_typed(server: Running) -> None:
    _, document = ask_json(server.port, "/openapi.json")
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                contents = response["content"].values()
                assert all("$ref" in c["schema"] or c["schema"].get("type") == "string" for c in contents), (path, status)
            assert all("schema" in parameter for parameter in operation.get("parameters", ()))
            assert operation["summary"]
    described = document["components"]["schemas"]
    assert "HTTPValidationError" not in {
        c["schema"].get("$ref", "").rpartition("/")[2]
        for operations in document["paths"].values()
        for operation in operations.values()
        for response in operation["responses"].values()
        for c in response["content"].values()
    }
    assert {"path", "scene", "posterior", "notes"} <= set(described["Prediction"]["required"])
    assert "segment_posterior" in described["StreamUpdate"]["properties"]


def test_a_token_is_asked_for_where_one_is_set(exported: Path, tmp_path: Path, wav: Path) -> None:
    with running(exported, tmp_path, token="secret", origins=("https://a.example",)) as service:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}):
            status, found, content = ask(service.port, "/v1/predict", wav.read_bytes(), headers=headers)
            assert (status, found["www-authenticate"]) == (401, "Bearer")
            assert json.loads(content)["error"] == "a bearer token is needed: Authorization: Bearer TOKEN"
            assert ask(service.port, "/metrics", headers=headers)[0] == 401
        assert ask(service.port, "/v1/predict", wav.read_bytes(), headers={"Authorization": "bearer secret"})[0] == 200
        assert ask(service.port, "/readyz")[0] == 200
        allowed = {"Origin": "https://a.example", "Authorization": "Bearer secret"}
        status, headers, _ = ask(service.port, "/v1/predict", wav.read_bytes(), headers=allowed)
        assert (status, headers["access-control-allow-origin"]) == (200, "https://a.example")


def test_pages_of_other_hosts_may_not_ask(server: Running, wav: Path) -> None:
    status, headers, content = ask(server.port, "/v1/predict", wav.read_bytes(), headers={"Origin": "https://b.example"})
    assert status == 403
    assert "--origin https://b.example" in json.loads(content)["error"]
    assert "access-control-allow-origin" not in headers
    own = {"Origin": f"http://127.0.0.1:{server.port}"}
    assert ask(server.port, "/v1/predict", wav.read_bytes(), headers=own)[0] == 200


def test_nothing_but_the_files_of_the_page_is_served(server: Running) -> None:
    status, headers, content = ask(server.port, "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"soundscene" in content
    for path in ("/../files.py", "/..%2ffiles.py", "/%2e%2e/files.py", "//etc/passwd", "/engine/..%2f..%2ffiles.py", "/no"):
        assert ask(server.port, path)[0] == 404
