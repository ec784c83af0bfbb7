"""Operators that move frames, or whose result follows from shapes: views, folds, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from engine_cases import agree, normal
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgru.engine import Executable
from fastgru.engine.buffers import View, contiguous_strides
from fastgru.engine.builder import PlanBuilder
from fastgru.engine.ops.shape import reshaped
from fastgru.engine.precision import PrecisionPlan
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference import run_graph


def graph_of(nodes, inputs, outputs, constants=None):
    specs = tuple(TensorSpec(n, a.dtype.name, (None,) * a.ndim) for n, a in inputs.items())
    return Graph(specs, tuple(TensorSpec(o, "float32", None) for o in outputs), tuple(nodes), constants or {})


def i64(*values):
    return np.array(values, np.int64)


def test_views_emit_nothing_but_the_copy_of_the_output():
    x = normal(4, 6, 5)
    nodes = [
        Node("transpose", ("x",), ("a",), {"perm": [1, 0, 2]}),
        Node("slice", ("a", "starts", "ends", "axes", "steps"), ("b",)),
        Node("unsqueeze", ("b",), ("c",), {"axes": [1]}),
        Node("split", ("c",), ("d", "e"), {"axis": 3, "sizes": [2, 3]}),
        Node("gather", ("e", "last"), ("f",), {"axis": 2}),
        Node("squeeze", ("f",), ("y",), {"axes": [1]}),
    ]
    constants = {"starts": i64(-1), "ends": i64(-99), "axes": i64(0), "steps": i64(-2), "last": i64(-1)[0]}
    graph = graph_of(nodes, {"x": x}, ["y"], constants)
    agree(graph, {"x": x}, "float32")
    program = Executable(graph).program({"x": x.shape})
    assert program.handlers == ("copy_int32",)
    assert len(program.labels) == 1


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4),
    order=st.randoms(use_true_random=False),
    cuts=st.lists(st.integers(1, 3), max_size=4),
)
def test_reshape_of_any_strides(sizes, order, cuts):
    perm = list(range(len(sizes)))
    order.shuffle(perm)
    x = normal(*sizes)
    rest, target = x.size, []
    for cut in cuts:
        if rest % cut == 0:
            target.append(cut)
            rest //= cut
    nodes = [
        Node("transpose", ("x",), ("t",), {"perm": perm}),
        Node("reshape", ("t", "shape"), ("y",), {"allow_zero": True}),
    ]
    agree(graph_of(nodes, {"x": x}, ["y"], {"shape": i64(*target, rest)}), {"x": x}, "float32")


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
def test_a_view_reads_what_numpy_reads(sizes, data):
    """`reshaped` gives a view exactly where NumPy can, and the same strides."""
    perm = data.draw(st.permutations(range(len(sizes))))
    array = np.arange(np.prod(sizes)).reshape(sizes).transpose(perm).astype(np.float32)
    target = data.draw(st.sampled_from([(array.size,), (1, array.size), array.shape[::-1], (*array.shape, 1)]))
    builder = PlanBuilder(PrecisionPlan("float32"), {})
    whole = builder.input("x", tuple(sizes), "float32")
    strides = tuple(whole.strides[p] for p in perm)
    view = View(whole.buffer, 0, array.shape, strides, "float32")
    result = reshaped(builder, view, target)
    base = np.arange(array.size).astype(np.float32)
    if result.buffer is whole.buffer:
        seen = np.lib.stride_tricks.as_strided(base, target, [s * 4 for s in result.strides])
        np.testing.assert_array_equal(seen, array.reshape(target))
    else:
        assert not np.shares_memory(array.reshape(target), array)


def test_contiguous_strides():
    for shape in ((), (3,), (2, 3, 4), (1, 5)):
        array = np.empty(shape, np.int8)
        assert View(None, 0, shape, contiguous_strides(shape), "int8").contiguous
        assert contiguous_strides(shape) == array.strides


def test_split_by_parts_and_the_shape_of_a_tensor():
    x = normal(7, 3)
    nodes = [
        Node("split", ("x",), ("a", "b", "c"), {"axis": 0, "parts": 3}),
        Node("shape", ("x",), ("s",), {"start": -1}),
        Node("shape", ("x",), ("whole",), {}),
    ]
    agree(graph_of(nodes, {"x": x}, ["a", "b", "c", "s", "whole"]), {"x": x}, "float64")


def test_sizes_that_follow_from_shapes_are_folded_in_the_plan():
    x = normal(3, 5)
    nodes = [
        Node("shape", ("x",), ("s",), {}),
        Node("gather", ("s", "zero"), ("n",), {"axis": 0}),
        Node("range", ("zero", "n", "one"), ("r",)),
        Node("cast", ("r",), ("f",), {"to": "float32"}),
        Node("constant_of_shape", ("s",), ("k",), {"value": 0.1, "dtype": "float32"}),
        Node("binary", ("x", "k"), ("sum",), {"kind": "add"}),
        Node("unsqueeze", ("f",), ("column",), {"axes": [1]}),
        Node("binary", ("sum", "column"), ("y",), {"kind": "mul"}),
    ]
    graph = graph_of(nodes, {"x": x}, ["y", "k"], {"zero": np.array(0), "one": np.array(1)})
    for precision in ("float32", "float64"):
        agree(graph, {"x": x}, precision)
    program = Executable(graph).program({"x": (3, 5)})
    assert {"cast_to_float32_int64", "gather_int64"}.isdisjoint(program.handlers)


@pytest.mark.parametrize(
    ("node", "names"),
    [
        (Node("range", ("n", "n", "n"), ("y",), name="count"), ["range 'count'", "start"]),
        (Node("constant_of_shape", ("v",), ("y",), {"value": 0.0, "dtype": "float32"}), ["constant_of_shape 'y'"]),
        (Node("reshape", ("x", "v"), ("y",)), ["reshape 'y'", "shape"]),
        (Node("expand", ("x", "v"), ("y",)), ["expand 'y'", "shape"]),
        (Node("tile", ("x", "v"), ("y",)), ["tile 'y'", "repeats"]),
        (Node("pad", ("x", "v"), ("y",), {"mode": "constant"}), ["pad 'y'", "pads"]),
        (Node("slice", ("x", "v", "v"), ("y",)), ["slice 'y'", "starts"]),
    ],
)
def test_sizes_that_depend_on_data_are_refused_by_name(node, names):
    inputs = {"x": normal(2), "v": i64(1), "n": np.array(2)}
    used = {n: inputs[n] for n in dict.fromkeys(node.inputs)}
    with pytest.raises(UnsupportedModelError) as caught:
        Executable(graph_of([node], used, ["y"])).run(used)
    for name in names:
        assert name in str(caught.value)
    assert "constant of the model" in str(caught.value)


BAD = {
    "binary": (Node("binary", ("x", "y"), ("z",), {"kind": "add"}), (normal(3), normal(4))),
    "mixed": (Node("binary", ("x", "y"), ("z",), {"kind": "add"}), (normal(3), i64(1, 2, 3))),
    "matmul": (Node("matmul", ("x", "y"), ("z",)), (normal(3, 4), normal(3, 4))),
    "concat rank": (Node("concat", ("x", "y"), ("z",), {"axis": 0}), (normal(3, 4), normal(4))),
    "concat dtype": (Node("concat", ("x", "y"), ("z",), {"axis": 0}), (i64(1), np.array([1], np.int32))),
    "axis": (Node("softmax", ("x",), ("z",), {"axis": 2}), (normal(3, 4),)),
    "squeeze": (Node("squeeze", ("x",), ("z",), {"axes": [0]}), (normal(3, 4),)),
    "unsqueeze": (Node("unsqueeze", ("x",), ("z",), {"axes": [0, 0]}), (normal(3, 4),)),
    "flatten": (Node("flatten", ("x",), ("z",), {"axis": 3}), (normal(3, 4),)),
    "split": (Node("split", ("x",), ("z", "w"), {"axis": 0, "sizes": [1, 1]}), (normal(3, 4),)),
    "transpose": (Node("transpose", ("x",), ("z",), {"perm": [0, 0]}), (normal(3, 4),)),
    "layer_norm": (Node("layer_norm", ("x", "y"), ("z",), {"axis": 1, "epsilon": 1e-5}), (normal(3, 4), normal(3))),
    "empty arg": (
        Node("arg", ("x",), ("z",), {"kind": "max", "axis": 0, "keepdims": True, "select_last": False}),
        (normal(0, 4),),
    ),
    "where": (Node("where", ("x", "y", "y"), ("z",)), (normal(3), normal(3))),
    "logical": (Node("logical", ("x", "x"), ("z",), {"kind": "and"}), (normal(3),)),
    "not": (Node("unary", ("x",), ("z",), {"kind": "not"}), (normal(3),)),
    "exp": (Node("unary", ("x",), ("z",), {"kind": "exp"}), (i64(3),)),
    "indices": (Node("gather", ("x", "y"), ("z",), {"axis": 0}), (normal(3), normal(3))),
    "gather_elements": (Node("gather_elements", ("x", "y"), ("z",), {"axis": 0}), (normal(3, 2), i64([0, 0, 0]))),
    "last": (Node("last", ("x", "y"), ("z",)), (normal(3, 0, 2), i64(0, 0, 0))),
}


@pytest.mark.parametrize("name", BAD)
def test_shapes_and_dtypes_that_do_not_fit_are_named(name):
    """What the definition refuses, the engine refuses, and names the node."""
    node, arrays = BAD[name]
    feeds = dict(zip(("x", "y"), arrays, strict=False))
    graph = graph_of([node], feeds, ["z"])
    with pytest.raises(ShapeError, match=f"{node.op} 'z'"):
        run_graph(graph, feeds)
    with pytest.raises(ShapeError, match=f"{node.op} 'z'"):
        Executable(graph).run(feeds)
