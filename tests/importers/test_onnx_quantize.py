"""Files that come quantised: nodes by hand, and what ONNX Runtime's own tools write of a float model."""

from __future__ import annotations

import importlib.util
import itertools

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx_build import gru_arrays, make_model, ort_run

import fastgru
from fastgru.errors import InvalidModelError, ShapeError, UnsupportedModelError
from fastgru.importers.onnx import read_onnx
from fastgru.reference import run_graph

RNG = np.random.default_rng(7)
FEW = settings(max_examples=15, deadline=None)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def whole(dtype, *shape):
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max + 1, shape).astype(dtype)


def ours(model, feeds, **options):
    return fastgru.load(model.SerializeToString(), **options).run(feeds)


def node_model(op, feeds, held, outputs, *, opset=13, names=None, **attributes):
    names = names or [*feeds, *held]
    node = helper.make_node(op, names, list(outputs), name="the_node", **attributes)
    return make_model([node], feeds, outputs, held, opset=opset)


def agree(model, feeds):
    """The definition and the engine against ONNX Runtime, to the integer."""
    theirs = ort_run(model, feeds)
    graph = read_onnx(model.SerializeToString())
    for got in (run_graph(graph, feeds, dtype="float32"), ours(model, feeds)):
        for name, want in theirs.items():
            assert (got[name].shape, got[name].dtype) == (want.shape, want.dtype), name
            np.testing.assert_array_equal(got[name], want, err_msg=name)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
@pytest.mark.parametrize("form", ["number", "vector", "axis", "blocks", "no zero point"])
def test_to_integers_and_back(dtype, form):
    shape, more = {
        "number": ((), {}),
        "vector": ((5,), {"axis": 1}),
        "axis": ((4,), {"axis": -1}),
        "blocks": ((3, 2, 4), {"axis": 1, "block_size": 3}),
        "no zero point": ((), {}),
    }[form]
    opset = 21 if "16" in dtype or form == "blocks" else 13
    x, scale = 3 * normal(3, 5, 4), (0.01 + RNG.random(shape) / 9).astype(np.float32)
    held = {"s": scale} if form == "no zero point" else {"s": scale, "z": whole(dtype, *shape)}
    if form != "no zero point":
        agree(node_model("QuantizeLinear", {"x": x}, held, {"y": dtype}, opset=opset, **more), {"x": x})
    q = whole(dtype, 3, 5, 4)
    agree(node_model("DequantizeLinear", {"q": q}, held, {"y": "float32"}, opset=opset, **more), {"q": q})


def test_the_element_type_that_is_asked_for():
    x, scale = normal(4, 3), np.float32(0.01)
    for dtype in ("int8", "uint8", "int16", "uint16"):
        to = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        model = node_model("QuantizeLinear", {"x": x}, {"s": scale}, {"y": dtype}, opset=21, output_dtype=to)
        agree(model, {"x": x})
    q = whole("int8", 4, 3)
    model = node_model("DequantizeLinear", {"q": q}, {"s": scale}, {"y": "float32"}, opset=23, output_dtype=1)
    np.testing.assert_array_equal(ours(model, {"q": q})["y"], q * scale)
    model = node_model(
        "QuantizeLinear", {"x": x}, {"s": scale, "z": np.int8(0)}, {"y": "int8"}, opset=21, output_dtype=2
    )
    with pytest.raises(InvalidModelError, match="'output_dtype' is uint8 where y_zero_point has int8"):
        read_onnx(model.SerializeToString())


@FEW
@given(
    data=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40),
    factor=st.sampled_from([0.0, 1e-3, 1.0, -1.0]),
)
def test_dynamic_scales(data, factor):
    x = np.array(data, np.float32) * np.float32(factor)
    x[np.abs(x) < 1e-30] = 0  # a run flushes subnormal numbers to zero, and a scale is a fraction of what comes
    outputs = {"y": "uint8", "scale": "float32", "zero": "uint8"}
    agree(node_model("DynamicQuantizeLinear", {"x": x}, {}, outputs), {"x": x})


