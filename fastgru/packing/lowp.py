"""Matrices of 16 and 8 bits as panels of outputs, in the bytes that `fastgru.kernels.lowp` reads.

The order of panels and groups is that of `fastgru.packing.panels`. Inside a panel of `count` outputs, k lies group by
group (`simd.dot`), and the numbers of an output's group are adjacent. With int8, `count` starts (int32) and `count`
scales (float32) come first. k is padded with zeros to whole groups, with AMX to whole tiles.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fastgru.graph import Array
from fastgru.kernels.operands.lowp import LOWP, table_row
from fastgru.packing.aligned import zeros
from fastgru.packing.panels import padded, panels
from fastgru.packing.quantise import (
    QuantisedRows,
    dequantise_rows,
    quantise_rows,
    round_bfloat16,
    widen_bfloat16,
)
from fastgru.simd.groups import BFLOAT16_GROUP, INT8_BIAS, INT8_GROUP, INT8_HEAD

__all__ = ["pack_bytes", "pack_lowp", "pack_rows", "unpack_lowp", "unpack_rows"]

Bytes = NDArray[np.uint8]

_GROUPS: Final = {"bfloat16": BFLOAT16_GROUP, "int8": INT8_GROUP}
_VALUES: Final = {"bfloat16": np.uint16, "int8": np.int8}
_HEADS: Final = {"bfloat16": 0, "int8": INT8_HEAD}


def _depth(precision: str, K: int) -> int:
    return LOWP[precision].depth(K)


def _blocks(flat: Bytes, precision: str, groups: int, O: int, K: int) -> Iterator[tuple[int, int, int, Bytes, Array]]:
    """Yield (group, first output, outputs without padding, head, values) of each panel.

    values: (units, outputs, k of a unit).
    """
    depth, group, head = _depth(precision, K), _GROUPS[precision], _HEADS[precision]
    for first, count in panels(O, np.float32):
        for g in range(groups):
            at = (groups * first + g * count) * depth
            block = flat[at : at + count * depth]
            values = block[head * count :].view(_VALUES[precision]).reshape(-1, count, group)
            yield g, first, min(count, O - first), block[: head * count], values


def pack_lowp(matrices: Sequence[Array | QuantisedRows], precision: str) -> Bytes:
    """Pack matrices (O, K), all of one shape, into one flat array of bytes."""
    groups, (O, K) = len(matrices), matrices[0].shape
    flat = zeros(groups * padded(O, np.float32) * _depth(precision, K), np.uint8)
    for g, first, kept, head, values in _blocks(flat, precision, groups, O, K):
        rows = matrices[g][first : first + kept]
        if precision == "int8":
            _fill_int8(head, values, *quantise_rows(rows))
        else:
            _fill(values, round_bfloat16(np.asarray(rows)))
    return flat


def pack_bytes(matrix: NDArray[np.int8]) -> Bytes:
    """Pack a matrix (O, K) of int8 unchanged, with every scale 1; `unpack_lowp` returns it."""
    O, K = matrix.shape
    flat = zeros(padded(O, np.float32) * _depth("int8", K), np.uint8)
    for _, first, kept, head, values in _blocks(flat, "int8", 1, O, K):
        _fill_int8(head, values, matrix[first : first + kept], np.ones(kept, np.float32))
    return flat


def _fill(values: Array, rows: Array) -> Array:
    """Write rows of a panel into its values, group by group, and return the rows with all padding."""
    units, count, group = values.shape
    whole = np.zeros((count, units * group), values.dtype)
    whole[: len(rows), : rows.shape[1]] = rows
    values[...] = whole.reshape(count, units, group).swapaxes(0, 1)
    return whole


def _fill_int8(head: Bytes, values: Array, rows: NDArray[np.int8], scale: NDArray[np.float32]) -> None:
    whole, count = _fill(values, rows), values.shape[1]
    head[: 4 * count].view(np.int32)[:] = -INT8_BIAS * whole.astype(np.int64).sum(axis=1)
    head[4 * count :].view(np.float32)[: len(rows)] = scale


def unpack_lowp(flat: Bytes, precision: str, groups: int, O: int, K: int) -> list[Array]:
    """Return the matrices that the kernels multiply by, as float32. Packing these again gives the same bytes."""
    matrices = [np.empty((O, K), np.float32) for _ in range(groups)]
    for g, first, kept, head, values in _blocks(flat, precision, groups, O, K):
        units, count, group = values.shape
        whole = values.swapaxes(0, 1).reshape(count, units * group)[:kept, :K]
        if precision == "int8":
            matrices[g][first : first + kept] = dequantise_rows(whole, head[4 * count :].view(np.float32)[:kept])
        else:
            matrices[g][first : first + kept] = widen_bfloat16(whole)
    return matrices


def pack_rows(table: Array | QuantisedRows, precision: str) -> Bytes:
    """Pack a table (V, D) as `kernels.embedding` reads it: rows of values, with int8 each after its scale (float32)."""
    if precision == "bfloat16":
        bits = round_bfloat16(np.asarray(table))
        rows = zeros(bits.shape, np.uint16)
        rows[...] = bits
        return rows.view(np.uint8)
    V, D = table.shape
    rows = zeros((V, table_row(D)), np.uint8)
    q, scale = quantise_rows(table)
    rows[:, :4], rows[:, 4 : 4 + D] = scale[:, None].view(np.uint8), q.view(np.uint8)
    return rows


def unpack_rows(rows: Bytes, precision: str, D: int) -> Array:
    """Return the table that `pack_rows` has packed, in the values that a look-up returns."""
    if precision == "bfloat16":
        return widen_bfloat16(rows.view(np.uint16))
    scale = np.ascontiguousarray(rows[:, :4]).view(np.float32)[:, 0]
    return dequantise_rows(rows[:, 4 : 4 + D].view(np.int8), scale)
