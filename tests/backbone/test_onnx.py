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

from tests.support.encoders import LAST, MEAN, RATE, encoder, of_nodes  # noqa: E402 (needs onnx)


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
        ({"rate": None}, "its metadata has no `sample_rate`, and does not tell the rate that it reads; give it by"),
        ({"rate": "fast"}, "its metadata has `sample_rate` = 'fast', which does not tell the rate"),
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


def test_a_rate_may_be_written_as_a_float(tmp_path: Path) -> None:
    assert from_onnx(encoder(tmp_path / "mine.onnx", rate="8000.0")).sample_rate == 8000
    with pytest.raises(BackboneError, match=r"has `sample_rate` = '8000\.5', which"):
        from_onnx(encoder(tmp_path / "mine.onnx", rate="8000.5"))


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


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        (
            [*MEAN, ("RandomNormalLike", ["mean"], ["draw"], {}), ("Concat", ["mean", "draw"], ["out"], {"axis": 1})],
            LAST,
            "gives other features each time for the same samples, so it draws at random",
        ),
        (
            [*MEAN, ("ReduceMean", ["mean", "first"], ["all"], {}), ("Sub", ["mean", "all"], ["off"], {}),
             ("Concat", ["mean", "off"], ["out"], {"axis": 1})],
            LAST | {"first": np.array([0], np.int64)},
            "the features of an example depend on the others of its batch; export it in evaluation mode",
        ),
        (
            [("Reshape", ["wave", "row"], ["flat"], {}), ("Abs", ["flat"], ["size"], {}),
             ("ReduceMean", ["size", "last"], ["out"], {})],
            LAST | {"row": np.array([1, -1], np.int64)},
            r"of shape \[1, 1\] for 2 patches.*; if it can take one example at a time only, export it so: \[1, sample\]",
        ),
        (
            [("Reshape", ["wave", "cut"], ["cut_"], {}), ("Abs", ["cut_"], ["size"], {}),
             ("ReduceMean", ["size", "axis"], ["out"], {"keepdims": 0})],
            {"cut": np.array([0, -1, 100], np.int64), "axis": np.array([2], np.int64)},
            "gives 160 features for 16000 samples, and 80 for another number of them; expected one number for all",
        ),
        ([*MEAN, ("Tile", ["mean", "many"], ["out"], {})], LAST | {"many": np.array([1, 8193], np.int64)},
         "an embedding has 8193 features, allowed are 8192: unknown detection holds matrices"),
        ([*MEAN, ("Div", ["mean", "mean"], ["out"], {})], LAST, "values that are not finite for samples of a peak of 0"),
    ],
)  # fmt: skip
def test_embeddings_that_are_not_of_one_segment_are_refused(
    nodes: list, constants: dict, message: str, tmp_path: Path
) -> None:
    with pytest.raises(BackboneError, match=message):
        from_onnx(of_nodes(tmp_path / "other.onnx", nodes, constants))


def test_a_width_that_comes_with_the_segments_is_refused_when_they_come(tmp_path: Path) -> None:
    content = of_nodes(tmp_path / "grows.onnx", [("Abs", ["wave"], ["out"], {})]).read_bytes()
    facts = {"name": "grows", "sample_rate": 8000, "licence": "", "source": "", "source_sha256": ""}
    stored = StoredBackbone("onnx", facts, {"onnx": torch.frombuffer(bytearray(content), dtype=torch.uint8)})
    backbone = build(stored)  # as a model is loaded: without the probe
    with pytest.raises(BackboneError, match="gives 4000 features for 4000 samples, and 8000 for another number"):
        backbone.embed(waves(2, 4000))
