"""Sizes that follow from a file: known through every operator, for loops, for branches, for outputs."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from loop_models import H, I, loop_model, node, scan_model, six_matrices
from onnx import TensorProto, helper, numpy_helper
from onnx_build import gru_arrays, make_model, ort_run

import fastgru
from fastgru.errors import ShapeError
from fastgru.graph import TensorSpec
from fastgru.importers.onnx import read_onnx
from fastgru.reference import run_graph

X = np.random.default_rng(1).standard_normal((2, 4, 6)).astype(np.float32)
DATA = Path(__file__).parent.parent / "data" / "onnx"
W = np.ones((3, 1, 1, 1), np.float32)
i64 = np.array


def free_input(model, name, rank):
    """Take away what the file says of the sizes of an input."""
    value = next(v for v in model.graph.input if v.name == name)
    value.CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank))


def undeclared(model):
    """Outputs of which the file says nothing but their names."""
    for value in model.graph.output:
        value.ClearField("type")
    return model


def behind_reshape(model, shape):
    """The same model, whose sequence comes as a row without a size and is reshaped to constants."""
    model.graph.node.insert(0, node("Reshape", ["flat", "to"], ["xs"]))
    model.graph.initializer.append(numpy_helper.from_array(i64(shape), "to"))
    value = next(v for v in model.graph.input if v.name == "xs")
    value.name = "flat"
    del value.type.tensor_type.shape.dim[:]
    value.type.tensor_type.shape.dim.add().dim_param = "elements"
    return model


def test_a_gru_behind_a_reshape_to_constants_loads_with_its_sizes():
    arrays = gru_arrays(np.random.default_rng(0), I=6, H=5, D=2)
    nodes = [
        node("Reshape", ["x", "to"], ["rows"]),
        node("GRU", ["rows", "W", "R", "B"], ["Y", "Y_h"], hidden_size=5, direction="bidirectional"),
    ]
    model = undeclared(make_model(nodes, {"x": X}, ["Y", "Y_h"], {**arrays, "to": i64([4, 2, 6])}))
    free_input(model, "x", 3)
    graph = read_onnx(model.SerializeToString())
    assert [spec.shape for spec in graph.outputs] == [(4, 2, 2, 5), (2, 2, 5)]
    results = fastgru.Model(graph).run({"x": X})
    assert [results[spec.name].shape for spec in graph.outputs] == [spec.shape for spec in graph.outputs]


def test_an_output_declared_without_a_shape_has_the_computed_one():
    model = make_model([node("Relu", ["x"], ["y"])], {"x": X}, ["y"])
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "T"
    graph = read_onnx(model.SerializeToString())
    assert graph.outputs == (TensorSpec("y", "float32", (None, *X.shape[1:]), ("T", *[None] * (X.ndim - 1))),)


def test_an_output_without_a_type_whose_sizes_cannot_be_is_refused_in_a_call():
    model = undeclared(make_model([node("Reshape", ["x", "to"], ["y"])], {"x": X}, ["y"], {"to": i64([3, -2, -1])}))
    with pytest.raises(ShapeError, match="sizes of at least 0"):
        fastgru.load(model.SerializeToString()).run({"x": X})


@pytest.mark.parametrize("make", [scan_model, loop_model], ids=["scan", "loop"])
def test_the_cell_of_a_loop_behind_a_reshape_to_constants_becomes_a_gru(make):
    xs = np.random.default_rng(2).standard_normal((5, 2, I)).astype(np.float32)
    h0 = np.zeros((2, H), np.float32)
    want = ort_run(make(six_matrices), {"xs": xs, "h0": h0})
    graph = read_onnx(behind_reshape(make(six_matrices), [5, 2, I]).SerializeToString())
    assert sum(n.op == "gru" for n in graph.nodes) == 1
    results = fastgru.Model(graph).run({"flat": xs.reshape(-1), "h0": h0})
    for name, array in want.items():
        np.testing.assert_allclose(results[name], array, rtol=1e-5, atol=2e-6)


def test_a_loop_of_no_iteration_hands_its_states_on():
    model = loop_model(six_matrices)
    at = next(i for i, n in enumerate(model.graph.node) if n.op_type == "Gather")
    model.graph.node[at].CopyFrom(node("Identity", ["none"], ["T"]))
    model.graph.initializer.append(numpy_helper.from_array(i64(0), "none"))
    del model.graph.output[1:]
    graph = read_onnx(model.SerializeToString(), allow_unread=True)
    rng = np.random.default_rng(0)
    sizes = {spec.name: [2 if n is None else n for n in spec.shape or ()] for spec in graph.inputs}
    feeds = {name: rng.normal(0, 1, shape).astype("f4") for name, shape in sizes.items()}
    want, got = ort_run(model, feeds), fastgru.load(model.SerializeToString(), allow_unread=True).run(feeds)
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, rtol=0, atol=1e-6)


# What makes y of x, and an axis of y whose size follows, with that size.
WAYS = {
    "reshape": ([node("Reshape", ["x", "to"], ["y"])], {"to": i64([0, 3, -1])}, 1, 3),
    "reshape_rest": ([node("Reshape", ["x", "to"], ["y"])], {"to": i64([0, -1])}, 1, 24),
    "expand": ([node("Expand", ["x", "to"], ["y"])], {"to": i64([7, 1, 1, 1])}, 0, 7),
    "slice": ([node("Slice", ["x", "a", "b", "axis"], ["y"])], {"a": i64([1]), "b": i64([9]), "axis": i64([2])}, 2, 5),
    "split": ([node("Split", ["x", "to"], ["left", "y"], axis=1)], {"to": i64([1, 3])}, 1, 3),
    "matmul": ([node("MatMul", ["x", "w"], ["y"])], {"w": np.ones((6, 8), np.float32)}, 2, 8),
    "gather": ([node("Gather", ["x", "at"], ["y"], axis=1)], {"at": i64([0, 2])}, 1, 2),
    "gather_elements": ([node("GatherElements", ["x", "at"], ["y"], axis=1)], {"at": i64([[[0]] * 3])}, 1, 3),
    "gather_nd": ([node("GatherND", ["x", "at"], ["y"])], {"at": i64([[0, 1], [0, 2], [0, 0]])}, 0, 3),
    "reduce": ([node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0)], {}, 1, 6),
    "concat": ([node("Concat", ["x", "x"], ["y"], axis=2)], {}, 2, 12),
    "transpose": ([node("Transpose", ["x"], ["y"], perm=[2, 0, 1])], {}, 0, 6),
    "pad": ([node("Pad", ["x", "by"], ["y"])], {"by": i64([0, 0, 1, 0, 0, 2])}, 2, 9),
    "tile": ([node("Tile", ["x", "by"], ["y"])], {"by": i64([1, 3, 1])}, 1, 12),
    "where": ([node("Where", ["yes", "x", "w"], ["y"])], {"yes": np.array(True), "w": W}, 0, 3),
    "softmax": ([node("Softmax", ["x"], ["y"])], {}, 2, 6),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_branch_on_a_size_that_is_known_is_taken(way):
    """The batch is free. A wrong branch gives other numbers; one that is not taken is refused."""
    nodes, arrays, axis, size = WAYS[way]
    ends = [helper.make_graph([node(op, ["y"], [op])], op, [], [helper.make_tensor_value_info(op, 1, None)])
            for op in ("Tanh", "Neg")]  # fmt: skip
    nodes = [
        *nodes,
        node("Shape", ["y"], ["shape"]),
        node("Gather", ["shape", "axis_of_y"], ["found"], axis=0),
        node("Equal", ["found", "size"], ["c"]),
        node("If", ["c"], ["z"], then_branch=ends[0], else_branch=ends[1]),
    ]
    for guess in (size, size + 1):
        held = {**arrays, "axis_of_y": i64(axis), "size": i64(guess)}
        model = make_model(nodes, {"x": X}, ["z"], held, opset=13)
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
        graph = read_onnx(model.SerializeToString(), allow_unread=True)
        kinds = [n.attrs.get("kind") for n in graph.nodes]
        assert kinds[-1] == ("tanh" if guess == size else "neg")
        want = ort_run(model, {"x": X})["z"]
        np.testing.assert_allclose(run_graph(graph, {"x": X}, dtype="float32")["z"], want, rtol=1e-5, atol=1e-6)


def test_the_last_valid_step_as_torch_writes_it():
    """`y.gather(1, at).squeeze(1)` asks whether the axis has one element, which its indices tell."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = read_onnx(DATA / "laststep_trace_17.onnx")
    assert [n.op for n in graph.nodes if n.op in ("gather_elements", "squeeze")] == [
        "squeeze",
        "gather_elements",
        "squeeze",
    ]
    with np.load(DATA / "golden.npz") as golden:
        feeds = {name: golden[f"laststep.in.{name}"] for name in ("x", "lengths")}
        want = golden["laststep.out.scores"]
    model = fastgru.Model(graph)
    np.testing.assert_allclose(model.run(feeds)["scores"], want, rtol=1e-5, atol=1e-6)
    single = model.run({name: a[:1] for name, a in feeds.items()})["scores"]
    np.testing.assert_allclose(single, want[:1], rtol=1e-5, atol=1e-6)
