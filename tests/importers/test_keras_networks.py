"""What is refused or contradicts itself around convolutions, pools, attention and distributed layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras_files import functional, layer, legacy, node, sequential

from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.importers.keras import read_keras
from fastgru.reference import run_graph

INPUT = {"batch_input_shape": [None, 8, 4]}
IMAGE = {"batch_input_shape": [None, 8, 8, 2]}


def read(*layers: Any, version: str = "2.15.0", backend: str = "tensorflow", **arrays: Any) -> Any:
    """A chain whose layers have the arrays `<layer>_<role>`, all ones of the given shapes."""
    weights: dict[str, Any] = {}
    for key, shape in arrays.items():
        name, _, role = key.partition("_")
        weights.setdefault(name, []).append((f"{name}/{role}:0", np.ones(shape, "f4")))
    return read_keras(legacy(sequential(*layers), weights, version=version, backend=backend))


def conv(name: str = "Conv1D", **config: Any) -> dict[str, Any]:
    return layer(name, "c", **{"filters": 5, "kernel_size": [3], **INPUT, **config})


KERNEL = {"c_kernel": (3, 4, 5), "c_bias": (5,)}
TURNED = {"c_kernel": (3, 5, 4), "c_bias": (5,)}


@pytest.mark.parametrize(
    ("layers", "arrays", "options", "part"),
    [
        ([conv()], KERNEL, {"backend": "theano"}, "Theano.*save it again"),
        ([conv()], KERNEL, {"version": "1.2.2"}, "Keras 1"),
        ([conv(padding="full")], KERNEL, {}, "padding is 'full'.*valid or same, causal"),
        ([conv("Conv2D", padding="causal", kernel_size=[3, 3], **IMAGE)], {"c_kernel": (3, 3, 2, 5), "c_bias": (5,)},
         {}, "padding is 'causal'.*valid or same"),
        ([conv("Conv1DTranspose", padding="causal")], TURNED, {}, "use same or valid"),
        ([conv("Conv1DTranspose", padding="same", strides=[2])], TURNED, {"version": "3.2", "backend": "torch"},
         "crops an odd number"),
        ([conv(batch_input_shape=[None, 8, None])], KERNEL, {}, "axis 2 is free"),
        ([layer("AveragePooling1D", "p", pool_size=[2], strides=[1], padding="same", **INPUT)], {},
         {"version": "3.2", "backend": "torch"}, "uneven.*on torch"),
        ([layer("AveragePooling1D", "p", pool_size=[3], padding="same", batch_input_shape=[None, None, 4])], {},
         {"version": "3.2", "backend": "torch"}, "uneven.*on torch"),
        ([layer("UpSampling2D", "u", size=[2, 2], interpolation="bicubic", **IMAGE)], {}, {}, "bicubic"),
        ([layer("Masking", "m", **INPUT), layer("TimeDistributed", "t", layer=layer("Softmax", "s"))],
         {}, {}, "its input has a mask, which would reach the Softmax inside"),
        ([layer("TimeDistributed", "t", layer=layer("Swirl", "s"), **INPUT)], {}, {}, "'s' .Swirl.*not implemented"),
    ],
)  # fmt: skip
def test_refusals_name_the_layer_and_the_way_round(layers: Any, arrays: Any, options: Any, part: str) -> None:
    with pytest.raises(UnsupportedModelError, match=part):
        read(*layers, **options, **arrays)


@pytest.mark.parametrize(
    ("layers", "arrays", "part"),
    [
        ([conv(kernel_size=[2])], KERNEL, r"kernel_size is \[2\]"),
        ([conv(kernel_size=[3, 3])], KERNEL, "kernel_size"),
        ([conv(filters=6)], KERNEL, "filters is 6"),
        ([conv(groups=3)], KERNEL, "3 groups"),
        ([conv(groups=0)], KERNEL, "0 groups"),
        ([conv(strides=[0])], KERNEL, "strides is"),
        ([conv(dilation_rate=[4])], KERNEL, "reaches over 9 elements"),
        ([conv(data_format="channels_middle")], KERNEL, "channels_middle"),
        ([conv(**IMAGE)], KERNEL, "expected 3 axes"),
        ([conv()], {"c_kernel": (3, 4, 5), "c_bias": (4,)}, "bias has shape"),
        ([conv()], {"c_kernel": (3, 4), "c_bias": (5,)}, "kernel has shape"),
        ([conv("DepthwiseConv1D", depth_multiplier=2)], {"c_depthwise_kernel": (3, 4, 1), "c_bias": (4,)}, "depthwise"),
        ([conv("SeparableConv1D")],
         {"c_depthwise_kernel": (3, 4, 1), "c_pointwise_kernel": (1, 3, 5), "c_bias": (5,)}, "pointwise"),
        ([conv("Conv1DTranspose")], KERNEL, "kernel has shape"),
        ([layer("MaxPooling1D", "p", pool_size=[9], **INPUT)], {}, "reaches over 9"),
        ([layer("MaxPooling2D", "p", pool_size=[2, 2], **INPUT)], {}, "expected 4 axes"),
        ([layer("ZeroPadding2D", "z", padding=[[1, 2]], **IMAGE)], {}, "padding is"),
        ([layer("Cropping1D", "z", cropping=[-1, 2], **INPUT)], {}, "cropping is"),
        ([layer("UpSampling1D", "u", size=0, **INPUT)], {}, "size is"),
        ([layer("Flatten", "f", data_format=3, **INPUT)], {}, "data_format is 3"),
    ],
)  # fmt: skip
def test_contradictions_name_the_layer(layers: Any, arrays: Any, part: str) -> None:
    with pytest.raises(InvalidModelError, match=part) as caught:
        read(*layers, **arrays)
    assert "layer '" in str(caught.value)


def test_a_mean_that_is_even_is_read_from_torch() -> None:
    pool = layer("AveragePooling1D", "p", pool_size=[3], strides=[1], padding="same", **INPUT)
    graph = read(pool, version="3.2", backend="torch")
    x = np.arange(64.0).reshape(2, 8, 4)
    (y,) = run_graph(graph, {graph.inputs[0].name: x}).values()
    np.testing.assert_allclose(y[:, 1:-1], x[:, 1:-1])
    np.testing.assert_allclose(y[:, 0], x[:, :2].mean(1))


@pytest.mark.parametrize(
    ("config", "shapes", "part"),
    [
        ({"score_mode": "sum"}, [[None, 4, 3], [None, 5, 3]], "score_mode"),
        ({}, [[None, 4, 3], [None, 5, 2]], "its inputs have the shapes"),
        ({}, [[None, 4, 3], [None, 5]], "two or three of"),
    ],
)
def test_attention_between_what_does_not_fit(config: Any, shapes: Any, part: str) -> None:
    names = ["a", "b"]
    model = functional(
        *(node(layer("InputLayer", n, batch_input_shape=s)) for n, s in zip(names, shapes, strict=True)),
        node(layer("Attention", "t", **config), [[n, 0, 0, {}] for n in names]),
        inputs=[[n, 0, 0] for n in names], outputs=[["t", 0, 0]],
    )  # fmt: skip
    with pytest.raises((InvalidModelError, UnsupportedModelError), match=part):
        read_keras(legacy(model, {}))


def filtered(x: Any, kernel: Any, begin: int, stride: int, dilation: int) -> Any:
    """(N, T, I), (K, I, O) -> (N, T', O) after `begin` zeros: a convolution as its documentation writes it."""
    x = np.pad(x, ((0, 0), (begin, 0), (0, 0)))
    reach = (kernel.shape[0] - 1) * dilation + 1
    steps = [
        sum(x[:, t + k * dilation] @ kernel[k] for k in range(kernel.shape[0]))
        for t in range(0, x.shape[1] - reach + 1, stride)
    ]
    return np.stack(steps, axis=1)


@pytest.mark.parametrize(("padding", "stride", "dilation"), [("valid", 2, 1), ("causal", 1, 2), ("causal", 3, 1)])
def test_a_convolution_of_keras_2(padding: str, stride: int, dilation: int) -> None:
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(0, 1, (3, 4, 5)).astype("f4"), rng.normal(0, 1, 5).astype("f4")
    config = conv(padding=padding, strides=[stride], dilation_rate=[dilation], activation="relu")
    graph = read_keras(legacy(sequential(config), {"c": [("c/kernel:0", kernel), ("c/bias:0", bias)]}))
    x = rng.normal(0, 1, (2, 8, 4))
    (y,) = run_graph(graph, {graph.inputs[0].name: x}).values()
    expected = filtered(x, kernel, 2 * dilation if padding == "causal" else 0, stride, dilation) + bias
    np.testing.assert_allclose(y, np.maximum(expected, 0), atol=1e-6)


def test_depthwise_and_separable_convolutions_of_keras_2() -> None:
    rng = np.random.default_rng(1)
    depth, point = rng.normal(0, 1, (3, 4, 2)).astype("f4"), rng.normal(0, 1, (1, 8, 5)).astype("f4")
    x = rng.normal(0, 1, (2, 8, 4))
    wide = np.zeros((3, 4, 8))
    for channel in range(4):
        wide[:, channel, 2 * channel : 2 * channel + 2] = depth[:, channel]
    shapes = {"kernel_size": [3], "depth_multiplier": 2, "use_bias": False, **INPUT}
    for name, arrays, expected in (
        ("DepthwiseConv1D", [("c/depthwise_kernel:0", depth)], filtered(x, wide, 0, 1, 1)),
        ("SeparableConv1D", [("c/depthwise_kernel:0", depth), ("c/pointwise_kernel:0", point)],
         filtered(x, wide, 0, 1, 1) @ point[0]),
    ):  # fmt: skip
        graph = read_keras(legacy(sequential(layer(name, "c", filters=5, **shapes)), {"c": arrays}))
        (y,) = run_graph(graph, {graph.inputs[0].name: x}).values()
        np.testing.assert_allclose(y, expected, atol=1e-5)


def operation(name: str, args: Any, **config: Any) -> Any:
    """A function of keras.ops as archives of Keras 3 have it; its graph over x (N, 4, 3) and ids (N, 4)."""
    data = {"class_name": name, "module": "keras.src.ops.numpy", "name": "f", "config": {"name": "f", **config}}
    inputs = [
        node(layer("InputLayer", n, batch_shape=[None, *s], dtype=d))
        for n, s, d in (("x", [4, 3], "float32"), ("ids", [4], "int32"))
    ]
    called = {**data, "inbound_nodes": [{"args": args, "kwargs": {}}]}
    names = [["x", 0, 0], ["ids", 0, 0]]
    return functional(*inputs, called, inputs=names, outputs=[["f", 0, 0]])


def tensor(name: str) -> dict[str, Any]:
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}}


