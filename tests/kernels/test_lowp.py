"""Weights of 16 and 8 bits against their definition, and what is promised of bits."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gru_cases import error
from hypothesis import given, settings
from hypothesis import strategies as st
from lowp_cases import FORMS, PRECISIONS, LowpLayer, int8_outputs, one_node
from slowness import within

import fastgru.engine.ops.sequence as lowering
from fastgru.errors import ShapeError
from fastgru.reference.gru import gru_cell
from fastgru.reference.lowp import PRODUCTS, quantised, rounded
from fastgru.simd.target import TARGET, runnable
from fastgru.spec import Activation, GRUSpec

SIZES = st.sampled_from([1, 2, 3, 5, 16, 17, 40, 67, 257, 300])


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(O=SIZES, K=SIZES, rows=st.integers(0, 14), op=st.sampled_from(["linear", "matmul"]), bias=st.booleans())
def test_products_of_int8_are_the_definition_bit_by_bit(O, K, rows, op, bias):
    weight, x = normal(O, O, K), normal(K, rows, K)
    b = normal(3, O) if bias and op == "linear" else None
    for n, row in enumerate([0 * x[:1], np.nan, np.inf, 1e-33, 3e38 / np.abs(x).max(initial=1) * x[:1]]):
        if n + 1 < rows:
            x[n] = row
    got = one_node(op, "int8", weight, b, transposed=op == "matmul")(x)
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = PRODUCTS["int8"](x, weight) + (np.float32(0) if b is None else b)
    np.testing.assert_array_equal(got, wanted)


@settings(max_examples=30, deadline=None)
@given(O=SIZES, K=SIZES, rows=st.integers(0, 14), op=st.sampled_from(["linear", "matmul"]))
def test_products_of_bfloat16(O, K, rows, op):
    weight, x = normal(O, O, K), normal(K, rows, K)
    got = one_node(op, "bfloat16", weight, transposed=op == "matmul")(x)
    wanted = PRODUCTS["bfloat16"](x.astype(np.float64), weight.astype(np.float64))
    scale = np.abs(rounded(x)) @ np.abs(rounded(weight)).T
    assert (np.abs(got - wanted) <= 1e-6 * np.sqrt(K) * (scale + 1e-30)).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_look_up_gives_the_rows_as_they_are_kept(precision):
    table = normal(0, 12, 37)
    look_up = one_node("embedding", precision, table)
    q, scale = quantised(table)
    kept = rounded(table) if precision == "bfloat16" else q.astype(np.float32) * scale[:, None]
    for ids in (np.array([3]), np.array([], np.int64), np.array([11, 0, 3, 3])):
        np.testing.assert_array_equal(look_up(ids), kept[ids])
    for wrong in (-1, 12):
        with pytest.raises(ShapeError, match=f"index {wrong} is out of range for 12 entries"):
            look_up(np.array([0, wrong]))


@settings(max_examples=40, deadline=None)
@given(
    H=SIZES,
    I=SIZES,
    N=st.integers(1, 9),
    T=st.integers(0, 4),
    bias=st.booleans(),
    reset_after=st.booleans(),
    precision=st.sampled_from(PRECISIONS),
)
def test_each_step_is_the_definition_of_it(H, I, N, T, bias, reset_after, precision):
    """From the state that the kernel itself had: what is rounded must be the same number on both sides."""
    layer = LowpLayer(GRUSpec(I, H, reset_after=reset_after), T, N, seed=H + N, bias=bias)
    y, h_n = layer.run(precision, h0=layer.h0)
    before = np.concatenate([layer.h0, y])
    np.testing.assert_array_equal(h_n[0], before[-1])
    given = before[:-1].reshape(-1, H).astype(np.float64)
    x = layer.x.reshape(-1, I).astype(np.float64)
    wanted = gru_cell(layer.spec, layer.weights[0], x, given, product=PRODUCTS[precision])
    # With the reset before the product r * h is rounded: a number or two may fall on the other side of a half, and one
    # of 127 steps up to 1 comes with a weight.
    allowed = 3e-6 + (0 if reset_after else 2 / 127 * np.abs(layer.weights[0].weight_hh).max())
    assert np.abs(y.reshape(-1, H) - wanted).max(initial=0) <= allowed


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("spec", FORMS, ids=["after", "before", "general", "wide"])
def test_the_bits_of_a_row_do_not_depend_on_its_company(spec, precision, monkeypatch):
    layer = LowpLayer(spec, 9, 23)
    given = {"h0": layer.h0, "lengths": layer.lengths, "mask": layer.mask}
    y, h_n = layer.run(precision, **given)
    rows_of = (lambda a: a) if spec.batch_first else (lambda a: a.swapaxes(0, 1))
    for rows in (np.array([4]), np.arange(8), np.random.default_rng(1).permutation(23), np.array([5, 5, 22])):
        part, part_h = layer.run(precision, rows=rows, **given)
        np.testing.assert_array_equal(rows_of(part), rows_of(y)[rows])
        np.testing.assert_array_equal(part_h, h_n[:, rows])
    for threads in (2, 3):
        np.testing.assert_array_equal(layer.run(precision, threads=threads, **given)[0], y)
    whole = layer.run(precision)[0]
    monkeypatch.setattr(lowering, "chunk_steps", lambda *sizes: 4)
    np.testing.assert_array_equal(LowpLayer(spec, 9, 23).run(precision)[0], whole)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("reset_after", [True, False])
def test_step_by_step_has_the_bits_of_the_whole(precision, reset_after):
    layer = LowpLayer(GRUSpec(33, 70, reset_after=reset_after), 6, 1)
    y, _ = layer.run(precision, h0=layer.h0)
    h, x = layer.h0, layer.x
    for t in range(6):
        layer.x = x[t : t + 1]
        one, h = layer.run(precision, h0=h)
        np.testing.assert_array_equal(one[0], y[t])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_touches_no_other(precision, bad):
    layer = LowpLayer(GRUSpec(20, 37), 6, 7)
    y, _ = layer.run(precision)
    layer.x[2, 3, 5] = bad
    spoilt, _ = layer.run(precision)
    others = np.arange(7) != 3
    np.testing.assert_array_equal(spoilt[:, others], y[:, others])
    np.testing.assert_array_equal(spoilt[:2, 3], y[:2, 3])
    if precision == "int8" or np.isnan(bad):
        assert np.isnan(spoilt[2:, 3]).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_state_without_bounds_is_taken_by_its_own_range(precision):
    spec = GRUSpec(8, 70, candidate_activations=(Activation("affine", 1.0, 0.0),))
    layer = LowpLayer(spec, 4, 3)
    h0 = 1000 * layer.h0
    y, _ = layer.run(precision, h0=h0)
    before = np.concatenate([h0, y[:-1]]).reshape(-1, 70).astype(np.float64)
    x = layer.x.reshape(-1, 8).astype(np.float64)
    wanted = gru_cell(spec, layer.weights[0], x, before, product=PRODUCTS[precision])
    assert np.abs(wanted).max() > 500
    assert np.abs(y.reshape(-1, 70) - wanted).max() <= 0.02


@pytest.mark.parametrize(("H", "reset_after"), [(64, True), (100, False), (256, True), (512, False), (1024, True)])
def test_the_error_over_a_hundred_steps(H, reset_after):
    layer = LowpLayer(GRUSpec(H, H, reset_after=reset_after), 100, 1 if H > 256 else 16, seed=H)
    wanted = layer.defined()
    assert 1e-6 < error(layer.run("bfloat16"), wanted) <= 1e-2
    assert 1e-6 < error(layer.run("int8"), wanted) <= 3e-2


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_hundred_thousand_steps_do_not_drift(precision):
    layer = LowpLayer(GRUSpec(16, 128), 100_000, 1)
    apart = np.abs(layer.run(precision)[0] - layer.run("float32")[0]).max(axis=(1, 2))
    assert apart[-1000:].mean() <= 1.5 * apart[100:1100].mean()
    assert apart.max() <= (1e-2 if precision == "bfloat16" else 3e-2)


@pytest.fixture(scope="module")
def here():
    return hashlib.sha256(int8_outputs()).hexdigest()


LEVELS = [each.short for each in runnable() if each != TARGET]


@pytest.mark.parametrize("level", [each for each in LEVELS if "+" not in each or "amx" in each or "x86" not in each])
def test_int8_has_the_same_bits_on(level, here):
    paths = [str(Path(__file__).parent.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "FASTGRU_TARGET": level, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-W", "error", str(Path(__file__).parent / "lowp_worker.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=within(600), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == [level, here]
