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
        ([conv(padding="full")], KERNEL, {}, "padding is 'full'.*valid, same, causal"),
        ([conv("Conv2D", padding="causal", kernel_size=[3, 3], **IMAGE)], {"c_kernel": (3, 3, 2, 5), "c_bias": (5,)},
         {}, "padding is 'causal'.*valid, same"),
        ([conv("Conv1DTranspose", padding="causal")], TURNED, {}, "use same or valid"),
        ([conv("Conv1DTranspose", padding="same", strides=[2])], TURNED, {"version": "3.2", "backend": "torch"},
         "uneven cut"),
        ([conv(batch_input_shape=[None, 8, None])], KERNEL, {}, "axis 2 is free"),
        ([layer("AveragePooling1D", "p", pool_size=[2], strides=[1], padding="same", **INPUT)], {},
         {"version": "3.2", "backend": "torch"}, "uneven.*on torch"),
        ([layer("AveragePooling1D", "p", pool_size=[3], padding="same", batch_input_shape=[None, None, 4])], {},
         {"version": "3.2", "backend": "torch"}, "uneven.*on torch"),
        ([layer("UpSampling2D", "u", size=[2, 2], interpolation="bicubic", **IMAGE)], {}, {}, "bicubic"),
        ([layer("Masking", "m", **INPUT), layer("TimeDistributed", "t", layer=layer("Reshape", "r", target_shape=[4]))],
         {}, {}, "a mask reaches it, and the Reshape inside"),
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
        ({}, [[None, 4, 3], [None, 5, 2]], "inputs of shapes"),
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
