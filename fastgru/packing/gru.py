"""The packed weights of one direction of a GRU: two panel matrices of three gates, and the biases."""

from typing import Any, NamedTuple

import numpy as np

from fastgru.graph import Array
from fastgru.packing.lowp import pack_lowp, unpack_lowp
from fastgru.packing.panels import pack_matrices, pack_vectors, unpack_matrices, unpack_vectors
from fastgru.packing.quantise import split_rows
from fastgru.spec import GRUSpec, GRUWeights

__all__ = ["PackedGRU", "pack_gru", "unpack_gru"]


class PackedGRU(NamedTuple):
    """The weights of one direction as the kernels read them.
    weight_ih, weight_hh: panels of r, z, n interleaved. bias_x: added to the input GEMM, r, z, n interleaved.
    bias_n: the values from which the sums of the recurrent GEMM of n start.
    """

    weight_ih: Array
    weight_hh: Array
    bias_x: Array
    bias_n: Array


def pack_gru(spec: GRUSpec, weights: GRUWeights, dtype: Any, precision: str | None = None) -> PackedGRU:
    """Pack the weights of one direction.

    dtype: the dtype of biases, and of weights unless a `precision` ("bfloat16" or "int8") is given.

    With the reset gate after the GEMM, b_hn is multiplied by r and stays separate; the other biases are summed.
    """
    H = spec.hidden_size

    def gates(bias: Array | None) -> Array:
        return np.zeros((3, H)) if bias is None else np.asarray(bias).astype(np.float64).reshape(3, H)

    b_i, b_h = gates(weights.bias_ih), gates(weights.bias_hh)
    n_apart = b_h[2] if spec.reset_after else np.zeros(H)
    b_x = [b_i[0] + b_h[0], b_i[1] + b_h[1], b_i[2] + (0 if spec.reset_after else b_h[2])]

    def matrices(stacked: Array) -> Array:
        if precision is None:
            return pack_matrices(np.split(np.asarray(stacked), 3), dtype)
        return pack_lowp(split_rows(stacked, 3), precision)

    return PackedGRU(
        matrices(weights.weight_ih),
        matrices(weights.weight_hh),
        pack_vectors([b.astype(dtype) for b in b_x], H, dtype),
        pack_vectors([n_apart.astype(dtype)], H, dtype),
    )


def unpack_gru(spec: GRUSpec, packed: PackedGRU, precision: str | None = None) -> GRUWeights:
    """Return weights of an equal GRU. Two biases that were summed come back as their sum, in bias_ih."""

    def matrices(flat: Array, K: int) -> Array:
        unpacked = unpack_matrices(flat, 3, H, K) if precision is None else unpack_lowp(flat, precision, 3, H, K)
        return np.concatenate(unpacked)

    H = spec.hidden_size
    bias_hh = np.zeros(3 * H, packed.bias_n.dtype)
    bias_hh[2 * H :] = unpack_vectors(packed.bias_n, 1, H)[0]
    return GRUWeights(
        matrices(packed.weight_ih, spec.input_size),
        matrices(packed.weight_hh, H),
        np.concatenate(unpack_vectors(packed.bias_x, 3, H)),
        bias_hh,
    )
