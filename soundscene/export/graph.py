"""Write a graph in ONNX: nodes, constants and sub-graphs by a few methods, so that formulas read as formulas.

Opset 18 and IR 9 are what ONNX Runtime reads since 1.14, in Python, C++, C#, Java and in browsers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from jaxtyping import Float, Shaped
from onnx import TensorProto, helper, numpy_helper

OPSET, IR = 18, 9
F32, F64, INT, BOOL = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.bool_)
_TYPES = {F32: TensorProto.FLOAT, F64: TensorProto.DOUBLE, INT: TensorProto.INT64, BOOL: TensorProto.BOOL}
_LEVELS = 127  # of int8, on either side of zero

Shape = Sequence[int | str]
"""Sizes of the axes; a name for one that may differ from call to call."""


class Graph:
    """A graph, or the body of an If or a Scan, that grows node by node. Values are names.

    Args:
        name: Of the graph.
        parent: Graph whose values this body reads; its constants are kept there.
        int8: Whether `weight` keeps weights as 8-bit integers.
    """

    def __init__(self, name: str, parent: "Graph | None" = None, int8: bool = False) -> None:
        self.name = name
        self.int8 = parent.int8 if parent else int8
        self._root: Graph = parent._root if parent else self
        self._n = 0  # names given so far; counted in the root
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._tensors: list[onnx.TensorProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def body(self, name: str) -> "Graph":
        """Return a new graph for the body of an If or a Scan in this one."""
        return Graph(name, self)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output.

        Args:
            kind: Operator of ONNX.
            *inputs: Names of values; an empty one leaves an optional input out.
            **attributes: Of the operator.

        Returns:
            Name of the output.
        """
        return self.ops(1, kind, *inputs, **attributes)[0]

    def ops(self, n: int, kind: str, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node of several outputs.

        Args:
            n: Number of outputs.
            kind: Operator of ONNX.
            *inputs: Names of values.
            **attributes: Of the operator.

        Returns:
            Names of the outputs.
        """
        outputs = [self._new(kind.lower()) for _ in range(n)]
        attributes = {name: value.proto() if isinstance(value, Graph) else value for name, value in attributes.items()}
        self._nodes.append(helper.make_node(kind, list(inputs), outputs, **attributes))
        return outputs

    def constant(self, value: Any, dtype: np.dtype[Any]) -> str:
        """Return a constant, one for all equal ones.

        Args:
            value: Number or array.
            dtype: `F32`, `F64`, `INT` or `BOOL`.
        """
        return self._root._constant(np.asarray(value, dtype))

    def ints(self, *values: int) -> str:
        """Return a vector of integers: axes, shapes, places."""
        return self.constant(values, INT)

    def weight(self, value: Shaped[np.ndarray, "..."], axis: int = 0) -> str:
        """Return a weight of a layer in float32. With `int8` it is kept in 8 bits, one scale for each place of an axis.

        Args:
            value: The weight.
            axis: Axis of the layer's outputs.
        """
        value = np.ascontiguousarray(value, np.float32)
        if not self.int8:
            return self.constant(value, F32)
        return self.integers(*quantise(value, axis), axis=axis)

    def integers(self, levels: Shaped[np.ndarray, "..."], scale: Float[np.ndarray, " output"], axis: int = 0) -> str:
        """Return a weight that is stored as 8-bit integers, in float32.

        Args:
            levels: int8.
            scale: Of each output.
            axis: Axis of the layer's outputs.
        """
        return self.op("DequantizeLinear", self._root._constant(levels), self.constant(scale, F32), axis=axis)

    def cast(self, value: str, dtype: np.dtype[Any]) -> str:
        """Convert a value to another type.

        Args:
            value: The value.
            dtype: `F32`, `F64`, `INT` or `BOOL`.
        """
        return self.op("Cast", value, to=_TYPES[dtype])

    def range(self, stop: str | int, start: str | int = 0) -> str:
        """Return the integers from start to stop - 1.

        Args:
            stop: End, not included; a value or a number.
            start: First.
        """
        first, last = (self.constant(x, INT) if isinstance(x, int) else x for x in (start, stop))
        return self.op("Range", first, last, self.constant(1, INT))

    def size(self, value: str, axis: int) -> str:
        """Return the size of an axis as a number.

        Args:
            value: The value.
            axis: The axis.
        """
        return self.op("Squeeze", self.op("Shape", value, start=axis, end=axis + 1))

    def cut(self, value: str, start: str | int, stop: str | int, axis: int) -> str:
        """Return the places start .. stop - 1 of an axis.

        Args:
            value: What is cut.
            start: First place; a value or a number.
            stop: End, not included.
            axis: The axis.
        """
        bounds = [self.ints(x) if isinstance(x, int) else self.op("Reshape", x, self.ints(1)) for x in (start, stop)]
        return self.op("Slice", value, *bounds, self.ints(axis))

    def either(
        self, condition: str, yes: Callable[["Graph"], Sequence[str]], no: Callable[["Graph"], Sequence[str]]
    ) -> list[str]:
        """Compute one of two bodies. What the other would compute is never run: a GRU of no segments ends the process.

        Args:
            condition: One boolean.
            yes: Writes the body that is computed if it holds, and returns its outputs.
            no: Writes the other one, with as many outputs.

        Returns:
            The outputs of the body that was computed.
        """
        bodies = []
        for name, write in (("yes", yes), ("no", no)):
            body = self.body(name)
            outputs = write(body)
            made = {name for node in body._nodes for name in node.output}
            for output in outputs:
                # what comes from outside needs a name of its own
                body._outputs.append(onnx.ValueInfoProto(name=output if output in made else body.op("Identity", output)))
                made.discard(output)
            bodies.append(body)
        n = {len(body._outputs) for body in bodies}
        assert len(n) == 1, n
        return self.ops(n.pop(), "If", condition, then_branch=bodies[0], else_branch=bodies[1])

    def input(self, name: str, dtype: np.dtype[Any], shape: Shape) -> str:
        """Add an input.

        Args:
            name: Its name.
            dtype: Its type.
            shape: Its shape.
        """
        self._inputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], list(shape)))
        return name

    def optional_input(self, name: str, dtype: np.dtype[Any], shape: Shape) -> str:
        """Add an input that may be left out: nothing where the size of an axis is a name. ONNX Runtime does not list it.

        Args:
            name: Its name.
            dtype: Its type.
            shape: Its shape.
        """
        nothing = np.zeros([0 if isinstance(size, str) else size for size in shape], dtype)
        self._tensors.append(numpy_helper.from_array(nothing, name))
        return self.input(name, dtype, shape)

    def output(self, value: str, name: str, dtype: np.dtype[Any], shape: Shape) -> None:
        """Make a value an output.

        Args:
            value: The value.
            name: Name of the output.
            dtype: Its type.
            shape: Its shape.
        """
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], list(shape)))

    def result(self, value: str, dtype: np.dtype[Any], shape: Shape) -> None:
        """Make a value of this body its next output, under its own name.

        Args:
            value: Computed in the body.
            dtype: Its type.
            shape: Its shape.
        """
        self._outputs.append(helper.make_tensor_value_info(value, _TYPES[dtype], list(shape)))

    def proto(self) -> onnx.GraphProto:
        """Return the graph as it is stored."""
        return helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, self._tensors)

    def model(self, metadata: dict[str, str]) -> onnx.ModelProto:
        """Return the finished file, checked.

        Args:
            metadata: Texts by name.
        """
        model = helper.make_model(
            self.proto(), opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="soundscene"
        )
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        return model

    def _new(self, kind: str) -> str:
        self._root._n += 1
        return f"{kind}_{self._root._n}"

    def _constant(self, array: Shaped[np.ndarray, "..."]) -> str:
        array = np.array(array, order="C")
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._new("c")
            self._tensors.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]


def quantise(weight: Float[np.ndarray, "..."], axis: int) -> tuple[Shaped[np.ndarray, "..."], Float[np.ndarray, " output"]]:
    """Round a weight to integers from -127 to 127 with one scale for each output.

    Args:
        weight: The weight.
        axis: Axis of the outputs.

    Returns:
        Integers of the weight's shape, and the scales.
    """
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scale = (np.abs(weight).max(axis=others) / _LEVELS).astype(np.float32)
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    return np.clip(np.rint(weight / scale.reshape(shape)), -_LEVELS, _LEVELS).astype(np.int8), scale
