"""Operators in the forms of each opset, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_build import make_model, ort_run

from fastgru.errors import InvalidModelError, ShapeError, UnsupportedModelError
from fastgru.importers.onnx import read_onnx
from fastgru.load import load
from fastgru.reference import run_graph

RNG = np.random.default_rng(1)
X = RNG.standard_normal((2, 3, 4)).astype(np.float32)
M = RNG.standard_normal((3, 4)).astype(np.float32)
POSITIVE = (np.abs(X) + 0.1).astype(np.float32)
ROW, SCALAR = RNG.standard_normal(4).astype(np.float32), np.float32(0.7)
IDS = np.array([[0, 2, 1], [1, 0, 2]])


def i64(*values):
    return np.array(values, dtype=np.int64)


def f32(value):
    return np.array(value, dtype=np.float32)


def case(op, opset, *inputs, constants=None, outputs=1, dtype="float32", **attributes):
    """inputs come while the model runs; constants: {position: array}, behind or between them."""
    return pytest.param(op, opset, inputs, constants or {}, outputs, dtype, attributes, id=None)


def build(op, opset, inputs, constants, outputs, dtype, attributes):
    feeds, held, names = {}, {}, []
    free = iter(inputs)
    for i in range(len(inputs) + len(constants)):
        if i in constants and constants[i] is None:
            names.append("")
            continue
        names.append(f"v{i}")
        if i in constants:
            held[f"v{i}"] = constants[i]
        else:
            feeds[f"v{i}"] = np.asarray(next(free))
    node = helper.make_node(op, names, [f"y{i}" for i in range(outputs)], name="the_node", **attributes)
    dtypes = dtype if isinstance(dtype, tuple) else (dtype,) * outputs
    return feeds, make_model([node], feeds, {f"y{i}": t for i, t in enumerate(dtypes)}, held, opset=opset)


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
    # single elements
    case("Clip", 7, X, min=-0.5, max=0.25),
    case("Clip", 7, X, max=0.25),
    case("Clip", 11, X, constants={1: f32(-0.5)}),
    case("Clip", 13, X, constants={1: None, 2: f32(0.5)}),
    case("Clip", 13, X, SCALAR, constants={2: f32(0.9)}),
    case("Cast", 7, X * 3, dtype="int32", to=TensorProto.INT32),
    case("Cast", 13, X, dtype="bool", to=TensorProto.BOOL),
    case("Cast", 19, X, dtype="float64", to=TensorProto.DOUBLE),
    case("CastLike", 15, X, i64(3), dtype="int64"),
    case("Add", 7, X, ROW),
    case("Div", 14, i64(-7, 7, 9), i64(2, -2, 4), dtype="int64"),
    case("Pow", 7, POSITIVE, ROW),
    case("Pow", 13, X, i64(2)),
    case("Mod", 10, i64(-7, 7), i64(3, -3), dtype="int64"),
    case("Mod", 13, X, ROW, fmod=1),
    case("Max", 8, X, X[:1], -X[:1]),
    case("Min", 13, X, ROW, X[:1]),
    case("Sum", 8, X, ROW, M),
    case("Mean", 8, X, ROW, M),
    case("Sum", 7, X),
    case("Equal", 7, IDS, i64(1), dtype="bool"),
    case("Equal", 11, X, X, dtype="bool"),
    case("Less", 9, X, ROW, dtype="bool"),
    case("GreaterOrEqual", 12, X, ROW, dtype="bool"),
    case("LessOrEqual", 16, X, ROW, dtype="bool"),
    case("And", 7, X > 0, X < 1, dtype="bool"),
    case("Xor", 7, X > 0, X < 1, dtype="bool"),
    case("Not", 7, X > 0, dtype="bool"),
    case("Where", 9, X > 0, X, ROW),
    case("PRelu", 7, X, constants={1: ROW}),
    case("PRelu", 9, X, constants={1: f32([0.2])}),
    case("Elu", 7, X, alpha=0.5),
    case("LeakyRelu", 7, X),
    case("HardSigmoid", 7, X, alpha=0.3),
    case("ThresholdedRelu", 10, X, alpha=0.4),
    case("Selu", 7, X),
    case("Selu", 7, X, alpha=1.1, gamma=1.2),
    case("Celu", 12, X, alpha=0.7),
    case("Mish", 18, X),
    case("Gelu", 20, X),
    case("Gelu", 20, X, approximate="tanh"),
    case("HardSwish", 14, X),
    case("IsInf", 10, f32([1, np.inf, -np.inf, np.nan]), dtype="bool"),
    case("IsInf", 10, f32([1, np.inf, -np.inf, np.nan]), dtype="bool", detect_negative=0),
    case("IsInf", 10, f32([1, np.inf, -np.inf, np.nan]), dtype="bool", detect_positive=0),
    case("IsInf", 10, f32([1, np.inf]), dtype="bool", detect_positive=0, detect_negative=0),
    case("IsNaN", 13, f32([1, np.nan]), dtype="bool"),
    case("Round", 11, f32([0.5, 1.5, -0.5, 2.4])),
    case("BitwiseNot", 18, i64(0, 5), dtype="int64"),
    *(case(op, 9, X) for op in ("Abs", "Neg", "Exp", "Floor", "Ceil", "Sign", "Sin", "Cos", "Tan", "Atan")),
    *(case(op, 13, X) for op in ("Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Erf", "Sinh", "Cosh")),
    *(case(op, 13, POSITIVE) for op in ("Log", "Sqrt", "Reciprocal")),
    *(case(op, 13, np.tanh(X)) for op in ("Asin", "Acos")),
    # reductions
    case("ReduceSum", 7, X, axes=[1], keepdims=0),
    case("ReduceSum", 11, X, axes=[-1]),
    case("ReduceSum", 13, X, constants={1: i64(0, 2)}),
    case("ReduceSum", 13, X, noop_with_empty_axes=1),
    case("ReduceMean", 11, X),
    case("ReduceMean", 18, X, constants={1: i64(-1)}, keepdims=0),
    case("ReduceMax", 12, X, axes=[0]),
    case("ReduceMin", 18, X, constants={1: i64(1)}),
    case("ReduceMax", 20, X > 0, constants={1: i64(1)}, dtype="bool"),
    *(case(f"Reduce{kind}", 11, POSITIVE, axes=[1]) for kind in ("L1", "L2", "LogSum", "LogSumExp", "Prod")),
    *(case(f"Reduce{kind}", 18, POSITIVE, constants={1: i64(2)}) for kind in ("L1", "L2", "LogSumExp", "SumSquare")),
    case("ArgMax", 7, X, axis=1, dtype="int64"),
    case("ArgMin", 12, f32([[1, 0, 0]]), axis=1, keepdims=0, select_last_index=1, dtype="int64"),
    case("CumSum", 11, X, constants={1: np.int64(1)}),
    case("CumSum", 14, X, constants={1: i64(-1)}, exclusive=1, reverse=1),
    # normalisation
    case("Softmax", 7, X),
    case("Softmax", 11, X, axis=0),
    case("Softmax", 11, X, axis=-1),
    case("Softmax", 11, X, axis=-2),
    case("Softmax", 11, X, axis=2),
    case("Softmax", 13, X, axis=1),
    case("LogSoftmax", 11, X),
    case("LogSoftmax", 13, X),
    case("BatchNormalization", 7, X, constants=dict(enumerate([M[:, 0], M[:, 1], M[:, 2], M[:, 3] ** 2], 1))),
    case(
        "BatchNormalization", 9, X, constants=dict(enumerate([M[:, 0], M[:, 1], M[:, 2], M[:, 3] ** 2], 1)), epsilon=0.1
    ),
    case("BatchNormalization", 15, X, constants=dict(enumerate([M[:, 0], M[:, 1], M[:, 2], M[:, 3] ** 2], 1))),
    case("LayerNormalization", 17, X, constants={1: ROW, 2: ROW + 1}),
    case("LayerNormalization", 17, X, constants={1: M}, axis=1, epsilon=0.01),
    case("LayerNormalization", 17, X, constants={1: ROW}, axis=-2),
    case(
        "LayerNormalization",
        17,
        X.astype(np.float64),
        constants={1: ROW.astype(np.float64)},
        outputs=3,
        dtype=("float64", "float32", "float32"),
    ),
    case("DepthToSpace", 13, np.zeros((0, 8, 1, 3), np.float32), blocksize=2),
    case("DepthToSpace", 13, np.zeros((2, 8, 0, 3), np.float32), blocksize=2, mode="CRD"),
    case("SpaceToDepth", 13, np.zeros((0, 2, 4, 2), np.float32), blocksize=2),
    case(
        "Resize",
        19,
        RNG.standard_normal((1, 1, 9)).astype(np.float32),
        constants={1: None, 2: f32([1, 1, 1.5])},
        mode="nearest",
        nearest_mode="ceil",
        coordinate_transformation_mode="half_pixel_symmetric",
    ),
    # products
    case("MatMul", 7, X, constants={1: M.T}),
    case("MatMul", 13, X, np.swapaxes(X, 1, 2)),
    case("MatMul", 13, ROW, constants={1: M.T}),
    case("MatMul", 13, ROW, ROW),
    case("MatMul", 13, X, constants={1: ROW}),
    case("MatMul", 13, M.T, constants={0: M}),
    case("Gemm", 7, M, constants={1: M.T, 2: M[:, 0]}),
    case("Gemm", 9, M, constants={1: M, 2: f32([0.5])}, transB=1, alpha=0.5, beta=2.0),
    case("Gemm", 11, M, constants={1: M}, transA=1),
    case("Gemm", 13, M, constants={1: M, 2: M[:, :1]}, transB=1),
    case("Gemm", 13, M, M, M[:1, :3], transB=1, beta=0.5),
    case("Gemm", 13, M, M[:1, :3], constants={1: M}, transB=1, alpha=3.0, beta=0.5),
    case("Gemm", 13, M, constants={1: M, 2: f32(0.25)}, transB=1),
    # out of nothing
    case("ConstantOfShape", 9, i64(2, 3)),
    case("ConstantOfShape", 9, i64(2), value=helper.make_tensor("v", TensorProto.INT64, [1], [7]), dtype="int64"),
    case("Range", 11, np.int64(1), np.int64(10), np.int64(3), dtype="int64"),
    case("Range", 11, f32(1.0), f32(-1.0), f32(-0.5)),
    case("Identity", 7, X),
    case("Dropout", 7, X),
    case("Dropout", 12, X, constants={1: f32(0.3), 2: np.array(False)}, outputs=2, dtype=("float32", "bool")),
]


@pytest.mark.parametrize(("op", "opset", "inputs", "constants", "outputs", "dtype", "attributes"), CASES)
def test_against_onnxruntime(op, opset, inputs, constants, outputs, dtype, attributes):
    feeds, model = build(op, opset, inputs, constants, outputs, dtype, attributes)
    expected = ort_run(model, feeds)
    results = run_graph(read_onnx(model.SerializeToString()), feeds, dtype="float32")
    for name, array in expected.items():
        assert results[name].shape == array.shape
        np.testing.assert_allclose(results[name].astype(array.dtype), array, rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize(("op", "opset", "inputs", "constants", "outputs", "dtype", "attributes"), CASES)
def test_constants_fold_to_the_same_values(op, opset, inputs, constants, outputs, dtype, attributes):
    """Every input constant: nothing is left to compute."""
    feeds, model = build(op, opset, inputs, constants, outputs, dtype, attributes)
    every, folded_model = build(op, opset, (), {}, outputs, dtype, attributes)
    assert not every
    folded_model.graph.node[0].input.extend(model.graph.node[0].input)
    held = {f"v{i}": a for i, a in constants.items() if a is not None} | feeds
    folded_model = make_model(
        list(folded_model.graph.node), {}, {o.name: _dtype(o) for o in model.graph.output}, held, opset=opset
    )
    graph = read_onnx(folded_model.SerializeToString())
    assert not graph.nodes
    results = run_graph(graph, {}, dtype="float32")
    expected = run_graph(read_onnx(model.SerializeToString()), feeds, dtype="float32")
    for name, array in expected.items():
        np.testing.assert_allclose(results[name], array, rtol=1e-6, atol=1e-7)


def _dtype(info):
    return helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type).name


@pytest.mark.parametrize(
    ("op", "opset", "inputs", "constants", "outputs", "dtype", "attributes", "message"),
    [
        (*case("Dropout", 12, X, constants={1: f32(0.3), 2: np.array(True)}).values, "training_mode"),
        (*case("Dropout", 10, X, outputs=2, dtype=("float32", "bool")).values, "mask"),
        (*case("BatchNormalization", 15, X, *M.T, training_mode=1, outputs=3).values, "training mode"),
        (*case("BatchNormalization", 7, X, *M.T, spatial=0).values, "'spatial' is 0"),
        (*case("Pad", 18, X, constants={1: i64(1, 0, 0, 0, 0, 0)}, mode="wrap").values, "'wrap'"),
        (*case("Squeeze", 13, X[:, :1], i64(1)).values, "axes .* computed while the model runs"),
        (*case("Unique", 11, X).values, "X .* computed while the model runs"),
        (*case("LayerNormalization", 17, X, ROW, stash_type=11).values, "'stash_type'"),
        (*case("Cast", 19, X, to=TensorProto.FLOAT8E4M3FN).values, "FLOAT8E4M3FN"),
        (*case("Relu", 13, X, consumed_inputs=[0]).values, "'consumed_inputs' means nothing to Relu-13"),
        (*case("Det", 11, X).values, "Det"),
    ],
)
def test_what_is_refused(op, opset, inputs, constants, outputs, dtype, attributes, message):
    _, model = build(op, opset, inputs, constants, outputs, dtype, attributes)
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        read_onnx(model.SerializeToString())
    assert "the_node" in str(caught.value)


@pytest.mark.parametrize(
    ("op", "opset", "inputs", "constants", "outputs", "dtype", "attributes", "message"),
    [
        (*case("Transpose", 13, X, perm=[0, 1]).values, "perm"),
        (*case("Unsqueeze", 13, X, constants={1: i64(1, 1)}).values, "twice"),
        (*case("Unsqueeze", 13, X).values, "missing"),
        (*case("Split", 13, X, constants={1: i64(1, 1, 1)}, axis=1, outputs=2).values, "split"),
        (*case("Split", 18, X, i64(1, 1, 1), axis=1, outputs=3, num_outputs=3).values, "both split and num_outputs"),
        (*case("Concat", 13, X).values, "'axis' is missing"),
        (*case("Celu", 12, IDS, alpha=0.5, dtype="int64").values, "0.5 is no int64"),
        (*case("Pad", 7, IDS, pads=[0, 1, 0, 1], value=1e30, dtype="int64").values, "e.30 is no int64"),
        (
            *case("STFT", 17, X[:, :, :1], constants={1: i64(1), 2: f32([1, np.inf])}).values,
            "window .* NaN or infinite",
        ),
        (*case("Constant", 13, dtype="float32").values, "exactly one of"),
        (*case("Constant", 13, value_int=1, value_float=1.0, dtype="float32").values, "exactly one of"),
        (*case("Add", 13, X).values, "1 inputs, expected 2"),
        (*case("Relu", 13, X, X).values, "2 inputs, expected 1"),
        (*case("Tanh", 13, X, outputs=2).values, "2 outputs, expected at most 1"),
        (*case("MatMul", 13, X, constants={1: np.full((4, 2), np.nan, np.float32)}).values, "NaN or infinite"),
        (*case("Gemm", 13, X, M).values, "expected matrices"),
        (*case("Add", 13, constants={0: M, 1: np.ones((7, 7), np.float32)}).values, "the_node"),
    ],
)
def test_what_is_invalid(op, opset, inputs, constants, outputs, dtype, attributes, message):
    _, model = build(op, opset, inputs, constants, outputs, dtype, attributes)
    with pytest.raises(InvalidModelError, match=message) as caught:
        read_onnx(model.SerializeToString())
    assert "the_node" in str(caught.value)


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


def test_products_by_a_constant_matrix_and_lookups_become_layers():
    table, weight = {"table": M}, {"weight": M.T}
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("MatMul", ["e", "weight"], ["y"]),
    ]
    model = make_model(nodes, {"ids": IDS}, ["y"], table | weight)
    graph = read_onnx(model.SerializeToString())
    assert [node.op for node in graph.nodes] == ["gather", "linear"]
    assert graph.constants["weight"].shape == (3, 4)


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
