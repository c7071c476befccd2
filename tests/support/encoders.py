"""Tiny encoders as ONNX files, for tests that skip where onnx is not installed."""

from pathlib import Path

import numpy as np
import onnx

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


def of_nodes(path: Path, nodes: list, constants: dict | None = None, rate: int = RATE) -> Path:
    """An encoder of nodes from "wave" [batch, sample] to "out"."""
    h, floats = onnx.helper, onnx.TensorProto.FLOAT
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in (constants or {}).items()]
    wave = h.make_tensor_value_info("wave", floats, ["batch", "sample"])
    graph = h.make_graph(
        [h.make_node(kind, inputs, outputs, **options) for kind, inputs, outputs, options in nodes],
        "encoder", [wave], [h.make_tensor_value_info("out", floats, None)], tensors,
    )  # fmt: skip
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9)
    h.set_model_props(model, {"sample_rate": str(rate)})
    path.write_bytes(model.SerializeToString())
    return path


MEAN = [("Abs", ["wave"], ["size"], {}), ("ReduceMean", ["size", "last"], ["mean"], {"keepdims": 1})]
LAST = {"last": np.array([1], np.int64)}


def bands(path: Path, rate: int = RATE, limit: float | None = None) -> Path:
    """An encoder of eight bands of noise filters in time: what a classifier can tell scenes by.

    Features are not finite where a sample is beyond the limit.
    """
    draws = np.random.default_rng(1)
    nodes = [
        ("Unsqueeze", ["wave", "last"], ["channel"], {}),
        ("Conv", ["channel", "filters"], ["found"], {"strides": [32]}),
        ("Abs", ["found"], ["size"], {}),
        ("Transpose", ["size"], ["plain"], {"perm": [0, 2, 1]}),
        ("Abs", ["wave"], ["loud"], {}),
        ("ReduceMax", ["loud", "both"], ["peak"], {"keepdims": 1}),
        ("Sub", ["limit", "peak"], ["room"], {}),
        ("Sqrt", ["room"], ["root"], {}),
        ("Sub", ["root", "root"], ["zero"], {}),
        ("Unsqueeze", ["zero", "last"], ["frame"], {}),
        ("Add", ["plain", "frame"], ["out"], {}),
    ]
    constants = {
        "last": np.array([1], np.int64),
        "both": np.array([1], np.int64),
        "filters": draws.normal(0, 1, (8, 1, 64)).astype(np.float32),
        "limit": np.array(1e9 if limit is None else limit, np.float32),
    }
    return of_nodes(path, nodes, constants, rate)
