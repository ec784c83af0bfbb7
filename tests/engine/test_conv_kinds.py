"""A convolution by vectors of pixels and by vectors of channels: the same bits, and each where it takes less time."""

from __future__ import annotations

import numpy as np
import pytest

import fastgru.engine.ops.conv as lowering
from fastgru.engine.executable import Executable
from fastgru.errors import ShapeError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference import run_graph


def convolution(op, weight, attrs, bias=None, slope=None):
    arrays = {"w": weight, "b": bias, "s": slope}
    names = ["x", *(name if array is not None else "" for name, array in arrays.items())]
    constants = {name: array for name, array in arrays.items() if array is not None}
    node = Node(op, tuple(names), ("y",), {"group": 1, **attrs})
    rank = weight.ndim
    return Graph(
        (TensorSpec("x", "float32", (None,) * rank),), (TensorSpec("y", "float32", (None,) * rank),), (node,), constants
    )


def handlers(executable, x):
    return [timing.handler for timing in executable.profile({"x": x}) if timing.handler.startswith("conv")]


def draw(rng):
    """(graph, x) of a random small convolution."""
    axes, op = int(rng.integers(1, 3)), "conv_transpose" if rng.integers(0, 3) == 0 else "conv"
    group = int(rng.choice([1, 1, 1, 2, 3]))
    C = group * int(rng.choice([1, 2, 5, 40]))
    each = int(rng.choice([1, 3, 4, 8, 16, 17, 33, 64]))
    kernel, strides, dilations = ([int(n) for n in rng.integers(1, most, axes)] for most in (4, 3, 3))
    pads = [int(n) for n in rng.integers(0, 2 if op == "conv_transpose" else 3, 2 * axes)]
    attrs = {"group": group, "strides": strides, "dilations": dilations, "pads": pads}
    if op == "conv_transpose":
        attrs["output_padding"] = [0] * axes
    if rng.integers(0, 2):
        attrs["clamp"] = [-0.5, None]
    shape = (group * each, C // group, *kernel) if op == "conv" else (C, each, *kernel)
    vectors = [rng.standard_normal(group * each) if rng.integers(0, 2) else None for _ in range(2)]
    graph = convolution(op, rng.standard_normal(shape) / 4, attrs, *vectors)
    sizes = [int(n) for n in rng.integers(1, 9, axes)]
    return graph, rng.standard_normal((int(rng.integers(1, 5)), C, *sizes))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(40))
def test_both_kinds_give_the_same_bits(monkeypatch, seed, dtype):
    graph, x = draw(np.random.default_rng([seed, 11]))
    results = []
    for kind in (False, True):
        monkeypatch.setattr(lowering, "less_by_channels", lambda *given, kind=kind: kind)
        try:
            results.append(Executable(graph, precision=dtype).run({"x": x})["y"])
        except ShapeError:  # a kernel that is larger than the padded image
            pytest.skip("windows that do not fit")
    a, b = (y.view(f"int{8 * y.itemsize}") for y in results)
    np.testing.assert_array_equal(a, b)
    if dtype == "float64":
        np.testing.assert_allclose(results[1], run_graph(graph, {"x": x})["y"], rtol=1e-9, atol=1e-9)


def test_what_is_left_out_at_the_edges_is_only_what_adds_nothing():
    weight = np.ones((16, 1, 3, 3))
    weight[:, :, 0, 0] = np.inf
    graph = convolution("conv", weight, {"strides": [1, 1], "dilations": [1, 1], "pads": [1, 1, 1, 1]})
    x = np.ones((1, 1, 4, 5))
    executable = Executable(graph)
    assert handlers(executable, x) == ["conv_panel_float32"]
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(executable.run({"x": x})["y"], run_graph(graph, {"x": x})["y"])


@pytest.mark.parametrize(("O", "sizes", "expected"), [
    (64, (5, 6), "conv_panel"), (16, (5, 6), "conv_panel"), (128, (1, 1), "conv_panel"), (1, (40, 64), "conv"),
    (2, (64, 64), "conv"),
])  # fmt: skip
def test_channels_are_taken_where_pixels_do_not_fill_vectors(O, sizes, expected):
    rng = np.random.default_rng(0)
    attrs = {"strides": [1, 1], "dilations": [1, 1], "pads": [1, 1, 1, 1]}
    graph = convolution("conv", rng.standard_normal((O, 8, 3, 3)), attrs)
    assert handlers(Executable(graph), rng.standard_normal((1, 8, *sizes))) == [f"{expected}_float32"]


def test_a_batch_has_the_bits_of_each_image():
    rng = np.random.default_rng(3)
    attrs = {"strides": [1], "dilations": [1], "pads": [1, 1]}
    executable = Executable(convolution("conv", rng.standard_normal((24, 7, 3)), attrs))
    x = rng.standard_normal((35, 7, 2)).astype(np.float32)
    whole = executable.run({"x": x})["y"]
    each = np.concatenate([executable.run({"x": x[n : n + 1]})["y"] for n in range(len(x))])
    np.testing.assert_array_equal(whole.view(np.int32), each.view(np.int32))
