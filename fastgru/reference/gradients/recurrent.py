"""Backpropagation through time: the steps of `fastgru.reference.recurrent.unroll`, from the last to the first.

E depends on the steps of y, and h_t goes into y_t and into h_{t+1}. So dE/dh_t is the sum of the gradient by y_t and
the one that comes back through the next step:

    dE/dh_t = dE/dy_t + dE/dh_{t+1} dh_{t+1}/dh_t

and dE/dW is the sum over the steps of dE/dh_t dh_t/dW, in which h_{t-1} counts as given.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fastgru.graph import Array
from fastgru.spec import RecurrentSpec

__all__ = ["Back", "StepBack", "back_through_time"]

# direction, x_t (N, I), h_{t-1} (N, H), dE/dh_t (N, H) -> dE/dx_t, dE/dh_{t-1}, and dE by each array of the direction
StepBack = Callable[[int, Array, Array, Array], tuple[Array, Array, Sequence[Array]]]


class Back(NamedTuple):
    """dE/dx, shaped as x; dE/dh0 (D, N, H); and for each direction dE by each of its arrays."""

    x: Array
    h0: Array
    weights: list[list[Array]]


def back_through_time(
    spec: RecurrentSpec,
    step: StepBack,
    x: Array,
    before: Sequence[Sequence[Array]],
    lengths: Array | None,
    mask: Array | None,
    dy: Array,
    d_last: Array,
) -> Back:
    """Return the gradients of one layer, from dE/dy, shaped as y, and dE/dh_n (D, N, H).

    before: for each direction, h before each time step (T arrays (N, H)), from the forward pass. x, lengths, mask: as
    in the forward pass. A step beyond a row's length, or hidden by the mask, passes dE/dh on unchanged and reads no x.
    """
    if spec.batch_first:
        x, dy = x.swapaxes(0, 1), dy.swapaxes(0, 1)
        mask = None if mask is None else mask.swapaxes(0, 1)
    T, N, _ = x.shape
    H = spec.hidden_size
    steps = np.full(N, T) if lengths is None else lengths
    dx, dh0 = np.zeros(x.shape, dy.dtype), np.array(d_last)
    weights: list[list[Array]] = []
    for d in range(spec.num_directions):
        backward = spec.direction == "reverse" or d == 1
        dh, d_shown = d_last[d], np.zeros((N, H), dy.dtype)
        sums = [np.zeros(shape, dy.dtype) for shape in spec.weight_shapes.values()]
        for t in range(T) if backward else reversed(range(T)):
            within = (t < steps)[:, None]
            visible = within if mask is None else within & mask[t].astype(bool)[:, None]
            d_shown = d_shown + np.where(within, dy[t, :, d * H : (d + 1) * H], 0)
            dh = dh + np.where(visible, d_shown, 0)
            d_shown = np.where(visible | (spec.mask_output != "carry"), 0, d_shown)
            dx_t, dh_before, found = step(d, np.where(visible, x[t], 0), before[d][t], np.where(visible, dh, 0))
            dx[t] += dx_t
            dh = np.where(visible, dh_before, dh)
            sums = [total + part for total, part in zip(sums, found, strict=True)]
        dh0[d] = dh
        weights.append(sums)
    return Back(dx.swapaxes(0, 1) if spec.batch_first else dx, dh0, weights)
