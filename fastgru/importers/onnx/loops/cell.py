"""Finds a GRU cell in the algebra of a loop's body, and proves it with numbers.

    h' = z * h + (1 - z) * n     or     (1 - z) * h + z * n

Files write this last line in many ways, so z and n are found by evaluating it on random inputs. The gates are then read
off their affine forms, and the whole cell is compared with the body in float64.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

import numpy as np

from fastgru.arrays import Array, in_c_order
from fastgru.conventions import replacing_to_keeping
from fastgru.errors import FastGRUError
from fastgru.importers.onnx.loops.affine import AffineForm, Atom
from fastgru.importers.onnx.loops.draws import product_of_parts
from fastgru.records import dataclass
from fastgru.reference.gru import gru_cell
from fastgru.spec import SIGMOID, TANH, Activation, GRUSpec, GRUWeights

__all__ = ["FoundCell", "Seen", "find_cell"]


# Constants of a file in float32 are rounded: 6 * (1 / 6) differs from 1 by at most this much.
_CLOSE: Final = 5e-7
_MAX_VALUES: Final = 192


@dataclass(frozen=True)
class FoundCell:
    """A GRU of one direction. sources: the atoms that are concatenated to its input."""

    spec: GRUSpec
    weights: GRUWeights
    sources: tuple[Atom, ...]


@dataclass(frozen=True)
class Seen:
    """A value of the body: its form, and its array (rows, width) in the first draw."""

    form: AffineForm
    numbers: Array


@dataclass(frozen=True)
class _Squashed:
    """An activation applied to a form."""

    activation: Activation
    inner: AffineForm


def find_cell(
    state: Atom,
    seen: Sequence[Seen],
    sources: Sequence[Atom],
    draws: Sequence[tuple[dict[Atom, Array], Array]],
) -> FoundCell | None:
    """Return the cell whose next state is the one that the body computes, or None.

    seen: the values of the body that are as wide as the state. draws: random inputs by atom, each (rows, width), with
    the next state (rows, H) that the body computes from them.
    """
    known, expected = draws[0]
    h, bound = known[state], _bound(expected)
    seen = [v for v in seen if v.numbers.shape == h.shape and np.isfinite(v.numbers).all()][:_MAX_VALUES]
    if not seen:
        return None
    few = slice(2)  # two rows suffice to exclude most candidates
    candidates = np.stack([v.numbers[few] for v in seen])
    for z in seen:
        gate = _squashed(z.form)
        if gate is None:
            continue
        for keeps in (True, False):
            u = z.numbers if keeps else 1 - z.numbers
            away = np.abs(u[few] * h[few] + (1 - u[few]) * candidates - expected[few])
            for j in np.flatnonzero((away <= bound[few]).all((1, 2))):
                if not (np.abs(u * h + (1 - u) * seen[j].numbers - expected) <= bound).all():
                    continue
                cell = _read(gate, seen[j].form, state, sources, keeps)
                if cell is not None and _holds(cell, state, draws):
                    return cell
    return None


def _bound(expected: Array) -> Array:
    """Return the tolerance of each row, (rows, 1), from the largest number in rows of its scale (scales alternate)."""
    largest = np.abs(expected).max(1, keepdims=True)
    for rows in (largest[::2], largest[1::2]):
        rows[:] = rows.max(initial=1.0)
    return np.asarray(_CLOSE * largest)


def _holds(cell: FoundCell, state: Atom, draws: Sequence[tuple[dict[Atom, Array], Array]]) -> bool:
    for known, expected in draws:
        x = np.concatenate([known[atom] for atom in cell.sources], axis=1)
        away = np.abs(gru_cell(cell.spec, cell.weights, x, known[state], product=product_of_parts) - expected)
        if not (away <= _bound(expected)).all():
            return False
    return True


def _squashed(form: AffineForm) -> _Squashed | None:
    """Return the activation that a form is, written directly or through another activation; None if it is none."""
    (atom, *more) = form.terms or (None,)
    if atom is None or more or atom.activation is None or form.width != atom.width:
        return None
    scale, shift, f, inner = form.diagonal(atom), form.bias, atom.activation, atom.parts[0]

    def is_(c: float, d: float) -> bool:
        return scale is not None and bool((np.abs(scale - c) <= _CLOSE).all() and (np.abs(shift - d) <= _CLOSE).all())

    if is_(1, 0):
        return _Squashed(f, inner)
    if is_(-1, 1) and f.complements:
        return _Squashed(f, inner.scale(-1.0))
    if is_(0.5, 0.5) and f == TANH:
        return _Squashed(SIGMOID, inner.scale(2.0))
    if is_(2, -1) and f == SIGMOID:
        return _Squashed(TANH, inner.scale(0.5))
    return None


def _read(z: _Squashed, candidate: AffineForm, state: Atom, sources: Sequence[Atom], keeps: bool) -> FoundCell | None:
    n = _squashed(candidate) or _Squashed(Activation("affine"), candidate)
    for r, inner, reset_after, R_n, b_hn in _resets(n.inner, state):
        r, z = _alike(r, z)
        if r.activation != z.activation or not set(inner.terms) <= set(sources):
            continue
        gates = [r.inner, z.inner]
        if any(not set(g.terms) <= {*sources, state} for g in gates):
            continue
        used = tuple(s for s in sources if any(s in form.terms for form in (*gates, inner)))
        if not used:
            continue
        H = state.width
        weights = GRUWeights(
            _stacked([[f.matrix(s) for s in used] for f in (*gates, inner)]),
            _stacked([*([g.matrix(state)] for g in gates), [R_n]]),
            np.concatenate([f.bias for f in (*gates, inner)]),
            np.concatenate([np.zeros(2 * H), b_hn]) if b_hn.any() else None,
        )
        if not keeps:
            if not z.activation.complements:
                return None
            weights = replacing_to_keeping(weights)
        try:
            spec = GRUSpec(
                input_size=sum(s.width for s in used),
                hidden_size=H,
                reset_after=reset_after,
                gate_activations=(z.activation,),
                candidate_activations=(n.activation,),
            )
        except FastGRUError:
            return None
        return FoundCell(spec, weights, used)
    return None


def _stacked(gates: Sequence[Sequence[Array]]) -> Array:
    """Stack the matrices of all gates as (all outputs, all inputs)."""
    H, dtype = gates[0][0].shape[1], np.result_type(*(matrix for matrices in gates for matrix in matrices))
    made = np.empty((len(gates) * H, sum(len(matrix) for matrix in gates[0])), dtype)
    for k, matrices in enumerate(gates):
        starts = [0, *accumulate(len(matrix) for matrix in matrices)]
        for matrix, start in zip(matrices, starts, strict=False):
            in_c_order(matrix.T, made[k * H : (k + 1) * H, start : start + len(matrix)])
    return made


def _alike(a: _Squashed, b: _Squashed) -> tuple[_Squashed, _Squashed]:
    """Rewrite two hard sigmoids of different slopes with slope 1, because a file may write each of them differently."""
    if a.activation == b.activation or {a.activation.kind, b.activation.kind} != {"hard_sigmoid"}:
        return a, b
    plain = Activation("hard_sigmoid", 1.0, 0.5)
    first, second = (_Squashed(plain, s.inner.scale(s.activation.alpha).shift(s.activation.beta - 0.5)) for s in (a, b))
    return first, second


def _resets(inner: AffineForm, state: Atom) -> Iterator[tuple[_Squashed, AffineForm, bool, Array, Array]]:
    """Yield each way to find r * (h R + b) or (r * h) R in the candidate.

    Yields r, the rest of the candidate, whether the reset comes after, R_n transposed, and b_hn.
    """
    products = [atom for atom in inner.terms if len(atom.parts) == 2]
    rest = {atom: matrix for atom, matrix in inner.terms.items() if atom not in products}
    if not products:
        return
    for part in (0, 1):
        r, other = _squashed(products[0].parts[part]), products[0].parts[1 - part]
        if r is None:
            continue
        if len(products) == 1 and _is_state(other, state):
            R_n, b_hn = inner.matrix(products[0]), np.zeros(state.width)
            yield r, AffineForm(inner.shape, inner.axis, rest, inner.bias), False, R_n, b_hn
        after = _after(inner, products, r, state)
        if after is not None:
            R_n, b_hn, left = after
            yield r, AffineForm(inner.shape, inner.axis, left, inner.bias), True, R_n, b_hn


def _is_state(form: AffineForm, state: Atom) -> bool:
    factor = form.diagonal(state) if set(form.terms) == {state} else None
    return factor is not None and bool((factor == 1).all()) and not form.bias.any()


def _after(
    inner: AffineForm, products: Sequence[Atom], r: _Squashed, state: Atom
) -> tuple[Array, Array, dict[Atom, Array]] | None:
    """Return R_n transposed, b_hn and the other terms; None unless all that r multiplies is affine in the state."""
    H = state.width
    factors: list[tuple[Array, Array]] = []
    b_hn, left = np.zeros(H), {}
    for atom in inner.terms:
        gate = _squashed(AffineForm.of(atom, (atom.width,), None)) if atom.activation else None
        factor = inner.diagonal(atom)
        if atom in products:
            both = [(_squashed(a), b) for a, b in (atom.parts, atom.parts[::-1])]
            other = next((b for a, b in both if _same(a, r) and set(b.terms) <= {state}), None)
            if other is None or factor is None:
                return None
            factors.append((other.matrix(state), factor))
            b_hn = b_hn + other.bias * factor
        elif _same(gate, r):
            if factor is None:
                return None
            b_hn = b_hn + factor
        else:
            left[atom] = inner.terms[atom]
    scaled = [matrix if (factor == 1).all() else matrix * factor for matrix, factor in factors]
    return scaled[0] if len(scaled) == 1 else sum(scaled, np.zeros((H, H))), b_hn, left


def _same(a: _Squashed | None, b: _Squashed) -> bool:
    return a is not None and a.activation == b.activation and a.inner.same_as(b.inner)
