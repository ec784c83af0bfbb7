"""Well-formed graphs that ask for what makes no sense, or far too much: refused before a kernel sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastgru.engine import Executable
from fastgru.engine.partition import make_runnable
from fastgru.errors import FastGRUError, InvalidModelError, ShapeError, UnsupportedModelError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference.pool import seen_counts
from fastgru.reference.windows import slide
from fastgru.spec import GRUSpec, LSTMSpec, RNNSpec

Array = NDArray[Any]

BYTES = np.zeros((2, 3, 4), np.int8)
FLOATS = np.zeros((2, 3, 4), np.float32)
ONE_AXIS = {"strides": [1], "pads": [0, 0], "dilations": [1]}
FORMS = {"gru": (GRUSpec(4, 2), 3), "lstm": (LSTMSpec(4, 2), 4), "rnn": (RNNSpec(4, 2), 1)}


def layer(op: str, x: Array, *more: Array, lengths: Array | None = None) -> tuple[Any, ...]:
    spec, gates = FORMS[op]
    given = [x, None, lengths, None, *([None] if op == "lstm" else [])]
    weights = [np.zeros((gates * 2, 4), np.float32), np.zeros((gates * 2, 2), np.float32), None, None]
    return op, [*given, *weights, *([None] if op == "lstm" else []), *more], {"spec": spec.to_dict()}


def i64(*values: int) -> Array:
    return np.array(values, np.int64)


CASES: list[tuple[Any, type[FastGRUError], str]] = [
    *((layer(op, BYTES), ShapeError, "x has dtype int8, expected a float") for op in FORMS),
    *((layer(op, FLOATS, np.zeros(2, np.float32)), ShapeError, "weight inputs, expected") for op in FORMS),
    *(
        (layer(op, FLOATS, lengths=np.ones(3, np.float32)), ShapeError, "dtype float32, expected an integer")
        for op in FORMS
    ),
    (("slice", [FLOATS, i64(0), np.array([1.5])], {}), ShapeError, "ends: got float64"),
    (("scatter_nd", [FLOATS[:0], i64(0).reshape(1, 1), FLOATS[:1]], {"reduction": "none"}), ShapeError, "to replace"),
    (("split", [FLOATS], {"axis": 2, "parts": 1 << 31}), ShapeError, "parts is 2147483648, expected 1 to 4"),
    (("expand", [FLOATS, i64(1 << 20, 1 << 20, 2, 3, 4)], {}), ShapeError, "expected at most"),
    (("stft", [FLOATS[0], np.ones(2, np.int64)], {"step": 1}), ShapeError, "expected equal dtypes"),
    (
        ("pool", [FLOATS], {**ONE_AXIS, "kind": "sum", "kernel": [1 << 19], "pads": [1 << 20, 1 << 20]}),
        ShapeError, "far more than",
    ),
    (
        ("conv_transpose", [FLOATS, np.zeros((3, 2, 5), np.float32)],
         {**ONE_AXIS, "strides": [1 << 20], "group": 1, "output_padding": [0]}),
        UnsupportedModelError, "kinds of outputs",
    ),
    (
        ("resize", [np.zeros((1, 1 << 25), np.float32), None, np.array([1, 1 / 2000], np.float32)],
         {"mode": "linear", "coordinates": "half_pixel", "antialias": True}),
        ShapeError, "neighbours of each of 16777",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("node", "error", "said"), CASES, ids=lambda v: v[0] if isinstance(v, tuple) else "")
def test_it_is_refused(node: Any, error: type[FastGRUError], said: str) -> None:
    op, arrays, attrs = node
    names = tuple("" if a is None else f"x{i}" for i, a in enumerate(arrays))
    parts = 2 if op == "split" else 1
    outputs = tuple(f"y{i}" for i in range(parts))
    spec = TensorSpec("x0", arrays[0].dtype.name, (None,) * arrays[0].ndim)
    constants = {n: a for n, a in zip(names[1:], arrays[1:], strict=True) if a is not None}
    graph = Graph(
        (spec,), tuple(TensorSpec(y, "float32", None) for y in outputs), (Node(op, names, outputs, attrs),), constants
    )
    with pytest.raises(error, match=said):
        Executable(graph).program({"x0": arrays[0].shape})


def test_a_split_of_a_constant_has_the_outputs_that_it_names() -> None:
    node = Node("split", ("c",), ("y", "z"), {"axis": 0, "parts": 1})
    graph = Graph((), (TensorSpec("z", "float32", None),), (node,), {"c": np.ones(4, np.float32)})
    with pytest.raises((InvalidModelError, ShapeError), match="2 outputs"):
        Executable(graph).program({})


def test_constants_that_float32_does_not_hold_are_infinite_without_a_warning() -> None:
    node = Node("binary", ("x", "c"), ("y",), {"kind": "add"})
    x = TensorSpec("x", "float32", (1,))
    graph = Graph((x,), (TensorSpec("y", "float32", None),), (node,), {"c": np.array([1e300])})
    assert Executable(graph).run({"x": np.zeros(1, np.float32)})["y"].tolist() == [np.inf]
    assert Executable(graph, precision="float64").run({"x": np.zeros(1, np.float32)})["y"].tolist() == [1e300]


@pytest.mark.parametrize("op", ["linear", "matmul"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_sums_of_nothing(op: str, precision: str) -> None:
    weight = np.zeros((5, 0) if op == "linear" else (0, 5), np.float32)
    node = Node(op, ("x", "w"), ("y",))
    x = TensorSpec("x", "float32", (None, 0))
    graph = Graph((x,), (TensorSpec("y", "float32", None),), (node,), {"w": weight})
    for rows in (1, 3, 40):
        y = Executable(graph, precision=precision).run({"x": np.zeros((rows, 0), np.float32)})["y"]
        np.testing.assert_array_equal(y, np.zeros((rows, 5)))


@pytest.mark.parametrize("include_padding", [True, False])
def test_what_windows_see_is_counted_at_once(include_padding: bool) -> None:
    """As by going through every tap."""
    for n, k, s, d, pads, ceil in ((7, 3, 2, 1, (1, 1), True), (9, 2, 3, 4, (3, 0), True), (5, 4, 1, 2, (4, 4), False)):
        windows = slide([n], [k], [s], [d], list(pads), ceil_mode=ceil)
        low, high = (-pads[0], n + pads[1]) if include_padding else (0, n)
        starts = np.arange(windows.sizes[0]) * s - pads[0]
        seen = sum(((starts + t * d >= low) & (starts + t * d < high)).astype(np.int64) for t in range(k))
        [counts] = seen_counts([n], windows, include_padding=include_padding)
        np.testing.assert_array_equal(counts, np.maximum(seen, 1))


@pytest.mark.parametrize("attrs", [{}, {"body": {"inputs": [], "outputs": [""]}, "states": 0}])
def test_a_loop_that_is_none_is_refused(attrs: dict[str, Any]) -> None:
    graph = Graph((), (TensorSpec("y", "float32", None),), (Node("loop", ("", ""), ("y",), attrs),))
    with pytest.raises(FastGRUError, match=r"loop 'y': attribute .* is missing"):
        make_runnable(graph)
