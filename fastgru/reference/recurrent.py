"""Run a recurrent layer over a sequence, with directions, lengths, a mask and initial states.

Nothing here is fast, and nothing is shared with the kernels.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastgru.errors import ShapeError
from fastgru.graph import Array
from fastgru.reference.dims import Dim, Dims, Facts, Operand, Tie
from fastgru.reference.sizes import Size, multiply
from fastgru.spec import RecurrentSpec, check_weights

__all__ = ["as_dtype", "limited", "recurrent_facts", "unroll", "weights_of_each"]

Cell = Callable[[int, Any, Array, tuple[Array, ...]], tuple[Array, ...]]


def as_dtype(weights: Any, spec: RecurrentSpec, dtype: Any, *, matrices: bool = True) -> Any:
    """Return the arrays of one direction in `dtype`, with zeros for an absent bias.

    matrices: False leaves all arrays but the biases in their own dtype.
    """

    def one(name: str, shape: tuple[int, ...]) -> Array | None:
        array = getattr(weights, name)
        if array is not None:
            return np.asarray(array, dtype) if matrices or name.startswith("bias") else array
        return np.zeros(shape, dtype) if name.startswith("bias") else None

    return type(weights)(*(one(name, shape) for name, shape in spec.weight_shapes.items()))


def limited(spec: RecurrentSpec, a: Array) -> Array:
    """Return `a` clipped as the spec says."""
    return a if spec.clip is None else np.clip(a, -spec.clip, spec.clip)


def unroll(
    spec: RecurrentSpec,
    weights: Sequence[Any],
    cell: Cell,
    x: Array,
    initial: Sequence[Array | None],
    lengths: Array | None = None,
    mask: Array | None = None,
) -> tuple[Array, tuple[Array, ...]]:
    """Run `cell(direction, weights, x_t, states) -> next states` over a sequence.

    Returns y (T, N, D * H), which shows the first state, and each state (D, N, H) after the last step. A cell gets the
    weights of its direction in the dtype of x. x, initial, lengths, mask and the layout are as for
    `fastgru.reference.gru.gru`. Raises `ShapeError` or `SpecError`.
    """
    check_weights(spec, weights)
    if x.ndim != 3 or x.shape[2] != spec.input_size:
        raise ShapeError(f"x: got shape {x.shape}, expected 3 axes, the last of {spec.input_size}")
    if spec.batch_first:
        x = x.swapaxes(0, 1)
        mask = None if mask is None else np.asarray(mask).swapaxes(0, 1)
    T, N, _ = x.shape
    D, H = spec.num_directions, spec.hidden_size
    for name, given in zip(spec.STATES, initial, strict=True):
        if given is not None and np.shape(given) != (D, N, H):
            raise ShapeError(f"{name}0: got shape {np.shape(given)}, expected {(D, N, H)}")
    if mask is not None and mask.shape != (T, N):
        raise ShapeError(f"mask: got shape {mask.shape}, expected {(T, N)}")
    steps = np.full(N, T) if lengths is None else np.asarray(lengths)
    if steps.shape != (N,) or steps.dtype.kind not in "iu" or (N and (steps.min() < 0 or steps.max() > T)):
        raise ShapeError(f"lengths: got {steps.tolist()}, expected {N} integers from 0 to {T}")

    y = np.zeros((T, N, D * H), x.dtype)
    last = tuple(np.zeros((D, N, H), x.dtype) if s is None else np.array(s, dtype=x.dtype) for s in initial)
    for d in range(D):
        backward = spec.direction == "reverse" or d == 1
        states = tuple(s[d] for s in last)
        shown, own = np.zeros((N, H), x.dtype), as_dtype(weights[d], spec, x.dtype)
        for t in reversed(range(T)) if backward else range(T):
            within = (t < steps)[:, None]
            visible = within if mask is None else within & np.asarray(mask[t], dtype=bool)[:, None]
            after = cell(d, own, x[t], states)
            states = tuple(np.where(visible, new, old) for new, old in zip(after, states, strict=True))
            shown = np.where(visible, states[0], shown if spec.mask_output == "carry" else 0)
            y[t, :, d * H : (d + 1) * H] = np.where(within, shown, 0)
        for whole, state in zip(last, states, strict=True):
            whole[d] = state
    return (y.swapaxes(0, 1) if spec.batch_first else y), last


def weights_of_each(kind: Any, spec: RecurrentSpec, weights: Sequence[Array | None]) -> list[Any]:
    """Return the weight inputs of an operator as a `kind` for each direction.

    Absent inputs at the end need not be given. Raises `ShapeError` for too many inputs.
    """
    count = len(spec.weight_shapes)
    most = count * spec.num_directions
    if len(weights) > most:
        raise ShapeError(f"{spec.KIND}: got {len(weights)} weight inputs, expected {most}")
    weights = [*weights, *[None] * (most - len(weights))]
    return [kind(*weights[count * d : count * (d + 1)]) for d in range(spec.num_directions)]


def recurrent_facts(kind: type[RecurrentSpec]) -> Facts:
    """Return the facts of an operator that takes x, initial_h, lengths, mask, other states and weights.

    Its outputs are y and the states.
    """
    first = 3 + len(kind.STATES)

    def dims(x: Operand, *_: Operand | None, spec: Mapping[str, Any]) -> tuple[Dims, ...]:
        form = kind.from_dict(spec)
        outer = list(x.dims[:2]) if x.is_ranked else [Dim(None), Dim(None)]
        state = [Dim(form.num_directions), outer[0 if form.batch_first else 1], Dim(form.hidden_size)]
        return [*outer, Dim(form.output_size)], *[state] * len(kind.STATES)

    def ties(*_: Operand | None, spec: Mapping[str, Any]) -> list[Tie]:
        T, N = (1, 0) if kind.from_dict(spec).batch_first else (0, 1)
        states = [(1, 1), *((i, 1) for i in range(4, first))]
        return [("N", [(0, N), (2, 0), (3, N), *states]), ("T", [(0, T), (3, T)])]

    def domains(x: Operand, *_: Operand | None, spec: Mapping[str, Any]) -> dict[int, tuple[str, Size]]:
        return {2: ("lengths", x.sizes[1 if kind.from_dict(spec).batch_first else 0]), 3: ("mask", 2)}

    def weights(inputs: int, spec: Mapping[str, Any]) -> dict[int, int | None]:
        names = list(kind.from_dict(spec).weight_shapes)
        each = ((i, names[(i - first) % len(names)]) for i in range(first, inputs))
        return {i: 0 if name.startswith("weight") else None for i, name in each}

    def flops(x: Operand, *_: Operand | None, spec: Mapping[str, Any]) -> Size:
        form = kind.from_dict(spec)
        each = 2 * form.GATES * form.hidden_size * (form.input_size + form.hidden_size)
        return multiply(*x.sizes[:2], form.num_directions * each)

    def mixes(*_: Operand | None, spec: Mapping[str, Any]) -> dict[int, bool]:
        form = kind.from_dict(spec)
        return {1 if form.batch_first else 0: form.direction != "forward"}

    return Facts(dims, ties=ties, weights=weights, flops=flops, domains=domains, mixes=mixes)
