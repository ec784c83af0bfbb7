"""Operators that move elements, in the forms of each opset, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_build import make_model, ort_run
from operator_cases import IDS, PARAMETERS, RNG, M, X, case, check_against_onnxruntime, check_folding, f32, i64

from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.importers.onnx import read_onnx
from fastgru.load import load
from fastgru.reference import run_graph

CASES = [
    # shapes
    case("Squeeze", 7, X[:, :1], axes=[1]),
    case("Squeeze", 7, X[:1, :, :1]),
    case("Squeeze", 11, X[:, :1], axes=[-2]),
    case("Squeeze", 13, X[:, :1], constants={1: i64(1)}),
    case("Squeeze", 13, X[:1, :1]),
    case("Unsqueeze", 7, X, axes=[0, 2]),
    case("Unsqueeze", 11, X, axes=[-1]),
    case("Unsqueeze", 13, X, constants={1: i64(3, 0)}),
    case("Flatten", 7, X),
    case("Flatten", 9, X, axis=0),
    case("Flatten", 13, X, axis=-1),
    case("Reshape", 7, X, constants={1: i64(0, -1)}),
    case("Reshape", 14, X[:0], constants={1: i64(0, 12)}, allowzero=1),
    case("Reshape", 13, X, i64(4, -1)),
    case("Transpose", 7, X),
    case("Transpose", 13, X, perm=[1, 2, 0]),
    case("Expand", 8, X[:1], constants={1: i64(2, 2, 1, 1)}),
    case("Shape", 7, X, dtype="int64"),
    case("Shape", 15, X, dtype="int64", start=-2),
    case("Shape", 15, X, dtype="int64", start=1, end=-1),
    case("Size", 7, X, dtype="int64"),
    # pieces
    case("Slice", 7, X, starts=[0, 1], ends=[2, 100], axes=[1, 2]),
    case("Slice", 9, X, starts=[-1], ends=[100]),
    case("Slice", 10, X, constants={1: i64(3), 2: i64(-100), 3: i64(2), 4: i64(-2)}),
    case("Slice", 13, X, np.array([1], np.int32), np.array([3], np.int32), constants={3: np.array([1], np.int32)}),
    case("Split", 7, X, outputs=2, axis=1, split=[1, 2]),
    case("Split", 11, X, outputs=2, axis=-1),
    case("Split", 13, X, constants={1: i64(3, 1)}, outputs=2, axis=2),
    case("Split", 18, X, outputs=2, axis=1, num_outputs=2),
    case("Concat", 7, X, X[:, :1], axis=1),
    case("Concat", 13, X, axis=-1),
    case("Gather", 7, X, constants={1: i64(1, -1) % 3}, axis=1),
    case("Gather", 13, X, i64(1, -1), axis=-1),
    case("Gather", 13, IDS, constants={0: M}),
    case("Gather", 13, np.array(1), constants={0: M}),
    case("GatherElements", 11, X, IDS[None][:, :, :3] % 2, axis=2),
    case("ScatterElements", 11, X, IDS[None][:, :, :3] % 2, X[:1, :2, :3], axis=2),
    case("ScatterElements", 18, X, np.zeros((1, 2, 3), np.int64), X[:1, :2, :3], axis=1, reduction="max"),
    case("ScatterND", 11, X, np.array([[1, 2], [0, -1]]), X[:, 0]),
    case("ScatterND", 16, X, np.array([[1], [1]]), X[:2], reduction="add"),
    case("Scatter", 9, X, IDS[None][:, :, :3] % 2, X[:1, :2, :3], axis=2),
    case("Tile", 7, X, constants={1: i64(1, 2, 3)}),
    case("Pad", 7, X, pads=[0, 1, 0, 0, 0, 2], value=1.5),
    case("Pad", 10, X, pads=[0, 1, 2, 0, 0, 2], mode="reflect"),
    case("Pad", 11, X, constants={1: i64(0, -1, 0, 1, 0, 2), 2: f32(3.0)}),
    case("Pad", 18, X, constants={1: i64(1, 2), 2: None, 3: i64(-1)}, mode="edge"),
    # out of nothing
    case("ConstantOfShape", 9, i64(2, 3)),
    case("ConstantOfShape", 9, i64(2), value=helper.make_tensor("v", TensorProto.INT64, [1], [7]), dtype="int64"),
    case("Range", 11, np.int64(1), np.int64(10), np.int64(3), dtype="int64"),
    case("Range", 11, f32(1.0), f32(-1.0), f32(-0.5)),
    case("Identity", 7, X),
    case("Dropout", 7, X),
    case("Dropout", 12, X, constants={1: f32(0.3), 2: np.array(False)}, outputs=2, dtype=("float32", "bool")),
]


@pytest.mark.parametrize(PARAMETERS, CASES)
def test_against_onnxruntime(op, opset, inputs, constants, outputs, dtype, attributes):
    check_against_onnxruntime(op, opset, inputs, constants, outputs, dtype, attributes)


@pytest.mark.parametrize(PARAMETERS, CASES)
def test_constants_fold_to_the_same_values(op, opset, inputs, constants, outputs, dtype, attributes):
    check_folding(op, opset, inputs, constants, outputs, dtype, attributes)


@pytest.mark.parametrize("extra", [0, 1, -1])
def test_the_sizes_of_a_split_that_follow_from_shapes_must_add_up(extra):
    nodes = [
        helper.make_node("Shape", ["a"], ["n"], start=0, end=1),
        helper.make_node("Shape", ["b"], ["m"], start=0, end=1),
        helper.make_node("Concat", ["n", "m"], ["sizes"], axis=0),
        helper.make_node("Split", ["x", "sizes"], ["y0", "y1"], axis=1, name="the_node"),
    ]
    feeds = {"x": X, "a": X[:0, 0, 0], "b": X[:0, 0, 0]}
    model = make_model(nodes, feeds, ["y0", "y1"], opset=15)
    for info, dims in zip(model.graph.input, [[2, "c", 4], ["n"], ["m"]], strict=True):
        info.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, dims))
    feeds |= {"a": np.zeros(1, np.float32), "b": np.zeros(2 + extra, np.float32)}
    data = model.SerializeToString()
    for run in (load(data).run, lambda f: run_graph(read_onnx(data), f)):
        if extra:
            with pytest.raises(ShapeError, match=r"the_node.*sizes") as caught:
                run(feeds)
            assert "3" in str(caught.value)
            continue
        for name, expected in ort_run(model, feeds).items():
            np.testing.assert_array_equal(run(feeds)[name].astype(np.float32), expected)


def test_every_form_of_constant():
    forms = {
        "value": helper.make_tensor("t", TensorProto.FLOAT16, [2], np.array([1.5, -2], np.float16).tobytes(), raw=True),
        "value_float": 0.5,
        "value_floats": [0.25, 0.5],
        "value_int": -3,
        "value_ints": [1, 2, 3],
    }
    nodes = [helper.make_node("Constant", [], [name], **{name: value}) for name, value in forms.items()]
    dtypes = dict(zip(forms, ["float16", "float32", "float32", "int64", "int64"], strict=True))
    model = make_model(nodes, {}, dtypes, opset=13)
    constants = read_onnx(model.SerializeToString()).constants
    for name, array in ort_run(model, {}).items():
        assert constants[name].dtype == array.dtype
        np.testing.assert_array_equal(constants[name], array)


def test_the_number_of_axes_follows_from_the_length_of_a_shape():
    """Whatever the sizes are: GlobalMaxPool has to know the number, and Transpose without perm."""
    nodes = [
        helper.make_node("SpaceToDepth", ["x"], ["a"], blocksize=2),
        helper.make_node("GlobalMaxPool", ["a"], ["b"]),
        helper.make_node("GatherND", ["b", "where"], ["c"]),
        helper.make_node("Transpose", ["c"], ["y"]),
    ]
    x = RNG.standard_normal((2, 3, 4, 6)).astype(np.float32)
    model = make_model(nodes, {"x": x}, ["y"], {"where": np.array([[1], [0]])}, opset=18)
    for axis, name in enumerate("NCHW"):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    graph = read_onnx(model.SerializeToString())
    np.testing.assert_array_equal(run_graph(graph, {"x": x}, dtype="float32")["y"], ort_run(model, {"x": x})["y"])


def test_the_number_of_axes_that_squeeze_leaves_follows_from_known_sizes():
    nodes = [helper.make_node("Squeeze", ["x"], ["a"]), helper.make_node("Transpose", ["a"], ["y"])]
    x = RNG.standard_normal((2, 1, 4, 1)).astype(np.float32)
    model = make_model(nodes, {"x": x}, ["y"])
    assert run_graph(read_onnx(model.SerializeToString()), {"x": x})["y"].shape == (4, 2)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    with pytest.raises(UnsupportedModelError, match="'perm' is absent and the number of axes"):
        read_onnx(model.SerializeToString())


def test_identities_cost_nothing_and_outputs_keep_their_names():
    nodes = [
        helper.make_node("Identity", ["x"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("Identity", ["b"], ["y0"]),
        helper.make_node("Identity", ["b"], ["y1"]),
        helper.make_node("Identity", ["x"], ["y2"]),
        helper.make_node("Identity", ["k"], ["y3"]),
    ]
    model = make_model(nodes, {"x": X}, ["y0", "y1", "y2", "y3"], {"k": M}, opset=13)
    graph = read_onnx(model.SerializeToString())
    assert [node.op for node in graph.nodes if node.op not in ("shape", "reshape")] == ["activation"]
    results = run_graph(graph, {"x": X}, dtype="float32")
    for name, expected in {"y0": np.tanh(X), "y1": np.tanh(X), "y2": X, "y3": M}.items():
        np.testing.assert_allclose(results[name], expected, rtol=1e-6)
