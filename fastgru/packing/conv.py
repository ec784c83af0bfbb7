"""Weights of a convolution in the layout of its tiles: a few output channels side by side, tap by tap.

A matrix (O, K) has O outputs in groups of equal size, and K inputs for each. The outputs of a group are divided into
tiles (`CHANNEL_TILES`, widest first). A tile of M outputs is K runs of M numbers. No output is padded.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastgru.graph import Array
from fastgru.kernels.operands.conv import CHANNEL_TILES
from fastgru.packing.aligned import empty
from fastgru.packing.panels import pack_matrices, padded, unpack_matrices

__all__ = ["pack_kernels", "pack_panels", "tiles", "unpack_kernels", "unpack_panels"]


def tiles(O: int, groups: int) -> Iterator[tuple[int, int]]:
    """Yield (first output, outputs) of each tile."""
    each = O // groups
    for g in range(groups):
        first, left = g * each, each
        while left:
            count = next(m for m in CHANNEL_TILES if m <= left)
            yield first, count
            first += count
            left -= count


def pack_kernels(matrices: list[Array], groups: int, dtype: Any) -> Array:
    """Pack matrices (O, K), each with its own K, one after the other into one flat array."""
    flat = empty((sum(m.size for m in matrices),), dtype)
    at = 0
    for matrix in matrices:
        O, K = matrix.shape
        for first, count in tiles(O, groups):
            flat[at : at + K * count].reshape(K, count)[...] = matrix[first : first + count].T
            at += K * count
    return flat


def unpack_kernels(flat: Array, groups: int, O: int, inputs: list[int]) -> list[Array]:
    """Return the matrices that `pack_kernels` has packed; `inputs` gives the K of each."""
    matrices, at = [], 0
    for K in inputs:
        matrix = np.empty((O, K), flat.dtype)
        for first, count in tiles(O, groups):
            matrix[first : first + count] = flat[at : at + K * count].reshape(K, count).T
            at += K * count
        matrices.append(matrix)
    return matrices


def pack_panels(matrices: list[Array], groups: int, dtype: Any) -> Array:
    """Pack matrices (O, K), each with its own K, as the panels of each group of outputs, one after the other."""
    if not matrices:
        return empty((0,), dtype)
    each = [pack_matrices([some], dtype) for matrix in matrices for some in np.split(matrix, groups)]
    flat = empty((sum(a.size for a in each),), dtype)
    return np.concatenate(each, out=flat)


def unpack_panels(flat: Array, groups: int, O: int, inputs: list[int]) -> list[Array]:
    """Return the matrices that `pack_panels` has packed; `inputs` gives the K of each."""
    matrices, at = [], 0
    for K in inputs:
        size = padded(O // groups, flat.dtype) * K
        some = [flat[at + g * size : at + (g + 1) * size] for g in range(groups)]
        matrices.append(np.concatenate([unpack_matrices(a, 1, O // groups, K)[0] for a in some]))
        at += groups * size
    return matrices
