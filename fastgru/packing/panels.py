"""Matrices as panels of outputs, which `fastgru.kernels.gemm` reads.

`groups` matrices (O, K) of O outputs and K inputs are interleaved. A panel of `width` vectors of outputs holds these
outputs of the first matrix, k by k (K * width * lanes numbers). The panel of the same outputs of the second matrix
follows, and so on; then come the next outputs. Outputs are padded with zeros to whole vectors. The widths come from the
kernel (`PANEL_VECTORS`).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastgru.graph import Array
from fastgru.kernels.operands.gemm import PANEL_VECTORS
from fastgru.packing.aligned import zeros
from fastgru.simd.target import LANES

__all__ = ["pack_matrices", "pack_vectors", "padded", "panels", "unpack_matrices", "unpack_vectors"]


def padded(size: int, dtype: Any) -> int:
    """Return `size` rounded up to whole vectors."""
    lanes = LANES[np.dtype(dtype).name]
    return -(-size // lanes) * lanes


def panels(size: int, dtype: Any) -> Iterator[tuple[int, int]]:
    """Yield (first output, outputs) of each panel that `size` outputs take, padding included."""
    lanes = LANES[np.dtype(dtype).name]
    first, left = 0, padded(size, dtype) // lanes
    while left:
        width = next(w for w in PANEL_VECTORS if w <= left)
        yield first, width * lanes
        first += width * lanes
        left -= width


def pack_matrices(matrices: Sequence[Array], dtype: Any) -> Array:
    """Pack matrices (O, K), all of one shape, into one flat array of groups * padded(O) * K numbers."""
    groups, (O, K) = len(matrices), matrices[0].shape
    flat = zeros(groups * padded(O, dtype) * K, dtype)
    for first, count in panels(O, dtype):
        for g, matrix in enumerate(matrices):
            rows = np.asarray(matrix[first : first + count]).astype(dtype)
            at = (groups * first + g * count) * K
            flat[at : at + count * K].reshape(K, count)[:, : len(rows)] = rows.T
    return flat


def unpack_matrices(flat: Array, groups: int, O: int, K: int) -> list[Array]:
    """Return the matrices that `pack_matrices` has packed."""
    matrices = [np.empty((O, K), flat.dtype) for _ in range(groups)]
    for first, count in panels(O, flat.dtype):
        for g, matrix in enumerate(matrices):
            at = (groups * first + g * count) * K
            kept = min(count, O - first)
            matrix[first : first + kept] = flat[at : at + count * K].reshape(K, count)[:, :kept].T
    return matrices


def pack_vectors(vectors: Sequence[Array | None], size: int, dtype: Any) -> Array:
    """Pack vectors (O,), None for zeros, in the order in which a GEMM of as many groups writes a row."""
    matrices = [np.zeros((size, 1), dtype) if v is None else np.asarray(v).reshape(size, 1) for v in vectors]
    return pack_matrices(matrices, dtype)


def unpack_vectors(flat: Array, groups: int, size: int) -> list[Array]:
    """Return the vectors that `pack_vectors` has packed."""
    return [matrix[:, 0] for matrix in unpack_matrices(flat, groups, size, 1)]
