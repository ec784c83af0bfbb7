"""GRU in float64, or in the dtype of the inputs: the textbook recurrence, one time step in each pass of the loop.

With f the gate activation and g the candidate activation, at each step and row

    r = f(x Wr^T + h Rr^T + b_r)
    z = f(x Wz^T + h Rz^T + b_z)
    n = g(x Wn^T + b_in + r * (h Rn^T + b_hn))       reset after (cuDNN, PyTorch, ONNX linear_before_reset=1)
    n = g(x Wn^T + b_in + (r * h) Rn^T + b_hn)       reset before (Cho et al. 2014, ONNX linear_before_reset=0)
    h' = z * h + (1 - z) * n                         the update gate keeps (PyTorch, ONNX, Keras)
    h' = (1 - z) * h + z * n                         the update gate replaces (Chung et al. 2014)

Nothing here is fast, and nothing is shared with the kernels.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np

from fastgru.reference.attributes import Made
from fastgru.reference.linear import linear
from fastgru.reference.operator import Array, operator
from fastgru.reference.recurrent import as_dtype, limited, recurrent_facts, unroll, weights_of_each
from fastgru.spec import Activation, GRUSpec, GRUWeights

__all__ = ["activate", "gru", "gru_cell"]

Product = Callable[[Array, Array], Array]


def activate(activation: Activation, x: Array) -> Array:
    """Return f(x) for one of the eleven activations that the ONNX operator GRU names."""
    a, b = activation.alpha, activation.beta
    match activation.kind:
        case "affine":
            return a * x + b
        case "elu":
            return np.where(x >= 0, x, a * np.expm1(np.minimum(x, 0)))
        case "hard_sigmoid":
            return np.clip(a * x + b, 0, 1)
        case "leaky_relu":
            return np.where(x >= 0, x, a * x)
        case "relu":
            return np.maximum(x, 0)
        case "scaled_tanh":
            return np.asarray(a * np.tanh(b * x))
        case "sigmoid":
            e = np.exp(-np.abs(x))  # no overflow on either side
            return np.where(x >= 0, 1 / (1 + e), e / (1 + e))
        case "softplus":
            return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
        case "softsign":
            return np.asarray(x / (1 + np.abs(x)))
        case "tanh":
            return np.tanh(x)
        case "thresholded_relu":
            return np.where(np.isnan(x) | (x > a), x, 0 * a)
    raise AssertionError(activation.kind)


def gru_cell(
    spec: GRUSpec,
    weights: GRUWeights,
    x: Array,
    h: Array,
    *,
    direction: int = 0,
    update_gate: str = "keeps",
    product: Product = linear,
) -> Array:
    """Compute one step of one direction: x (N, I), h (N, H) -> h' (N, H).

    product: x (N, I), weight (O, I) -> x weight^T, exact or in a lower precision (`reference.lowp`). Any product but
        `linear` gets the weights in their own dtype.
    update_gate: "keeps" everywhere inside the package. "replaces" is the other form of the textbooks.
    """
    f, g = spec.functions(direction)
    full = as_dtype(weights, spec, np.result_type(x, h), matrices=product is linear)
    W, R, b_i, b_h = (np.split(a, 3) for a in (full.weight_ih, full.weight_hh, full.bias_ih, full.bias_hh))
    r = activate(f, limited(spec, product(x, W[0]) + b_i[0] + product(h, R[0]) + b_h[0]))
    z = activate(f, limited(spec, product(x, W[1]) + b_i[1] + product(h, R[1]) + b_h[1]))
    if spec.reset_after:
        n = activate(g, limited(spec, product(x, W[2]) + b_i[2] + r * (product(h, R[2]) + b_h[2])))
    else:
        n = activate(g, limited(spec, product(x, W[2]) + b_i[2] + product(r * h, R[2]) + b_h[2]))
    if update_gate == "replaces":
        return np.asarray((1 - z) * h + z * n)
    return np.asarray(z * h + (1 - z) * n)


def gru(
    spec: GRUSpec,
    weights: Sequence[GRUWeights],
    x: Array,
    h0: Array | None = None,
    lengths: Array | None = None,
    mask: Array | None = None,
    *,
    update_gate: str = "keeps",
    product: Product = linear,
) -> tuple[Array, Array]:
    """Run a whole sequence, in every direction.

    x (T, N, I), or (N, T, I) with `spec.batch_first`; h0 (D, N, H), zeros if None.
    lengths (N,): row n has steps 0 to lengths[n] - 1. The reverse direction starts at the last of them, outputs beyond
        are zero, and a row of length zero keeps its initial state.
    mask, shaped as the first two axes of x, bool: a hidden step leaves the state as it is; see `spec.mask_output`.

    Returns y (T, N, D * H), or (N, T, D * H), and h_n (D, N, H), the state after the last step of each direction.
    Raises `ShapeError` or `SpecError`.
    """

    def cell(d: int, w: GRUWeights, x_t: Array, states: tuple[Array, ...]) -> tuple[Array, ...]:
        return (gru_cell(spec, w, x_t, *states, direction=d, update_gate=update_gate, product=product),)

    y, (h_n,) = unroll(spec, weights, cell, x, (h0,), lengths, mask)
    return y, h_n


@operator("gru", recurrent_facts(GRUSpec))
def _gru(
    x: Array,
    initial_h: Array | None = None,
    lengths: Array | None = None,
    mask: Array | None = None,
    *weights: Array | None,
    spec: Annotated[Mapping[str, Any], Made(GRUSpec.from_dict)],
) -> tuple[Array, Array]:
    """`gru`, with weight_ih, weight_hh, bias_ih, bias_hh of each direction, one after another."""
    form = GRUSpec.from_dict(spec)
    return gru(form, weights_of_each(GRUWeights, form, weights), x, initial_h, lengths, mask)
