"""The layout of weights of 16 and 8 bits and of quantised rows: bytes of rows and of outputs."""

from collections.abc import Callable
from typing import Final, NamedTuple

from fastgru.kernels.operands.linear import EDGE_ROWS
from fastgru.kernels.operands.recurrent import STEP_ROWS
from fastgru.simd.groups import (
    BFLOAT16_GROUP,
    BFLOAT16_WHOLE,
    INT8_BIAS,
    INT8_GROUP,
    INT8_HEAD,
    INT8_LIMIT,
    INT8_SCALE,
    INT8_UNIT,
    INT8_WHOLE,
)
from fastgru.simd.target import AMX, LANES

__all__ = [
    "BFLOAT16_GROUP", "BFLOAT16_WHOLE", "INT8_BIAS", "INT8_GROUP", "INT8_HEAD", "INT8_LIMIT", "INT8_SCALE", "INT8_UNIT",
    "INT8_WHOLE", "LEAST_PEAK", "LOWP", "LOWP_STEP_ROWS", "MICROKERNELS", "LowpLayout", "quantised_block", "table_row",
]  # fmt: skip

# A row whose magnitudes are all below this counts as zero: 127 divided by a magnitude must be a finite float32.
LEAST_PEAK: Final = 2.0**-100

# Rows of a step whose gate sums are kept at once; with AMX, as many as its tiles multiply at once.
LOWP_STEP_ROWS: Final = 32 if AMX else STEP_ROWS

_LANES: Final = LANES["float32"]
_BFLOAT16_ROW, _INT8_ROW = max(_LANES, BFLOAT16_WHOLE), max(_LANES, INT8_WHOLE)  # rows are padded to multiples of these
_BLOCK_BYTES: Final = 1 << 17  # so that quantised rows stay in the L2 while panels are read


class LowpLayout(NamedTuple):
    """The layout of weights in one precision.

    depth(K): bytes of one output of a panel. row(K): bytes of a quantised row of K values. microkernels: the names of
    those that quantise rows, multiply any number of rows by panels, and multiply one row by three panels. uses: the
    `target.FEATURES` that change the code of handlers with this layout.
    """

    depth: Callable[[int], int]
    row: Callable[[int], int]
    microkernels: tuple[str, str, str]
    uses: tuple[str, ...]


def _bfloat16_depth(K: int) -> int:
    return (K + BFLOAT16_WHOLE - 1) // BFLOAT16_WHOLE * BFLOAT16_WHOLE * 2


def _bfloat16_row(K: int) -> int:
    return (K + _BFLOAT16_ROW - 1) // _BFLOAT16_ROW * _BFLOAT16_ROW * 2


def _int8_depth(K: int) -> int:
    return (K + INT8_WHOLE - 1) // INT8_WHOLE * INT8_WHOLE + INT8_HEAD


def _int8_row(K: int) -> int:
    return INT8_SCALE + (K + _INT8_ROW - 1) // _INT8_ROW * _INT8_ROW * (INT8_UNIT // INT8_GROUP)


# With AMX, one call multiplies by the panels of several gates, so that tiles are configured once for all of them.
_PANELS: Final = "panels" if AMX else "panel"


def _microkernels(precision: str) -> tuple[str, str, str]:
    return f"{precision}_quantise", f"{precision}_{_PANELS}", f"{precision}_gates"


LOWP: Final = {
    "bfloat16": LowpLayout(_bfloat16_depth, _bfloat16_row, _microkernels("bfloat16"), ("amx",)),
    "int8": LowpLayout(_int8_depth, _int8_row, _microkernels("int8"), ("vnni", "dotprod", "amx")),
}
MICROKERNELS: Final = tuple(f"{name}_{what}" for name in LOWP for what in ("quantise", "panel", "panels", "gates"))


def quantised_block(rows: int, K: int, precision: str) -> tuple[int, int]:
    """Return (rows that a linear layer quantises at once, the bytes that they take)."""
    row = LOWP[precision].row(K)
    block = max(1, min(rows, max(EDGE_ROWS, _BLOCK_BYTES // max(row, 1))))
    return block, block * row


def table_row(D: int) -> int:
    """Return the bytes of a table row of D values in int8: its scale (float32) and values, padded to 4 bytes."""
    return 4 + (D + 3) // 4 * 4
