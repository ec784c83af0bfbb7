"""Whole files that come quantised: what ONNX Runtime's own tools write of a float model."""

from __future__ import annotations

import importlib.util

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_build import gru_arrays, make_model, ort_run
from quantised_nodes import RNG, normal, ours, whole

import fastgru
from fastgru.importers.onnx import read_onnx
from fastgru.reference import run_graph

# Whole models

H, I = 8, 6


def float_model():
    """Conv, GRU, two products and the activations around them; x is (1, I, T)."""
    arrays = gru_arrays(RNG, I=12, H=H, D=1)
    held = {
        **arrays, "cw": normal(12, I, 3) / 4, "cb": normal(12) / 4, "w1": normal(H, 16) / 3, "b1": normal(16) / 3,
        "w2": normal(16, 5) / 4,
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "cw", "cb"], ["c"], pads=[1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Transpose", ["r"], ["t"], perm=[2, 0, 1]),
        helper.make_node("GRU", ["t", "W", "R", "B"], ["g", ""], hidden_size=H, linear_before_reset=1),
        helper.make_node("Squeeze", ["g", "one"], ["s"]),
        helper.make_node("MatMul", ["s", "w1"], ["m"]),
        helper.make_node("Add", ["m", "b1"], ["a"]),
        helper.make_node("Tanh", ["a"], ["h"]),
        helper.make_node("MatMul", ["h", "w2"], ["y"]),
    ]
    held["one"] = np.array([1], np.int64)
    return make_model(nodes, {"x": np.zeros((1, I, 20), np.float32)}, ["y"], held, opset=21)


needs_tools = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime.quantization") is None, reason="no onnxruntime.quantization"
)


@needs_tools
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("per_channel", [False, True])
def test_what_dynamic_quantisation_writes(tmp_path, per_channel):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    onnx.save(float_model(), tmp_path / "float.onnx")
    quantize_dynamic(
        tmp_path / "float.onnx", tmp_path / "small.onnx", per_channel=per_channel, weight_type=QuantType.QUInt8,
        op_types_to_quantize=["MatMul", "Conv"],
    )  # fmt: skip
    model = onnx.load(tmp_path / "small.onnx")
    found = {node.op_type for node in model.graph.node}
    assert {"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger"} <= found
    x = normal(1, I, 20)
    want = ort_run(model, {"x": x})["y"]
    got = ours(model, {"x": x})["y"]
    definition = run_graph(read_onnx(model.SerializeToString()), {"x": x}, dtype="float32")["y"]
    for y in (got, definition):
        # One step of the first scale may fall the other way behind a GRU that differs by an ulp.
        assert np.abs(y - want).max() < 0.02 * np.ptp(want)
        assert np.median(np.abs(y - want)) < 1e-5
    plain = ours(float_model(), {"x": x})["y"]
    assert plain.shape == got.shape


@needs_tools
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_what_static_quantisation_writes(tmp_path, form):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = iter([{"x": normal(1, I, 20)} for _ in range(4)])

        def get_next(self):
            return next(self.left, None)

    onnx.save(float_model(), tmp_path / "float.onnx")
    quantize_static(
        tmp_path / "float.onnx", tmp_path / "small.onnx", Reader(), quant_format=QuantFormat[form],
        op_types_to_quantize=["MatMul", "Conv"], activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        reduce_range=True,  # without VNNI, ONNX Runtime saturates the sums of products with 8 bits
    )  # fmt: skip
    model = onnx.load(tmp_path / "small.onnx")
    found = {node.op_type for node in model.graph.node}
    assert {"DequantizeLinear", "QuantizeLinear"} <= found
    assert form == "QDQ" or {"QLinearConv", "QLinearMatMul"} <= found
    x = normal(1, I, 20)
    want, got = ort_run(model, {"x": x})["y"], ours(model, {"x": x})["y"]
    assert np.abs(got - want).max() < 0.05 * np.ptp(want)
    assert np.median(np.abs(got - want)) < 1e-5


# Weights that were quantised, in a model with small weights


def test_rows_of_int8_are_multiplied_as_they_stand():
    """Inputs that are whole numbers with 127 among them: nothing at all is rounded."""
    q = RNG.integers(-100, 101, (80, 96)).astype(np.int8)
    scale = (0.001 + RNG.random(80) / 90).astype(np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0),
        helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "wt"], ["y"], name="product"),
    ]
    x = RNG.integers(-127, 128, (7, 96)).astype(np.float32)
    x[:, 0] = 127
    model = make_model(nodes, {"x": x}, ["y"], {"q": q, "s": scale})
    loaded = fastgru.load(model.SerializeToString(), precision="int8")
    assert [chosen.precision for chosen in loaded.weight_precisions.values()] == ["int8"]
    exact = (x.astype(np.float64) @ q.T) * scale
    np.testing.assert_allclose(loaded(x), exact, rtol=2e-6, atol=1e-4 * scale.min())


