"""MatMul and Add, as exporters write a layer, become one linear layer; whatever else reads the product keeps it."""

from __future__ import annotations

import numpy as np
import pytest

from fastgru.engine import Executable
from fastgru.engine.passes import simplify
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference import run_graph

RNG = np.random.default_rng(0)
W, B = RNG.standard_normal((5, 3)), RNG.standard_normal(5)


def graph(add: tuple[str, str], outputs: tuple[str, ...] = ("y",), bias: np.ndarray = B) -> Graph:
    return Graph(
        (TensorSpec("x", "float32", (None, 3)),),
        tuple(TensorSpec(name, "float32", None) for name in outputs),
        (Node("linear", ("x", "W"), ("p",)), Node("binary", add, ("y",), {"kind": "add"})),
        {"W": W, "b": bias},
    )


@pytest.mark.parametrize("add", [("p", "b"), ("b", "p")])
def test_a_vector_becomes_the_bias(add):
    (node,) = simplify(graph(add)).nodes
    assert node.op == "linear"
    assert node.inputs == ("x", "W", "b")


@pytest.mark.parametrize(
    ("outputs", "bias"), [(("y", "p"), B), (("y",), B[:1]), (("y",), np.stack([B] * 4))], ids=["read", "scalar", "rows"]
)
def test_what_is_no_bias_stays(outputs, bias):
    assert [n.op for n in simplify(graph(("p", "b"), outputs, bias)).nodes] == ["linear", "binary"]


@pytest.mark.parametrize(("outputs", "bias"), [(("y",), B), (("y", "p"), B), (("y",), np.stack([B] * 4))])
def test_the_numbers_are_those_of_the_definition(outputs, bias):
    g = graph(("p", "b"), outputs, bias)
    x = {"x": RNG.standard_normal((4, 3))}
    for name, expected in run_graph(g, x).items():
        np.testing.assert_allclose(Executable(g, precision="float64").run(x)[name], expected, rtol=0, atol=1e-14)
