"""Products of low precision by AMX's tiles, or by vectors in their place: bits, edges, every number of rows.

These run on targets with AMX. `test_tile_levels.py` has them run on all that this machine has, emulated where need be.
"""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from lowp_cases import LowpLayer, one_node, tile_sums

from fastgru.engine import Executable
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.kernels.operands.lowp import INT8_HEAD, LOWP
from fastgru.reference.lowp import PRODUCTS, rounded
from fastgru.simd.target import AMX
from fastgru.spec import Activation, GRUSpec

pytestmark = pytest.mark.skipif(not AMX, reason="this target has no AMX")

ROWS = 71
SIZES = [1, 2, 31, 32, 33, 63, 64, 65, 255, 256, 257]  # of k
WIDTHS = [1, 16, 17, 40, 48, 64, 65, 130]
NUMBERS = [*range(1, 34), 47, 48, 49, 63, 64, 65]


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("K", SIZES)
def test_bfloat16_adds_up_as_the_tiles_do_whatever_the_rows(K):
    for O in WIDTHS:
        x, weight, bias = normal(K, ROWS, K), normal(O, O, K), normal(3, O)
        multiply = one_node("linear", "bfloat16", weight, bias)
        whole = multiply(x)
        np.testing.assert_array_equal(whole, tile_sums(x, weight, bias))
        exact = rounded(x).astype(np.float64) @ rounded(weight).astype(np.float64).T + bias
        scale = np.abs(rounded(x)) @ np.abs(rounded(weight)).T + np.abs(bias)
        assert (np.abs(whole - exact) <= 1e-6 * np.sqrt(K) * (scale + 1e-30)).all()
        for rows in NUMBERS:
            np.testing.assert_array_equal(multiply(x[:rows]), whole[:rows])
            np.testing.assert_array_equal(multiply(x[ROWS - rows :]), whole[ROWS - rows :])


@pytest.mark.parametrize("K", SIZES)
def test_int8_is_the_definition_whatever_the_rows(K):
    for O in WIDTHS:
        x, weight, bias = normal(K, ROWS, K), normal(O, O, K), normal(3, O)
        multiply, wanted = one_node("linear", "int8", weight, bias), PRODUCTS["int8"](x, weight) + bias
        for rows in (*NUMBERS, ROWS):
            np.testing.assert_array_equal(multiply(x[:rows]), wanted[:rows])


@pytest.mark.parametrize("unsigned", [False, True])
def test_bytes_are_multiplied_exactly(unsigned):
    rng = np.random.default_rng(7)
    for K, O in ((1, 5), (63, 17), (64, 64), (257, 70)):
        weight = rng.integers(-128, 128, (K, O)).astype(np.int8)
        specs = TensorSpec("x", "uint8" if unsigned else "int8", (None, K)), TensorSpec("y", "int32", None)
        graph = Graph(specs[:1], specs[1:], (Node("matmul_integer", ("x", "w"), ("y",), {}),), {"w": weight})
        run = Executable(graph).run
        for rows in (1, 2, 16, 17, 33, 40):
            x = rng.integers(0 if unsigned else -128, 256 if unsigned else 128, (rows, K)).astype(specs[0].dtype)
            np.testing.assert_array_equal(run({"x": x})["y"], x.astype(np.int64) @ weight.astype(np.int64))


@pytest.mark.parametrize("rows", [1, 2, 16, 17, 33])
def test_denormals_are_zeros(rows):
    def product(x, w, start=0.0):
        """Of numbers that stand first in 40 of them, the others being zeros."""
        row, weight = np.zeros((rows, 40), np.float32), np.zeros((20, 40), np.float32)
        row[:, : len(x)], weight[:, : len(w)] = x, w
        y = one_node("linear", "bfloat16", weight, np.full(20, start, np.float32))(row)
        assert (y == y[0, 0]).all()
        return y[0, 0]

    tiny, least = 2.0**-130, 2.0**-126  # below the smallest normal number, and that itself
    assert product([tiny], [1]) == product([1], [tiny]) == product([tiny], [2.0**100]) == 0  # what comes in
    assert product([0], [0], tiny) == 0
    assert product([1], [1], tiny) == 1
    assert product([least], [0.5]) == product([2.0**-70], [2.0**-70]) == 0  # what goes out
    assert product([1, 0, 0, 0], [1.5 * least, 0, 0, 0], -least) == 0
    # A product is rounded in its sum only: one that is small beside it counts.
    assert product([1, 0, 2.0**-65], [least, 0, 2.0**-65]) == least + tiny
    assert product([1, 2.0**-65], [least, 2.0**-65]) == least  # in a sum of its own it is zero
    assert product([2.0**100, 0, 2.0**100], [-(2.0**27), 0, 2.0**28]) == 2.0**127  # and one that is too large alone


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_rows_that_are_not_finite_touch_no_others(precision):
    x, weight = normal(1, 40, 70), normal(2, 50, 70)
    multiply = one_node("linear", precision, weight)
    clean = multiply(x)
    for row, column, bad in ((0, 0, np.nan), (15, 69, np.inf), (16, 33, -np.inf), (31, 1, np.nan), (39, 68, np.inf)):
        spoilt = x.copy()
        spoilt[row, column] = bad
        y, others = multiply(spoilt), np.arange(40) != row
        np.testing.assert_array_equal(y[others], clean[others])
        assert not np.isfinite(y[row]).any()
        np.testing.assert_array_equal(multiply(spoilt[row : row + 1])[0], y[row])


