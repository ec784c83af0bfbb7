"""LSTM and the simple recurrent layer: one instruction a direction, each writing its part of every output row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.buffers import Constant, Value, View, itemsize
from fastgru.engine.builder import PlanBuilder
from fastgru.engine.lowering import lowering
from fastgru.engine.ops.cast import as_dtype
from fastgru.engine.ops.indexing import checked_lengths
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Node
from fastgru.kernels.operands.activation import ACTIVATION_CODES, activation_parameters
from fastgru.kernels.operands.recurrent import chunk_steps, scratch_elements
from fastgru.kernels.operands.team import step_work
from fastgru.packing.recurrent import PackedRecurrent, pack_peephole, pack_recurrent
from fastgru.spec import (
    SIGMOID,
    TANH,
    LSTMSpec,
    LSTMWeights,
    RecurrentSpec,
    RNNSpec,
    RNNWeights,
    check_weights,
)

__all__ = ["checked_input", "lower_lstm", "lower_rnn", "lower_sequence"]

Weights = LSTMWeights | RNNWeights


@lowering("lstm")
def lower_lstm(builder: PlanBuilder, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """x, initial_h?, lengths?, mask?, initial_c?, then the weights -> y, h_n, c_n."""
    spec = LSTMSpec.from_dict(node.attrs["spec"])
    weights = weights_of(node, spec, LSTMWeights, inputs[5:])
    plain = spec.clip is None and not spec.input_forget and all(w.peephole is None for w in weights)
    standard = all(spec.functions(d) == (SIGMOID, TANH, TANH) for d in range(spec.num_directions))
    return lower_sequence(builder, node, "lstm" if plain and standard else "lstm_general", spec, weights, inputs)


@lowering("rnn")
def lower_rnn(builder: PlanBuilder, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """x, initial_h?, lengths?, mask?, then the weights -> y, h_n."""
    spec = RNNSpec.from_dict(node.attrs["spec"])
    return lower_sequence(builder, node, "rnn", spec, weights_of(node, spec, RNNWeights, inputs[4:]), inputs)


def lower_sequence(
    builder: PlanBuilder,
    node: Node,
    handler: str,
    spec: RecurrentSpec,
    weights: Sequence[Any],
    inputs: Sequence[Value | None],
) -> list[Value]:
    """The instructions of every direction, and the values of y and of each state."""
    x_value, h0_value, lengths_value, mask_value = inputs[:4]
    assert x_value is not None
    x = builder.floats(x_value)
    if x.ndim != 3 or x.shape[2] != spec.input_size:
        raise ShapeError(f"{node}: x has shape {x.shape}, expected 3 axes, the last of {spec.input_size}")
    if x.strides[2] != 1 and x.shape[2] > 1:
        x = builder.contiguous(x)
    time, batch = (1, 0) if spec.batch_first else (0, 1)
    T, N, D, H = x.shape[time], x.shape[batch], spec.num_directions, spec.hidden_size
    cell = len(spec.STATES) > 1

    outputs = [*node.outputs, "", "", ""]
    y = builder.new((N, T, D * H) if spec.batch_first else (T, N, D * H)) if outputs[0] else None
    h_n = builder.new((D, N, H))
    c_n = builder.new((D, N, H)) if cell else None
    state = ((D, N, H), builder.float_dtype)
    h0 = checked_input(builder, node, "initial_h", h0_value, *state)
    c0 = checked_input(builder, node, "initial_c", inputs[4], *state) if cell else None
    lengths = checked_lengths(builder, checked_input(builder, node, "lengths", lengths_value, (N,), "int64"), T)
    mask = checked_input(builder, node, "mask", mask_value, x.shape[:2], "bool")
    chunk = chunk_steps(T, N, H, spec.GATES, itemsize(builder.float_dtype))

    for d in range(D):
        functions = spec.functions(d)
        peephole = getattr(weights[d], "peephole", None)
        sources = inputs[3 + len(spec.STATES) :]
        key = (*node.inputs[3 + len(spec.STATES) :], spec.KIND, f"direction {d}")
        tensors: list[View | None] = [
            x,
            None if y is None else y.subview((0, 0, d * H), (*y.shape[:2], H)),
            *(None if s is None else s.subview((d, 0, 0), (1, N, H)) for s in (h0, c0, h_n, c_n)),
            *_packed(builder, spec, weights[d], key, sources),
            None if peephole is None else _packed_peephole(builder, peephole, key, sources),
            lengths,
            mask,
            builder.packed(
                (spec.KIND, repr(functions), repr(spec.clip)),
                lambda d=d: _parameters(spec, d, builder.float_dtype),  # type: ignore[misc]
            ),
            builder.new((scratch_elements(N, H, spec.GATES, chunk, builder.float_dtype),)),
            builder.new((2 * N,), "int64"),
        ]
        y_steps = (0, 0) if y is None else (y.strides[time], y.strides[batch])
        mask_steps = (0, 0) if mask is None else (mask.strides[time], mask.strides[batch])
        words = [T, N, spec.input_size, H, x.strides[time], x.strides[batch], *y_steps, *mask_steps]
        words += [spec.direction == "reverse" or d == 1, spec.mask_output == "carry", chunk]
        words += [step_work(N, spec.GATES * H * (spec.input_size + H)), spec.clip is not None, peephole is not None]
        words += [getattr(spec, "input_forget", False)]
        words += [ACTIVATION_CODES[f.kind] for f in functions]
        builder.emit(handler, builder.float_dtype, tensors, words)
    return [h_n if y is None else y, h_n, *([] if c_n is None else [c_n])]


def weights_of(node: Node, spec: RecurrentSpec, kind: Any, arrays: Sequence[Value | None]) -> list[Any]:
    """The arrays of each direction, which must be constants, as its dataclass."""
    if any(a is not None and not isinstance(a, Constant) for a in arrays):
        raise UnsupportedModelError(f"{node}: weights that are computed from the inputs; make them constants")
    count = len(spec.weight_shapes)
    if len(arrays) > count * spec.num_directions:
        raise ShapeError(f"{node}: {len(arrays)} weight inputs, expected {count * spec.num_directions}")
    plain: list[Any] = [a.array if isinstance(a, Constant) else None for a in arrays]
    plain += [None] * (count * spec.num_directions - len(plain))
    weights = [kind(*plain[count * d : count * (d + 1)]) for d in range(spec.num_directions)]
    check_weights(spec, weights, what=str(node))
    return weights


def checked_input(
    builder: PlanBuilder, node: Node, name: str, value: Value | None, shape: tuple[int, ...], dtype: str
) -> View | None:
    """An optional input of a recurrent layer, in `dtype`; a length must be an integer from the first."""
    if value is None:
        return None
    if dtype == "int64" and builder.dtype(value) in ("bool", builder.float_dtype):
        raise ShapeError(f"{node}: {name} has dtype {builder.dtype(value)}, expected an integer")
    if value.shape != shape:
        raise ShapeError(f"{node}: {name} has shape {value.shape}, expected {shape}")
    return builder.contiguous(as_dtype(builder, value, dtype))


def _packed(
    builder: PlanBuilder, spec: RecurrentSpec, weights: Weights, key: tuple[str, ...], sources: Sequence[Value | None]
) -> list[View]:
    made: list[PackedRecurrent] = []

    def part(field: str) -> NDArray[Any]:
        if not made:
            made.append(pack_recurrent(spec, weights, builder.float_dtype))
        array: NDArray[Any] = getattr(made[0], field)
        return array

    return [
        builder.packed((*key, field), lambda field=field: part(field), sources)  # type: ignore[misc]
        for field in PackedRecurrent._fields
    ]


def _packed_peephole(
    builder: PlanBuilder, peephole: NDArray[Any], key: tuple[str, ...], sources: Sequence[Value | None]
) -> View:
    return builder.packed((*key, "peephole"), lambda: pack_peephole(peephole, builder.float_dtype), sources)


def _parameters(spec: RecurrentSpec, d: int, dtype: str) -> NDArray[Any]:
    """Those of each activation, then the clip."""
    clip = np.array([0 if spec.clip is None else spec.clip], dtype)
    return np.concatenate([*(activation_parameters(f.alpha, f.beta, dtype) for f in spec.functions(d)), clip])
