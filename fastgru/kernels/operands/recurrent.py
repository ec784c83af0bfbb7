"""How LSTM and RNN are cut into chunks, and their scratch."""

from __future__ import annotations

from typing import Final

from fastgru.simd.cpu import LANES, cache_sizes

__all__ = ["STEP_ROWS", "chunk_steps", "scratch_elements"]

# Rows whose gate sums are kept between the products and the tail.
STEP_ROWS: Final = 12


def chunk_steps(T: int, N: int, H: int, groups: int, itemsize: int) -> int:
    """Steps whose input products are made at once: what a quarter of the L2 holds, at least one."""
    row = groups * (H + 15) * itemsize * max(N, 1)
    return max(1, min(T, cache_sizes()["l2"] // 4 // row))


def scratch_elements(N: int, H: int, groups: int, chunk: int, dtype: str) -> int:
    """Elements of scratch: h twice, c, the sums of a block, input products."""
    lanes = LANES[dtype]
    padded = -(-H // lanes) * lanes
    return 3 * N * padded + 4 * max(groups, 2) * STEP_ROWS * lanes + groups * chunk * N * padded
