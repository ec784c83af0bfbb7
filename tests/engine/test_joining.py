"""Layers of one kind that read the same become one, with the bits that they had."""

from __future__ import annotations

import numpy as np
import pytest
from engine_cases import loop_body, looping, normal

import fastgru.engine.precision as precision
from fastgru.engine import Executable
from fastgru.engine.passes import join_alike
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference import run_graph

CONV = {"group": 1, "strides": [1, 1], "dilations": [1, 1], "pads": [1, 1, 1, 1]}
TANH = {"kind": "tanh"}


def graph_of(nodes, constants, outputs, shape=(None, 6)):
    specs = tuple(TensorSpec(name, "float32", None) for name in outputs)
    return Graph((TensorSpec("x", "float32", shape),), specs, tuple(nodes), constants)


def linears(outputs=(5, 7, 5), biases=True):
    nodes, constants, ends = [], {}, []
    for i, O in enumerate(outputs):
        constants |= {f"w{i}": normal(O, 6), f"b{i}": normal(O)}
        nodes.append(Node("linear", ("x", f"w{i}", *[f"b{i}"] * biases), (f"l{i}",)))
        nodes.append(Node("activation", (f"l{i}",), (f"y{i}",), TANH))
        ends.append(f"y{i}")
    return nodes, constants, ends


def convolutions(slopes=False, **attrs):
    nodes, constants, ends = [], {}, []
    for i, O in enumerate((3, 20)):
        constants |= {f"w{i}": normal(O, 4, 3, 3), f"b{i}": normal(O), f"s{i}": normal(O)}
        nodes.append(Node("conv", ("x", f"w{i}", f"b{i}", *[f"s{i}"] * slopes), (f"c{i}",), CONV | attrs))
        nodes.append(Node("activation", (f"c{i}",), (f"y{i}",), TANH))
        ends.append(f"y{i}")
    return nodes, constants, ends


def ops(graph):
    return [node.op for node in graph.nodes]


def same(monkeypatch, graph, x, dtype="float32"):
    """The joined graph has the numbers of the definition, and the bits of the graph as it is."""
    got = Executable(graph, precision=dtype).run({"x": x})
    monkeypatch.setattr(precision, "join_alike", lambda graph, kept: graph)
    plain = Executable(graph, precision=dtype).run({"x": x})
    want = run_graph(graph, {"x": x})
    for name, array in plain.items():
        np.testing.assert_array_equal(got[name].view(np.uint8), array.view(np.uint8))
        np.testing.assert_allclose(got[name], want[name], atol=1e-4)


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("shape", [(1, 6), (9, 6), (3, 2, 6)])
def test_linear_layers(monkeypatch, shape, biases):
    graph = graph_of(*linears(biases=biases), shape=(None,) * len(shape))
    assert ops(join_alike(graph)) == ["linear", "split", *["activation"] * 3]
    same(monkeypatch, graph, normal(*shape))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("N", [1, 3])
def test_convolutions(monkeypatch, N, dtype):
    for more in ({}, {"clamp": [0.0, None]}, {"slopes": True}):
        graph = graph_of(*convolutions(**more), shape=(None, 4, None, None))
        assert ops(join_alike(graph)) == ["conv", "split", "activation", "activation"]
        with monkeypatch.context() as patch:
            same(patch, graph, normal(N, 4, 5, 6), dtype)


def test_gates_in_a_loop(monkeypatch):
    nodes, constants, _ = linears((6, 6))
    body = loop_body(
        *(node if node.op != "linear" else Node("linear", ("h", *node.inputs[1:]), node.outputs) for node in nodes),
        Node("binary", ("y0", "y1"), ("m",), {"kind": "mul"}), Node("binary", ("m", "s"), ("h2",), {"kind": "add"}),
        inputs="i h s", captured=" ".join(constants), outputs="- h2 h2",
    )  # fmt: skip
    loop = Node("loop", ("", "", "h0", "x", *constants), ("hn", "ys"), looping(body, out=(0,)))
    graph = graph_of([loop], constants | {"h0": normal(2, 6)}, ["hn", "ys"], (None, None, 6))
    assert [node.op for node in join_alike(graph).nodes[0].attrs["body"].nodes].count("linear") == 1
    same(monkeypatch, graph, normal(4, 2, 6))


def test_what_stays_apart():
    """Another input, other attributes, a bias or none, and outputs that something reads that wants them whole."""
    nodes, constants, ends = linears((5, 5))
    other = [Node("linear", ("y0", "w1"), ("l1",)), *nodes[:2], nodes[3]]
    assert (
        len(join_alike(graph_of([*nodes[:2], *other[:1], nodes[3]], constants | {"w1": normal(5, 5)}, ends)).nodes) == 4
    )
    bare = [*nodes[:2], Node("linear", ("x", "w1"), ("l1",)), nodes[3]]
    assert len(join_alike(graph_of(bare, constants, ends)).nodes) == 4
    assert len(join_alike(graph_of(nodes, constants, [*ends, "l0"])).nodes) == 4
    reader = Node("linear", ("l0", "w9"), ("z",))
    assert len(join_alike(graph_of([*nodes, reader], constants | {"w9": normal(3, 5)}, [*ends, "z"])).nodes) == 5
    assert len(join_alike(graph_of(nodes, constants, ends), kept={"l0"}).nodes) == 4
    assert len(join_alike(graph_of(*linears((30000, 30000)))).nodes) == 4  # copies of which would be worth nothing
    for more in ({"group": 2}, {"strides": [2, 1]}):
        nodes, constants, ends = convolutions()
        nodes[0] = Node("conv", nodes[0].inputs, nodes[0].outputs, CONV | more)
        constants["w0"] = normal(4, 2, 3, 3) if "group" in more else constants["w0"]
        constants["b0"] = normal(len(constants["w0"]))
        assert len(join_alike(graph_of(nodes, constants, ends, (None, 4, None, None))).nodes) == 4
