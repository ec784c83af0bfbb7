"""Nodes, values and names of a graph while it is written."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from fastgru.errors import InvalidModelError
from fastgru.graphbuilder import Folding, GraphBuilder
from fastgru.reference import run_graph
from fastgru.spec import GRUSpec

RNG = np.random.default_rng(4)


def linear(graph: GraphBuilder, x, size: int, name: str):  # type: ignore[no-untyped-def]
    weight = graph.constant(RNG.standard_normal((size, x.shape[-1])).astype(np.float32), f"{name}.weight")
    return graph.add("linear", [x, weight], name)


def test_values_know_dtype_sizes_and_names_of_dimensions() -> None:
    graph = GraphBuilder()
    x = graph.input("x", "float32", (None, None, 4), ("N", "T"))
    y = linear(graph, x, 6, "fc")
    assert (y.dtype, y.rank, y.shape, y.dims) == ("float32", 3, (None, None, 6), ("N", "T", None))
    rows = graph.add("reshape", [y, graph.integers([0, 0, 2, 3], "shape")], "heads")
    assert (rows.shape, rows.dims) == ((None, None, 2, 3), ("N", "T", None, None))
    count = graph.add("shape", [rows], "count")
    assert (count.dtype, count.elements) == ("int64", ("N", "T", 2, 3))
    made = graph.graph({"x": x}, {"y": rows})
    assert (made.outputs[0].shape, made.outputs[0].dims) == ((None, None, 2, 3), ("N", "T", None, None))


def test_free_dimensions_without_a_name_are_sizes_of_their_own_and_get_none() -> None:
    graph = GraphBuilder()
    a, b = (graph.input(name, "float32", (None, 4)) for name in "ab")
    assert a.sizes is not None
    assert b.sizes is not None
    assert a.sizes[0] != b.sizes[0]
    assert graph.add("unary", [a], "y", {"kind": "abs"}).sizes == a.sizes
    made = graph.graph({"a": a}, {"y": graph.add("unary", [a], "y", {"kind": "abs"})})
    assert made.outputs[0].dims == ()


def test_no_name_is_given_twice_and_outputs_have_theirs() -> None:
    graph = GraphBuilder()
    x = graph.input("x", "float32", (2, 3))
    y = x
    for _ in range(3):
        y = graph.add("unary", [y], "same", {"kind": "abs"})
    last = graph.add("unary", [y], "x", {"kind": "neg"})
    made = graph.graph({"x": x}, {"same": last, "again": last}).validate()
    names = [name for node in made.nodes for name in node.outputs]
    assert names[:4] == ["same_1", "same_2", "same_3", "same"]
    value = np.ones((2, 3))
    results = run_graph(made, {"x": value})
    assert results.keys() == {"same", "again"}
    assert all((a == -value).all() for a in results.values())


def test_inputs_and_constants_may_be_outputs() -> None:
    graph = GraphBuilder()
    x, c = graph.input("x", "float32", (None,), ("N",)), graph.constant(np.arange(3), "c")
    made = graph.graph({"x": x}, {"y": x, "d": c, "e": c}).validate()
    results = run_graph(made, {"x": np.ones(2)})
    assert results["y"].tolist() == [1, 1]
    assert results["d"].tolist() == results["e"].tolist() == [0, 1, 2]


def test_preferred_names_come_before_hints_and_the_first_of_them_counts() -> None:
    graph = GraphBuilder()
    x = graph.input("x", "float32", (2,))
    y = graph.add("unary", [x], "hint", {"kind": "abs"})
    z = graph.add("unary", [y], "hint", {"kind": "neg"})
    made = graph.graph({"x": x}, {"z": z}, names=[("mine", y), ("other", y), ("z", y)])
    assert made.nodes[0].outputs == ("mine",)
    assert [node.name for node in made.nodes] == ["hint", "hint"]


def test_what_no_output_needs_is_left_out() -> None:
    graph = GraphBuilder()
    x = graph.input("x", "float32", (None, None, 3))
    spec = GRUSpec(3, 2, batch_first=True)
    weights = [graph.constant(RNG.standard_normal(shape), name) for name, shape in spec.weight_shapes.items()]
    y, h_n = graph.add_many("gru", [x, None, None, None, *weights], ["y", "h"], {"spec": spec.to_dict()})
    assert (y.shape, h_n.shape) == ((None, None, 2), (1, None, 2))
    graph.add("unary", [y, graph.constant(np.ones(1), "unread")], "dead", {"kind": "abs"})
    made = graph.graph({"x": x}, {"h": h_n})
    assert [node.outputs for node in made.nodes] == [("", "h")]
    assert "unread" not in made.constants


def test_equal_constants_under_one_hint_are_one() -> None:
    graph = GraphBuilder()
    ones = np.ones(3, np.float32)
    a, b = graph.constant(ones, "w"), graph.constant(ones.copy(), "w")
    c, d = graph.constant(np.zeros(3, np.float32), "w"), graph.constant(ones.astype(np.float64), "w")
    assert a is b
    assert len({a, c, d}) == 3
    x = graph.input("x", "float32", (3,))
    y = graph.add("concat", [x, a, c, graph.add("cast", [d], "cast", {"to": "float32"})], "y", {"axis": 0})
    assert set(graph.graph({"x": x}, {"y": y}).constants) == {"w", "w_1", "w_2"}


def test_floats_of_a_graph_of_one_precision_count_as_its_own() -> None:
    graph = GraphBuilder("float64")
    assert graph.constant(np.ones(2, np.float16), "a").dtype == "float64"
    assert graph.constant(np.ones(2, ml_dtypes.bfloat16), "b").dtype == "float64"
    assert graph.constant(np.ones(2, np.int32), "c").dtype == "int32"
    assert GraphBuilder().constant(np.ones(2, np.float16), "a").dtype == "float16"


def test_constants_fold_only_where_asked() -> None:
    for folding in (None, Folding()):
        graph = GraphBuilder(folding=folding)
        two = graph.add("binary", [graph.integers(1, "one")] * 2, "two", {"kind": "add"})
        assert (two.array is None) == (folding is None)
        assert two.elements == (2,)
        size = graph.add("shape", [graph.input("x", "float32", (3, None))], "size", {"start": 0, "end": 1})
        assert (size.array is None) == (folding is None)
        assert size.elements == (3,)


def test_folding_keeps_to_its_budget() -> None:
    folding = Folding(nbytes=100)
    graph = GraphBuilder(folding=folding)
    with pytest.raises(InvalidModelError, match=r"big: expand of constants makes 800 bytes, 100 are left to it"):
        graph.add("expand", [graph.constant(np.ones(1), "x"), graph.integers([100], "shape")], "big")
    folding.grant(200)
    made = graph.add("expand", [graph.constant(np.ones(1), "x"), graph.integers([100], "shape")], "big")
    assert made.array is not None
    assert folding.nbytes == 100


def test_what_follows_from_sizes_folds_where_nothing_is_rounded() -> None:
    """A plan carries constants out in float64, so that rounding them here would change its bits."""
    graph = GraphBuilder(folding=Folding())
    x = graph.input("x", "float32", (None, 24))
    heads = graph.add("reshape", [x, graph.integers([0, 3, -1], "shape")], "heads")
    for source, exact in ((heads, False), (x, True)):
        size = graph.add("shape", [source], "size", {"start": source.rank - 1})
        size = graph.add("binary", [size, graph.integers(3 if exact else 1, "by")], "width", {"kind": "div"})
        width = graph.add("cast", [size], "cast", {"to": "float32"})
        assert width.array is not None
        assert width.array.tolist() == [8.0]
        root = graph.add("unary", [width], "root", {"kind": "sqrt"})
        assert (root.array is not None) == exact
        half = graph.add("binary", [width, graph.constant(np.float32(0.5), "half")], "halved", {"kind": "mul"})
        assert half.array is not None


def test_a_large_gemm_of_constants_stays_a_node() -> None:
    graph = GraphBuilder(folding=Folding(work=10))
    y = graph.add("matmul", [graph.constant(np.ones((4, 4)), "a"), graph.constant(np.ones((4, 4)), "b")], "y")
    assert y.array is None
    assert y.shape == (4, 4)


def test_a_fault_names_the_node() -> None:
    graph = GraphBuilder()
    x = graph.input("x", "float32", (1,) * 30)
    with pytest.raises(InvalidModelError, match=r"wide: got a tensor with 33 axes, expected at most 32"):
        graph.add("unsqueeze", [x], "wide", {"axes": [0, 1, 2]})
    folded = GraphBuilder(folding=Folding())
    with pytest.raises(InvalidModelError, match="sum"):
        folded.add("binary", [folded.integers([1, 2], "a"), folded.integers([1, 2, 3], "b")], "sum", {"kind": "add"})


def test_a_graph_is_read_again_under_its_names() -> None:
    graph = GraphBuilder()
    x = graph.input("x", "float32", (None, 3), ("N",))
    first = graph.graph({"x": x}, {"y": linear(graph, linear(graph, x, 4, "a"), 2, "b")})
    again = GraphBuilder()
    values = again.read(first)
    for node in first.nodes:
        made = again.add_many(node.op, [values[n] for n in node.inputs], node.outputs, node.attrs, label=node.name)
        values.update(zip(node.outputs, made, strict=True))
    second = again.graph({"x": values["x"]}, {"y": values["y"]}, names=values.items())
    assert (second.nodes, second.inputs, second.outputs) == (first.nodes, first.inputs, first.outputs)
    assert second.constants.keys() == first.constants.keys()