def cut(start: Any, stop: Any, step: Any) -> dict[str, Any]:
    return {"class_name": "__slice__", "config": {"start": start, "stop": stop, "step": step}}


def array(*value: float) -> dict[str, Any]:
    return {"class_name": "__numpy__", "config": {"value": list(value), "dtype": "float32"}}


X, IDS = tensor("x"), tensor("ids")
WHOLE = cut(None, None, None)


@pytest.mark.parametrize(
    "key",
    [np.s_[:, ::-1], np.s_[:, -1:0:-2, 1], np.s_[..., ::-2], np.s_[:, None, 3], np.s_[:, 1:99], np.s_[:, -99:2, -3:-1]],
    ids=str,
)
def test_subscripts_are_those_of_numpy(key: Any) -> None:
    written = [
        cut(k.start, k.stop, k.step) if isinstance(k, slice)
        else {"class_name": "__ellipsis__", "config": {}} if k is Ellipsis else k
        for k in key
    ]  # fmt: skip
    graph = read_keras(legacy(operation("GetItem", [X, written]), {}, version="3.15.1"))
    x = np.random.default_rng(0).normal(0, 1, (2, 4, 3))
    (y,) = run_graph(graph, {"x": x, "ids": np.zeros((2, 4), np.int32)}).values()
    np.testing.assert_array_equal(y, x[key])
    assert graph.outputs[0].shape == (None, *x[key].shape[1:])


