"""Integers in operators that are for floats first: carried out, or refused when the file is read."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper
from onnx_build import ort_run

from fastgru.errors import UnsupportedModelError
from fastgru.load import load

KINDS = {"int8": TensorProto.INT8, "int32": TensorProto.INT32, "int64": TensorProto.INT64}


def of_integers(op: str, inputs: int, kind: int, **attrs: object) -> ModelProto:
    names = [f"x{i}" for i in range(inputs)]
    specs = [helper.make_tensor_value_info(name, kind, [2, 2]) for name in (*names, "y")]
    graph = helper.make_graph([helper.make_node(op, names, ["y"], **attrs)], "g", specs[:-1], specs[-1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("op", ["MatMul", "Gemm"])
@pytest.mark.parametrize("kind", ["int32", "int64"])
def test_a_product_of_integers_is_refused_when_it_is_read(op, kind):
    with pytest.raises(UnsupportedModelError, match=f"{op} of {kind} is not implemented; cast its inputs to float32"):
        load(of_integers(op, 2, KINDS[kind]).SerializeToString())


@pytest.mark.parametrize("kind", KINDS)
def test_relu_of_integers(kind):
    x, data = np.array([[-3, 5], [0, -1]], kind), of_integers("Relu", 1, KINDS[kind])
    y = load(data.SerializeToString())(x)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    if kind in ("int8", "int32"):  # onnxruntime has no kernel for it
        np.testing.assert_array_equal(y, ort_run(data, {"x0": x})["y"])


def test_a_product_of_integers_that_is_known_is_a_constant():
    """Sizes are computed so: nothing of it is left when the model runs."""
    nodes = [
        helper.make_node("Constant", [], ["a"], value_ints=[2, 3]),
        helper.make_node("Constant", [], ["b"], value_ints=[1, 2]),
        helper.make_node("MatMul", ["a", "b"], ["n"]),
        helper.make_node("Constant", [], ["axis"], value_ints=[0]),
        helper.make_node("Unsqueeze", ["n", "axis"], ["shape"]),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy")
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    assert load(model.SerializeToString())(np.ones((2, 4), np.float32)).shape == (8,)
