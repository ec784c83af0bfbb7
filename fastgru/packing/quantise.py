"""Weights in 16 and 8 bits: how numbers are rounded, independent of their layout.

bfloat16   rounded to the nearest, halves to even: the upper 16 bits of a float32
int8       q = round(w / s), halves to even, with s = max|w| / 127 of the row, in float32; a row that was
           quantised before keeps its q, see `fastgru.reference.grid`
"""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fastgru.graph import Array
from fastgru.kernels.operands.lowp import LEAST_PEAK
from fastgru.records import dataclass
from fastgru.reference.grid import grid_steps
from fastgru.reference.operand import dtype_name

__all__ = ["QuantisedRows", "dequantise_rows", "quantise_rows", "round_bfloat16", "split_rows", "widen_bfloat16"]


@dataclass(frozen=True, eq=False)
class QuantisedRows:
    """A matrix (O, K) of floats that is kept as q (O, K) int8 and scale (O,) float32.

    `numpy.asarray` converts it to floats.
    """

    q: NDArray[np.int8]
    scale: NDArray[np.float32]
    ndim: ClassVar = 2
    dtype: ClassVar = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.q.shape)

    def __getitem__(self, rows: slice) -> Self:
        return type(self)(self.q[rows], self.scale[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(dequantise_rows(self.q, self.scale), dtype)


def split_rows(matrix: Array | QuantisedRows, count: int) -> list[Any]:
    """Split a matrix into `count` matrices of equally many rows."""
    rows = matrix.shape[0] // count
    return [matrix[i * rows : (i + 1) * rows] for i in range(count)]


def round_bfloat16(a: Array) -> NDArray[np.uint16]:
    """Return the bits of the bfloat16 nearest to each number; NaN stays NaN."""
    if dtype_name(a.dtype) == "bfloat16":
        return np.ascontiguousarray(a).view(np.uint16)
    single = np.ascontiguousarray(a, np.float32)
    bits = single.view(np.uint32)
    rounded = (bits + (0x7FFF + (bits >> 16 & 1))) >> 16
    return np.where(np.isnan(single), bits >> 16 | 0x40, rounded).astype(np.uint16)


def widen_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Convert the bits of bfloat16 to float32, which is exact."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def quantise_rows(w: Array | QuantisedRows) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantise w (O, K) to q (O, K) int8 from -127 to 127 and scale (O,) float32, with w about scale * q.

    A row whose magnitudes are all below `LEAST_PEAK` becomes zero. A matrix that is already quantised does not change.
    """
    if isinstance(w, QuantisedRows):
        return w.q, w.scale
    single = np.asarray(w, np.float32)
    peak = np.abs(single).max(axis=1, initial=0)
    steps = grid_steps(single, peak)
    scale = np.where(peak < LEAST_PEAK, np.float32(0), peak / steps)
    factor = np.divide(steps, peak, out=np.zeros_like(peak), where=scale > 0)
    return np.rint(single * factor[:, None]).astype(np.int8), scale


def dequantise_rows(q: NDArray[np.int8], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return scale * q, row by row. Quantising the result again gives the same q."""
    return q.astype(np.float32) * scale[:, None]
