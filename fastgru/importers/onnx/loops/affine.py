"""Affine functions of what comes into a loop's body, of activations and of products, for one row of the batch."""

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
    """Something that is not taken apart: a value that comes in, an activation of a form, or a product of two forms."""

    width: int
    activation: Activation | None = None
    parts: tuple[AffineForm, ...] = ()
    name: str = ""  # of a function that is no activation
    _chosen: dict[bytes, Atom] = field(default_factory=dict)

    def columns(self, index: Array) -> Atom:
        """Of something element-wise some of the elements: the same atom for the same elements."""
        if _is_run(index) and index.size == self.width:
            return self
        key = index.astype(np.int64).tobytes()
        if key not in self._chosen:
            parts = tuple(part.columns(index, (index.size,), None) for part in self.parts)
            self._chosen[key] = Atom(index.size, self.activation, parts)
        return self._chosen[key]


@dataclass(eq=False, frozen=True)
class AffineForm:
    """sum over atoms of atom @ matrix, plus bias (width,).

    A matrix is (atom's width, width), in float32 where it is a part of a constant of the file as it is, else in
    float64, in which everything is computed; (width,) for a diagonal one. shape: of the value for one row, 1 along the
    batch.
    axis: of the batch, None where all rows have the same. Where the elements of a row lie in the value, the shape alone
    says: whatever moves them moves columns.
    """

    shape: tuple[int, ...]
    axis: int | None
    terms: Mapping[Atom, Array]
    bias: Array

    @classmethod
    def of(cls, atom: Atom, shape: tuple[int, ...], axis: int | None) -> AffineForm:
        """An atom itself."""
        return cls(shape, axis, {atom: np.ones(atom.width)}, np.zeros(atom.width))

    @property
    def width(self) -> int:
        return self.bias.size

    def matrix(self, atom: Atom) -> Array:
        """The matrix of an atom, zeros for one that is not there."""
        if atom not in self.terms:
            return np.zeros((atom.width, self.width))
        matrix = self.terms[atom]
        return np.diag(matrix) if matrix.ndim == 1 else matrix

    def diagonal(self, atom: Atom) -> Array | None:
        """What each element of an atom is multiplied with, where the matrix is diagonal."""
        matrix = self.terms[atom]
        if matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]:
            diagonal = np.diagonal(matrix)
            full = matrix[0, 1:].any() or np.count_nonzero(matrix) != np.count_nonzero(diagonal)
            return None if full else np.asarray(diagonal, np.float64)
        return matrix if matrix.ndim == 1 else None

    def columns(self, index: Array, shape: tuple[int, ...], axis: int | None) -> AffineForm:
        """Some of the elements, in another shape; atoms that do not reach them are left out.

        A column of what is element-wise is an atom of its own, so that a gate is one however it was cut out.
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
        """Each column times a number."""
        factor = np.broadcast_to(np.asarray(factor, np.float64), (self.width,))
        if (factor == 1).all():
            return self
        terms = {atom: matrix * factor for atom, matrix in self.terms.items()} if factor.any() else {}
        return AffineForm(self.shape, self.axis, terms, self.bias * factor)

    def add(self, other: AffineForm) -> AffineForm:
        """The sum of two of one shape."""
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
        """A number added to each column."""
        return AffineForm(self.shape, self.axis, self.terms, self.bias + number)

    def flat(self) -> AffineForm:
        """The elements in a row."""
        return AffineForm((self.width,), None, self.terms, self.bias)

    def same_as(self, other: AffineForm) -> bool:
        """Equal to the last bit, element for element."""
        atoms = {*self.terms, *other.terms}
        return np.array_equal(self.bias, other.bias) and all(
            np.array_equal(self.matrix(atom), other.matrix(atom)) for atom in atoms
        )


def _is_run(index: Array) -> bool:
    """Whether numbers go up by one."""
    first, count = int(index[0]) if index.size else 0, index.size
    return count > 0 and int(index[-1]) == first + count - 1 and bool((index == np.arange(first, first + count)).all())
