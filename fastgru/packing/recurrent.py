"""The packed weights of one direction of an LSTM or simple recurrent layer: two panel matrices, and the biases."""

from typing import Any, NamedTuple

import numpy as np

from fastgru.graph import Array
from fastgru.packing.aligned import zeros
from fastgru.packing.panels import pack_matrices, pack_vectors, padded, unpack_matrices, unpack_vectors
from fastgru.spec import LSTMWeights, RecurrentSpec, RNNWeights

__all__ = ["PackedRecurrent", "pack_peephole", "pack_recurrent", "unpack_peephole", "unpack_recurrent"]


class PackedRecurrent(NamedTuple):
    """The weights of one direction as the kernels read them.

    weight_ih, weight_hh: panels of the gates interleaved. bias: added to the input GEMM, interleaved in the same way.
    peephole: three vectors, each padded to whole registers, or None.
    """

    weight_ih: Array
    weight_hh: Array
    bias: Array
    peephole: Array | None


def pack_recurrent(spec: RecurrentSpec, weights: LSTMWeights | RNNWeights, dtype: Any) -> PackedRecurrent:
    """Pack the weights of one direction. Gates keep their order; the biases are summed in float64."""
    bias = np.zeros(spec.GATES * spec.hidden_size)
    for given in (weights.bias_ih, weights.bias_hh):
        if given is not None:
            bias = bias + np.asarray(given).astype(np.float64)
    return PackedRecurrent(
        pack_matrices(np.split(np.asarray(weights.weight_ih), spec.GATES), dtype),
        pack_matrices(np.split(np.asarray(weights.weight_hh), spec.GATES), dtype),
        pack_vectors(np.split(bias.astype(dtype), spec.GATES), spec.hidden_size, dtype),
        None if (peephole := getattr(weights, "peephole", None)) is None else pack_peephole(peephole, dtype),
    )


def unpack_recurrent(spec: RecurrentSpec, packed: PackedRecurrent) -> tuple[Array, Array, Array]:
    """Return weight_ih, weight_hh and the sum of the biases."""
    groups, H = spec.GATES, spec.hidden_size
    return (
        np.concatenate(unpack_matrices(packed.weight_ih, groups, H, spec.input_size)),
        np.concatenate(unpack_matrices(packed.weight_hh, groups, H, H)),
        np.concatenate(unpack_vectors(packed.bias, groups, H)),
    )


def pack_peephole(peephole: Array, dtype: Any) -> Array:
    """Pack (3H,) as three vectors, each padded to whole registers."""
    H = len(peephole) // 3
    rows = zeros(3 * padded(H, dtype), dtype)
    rows.reshape(3, -1)[:, :H] = np.asarray(peephole).astype(dtype).reshape(3, H)
    return rows


def unpack_peephole(packed: Array, H: int) -> Array:
    """Return the peephole (3H,) that `pack_peephole` has packed."""
    return packed.reshape(3, -1)[:, :H].reshape(3 * H)