def test_a_gru_of_int8_weights():
    arrays = gru_arrays(RNG, I=70, H=64, D=1, scale=0.1)
    held, nodes = {"B": arrays["B"]}, []
    for name in ("W", "R"):
        peak = np.abs(arrays[name]).max()
        held |= {f"{name}_q": np.rint(arrays[name] / peak * 90).astype(np.int8), f"{name}_s": np.float32(peak / 90)}
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", f"{name}_s"], [name]))
    nodes.append(helper.make_node("GRU", ["x", "W", "R", "B"], ["", "h"], hidden_size=64, linear_before_reset=1))
    x = normal(30, 2, 70)
    model = make_model(nodes, {"x": x}, ["h"], held)
    want = ort_run(model, {"x": x})["h"]
    np.testing.assert_allclose(ours(model, {"x": x})["h"], want, atol=5e-6)
    small = ours(model, {"x": x}, precision="int8")["h"]
    assert 1e-5 < np.abs(small - want).max() < 0.03


@pytest.mark.parametrize("kind", ["uint8", "int8", "no zero point"])
@pytest.mark.parametrize("bias", [True, False])
def test_products_between_nodes_that_quantise_are_made_of_the_integers(kind, bias):
    """In float32; not in float64, nor where the weights are too few, not of 8 bits, or on no grid."""
    q, wide = whole("int8", 80, 96) // 2, normal(96, 80)  # 7 bits: see test_linear_products_and_convolutions
    held = {"q": q.T, "ws": np.full(80, 0.01, np.float32), "s": np.float32(0.05), "b": normal(80), "wide": wide}
    held |= {} if kind == "no zero point" else {"z": whole(kind)}
    pair = ["s", *(["z"] if "z" in held else [])]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *pair], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", *pair], ["xd"]),
        helper.make_node("DequantizeLinear", ["q", "ws"], ["w"], axis=1),
        helper.make_node("MatMul", ["xd", "w"], ["m"]),
        helper.make_node("Add" if bias else "Mul", ["m", "b"], ["y"]),
        helper.make_node("MatMul", ["xd", "wide"], ["other"]),
    ]
    x = 3 * normal(7, 96)
    model = make_model(nodes, {"x": x}, ["y", "other"], held)
    loaded = fastgru.load(model.SerializeToString())
    assert sum(t.handler.startswith("linear_bytes") for t in loaded.profile({"x": x})) == 1
    exact = run_graph(read_onnx(model.SerializeToString()), {"x": x})
    for name, y in loaded.run({"x": x}).items():
        np.testing.assert_allclose(y, exact[name], rtol=1e-5, atol=2e-5)
    for name, y in ours(model, {"x": x}, precision="float64").items():
        np.testing.assert_allclose(y, exact[name], rtol=1e-12, atol=1e-12)
    theirs = ort_run(model, {"x": x})
    np.testing.assert_allclose(loaded.run({"x": x})["other"], theirs["other"], atol=2e-4)
    np.testing.assert_allclose(loaded.run({"x": x})["y"], theirs["y"], atol=2e-4)
    small = fastgru.load(model.SerializeToString(), precision="int8")
    assert not any(t.handler.startswith("linear_bytes") for t in small.profile({"x": x}))


def test_a_quantised_file_is_saved_exported_and_verified(tmp_path):
    q, scale = whole("int8", 70, 64) // 2, np.float32(0.01)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        helper.make_node("MatMulInteger", ["xq", "q", "xz"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["f"], to=1),
        helper.make_node("Mul", ["xs", "scale"], ["both"]),
        helper.make_node("Mul", ["f", "both"], ["y"]),
    ]
    x = normal(3, 70)
    model = make_model(nodes, {"x": x}, ["y"], {"q": q, "scale": scale})
    loaded = fastgru.load(model.SerializeToString())
    y = loaded(x)
    np.testing.assert_allclose(y, ort_run(model, {"x": x})["y"], rtol=1e-6)
    assert loaded.graph.num_parameters == q.size + 1
    loaded.save(tmp_path / "saved.safetensors")
    loaded.to_onnx(tmp_path / "again.onnx")
    for again in ("saved.safetensors", "again.onnx"):
        np.testing.assert_array_equal(fastgru.load(tmp_path / again)(x), y)
    assert fastgru.verify(tmp_path / "again.onnx").holds
    whole_bytes = make_model(nodes, {"x": x}, ["y"], {"q": whole("int8", 70, 64), "scale": scale})
    (tmp_path / "whole.onnx").write_bytes(whole_bytes.SerializeToString())
    assert fastgru.verify(tmp_path / "whole.onnx").holds  # where ONNX Runtime saturates by default, too
