"""The gradient of a GRU: the chain rule through the formulas of `fastgru.reference.gru`, one time step after another.

With a_r, a_z, a_n the arguments of f and g, q = h Rn^T + b_hn, and d.. short for dE/d..:

    h' = z * h + (1 - z) * n         dz = dh' * (h - n)       dn = dh' * (1 - z)       dh = dh' * z + ...
    z = f(a_z), n = g(a_n)           da_z = dz * f'(a_z)      da_n = dn * g'(a_n)
    reset after:  a_n = x Wn^T + b_in + r * q                 dr = da_n * q            dq = da_n * r
    reset before: a_n = x Wn^T + b_in + (r * h) Rn^T + b_hn   dr = (da_n Rn) * h
    r = f(a_r)                       da_r = dr * f'(a_r)

A preactivation that is clipped has the slope 0. The Jacobian of the step carries the gradient back from h' to h,

    dh'/dh = diag(z) + diag((h - n) f'(a_z)) Rz + diag((1 - z) g'(a_n)) dq,
    reset after:  dq = diag(r) Rn + diag(q f'(a_r)) Rr        reset before: dq = Rn (diag(r) + diag(h f'(a_r)) Rr)

and the product of these Jacobians over the steps decides whether a gradient vanishes or explodes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastgru.graph import Array
from fastgru.reference.gradients.elementwise import slope
from fastgru.reference.gradients.recurrent import Back, back_through_time
from fastgru.reference.gradients.registry import Gradients, gradient
from fastgru.reference.gru import activate
from fastgru.reference.recurrent import as_dtype, limited, unroll, weights_of_each
from fastgru.spec import Activation, GRUSpec, GRUWeights

__all__ = ["Gates", "gates_of", "gru_back", "gru_cell_back", "gru_cell_jacobians"]


class Gates(NamedTuple):
    """The gates of one step of one direction, their slopes, and q; all (N, H)."""

    r: Array
    z: Array
    n: Array
    r_slope: Array
    z_slope: Array
    n_slope: Array
    q: Array  # h Rn^T + b_hn with reset after, r * h with reset before


def _with_slope(spec: GRUSpec, f: Activation, a: Array) -> tuple[Array, Array]:
    """Return f of the clipped preactivation, and its slope by the preactivation."""
    held = limited(spec, a)
    return activate(f, held), np.where(held == a, slope(f, held), 0)


def gates_of(spec: GRUSpec, w: GRUWeights, x: Array, h: Array, direction: int = 0) -> Gates:
    """Return the gates of a step: x (N, I), h (N, H)."""
    f, g = spec.functions(direction)
    full = as_dtype(w, spec, np.result_type(x, h))
    W, R, b_i, b_h = (np.split(a, 3) for a in (full.weight_ih, full.weight_hh, full.bias_ih, full.bias_hh))
    r, r_slope = _with_slope(spec, f, x @ W[0].T + b_i[0] + h @ R[0].T + b_h[0])
    z, z_slope = _with_slope(spec, f, x @ W[1].T + b_i[1] + h @ R[1].T + b_h[1])
    if spec.reset_after:
        q = h @ R[2].T + b_h[2]
        n, n_slope = _with_slope(spec, g, x @ W[2].T + b_i[2] + r * q)
    else:
        q = r * h
        n, n_slope = _with_slope(spec, g, x @ W[2].T + b_i[2] + q @ R[2].T + b_h[2])
    return Gates(r, z, n, r_slope, z_slope, n_slope, q)


def gru_cell_back(
    spec: GRUSpec, weights: GRUWeights, x: Array, h: Array, dh_next: Array, *, direction: int = 0
) -> tuple[Array, Array, list[Array]]:
    """Go one step back: x (N, I), h (N, H) before the step, dE/dh' (N, H) after it.

    Returns dE/dx (N, I), dE/dh (N, H), and dE by weight_ih, weight_hh, bias_ih and bias_hh.
    """
    s = gates_of(spec, weights, x, h, direction)
    W, (R_r, R_z, R_n) = weights.weight_ih, np.split(weights.weight_hh, 3)
    da_n = dh_next * (1 - s.z) * s.n_slope
    da_z = dh_next * (h - s.n) * s.z_slope
    if spec.reset_after:
        dq, d_hidden = da_n * s.r, h
        da_r = da_n * s.q * s.r_slope
        dh = dh_next * s.z + dq @ R_n
    else:
        dq, d_hidden = da_n, s.q
        through = da_n @ R_n  # dE by r * h
        da_r = through * h * s.r_slope
        dh = dh_next * s.z + through * s.r
    dh = dh + da_r @ R_r + da_z @ R_z
    input_side, hidden_side = np.hstack([da_r, da_z, da_n]), np.hstack([da_r, da_z, dq])
    d_hh = np.vstack([da_r.T @ h, da_z.T @ h, dq.T @ d_hidden])
    return input_side @ W, dh, [input_side.T @ x, d_hh, input_side.sum(axis=0), hidden_side.sum(axis=0)]


def gru_cell_jacobians(
    spec: GRUSpec, weights: GRUWeights, x: Array, h: Array, *, direction: int = 0
) -> tuple[Array, Array]:
    """Return dh'/dh (N, H, H) and dh'/dx (N, H, I) of one step; [n, i, j] is dh'_i/dh_j or dh'_i/dx_j in row n."""
    s = gates_of(spec, weights, x, h, direction)
    (W_r, W_z, W_n), (R_r, R_z, R_n) = np.split(weights.weight_ih, 3), np.split(weights.weight_hh, 3)

    def rows(factor: Array, matrix: Array) -> Array:
        """Return diag(factor) matrix, one matrix for each row of `factor`."""
        return factor[:, :, None] * matrix

    def candidate(own: Array, reset: Array, *, by_h: bool) -> Array:
        """Return the slopes of a_n. own: those of the term that no reset gate acts on. reset: those of a_r."""
        if spec.reset_after:
            return own + rows(s.q * s.r_slope, reset) + (rows(s.r, R_n) if by_h else 0)
        return own + R_n @ (rows(h * s.r_slope, reset) + (rows(s.r, np.eye(h.shape[1], dtype=h.dtype)) if by_h else 0))

    keep, new = (h - s.n) * s.z_slope, (1 - s.z) * s.n_slope
    by_h = rows(keep, R_z) + rows(new, candidate(np.zeros_like(R_n), R_r, by_h=True))
    by_x = rows(keep, W_z) + rows(new, candidate(W_n, W_r, by_h=False))
    return by_h + rows(s.z, np.eye(h.shape[1], dtype=h.dtype)), by_x


def gru_back(
    spec: GRUSpec,
    weights: Sequence[GRUWeights],
    x: Array,
    h0: Array | None,
    dy: Array,
    d_last: Array,
    lengths: Array | None = None,
    mask: Array | None = None,
) -> Back:
    """Return the gradients of a whole sequence, in every direction.

    x, h0, lengths and mask: as `fastgru.reference.gru.gru` took them. dy: dE/dy, shaped as y. d_last: dE/dh_n
    (D, N, H).
    """
    own = [as_dtype(w, spec, x.dtype) for w in weights]
    states: list[list[Array]] = [[] for _ in own]

    def forward(d: int, w: GRUWeights, x_t: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        (h,) = state
        states[d].append(h.copy())  # the initial state is a view that the last state overwrites
        s = gates_of(spec, w, x_t, h, d)
        return (np.asarray(s.z * h + (1 - s.z) * s.n),)

    unroll(spec, weights, forward, x, (h0,), lengths, mask)
    before = [part[::-1] if spec.direction == "reverse" or d == 1 else part for d, part in enumerate(states)]

    def back(d: int, x_t: Array, h: Array, dh: Array) -> tuple[Array, Array, Sequence[Array]]:
        return gru_cell_back(spec, own[d], x_t, h, dh, direction=d)

    return back_through_time(spec, back, x, before, lengths, mask, dy, d_last)


@gradient("gru")
def _gru(
    ups: Sequence[Array], inputs: Sequence[Any], outputs: Sequence[Array], *, spec: Mapping[str, Any]
) -> Gradients:
    """The gradients by x, the initial state, and the arrays of each direction."""
    form = GRUSpec.from_dict(spec)
    x, h0, lengths, mask, *arrays = [*inputs, None, None, None][: max(len(inputs), 4)]
    dy = ups[0]
    N = x.shape[0 if form.batch_first else 1]
    last = ups[1] if len(ups) > 1 else np.zeros((form.num_directions, N, form.hidden_size), dy.dtype)
    found = gru_back(form, weights_of_each(GRUWeights, form, arrays), x, h0, dy, last, lengths, mask)
    return [found.x, found.h0, None, None, *(a for each in found.weights for a in each)]