def test_a_weight_that_is_infinite_and_sums_that_overflow():
    x, weight = np.ones((20, 33), np.float32), np.ones((3, 33), np.float32)
    weight[0, 5], weight[1, 5:7] = np.inf, (np.inf, -np.inf)
    weight[2] = 3e38
    for rows in (1, 2, 20):
        y = one_node("linear", "bfloat16", weight)(x[:rows])
        assert (y[:, 0] == np.inf).all()
        assert np.isnan(y[:, 1]).all()
        assert (y[:, 2] == np.inf).all()


FORMS = [
    GRUSpec(11, 37),
    GRUSpec(70, 64, reset_after=False),
    GRUSpec(33, 130, "bidirectional"),
    GRUSpec(
        40, 100, "reverse", reset_after=False, batch_first=True, clip=1.5,
        gate_activations=(Activation("hard_sigmoid", 0.2, 0.5),), candidate_activations=(Activation("softplus"),),
    ),
]  # fmt: skip


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
@pytest.mark.parametrize("spec", FORMS, ids=["after", "before", "wide", "general"])
def test_a_row_of_a_batch_has_the_bits_that_it_has_alone(spec, precision):
    layer = LowpLayer(spec, 5, 67)
    rows_of = (lambda a: a) if spec.batch_first else (lambda a: a.swapaxes(0, 1))
    for given in ({"h0": layer.h0}, {"h0": layer.h0, "lengths": layer.lengths, "mask": layer.mask}):
        y, h_n = layer.run(precision, **given)
        for rows in (1, 2, 15, 16, 17, 31, 32, 33, 48):
            for first in (0, 67 - rows):
                some = slice(first, first + rows)
                part, part_h = layer.run(precision, rows=some, **given)
                np.testing.assert_array_equal(rows_of(part), rows_of(y)[some])
                np.testing.assert_array_equal(part_h, h_n[:, some])
        for threads in (2, 3):
            again, again_h = layer.run(precision, threads=threads, **given)
            np.testing.assert_array_equal(again, y)
            np.testing.assert_array_equal(again_h, h_n)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("N", [1, 7, 20, 40])
def test_steps_have_the_bits_of_the_whole(precision, reset_after, N):
    layer = LowpLayer(GRUSpec(33, 70, reset_after=reset_after), 6, N)
    y, _ = layer.run(precision, h0=layer.h0)
    h, x = layer.h0, layer.x
    for first, last in ((0, 1), (1, 2), (2, 5), (5, 6)):
        layer.x = x[first:last]
        part, h = layer.run(precision, h0=h)
        np.testing.assert_array_equal(part, y[first:last])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_and_a_handler_of_signals_that_multiplies_change_nothing():
    layer, other = LowpLayer(GRUSpec(64, 128), 400, 20), LowpLayer(GRUSpec(40, 70), 3, 7)
    wanted, of_other = layer.run("bfloat16")[0], other.run("int8")[0]
    told = []

    def multiply(*_):
        told.append(np.array_equal(other.run("int8")[0], of_other))

    before = signal.signal(signal.SIGVTALRM, multiply)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.01, 0.01)
        got = [layer.run("bfloat16")[0] for _ in range(5)]
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    assert told
    assert all(told)
    for y in got:
        np.testing.assert_array_equal(y, wanted)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(layer.run("bfloat16")[0], wanted) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_rows_and_panels_are_whole_tiles():
    for K in SIZES:
        assert LOWP["bfloat16"].depth(K) % 64 == LOWP["bfloat16"].row(K) % 64 == LOWP["int8"].row(K) % 64 == 0
        assert (LOWP["int8"].depth(K) - INT8_HEAD) % 64 == 0
