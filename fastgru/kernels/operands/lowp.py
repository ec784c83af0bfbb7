"""Weights of 16 and 8 bits as their kernels read them: bytes of rows and of outputs."""

from collections.abc import Callable
from typing import Final, NamedTuple

from fastgru.kernels.operands.linear import EDGE_ROWS
from fastgru.simd.groups import (
    BFLOAT16_GROUP,
    INT8_BIAS,
    INT8_GROUP,
    INT8_HEAD,
    INT8_LIMIT,
    INT8_SCALE,
    INT8_UNIT,
)
from fastgru.simd.target import LANES

__all__ = [
    "BFLOAT16_GROUP", "INT8_BIAS", "INT8_GROUP", "INT8_HEAD", "INT8_LIMIT", "INT8_SCALE", "INT8_UNIT", "LEAST_PEAK",
    "LOWP", "MICROKERNELS", "LowpLayout", "quantised_block", "table_row",
]  # fmt: skip

# The largest magnitude of a row below which it counts as zero: 127 divided by it has to be a float32.
LEAST_PEAK: Final = 2.0**-100

_LANES: Final = LANES["float32"]
_BLOCK_BYTES: Final = 1 << 17  # quantised rows stay in the L2 while the panels pass by


class LowpLayout(NamedTuple):
    """depth(K): bytes of one output of a panel. row(K): bytes of a quantised row of K values.

    microkernels: those that quantise rows, and multiply by a panel and by three. uses: the `target.FEATURES` by which
    depth and row differ.
    """

    depth: Callable[[int], int]
    row: Callable[[int], int]
    microkernels: tuple[str, str, str]
    uses: tuple[str, ...]


def _bfloat16_depth(K: int) -> int:
    return (K + BFLOAT16_GROUP - 1) // BFLOAT16_GROUP * BFLOAT16_GROUP * 2


def _bfloat16_row(K: int) -> int:
    return (K + _LANES - 1) // _LANES * _LANES * 2


def _int8_depth(K: int) -> int:
    return (K + INT8_GROUP - 1) // INT8_GROUP * INT8_GROUP + INT8_HEAD


def _int8_row(K: int) -> int:
    return INT8_SCALE + (K + _LANES - 1) // _LANES * _LANES * (INT8_UNIT // INT8_GROUP)


LOWP: Final = {
    "bfloat16": LowpLayout(
        _bfloat16_depth, _bfloat16_row, ("bfloat16_quantise", "bfloat16_panel", "bfloat16_gates"), ()
    ),
    "int8": LowpLayout(_int8_depth, _int8_row, ("int8_quantise", "int8_panel", "int8_gates"), ("vnni", "dotprod")),
}
MICROKERNELS: Final = tuple(name for layout in LOWP.values() for name in layout.microkernels)


def quantised_block(rows: int, K: int, precision: str) -> tuple[int, int]:
    """(rows that are quantised at once for a linear layer, bytes that they take)"""
    row = LOWP[precision].row(K)
    block = max(1, min(rows, max(EDGE_ROWS, _BLOCK_BYTES // max(row, 1))))
    return block, block * row


def table_row(D: int) -> int:
    """Bytes of a row of a table of D values in int8: its scale (float32) first, whole words."""
    return 4 + (D + 3) // 4 * 4
