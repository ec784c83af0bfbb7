"""Element-wise operations on tensors that lie in another order in memory: carried out in that order, right in any."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from engine_cases import agree, normal
from engine_graphs import draw_graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastgru.engine import Executable, fusion, lazy
from fastgru.graph import Graph, Node, TensorSpec

QUICK = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def after_transposes(shape, perms, *nodes, **constants):
    """x0, x1... (shape), each transposed by a perm to t0, t1..., then the nodes, of which the last makes y."""
    inputs = tuple(TensorSpec(f"x{i}", "float32", shape) for i in range(len(perms)))
    turns = [Node("transpose", (f"x{i}",), (f"t{i}",), {"perm": list(perm)}) for i, perm in enumerate(perms)]
    graph = Graph(inputs, (TensorSpec("y", "float32", None),), (*turns, *nodes), constants)
    return graph, {f"x{i}": normal(*shape) for i in range(len(perms))}


def test_nothing_is_copied_between_two_transposes():
    nodes = (
        Node("activation", ("t0",), ("a",), {"kind": "tanh"}),
        Node("transpose", ("a",), ("y",), {"perm": [0, 2, 1]}),
    )
    graph, feeds = after_transposes((3, 20, 30), [[0, 2, 1]], *nodes)
    assert [timing.handler for timing in Executable(graph, precision="float32").profile(feeds)] == ["fusion_float32"]


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(6, 40, 5), (17, 3, 4, 9), (2, 700)])
def test_unary_and_binary_in_any_order(shape, precision):
    for perm in itertools.permutations(range(len(shape))):
        transposed = tuple(shape[axis] for axis in perm)
        row, column = normal(transposed[-1]), normal(*transposed[:-1], 1)
        nodes = (
            Node("activation", ("t0",), ("a",), {"kind": "tanh"}),
            Node("binary", ("a", "row"), ("b",), {"kind": "mul"}),
            Node("binary", ("column", "b"), ("y",), {"kind": "sub"}),
        )
        agree(*after_transposes(shape, [perm], *nodes, row=row, column=column), precision, 4)


def test_two_operands_in_different_orders():
    for first, second in itertools.product(itertools.permutations(range(3)), repeat=2):
        node = Node("binary", ("t0", "t1"), ("y",), {"kind": "add"})
        agree(*after_transposes((8, 8, 8), [first, second], node), "float32")


@pytest.mark.parametrize("precision", ["float32", "float64"])
@QUICK
@given(seed=st.integers(0, 1 << 32), nodes=st.integers(1, 14))
def test_random_graphs_whatever_their_size(precision, seed, nodes):
    graph, feeds = draw_graph(random.Random(seed), nodes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fusion, "LEAST_TRANSPOSED", 1)
        patch.setattr(lazy, "LEAST_TRANSPOSED", 1)
        agree(graph, feeds, precision, 100)


def test_a_row_in_a_batch_has_the_bits_that_it_has_alone():
    nodes = (
        Node("activation", ("t0",), ("a",), {"kind": "sigmoid"}),
        Node("binary", ("a", "t0"), ("y",), {"kind": "mul"}),
    )
    x = normal(5, 30, 40)
    x[2, 3, 7] = np.nan
    graph, _ = after_transposes((None, 30, 40), [], *nodes)
    turn = Node("transpose", ("x0",), ("t0",), {"perm": [0, 2, 1]})
    graph = Graph((TensorSpec("x0", "float32", (None, 30, 40)),), graph.outputs, (turn, *nodes), {})
    executable = Executable(graph, precision="float32")
    whole = executable.run({"x0": x})["y"].copy()
    assert np.isnan(whole).sum() == 1
    for i in range(5):
        np.testing.assert_array_equal(executable.run({"x0": x[i : i + 1]})["y"][0], whole[i])


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("axes", [1, 2])
def test_windows_over_images_with_channels_last(axes, precision):
    form = {"strides": [2] * axes, "pads": [1] * 2 * axes, "dilations": [1] * axes}
    shape, perm = (2, *(9, 20)[:axes], 6), [0, axes + 1, *range(1, axes + 1)]
    weight, transposed = normal(5, 6, *[3] * axes), normal(6, 5, *[3] * axes)
    nodes = (
        Node("conv", ("t0", "w"), ("y",), {**form, "group": 1}),
        Node("conv_transpose", ("t0", "w"), ("y",), {**form, "group": 1, "output_padding": [0] * axes}),
        Node("pool", ("t0",), ("y",), {**form, "kind": "max", "kernel": [3] * axes}),
    )
    for node, w in zip(nodes, (weight, transposed, transposed), strict=True):
        constants = {"w": w} if len(node.inputs) > 1 else {}
        agree(*after_transposes(shape, [perm], node, **constants), precision, 20)


def test_a_fusion_that_makes_a_region_of_another_tensor():
    nodes = (
        Node("activation", ("t0",), ("a",), {"kind": "tanh"}),
        Node("transpose", ("a",), ("b",), {"perm": [0, 2, 1]}),
        Node("concat", ("b", "t1", "b"), ("y",), {"axis": 1}),
    )
    agree(*after_transposes((3, 20, 20), [[0, 2, 1], [0, 1, 2]], *nodes), "float32")
    swapped = (nodes[0], Node("concat", ("a", "t1", "a"), ("y",), {"axis": 2}))
    agree(*after_transposes((3, 20, 20), [[0, 2, 1], [0, 1, 2]], *swapped), "float32")


def test_a_source_that_two_read_is_transposed_for_the_one_that_needs_it():
    nodes = (
        Node("transpose", ("x0",), ("t0",), {"perm": [0, 2, 1]}),
        Node("activation", ("t0",), ("a",), {"kind": "tanh"}),
        Node("binary", ("a", "x1"), ("y",), {"kind": "add"}),
        Node("transpose", ("a",), ("z",), {"perm": [0, 2, 1]}),
    )
    inputs = (TensorSpec("x0", "float32", (6, 20, 30)), TensorSpec("x1", "float32", (6, 30, 20)))
    graph = Graph(inputs, tuple(TensorSpec(name, "float32", None) for name in "yz"), nodes, {})
    feeds = {"x0": normal(6, 20, 30), "x1": normal(6, 30, 20)}
    agree(graph, feeds, "float32")
    kernels = [timing.handler for timing in Executable(graph, precision="float32").profile(feeds)]
    assert sorted(kernels) == ["fusion_float32", "fusion_float32", "transpose_int32"]