@pytest.mark.parametrize("left", ["int8", "uint8"])
@pytest.mark.parametrize("right", ["int8", "uint8"])
def test_integer_products(left, right):
    """ONNX Runtime saturates some products of these types on some CPUs: onnx's own evaluator is exact."""
    zeros = [(), (1,), "vectors"]
    for (a, b), constant, zero in itertools.product(
        (((4, 70), (70, 9)), ((3, 1, 600), (600, 5)), ((2, 3, 8), (2, 8, 4))), (True, False), zeros
    ):
        feeds, held = {"a": whole(left, *a)}, {"b": whole(right, *b)}
        if zero == "vectors" and len(a) + len(b) > 4:
            continue
        sizes = ((a[0],), (b[1],)) if zero == "vectors" else (zero, zero)
        held |= {"az": whole(left, *sizes[0]), "bz": whole(right, *sizes[1])}
        if not constant:
            feeds, held = feeds | held, {}
        model = node_model("MatMulInteger", feeds, held, {"y": "int32"})
        if zero == "vectors":
            az, bz = (feeds | held)["az"].astype(np.int64), (feeds | held)["bz"].astype(np.int64)
            want = (feeds["a"] - az[:, None]) @ ((feeds | held)["b"] - bz)
        else:
            (want,) = ReferenceEvaluator(model).run(None, feeds)
        for got in (run_graph(read_onnx(model.SerializeToString()), feeds), ours(model, feeds)):
            np.testing.assert_array_equal(got["y"], want)


