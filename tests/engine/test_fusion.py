"""Fusions: joined operations give the bits of single ones, over operands of any strides."""

from __future__ import annotations

import numpy as np
import pytest
from engine_cases import agree, normal
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgru.engine import Executable
from fastgru.graph import Graph, Node, TensorSpec

KINDS = {
    "binary": ["add", "sub", "mul", "min", "max", "div"],
    "unary": ["abs", "neg", "sqrt", "exp", "silu", "floor", "reciprocal"],
    "activation": ["sigmoid", "tanh", "relu", "softplus"],
}
SHAPES = [(1,), (5,), (16,), (17,), (3, 5), (2, 33), (4, 1, 7), (3, 257), (2, 513), (1030,), (2, 3, 1, 5)]


def graph_of(nodes, inputs, outputs, constants=None):
    specs = tuple(TensorSpec(n, "float32", (None,) * a.ndim) for n, a in inputs.items())
    return Graph(specs, tuple(TensorSpec(o, "float32", None) for o in outputs), tuple(nodes), constants or {})


@settings(max_examples=60, deadline=None)
@given(shape=st.sampled_from(SHAPES), precision=st.sampled_from(["float32", "float64"]), data=st.data())
def test_joined_operations_give_the_bits_of_single_ones(shape, precision, data):
    """Every value that is an output is an instruction of its own."""
    inputs = {"a": normal(*shape), "b": normal(shape[-1]), "c": normal(*shape[::-1])}
    nodes = [Node("transpose", ("c",), ("t",), {"perm": list(range(len(shape)))[::-1]})]
    names, whole = ["a", "t"], ["a", "t"]
    for i in range(data.draw(st.integers(2, 9))):
        op = data.draw(st.sampled_from(sorted(KINDS)))
        attrs = {"kind": data.draw(st.sampled_from(KINDS[op]))}
        reads = [data.draw(st.sampled_from(whole))]
        if op == "binary":
            reads.append(data.draw(st.sampled_from([*whole, "b"])))
        nodes.append(Node(op, tuple(reads), (f"v{i}",), attrs))
        whole.append(f"v{i}")
    names = [n.outputs[0] for n in nodes[1:]]
    joined = Executable(graph_of(nodes, inputs, names[-1:]), precision=precision)
    single = Executable(graph_of(nodes, inputs, names), precision=precision)
    feeds = {k: a.astype(precision) for k, a in inputs.items()}
    np.testing.assert_array_equal(joined.run(feeds)[names[-1]], single.run(feeds)[names[-1]])


def test_a_line_of_operations_is_one_instruction():
    x = normal(4, 33)
    nodes = [
        Node("binary", ("x", "two"), ("p",), {"kind": "pow"}),
        Node("reduce", ("x",), ("m",), {"kind": "mean", "axes": [1], "keepdims": True}),
        Node("binary", ("p", "m"), ("q",), {"kind": "sub"}),
        Node("clip", ("q", "low"), ("r",)),
        Node("transpose", ("r",), ("s",), {"perm": [1, 0]}),
        Node("prelu", ("s", "low"), ("u",)),
        Node("activation", ("u",), ("y",), {"kind": "tanh"}),
    ]
    constants = {"two": np.array(2, np.float32), "low": np.array(-0.25, np.float32)}
    graph = graph_of(nodes, {"x": x}, ["y"], constants)
    agree(graph, {"x": x}, "float32")
    program = Executable(graph).program({"x": x.shape})
    assert program.names == ("reduce_sum_float32", "fusion_float32")


def test_what_is_read_twice_by_one_instruction_is_part_of_it():
    """The mean of a gate: (1 - z) h + z n. Its two readers become one, and then it has one reader."""
    nodes = [
        Node("activation", ("g",), ("z",), {"kind": "sigmoid"}),
        Node("binary", ("one", "z"), ("rest",), {"kind": "sub"}),
        Node("binary", ("rest", "h"), ("kept",), {"kind": "mul"}),
        Node("binary", ("z", "n"), ("new",), {"kind": "mul"}),
        Node("binary", ("kept", "new"), ("y",), {"kind": "add"}),
    ]
    inputs = {name: normal(3, 33) for name in "ghn"}
    graph = graph_of(nodes, inputs, ["y"], {"one": np.array(1, np.float32)})
    assert Executable(graph).program({name: a.shape for name, a in inputs.items()}).names == ("fusion_float32",)
    agree(graph, inputs, "float32")


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("exponent", [2.0, 1.0, -1.0, 0.5])
def test_powers_that_are_one_operation(precision, exponent):
    x = np.array([0.0, 1.0, 2.5, -3.0, np.inf, -np.inf, np.nan, 1e-20], np.float32)
    graph = graph_of(
        [Node("binary", ("x", "e"), ("y",), {"kind": "pow"})], {"x": x}, ["y"], {"e": np.float32([exponent])}
    )
    with np.errstate(all="ignore"):
        agree(graph, {"x": x}, precision)
    assert "binary_library" not in str(Executable(graph).program({"x": x.shape}).names)


def test_more_operations_and_sources_than_one_instruction_holds():
    inputs = {f"x{i}": normal(3, 7) for i in range(12)}
    nodes, last = [], "x0"
    for i in range(70):
        kind = ("add", "sub", "max")[i % 3]
        nodes.append(Node("binary", (last, f"x{i % 12}"), (f"y{i}",), {"kind": kind}))
        last = f"y{i}"
    graph = graph_of(nodes, inputs, [last])
    agree(graph, inputs, "float64")
    assert 1 < len(Executable(graph).program(dict.fromkeys(inputs, (3, 7))).names) < 20
