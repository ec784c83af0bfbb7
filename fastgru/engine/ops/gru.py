"""GRU: one instruction a direction, each writing its part of every output row."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.buffers import Constant, Value, View, itemsize
from fastgru.engine.builder import PlanBuilder
from fastgru.engine.lowering import lowering
from fastgru.engine.ops.indexing import checked_lengths
from fastgru.engine.ops.recurrent import checked_input
from fastgru.engine.sharing import choose
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Node
from fastgru.kernels.operands.activation import ACTIVATION_CODES, activation_parameters
from fastgru.kernels.operands.gru import ALONE, chunk_steps, order_words, scratch_elements
from fastgru.kernels.operands.lowp import gathered_elements
from fastgru.kernels.operands.team import step_work
from fastgru.kernels.run import EVERYONE
from fastgru.packing.gru import PackedGRU, pack_gru
from fastgru.precisions import WEIGHT_BYTES
from fastgru.spec import SIGMOID, TANH, GRUSpec, GRUWeights, check_weights

__all__ = ["lower_gru"]


@lowering("gru")
def lower_gru(builder: PlanBuilder, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """x, initial_h?, lengths?, mask? -> y, h_n."""
    spec = GRUSpec.from_dict(node.attrs["spec"])
    given: list[Value | None] = [*inputs, None, None, None][: max(4, len(inputs))]
    x_value, h0_value, lengths_value, mask_value, *arrays = given
    assert x_value is not None
    x = builder.floats(x_value)
    if x.ndim != 3 or x.shape[2] != spec.input_size:
        raise ShapeError(f"{node}: x has shape {x.shape}, expected 3 axes, the last of {spec.input_size}")
    if x.strides[2] != 1 and x.shape[2] > 1:
        x = builder.contiguous(x)
    time, batch = (1, 0) if spec.batch_first else (0, 1)
    T, N, D, H = x.shape[time], x.shape[batch], spec.num_directions, spec.hidden_size

    y_shape = (N, T, D * H) if spec.batch_first else (T, N, D * H)
    wanted = [*node.outputs, "", ""]
    y = builder.new(y_shape) if wanted[0] else None
    h_n = builder.new((D, N, H))
    h0 = checked_input(builder, node, "initial_h", h0_value, (D, N, H), builder.float_dtype)
    lengths = checked_lengths(builder, checked_input(builder, node, "lengths", lengths_value, (N,), "int64"), T)
    mask = checked_input(builder, node, "mask", mask_value, x.shape[:2], "bool")

    weights = _weights(node, spec, arrays)
    size = itemsize(builder.float_dtype)
    chunk = chunk_steps(T, N, H, size)
    lowp = builder.lowp_weights(node)
    sharing = choose(builder.members, T, N, spec, size, WEIGHT_BYTES[lowp or builder.float_dtype])
    builder.gain_s += sharing.gain_s

    gathered = gathered_elements(lowp, N, spec.input_size, H, chunk, ragged=lengths is not None)

    def emit_direction(d: int) -> None:
        gate, candidate = spec.gate_activations[d], spec.candidate_activations[d]
        standard = gate == SIGMOID and candidate == TANH and spec.clip is None
        name = f"gru_reset_{'after' if spec.reset_after else 'before'}{'' if standard else '_general'}"
        name += f"_{lowp}" if lowp else ""
        tensors: list[View | None] = [
            x,
            None if y is None else y.subview((0, 0, d * H), (*y.shape[:2], H)),
            None if h0 is None else h0.subview((d, 0, 0), (1, N, H)),
            h_n.subview((d, 0, 0), (1, N, H)),
            *_packed(builder, node, spec, weights[d], arrays, d, lowp),
            lengths,
            mask,
            builder.packed(
                ("gru", repr(gate), repr(candidate), repr(spec.clip)),
                lambda: _parameters(spec, d, builder.float_dtype),
            ),
            builder.new((scratch_elements(N, H, chunk, builder.float_dtype, builder.members),)),
            None if lengths is None else builder.new((builder.members * order_words(T, N, chunk),), "int64"),
            builder.new((builder.members * gathered,), "uint8" if lowp else None) if gathered else None,
        ]
        y_steps = (0, 0) if y is None else (y.strides[time], y.strides[batch])
        mask_steps = (0, 0) if mask is None else (mask.strides[time], mask.strides[batch])
        words = [T, N, spec.input_size, H, x.strides[time], x.strides[batch], *y_steps, *mask_steps]
        words += [spec.direction == "reverse" or d == 1, spec.mask_output == "carry", chunk]
        words += [ACTIVATION_CODES[gate.kind], ACTIVATION_CODES[candidate.kind], spec.clip is not None, sharing.split]
        words.append(step_work(N, 3 * H * (spec.input_size + H)))
        member = d if sharing.side_by_side else EVERYONE if sharing.split != ALONE else 0
        builder.emit(name, builder.float_dtype, tensors, words, member=member)

    with builder.side_by_side() if sharing.side_by_side else nullcontext():
        for d in range(D):
            emit_direction(d)
    return [h_n if y is None else y, h_n]


def _weights(node: Node, spec: GRUSpec, arrays: Sequence[Value | None]) -> list[GRUWeights]:
    if any(a is not None and not isinstance(a, Constant) for a in arrays):
        raise UnsupportedModelError(f"{node}: weights that are computed from the inputs; make them constants")
    if len(arrays) > 4 * spec.num_directions:
        raise ShapeError(f"{node}: {len(arrays)} weight inputs, expected {4 * spec.num_directions}")
    plain: list[Any] = [a.matrix if isinstance(a, Constant) else None for a in arrays]
    plain += [None] * (4 * spec.num_directions - len(plain))
    weights = [GRUWeights(*plain[4 * d : 4 * d + 4]) for d in range(spec.num_directions)]
    check_weights(spec, weights, what=str(node))
    return weights


def _packed(
    builder: PlanBuilder,
    node: Node,
    spec: GRUSpec,
    weights: GRUWeights,
    sources: Sequence[Value | None],
    d: int,
    lowp: str | None,
) -> list[View]:
    made: list[PackedGRU] = []

    def part(field: str) -> NDArray[Any]:
        if not made:
            made.append(pack_gru(spec, weights, builder.float_dtype, lowp))
        array: NDArray[Any] = getattr(made[0], field)
        return array

    key = (*node.inputs[4:], "after" if spec.reset_after else "before", f"direction {d}", lowp or "")
    return [builder.packed((*key, field), lambda field=field: part(field), sources) for field in PackedGRU._fields]  # type: ignore[misc]


def _parameters(spec: GRUSpec, d: int, dtype: str) -> NDArray[Any]:
    """Those of the gate activation, of the candidate's, then the clip: what the general kernels read."""
    gate, candidate = spec.gate_activations[d], spec.candidate_activations[d]
    clip = np.array([0 if spec.clip is None else spec.clip], dtype)
    both = [activation_parameters(f.alpha, f.beta, dtype) for f in (gate, candidate)]
    return np.concatenate([*both, clip])
