"""Every operator of the table against ONNX Runtime on the ONNX operator of the same meaning."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from onnx_node import run_onnx

from fastgru.errors import FastGRUError
from fastgru.reference import OPS


def normal(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def ints(low, high, *shape, seed=0):
    return np.random.default_rng(seed).integers(low, high, shape)


def bools(*shape, seed=0):
    return np.random.default_rng(seed).random(shape) < 0.5


def i64(*values):
    return np.array(values, dtype=np.int64)


def f32(value):
    return np.array(value, dtype=np.float32)


WIDE = np.concatenate((np.linspace(-30, 30, 241), [-0.0, 1e-8, -1e-8, np.inf, -np.inf, np.nan])).astype(np.float32)
POSITIVE = np.abs(normal(3, 4)) + f32(0.1)
UNIT = np.tanh(normal(3, 4))

UNARY = {
    "abs": ("Abs", WIDE),
    "neg": ("Neg", WIDE),
    "exp": ("Exp", normal(4, 5)),
    "log": ("Log", POSITIVE),
    "sqrt": ("Sqrt", POSITIVE),
    "reciprocal": ("Reciprocal", POSITIVE),
    "floor": ("Floor", WIDE / 7),
    "ceil": ("Ceil", WIDE / 7),
    "round": ("Round", np.arange(-4, 4.5, 0.5, dtype=np.float32)),
    "sign": ("Sign", WIDE[:-1]),
    "sin": ("Sin", normal(20)),
    "cos": ("Cos", normal(20)),
    "tan": ("Tan", UNIT),
    "asin": ("Asin", UNIT),
    "acos": ("Acos", UNIT),
    "atan": ("Atan", normal(20)),
    "sinh": ("Sinh", normal(20)),
    "cosh": ("Cosh", normal(20)),
    "erf": ("Erf", WIDE[:-1]),
    "hard_swish": ("HardSwish", normal(4, 5) * 4),
    "isnan": ("IsNaN", WIDE),
    "isinf": ("IsInf", WIDE),
    "gelu": ("Gelu", normal(4, 5) * 3),
}

ACTIVATION = {
    "elu": ("Elu", {"alpha": 0.7}, {"alpha": 0.7}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}, {"alpha": 0.3, "beta": 0.4}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.2}, {"alpha": 0.2}),
    "relu": ("Relu", {}, {}),
    "sigmoid": ("Sigmoid", {}, {}),
    "softplus": ("Softplus", {}, {}),
    "softsign": ("Softsign", {}, {}),
    "tanh": ("Tanh", {}, {}),
    "thresholded_relu": ("ThresholdedRelu", {"alpha": 0.5}, {"alpha": 0.5}),
}

A, B = normal(2, 3, 4), normal(3, 1, seed=1)
IA, IB = ints(-9, 9, 3, 4), ints(1, 5, 4, seed=1) * np.array([1, -1, 1, -1])
BINARY = [
    ("add", "Add", (A, B), {}),
    ("sub", "Sub", (A, B), {}),
    ("mul", "Mul", (A, B), {}),
    ("div", "Div", (A, B), {}),
    ("pow", "Pow", (np.abs(A), B), {}),
    ("min", "Min", (A, B), {}),
    ("max", "Max", (A, B), {}),
    ("fmod", "Mod", (A, B), {"fmod": 1}),
    ("add", "Add", (IA, IB), {}),
    ("div", "Div", (IA, IB), {}),
    ("mod", "Mod", (IA, IB), {}),
    ("fmod", "Mod", (IA, IB), {"fmod": 1}),
    ("pow", "Pow", (normal(3, 4), ints(0, 4, 4)), {}),
]

M = normal(2, 3, 4)
# (op, attrs, inputs), (ONNX op, ONNX attributes, its inputs where they differ)
CASES = [
    (("matmul", {}, [normal(2, 3, 4), normal(4, 5)]), ("MatMul", {}, None)),
    (("matmul", {}, [normal(4), normal(2, 4, 5)]), ("MatMul", {}, None)),
    (("linear", {}, [normal(3, 4), normal(5, 4), normal(5)]), ("Gemm", {"transB": 1}, None)),
    (("prelu", {}, [M, normal(3, 1)]), ("PRelu", {}, None)),
    (("where", {}, [bools(2, 1, 4), M, normal(4)]), ("Where", {}, None)),
    (("clip", {}, [M, f32(-0.5), f32(0.5)]), ("Clip", {}, None)),
    (("clip", {}, [M, None, f32(0.5)]), ("Clip", {}, None)),
    (("reshape", {}, [M, i64(0, -1)]), ("Reshape", {}, None)),
    (("reshape", {}, [M, i64(4, 0, 2)]), ("Reshape", {}, None)),
    (("reshape", {"allow_zero": True}, [normal(0, 3), i64(3, 0)]), ("Reshape", {"allowzero": 1}, None)),
    (("transpose", {"perm": [2, 0, 1]}, [M]), ("Transpose", {"perm": [2, 0, 1]}, None)),
    (("squeeze", {"axes": [0, -1]}, [normal(1, 3, 1)]), ("Squeeze", {}, [normal(1, 3, 1), i64(0, -1)])),
    (("squeeze", {"axes": []}, [normal(1, 3, 1)]), ("Squeeze", {}, None)),
    (("unsqueeze", {"axes": [0, -1]}, [M]), ("Unsqueeze", {}, [M, i64(0, -1)])),
    (("flatten", {"axis": 2}, [M]), ("Flatten", {"axis": 2}, None)),
    (("flatten", {"axis": -1}, [M]), ("Flatten", {"axis": -1}, None)),
    (("flatten", {"axis": 0}, [M]), ("Flatten", {"axis": 0}, None)),
    (("expand", {}, [normal(3, 1), i64(2, 1, 4)]), ("Expand", {}, None)),
    (("tile", {}, [M, i64(2, 1, 3)]), ("Tile", {}, None)),
    (("concat", {"axis": -2}, [M, normal(2, 1, 4)]), ("Concat", {"axis": -2}, None)),
    (("gather", {"axis": 1}, [M, i64(0, -1, 2)]), ("Gather", {"axis": 1}, None)),
    (("gather", {"axis": -1}, [M, np.array([[1, -4], [3, 0]])]), ("Gather", {"axis": -1}, None)),
    (("gather", {"axis": 0}, [M, np.array(-1)]), ("Gather", {"axis": 0}, None)),
    (("gather_elements", {"axis": 1}, [M, ints(-3, 3, 2, 2, 4)]), ("GatherElements", {"axis": 1}, None)),
    *(
        (("scatter_elements", {"axis": 1, "reduction": r}, [M, ints(-3, 3, 2, 2, 4), normal(2, 2, 4, seed=3)]),
         ("ScatterElements", {"axis": 1, "reduction": r}, None))
        for r in ("add", "mul", "max", "min")
    ),
    *(
        (("scatter_nd", {"reduction": r}, [M, i64([0, 1], [1, -1]), normal(2, 4, seed=3)]),
         ("ScatterND", {"reduction": r}, None))
        for r in ("none", "add", "mul", "max", "min")
    ),
    (("embedding", {}, [ints(0, 7, 2, 3), normal(7, 4)]), ("Gather", {}, [normal(7, 4), ints(0, 7, 2, 3)])),
    (("pad", {"mode": "constant"}, [M, i64(1, 0, 2, 0, 1, 0), f32(3)]), ("Pad", {"mode": "constant"}, None)),
    (("pad", {"mode": "constant"}, [M, i64(0, -1, 2, 0, 1, -1)]), ("Pad", {"mode": "constant"}, None)),
    (("pad", {"mode": "reflect"}, [M, i64(1, 0, 2, 0, 1, 0)]), ("Pad", {"mode": "reflect"}, None)),
    (("pad", {"mode": "edge", "axes": [-1, 0]}, [M, i64(1, 2, 3, 0)]),
     ("Pad", {"mode": "edge"}, [M, i64(1, 2, 3, 0), None, i64(-1, 0)])),
    (("range", {}, [f32(1), f32(4), f32(0.7)]), ("Range", {}, None)),
    (("range", {}, [np.array(9), np.array(-2), np.array(-3)]), ("Range", {}, None)),
    (("cumsum", {"axis": 1, "exclusive": False, "reverse": False}, [M]), ("CumSum", {}, [M, np.array(1)])),
    (("cumsum", {"axis": -1, "exclusive": True, "reverse": True}, [M]),
     ("CumSum", {"exclusive": 1, "reverse": 1}, [M, np.array(-1)])),
    (("softmax", {"axis": 1}, [M * 9]), ("Softmax", {"axis": 1}, None)),
    (("log_softmax", {"axis": -1}, [M * 9]), ("LogSoftmax", {"axis": -1}, None)),
    (("layer_norm", {"axis": -1, "epsilon": 1e-3}, [M, normal(4), normal(4, seed=2)]),
     ("LayerNormalization", {"axis": -1, "epsilon": 1e-3}, None)),
    (("layer_norm", {"axis": 1, "epsilon": 1e-5}, [M, normal(3, 4)]),
     ("LayerNormalization", {"axis": 1, "epsilon": 1e-5}, None)),
    (("batch_norm", {"axis": 1, "epsilon": 1e-3}, [M, normal(3), normal(3), normal(3), np.abs(normal(3))]),
     ("BatchNormalization", {"epsilon": 1e-3}, None)),
]  # fmt: skip


def outcome(op, attrs, inputs):
    outputs = OPS[op](inputs, attrs)
    return outputs[0] if len(outputs) == 1 else outputs


def agree(ours, theirs):
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("kind", UNARY)
def test_unary(kind):
    onnx_op, x = UNARY[kind]
    types = ["bool"] if kind.startswith("is") else None
    with np.errstate(all="ignore"):
        agree(outcome("unary", {"kind": kind}, [x]), run_onnx(onnx_op, [x], output_types=types)[0])


def test_gelu_tanh():
    x = normal(4, 5) * 3
    agree(outcome("unary", {"kind": "gelu_tanh"}, [x]), run_onnx("Gelu", [x], approximate="tanh")[0])


def test_selu():
    attrs = {"alpha": 1.5, "gamma": 1.1}
    agree(outcome("unary", {"kind": "selu", **attrs}, [A]), run_onnx("Selu", [A], **attrs)[0])


def test_silu_is_x_times_sigmoid():
    agree(outcome("unary", {"kind": "silu"}, [A]), A * run_onnx("Sigmoid", [A])[0])


@pytest.mark.parametrize("kind", ["log1p", "expm1"])
def test_logarithms_near_one(kind):
    x = np.array([1e-12, -1e-9, 0.5])
    np.testing.assert_array_equal(outcome("unary", {"kind": kind}, [x]), getattr(np, kind)(x))


def test_not():
    x = bools(3, 4)
    agree(outcome("unary", {"kind": "not"}, [x]), run_onnx("Not", [x])[0])
    agree(outcome("unary", {"kind": "bitwise_not"}, [IA]), run_onnx("BitwiseNot", [IA])[0])


@pytest.mark.parametrize("kind", ACTIVATION)
def test_activation(kind):
    onnx_op, attrs, onnx_attrs = ACTIVATION[kind]
    x = np.linspace(-20, 20, 161, dtype=np.float32)
    agree(outcome("activation", {"kind": kind, **attrs}, [x]), run_onnx(onnx_op, [x], **onnx_attrs)[0])


@pytest.mark.parametrize(("kind", "onnx_op", "inputs", "attrs"), BINARY)
def test_binary(kind, onnx_op, inputs, attrs):
    agree(outcome("binary", {"kind": kind}, inputs), run_onnx(onnx_op, inputs, **attrs)[0])


@pytest.mark.parametrize(
    ("kind", "onnx_op"),
    [("equal", "Equal"), ("less", "Less"), ("less_equal", "LessOrEqual"), ("greater", "Greater"),
     ("greater_equal", "GreaterOrEqual")],
)  # fmt: skip
def test_compare(kind, onnx_op):
    a, b = ints(0, 3, 4, 5), ints(0, 3, 5, seed=1)
    agree(outcome("compare", {"kind": kind}, [a, b]), run_onnx(onnx_op, [a, b], output_types=["bool"])[0])


def test_not_equal_is_not_equal():
    a, b = ints(0, 3, 4, 5), ints(0, 3, 5, seed=1)
    assert np.array_equal(
        outcome("compare", {"kind": "not_equal"}, [a, b]), ~outcome("compare", {"kind": "equal"}, [a, b])
    )


@pytest.mark.parametrize(("kind", "onnx_op"), [("and", "And"), ("or", "Or"), ("xor", "Xor")])
def test_logical(kind, onnx_op):
    a, b = bools(4, 5), bools(5, seed=1)
    agree(outcome("logical", {"kind": kind}, [a, b]), run_onnx(onnx_op, [a, b])[0])


@pytest.mark.parametrize(("ours", "theirs"), CASES, ids=lambda case: case[0])
def test_case(ours, theirs):
    op, attrs, inputs = ours
    onnx_op, onnx_attrs, onnx_inputs = theirs
    first = next(a for a in inputs[1 if op in ("where", "embedding") else 0 :] if a is not None)
    expected = run_onnx(onnx_op, onnx_inputs or inputs, output_types=[first.dtype.name], **onnx_attrs)[0]
    agree(outcome(op, attrs, inputs), expected)


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ([1, 0], [3, 2], [0, 2], [1, 1]),
        ([-1], [-9], [1], [-1]),
        ([-100], [-200], [1], [-1]),
        ([100], [-100], [1], [-2]),
        ([2**63 - 1], [-(2**63)], [2], [-3]),
        ([0], [2**63 - 1], [-1], [2]),
        ([3], [1], [1], [1]),
        ([0, 1], [9, -1], None, None),
    ],
)
def test_slice(starts, ends, axes, steps):
    x = normal(4, 5, 6)
    inputs = [x, *(None if v is None else i64(*v) for v in (starts, ends, axes, steps))]
    while inputs[-1] is None:
        inputs.pop()
    agree(outcome("slice", {}, inputs), run_onnx("Slice", inputs)[0])


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_split_into_parts(parts):
    x = normal(2, 7)
    ours = OPS["split"]([x], {"axis": 1, "parts": parts})
    for a, b in zip(
        ours, run_onnx("Split", [x], num_outputs=parts, axis=1, attributes={"num_outputs": parts}), strict=True
    ):
        agree(a, b)


def test_split_into_sizes():
    x = normal(2, 7)
    ours = OPS["split"]([x], {"axis": -1, "sizes": [1, 0, 6]})
    for a, b in zip(ours, run_onnx("Split", [x, i64(1, 0, 6)], num_outputs=3, axis=-1), strict=True):
        agree(a, b)


@pytest.mark.parametrize(("to", "x"), [
    ("int32", np.array([-1.9, -0.5, 0.5, 1.9], np.float32)),
    ("bool", np.array([0, -0.0, 0.1, np.nan], np.float32)),
    ("float64", normal(4)),
    ("float32", ints(-5, 5, 4)),
])  # fmt: skip
def test_cast(to, x):
    from onnx_node import _ELEMENT

    agree(outcome("cast", {"to": to}, [x]), run_onnx("Cast", [x], output_types=[to], to=_ELEMENT[to])[0])


@pytest.mark.parametrize(("start", "end"), [(0, None), (1, None), (-2, -1), (-9, 9), (2, 1)])
def test_shape(start, end):
    ends = {} if end is None else {"end": end}
    theirs = run_onnx("Shape", [M], output_types=["int64"], start=start, **ends)[0]
    agree(outcome("shape", {"start": start, **ends}, [M]), theirs)


def test_constant_of_shape():
    y = outcome("constant_of_shape", {"value": 2.5, "dtype": "float32"}, [i64(2, 0, 3)])
    assert y.shape == (2, 0, 3)
    agree(outcome("constant_of_shape", {"value": -7, "dtype": "int64"}, [i64(2, 3)]), np.full((2, 3), -7))


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axes", [[], [0], [-1, 0]])
@pytest.mark.parametrize(
    ("kind", "onnx_op"),
    [("sum", "ReduceSum"), ("mean", "ReduceMean"), ("max", "ReduceMax"), ("min", "ReduceMin"),
     ("prod", "ReduceProd"), ("l1", "ReduceL1"), ("l2", "ReduceL2"), ("sum_square", "ReduceSumSquare"),
     ("log_sum", "ReduceLogSum"), ("log_sum_exp", "ReduceLogSumExp")],
)  # fmt: skip
def test_reduce(kind, onnx_op, axes, keepdims):
    x = np.abs(normal(2, 3, 4)) if kind == "log_sum" else normal(2, 3, 4) * 3
    inputs = [x, i64(*axes)] if axes else [x]
    theirs = run_onnx(onnx_op, inputs, keepdims=int(keepdims))[0]
    agree(outcome("reduce", {"kind": kind, "axes": axes, "keepdims": keepdims}, [x]), theirs)


def test_reduce_of_large_values_does_not_overflow():
    y = outcome("reduce", {"kind": "log_sum_exp", "axes": [], "keepdims": False}, [f32([1000, 1000])])
    assert y == pytest.approx(1000 + np.log(2), rel=1e-6)


def test_any_and_all():
    x = bools(3, 4)
    for kind in ("any", "all"):
        y = outcome("reduce", {"kind": kind, "axes": [1], "keepdims": False}, [x])
        assert y.tolist() == [getattr(builtins, kind)(row) for row in x.tolist()]


@pytest.mark.parametrize("select_last", [False, True])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(("kind", "onnx_op"), [("max", "ArgMax"), ("min", "ArgMin")])
def test_arg(kind, onnx_op, keepdims, select_last):
    x = ints(0, 3, 4, 6).astype(np.float32)
    attrs = {"axis": -1, "keepdims": keepdims, "select_last": select_last}
    theirs = run_onnx(onnx_op, [x], output_types=["int64"], axis=-1, keepdims=int(keepdims),
                      select_last_index=int(select_last))[0]  # fmt: skip
    agree(outcome("arg", {"kind": kind, **attrs}, [x]), theirs)


def test_last():
    x, lengths = normal(4, 5, 2), i64(5, 0, 1, 3)
    expected = np.stack([x[0, 4], x[1, 0], x[2, 0], x[3, 2]])
    agree(outcome("last", {}, [x, lengths]), expected)


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "said"),
    [
        ("einsum", [np.ones(2)], {"equation": "i,i->i"}, "einsum: equation 'i,i->i' is for 2 operands, but got 1"),
        ("log_softmax", [np.ones(2, np.int64)], {"axis": 0}, "log_softmax: x has dtype int64"),
        ("softmax", [np.ones(2, np.int64)], {"axis": 0}, "softmax: x has dtype int64"),
        ("stft", [np.ones((1, 4), np.int64)], {"step": 1, "length": 2}, "stft: x has dtype int64"),
    ],
)
def test_a_message_names_its_operator(op, inputs, attrs, said):
    with pytest.raises(FastGRUError) as told:
        OPS[op](inputs, attrs)
    assert str(told.value).startswith(said)


def test_how_many_outputs_a_node_may_name():
    with pytest.raises(FastGRUError, match=r"got 0 outputs, expected at least 1$"):
        OPS["split"].schema.check([True], {"axis": 0, "parts": 2}, 0)
    with pytest.raises(FastGRUError, match=r"got 2 outputs, expected 1$"):
        OPS["softmax"].schema.check([True], {"axis": 0}, 2)