@pytest.mark.parametrize(
    ("name", "args", "config", "part"),
    [
        ("TrueDivide", [IDS, 2], {}, "int32.*cast them to float32"),
        ("Multiply", [IDS, 0.5], {}, "operands are 0.5 and a tensor of int32"),
        ("Multiply", [IDS, X], {}, "int32 and float32"),
        ("Multiply", [X, {"class_name": "__numpy__", "config": {"value": [1.0], "dtype": "float64"}}], {}, "float64"),
        ("Mean", [IDS], {"axis": 1}, "int32"),
        ("Exp", [IDS], {}, "int32"),
        ("Max", [X], {"axis": 1, "initial": 3.0}, "initial is 3.0"),
        ("Prod", [X], {"axis": 1, "dtype": "int32"}, "dtype is 'int32'"),
        ("GetItem", [X, [WHOLE, IDS]], {}, "the subscript"),
        ("GetItem", [X, [0, 0, 0, 0]], {}, "4 positions for 3 axes"),
        ("Matmul", [X, array(1, 2, 3)], {}, "two axes and more"),
        ("Pad", [X], {"pad_width": [[0, 0], [1, 1], [0, 0]], "mode": "reflect"}, "reflect"),
        ("Reshape", [X], {"newshape": [0, 12]}, "newshape"),
        ("Take", [X, IDS], {"axis": 1}, "fixed positions"),
        ("Einsum", [X, X], {"subscripts": "...a,...a->..."}, "subscripts"),
        ("Norm", [X], {"ord": 1, "axis": 1}, "norm"),
        ("Fft", [X], {}, "not implemented"),
    ],
)  # fmt: skip
def test_functions_that_would_give_other_numbers_are_refused(name: str, args: Any, config: Any, part: str) -> None:
    with pytest.raises(UnsupportedModelError, match=part) as caught:
        read_keras(legacy(operation(name, args, **config), {}, version="3.15.1"))
    assert f"layer 'f' ({name})" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "args", "config", "part"),
    [
        ("Multiply", [X, array(1, 2)], {}, "do not broadcast"),
        ("Reshape", [X], {"newshape": [5, 7, -1, 2, -1]}, "newshape"),
        ("Split", [X], {"indices_or_sections": 3, "axis": 1}, "indices_or_sections is 3 for an axis of 4"),
        ("Take", [X, [9]], {"axis": 1}, "positions"),
        ("Einsum", [X, X], {"subscripts": "abc,acd->abd"}, "'c' has the sizes 3 and 4"),
        ("Transpose", [X], {"axes": [0, 1, 1]}, "order"),
        ("GetItem", [X, [WHOLE, 7]], {}, "the position 7 on an axis of 4"),
        ("Multiply", [X, {"class_name": "__numpy__", "config": {"value": [[1], [1, 2]], "dtype": "float32"}}], {},
         "an array of float32"),
    ],
)  # fmt: skip
def test_functions_that_contradict_themselves(name: str, args: Any, config: Any, part: str) -> None:
    with pytest.raises((InvalidModelError, UnsupportedModelError), match=part):
        read_keras(legacy(operation(name, args, **config), {}, version="3.15.1"))
