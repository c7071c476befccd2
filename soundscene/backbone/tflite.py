"""Read the weights of a network from a TensorFlow Lite file, without TensorFlow: its flatbuffer is walked by hand.

A flatbuffer is tables that point at each other. A table begins with the way back to its list of fields, the list holds for
each field where in the table it is, 0 where it is absent. Every read is checked against the file's length, so that a
damaged or a foreign file is an error of one line. The PyPI packages that read it (`tflite`, `flatbuffers`) hold the schema
of 150 operators and check no bounds; five tables are needed here.

Source: tensorflow/lite/schema/schema.fbs, version 3.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from soundscene.errors import SceneError

CONV_2D, DEPTHWISE_CONV_2D, DEQUANTIZE, FULLY_CONNECTED = 3, 4, 6, 9
KINDS = {CONV_2D: "convolution", DEPTHWISE_CONV_2D: "depthwise convolution", FULLY_CONNECTED: "fully connected layer"}

_IDENTIFIER = b"TFL3"
_VERSION = 3
_TYPES = {0: "<f4", 1: "<f2", 2: "<i4", 3: "|u1", 9: "|i1"}
_FLOATS = (0, 1)
_MOST = 100_000  # of tables in a list
_RELU, _NO_ACTIVATION, _SAME = 1, 0, 0
_MOST_VALUES = 1 << 26  # of a tensor; YAMNet's largest has 1 million


class DamagedError(SceneError):
    """What the file holds contradicts itself or its format."""


@dataclass(frozen=True)
class Layer:
    """A layer with weights.

    Attributes:
        kind: Code of the operator: `CONV_2D`, `DEPTHWISE_CONV_2D` or `FULLY_CONNECTED`.
        weight: As stored: [out, height, width, in], [1, height, width, channel] or [out, in].
        bias: [out], or None.
        stride: Of a convolution, 1 otherwise.
        same: Whether a convolution pads its input by the rule SAME.
        relu: Whether a ReLU follows.
    """

    kind: int
    weight: Float32[np.ndarray, "..."]
    bias: Float32[np.ndarray, " out"] | None
    stride: int
    same: bool
    relu: bool


def read_layers(data: bytes) -> list[Layer]:
    """Read the layers with weights of a file's first graph, in the order in which they are computed.

    Weights of 8 bits are multiplied by their scales, one for each output channel or one for all.

    Args:
        data: The whole file.

    Raises:
        DamagedError: It is no TensorFlow Lite file, or cut short, or contradicts itself.
    """
    if data[4:8] != _IDENTIFIER:
        raise DamagedError("not a TensorFlow Lite file")
    model = _Table(data, _u32(data, 0))
    if (version := model.u32(0)) != _VERSION:
        raise DamagedError(f"TensorFlow Lite schema {version}, expected {_VERSION}")
    codes = [max(code.i32(3), code.i8(0)) for code in model.tables(1)]  # field 0 is of files before 2020
    graphs = model.tables(2)
    if not graphs:
        raise DamagedError("no graph")
    return list(_layers(_Graph(graphs[0].tables(0), model.tables(4)), graphs[0].tables(3), codes))


def _layers(graph: "_Graph", operators: list["_Table"], codes: list[int]) -> Iterator[Layer]:
    source: dict[int, int] = {}  # tensor of floats -> stored tensor that it is made of
    for operator in operators:
        code = _at(codes, operator.u32(0), "operator")
        inputs, outputs = operator.i32s(1), operator.i32s(2)
        if code == DEQUANTIZE and inputs and outputs:
            source[outputs[0]] = inputs[0]
        if code not in KINDS:
            continue
        if len(inputs) < 2:
            raise DamagedError(f"a {KINDS[code]} without weights")
        weight = graph.values(source.get(inputs[1], inputs[1]))
        bias = graph.values(source.get(inputs[2], inputs[2])) if len(inputs) > 2 and inputs[2] >= 0 else None
        if bias is not None and bias.ndim != 1:
            raise DamagedError("a bias that is no vector")
        options = operator.table(4)
        stride, same, activation = 1, True, _NO_ACTIVATION
        if options is not None and code == FULLY_CONNECTED:
            activation = options.i8(0)
        elif options is not None:
            stride, same = options.i32(1), options.i8(0) == _SAME
            if options.i32(2) != stride:
                raise DamagedError(f"a {KINDS[code]} of strides {options.i32(2)} and {stride}")
            activation = options.i8(3 if code == CONV_2D else 4)
        yield Layer(code, weight, bias, stride, same, activation == _RELU)


class _Graph:
    """The tensors of a graph and the buffers that hold their values."""

    def __init__(self, tensors: list["_Table"], buffers: list["_Table"]) -> None:
        self._tensors = tensors
        self._buffers = buffers

    def values(self, number: int) -> Float32[np.ndarray, "..."]:
        """Return the values of a constant tensor as float32."""
        tensor = _at(self._tensors, number, "tensor")
        shape = tensor.i32s(0)
        kind = tensor.i8(1)
        if kind not in _TYPES:
            raise DamagedError(f"weights of type {kind}")
        stored = _at(self._buffers, tensor.u32(2), "buffer").bytes(0)
        size = 1
        for n in shape:  # Python's integers do not overflow
            size *= n
            if not 1 <= n <= _MOST_VALUES or size > _MOST_VALUES:
                raise DamagedError(f"a tensor of shape {shape[:8]}")
        dtype = np.dtype(_TYPES[kind])
        if len(stored) != size * dtype.itemsize:
            raise DamagedError(f"a tensor of {size} values in {len(stored)} bytes")
        values = np.frombuffer(stored, dtype).reshape(shape)
        plain = values.astype(np.float32) if kind in _FLOATS else _scaled(values, tensor.table(4))
        if not np.isfinite(plain).all():
            raise DamagedError("weights that are not finite")
        return plain


def _scaled(values: np.ndarray, quantisation: "_Table | None") -> Float32[np.ndarray, "..."]:
    """Multiply integers by their scale, of all or of each channel, after taking off the zero point."""
    scale = np.array(quantisation.f32s(2) if quantisation else (), np.float64)
    zero = np.array(quantisation.i64s(3) if quantisation else (), np.float64)
    axis = quantisation.i32(6) if quantisation else 0
    if len(zero) == 0:
        zero = np.zeros_like(scale)
    if len(scale) == 0 or len(zero) not in (1, len(scale)) or not 0 <= axis < max(values.ndim, 1):
        raise DamagedError("integers without scales")
    if len(scale) > 1:
        if values.ndim == 0 or values.shape[axis] != len(scale):
            raise DamagedError(f"{len(scale)} scales of a tensor of shape {list(values.shape)[:8]}")
        along = [1] * values.ndim
        along[axis] = -1
        scale, zero = scale.reshape(along), zero.reshape(along) if len(zero) > 1 else zero
    with np.errstate(over="ignore", invalid="ignore"):  # refused by who reads the result
        return ((values - zero) * scale).astype(np.float32)


class _Table:
    """A table of a flatbuffer.

    Args:
        data: The file.
        at: Where the table begins.
    """

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._fields = at - _unpack("<i", data, at)
        self._n_fields = (_unpack("<H", data, self._fields) - 4) // 2

    def i8(self, field: int) -> int:
        return self._number("<b", field)

    def i32(self, field: int) -> int:
        return self._number("<i", field)

    def u32(self, field: int) -> int:
        return self._number("<I", field)

    def table(self, field: int) -> "_Table | None":
        at = self._follow(field)
        return None if at is None else _Table(self._data, at)

    def tables(self, field: int) -> list["_Table"]:
        first, n = self._list(field, 4)
        if n > _MOST:
            raise DamagedError(f"a list of {n} tables")
        places = [first + 4 * i for i in range(n)]
        return [_Table(self._data, at + _u32(self._data, at)) for at in places]

    def i32s(self, field: int) -> list[int]:
        return self._numbers(field, "<i4")

    def i64s(self, field: int) -> list[int]:
        return self._numbers(field, "<i8")

    def f32s(self, field: int) -> list[float]:
        return self._numbers(field, "<f4")

    def bytes(self, field: int) -> bytes:
        first, n = self._list(field, 1)
        return self._data[first : first + n]

    def _place(self, field: int) -> int | None:
        """Where a field's value is; None where it has its default."""
        if field >= self._n_fields:
            return None
        offset = _unpack("<H", self._data, self._fields + 4 + 2 * field)
        return self._at + offset if offset else None

    def _number(self, kind: str, field: int) -> int:
        at = self._place(field)
        return 0 if at is None else _unpack(kind, self._data, at)

    def _follow(self, field: int) -> int | None:
        at = self._place(field)
        return None if at is None else at + _u32(self._data, at)

    def _list(self, field: int, size: int) -> tuple[int, int]:
        """Where a list of values of `size` bytes begins, and its length."""
        at = self._follow(field)
        if at is None:
            return 0, 0
        n = _u32(self._data, at)
        if at + 4 + n * size > len(self._data):
            raise DamagedError("cut short")
        return at + 4, n

    def _numbers(self, field: int, kind: str) -> list:
        size = np.dtype(kind).itemsize
        first, n = self._list(field, size)
        return np.frombuffer(self._data, kind, n, first).tolist() if n else []


def _at(items: list, number: int, what: str):
    if not 0 <= number < len(items):
        raise DamagedError(f"{what} {number} of {len(items)}")
    return items[number]


def _u32(data: bytes, at: int) -> int:
    return _unpack("<I", data, at)


def _unpack(kind: str, data: bytes, at: int) -> int:
    if not 0 <= at <= len(data) - struct.calcsize(kind):
        raise DamagedError("cut short")
    return struct.unpack_from(kind, data, at)[0]