@FEW
@given(
    M=st.integers(0, 9), K=st.sampled_from([0, 1, 3, 16, 17, 67, 300, 1100]), O=st.sampled_from([1, 5, 16, 33, 97]),
    left=st.sampled_from(["int8", "uint8"]), right=st.sampled_from(["int8", "uint8"]), seed=st.integers(0, 99),
)  # fmt: skip
def test_constant_matrices_of_any_size_and_value(M, K, O, left, right, seed):
    """Whatever the zero points, what they leave of a byte, and how many k one sum may have."""
    rng, limits = np.random.default_rng(seed), np.iinfo(right)
    a = rng.integers(*(np.iinfo(left).min, np.iinfo(left).max + 1), (M, K)).astype(left)
    b = rng.choice([limits.min, limits.max, (limits.min + limits.max) // 2], (K, O)).astype(right)
    held = {"b": b, "az": whole(left), "bz": rng.choice(np.array([limits.min, 0, limits.max], right), O)}
    model = node_model("MatMulInteger", {"a": a}, held, {"y": "int32"})
    want = (a.astype(np.int64) - held["az"]) @ (b.astype(np.int64) - held["bz"])
    for options in ({}, {"precision": "float64"}):
        np.testing.assert_array_equal(ours(model, {"a": a}, **options)["y"], want)


def test_products_of_several_kinds_by_one_matrix():
    """How many k one sum may have depends on the other factor: so do the packs."""
    b = RNG.choice(np.array([-128, 127], np.int8), (1100, 20))
    w = RNG.choice(np.array([-128, 127], np.int8), (3, 550, 2))
    feeds = {"a": whole("int8", 4, 1100), "u": whole("uint8", 4, 1100), "z": np.uint8(255)}
    feeds |= {"x": whole("int8", 1, 550, 9), "v": whole("uint8", 1, 550, 9)}
    nodes = [
        helper.make_node("MatMulInteger", ["a", "b"], ["small"]),
        helper.make_node("MatMulInteger", ["u", "b", "z"], ["large"]),
        helper.make_node("ConvInteger", ["x", "w"], ["narrow"]),
        helper.make_node("ConvInteger", ["v", "w", "z"], ["wide"]),
    ]
    names = ("small", "large", "narrow", "wide")
    model = make_model(nodes, feeds, dict.fromkeys(names, "int32"), {"b": b, "w": w})
    wanted = run_graph(read_onnx(model.SerializeToString()), feeds)
    for options in ({}, {"precision": "float64"}):
        got = ours(model, feeds, **options)
        for name in names:
            np.testing.assert_array_equal(got[name], wanted[name], err_msg=name)
    np.testing.assert_array_equal(wanted["large"], (feeds["u"].astype(np.int64) - 255) @ b)


def test_threads_and_shapes_share_one_matrix():
    b, bz = whole("uint8", 256, 300), whole("uint8", 300)
    a = whole("uint8", 40, 256)
    model = node_model("MatMulInteger", {"a": a}, {"b": b, "az": np.uint8(77), "bz": bz}, {"y": "int32"})
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    want = (a.astype(np.int64) - 77) @ (b.astype(np.int64) - bz)
    for threads in (1, 2):
        loaded = fastgru.load(model.SerializeToString(), threads=threads)
        for rows in (slice(0, 40), slice(3, 4), slice(5, 30)):
            np.testing.assert_array_equal(loaded(a[rows]), want[rows])


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("kernel", [(3,), (3, 2)])
def test_integer_convolutions(group, kernel):
    x, w = whole("uint8", 2, 4, *(9,) * len(kernel)), whole("int8", 6, 4 // group, *kernel)
    form = {"group": group, "pads": [1] * 2 * len(kernel), "kernel_shape": list(kernel)}
    held = {"w": w, "xz": np.uint8(90), "wz": np.int8(0)}
    model = node_model("ConvInteger", {"x": x}, held, {"y": "int32"}, **form)
    centred = make_model(
        [helper.make_node("Conv", ["x", "w"], ["y"], **form)],
        {"x": x.astype(np.float32)},
        ["y"],
        {"w": w.astype(np.float32)},
    )
    want = ort_run(centred, {"x": x.astype(np.float32) - 90})["y"]
    for got in (run_graph(read_onnx(model.SerializeToString()), {"x": x}), ours(model, {"x": x})):
        np.testing.assert_array_equal(got["y"], want)


@pytest.mark.parametrize("by_channel", [False, True])
def test_linear_products_and_convolutions(by_channel):
    """As ONNX Runtime, but for a number that its float32 puts on the other side of a half."""
    of = (6,) if by_channel else ()
    scales = (0.005 + RNG.random(of) / 99).astype(np.float32)
    for left in ("uint8", "int8"):
        held = {
            "as": np.float32(0.03), "az": whole(left), "b": whole("int8", 70, 6), "bs": scales,
            "bz": np.zeros(of, np.int8), "ys": np.float32(0.11), "yz": whole(left),
        }  # fmt: skip
        feeds = {"a": whole(left, 5, 70)}
        model = node_model("QLinearMatMul", feeds, held, {"y": left})
        near(model, feeds)
        held = {
            "xs": np.float32(0.03), "xz": whole(left), "w": whole("int8", 6, 4, 3, 3) // 2, "ws": scales,
            "wz": np.zeros(of, np.int8), "ys": np.float32(0.2), "yz": whole(left),
            "B": RNG.integers(-9000, 9000, 6).astype(np.int32),
        }  # fmt: skip
        feeds = {"x": whole(left, 2, 4, 8, 7)}
        near(node_model("QLinearConv", feeds, held, {"y": left}, pads=[1, 0, 1, 2], strides=[2, 1]), feeds)


def near(model, feeds):
    (name, want), *_ = ort_run(model, feeds).items()
    for got in (run_graph(read_onnx(model.SerializeToString()), feeds, dtype="float32"), ours(model, feeds)):
        assert got[name].dtype == want.dtype
        apart = np.abs(got[name].astype(int) - want)
        assert apart.max() <= 1
        assert np.count_nonzero(apart) <= 1 + want.size // 200
    assert np.ptp(want.astype(int)) > 40


REFUSED = [
    ("MatMulInteger", {"a": np.int16([[1]])}, {"b": np.int8([[1]])}, {}, "A has element type int16.*8 bits"),
    ("DequantizeLinear", {"a": np.int64([1])}, {"s": np.float32(1)}, {}, "x has element type int64.*quantise"),
    ("QuantizeLinear", {"a": np.float32([1])}, {"s": np.float32(1), "z": np.int32(0)}, {}, "the output has.* int32"),
    (
        "QuantizeLinear", {"a": np.float32([1])}, {"s": np.float32(1)}, {"precision": 10},
        "'precision' is float16.*computed in float32",
    ),
    ("QuantizeLinear", {"a": np.float32([1])}, {"s": np.float32(1)}, {"block_size": -1}, "'block_size' is -1"),
    ("QuantizeLinear", {"a": np.float32([1])}, {"s": np.float32(np.nan)}, {}, "y_scale.*NaN"),
    ("ConvInteger", {"x": np.uint8([[[1]]]), "w": np.int8([[[1]]])}, {}, {}, "input w .*constant"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "feeds", "held", "attributes", "match"), REFUSED)
def test_what_is_refused(op, feeds, held, attributes, match):
    model = node_model(op, feeds, held, {"y": "int32"}, opset=23, **attributes)
    with pytest.raises((InvalidModelError, UnsupportedModelError), match=match):
        read_onnx(model.SerializeToString())


def test_shapes_that_do_not_fit():
    x = normal(3, 4)
    model = node_model("QuantizeLinear", {"x": x}, {"s": np.ones(3, np.float32)}, {"y": "uint8"}, axis=1)
    with pytest.raises(
        ShapeError, match=r"scale has shape \(3,\), expected a number or one for each of the 4 of axis 1"
    ):
        ours(model, {"x": x})
    held = {"s": np.ones((3, 3), np.float32)}
    model = node_model("QuantizeLinear", {"x": x}, held, {"y": "uint8"}, opset=21, axis=1, block_size=2)
    with pytest.raises(ShapeError, match=r"scale has shape \(3, 3\) for blocks of 2 in axis 1 of x \(3, 4\)"):
        ours(model, {"x": x})
    q = whole("uint8", 3, 4)
    model = node_model("MatMulInteger", {"q": q}, {"b": whole("int8", 4, 2), "z": whole("uint8", 5)}, {"y": "int32"})
    with pytest.raises(ShapeError, match=r"zero point of a has shape \(5,\)"):
        ours(model, {"q": q})


CONTRIB = [
    ("DynamicQuantizeLSTM", "leave the LSTM in float"),
    ("MatMulInteger16", "before onnxruntime optimised it"),
    ("MatMulNBits", "precision='int8'"),
    ("NhwcFusedConv", "ORT_ENABLE_EXTENDED"),
]


@pytest.mark.parametrize(("op", "way"), CONTRIB)
def test_operators_of_onnx_runtime_alone_are_refused_with_a_way_round(op, way):
    node = helper.make_node(op, ["x"], ["y"], name="the_node", domain="com.microsoft")
    model = make_model([node], {"x": normal(2)}, ["y"], domains=["com.microsoft"])
    with pytest.raises(UnsupportedModelError, match=f"{op} .com.microsoft opset 1. is not implemented.*{way}"):
        read_onnx(model.SerializeToString())


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
    q, wide = whole("int8", 80, 96).clip(-127, 127), normal(96, 80)
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
    q, scale = whole("int8", 70, 64), np.float32(0.01)
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


# float16 and bfloat16


def test_models_of_float16():
    """Inputs are widened, all is computed in float32: as ONNX Runtime, within what float16 rounds."""
    arrays = gru_arrays(RNG, I=5, H=9, D=1, dtype=np.float16)
    held = {**arrays, "w": normal(9, 4).astype(np.float16), "table": normal(11, 5).astype(np.float16)}
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("Add", ["x", "e"], ["sum"]),
        helper.make_node("GRU", ["sum", "W", "R", "B"], ["g", "h"], hidden_size=9),
        helper.make_node("MatMul", ["h", "w"], ["m"]),
        helper.make_node("Cast", ["m"], ["wide"], to=1),
        helper.make_node("Tanh", ["wide"], ["t"]),
        helper.make_node("Cast", ["t"], ["y"], to=10),
        helper.make_node("DequantizeLinear", ["q", "s"], ["d"]),
    ]
    held |= {"s": np.float16(0.013)}
    feeds = {"x": normal(6, 2, 5).astype(np.float16), "ids": RNG.integers(0, 11, (6, 2)), "q": whole("int8", 5)}
    outputs = {"g": "float16", "y": "float16", "t": "float32", "d": "float16"}
    model = make_model(nodes, feeds, outputs, held, opset=19)
    theirs, mine = ort_run(model, feeds), ours(model, feeds)
    for name, want in theirs.items():
        assert mine[name].dtype == np.float32, name
        np.testing.assert_allclose(mine[name], want.astype(np.float32), rtol=2e-3, atol=2e-3, err_msg=name)
    wide = ours(model, {**feeds, "x": feeds["x"].astype(np.float32)})
    for name, array in mine.items():
        np.testing.assert_array_equal(array, wide[name])
    small = ours(model, feeds, precision="float64")
    assert np.abs(small["g"] - mine["g"]).max() < 1e-6


def test_models_of_bfloat16():
    x, w = normal(4, 6), normal(6, 3).astype(ml_dtypes.bfloat16)
    weight = helper.make_tensor("w", TensorProto.BFLOAT16, w.shape, w.tobytes(), raw=True)
    infos = [helper.make_tensor_value_info(n, TensorProto.BFLOAT16, s) for n, s in (("x", [4, 6]), ("y", [4, 3]))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", infos[:1], infos[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    given = x.astype(ml_dtypes.bfloat16)
    want = given.astype(np.float64) @ w.astype(np.float64)
    for feed in (given, given.astype(np.float32)):
        y = ours(model, {"x": feed})["y"]
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, want, atol=1e-6)
