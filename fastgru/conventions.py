"""Converts weights and activations of other conventions to the one form of `fastgru.spec`.

Importers read these layouts from files, and the constructors of the layers take them from users. Each function says
why it is needed. None changes a value, except for the exact negation of `negate_update`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import ShapeError, SpecError, UnsupportedModelError
from fastgru.nearest import offered
from fastgru.spec import ACTIVATIONS, TAKES_ALPHA, TAKES_BETA, Activation, GRUWeights, LSTMWeights, RNNWeights

__all__ = [
    "SELU",
    "activation_from_keras",
    "activation_from_onnx",
    "activations_from_onnx",
    "from_keras_gates",
    "from_keras_lstm",
    "from_keras_rnn",
    "from_onnx_gates",
    "from_onnx_lstm",
    "from_onnx_rnn",
    "functions_from_onnx",
    "negate_update",
    "output_first",
    "replacing_to_keeping",
    "swap_zr",
]

# Klambauer et al. 2017, "Self-Normalizing Neural Networks": the constants that torch and Keras use.
SELU: Final[Mapping[str, float]] = {
    "alpha": 1.6732632423543772848170429916717,
    "gamma": 1.0507009873554804934193349852946,
}


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
    """The inputs of ONNX's GRU as one `GRUWeights` per direction.

    W (D, 3H, I), R (D, 3H, H), B (D, 6H) with the input's three biases before the recurrent three, each z, r, n.
    Raises `ShapeError` naming `what` and the array.
    """
    each = _onnx_arrays(W, R, B, 3, what)
    return tuple(GRUWeights(*(None if a is None else swap_zr(a) for a in arrays)) for arrays in each)  # type: ignore[arg-type]


def from_onnx_lstm(
    W: Array, R: Array, B: Array | None = None, P: Array | None = None, *, what: str = "LSTM"
) -> tuple[LSTMWeights, ...]:
    """The inputs of ONNX's LSTM as one `LSTMWeights` per direction.

    W (D, 4H, I), R (D, 4H, H), B (D, 8H) with the input's four biases before the recurrent four, P (D, 3H). ONNX
    orders the gates as we do. Raises `ShapeError` naming `what` and the array.
    """
    each = _onnx_arrays(W, R, B, 4, what)
    if P is None:
        return tuple(LSTMWeights(*arrays) for arrays in each)
    D, H = len(each), each[0][1].shape[1]
    P = np.asarray(P)
    if P.shape != (D, 3 * H):
        raise ShapeError(f"{what}: P has shape {P.shape}, expected {(D, 3 * H)}")
    return tuple(LSTMWeights(*arrays, P[d]) for d, arrays in enumerate(each))


def from_onnx_rnn(W: Array, R: Array, B: Array | None = None, *, what: str = "RNN") -> tuple[RNNWeights, ...]:
    """The inputs of ONNX's RNN as one `RNNWeights` per direction: W (D, H, I), R (D, H, H), B (D, 2H).

    Raises `ShapeError` naming `what` and the array.
    """
    return tuple(RNNWeights(*arrays) for arrays in _onnx_arrays(W, R, B, 1, what))


def _onnx_arrays(
    W: Array, R: Array, B: Array | None, gates: int, what: str
) -> list[tuple[Array, Array, Array | None, Array | None]]:
    """(weight_ih, weight_hh, bias_ih, bias_hh) of each direction, with the gates in the order of the file."""
    W, R = np.asarray(W), np.asarray(R)
    G = "" if gates == 1 else gates
    if R.ndim != 3 or R.shape[1] != gates * R.shape[2] or R.shape[0] not in (1, 2) or R.shape[2] == 0:
        raise ShapeError(f"{what}: R has shape {R.shape}, expected (D, {G}H, H) with D 1 or 2")
    D, H = R.shape[0], R.shape[2]
    if W.ndim != 3 or W.shape[:2] != (D, gates * H):
        raise ShapeError(f"{what}: W has shape {W.shape}, expected {(D, gates * H)} and the input size")
    if B is None:
        return [(W[d], R[d], None, None) for d in range(D)]
    B = np.asarray(B)
    if B.shape != (D, 2 * gates * H):
        raise ShapeError(f"{what}: B has shape {B.shape}, expected {(D, 2 * gates * H)}")
    return [(W[d], R[d], B[d, : gates * H], B[d, gates * H :]) for d in range(D)]


def from_keras_gates(
    kernel: Array, recurrent_kernel: Array, bias: Array | None = None, *, reset_after: bool, what: str = "GRU"
) -> GRUWeights:
    """The arrays of a Keras GRU layer, transposed, because Keras computes x @ kernel, and with r before z.

    kernel (I, 3H), recurrent_kernel (H, 3H), bias (2, 3H) with reset_after (the input's, then the recurrent one) or
    (3H,) without; None means no bias. Raises `ShapeError` naming `what` and the array.
    """
    W, R = (swap_zr(a) for a in _keras_matrices(kernel, recurrent_kernel, 3, what))
    if bias is None:
        return GRUWeights(W, R)
    bias, H = np.asarray(bias), R.shape[1]
    expected = (2, 3 * H) if reset_after else (3 * H,)
    if bias.shape != expected:
        raise ShapeError(f"{what}: bias has shape {bias.shape}, expected {expected} for reset_after={reset_after}")
    if not reset_after:
        return GRUWeights(W, R, swap_zr(bias), None)
    return GRUWeights(W, R, swap_zr(bias[0]), swap_zr(bias[1]))


def output_first(array: Array) -> Array:
    """(4H, ...) in the order i, f, c, o -> i, o, f, c: Keras and torch put the output gate last."""
    i, f, c, o = np.split(array, 4)
    return np.concatenate((i, o, f, c))


def from_keras_lstm(
    kernel: Array, recurrent_kernel: Array, bias: Array | None = None, *, what: str = "LSTM"
) -> LSTMWeights:
    """The arrays of a Keras LSTM layer: kernel (I, 4H), recurrent_kernel (H, 4H), bias (4H,), gates i, f, c, o.

    Raises `ShapeError` naming `what` and the array.
    """
    W, R = (output_first(a) for a in _keras_matrices(kernel, recurrent_kernel, 4, what))
    b = _keras_bias(bias, 4 * R.shape[1], what)
    return LSTMWeights(W, R, None if b is None else output_first(b))


def from_keras_rnn(
    kernel: Array, recurrent_kernel: Array, bias: Array | None = None, *, what: str = "SimpleRNN"
) -> RNNWeights:
    """The arrays of a Keras SimpleRNN layer: kernel (I, H), recurrent_kernel (H, H), bias (H,).

    Raises `ShapeError` naming `what` and the array.
    """
    W, R = _keras_matrices(kernel, recurrent_kernel, 1, what)
    return RNNWeights(W, R, _keras_bias(bias, R.shape[1], what))


def _keras_matrices(kernel: Array, recurrent_kernel: Array, gates: int, what: str) -> tuple[Array, Array]:
    """Both matrices transposed, with the gates in Keras's order."""
    kernel, recurrent_kernel = np.asarray(kernel), np.asarray(recurrent_kernel)
    H = recurrent_kernel.shape[0] if recurrent_kernel.ndim == 2 else 0
    if H == 0 or recurrent_kernel.shape != (H, gates * H):
        G = "" if gates == 1 else gates
        raise ShapeError(f"{what}: recurrent_kernel has shape {recurrent_kernel.shape}, expected (H, {G}H)")
    if kernel.ndim != 2 or kernel.shape[1] != gates * H:
        raise ShapeError(f"{what}: kernel has shape {kernel.shape}, expected (I, {gates * H})")
    return kernel.T, recurrent_kernel.T


def _keras_bias(bias: Array | None, size: int, what: str) -> Array | None:
    if bias is not None and np.shape(bias) != (size,):
        raise ShapeError(f"{what}: bias has shape {np.shape(bias)}, expected {(size,)}")
    return None if bias is None else np.asarray(bias)


_ONNX_KINDS: Final[Mapping[str, str]] = {kind.replace("_", ""): kind for kind in ACTIVATIONS}


def activation_from_onnx(
    name: str, alpha: float | None = None, beta: float | None = None, *, what: str = "GRU"
) -> Activation:
    """An activation by ONNX's name ("HardSigmoid", in any case), with the defaults of the ONNX operator.

    Raises `UnsupportedModelError` for a name that ONNX's recurrent operators do not list, `SpecError` for a NaN.
    """
    kind = _ONNX_KINDS.get(name.lower()) if isinstance(name, str) else None
    if kind is None:
        known = ", ".join(sorted(k.title().replace("_", "") for k in ACTIVATIONS))
        raise UnsupportedModelError(f"{what}: activation {name!r} is not implemented; expected one of {known}")
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
    """(gate activations, candidate activations) of a GRU, one per direction; see `functions_from_onnx`."""
    gates, candidates = functions_from_onnx(
        names, alphas, betas, defaults=("Sigmoid", "Tanh"), num_directions=num_directions, what=what
    )
    return gates, candidates


def functions_from_onnx(
    names: Sequence[str] | None,
    alphas: Sequence[float] | None,
    betas: Sequence[float] | None,
    *,
    defaults: Sequence[str],
    num_directions: int,
    what: str,
) -> tuple[tuple[Activation, ...], ...]:
    """For each function of a layer (as many as `defaults`) one `Activation` per direction, from ONNX's three lists.

    Each list is absent or complete. ONNX names f, g (and h) of one direction after the other, and assigns the alphas
    (and the betas) in that order, only to functions whose formula has one. The functions after the end of a list keep
    their defaults. Raises `UnsupportedModelError` for values that no function takes and for a wrong number of names,
    `SpecError` for values that are not lists.
    """
    names = _listed("activations", names, what) or [*defaults] * num_directions
    count = len(defaults)
    if len(names) != count * num_directions:
        letters = {1: "f", 2: "f and g", 3: "f, g and h"}[count]
        raise UnsupportedModelError(
            f"{what}: activations has {len(names)} names, expected {count * num_directions}:"
            f" {letters} for each direction"
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
                f"{what}: {attribute} has {len(values)} value(s) that none of {', '.join(names)} uses;"
                " give one value for each function that uses it"
            )
    return tuple(tuple(chosen[k::count]) for k in range(count))


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
    """An activation by Keras's name; None means linear. hard_sigmoid is a different function from Keras 3 on.

    Raises `UnsupportedModelError` for functions that no recurrent layer here computes (selu, exponential, swish...).
    """
    if name is None:
        name = "linear"
    if keras_major_version not in _HARD_SIGMOID:
        raise UnsupportedModelError(f"{what}: keras_version is {keras_major_version}, expected 1, 2 or 3")
    table = {**_KERAS, "hard_sigmoid": _HARD_SIGMOID[keras_major_version]}
    if keras_major_version > 1:
        table["leaky_relu"] = Activation("leaky_relu", 0.2)
    if not isinstance(name, str) or name not in table:
        raise UnsupportedModelError(
            f"{what}: activation {name!r} is not implemented inside a recurrent layer;"
            f" {offered(str(name), sorted(table))}"
        )
    return table[name]
