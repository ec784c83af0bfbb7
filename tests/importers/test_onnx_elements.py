"""Operators on single elements and along axes, in the forms of each opset, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto
from operator_cases import (
    IDS,
    PARAMETERS,
    POSITIVE,
    ROW,
    SCALAR,
    M,
    X,
    case,
    check_against_onnxruntime,
    check_folding,
    f32,
    i64,
)

CASES = [
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
]


@pytest.mark.parametrize(PARAMETERS, CASES)
def test_against_onnxruntime(op, opset, inputs, constants, outputs, dtype, attributes):
    check_against_onnxruntime(op, opset, inputs, constants, outputs, dtype, attributes)


@pytest.mark.parametrize(PARAMETERS, CASES)
def test_constants_fold_to_the_same_values(op, opset, inputs, constants, outputs, dtype, attributes):
    check_folding(op, opset, inputs, constants, outputs, dtype, attributes)
