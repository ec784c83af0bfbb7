"""Forms of operators that are refused, and forms that are invalid: the message names the node."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto
from operator_cases import IDS, PARAMETERS, ROW, M, X, build, case, f32, i64

from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.importers.onnx import read_onnx


@pytest.mark.parametrize(
    (*PARAMETERS, "message"),
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
        (*case("Relu", 13, X, consumed_inputs=[0]).values, "'consumed_inputs' does not belong to Relu-13"),
        (*case("Det", 11, X).values, "Det"),
    ],
)
def test_what_is_refused(op, opset, inputs, constants, outputs, dtype, attributes, message):
    _, model = build(op, opset, inputs, constants, outputs, dtype, attributes)
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        read_onnx(model.SerializeToString())
    assert "the_node" in str(caught.value)


@pytest.mark.parametrize(
    (*PARAMETERS, "message"),
    [
        (*case("Transpose", 13, X, perm=[0, 1]).values, "perm"),
        (*case("Unsqueeze", 13, X, constants={1: i64(1, 1)}).values, "twice"),
        (*case("Unsqueeze", 13, X).values, "missing"),
        (*case("Split", 13, X, constants={1: i64(1, 1, 1)}, axis=1, outputs=2).values, "split"),
        (*case("Split", 18, X, i64(1, 1, 1), axis=1, outputs=3, num_outputs=3).values, "both split and num_outputs"),
        (*case("Concat", 13, X).values, "'axis' is missing"),
        (*case("Celu", 12, IDS, alpha=0.5, dtype="int64").values, "0.5 does not fit int64"),
        (*case("Pad", 7, IDS, pads=[0, 1, 0, 1], value=1e30, dtype="int64").values, "e.30 does not fit int64"),
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
