"""Operators of files that come quantised, by hand, against ONNX Runtime."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_build import make_model, ort_run
from quantised_nodes import RNG, agree, near, node_model, normal, ours, whole

import fastgru
from fastgru.errors import InvalidModelError, ShapeError, UnsupportedModelError
from fastgru.importers.onnx import read_onnx
from fastgru.reference import run_graph

FEW = settings(max_examples=15, deadline=None)


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
    with pytest.raises(InvalidModelError, match="'output_dtype' is uint8, but y_zero_point has int8"):
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
    """As ONNX Runtime, but for a number that its float32 puts on the other side of a half.

    The weights have 7 bits: without VNNI, ONNX Runtime adds pairs of products in 16 bits, where those of 8 saturate.
    """
    of = (6,) if by_channel else ()
    scales = (0.005 + RNG.random(of) / 99).astype(np.float32)
    for left in ("uint8", "int8"):
        held = {
            "as": np.float32(0.03), "az": whole(left), "b": whole("int8", 70, 6) // 2, "bs": scales,
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
    ("MatMulInteger16", "use the original file"),
    ("MatMulNBits", "precision='int8'"),
    ("NhwcFusedConv", "ORT_ENABLE_EXTENDED"),
]


@pytest.mark.parametrize(("op", "way"), CONTRIB)
def test_operators_of_onnx_runtime_alone_are_refused_with_a_way_round(op, way):
    node = helper.make_node(op, ["x"], ["y"], name="the_node", domain="com.microsoft")
    model = make_model([node], {"x": normal(2)}, ["y"], domains=["com.microsoft"])
    with pytest.raises(UnsupportedModelError, match=f"{op} .com.microsoft opset 1. is not implemented.*{way}"):
        read_onnx(model.SerializeToString())
