"""One gate of a GRU, in the forms that books and scripts use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fastgru.conventions import replacing_to_keeping
from fastgru.errors import ShapeError, SpecError, UnsupportedModelError
from fastgru.layers.arrays import as_weight
from fastgru.records import dataclass
from fastgru.spec import Activation, GRUSpec, GRUWeights

__all__ = ["Gate", "GateLike", "stack_gates"]


@dataclass(frozen=True)
class Gate:
    """The weights of one gate of a GRU, which computes f(x weight_ih^T + bias + h weight_hh^T + bias_hh).

    weight_ih: (H, I). weight_hh: (H, H). bias, bias_hh: (H,), or None for zeros.

    The two biases matter separately only in a candidate with reset_after, where the reset gate scales bias_hh but not
    bias. Elsewhere only their sum matters.
    """

    weight_ih: ArrayLike
    weight_hh: ArrayLike
    bias: ArrayLike | None = None
    bias_hh: ArrayLike | None = None

    @classmethod
    def concat(cls, M: ArrayLike, b: ArrayLike | None = None, order: str = "hx", *, transposed: bool = False) -> Self:
        """Build a gate from one matrix M over the concatenation of state and input, as some books write it.

        M: (H, H + I), multiplied as M [h, x]. With transposed, (H + I, H), multiplied as [h, x] M.
        b: (H,), or None for zeros.
        order: "hx" if the state comes first in the concatenation, "xh" if the input does.

        Raises `ShapeError` if M does not fit, and `SpecError` for another order.
        """
        matrix = as_weight("Gate.concat: M", M)
        if order not in ("hx", "xh"):
            raise SpecError(f"Gate.concat: order is {order!r}, expected 'hx' or 'xh'")
        if matrix.ndim != 2:
            raise ShapeError(f"Gate.concat: M has shape {matrix.shape}, expected two axes")
        matrix = matrix.T if transposed else matrix
        H, both = matrix.shape
        if both <= H:
            raise ShapeError(
                f"Gate.concat: M has shape {np.shape(M)}, expected {'(H + I, H)' if transposed else '(H, H + I)'};"
                f" for its transpose give transposed={not transposed}"
            )
        if order == "hx":
            return cls(matrix[:, H:], matrix[:, :H], b)
        return cls(matrix[:, : both - H], matrix[:, both - H :], b)


GateLike = Gate | Sequence[ArrayLike]


def _as_gate(name: str, gate: GateLike) -> dict[str, Any]:
    if not isinstance(gate, Gate):
        if isinstance(gate, np.ndarray) or not isinstance(gate, Sequence) or not 2 <= len(gate) <= 3:
            raise SpecError(
                f"{name}: got {type(gate).__name__}, expected a Gate, or (W, U) or (W, U, b) with W (H, I), U (H, H), b"
                " (H,)"
            )
        gate = Gate(*gate)
    if gate.weight_ih is None or gate.weight_hh is None:
        raise SpecError(f"{name}: a gate needs both W (H, I) and U (H, H), got None")
    return {
        field: None if array is None else as_weight(f"{name}: {field}", array) for field, array in vars(gate).items()
    }


def stack_gates(
    gates: Mapping[str, GateLike],
    *,
    update_gate: str,
    reset_after: bool,
    gate_activation: str | Activation,
    candidate_activation: str | Activation,
    batch_first: bool,
) -> tuple[GRUSpec, GRUWeights]:
    """Return the gates "reset", "update" and "candidate" in the one form of `fastgru.spec`.

    Raises `ShapeError` naming the gate and the array, `SpecError` for an unknown word, `UnsupportedModelError` for an
    update gate that replaces and cannot be converted to one that keeps.
    """
    if update_gate not in ("keeps", "replaces"):
        raise SpecError(f"update_gate is {update_gate!r}, expected 'keeps' or 'replaces'")
    f = _as_activation("gate_activation", gate_activation)
    g = _as_activation("candidate_activation", candidate_activation)
    parts = {name: _as_gate(name, gate) for name, gate in gates.items()}
    spec = _spec_of(parts, reset_after=reset_after, f=f, g=g, batch_first=batch_first)
    H = spec.hidden_size

    def rows(field: str) -> Any:
        """The rows of the three gates, or None if all of them lack this bias."""
        arrays = [part[field] for part in parts.values()]
        if all(array is None for array in arrays):
            return None
        return np.concatenate([np.zeros(H, np.float32) if array is None else array for array in arrays])

    weights = GRUWeights(*map(rows, ("weight_ih", "weight_hh", "bias", "bias_hh")))
    if update_gate == "keeps":
        return spec, weights
    if not f.complements:
        raise UnsupportedModelError(
            f"from_gates: update_gate='replaces' with gate_activation {f.kind!r} (alpha {f.alpha:g}, beta {f.beta:g}):"
            " the exact conversion needs 1 - f(x) = f(-x), as for sigmoid, and for hard_sigmoid with beta 0.5;"
            " fastgru.reference.gru.gru(..., update_gate='replaces') computes this form in NumPy"
        )
    return spec, replacing_to_keeping(weights)


def _as_activation(name: str, given: str | Activation) -> Activation:
    if isinstance(given, Activation):
        return given
    if not isinstance(given, str):
        raise SpecError(f"{name} is {given!r}, expected an Activation, or the name of a kind")
    return Activation(given)


def _spec_of(
    parts: Mapping[str, Mapping[str, Any]],
    *,
    reset_after: bool,
    f: Activation,
    g: Activation,
    batch_first: bool,
) -> GRUSpec:
    W = parts["reset"]["weight_ih"]
    if W.ndim != 2:
        raise ShapeError(f"reset: weight_ih has shape {W.shape}, expected (H, I)")
    H, I = W.shape
    expected = {"weight_ih": (H, I), "weight_hh": (H, H), "bias": (H,), "bias_hh": (H,)}
    faults = [
        f"{name}: {field} has shape {array.shape}, expected {expected[field]}"
        for name, part in parts.items()
        for field, array in part.items()
        if array is not None and array.shape != expected[field]
    ]
    if faults:
        raise ShapeError("; ".join(faults))
    return GRUSpec(
        I,
        H,
        reset_after=reset_after,
        gate_activations=(f,),
        candidate_activations=(g,),
        batch_first=batch_first,
    )
