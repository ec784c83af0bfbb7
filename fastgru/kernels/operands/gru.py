"""How a GRU is shared and cut into chunks, and its scratch."""

from __future__ import annotations

from typing import Final

from fastgru.simd.cpu import LANES, cache_sizes

__all__ = [
    "ALONE", "ROWS", "STEP_ROWS", "SUM_VECTORS", "UNITS", "chunk_steps", "order_words", "scratch_elements",
]  # fmt: skip

# How a team shares the instruction: one member does it, each its rows, each its units.
ALONE: Final = 0
ROWS: Final = 1
UNITS: Final = 2

# Rows whose gate sums are kept between the products and the tail.
STEP_ROWS: Final = 12
SUM_VECTORS: Final = 3 * 4 * STEP_ROWS


def chunk_steps(T: int, N: int, H: int, itemsize: int) -> int:
    """Steps whose input products are made at once: what a quarter of the L2 holds, at least one."""
    row = 3 * (H + 15) * itemsize * max(N, 1)
    return max(1, min(T, cache_sizes()["l2"] // 4 // row))


def scratch_elements(N: int, H: int, chunk: int, dtype: str, members: int) -> int:
    """Elements of scratch: the state twice, r * h and z, the gate sums of each member, input products, a flag a row."""
    lanes = LANES[dtype]
    padded = -(-H // lanes) * lanes
    return 4 * N * padded + members * SUM_VECTORS * lanes + 3 * chunk * N * padded + N


def order_words(T: int, N: int, chunk: int) -> int:
    """Words of one member for the order of a ragged batch: rows, counts by length, first rows of a chunk's steps."""
    return N + T + 2 + chunk + 1
