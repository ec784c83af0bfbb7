"""Passes: what is folded, merged and dropped, and what is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from engine_cases import agree, normal

from fastgru.engine.passes import drop_dead, fold_constants, merge_batch_norm, simplify
from fastgru.graph import Graph, Node, TensorSpec

X = TensorSpec("x", "float32", (None, 6))


def graph_of(nodes, constants, outputs=("y",), inputs=(X,)):
    return Graph(inputs, tuple(TensorSpec(o, "float32", None) for o in outputs), tuple(nodes), constants)


def normed(axis=-1, **more):
    constants = {name: normal(5) for name in ("b", "s", "t", "m")}
    constants |= {"w": normal(5, 6), "v": np.abs(normal(5)) + np.float32(0.1)} | more
    nodes = [
        Node("linear", ("x", "w", "b"), ("h",)),
        Node("batch_norm", ("h", "s", "t", "m", "v"), ("y",), {"axis": axis, "epsilon": 1e-3}),
    ]
    return nodes, constants


@pytest.mark.parametrize("axis", [-1, 1])
def test_batch_norm_goes_into_the_linear_layer_before_it(axis):
    graph = graph_of(*normed(axis))
    merged = merge_batch_norm(graph)
    assert [n.op for n in merged.nodes] == ["linear"]
    assert merged.nodes[0].outputs == ("y",)
    for precision in ("float32", "float64"):
        agree(graph, {"x": normal(9, 6)}, precision, 4)


def test_two_batch_norms_after_each_other():
    nodes, constants = normed()
    nodes.append(Node("batch_norm", ("y", "s", "t", "m", "v"), ("z",), {"axis": -1, "epsilon": 1e-3}))
    graph = graph_of(nodes, constants, ["z"])
    assert [n.op for n in simplify(graph).nodes] == ["linear"]
    agree(graph, {"x": normal(9, 6)}, "float64", 10)


def test_batch_norm_stays_where_something_else_reads_the_layer():
    nodes, constants = normed()
    assert len(merge_batch_norm(graph_of(nodes, constants, ["y", "h"])).nodes) == 2
    nodes.append(Node("activation", ("h",), ("z",), {"kind": "tanh"}))
    assert len(merge_batch_norm(graph_of(nodes, constants, ["y", "z"])).nodes) == 3


def test_batch_norm_stays_where_its_axis_is_not_the_last_or_not_known():
    for spec in (TensorSpec("x", "float32", (None, 5, 6)), TensorSpec("x", "float32", None)):
        graph = graph_of(*normed(axis=1), inputs=(spec,))
        assert len(merge_batch_norm(graph).nodes) == 2
        agree(graph, {"x": normal(2, 5, 6)}, "float32", 4)


def test_batch_norm_stays_where_folding_would_overflow():
    graph = graph_of(*normed(v=np.full(5, -1e-3, np.float32)))
    with np.errstate(all="ignore"):
        assert len(merge_batch_norm(graph).nodes) == 2


def test_chains_of_constants_fold_and_what_nobody_needs_goes():
    nodes = [
        Node("transpose", ("w",), ("wt",), {"perm": [1, 0]}),
        Node("binary", ("wt", "two"), ("scaled",), {"kind": "mul"}),
        Node("matmul", ("x", "scaled"), ("y",)),
        Node("activation", ("y",), ("unused",), {"kind": "tanh"}),
        Node("unary", ("w",), ("also",), {"kind": "exp"}),
    ]
    graph = graph_of(nodes, {"w": normal(4, 6), "two": np.array(2, np.float32), "spare": normal(3)})
    simple = simplify(graph)
    assert [n.op for n in simple.nodes] == ["matmul"]
    assert set(simple.constants) == {"scaled"}
    agree(graph, {"x": normal(3, 6)}, "float64")


def test_arithmetic_of_constants_is_done_in_float64():
    third = np.array(1 / 3, np.float32)
    graph = graph_of([Node("binary", ("a", "a"), ("y",), {"kind": "mul"})], {"a": third}, inputs=())
    folded = fold_constants(graph).constants["y"]
    assert folded.dtype == np.float64
    assert folded == np.float64(third) ** 2


def test_moving_constants_keeps_their_dtype():
    graph = graph_of([Node("transpose", ("w",), ("y",), {"perm": [1, 0]})], {"w": normal(2, 3)}, inputs=())
    assert fold_constants(graph).constants["y"].dtype == np.float32


def test_what_fails_to_fold_is_left_to_fail_where_it_is_needed():
    zero, one = np.array([0]), np.array([1])
    node = Node("binary", ("one", "zero"), ("bad",), {"kind": "div"})
    graph = graph_of([node, Node("activation", ("x",), ("y",), {"kind": "relu"})], {"zero": zero, "one": one})
    assert fold_constants(graph).nodes[0] is node
    assert [n.op for n in drop_dead(graph).nodes] == ["activation"]
    agree(graph_of([Node("activation", ("x",), ("y",), {"kind": "relu"})], {}), {"x": normal(2, 6)}, "float32")


def test_a_constant_that_would_be_huge_is_not_folded():
    node = Node("expand", ("one", "shape"), ("y",))
    graph = graph_of([node], {"one": normal(1), "shape": np.array([1 << 20, 1 << 10])}, inputs=())
    assert fold_constants(graph).nodes == (node,)
