"""Layers that hold weights or statistics, in the forms of each opset, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnx_build import make_model
from operator_cases import IDS, PARAMETERS, RNG, ROW, M, X, case, check_against_onnxruntime, check_folding, f32

from fastgru.importers.onnx import read_onnx

CASES = [
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
]


@pytest.mark.parametrize(PARAMETERS, CASES)
def test_against_onnxruntime(op, opset, inputs, constants, outputs, dtype, attributes):
    check_against_onnxruntime(op, opset, inputs, constants, outputs, dtype, attributes)


@pytest.mark.parametrize(PARAMETERS, CASES)
def test_constants_fold_to_the_same_values(op, opset, inputs, constants, outputs, dtype, attributes):
    check_folding(op, opset, inputs, constants, outputs, dtype, attributes)


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
