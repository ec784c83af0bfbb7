"""Convolutions and pools with any attributes, against ONNX Runtime; and what a file may not say of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper
from onnx_build import make_model, ort_run

import fastgru
from fastgru.errors import InvalidModelError, ShapeError, UnsupportedModelError

FEW = settings(max_examples=60, deadline=None)
MANY = settings(max_examples=4000, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)


def numbers(rank, low, high):
    return st.lists(st.integers(low, high), min_size=rank, max_size=rank)


@st.composite
def sliding(draw, least=1):
    """(sizes, attributes) of windows of which at least one fits."""
    rank = draw(st.integers(1, 2))
    kernel = draw(numbers(rank, 1, 5))
    attributes = {"kernel_shape": kernel, "strides": draw(numbers(rank, 1, 4)), "dilations": draw(numbers(rank, 1, 3))}
    mode = draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if mode != "NOTSET":
        attributes["auto_pad"] = mode
    if mode.startswith("SAME"):
        # ONNX Runtime has no dilations here, and begins within the input where windows lie apart.
        attributes["dilations"] = [1] * rank
        attributes["strides"] = [min(k, s) for k, s in zip(kernel, attributes["strides"], strict=True)]
    if mode == "NOTSET" and draw(st.booleans()):
        attributes["pads"] = draw(numbers(2 * rank, 0, 4))
    sizes = draw(st.lists(st.sampled_from([least, 2, 3, 7, 15, 16, 17, 33, 50]), min_size=rank, max_size=rank))
    if mode in ("NOTSET", "VALID"):
        pads = attributes.get("pads", [0] * 2 * rank)
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, attributes["dilations"], strict=True)]
        sizes = [max(n, r - pads[i] - pads[i + rank]) for i, (n, r) in enumerate(zip(sizes, reach, strict=True))]
    for name in ("strides", "dilations"):
        if set(attributes[name]) == {1} and draw(st.booleans()):
            del attributes[name]
    return [max(n, 1) for n in sizes], attributes


def filled(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def one_node(op, feeds, constants, attributes, opset):
    names = [*feeds, *constants]
    return make_model([helper.make_node(op, names, ["y"], name="the_node", **attributes)], feeds, ["y"], constants,
                      opset=opset)  # fmt: skip


def hold(model, feeds):
    """Equal to ONNX Runtime; the sums here are of at most some hundred numbers around 1."""
    wanted = ort_run(model, feeds)["y"]
    wanted[wanted == np.finfo(np.float32).min] = -np.inf  # its maximum of nothing but padding
    got = fastgru.load(model.SerializeToString()).run(feeds)["y"]
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-5)


def conv(windows, group, each, outputs, batch, seed, opset):
    sizes, attributes = windows
    x, w, b = filled(seed, (batch, group * each, *sizes), (group * outputs, each, *attributes["kernel_shape"]),
                     group * outputs)  # fmt: skip
    constants = {"w": w} | ({"b": b} if seed % 2 else {})
    hold(one_node("Conv", {"x": x}, constants, attributes | ({"group": group} if group > 1 else {}), opset), {"x": x})


def conv_transpose(windows, group, each, outputs, batch, seed, opset, data):
    sizes, attributes = windows
    attributes = dict(attributes)
    rank = len(sizes)
    kernel, strides = attributes["kernel_shape"], attributes.get("strides", [1] * rank)
    dilations = attributes.get("dilations", [1] * rank)
    whole = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(sizes, strides, kernel, dilations, strict=True)]
    pads = attributes.get("pads", [0] * 2 * rank)
    assume(all(n > pads[i] + pads[i + rank] for i, n in enumerate(whole)))
    same = attributes.get("auto_pad", "").startswith("SAME")
    assume(not same or all(n >= size * s for n, size, s in zip(whole, sizes, strides, strict=True)))
    if data.draw(st.booleans()) and not same:
        attributes["output_padding"] = [data.draw(st.integers(0, s - 1)) for s in strides]
    elif data.draw(st.booleans()) and attributes.get("auto_pad", "NOTSET") != "VALID":
        attributes.pop("pads", None)
        attributes["output_shape"] = [data.draw(st.integers(max(1, n - 3), n)) for n in whole]
    x, w, b = filled(seed, (batch, group * each, *sizes), (group * each, outputs, *kernel), group * outputs)
    constants = {"w": w} | ({"b": b} if seed % 2 else {})
    attributes |= {"group": group} if group > 1 else {}
    hold(one_node("ConvTranspose", {"x": x}, constants, attributes, opset), {"x": x})


CHANNELS = {
    "windows": sliding(), "group": st.integers(1, 3), "each": st.integers(1, 4), "outputs": st.integers(1, 10),
    "batch": st.integers(1, 3), "seed": SEEDS, "opset": st.sampled_from([9, 11, 22]),
}  # fmt: skip


@FEW
@given(**CHANNELS)
def test_any_convolution(**drawn):
    conv(**drawn)


@FEW
@given(**CHANNELS, data=st.data())
def test_any_transposed_convolution(**drawn):
    conv_transpose(**drawn)


def test_outputs_that_no_input_reaches():
    x, w, b = filled(0, (2, 3, 1), (3, 4, 2), 4)
    attributes = {"kernel_shape": [2], "strides": [2], "dilations": [2], "pads": [1, 1]}
    hold(one_node("ConvTranspose", {"x": x}, {"w": w, "b": b}, attributes, 11), {"x": x})


def pool(op, windows, ceil, include, batch, channels, seed):
    sizes, attributes = windows
    rank = len(sizes)
    if "pads" in attributes:  # ONNX Runtime wants less padding than there are taps
        pads = [min(p, attributes["kernel_shape"][i % rank] - 1) for i, p in enumerate(attributes["pads"])]
        attributes = attributes | {"pads": pads}
        reach = zip(attributes["kernel_shape"], attributes.get("dilations", [1] * rank), strict=True)
        assume(all(n + pads[i] + pads[i + rank] > (k - 1) * d for i, (n, (k, d)) in
                   enumerate(zip(sizes, reach, strict=True))))  # fmt: skip
    attributes = attributes | {"ceil_mode": int(ceil)}
    if op == "AveragePool":
        attributes["count_include_pad"] = int(include)
    (x,) = filled(seed, (batch, channels, *sizes))
    hold(one_node(op, {"x": x}, {}, attributes, 22), {"x": x})


POOL = {
    "op": st.sampled_from(["MaxPool", "AveragePool"]), "windows": sliding(), "ceil": st.booleans(),
    "include": st.booleans(), "batch": st.integers(1, 2), "channels": st.integers(1, 4), "seed": SEEDS,
}  # fmt: skip


@FEW
@given(**POOL)
def test_any_pool(**drawn):
    pool(**drawn)


def test_an_image_has_the_bits_it_has_alone():
    x, w, back = filled(3, (5, 4, 9, 35), (6, 2, 3, 3), (6, 2, 3, 2))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], group=2, strides=[2, 1], pads=[1, 1, 1, 1]),
        helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[2, 3], strides=[1, 2]),
        helper.make_node("ConvTranspose", ["b", "back"], ["c"], group=2, strides=[1, 2]),
        helper.make_node("AveragePool", ["c"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    ]
    proto = make_model(nodes, {"x": x}, ["y"], {"w": w, "back": back}, opset=17)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    model = fastgru.load(proto.SerializeToString())
    whole = model.run({"x": x})["y"]
    mixed = x[[3, 1, 4, 0, 2]].copy()
    mixed[0] = np.nan
    moved = model.run({"x": mixed})["y"]
    for at, n in enumerate([3, 1, 4, 0, 2]):
        np.testing.assert_array_equal(model.run({"x": x[n : n + 1]})["y"][0], whole[n])
        assert at == 0 or (moved[at] == whole[n]).all()


BAD = [
    ("Conv", {"kernel_shape": [3, 3, 3]}, (4, 2, 3)),
    ("Conv", {"kernel_shape": [2]}, (4, 2, 3)),
    ("Conv", {"strides": [0]}, (4, 2, 3)),
    ("Conv", {"strides": [-1]}, (4, 2, 3)),
    ("Conv", {"dilations": [0]}, (4, 2, 3)),
    ("Conv", {"pads": [-2, 0]}, (4, 2, 3)),
    ("Conv", {"pads": [1]}, (4, 2, 3)),
    ("Conv", {"pads": [1 << 62, 1 << 62]}, (4, 2, 3)),
    ("Conv", {"dilations": [1 << 62]}, (4, 2, 3)),
    ("Conv", {"group": 0}, (4, 2, 3)),
    ("Conv", {"group": 3}, (4, 2, 3)),
    ("Conv", {"group": -1}, (4, 2, 3)),
    ("Conv", {"auto_pad": "SAME"}, (4, 2, 3)),
    ("Conv", {}, (4, 3, 3)),
    ("Conv", {}, (4, 2)),
    ("Conv", {}, (4, 2, 90)),
    ("Conv", {}, (4, 2, 3, 3, 3)),
    ("ConvTranspose", {"group": 5}, (2, 4, 3)),
    ("ConvTranspose", {"output_padding": [-3]}, (2, 4, 3)),
    ("ConvTranspose", {"output_padding": [1 << 60]}, (2, 4, 3)),
    ("ConvTranspose", {"output_shape": [1 << 60]}, (2, 4, 3)),
    ("ConvTranspose", {"output_shape": [-5]}, (2, 4, 3)),
    ("ConvTranspose", {"strides": [1 << 60]}, (2, 4, 3)),
    ("ConvTranspose", {"pads": [50, 50]}, (2, 4, 3)),
    ("MaxPool", {"kernel_shape": [0]}, None),
    ("MaxPool", {"kernel_shape": [-2]}, None),
    ("MaxPool", {"kernel_shape": [1 << 61]}, None),
    ("MaxPool", {"kernel_shape": [2, 2]}, None),
    ("MaxPool", {"kernel_shape": [2], "strides": [0]}, None),
    ("AveragePool", {"kernel_shape": [2], "pads": [-1, -1]}, None),
    ("AveragePool", {"kernel_shape": [2], "pads": [1 << 62, 0]}, None),
    ("AveragePool", {}, None),
]  # fmt: skip


@pytest.mark.parametrize(("op", "attributes", "weight"), BAD, ids=[f"{op} {more} {w}" for op, more, w in BAD])
def test_what_cannot_be_is_refused_by_name(op, attributes, weight):
    (x,) = filled(0, (1, 2, 20))
    constants = {} if weight is None else {"w": filled(1, weight)[0]}
    data = one_node(op, {"x": x}, constants, attributes, 11).SerializeToString()
    with pytest.raises((InvalidModelError, ShapeError, UnsupportedModelError)) as caught:
        fastgru.load(data).run({"x": x})
    assert "the_node" in str(caught.value) or op.lower() in str(caught.value).lower(), caught.value


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_many_windows():
    MANY(given(**CHANNELS)(conv))()
    MANY(given(**CHANNELS, data=st.data())(conv_transpose))()
    MANY(given(**POOL)(pool))()
