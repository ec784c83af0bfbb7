"""A GRU cell out of the algebra of a loop's body, proved by numbers.

    h' = z * h + (1 - z) * n     or     (1 - z) * h + z * n

Whatever way a file writes this last line, it is found by trying it on random inputs; the gates are then read off their
affine forms, and the whole cell is compared with the body in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np

from fastgru.arrays import Array
from fastgru.conventions import replacing_to_keeping
from fastgru.errors import FastGRUError
from fastgru.importers.onnx.loops.affine import AffineForm, Atom
from fastgru.reference.gru import gru_cell
from fastgru.spec import Activation, GRUSpec, GRUWeights

__all__ = ["FoundCell", "find_cell"]


_CLOSE: Final = 1e-9
_MAX_BLOCKS: Final = 24


@dataclass(frozen=True)
class FoundCell:
    """A GRU of one direction; sources are the atoms that its input is made of, side by side."""

    spec: GRUSpec
    weights: GRUWeights
    sources: tuple[Atom, ...]


@dataclass(frozen=True)
class _Block:
    """Columns of an activation, as wide as the state."""

    atom: Atom
    index: slice

    @property
    def activation(self) -> Activation:
        assert self.atom.activation is not None
        return self.atom.activation

    def inner(self) -> AffineForm:
        """What the activation is taken of."""
        return self.atom.parts[0].columns(self.index)


def find_cell(
    state: Atom, activations: Sequence[Atom], sources: Sequence[Atom], draws: Sequence[tuple[dict[Atom, Array], Array]]
) -> FoundCell | None:
    """The cell whose next state is what the body computes, None where there is none.

    draws: random inputs by atom, each (rows, width), with the next state (rows, H) that the body makes of them.
    """
    H = state.width
    blocks = [
        _Block(atom, slice(at, at + H)) for atom in activations if atom.width % H == 0 for at in range(0, atom.width, H)
    ][:_MAX_BLOCKS]
    known, expected = draws[0]
    known = dict(known)
    h = known[state]
    values = [AffineForm(b.atom.width, {b.atom: None}).value(known)[:, b.index] for b in blocks]
    for (i, z), (j, n) in product(enumerate(values), enumerate(values)):
        if i == j:
            continue
        for keeps in (True, False):
            u = z if keeps else 1 - z
            if _differ(u * h + (1 - u) * n, expected) <= _CLOSE:
                cell = _read(blocks[i], blocks[j], state, sources, H, keeps)
                if cell is not None and _holds(cell, state, draws):
                    return cell
    return None


def _differ(a: Array, b: Array) -> float:
    return float(np.abs(a - b).max()) if np.isfinite(a).all() and np.isfinite(b).all() else np.inf


def _holds(cell: FoundCell, state: Atom, draws: Sequence[tuple[dict[Atom, Array], Array]]) -> bool:
    for known, expected in draws:
        x = np.concatenate([known[atom] for atom in cell.sources], axis=1)
        if _differ(gru_cell(cell.spec, cell.weights, x, known[state]), expected) > _CLOSE:
            return False
    return True


def _read(z: _Block, n: _Block, state: Atom, sources: Sequence[Atom], H: int, keeps: bool) -> FoundCell | None:
    inner = n.inner()
    products = [atom for atom in inner.terms if len(atom.parts) == 2]
    if len(products) != 1 or not set(inner.terms) <= {*sources, *products}:
        return None
    for a, b in (products[0].parts, products[0].parts[::-1]):
        r = _selected(a, H)
        if r is None or r.activation != z.activation or b.width != H:
            continue
        recurrent = _candidate(inner.matrix(products[0]), b, state)
        gates = [r.inner(), z.inner()]
        if recurrent is None or any(not set(g.terms) <= {*sources, state} for g in gates):
            continue
        reset_after, R_n, b_hn = recurrent
        used = tuple(s for s in sources if any(s in form.terms for form in (*gates, inner)))
        if not used:
            continue
        weights = GRUWeights(
            np.concatenate([np.concatenate([f.matrix(s) for s in used]).T for f in (*gates, inner)]),
            np.concatenate([*(g.matrix(state).T for g in gates), R_n.T]),
            np.concatenate([f.wide_bias() for f in (*gates, inner)]),
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


def _selected(form: AffineForm, H: int) -> _Block | None:
    """The columns of one activation that a form is, and nothing else."""
    if form.width != H or len(form.terms) != 1 or form.bias.any():
        return None
    atom = next(iter(form.terms))
    matrix = form.matrix(atom)
    if atom.activation is None or atom.width % H:
        return None
    for at in range(0, atom.width, H):
        if np.array_equal(matrix[at : at + H], np.eye(H)) and np.count_nonzero(matrix) == H:
            return _Block(atom, slice(at, at + H))
    return None


def _candidate(matrix: Array, other: AffineForm, state: Atom) -> tuple[bool, Array, Array] | None:
    """(reset after, R_n transposed, b_hn) where the candidate reads (r * other) @ matrix."""
    if set(other.terms) != {state}:
        return None
    H = state.width
    R = other.matrix(state)
    if np.array_equal(R, np.eye(H)) and not other.bias.any():
        return False, matrix, np.zeros(H)
    diagonal = np.diag(matrix)
    if matrix.shape != (H, H) or np.count_nonzero(matrix) != np.count_nonzero(diagonal):
        return None
    return True, R * diagonal, other.wide_bias() * diagonal
