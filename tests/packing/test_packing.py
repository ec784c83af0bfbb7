"""Every pack has an unpack: round trips, and the layout itself, on small examples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgru.kernels.operands.gemm import PANEL_VECTORS
from fastgru.packing.aligned import ALIGNMENT, empty, zeros
from fastgru.packing.conv import pack_kernels, pack_panels, unpack_kernels, unpack_panels
from fastgru.packing.gru import pack_gru, unpack_gru
from fastgru.packing.panels import pack_matrices, pack_vectors, padded, panels, unpack_matrices, unpack_vectors
from fastgru.packing.recurrent import pack_peephole, pack_recurrent, unpack_peephole, unpack_recurrent
from fastgru.reference.gru import gru
from fastgru.simd.target import LANES
from fastgru.spec import GRUSpec, GRUWeights, LSTMSpec, LSTMWeights, RNNSpec, RNNWeights

DTYPES = st.sampled_from(["float32", "float64"])
SIZES = st.one_of(st.integers(1, 9), st.sampled_from([15, 16, 17, 63, 64, 65, 130]))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@given(dtype=DTYPES, groups=st.integers(1, 3), O=SIZES, K=st.integers(0, 12))
def test_matrices_come_back(dtype, groups, O, K):
    matrices = [normal(O, K, seed=g) for g in range(groups)]
    flat = pack_matrices(matrices, dtype)
    assert flat.shape == (groups * padded(O, dtype) * K,)
    assert flat.dtype == dtype
    assert flat.size == 0 or flat.ctypes.data % ALIGNMENT == 0
    for before, after in zip(matrices, unpack_matrices(flat, groups, O, K), strict=True):
        np.testing.assert_array_equal(after, before)
    # What is not a weight is zero: nothing left over from the heap can reach a sum.
    assert np.count_nonzero(flat) <= sum(np.count_nonzero(m) for m in matrices)


@given(dtype=DTYPES, groups=st.integers(1, 3), each=st.integers(1, 19), inputs=st.lists(st.integers(0, 9), max_size=4))
def test_kernels_come_back(dtype, groups, each, inputs):
    matrices = [normal(groups * each, K, seed=i) for i, K in enumerate(inputs)]
    flat = pack_kernels(matrices, groups, dtype)
    assert flat.shape == (sum(m.size for m in matrices),)
    for before, after in zip(matrices, unpack_kernels(flat, groups, groups * each, inputs), strict=True):
        np.testing.assert_array_equal(after, before)


@given(dtype=DTYPES, groups=st.integers(1, 3), each=SIZES, inputs=st.lists(st.integers(0, 9), max_size=4))
def test_panels_of_kernels_come_back(dtype, groups, each, inputs):
    matrices = [normal(groups * each, K, seed=i) for i, K in enumerate(inputs)]
    flat = pack_panels(matrices, groups, dtype)
    assert flat.shape == (groups * padded(each, dtype) * sum(inputs),)
    assert flat.size == 0 or flat.ctypes.data % ALIGNMENT == 0
    for before, after in zip(matrices, unpack_panels(flat, groups, groups * each, inputs), strict=True):
        np.testing.assert_array_equal(after, before)


@given(dtype=DTYPES, groups=st.integers(1, 3), O=SIZES, absent=st.integers(0, 3))
def test_vectors_come_back(dtype, groups, O, absent):
    vectors = [None if g == absent else normal(O, seed=g) for g in range(groups)]
    for before, after in zip(vectors, unpack_vectors(pack_vectors(vectors, O, dtype), groups, O), strict=True):
        np.testing.assert_array_equal(after, np.zeros(O) if before is None else before)


@given(dtype=DTYPES, O=SIZES)
def test_panels_cover_the_outputs_once_widest_first(dtype, O):
    lanes = LANES[dtype]
    spans = list(panels(O, dtype))
    assert spans[0][0] == 0
    assert all(count // lanes in PANEL_VECTORS for _, count in spans)
    assert [first for first, _ in spans[1:]] == [first + count for first, count in spans[:-1]]
    assert sum(count for _, count in spans) == padded(O, dtype)
    widths = [count for _, count in spans]
    assert widths == sorted(widths, reverse=True)


def test_a_panel_lies_k_by_k():
    lanes = LANES["float32"]
    matrix = np.arange(2 * lanes * 3, dtype=np.float32).reshape(2 * lanes, 3)
    flat = pack_matrices([matrix], "float32").reshape(3, 2 * lanes)
    np.testing.assert_array_equal(flat, matrix.T)


@given(
    dtype=DTYPES,
    H=st.sampled_from([1, 3, 16, 17, 33]),
    I=st.integers(1, 9),
    reset_after=st.booleans(),
    bias=st.sampled_from([(True, True), (True, False), (False, True), (False, False)]),
)
def test_an_unpacked_gru_means_the_same(dtype, H, I, reset_after, bias):
    spec = GRUSpec(I, H, reset_after=reset_after)
    b_i, b_h = (normal(3 * H, seed=s) if b else None for s, b in enumerate(bias))
    weights = GRUWeights(normal(3 * H, I, seed=3), normal(3 * H, H, seed=4), b_i, b_h)
    packed = pack_gru(spec, weights, dtype)
    back = unpack_gru(spec, packed)
    np.testing.assert_array_equal(back.weight_ih, weights.weight_ih)
    np.testing.assert_array_equal(back.weight_hh, weights.weight_hh)
    x = normal(4, 2, I, seed=5).astype(np.float64)
    for got, want in zip(gru(spec, [back], x), gru(spec, [weights], x), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize("make", [empty, zeros])
@given(shape=st.lists(st.integers(0, 5), max_size=3), dtype=st.sampled_from(["float32", "float64", "int8", "bool"]))
def test_aligned_arrays(make, shape, dtype):
    array = make(tuple(shape), dtype)
    assert array.shape == tuple(shape)
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.size == 0 or array.ctypes.data % ALIGNMENT == 0
    array[...] = 1
    assert (array == 1).all()


@given(dtype=DTYPES, H=SIZES, I=SIZES, bias=st.booleans(), lstm=st.booleans())
def test_a_layer_comes_back_with_its_biases_added(dtype, H, I, bias, lstm):
    kind, spec = (LSTMWeights, LSTMSpec(I, H)) if lstm else (RNNWeights, RNNSpec(I, H))
    rows = spec.GATES * H
    weights = kind(normal(rows, I), normal(rows, H, seed=1), *([normal(rows, seed=2), normal(rows, seed=3)] * bias))
    W, R, b = unpack_recurrent(spec, pack_recurrent(spec, weights, dtype))
    np.testing.assert_array_equal(W, weights.weight_ih)
    np.testing.assert_array_equal(R, weights.weight_hh)
    total = weights.bias_ih.astype(np.float64) + weights.bias_hh if bias else np.zeros(rows)
    np.testing.assert_array_equal(b, total.astype(dtype))


@given(dtype=DTYPES, H=SIZES)
def test_peepholes_come_back(dtype, H):
    packed = pack_peephole(normal(3 * H), dtype)
    np.testing.assert_array_equal(unpack_peephole(packed, H), normal(3 * H))
    assert len(packed) == 3 * padded(H, dtype)
