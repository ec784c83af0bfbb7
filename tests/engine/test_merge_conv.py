"""What stands after a convolution goes into it, and nothing changes but the number of nodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine_cases import agree, normal

from fastgru.engine.passes import simplify
from fastgru.graph import Graph, Node, TensorSpec

RELU = ("activation", (), {"kind": "relu"})
LEAKY = ("activation", (), {"kind": "leaky_relu", "alpha": 0.1})
NORM = ("batch_norm", ("s", "t", "m", "v"), {"axis": 1, "epsilon": 1e-3})
PRELU = ("prelu", ("slope",), {})
ADD = ("binary", ("added",), {"kind": "add"})
CLIP = ("clip", ("low", "high"), {})


def chain(op, *after, bias=True, read=False, **more):
    """conv (6 outputs, 2 groups), then the nodes of `after`."""
    form = {"strides": [1, 2], "pads": [1, 0, 1, 2], "dilations": [1, 1], "group": 2}
    form |= {"output_padding": [0, 1]} if op == "conv_transpose" else {}
    weight = normal(6, 2, 3, 2) if op == "conv" else normal(4, 3, 3, 2)
    constants = {"w": weight, "b": normal(6), "slope": normal(6, 1, 1), "added": normal(1, 6, 1, 1)}
    constants |= {name: normal(6) for name in "stm"} | {"v": np.abs(normal(6)) + np.float32(0.1)}
    constants |= {"low": np.array(-0.5, np.float32), "high": np.array(1, np.float32)} | more
    nodes = [Node(op, ("x", "w", "b") if bias else ("x", "w"), ("y0",), form)]
    for i, (name, inputs, attrs) in enumerate(after):
        nodes.append(Node(name, (f"y{i}", *inputs), (f"y{i + 1}",), attrs))
    outputs = [f"y{len(after)}", *(["y0"] if read else [])]
    specs = tuple(TensorSpec(name, "float32", None) for name in outputs)
    return Graph((TensorSpec("x", "float32", (None, 4, 5, 40)),), specs, tuple(nodes), constants)


@pytest.mark.parametrize("op", ["conv", "conv_transpose"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "after",
    [[NORM, PRELU], [ADD, NORM, RELU], [NORM, CLIP, LEAKY], [ADD, ADD], [RELU], [LEAKY], [RELU, PRELU], [NORM, NORM]],
    ids=lambda after: "-".join(name for name, _, _ in after),
)
def test_one_node_is_left(op, bias, after):
    graph = chain(op, *after, bias=bias)
    assert [node.op for node in simplify(graph).nodes] == [op]
    for precision in ("float32", "float64"):
        agree(graph, {"x": normal(2, 4, 5, 40)}, precision, 20)


@pytest.mark.parametrize(
    ("after", "left"),
    [
        ([PRELU, ADD], 2),  # what comes after the slope does not commute with it
        ([RELU, NORM], 2),
        ([PRELU, PRELU], 2),
        ([CLIP, RELU], 2),
        ([("prelu", ("row",), {})], 2),
        ([("binary", ("row",), {"kind": "add"})], 2),
        ([("activation", (), {"kind": "tanh"})], 2),
    ],
    ids=lambda after: "-".join(name for name, _, _ in after) if isinstance(after, list) else "",
)
@pytest.mark.parametrize("op", ["conv", "conv_transpose"])
def test_what_does_not_fit_stays(op, after, left):
    width = 21 if op == "conv" else 79
    graph = chain(op, *after, row=normal(width))
    assert len(simplify(graph).nodes) == left
    agree(graph, {"x": normal(1, 4, 5, 40)}, "float64", 20)


@pytest.mark.parametrize("after", [NORM, ADD, PRELU, RELU], ids=lambda node: node[0])
def test_it_stays_where_something_else_reads_the_convolution(after):
    graph = chain("conv", after, read=True)
    assert len(simplify(graph).nodes) == 2
    agree(graph, {"x": normal(1, 4, 5, 40)}, "float64", 20)


LAST = {"axis": -1, "epsilon": 1e-3}
TURNED = [
    ([("batch_norm", ("s", "t", "m", "v"), LAST), RELU], ["conv", "transpose"]),
    ([("batch_norm", ("s", "t", "m", "v"), {**LAST, "axis": 3}), ("prelu", ("vector",), {})], ["conv", "transpose"]),
    ([CLIP], ["conv", "transpose"]),
    ([LEAKY], ["conv", "transpose"]),
    ([("activation", (), {"kind": "tanh"}), RELU], ["conv", "transpose", "activation", "activation"]),
    ([("prelu", ("pixels",), {})], ["conv", "prelu", "transpose"]),
]


@pytest.mark.parametrize(("after", "left"), TURNED, ids=lambda case: str(len(case)))
@pytest.mark.parametrize("op", ["conv", "conv_transpose"])
def test_what_stands_after_a_transpose_goes_before_it(op, after, left):
    graph = chain(op, ("transpose", (), {"perm": [0, 2, 3, 1]}), *after, vector=normal(1, 1, 6))
    width = 21 if op == "conv" else 79
    graph = replace(graph, constants={**graph.constants, "pixels": normal(width, 6)})
    assert [node.op for node in simplify(graph).nodes] == [op, *left[1:]]
    for precision in ("float32", "float64"):
        agree(graph, {"x": normal(1, 4, 5, 40)}, precision, 20)


def test_a_transpose_that_others_read_stays_where_it_is():
    graph = chain("conv", ("transpose", (), {"perm": [0, 2, 3, 1]}), RELU)
    outputs = (*graph.outputs, TensorSpec("y1", "float32", None))
    graph = replace(graph, outputs=outputs)
    assert [node.op for node in simplify(graph).nodes] == ["conv", "transpose", "activation"]
    agree(graph, {"x": normal(1, 4, 5, 40)}, "float32", 20)
