"""How a recurrent layer goes through a sequence: direction, lengths, mask, initial states.

Nothing here is fast, and nothing is shared with the kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import ShapeError
from fastgru.spec import RecurrentSpec

__all__ = ["as_dtype", "limited", "unroll"]

Array = NDArray[Any]
Cell = Callable[[int, Array, tuple[Array, ...]], tuple[Array, ...]]


def as_dtype(weights: Any, spec: RecurrentSpec, dtype: Any) -> Any:
    """The arrays of one direction in `dtype`, zeros for a bias that is absent."""

    def one(name: str, shape: tuple[int, ...]) -> Array | None:
        array = getattr(weights, name)
        if array is not None:
            return np.asarray(array, dtype)
        return np.zeros(shape, dtype) if name.startswith("bias") else None

    return type(weights)(*(one(name, shape) for name, shape in spec.weight_shapes.items()))


def limited(spec: RecurrentSpec, a: Array) -> Array:
    """`a` within the clip of the spec."""
    return a if spec.clip is None else np.clip(a, -spec.clip, spec.clip)


def unroll(
    spec: RecurrentSpec,
    cell: Cell,
    x: Array,
    initial: Sequence[Array | None],
    lengths: Array | None = None,
    mask: Array | None = None,
) -> tuple[Array, tuple[Array, ...]]:
    """y (T, N, D * H), and each state (D, N, H) after the last step, of `cell(direction, x_t, states) -> states`.

    The first state is what y shows. x, initial, lengths and mask as for `fastgru.reference.gru.gru`; so is the layout.
    Raises `ShapeError`.
    """
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
        shown = np.zeros((N, H), x.dtype)
        for t in reversed(range(T)) if backward else range(T):
            within = (t < steps)[:, None]
            visible = within if mask is None else within & np.asarray(mask[t], dtype=bool)[:, None]
            after = cell(d, x[t], states)
            states = tuple(np.where(visible, new, old) for new, old in zip(after, states, strict=True))
            shown = np.where(visible, states[0], shown if spec.mask_output == "carry" else 0)
            y[t, :, d * H : (d + 1) * H] = np.where(within, shown, 0)
        for whole, state in zip(last, states, strict=True):
            whole[d] = state
    return (y.swapaxes(0, 1) if spec.batch_first else y), last
