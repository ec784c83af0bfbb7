"""Operators of onnxruntime's optimisers: each against onnxruntime, which runs them, and the files that it writes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper
from onnx_build import ort_run

from fastgru.errors import UnsupportedModelError
from fastgru.importers.onnx import operators, read_onnx
from fastgru.importers.onnx.registry import MICROSOFT, OF_OPTIMISERS
from fastgru.load import load
from fastgru.reference import run_graph

F, U8, I8, I32 = np.float32, np.uint8, np.int8, np.int32
Feed = Any


class Case:
    """A node: inputs by name, those in `fixed` are initializers; None is an absent one."""

    def __init__(
        self, op: str, *arrays: Any, fixed: Any = (), outputs: int | str = 1, domain: str = MICROSOFT, **attrs: Any
    ):
        self.op, self.attrs, self.domain = op, attrs, domain
        self.names = [f"x{i}" if a is not None else "" for i, a in enumerate(arrays)]
        self.arrays = {name: np.asarray(a) for name, a in zip(self.names, arrays, strict=True) if a is not None}
        self.fixed = [f"x{i}" for i in fixed]
        self.outputs = [f"y{i}" for i in range(outputs)] if isinstance(outputs, int) else outputs.split(",")
        self.feeds = {name: a for name, a in self.arrays.items() if name not in self.fixed}

    def model(self, opset: int = 17) -> ModelProto:
        node = helper.make_node(self.op, self.names, self.outputs, domain=self.domain, **self.attrs)
        kinds = {name: helper.np_dtype_to_tensor_dtype(a.dtype) for name, a in self.arrays.items()}
        inputs = [helper.make_tensor_value_info(n, kinds[n], [None] * a.ndim) for n, a in self.feeds.items()]
        weights = [numpy_helper.from_array(self.arrays[name], name) for name in self.fixed]
        ends = [helper.make_empty_tensor_value_info(name) for name in self.outputs if name]
        graph = helper.make_graph([node], "g", inputs, ends, weights)
        imports = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=8)


def floats(*shape: int, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed + sum(shape)).standard_normal(shape) * scale).astype(F)


def factors(*shape: int, seed: int = 0) -> np.ndarray:
    """int8 of 7 bits: without VNNI, ONNX Runtime adds pairs of products in 16 bits, where those of 8 bits saturate."""
    return integers(*shape, dtype=I8, seed=seed) // I8(2)


def integers(*shape: int, dtype: Any = U8, seed: int = 0) -> np.ndarray:
    limits = np.iinfo(dtype)
    low, high = (-500, 500) if dtype is I32 else (limits.min, limits.max + 1)
    return np.random.default_rng(seed + sum(shape)).integers(low, high, shape).astype(dtype)


X, W, S, ZERO, SIGNED = floats(2, 3, 8), floats(8, 6, seed=1), F(0.02), U8(121), I8(-3)
IMAGE, KERNEL = floats(1, 4, 7, 5), floats(6, 4, 3, 2, seed=2)
Q, QW = integers(3, 8), factors(8, 6, seed=1)
IDS, TABLE = np.int32([[1, 0, 4, 2], [3, 3, 1, 0]]), floats(5, 8)

FLOATS = {
    "FusedMatMul": Case("FusedMatMul", X, W, alpha=0.25),
    "FusedMatMul of a constant": Case("FusedMatMul", X, W, fixed=[1], alpha=0.25),
    "FusedMatMul, transA": Case("FusedMatMul", floats(2, 8, 3), W, transA=1),
    "FusedMatMul, transB": Case("FusedMatMul", X, W.T.copy(), fixed=[1], transB=1, alpha=2.0),
    "FusedMatMul, batches of A": Case("FusedMatMul", floats(3, 2, 8), floats(2, 8, 6), transBatchA=1),
    "FusedMatMul, batches of B": Case("FusedMatMul", floats(2, 3, 8), floats(8, 2, 6), transBatchB=1),
    "FusedMatMul, all": Case(
        "FusedMatMul", floats(8, 2, 3), floats(6, 2, 8), transA=1, transBatchA=1, transB=1, transBatchB=1
    ),
    "TransposeMatMul": Case("TransposeMatMul", floats(2, 8, 3), W, transA=1, alpha=0.5),
    "Gelu": Case("Gelu", X),
    "BiasGelu": Case("BiasGelu", X, floats(8, seed=3), fixed=[1]),
    "FastGelu": Case("FastGelu", X),
    "FastGelu with a bias": Case("FastGelu", X, floats(8, seed=3)),
    "QuickGelu": Case("QuickGelu", X),
    "QuickGelu, alpha": Case("QuickGelu", X, alpha=1.0),
    "FusedGemm": Case("FusedGemm", X[0], W, floats(6), activation="Relu", alpha=0.5, beta=2.0),
    "FusedGemm of constants": Case("FusedGemm", X[0], W.T.copy(), floats(6), fixed=[1, 2], activation="Tanh", transB=1),
    "FusedGemm, LeakyRelu": Case("FusedGemm", X[0], W, activation="LeakyRelu", activation_alpha=0.2),
    "FusedConv": Case("FusedConv", IMAGE, KERNEL, fixed=[1], activation="Relu", pads=[1, 0, 1, 1]),
    "FusedConv with Z": Case(
        "FusedConv", IMAGE, KERNEL, floats(6), floats(1, 6, 5, 4), fixed=[1, 2], activation="Relu"
    ),
    "FusedConv without": Case("FusedConv", IMAGE, KERNEL, fixed=[1]),
    **{
        f"FusedConv, {name}": Case(
            "FusedConv", IMAGE, KERNEL, floats(6), fixed=[1, 2], activation=name, activation_params=numbers
        )
        for name, numbers in {
            "Tanh": None, "Sigmoid": None, "LeakyRelu": [0.1], "Clip": [-0.5, 0.75], "HardSigmoid": [0.2, 0.4],
        }.items()
    },
    "SkipLayerNormalization": Case("SkipLayerNormalization", X, floats(2, 3, 8, seed=5), floats(8), floats(8, seed=6)),
    "SkipLayerNormalization, all": Case(
        "SkipLayerNormalization", X, floats(1, 3, 8, seed=5), floats(8), floats(8, seed=6), floats(8, seed=7),
        fixed=[2, 3, 4], outputs="y,,,total", epsilon=1e-5,
    ),
    "SkipSimplifiedLayerNormalization": Case(
        "SkipSimplifiedLayerNormalization", X, floats(2, 3, 8, seed=5), floats(8), fixed=[2], outputs="y,,,total"
    ),
    "SkipSimplifiedLayerNormalization, bias": Case(
        "SkipSimplifiedLayerNormalization", X, floats(2, 3, 8, seed=5), floats(8), floats(8, seed=7), epsilon=1e-6
    ),
    "SimplifiedLayerNormalization": Case(
        "SimplifiedLayerNormalization", X, floats(8), fixed=[1], domain="", epsilon=1e-6
    ),
    "EmbedLayerNormalization": Case(
        "EmbedLayerNormalization", IDS, None, TABLE, floats(9, 8), None, floats(8), floats(8, seed=1),
        fixed=[2, 3, 5, 6], outputs="y,", epsilon=1e-5,
    ),
    "EmbedLayerNormalization, all": Case(
        "EmbedLayerNormalization", IDS, (IDS > 1).astype(I32), TABLE, floats(9, 8), floats(2, 8), floats(8),
        floats(8, seed=1), None, np.int32([[3, 2, 1, 0]] * 2), fixed=[2, 3, 4, 5, 6], outputs="y,,total",
    ),
    "DynamicQuantizeMatMul": Case("DynamicQuantizeMatMul", X, QW, S, SIGNED, floats(6), fixed=[1, 2, 3, 4]),
    "DynamicQuantizeMatMul, columns": Case(
        "DynamicQuantizeMatMul", X, QW, np.abs(floats(6)) / 50, np.zeros(6, I8), fixed=[1, 2, 3]
    ),
    "MatMulIntegerToFloat": Case(
        "MatMulIntegerToFloat", Q, QW, S, F(0.5), ZERO, SIGNED, floats(6), fixed=[1, 3, 5, 6]
    ),
    "MatMulIntegerToFloat, columns": Case("MatMulIntegerToFloat", Q, QW, S, np.abs(floats(6)), fixed=[1, 3]),
    "QGemm to floats": Case("QGemm", Q, S, ZERO, QW, F(0.5), SIGNED, integers(6, dtype=I32), fixed=[3, 4, 5, 6]),
    "DequantizeLinear": Case("DequantizeLinear", Q, S, ZERO),
    "DequantizeLinear of 16 bits": Case("DequantizeLinear", integers(3, 4, dtype=np.int16), S, np.int16(7)),
    "DequantizeLinear by channel": Case("DequantizeLinear", Q, np.abs(floats(8)), integers(8), fixed=[1, 2], axis=1),
}  # fmt: skip
STORED = {
    "QuantizeLinear": Case("QuantizeLinear", X, S, ZERO),
    "QuantizeLinear to 16 bits": Case("QuantizeLinear", X * 100, S, np.uint16(300)),
    "QLinearAdd": Case("QLinearAdd", Q, S, ZERO, integers(8, seed=4), F(0.1), U8(5), F(0.15), U8(100)),
    "QLinearAdd of int8": Case(
        "QLinearAdd", QW, S, SIGNED, integers(8, 6, dtype=I8, seed=9), F(0.1), I8(5), F(0.15), I8(-100)
    ),
    "QLinearMul": Case("QLinearMul", Q, S, ZERO, integers(3, 8, seed=4), F(0.1), U8(5), F(0.15), U8(100)),
    "QLinearSigmoid": Case("QLinearSigmoid", Q, F(0.05), ZERO, F(1 / 255), U8(0), fixed=[1, 2, 3, 4]),
    "QLinearLeakyRelu": Case("QLinearLeakyRelu", Q, S, ZERO, S, ZERO, fixed=[1, 2, 3, 4], alpha=0.3),
    "QLinearSoftmax": Case("QLinearSoftmax", Q, F(0.1), ZERO, F(1 / 255), U8(0), fixed=[1, 2, 3, 4], opset=13),
    "QLinearAveragePool": Case(
        "QLinearAveragePool", integers(1, 2, 6, 6), S, ZERO, S, U8(90), kernel_shape=[2, 3], strides=[2, 1]
    ),
    "QLinearGlobalAveragePool": Case("QLinearGlobalAveragePool", integers(1, 2, 6, 6), S, ZERO, S, U8(90)),
    "QLinearAveragePool, channels last": Case(
        "QLinearAveragePool", integers(1, 6, 6, 2), S, ZERO, S, U8(90), kernel_shape=[2, 3], channels_last=1
    ),
    "QLinearGlobalAveragePool, channels last": Case(
        "QLinearGlobalAveragePool", integers(1, 6, 6, 2), S, ZERO, S, U8(90), channels_last=1
    ),
    "NhwcMaxPool": Case("NhwcMaxPool", integers(1, 6, 7, 2), kernel_shape=[2, 3], strides=[2, 2], pads=[0, 1, 0, 1]),
    "QLinearConv": Case(
        "QLinearConv", integers(1, 4, 7, 5), S, ZERO, factors(6, 4, 3, 2), np.abs(floats(6)) / 9,
        np.zeros(6, I8), F(0.5), U8(99), integers(6, dtype=I32), fixed=[3, 4, 5, 8], pads=[1, 0, 1, 1],
    ),
    "QLinearConv, channels last": Case(
        "QLinearConv", integers(1, 7, 5, 4), S, ZERO, factors(6, 4, 3, 2), F(0.05), I8(0), F(0.5), U8(99),
        integers(6, dtype=I32), fixed=[3, 4, 5, 8], strides=[2, 1], channels_last=1,
    ),
    "QLinearConcat": Case("QLinearConcat", F(0.05), U8(3), Q, S, ZERO, integers(2, 8), F(0.1), U8(9), axis=0),
    "QLinearWhere": Case("QLinearWhere", Q > 100, Q, S, ZERO, integers(3, 8, seed=4), F(0.1), U8(5), F(0.08), U8(9)),
    "QGemm": Case(
        "QGemm", Q, S, ZERO, QW.T.copy(), np.abs(floats(6)), np.zeros(6, I8), integers(6, dtype=I32), F(2.5), U8(99),
        fixed=[3, 4, 5, 6], transB=1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FLOATS)
def test_a_node_gives_the_numbers_of_onnxruntime(name):
    case = FLOATS[name]
    want = ort_run(case.model(), case.feeds)
    model = load(case.model().SerializeToString(), allow_unread=True)
    for output, got in model.run(case.feeds).items():
        np.testing.assert_allclose(got, want[output], rtol=2e-5, atol=2e-5 * max(1, np.abs(want[output]).max()))
        assert np.abs(want[output]).max() > 0.1
    defined = run_graph(read_onnx(case.model().SerializeToString(), allow_unread=True), case.feeds)
    for output, got in defined.items():
        np.testing.assert_allclose(got, want[output], rtol=2e-5, atol=2e-5 * max(1, np.abs(want[output]).max()))


@pytest.mark.parametrize("name", STORED)
def test_stored_integers_are_those_of_onnxruntime_to_a_step(name):
    """A number halfway between two steps may fall to either, as its last bit says."""
    case = STORED[name]
    want = ort_run(case.model(), case.feeds)["y0"]
    got = load(case.model().SerializeToString())(*case.feeds.values())
    assert got.dtype == want.dtype
    off = np.abs(got.astype(int) - want.astype(int))
    assert off.max() <= 1
    assert (off > 0).mean() < (0.2 if name == "QLinearSoftmax" else 0.1)  # its exponentials are a table of integers
    assert len(np.unique(want)) > 3 or want.size < 4


def test_every_operator_has_a_case():
    cases = {case.op for case in (*FLOATS.values(), *STORED.values())}
    names = {op.name for domain in (MICROSOFT, OF_OPTIMISERS) for op in operators(domain)}
    assert names - cases == {"LayerNormalization"}  # which has its own test


@pytest.mark.parametrize("opset", [11, 16])
def test_layer_norm_before_onnx_had_it(opset):
    case = Case("LayerNormalization", X, floats(8), floats(8, seed=1), fixed=[1, 2], domain="", epsilon=1e-6)
    want = ort_run(case.model(17), case.feeds)["y0"]
    np.testing.assert_allclose(load(case.model(opset).SerializeToString())(X), want, rtol=1e-5, atol=1e-5)


def test_a_domain_that_is_not_imported():
    model = FLOATS["Gelu"].model()
    del model.opset_import[1:]
    np.testing.assert_allclose(
        load(model.SerializeToString())(X), ort_run(model, {"x0": X})["y0"], rtol=1e-5, atol=1e-6
    )
    model.graph.node[0].op_type, model.graph.node[0].domain = "Scaler", "ai.onnx.ml"
    with pytest.raises(UnsupportedModelError, match=r"operator Scaler \(ai.onnx.ml opset 1\) is not implemented"):
        load(model.SerializeToString())


REFUSED = {
    "activation": (Case("FusedConv", IMAGE, KERNEL, fixed=[1], activation="Mystery"), "activation 'Mystery'"),
    "too few numbers": (Case("FusedConv", IMAGE, KERNEL, fixed=[1], activation="LeakyRelu"), "activation 'LeakyRelu'"),
    "means": (Case("SkipLayerNormalization", X, X, floats(8), outputs=2), "outputs mean and inv_std_var are used"),
    "softmax of old": (
        Case("QLinearSoftmax", Q, S, ZERO, S, ZERO, opset=12, axis=0), "'axis' is 0 in an opset before 13",
    ),
    "layout": (
        Case("Conv", IMAGE, KERNEL, fixed=[1], domain="com.microsoft.nchwc"),
        "operator Conv \\(com.microsoft.nchwc opset 1\\) is not implemented.*ORT_ENABLE_EXTENDED",
    ),
    "other": (Case("DynamicQuantizeLSTM", X, outputs=1), "leave the LSTM in float"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_says_what_to_do(name):
    case, match = REFUSED[name]
    with pytest.raises(UnsupportedModelError, match=match):
        load(case.model().SerializeToString())
