"""Encoders in ONNX as backbones: the same protocol, with tiny ones made here."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from soundscene.backbone.build import build
from soundscene.backbone.encoder import Backbone
from soundscene.backbone.onnx import from_onnx
from soundscene.backbone.stored import StoredBackbone
from soundscene.backbone.stream import BackboneSource
from soundscene.errors import BackboneError
from soundscene.recipe import AudioRecipe

onnx = pytest.importorskip("onnx", exc_type=ImportError)
pytest.importorskip("onnxruntime")

RATE = 8000


def encoder(
    path: Path,
    shape: tuple = ("batch", "sample"),
    rank: int = 2,
    rate: str | None = str(RATE),
    kind: str = "float32",
    n_inputs: int = 1,
) -> Path:
    """An encoder whose features are means of |x|, 2 |x|, 3 |x|: over the samples, or over quarters of them (rank 3)."""
    h, number = onnx.helper, getattr(onnx.TensorProto, {"float32": "FLOAT", "int16": "INT16"}[kind])
    inputs = [h.make_tensor_value_info(f"wave{i}", number, list(shape)) for i in range(n_inputs)]
    nodes = [h.make_node("Cast", ["wave0"], ["wave"], to=onnx.TensorProto.FLOAT), h.make_node("Abs", ["wave"], ["size"])]
    constants = {
        "gains": np.array([1, 2, 3], np.float32),
        "row": np.array([1, -1], np.int64),
        "last": np.array([-1], np.int64),
    }
    if rank == 3:
        constants["frames"] = np.array([4, -1] if len(shape) == 1 else [0, 4, -1], np.int64)
        nodes.append(h.make_node("Reshape", ["size", "frames"], ["cut"]))
    nodes.append(h.make_node("ReduceMean", ["cut" if rank == 3 else "size", "last"], ["mean"], keepdims=1))
    nodes.append(h.make_node("Mul", ["mean", "gains"], ["embedding"]))
    output = h.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, None)
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    model = h.make_model(
        h.make_graph(nodes, "encoder", inputs, [output], tensors), opset_imports=[h.make_opsetid("", 18)], ir_version=9
    )
    if rate is not None:
        h.set_model_props(model, {"sample_rate": rate})
    path.write_bytes(model.SerializeToString())
    return path


def waves(n: int, samples: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (n, samples)).astype(np.float32)


@pytest.mark.parametrize("shape", [("batch", "sample"), (1, "sample"), ("sample",), (None, None)])
@pytest.mark.parametrize("rank", [2, 3])
def test_embeddings_of_whole_segments(shape: tuple, rank: int, tmp_path: Path) -> None:
    backbone = build(from_onnx(encoder(tmp_path / "mine.onnx", shape, rank)))
    assert isinstance(backbone, Backbone)
    assert (backbone.name, backbone.sample_rate, backbone.n_features) == ("mine", RATE, 3)
    x = waves(5, 16000)
    expected = np.abs(x).mean(axis=1, keepdims=True) * [1, 2, 3]
    np.testing.assert_allclose(backbone.embed(x), expected, rtol=1e-4)
    assert backbone.embed(x[:0]).shape == (0, 3)


@pytest.mark.parametrize("shape", [("batch", 4000), (1, 4000), (4000,)])
def test_an_input_of_fixed_length_reads_patches(shape: tuple, tmp_path: Path) -> None:
    stored = from_onnx(encoder(tmp_path / "mine.onnx", shape))
    x = waves(2, 10001)
    patches = np.stack([np.abs(x[:, at : at + 4000]).mean(axis=1) for at in (0, 2000, 4000, 6000)], axis=1)
    np.testing.assert_allclose(build(stored).embed(x)[:, 0], patches.mean(axis=1), rtol=1e-4)
    both = build(stored, "mean+max").embed(x)
    assert both.shape == (2, 6)
    np.testing.assert_allclose(both[:, 3], patches.max(axis=1), rtol=1e-4)
    far = build(stored, patch_hop_s=0.5).embed(x)
    np.testing.assert_allclose(far[:, 0], patches[:, [0, 2]].mean(axis=1), rtol=1e-4)
    short = build(stored).embed(x[:, :1000])  # extended by zeros
    np.testing.assert_allclose(short[:, 0], np.abs(x[:, :1000]).sum(axis=1) / 4000, rtol=1e-4)


def test_one_file_holds_the_encoder(tmp_path: Path) -> None:
    stored = from_onnx(encoder(tmp_path / "mine.onnx", rate=None), RATE, "my encoder", "MIT")
    (tmp_path / "mine.onnx").unlink()
    stored.save(tmp_path / "mine.safetensors")
    again = StoredBackbone.load(tmp_path / "mine.safetensors")
    assert again.digest == stored.digest
    assert (again.facts["licence"], again.name, again.sample_rate) == ("MIT", "my encoder", RATE)
    source = BackboneSource(build(again), AudioRecipe(sample_rate=RATE))
    x = waves(1, 2 * 16000)[0]
    stream = source.stream()
    pieces = [stream.push(block) for block in np.split(x, [5, 20000])]
    rows = np.concatenate([piece.features[0] for piece in [*pieces, stream.flush()]])
    np.testing.assert_array_equal(rows, x.reshape(2, -1))  # the samples: it is the file that turns them into embeddings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": None}, "its metadata does not tell the rate that it reads .*; give it by --sample-rate"),
        ({"rate": "fast"}, "does not tell the rate"),
        ({"rate": "10"}, "sample rate 10, expected whole hertz from 2000 to 384000"),
        ({"kind": "int16"}, r"its inputs are wave0 tensor\(int16\)"),
        ({"n_inputs": 2}, "its inputs are wave0 .*, wave1 "),
        ({"shape": ("batch", 1, "sample")}, "its inputs are wave0 tensor"),
        ({"shape": (3, "sample")}, "takes exactly 3 examples"),
        ({"shape": ("batch", 10**7)}, "its input has 10000000 samples, allowed are 60 s"),
    ],
)
def test_other_encoders_are_refused(options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=message) as error:
        from_onnx(encoder(tmp_path / "mine.onnx", **options))
    assert "\n" not in str(error.value)


def test_other_outputs_are_refused(tmp_path: Path) -> None:
    h, floats = onnx.helper, onnx.TensorProto.FLOAT
    wave = h.make_tensor_value_info("wave", floats, ["batch", "sample"])
    for node, message in (
        (h.make_node("ReduceMean", ["wave"], ["out"], keepdims=0), r"shape \[\]"),
        (h.make_node("Log", ["wave"], ["out"]), "values that are not finite"),  # of silence
        (h.make_node("ArgMax", ["wave"], ["out"], axis=1), "first output is int64"),
    ):
        kind = onnx.TensorProto.INT64 if node.op_type == "ArgMax" else floats
        graph = h.make_graph([node], "g", [wave], [h.make_tensor_value_info("out", kind, None)])
        model = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9)
        h.set_model_props(model, {"sample_rate": "8000"})
        (tmp_path / "other.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(BackboneError, match=message):
            from_onnx(tmp_path / "other.onnx")


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    data = encoder(tmp_path / "mine.onnx").read_bytes()
    other = tmp_path / "other.onnx"
    with pytest.raises(BackboneError, match="no such file, expected an ONNX file"):
        from_onnx(other)
    draws = np.random.default_rng(0)
    for round_ in range(60):
        changed = bytearray(data)
        changed[int(draws.integers(0, len(data)))] ^= 1 << int(draws.integers(0, 8))
        other.write_bytes(changed if round_ % 2 else data[: int(draws.integers(0, len(data)))])
        with suppress(BackboneError):  # and nothing else
            from_onnx(other)
    stored = from_onnx(tmp_path / "mine.onnx")
    with pytest.raises(BackboneError, match="holds no ONNX file"):
        build(StoredBackbone("onnx", stored.facts, {}))


def beside(path: Path, where: str) -> Path:
    """An encoder one of whose tensors, of some kind, lies in weights.bin beside it."""
    model = onnx.load_model(encoder(path))
    tensor = model.graph.initializer[0]  # gains
    model.graph.initializer.remove(tensor)
    tensor = onnx.TensorProto.FromString(tensor.SerializeToString())
    (path.parent / "weights.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    h = onnx.helper
    constant = h.make_node("Constant", [], ["gains"])
    constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR, t=tensor)
    if where == "initializer":
        model.graph.initializer.append(tensor)
    elif where == "constant":
        model.graph.node.insert(0, constant)
    elif where == "body":
        constant.output[0] = "inner"
        body = h.make_graph([constant], "body", [], [h.make_tensor_value_info("inner", onnx.TensorProto.FLOAT, None)])
        yes = h.make_node("Constant", [], ["yes"], value=onnx.numpy_helper.from_array(np.array(True)))
        choice = h.make_node("If", ["yes"], ["gains"], then_branch=body, else_branch=body)
        model.graph.node.insert(0, choice)
        model.graph.node.insert(0, yes)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("where", ["initializer", "constant", "body"])
def test_weights_beside_the_file_are_refused_also_where_they_would_be_found(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where ONNX Runtime looks for them
    path = beside(tmp_path / "mine.onnx", where)
    with pytest.raises(BackboneError, match=r"its weights lie beside the file \(gains.*; save it again by onnx.save"):
        from_onnx(path)
    content = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    facts = from_onnx(encoder(tmp_path / "whole.onnx")).facts
    with pytest.raises(BackboneError, match="its weights lie beside the file"):  # as a stranger's model would hold it
        build(StoredBackbone("onnx", facts, {"onnx": content}))
    onnx.save_model(onnx.load_model(path), tmp_path / "again.onnx", save_as_external_data=False)  # what the message says
    assert build(from_onnx(tmp_path / "again.onnx")).n_features == 3
