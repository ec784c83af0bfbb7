"""Affine functions of values that come into a loop's body, of activations and of products, for one row of the batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

import numpy as np

from fastgru.arrays import Array
from fastgru.records import dataclass
from fastgru.spec import Activation

__all__ = ["AffineForm", "Atom"]


@dataclass(eq=False, frozen=True)
class Atom:
    """A value that is not decomposed further: an incoming value, an activation of a form, or a product of two forms."""

    width: int
    activation: Activation | None = None
    parts: tuple[AffineForm, ...] = ()
    name: str = ""  # of a function that is not an activation
    _chosen: dict[bytes, Atom] = field(default_factory=dict)

    def columns(self, index: Array) -> Atom:
        """Return the atom of some elements of an element-wise atom; equal indices give the same atom."""
        if _is_run(index) and index.size == self.width:
            return self
        key = index.astype(np.int64).tobytes()
        if key not in self._chosen:
            parts = tuple(part.columns(index, (index.size,), None) for part in self.parts)
            self._chosen[key] = Atom(index.size, self.activation, parts, self.name)
        return self._chosen[key]


@dataclass(eq=False, frozen=True)
class AffineForm:
    """sum over atoms of atom @ matrix, plus bias (width,).

    A matrix is (atom's width, width), or (width,) if it is diagonal. It is float32 if it is an unchanged part of a
    constant of the file, else float64; all arithmetic is in float64. shape: of the value for one row, 1 along the
    batch. axis: of the batch, None if all rows are the same. Columns are in the order of the elements of `shape`;
    operators that move elements move columns.
    """

    shape: tuple[int, ...]
    axis: int | None
    terms: Mapping[Atom, Array]
    bias: Array

    @classmethod
    def of(cls, atom: Atom, shape: tuple[int, ...], axis: int | None) -> AffineForm:
        """Return the form that is the atom itself."""
        return cls(shape, axis, {atom: np.ones(atom.width)}, np.zeros(atom.width))

    @property
    def width(self) -> int:
        return self.bias.size

    def matrix(self, atom: Atom) -> Array:
        """Return the matrix of an atom; zeros for an atom without a term."""
        if atom not in self.terms:
            return np.zeros((atom.width, self.width))
        matrix = self.terms[atom]
        return np.diag(matrix) if matrix.ndim == 1 else matrix

    def diagonal(self, atom: Atom) -> Array | None:
        """Return the factor of each element of an atom if its matrix is diagonal, else None."""
        matrix = self.terms[atom]
        if matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]:
            diagonal = np.diagonal(matrix)
            full = matrix[0, 1:].any() or np.count_nonzero(matrix) != np.count_nonzero(diagonal)
            return None if full else np.asarray(diagonal, np.float64)
        return matrix if matrix.ndim == 1 else None

    def columns(self, index: Array, shape: tuple[int, ...], axis: int | None) -> AffineForm:
        """Return some of the elements, in another shape, without atoms that do not affect them.

        Some columns of an element-wise atom become an atom of their own, so that a gate is one atom however it was cut.
        """
        index = index.reshape(-1)
        run = _is_run(index)
        if run and index.size == self.width:
            return AffineForm(shape, axis, self.terms, self.bias)
        taken = slice(int(index[0]), int(index[0]) + index.size) if run else index  # a view, no copy
        terms: dict[Atom, Array] = {}
        for atom, matrix in self.terms.items():
            apart = matrix.ndim == 1 and atom.parts
            kept = matrix[taken] if apart else self.matrix(atom)[:, taken]
            if kept[:1].any() or kept.any():
                terms[atom.columns(index) if apart else atom] = kept
        return AffineForm(shape, axis, terms, self.bias[taken])

    def scale(self, factor: Array | float) -> AffineForm:
        """Multiply each column by a number."""
        factor = np.broadcast_to(np.asarray(factor, np.float64), (self.width,))
        if (factor == 1).all():
            return self
        terms = {atom: matrix * factor for atom, matrix in self.terms.items()} if factor.any() else {}
        return AffineForm(self.shape, self.axis, terms, self.bias * factor)

    def add(self, other: AffineForm) -> AffineForm:
        """Return the sum of two forms of the same shape."""
        terms = dict(self.terms)
        for atom, matrix in other.terms.items():
            if atom not in terms:
                terms[atom] = matrix
            elif terms[atom].ndim == matrix.ndim:
                terms[atom] = np.add(terms[atom], matrix, dtype=np.float64)
            else:
                terms[atom] = np.add(self.matrix(atom), other.matrix(atom), dtype=np.float64)
        return AffineForm(self.shape, self.axis, terms, self.bias + other.bias)

    def shift(self, number: float) -> AffineForm:
        """Add a number to each column."""
        return AffineForm(self.shape, self.axis, self.terms, self.bias + number)

    def flat(self) -> AffineForm:
        """Return the elements as a vector, without a batch axis."""
        return AffineForm((self.width,), None, self.terms, self.bias)

    def same_as(self, other: AffineForm) -> bool:
        """Return whether two forms are exactly equal, element by element."""
        atoms = {*self.terms, *other.terms}
        return np.array_equal(self.bias, other.bias) and all(
            np.array_equal(self.matrix(atom), other.matrix(atom)) for atom in atoms
        )


def _is_run(index: Array) -> bool:
    """Return whether an index increases by one from element to element."""
    first, count = int(index[0]) if index.size else 0, index.size
    return count > 0 and int(index[-1]) == first + count - 1 and bool((index == np.arange(first, first + count)).all())
