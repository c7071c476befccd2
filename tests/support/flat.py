"""A writer of flatbuffers for tests: enough to make a TensorFlow Lite file, from the format's description.

Tables are written top down: an object's place is left open in its parent, and filled in once the object is behind it.
"""

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from soundscene.network.yamnet import LAYERS


@dataclass
class Table:
    """Fields by number: an int or float with its struct code, or a vector, or a table, or a list of tables."""

    fields: dict[int, Any] = field(default_factory=dict)


def scalar(code: str, value: float) -> tuple[str, float]:
    return code, value


def write(root: Table, identifier: bytes = b"TFL3") -> bytes:
    out = bytearray(8)
    out[4:8] = identifier
    _point(out, 0, _table(out, root))
    return bytes(out)


def _point(out: bytearray, place: int, target: int) -> None:
    struct.pack_into("<I", out, place, target - place)


def _align(out: bytearray, size: int) -> None:
    out.extend(bytes(-len(out) % size))


def _table(out: bytearray, table: Table) -> int:
    n = max(table.fields, default=-1) + 1
    # the list of fields, then the table: its way back, then 8 bytes for each field, whatever it needs
    _align(out, 8)
    fields_at = len(out)
    out.extend(bytes(4 + 2 * n))
    _align(out, 8)
    at = len(out)
    out.extend(bytes(8 + 8 * n))
    struct.pack_into("<HH", out, fields_at, 4 + 2 * n, 8 + 8 * n)
    struct.pack_into("<i", out, at, at - fields_at)
    for number, value in table.fields.items():
        place = at + 8 + 8 * number
        struct.pack_into("<H", out, fields_at + 4 + 2 * number, place - at)
        if isinstance(value, tuple):
            struct.pack_into(f"<{value[0]}", out, place, value[1])
        elif isinstance(value, Table):
            _point(out, place, _table(out, value))
        else:
            _point(out, place, _vector(out, value))
    return at


def _vector(out: bytearray, values: list[Table] | np.ndarray) -> int:
    _align(out, 8)
    if isinstance(values, np.ndarray):
        out.extend(bytes(4))  # the values, not their number, stand at a multiple of 8
        at = len(out)
        out.extend(struct.pack("<I", len(values)) + values.tobytes())
        return at
    at = len(out)
    out.extend(struct.pack("<I", len(values)) + bytes(4 * len(values)))
    for i, value in enumerate(values):
        _point(out, at + 4 + 4 * i, _table(out, value))
    return at


# --- a small YAMNet -------------------------------------------------------------------------------------------------------

CONV, DEPTHWISE, DEQUANTIZE, DENSE = 3, 4, 6, 9
TYPES = {"<f4": 0, "<f2": 1, "|i1": 9}


class Graph:
    """Collects tensors, buffers and operators."""

    def __init__(self) -> None:
        self.tensors: list[Table] = []
        self.buffers: list[Table] = [Table()]
        self.operators: list[Table] = []
        self.codes = [CONV, DEPTHWISE, DEQUANTIZE, DENSE]

    def tensor(self, values: np.ndarray, scale: np.ndarray | None = None, axis: int = 0) -> int:
        self.buffers.append(Table({0: np.frombuffer(values.tobytes(), np.uint8)}))
        fields: dict[int, Any] = {
            0: np.array(values.shape, np.int32),
            1: scalar("b", TYPES[values.dtype.str]),
            2: scalar("I", len(self.buffers) - 1),
        }
        if scale is not None:
            fields[4] = Table({2: scale.astype("<f4"), 3: np.zeros(len(scale), np.int64), 6: scalar("i", axis)})
        self.tensors.append(Table(fields))
        return len(self.tensors) - 1

    def unknown(self) -> int:
        self.tensors.append(Table({0: np.array([1], np.int32), 1: scalar("b", 0), 2: scalar("I", 0)}))
        return len(self.tensors) - 1

    def operator(self, code: int, inputs: list[int], outputs: list[int], options: Table | None = None) -> None:
        fields: dict[int, Any] = {
            0: scalar("I", self.codes.index(code)),
            1: np.array(inputs, np.int32),
            2: np.array(outputs, np.int32),
        }
        if options:
            fields[4] = options
        self.operators.append(Table(fields))

    def file(self, new_codes: bool = True) -> bytes:
        place, kind = (3, "i") if new_codes else (0, "b")
        codes = [Table({place: scalar(kind, code)}) for code in self.codes]
        graph = Table({0: self.tensors, 3: self.operators})
        return write(Table({0: scalar("I", 3), 1: codes, 2: [graph], 4: self.buffers}))


def tflite(
    filters: int = 4, stored: str = "int8", seed: int = 0, n_classes: int = 521, new_codes: bool = True
) -> tuple[bytes, list[tuple[np.ndarray, np.ndarray]]]:
    """A TensorFlow Lite file of YAMNet with random weights, and for each layer weight and bias as it stores them.

    Args:
        filters: Of the first layer.
        stored: "int8", "float16" (with operators that make floats of them) or "float32".
        seed: Of the weights.
        n_classes: Outputs.
        new_codes: Where operators have their codes: since 2020, or before.
    """
    draws = np.random.default_rng(seed)
    graph = Graph()
    mel = draws.integers(-127, 128, (64, 257)).astype(np.int8)
    graph.operator(DENSE, [graph.unknown(), graph.tensor(mel, np.array([0.01])), graph.tensor(np.zeros(64, "<f4"))], [0])
    layers = []

    def add(code: int, shape: tuple[int, ...], axis: int, stride: int = 1) -> None:
        fan_in = int(np.prod(shape)) // shape[axis]
        weight = draws.normal(0, np.sqrt(2 / fan_in), shape).astype("<f4")
        bias = draws.normal(0, 0.1, shape[axis]).astype("<f4")
        if stored == "int8":
            along = tuple(i for i in range(len(shape)) if i != axis)
            scale = (np.abs(weight).max(axis=along) / 127).astype("<f4")
            spread = scale.reshape([-1 if i == axis else 1 for i in range(len(shape))])
            integers = np.clip(np.rint(weight / spread), -127, 127).astype(np.int8)
            number, weight = graph.tensor(integers, scale, axis), (integers * spread).astype("<f4")
        elif stored == "float16":
            number = graph.unknown()
            graph.operator(DEQUANTIZE, [graph.tensor(weight.astype("<f2"))], [number])
            weight = weight.astype("<f2").astype("<f4")
        else:
            number = graph.tensor(weight)
        options = Table({1: scalar("i", stride), 2: scalar("i", stride), 4 if code == DEPTHWISE else 3: scalar("b", 1)})
        inputs = [graph.unknown(), number, graph.tensor(bias)]
        graph.operator(code, inputs, [graph.unknown()], Table() if code == DENSE else options)
        layers.append((weight, bias))

    add(CONV, (filters, 3, 3, 1), 0, 2)
    n = filters
    for stride, multiple in LAYERS:
        add(DEPTHWISE, (1, 3, 3, n), 3, stride)
        add(CONV, (multiple * filters, 1, 1, n), 0)
        n = multiple * filters
    add(DENSE, (n_classes, n), 0)
    return graph.file(new_codes), layers
