"""The arithmetic of bounds, by hand; and that the peaks of this machine are measured at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastgru.bench.bounds import Peaks, bound_of
from fastgru.bench.cases import Case
from fastgru.bench.kernels import DOT_FLOPS, DOT_GROWTH, FMA_CHAINS, READ_VECTORS, dot_work, fma_chains, read_buffer
from fastgru.packing.aligned import empty
from fastgru.simd.groups import INT8_GROUP
from fastgru.simd.target import LANES


def test_what_exceeds_a_cache_is_read_from_the_next(peaks: Peaks) -> None:
    assert peaks.read_times(1e4) == {"L1": 1e4 / 4e11, "L2": 0, "memory": 0}
    assert peaks.read_times(3e6) == {"L1": 1e4 / 4e11, "L2": (1e6 - 1e4) / 2e11, "memory": 2e6 / 1e10}


def test_of_two_measurements_the_better_counts(peaks: Peaks) -> None:
    other = replace(
        peaks, flops_per_s=2e11, levels=tuple(replace(lv, bytes_per_s=lv.bytes_per_s / 2) for lv in peaks.levels)
    )
    assert peaks.best_with(other) == other.best_with(peaks) == replace(peaks, flops_per_s=2e11)


def test_a_step_reads_all_weights(peaks: Peaks) -> None:
    bound = bound_of(Case("step", 1, 1, 1000, 500), peaks)
    size = 4 * 3 * 500 * 1500
    assert bound.weight_bytes == size
    assert bound.flops == 6 * 500 * 1500
    assert bound.limit == "memory"
    assert bound.seconds == pytest.approx(1e4 / 4e11 + 0.99e6 / 2e11 + (size - 1e6) / 1e10)


def test_a_batch_is_bound_by_arithmetic(peaks: Peaks) -> None:
    bound = bound_of(Case("sequence", 50, 128, 256, 256), peaks)
    assert bound.limit == "fma"
    assert bound.seconds == pytest.approx(50 * 128 * 6 * 256 * 512 / 1e11)


def test_a_sequence_reads_its_recurrent_weights_at_every_step_and_the_others_once(peaks: Peaks) -> None:
    bound = bound_of(Case("sequence", 10, 1, 7, 500), peaks)
    assert bound.weight_bytes == 4 * 3 * 500 * (7 + 10 * 500)


def test_layers_and_directions_add_up(peaks: Peaks) -> None:
    bound = bound_of(Case("sequence", 10, 4, 8, 16, layers=2, bidirectional=True), peaks)
    assert bound.flops == 10 * 4 * 2 * 6 * 16 * ((8 + 16) + (32 + 16))


def test_lengths_take_work_away(peaks: Peaks) -> None:
    case = Case("sequence", 10, 4, 256, 256, lengths=True)
    assert bound_of(case, peaks, 20).flops == bound_of(case, peaks).flops / 2


def test_float64_has_half_the_lanes(peaks: Peaks) -> None:
    half = bound_of(Case("sequence", 50, 64, 64, 64, precision="float64"), peaks)
    assert half.seconds == pytest.approx(2 * bound_of(Case("sequence", 50, 64, 64, 64), peaks).seconds)


@pytest.mark.parametrize(("precision", "itemsize"), [("bfloat16", 2), ("int8", 1)])
def test_small_weights_are_bound_by_their_bytes_or_their_dot_products(
    peaks: Peaks, precision: str, itemsize: int
) -> None:
    peaks = replace(peaks, dots_per_s={"bfloat16": 2e11, "int8": 4e11})
    step = bound_of(Case("step", 1, 1, 1000, 500, precision=precision), peaks)
    assert step.weight_bytes == itemsize * 3 * 500 * 1500
    assert step.limit == "memory"
    batch = bound_of(Case("sequence", 50, 128, 256, 256, precision=precision), peaks)
    assert batch.limit == "dot"
    assert batch.seconds == pytest.approx(50 * 128 * 6 * 256 * 512 / (4e11 / itemsize))
    assert "100 GFLOP/s, bfloat16 200, int8 400;" in peaks.note
    twice = replace(peaks, dots_per_s={"bfloat16": 4e11, "int8": 1e11})
    assert peaks.best_with(twice).dots_per_s == {"bfloat16": 4e11, "int8": 4e11}


@pytest.mark.parametrize(("precision", "least"), DOT_GROWTH.items())
def test_the_dot_products_are_those_that_are_timed(precision: str, least: int) -> None:
    assert least % {"bfloat16": 2, "int8": INT8_GROUP}[precision] == 0
    assert [dot_work(precision)(count) for count in (0, 1, 3, 1000)] == [0, least, 3 * least, 1000 * least]
    assert DOT_FLOPS[precision] % (2 * least * LANES["float32"]) == 0


def test_the_kernels_compute_what_they_time() -> None:
    lanes = LANES["float32"]
    ones = empty(2 * lanes, np.float32)
    ones[...] = 0.5
    x = np.float32(0.5)
    for _ in range(3):
        x = np.float32(x * np.float32(0.5) + np.float32(0.5))
    assert fma_chains(ones.ctypes.data, 3) == FMA_CHAINS * lanes * x
    buffer = empty(2 * READ_VECTORS * lanes, np.float32)
    buffer[...] = np.arange(buffer.size)
    total = 2 * buffer.sum() + READ_VECTORS * buffer[:lanes].sum()  # sums begin with the first vector
    assert read_buffer(buffer.ctypes.data, buffer.size, 2) == total
