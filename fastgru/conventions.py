"""Weights and activations of other conventions, brought to the one form of `fastgru.spec`.

Importers read these layouts from files, the constructors of the layers take them from a user's hands. Each verb says
why it is needed; none changes a value beyond the exact negation of `negate_update`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import ShapeError, SpecError, UnsupportedModelError
from fastgru.spec import ACTIVATIONS, TAKES_ALPHA, TAKES_BETA, Activation, GRUWeights

__all__ = [
    "activation_from_keras",
    "activation_from_onnx",
    "activations_from_onnx",
    "from_keras_gates",
    "from_onnx_gates",
    "negate_update",
    "replacing_to_keeping",
    "swap_zr",
]

Array = NDArray[Any]


def swap_zr(array: Array) -> Array:
    """(3H, ...) in the order z, r, n -> r, z, n: ONNX and Keras put the update gate first, torch and we the reset."""
    z, r, n = np.split(array, 3)
    return np.concatenate((r, z, n))


def negate_update(array: Array) -> Array:
    """(3H, ...) with z's third negated: 1 - f(a) = f(-a) turns a gate that replaces into one that keeps."""
    r, z, n = np.split(array, 3)
    return np.concatenate((r, -z, n))


def replacing_to_keeping(weights: GRUWeights) -> GRUWeights:
    """The weights of h' = (1 - z) * h + z * n as those of h' = z * h + (1 - z) * n: many books write the former.

    Exact where the gate activation satisfies 1 - f(x) = f(-x) (`Activation.complements`), which the caller checks.
    """
    return GRUWeights(
        negate_update(weights.weight_ih),
        negate_update(weights.weight_hh),
        None if weights.bias_ih is None else negate_update(weights.bias_ih),
        None if weights.bias_hh is None else negate_update(weights.bias_hh),
    )


def from_onnx_gates(W: Array, R: Array, B: Array | None = None, *, what: str = "GRU") -> tuple[GRUWeights, ...]:
    """The inputs of ONNX's GRU, one `GRUWeights` a direction.

    W (D, 3H, I), R (D, 3H, H), B (D, 6H) with the input's three biases before the recurrent three, each z, r, n.
    Raises `ShapeError` naming `what` and the array.
    """
    W, R = np.asarray(W), np.asarray(R)
    if R.ndim != 3 or R.shape[1] != 3 * R.shape[2] or R.shape[0] not in (1, 2) or R.shape[2] == 0:
        raise ShapeError(f"{what}: R has shape {R.shape}, expected (D, 3H, H) with D 1 or 2")
    D, H = R.shape[0], R.shape[2]
    if W.ndim != 3 or W.shape[:2] != (D, 3 * H):
        raise ShapeError(f"{what}: W has shape {W.shape}, expected {(D, 3 * H)} and the input size")
    if B is not None:
        B = np.asarray(B)
        if B.shape != (D, 6 * H):
            raise ShapeError(f"{what}: B has shape {B.shape}, expected {(D, 6 * H)}")
    return tuple(
        GRUWeights(
            swap_zr(W[d]),
            swap_zr(R[d]),
            None if B is None else swap_zr(B[d, : 3 * H]),
            None if B is None else swap_zr(B[d, 3 * H :]),
        )
        for d in range(D)
    )


def from_keras_gates(
    kernel: Array, recurrent_kernel: Array, bias: Array | None = None, *, reset_after: bool, what: str = "GRU"
) -> GRUWeights:
    """The arrays of a Keras GRU layer: transposed, because Keras multiplies x @ kernel, and with z before r.

    kernel (I, 3H), recurrent_kernel (H, 3H), bias (2, 3H) with reset_after (the input's, then the recurrent one) or
    (3H,) without, None for none. Raises `ShapeError` naming `what` and the array.
    """
    kernel, recurrent_kernel = np.asarray(kernel), np.asarray(recurrent_kernel)
    H = recurrent_kernel.shape[0] if recurrent_kernel.ndim == 2 else 0
    if H == 0 or recurrent_kernel.shape != (H, 3 * H):
        raise ShapeError(f"{what}: recurrent_kernel has shape {recurrent_kernel.shape}, expected (H, 3H)")
    if kernel.ndim != 2 or kernel.shape[1] != 3 * H:
        raise ShapeError(f"{what}: kernel has shape {kernel.shape}, expected (I, {3 * H})")
    W, R = swap_zr(kernel.T), swap_zr(recurrent_kernel.T)
    if bias is None:
        return GRUWeights(W, R)
    bias = np.asarray(bias)
    expected = (2, 3 * H) if reset_after else (3 * H,)
    if bias.shape != expected:
        raise ShapeError(f"{what}: bias has shape {bias.shape}, expected {expected} for reset_after={reset_after}")
    if not reset_after:
        return GRUWeights(W, R, swap_zr(bias), None)
    return GRUWeights(W, R, swap_zr(bias[0]), swap_zr(bias[1]))


