"""The common part of GRU, LSTM and RNN: a layer's inputs, outputs and weights, and the operands of each direction."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from fastgru.engine.buffers import itemsize
from fastgru.engine.lowering import Constant, Node, PlanBuilder, Value, View
from fastgru.engine.ops.cast import as_dtype
from fastgru.engine.ops.indexing import checked_lengths
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Array
from fastgru.kernels.operands.activation import ACTIVATION_CODES, activation_parameters
from fastgru.kernels.operands.recurrent import RECURRENT, chunk_steps, recurrent_scratch
from fastgru.kernels.operands.team import step_work
from fastgru.packing.panels import padded
from fastgru.packing.recurrent import PackedRecurrent, pack_recurrent
from fastgru.reference.recurrent import weights_of_each
from fastgru.simd.target import LANES
from fastgru.spec import RecurrentSpec, check_weights

__all__ = ["SequenceLayer"]


class SequenceLayer:
    """A recurrent layer that is about to be emitted.

    Each direction is one instruction, which writes its part of every output row.

    inputs: x, initial_h?, lengths?, mask?, the initial states other than h, then the weights of each direction.
    outputs: y, or the last h if nothing reads y, then every last state.
    """

    def __init__(
        self, builder: PlanBuilder, node: Node, spec: RecurrentSpec, inputs: Sequence[Value | None], weights: Any
    ) -> None:
        """weights: the dataclass for the weights of one direction. Raises `ShapeError` and `UnsupportedModelError`."""
        first = 3 + len(spec.STATES)
        given = [*inputs, *[None] * first][: max(first, len(inputs))]
        self.builder, self.spec = builder, spec
        self.sources, self._keys = given[first:], node.inputs[first:]
        self.weights = _weights_of(node, spec, weights, self.sources)
        assert given[0] is not None
        x = builder.floats(given[0])
        if x.ndim != 3 or x.shape[2] != spec.input_size:
            raise ShapeError(f"{node}: x has shape {x.shape}, expected 3 axes, the last of {spec.input_size}")
        if x.strides[2] != 1 and x.shape[2] > 1:
            x = builder.contiguous(x)
        self._time, self._batch = (1, 0) if spec.batch_first else (0, 1)
        self.x, self.T, self.N = x, x.shape[self._time], x.shape[self._batch]
        D, H = spec.num_directions, spec.hidden_size

        self.y = builder.new((*x.shape[:2], D * H)) if node.outputs[0] else None
        self.last = [builder.new((D, self.N, H)) for _ in spec.STATES]
        self.initial = [
            _checked(builder, node, f"initial_{state}", value, (D, self.N, H), builder.float_dtype)
            for state, value in zip(spec.STATES, [given[1], *given[4:first]], strict=True)
        ]
        lengths = _checked(builder, node, "lengths", given[2], (self.N,), "int64")
        self.lengths = checked_lengths(builder, lengths, self.T)
        self.mask = _checked(builder, node, "mask", given[3], x.shape[:2], "bool")
        self.chunk = chunk_steps(self.T, self.N, H, spec.GATES, itemsize(builder.float_dtype))

    @property
    def outputs(self) -> list[Value]:
        return [self.last[0] if self.y is None else self.y, *self.last]

    def operands(self, d: int) -> dict[str, Any]:
        """Return the operands of direction d that every kind of cell has, without packed weights and scratch."""
        spec, N, H, y = self.spec, self.N, self.spec.hidden_size, self.y
        functions = spec.functions(d)
        given: dict[str, Any] = {"x": self.x, "lengths": self.lengths, "mask": self.mask}
        given["y"] = None if y is None else y.subview((0, 0, d * H), (*y.shape[:2], H))
        for state, before, after in zip(spec.STATES, self.initial, self.last, strict=True):
            given[f"{state}0"] = None if before is None else before.subview((d, 0, 0), (1, N, H))
            given[f"{state}n"] = after.subview((d, 0, 0), (1, N, H))
        given["parameters"] = self.builder.packed(
            (spec.KIND, repr(functions), repr(spec.clip)), lambda: _parameters(spec, d, self.builder.float_dtype)
        )
        for name, view in (("x", self.x), ("y", y), ("mask", self.mask)):
            given[f"{name}_t"] = 0 if view is None else view.strides[self._time]
            given[f"{name}_n"] = 0 if view is None else view.strides[self._batch]
        return given | {
            "T": self.T,
            "N": N,
            "I": spec.input_size,
            "H": H,
            "reverse": spec.direction == "reverse" or d == 1,
            "carry": spec.mask_output == "carry",
            "chunk": self.chunk,
            "work": step_work(N, spec.GATES * H * (spec.input_size + H)),
            "clip": spec.clip is not None,
            "codes": [ACTIVATION_CODES[f.kind] for f in functions],
        }

    def emitted(self, handler: str) -> list[Value]:
        """Emit the instructions of an LSTM or RNN, and return its outputs."""
        builder, spec, N, dtype = self.builder, self.spec, self.N, self.builder.float_dtype
        scratch = recurrent_scratch(N, padded(spec.hidden_size, dtype), spec.GATES, self.chunk, LANES[dtype])
        for d, weights in enumerate(self.weights):
            peepholes = getattr(weights, "peephole", None) is not None
            fields = PackedRecurrent._fields if peepholes else PackedRecurrent._fields[:-1]
            given = {"c0": None, "cn": None, "peephole": None} | self.operands(d)
            given |= self.packed(d, partial(pack_recurrent, spec, weights, dtype), fields)
            given |= {"peepholes": peepholes, "input_forget": getattr(spec, "input_forget", False)}
            given |= {"scratch": builder.new((scratch.total,)), "visible": builder.new((2, N), "int64")}
            builder.emit(handler, dtype, RECURRENT, given)
        return self.outputs

    def packed(self, d: int, pack: Callable[[], Any], fields: Sequence[str], *key: str) -> dict[str, View]:
        """Return the fields of the packed weights of direction d. `pack` is called only if a field is not kept yet."""
        made: list[Any] = []

        def part(field: str) -> Array:
            if not made:
                made.append(pack())
            array: Array = getattr(made[0], field)
            return array

        names = (*self._keys, self.spec.KIND, f"direction {d}", *key)
        return {
            field: self.builder.packed((*names, field), lambda field=field: part(field), self.sources)  # type: ignore[misc]
            for field in fields
        }


def _weights_of(node: Node, spec: RecurrentSpec, kind: Any, arrays: Sequence[Value | None]) -> list[Any]:
    """Return the weights of each direction as its dataclass. The arrays must be constants."""
    if any(a is not None and not isinstance(a, Constant) for a in arrays):
        raise UnsupportedModelError(f"{node}: its weights are computed from the inputs; make them constants")
    plain: list[Any] = [a.matrix if isinstance(a, Constant) else None for a in arrays]
    weights = weights_of_each(kind, spec, plain)
    check_weights(spec, weights, what=str(node))
    return weights


def _checked(
    builder: PlanBuilder, node: Node, name: str, value: Value | None, shape: tuple[int, ...], dtype: str
) -> View | None:
    """Return an optional input converted to `dtype`. Lengths must be integers before the conversion."""
    if value is None:
        return None
    if dtype == "int64" and builder.dtype(value) in ("bool", builder.float_dtype):
        raise ShapeError(f"{node}: {name} has dtype {builder.dtype(value)}, expected an integer")
    if value.shape != shape:
        raise ShapeError(f"{node}: {name} has shape {value.shape}, expected {shape}")
    return builder.contiguous(as_dtype(builder, value, dtype))


def _parameters(spec: RecurrentSpec, d: int, dtype: str) -> Array:
    """Return the parameters of each activation, then the clip."""
    clip = np.array([0 if spec.clip is None else spec.clip], dtype)
    return np.concatenate([*(activation_parameters(f.alpha, f.beta, dtype) for f in spec.functions(d)), clip])
