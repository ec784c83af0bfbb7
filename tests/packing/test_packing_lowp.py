"""Weights of low precision: what is rounded, what comes back, and the layout."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgru.packing.gru import pack_gru, unpack_gru
from fastgru.packing.lowp import pack_bytes, pack_lowp, pack_rows, unpack_lowp, unpack_rows
from fastgru.packing.quantise import dequantise_rows, quantise_rows, round_bfloat16, widen_bfloat16
from fastgru.reference.grid import grid_steps
from fastgru.reference.lowp import quantised, quantised_weights, rounded
from fastgru.spec import GRUSpec, GRUWeights

SIZES = st.one_of(st.integers(1, 9), st.sampled_from([15, 16, 17, 63, 64, 65, 130]))
PRECISIONS = ("bfloat16", "int8")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def kept(matrix, precision):
    if precision == "bfloat16":
        return rounded(matrix)
    q, scale = quantised(matrix)
    return q.astype(np.float32) * scale[:, None]


@given(st.lists(st.floats(width=32), min_size=1))
def test_bfloat16_is_rounded_as_elsewhere(values):
    a = np.array(values, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        wanted = a.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(widen_bfloat16(round_bfloat16(a)), wanted)


@given(O=SIZES, K=SIZES)
def test_rows_are_quantised_as_defined(O, K):
    w = normal(O, K)
    w[0] = 0
    q, scale = quantise_rows(w)
    wanted, wanted_scale = quantised(w)
    np.testing.assert_array_equal(q, wanted)
    np.testing.assert_array_equal(scale, wanted_scale)
    assert np.abs(q[1:]).max(axis=1, initial=0).tolist() == [127] * (O - 1)
    np.testing.assert_array_equal(quantise_rows(dequantise_rows(q, scale))[0], q)
    assert (np.abs(dequantise_rows(q, scale) - w) <= scale[:, None] * 0.5001).all()


@given(
    O=st.integers(1, 9), K=st.integers(4, 70), most=st.integers(1, 127), scale=st.floats(2.0**-20, 10, width=32),
    offset=st.integers(0, 1), seed=st.integers(0, 99),
)  # fmt: skip
def test_rows_that_were_quantised_before_are_not_rounded_again(O, K, most, scale, offset, seed):
    rng = np.random.default_rng(seed)
    before = rng.integers(-most, most + 1, (O, K))
    w = (before * np.float32(scale)).astype(np.float32)
    w[:offset] += np.float32(np.pi * scale)  # which is no longer on the grid
    q, found = quantise_rows(w)
    np.testing.assert_allclose(dequantise_rows(q, found)[offset:], w[offset:], rtol=1e-6)
    for ours, defined in zip((q, found), quantised_weights(w), strict=True):
        np.testing.assert_array_equal(ours, defined)
    again, scales = quantise_rows(dequantise_rows(q, found))
    np.testing.assert_array_equal(again, q)
    np.testing.assert_allclose(scales, found, rtol=1e-6)


def test_a_grid_is_not_seen_where_there_is_none():
    w = normal(300, 40)
    w[:100, :20] = 0
    w[100:200] = w[100:200].clip(-0.7, 0.7)
    w[200] = np.float32([0.5, -0.5] * 20)
    np.testing.assert_array_equal(quantise_rows(w)[0], quantised(w)[0])
    w[7, 3] = np.inf
    w[8, 5] = np.nan
    w[9] = 1e-40
    peak = np.abs(w).max(axis=1)
    assert (grid_steps(w, peak) == 127).all()


@given(precision=st.sampled_from(PRECISIONS), groups=st.integers(1, 3), O=SIZES, K=st.integers(0, 21))
def test_matrices_come_back_as_they_are_kept(precision, groups, O, K):
    matrices = [normal(O, K, seed=g) for g in range(groups)]
    flat = pack_lowp(matrices, precision)
    for before, after in zip(matrices, unpack_lowp(flat, precision, groups, O, K), strict=True):
        np.testing.assert_array_equal(after, kept(before, precision))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_table_comes_back_as_it_is_kept(precision):
    table = normal(5, 13)
    np.testing.assert_array_equal(unpack_rows(pack_rows(table, precision), precision, 13), kept(table, precision))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_gru_comes_back_as_it_is_kept(precision):
    spec = GRUSpec(5, 19)
    weights = GRUWeights(normal(57, 5, seed=1), normal(57, 19, seed=2), normal(57, seed=3), normal(57, seed=4))
    back = unpack_gru(spec, pack_gru(spec, weights, "float32", precision), precision)
    np.testing.assert_array_equal(back.weight_ih, kept(weights.weight_ih, precision))
    np.testing.assert_array_equal(back.weight_hh, kept(weights.weight_hh, precision))
    np.testing.assert_allclose(back.bias_ih[:38], (weights.bias_ih + weights.bias_hh)[:38], atol=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_of_low_precision_take_so_many_bytes(precision):
    nbytes = pack_lowp([normal(512, 512)] * 3, precision).nbytes
    assert nbytes <= 3 * 512 * 512 * 4 * (0.5 if precision == "bfloat16" else 0.255)


@given(O=SIZES, K=st.integers(0, 21), seed=st.integers(0, 99))
def test_bytes_come_back_as_they_are(O, K, seed):
    matrix = np.random.default_rng(seed).integers(-128, 128, (O, K)).astype(np.int8)
    (back,) = unpack_lowp(pack_bytes(matrix), "int8", 1, O, K)
    np.testing.assert_array_equal(back, matrix)
