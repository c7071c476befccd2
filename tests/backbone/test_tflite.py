"""The reader of TensorFlow Lite against files that tests/support/flat.py writes, and against every kind of damage."""

import struct

import numpy as np
import pytest

from soundscene.backbone.tflite import CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, DamagedError, read_layers
from tests.support.flat import CONV, DENSE, Graph, Table, scalar, tflite, write


@pytest.mark.parametrize("stored", ["int8", "float16", "float32"])
@pytest.mark.parametrize("new_codes", [True, False])
def test_layers_are_those_written(stored: str, new_codes: bool) -> None:
    data, expected = tflite(2, stored, new_codes=new_codes)
    layers = read_layers(data)
    assert [layer.kind for layer in layers[:4]] == [FULLY_CONNECTED, CONV_2D, DEPTHWISE_CONV_2D, CONV_2D]
    for layer, (weight, bias) in zip(layers[1:], expected, strict=True):
        np.testing.assert_allclose(layer.weight, weight, rtol=1e-6)
        assert layer.bias is not None
        np.testing.assert_array_equal(layer.bias, bias)
    strides = [layer.stride for layer in layers[1:-1]]
    assert strides == [2, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 2, 1] + [1] * 10 + [2, 1, 1, 1]
    assert [layer.relu for layer in layers] == [False, *[True] * 27, False]


def test_every_cut_is_an_error_of_its_own() -> None:
    data, _ = tflite(1, "int8", n_classes=3)
    for size in [*range(0, 400, 7), *range(400, len(data), 1997)]:
        with pytest.raises(DamagedError):
            read_layers(data[:size])


@pytest.mark.parametrize("rounds", [25, pytest.param(1500, marks=pytest.mark.slow)])
def test_mutations_raise_nothing_else(rounds: int) -> None:
    """Single bytes, words that point anywhere, and swapped blocks; some still read, none may crash or take memory."""
    data, _ = tflite(1, "int8", n_classes=3)
    draws = np.random.default_rng(0)
    refused = 0
    for round_ in range(rounds):
        mutated = bytearray(data)
        for _ in range(1 + round_ % 3):
            at = int(draws.integers(0, len(data) - 8))
            if draws.random() < 0.5:
                mutated[at] = int(draws.integers(0, 256))
            else:
                extreme = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, int(draws.integers(0, 2**32))]
                struct.pack_into("<I", mutated, at // 4 * 4, extreme[int(draws.integers(0, len(extreme)))])
        try:
            read_layers(bytes(mutated))
        except DamagedError:
            refused += 1
    assert refused > rounds / 5


@pytest.mark.parametrize("size", [0, 1, 4, 7, 8, 100, 5000])
def test_noise_is_no_file(size: int) -> None:
    noise = np.random.default_rng(size).bytes(size)
    with pytest.raises(DamagedError, match="not a TensorFlow Lite file"):
        read_layers(noise)
    with pytest.raises(DamagedError):
        read_layers(noise[:4] + b"TFL3" + noise[8:])


def one_layer(**changes: object) -> bytes:
    """A file of one layer of 2 x 3 integers, of which something is changed."""
    graph = Graph()
    integers = np.array([[1, -2, 3], [4, 5, -127]], np.int8)
    weight = graph.tensor(integers, np.array([0.5, 0.25]))
    graph.tensors[weight].fields |= changes.get("tensor", {})  # type: ignore[arg-type]
    graph.tensors[weight].fields[4].fields |= changes.get("quantisation", {})  # type: ignore[arg-type]
    graph.operator(DENSE, [graph.unknown(), weight, -1], [graph.unknown()])
    return graph.file()


def test_scales_belong_to_channels() -> None:
    (layer,) = read_layers(one_layer())
    np.testing.assert_array_equal(layer.weight, [[0.5, -1, 1.5], [1, 1.25, -31.75]])
    assert layer.bias is None
    (layer,) = read_layers(one_layer(quantisation={2: np.array([2.0], "<f4"), 3: np.array([1], np.int64)}))
    np.testing.assert_array_equal(layer.weight, [[0, -6, 4], [6, 8, -256]])
    (layer,) = read_layers(
        one_layer(quantisation={2: np.array([1, 2, 4], "<f4"), 3: np.zeros(3, np.int64), 6: scalar("i", 1)})
    )
    np.testing.assert_array_equal(layer.weight, [[1, -4, 12], [4, 10, -508]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantisation": {2: np.zeros(0, "<f4")}}, "integers without scales"),
        ({"quantisation": {2: np.ones(3, "<f4"), 3: np.zeros(3, np.int64)}}, "3 scales of a tensor of shape"),
        ({"quantisation": {6: scalar("i", 5)}}, "integers without scales"),
        ({"quantisation": {2: np.array([np.nan, 1], "<f4")}}, "not finite"),
        ({"quantisation": {2: np.array([3e38, 1], "<f4")}}, "not finite"),
        ({"tensor": {0: np.array([2, 4], np.int32)}}, "8 values in 6 bytes"),
        ({"tensor": {0: np.array([2**30, 2**30], np.int32)}}, "a tensor of shape"),
        ({"tensor": {0: np.array([-2, -3], np.int32)}}, "a tensor of shape"),
        ({"tensor": {1: scalar("b", 7)}}, "weights of type 7"),
        ({"tensor": {2: scalar("I", 77)}}, "buffer 77 of 2"),
    ],
)
def test_what_contradicts_itself_is_named(changes: dict, message: str) -> None:
    with pytest.raises(DamagedError, match=message):
        read_layers(one_layer(**changes))


def test_other_files_are_named() -> None:
    with pytest.raises(DamagedError, match="schema 2, expected 3"):
        read_layers(write(Table({0: scalar("I", 2)})))
    with pytest.raises(DamagedError, match="no graph"):
        read_layers(write(Table({0: scalar("I", 3)})))
    graph = Graph()
    graph.operator(CONV, [graph.unknown()], [graph.unknown()])
    with pytest.raises(DamagedError, match="a convolution without weights"):
        read_layers(graph.file())
    assert read_layers(Graph().file()) == []