_ONNX_KINDS: Final[Mapping[str, str]] = {kind.replace("_", ""): kind for kind in ACTIVATIONS}


def activation_from_onnx(
    name: str, alpha: float | None = None, beta: float | None = None, *, what: str = "GRU"
) -> Activation:
    """An activation by ONNX's name ("HardSigmoid", in any case), with the defaults of the ONNX operator.

    Raises `UnsupportedModelError` for a name that ONNX's GRU does not list, `SpecError` for a parameter that is NaN.
    """
    kind = _ONNX_KINDS.get(name.lower()) if isinstance(name, str) else None
    if kind is None:
        known = ", ".join(sorted(k.title().replace("_", "") for k in ACTIVATIONS))
        raise UnsupportedModelError(f"{what}: activations names {name!r}; implemented are {known}")
    nan = float("nan")
    if nan_named := [n for n, v in (("alpha", alpha), ("beta", beta)) if v is not None and v != v]:
        raise SpecError(f"{what}: activation {name!r}: {' and '.join(nan_named)} is NaN, expected a number")
    return Activation(kind, nan if alpha is None else alpha, nan if beta is None else beta)


def activations_from_onnx(
    names: Sequence[str] | None,
    alphas: Sequence[float] | None,
    betas: Sequence[float] | None,
    *,
    num_directions: int,
    what: str = "GRU",
) -> tuple[tuple[Activation, ...], tuple[Activation, ...]]:
    """(gate activations, candidate activations), one a direction, of ONNX's three lists, each absent or complete.

    ONNX names f, g of one direction after the other, and hands the alphas (and the betas) out in that order, only to
    functions whose formula has one. A list that runs out leaves the rest at their defaults; a value that nobody
    takes is refused with `UnsupportedModelError`, and so is a wrong number of names; `SpecError` for what is no list.
    """
    names = _listed("activations", names, what) or ["Sigmoid", "Tanh"] * num_directions
    if len(names) != 2 * num_directions:
        raise UnsupportedModelError(
            f"{what}: activations has {len(names)} names, expected {2 * num_directions}: f and g for each direction"
        )
    left = {
        "activation_alpha": _listed("activation_alpha", alphas, what),
        "activation_beta": _listed("activation_beta", betas, what),
    }
    chosen = []
    for name in names:
        kind = activation_from_onnx(name, what=what).kind
        alpha = left["activation_alpha"].pop(0) if kind in TAKES_ALPHA and left["activation_alpha"] else None
        beta = left["activation_beta"].pop(0) if kind in TAKES_BETA and left["activation_beta"] else None
        chosen.append(activation_from_onnx(name, alpha, beta, what=what))
    for attribute, values in left.items():
        if values:
            raise UnsupportedModelError(
                f"{what}: {attribute} has {len(values)} value(s) that none of {', '.join(names)} takes;"
                " give one for each function whose formula names it"
            )
    return tuple(chosen[0::2]), tuple(chosen[1::2])


def _listed(name: str, values: Sequence[Any] | None, what: str) -> list[Any]:
    if values is None:
        return []
    row = isinstance(values, np.ndarray) and values.ndim == 1
    if not row and (isinstance(values, str) or not isinstance(values, Sequence)):
        raise SpecError(f"{what}: {name} is {values!r}, expected a list")
    return list(values)


# Keras 1 and 2 define hard_sigmoid as clip(0.2 x + 0.5, 0, 1), Keras 3 as relu6(x + 3) / 6.
_HARD_SIGMOID: Final[Mapping[int, Activation]] = {
    1: Activation("hard_sigmoid", 0.2, 0.5),
    2: Activation("hard_sigmoid", 0.2, 0.5),
    3: Activation("hard_sigmoid", 1 / 6, 0.5),
}
_KERAS: Final[Mapping[str, Activation]] = {
    "elu": Activation("elu", 1.0),
    "linear": Activation("affine", 1.0, 0.0),
    "relu": Activation("relu"),
    "sigmoid": Activation("sigmoid"),
    "softplus": Activation("softplus"),
    "softsign": Activation("softsign"),
    "tanh": Activation("tanh"),
}


def activation_from_keras(name: str | None, keras_major_version: int, *, what: str = "GRU") -> Activation:
    """An activation by Keras's name, None for linear; hard_sigmoid is another function from Keras 3 on.

    Raises `UnsupportedModelError` for a function that a GRU here cannot compute (selu, exponential, swish...).
    """
    if name is None:
        name = "linear"
    if keras_major_version not in _HARD_SIGMOID:
        raise UnsupportedModelError(f"{what}: Keras {keras_major_version}; known are 1, 2 and 3")
    table = {**_KERAS, "hard_sigmoid": _HARD_SIGMOID[keras_major_version]}
    if keras_major_version > 1:
        table["leaky_relu"] = Activation("leaky_relu", 0.2)
    if not isinstance(name, str) or name not in table:
        raise UnsupportedModelError(
            f"{what}: activation {name!r} is not implemented inside a GRU; there are {', '.join(sorted(table))}"
        )
    return table[name]
