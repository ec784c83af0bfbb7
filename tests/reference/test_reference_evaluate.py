"""What `evaluate` and `run_graph` refuse, and how they say it."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

from fastgru.errors import FastGRUError, InvalidModelError, ShapeError, UnsupportedModelError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference import OPS, bind_inputs, check_node, evaluate, run_graph


def node(op, *inputs, outputs=("y",), **attrs):
    return Node(op, inputs, outputs, attrs, name="here")


X = np.ones((2, 3))

REFUSED = [
    (node("nonesuch", "x"), [X], UnsupportedModelError, "nonesuch"),
    (node("softmax", "x"), [X], InvalidModelError, "attribute axis is missing"),
    (node("softmax", "x", axis=1, temperature=2), [X], UnsupportedModelError, "temperature"),
    (node("softmax", "x", "y", axis=1), [X, X], UnsupportedModelError, "2 inputs"),
    (node("binary", "a", "", kind="add"), [X, None], InvalidModelError, "input b is missing"),
    (node("binary", "a", "b", kind="hypot"), [X, X], UnsupportedModelError, "hypot"),
    (node("binary", "a", "b", kind=["add"]), [X, X], InvalidModelError, "expected a text"),
    (node("binary", "a", "b", kind="add"), [X, X.astype(np.float32)], ShapeError, "float32"),
    (node("binary", "a", "b", kind="add"), [X, np.ones((4, 3))], ShapeError, "broadcast"),
    (node("binary", "a", "b", kind="div"), [np.ones(1, int), np.zeros(1, int)], ShapeError, "division by zero"),
    (node("unary", "x", kind="exp"), [np.ones(3, int)], ShapeError, "int64"),
    (node("unary", "x", kind="selu"), [X], InvalidModelError, "alpha"),
    (node("unary", "x", kind="exp", alpha=1.0, gamma=1.0), [X], InvalidModelError, "alpha"),
    (node("activation", "x", kind="mish"), [X], FastGRUError, "mish"),
    (node("reshape", "x", "shape"), [X, np.array([4, 2])], ShapeError, "reshape"),
    (node("reshape", "x", "shape"), [X, np.array([-1, -1])], ShapeError, "-1"),
    (node("reshape", "x", "shape"), [X, np.array([2.0, 3.0])], ShapeError, "float64"),
    (node("transpose", "x", perm=[0, 0]), [X], ShapeError, "perm"),
    (node("squeeze", "x", axes=[0]), [X], ShapeError, "here"),
    (node("concat", "a", "b", axis=0), [X, np.ones((2, 4))], ShapeError, "here"),
    (node("split", "x", axis=1, sizes=[1, 1]), [X], ShapeError, "sizes"),
    (node("split", "x", axis=1), [X], InvalidModelError, "parts"),
    (node("split", "x", axis=1, parts=10**12), [X], ShapeError, "1 to 3"),
    (node("gather", "x", "i", axis=0), [X, np.array([2])], ShapeError, "2"),
    (node("embedding", "i", "w"), [np.array([-1]), X], ShapeError, "-1"),
    (node("slice", "x", "s", "e"), [X, np.array([0]), np.array([1, 2])], ShapeError, "length"),
    (node("pad", "x", "p", mode="mirror"), [X, np.zeros(4, int)], UnsupportedModelError, "mirror"),
    (node("range", "a", "b", "c"), [np.array(0), np.array(1), np.array(0)], ShapeError, "delta"),
    (node("constant_of_shape", "s", value=0, dtype="float8"), [np.array([2])], UnsupportedModelError, "float8"),
    (node("cast", "x", to="complex64"), [X], UnsupportedModelError, "complex64"),
    (node("where", "c", "a", "b"), [X, X, X], ShapeError, "bool"),
    (node("last", "x", "n"), [np.ones((2, 3, 1)), np.array([1, 4])], ShapeError, "4"),
    (node("layer_norm", "x", "s", axis=1, epsilon=0.1), [X, np.ones(2)], ShapeError, "scale"),
    (node("batch_norm", "x", "s", "b", "m", "v", axis=1, epsilon=0.1), [X, *[np.ones(2)] * 4], ShapeError, "scale"),
    (node("gru", "x", spec={"input_size": 3, "hidden_size": 2, "peephole": 1}), [X], FastGRUError, "peephole"),
    (node("gru", "x", spec={"input_size": 3, "hidden_size": 2}), [X], FastGRUError, "weight_ih is missing"),
    (node("gru", *"xhlmabcde", spec={"input_size": 3, "hidden_size": 2}), [X] * 9, ShapeError, "5 weight inputs"),
    (node("gru", "x", spec=3), [X], FastGRUError, "expected an object"),
]


@pytest.mark.parametrize(
    ("bad", "inputs", "error", "said"), REFUSED, ids=lambda v: str(v) if isinstance(v, Node) else ""
)
def test_refused_by_name(bad, inputs, error, said):
    with pytest.raises(error) as caught:
        evaluate(bad, inputs)
    assert said in str(caught.value)
    assert "'here'" in str(caught.value)


@pytest.mark.parametrize(
    ("large", "inputs"),
    [
        (node("expand", "x", "s"), [np.ones(1), np.array([10**9])]),
        (node("tile", "x", "r"), [np.ones(10), np.array([10**9])]),
        (node("constant_of_shape", "s", value=0, dtype="float32"), [np.array([10**5, 10**5])]),
        (node("range", "a", "b", "c"), [np.array(0), np.array(2**62), np.array(1)]),
        (node("pad", "x", "p", mode="constant"), [np.ones(3), np.array([0, 10**9])]),
        (node("gather", "x", "i", axis=0), [np.ones((2, 1000)), np.zeros(1000, int)]),
        (node("matmul", "a", "b"), [np.ones((1000, 1)), np.ones((1, 1000))]),
        (node("binary", "a", "b", kind="add"), [np.ones((1000, 1)), np.ones((1, 1000))]),
    ],
    ids=str,
)
def test_a_limit_holds_before_memory_is_taken(large, inputs):
    with pytest.raises(ShapeError, match="at most 100000"):
        evaluate(large, inputs, max_elements=100_000)


def test_a_limit_lets_what_fits_pass():
    [y] = evaluate(node("matmul", "a", "b"), [np.ones((7, 2, 3)), np.ones((7, 3, 4))], max_elements=56)
    assert y.shape == (7, 2, 4)


def test_check_node_reads_no_value():
    check_node(node("softmax", "x", axis=1))
    with pytest.raises(UnsupportedModelError, match="'here'"):
        check_node(node("mystery", "x"))
    with pytest.raises(InvalidModelError, match="input weight"):
        check_node(node("linear", "x"))


def test_every_operator_of_the_documentation_is_defined():
    import fastgru.reference as reference

    rows = [line.split("|")[1].strip() for line in reference.__doc__.splitlines() if line.startswith("| ")]
    assert sorted(rows[1:]) == sorted(OPS)


def test_bfloat16_is_rounded_once():
    x = np.array([1.0, 3.0, -2.5], ml_dtypes.bfloat16)
    [y] = evaluate(node("activation", "x", kind="sigmoid"), [x])
    assert y.dtype == x.dtype
    exact = [1 / (1 + math.exp(-float(v))) for v in x]
    np.testing.assert_array_equal(y, np.array(exact).astype(ml_dtypes.bfloat16))
    [wide] = evaluate(node("cast", "x", to="float32"), [x])
    assert wide.dtype == np.float32


def test_erf_to_the_last_bits():
    x = np.linspace(-4, 4, 101)
    [y] = evaluate(node("unary", "x", kind="erf"), [x])
    np.testing.assert_array_equal(y, [math.erf(v) for v in x])


GRAPH = Graph(
    inputs=(TensorSpec("x", "float32", (None, 3), ("N", None)), TensorSpec("n", "int64", (None,), ("N",))),
    outputs=(TensorSpec("y", "float32", None), TensorSpec("m", "int64", None)),
    nodes=(
        Node("linear", ("x", "w"), ("h",), {}),
        Node("cast", ("h",), ("c",), {"to": "float32"}),
        Node("activation", ("c",), ("y",), {"kind": "tanh"}),
        Node("binary", ("n", "one"), ("m",), {"kind": "add"}),
    ),
    constants={"w": np.eye(3, dtype=np.float32) / 3, "one": np.array(1)},
).validate()


def test_a_graph_runs_in_one_precision():
    x = np.array([[0.1, 0.2, 0.3]])
    outputs = run_graph(GRAPH, {"x": x, "n": np.array([4], np.int32)})
    assert list(outputs) == ["y", "m"]
    assert outputs["y"].dtype == np.float64
    np.testing.assert_allclose(outputs["y"], np.tanh(x * np.float64(np.float32(1 / 3))), rtol=1e-15)
    assert outputs["m"].tolist() == [5]
    assert run_graph(GRAPH, {"x": x, "n": [4]}, dtype="float32")["y"].dtype == np.float32
    assert set(run_graph(GRAPH, {"x": x, "n": [4]}, intermediates=True)) == {"x", "n", "w", "one", "h", "c", "y", "m"}


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"x": np.ones((2, 3))}, "inputs: missing n; expected x, n"),
        ({"x": np.ones((2, 3)), "n": [1, 2], "z": 0}, "inputs: unknown z; expected x, n"),
        ({"x": np.ones((2, 4)), "n": [1, 2]}, r"'x': got shape \(2, 4\), expected \(N, 3\)"),
        ({"x": np.ones(3), "n": [1, 2]}, r"'x': got shape \(3,\)"),
        ({"x": np.ones((2, 3)), "n": [1, 2, 3]}, r"N = 2 as in 'x'"),
        ({"x": np.ones((2, 3), int), "n": [1, 2]}, "'x': got dtype int64, expected float32"),
        ({"x": np.ones((2, 3)), "n": [1.0, 2.0]}, "'n': got dtype float64, expected int64"),
        ({"x": np.ones((2, 3)), "n": np.array([2**63, 1], np.uint64)}, "'n': got dtype uint64"),
    ],
)
def test_inputs_are_checked_by_name(inputs, said):
    with pytest.raises(ShapeError, match=said):
        bind_inputs(GRAPH.inputs, inputs)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8"])
def test_division_truncates_to_the_least_integer(dtype):
    limits = np.iinfo(dtype)
    values = np.array([limits.min, limits.min + 1, -7 % (limits.max + 1), 0, 1, 2, 5, limits.max], dtype)
    a, b = (m.reshape(-1) for m in np.meshgrid(values, values[values != 0]))
    [y] = evaluate(node("binary", "a", "b", kind="div"), [a, b])
    assert y.dtype == dtype
    pairs = [(int(p), int(q)) for p, q in zip(a, b, strict=True)]
    exact = [abs(p) // abs(q) * (1 if p * q > 0 else -1) for p, q in pairs]
    wrapped = [(n - limits.min) % (limits.max - limits.min + 1) + limits.min for n in exact]
    np.testing.assert_array_equal(y, np.array(wrapped, dtype))
