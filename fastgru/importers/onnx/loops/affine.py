"""Affine functions of what comes into a loop's body, of activations and of products, along the axis of features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fastgru.arrays import Array
from fastgru.reference.gru import activate
from fastgru.spec import Activation

__all__ = ["AffineForm", "Atom"]


@dataclass(eq=False, frozen=True)
class Atom:
    """Something that is not taken apart: a value that comes in, an activation of a form, or a product of two forms."""

    width: int
    activation: Activation | None = None
    parts: tuple[AffineForm, ...] = ()
    name: str = ""


@dataclass(eq=False, frozen=True)
class AffineForm:
    """sum over atoms of atom @ matrix, plus bias (width,). A matrix (atom's width, width), None for the identity."""

    width: int
    terms: Mapping[Atom, Array | None] = field(default_factory=dict)
    bias: Array = field(default_factory=lambda: np.zeros(1))

    def matrix(self, atom: Atom) -> Array:
        """The matrix of an atom, zeros for one that is not there."""
        if atom not in self.terms:
            return np.zeros((atom.width, self.width))
        matrix = self.terms[atom]
        return np.eye(self.width) if matrix is None else matrix

    def map(self, matrix: Array) -> AffineForm:
        """self @ matrix."""
        terms = {atom: matrix if m is None else m @ matrix for atom, m in self.terms.items()}
        return AffineForm(matrix.shape[1], terms, self.wide_bias() @ matrix)

    def columns(self, index: slice) -> AffineForm:
        """Some of the columns, atoms that do not reach them left out."""
        kept = {atom: self.matrix(atom)[:, index] for atom in self.terms}
        bias = self.wide_bias()[index]
        return AffineForm(bias.size, {atom: m for atom, m in kept.items() if m.any()}, bias)

    def scale(self, factor: Array) -> AffineForm:
        """Each column times a number."""
        width = max(self.width, factor.size)
        if factor.size == 1 and factor.reshape(-1)[0] == 1:
            return self
        row = np.broadcast_to(factor, (width,))
        return AffineForm(width, {a: self.matrix(a) * row for a in self.terms}, self.wide_bias() * row)

    def add(self, other: AffineForm) -> AffineForm:
        """The sum; a form without atoms may have one column for all."""
        width = max(self.width, other.width)
        terms = dict(self.terms)
        for atom in other.terms:
            terms[atom] = self.matrix(atom) + other.matrix(atom) if atom in terms else other.terms[atom]
        return AffineForm(width, terms, self.bias + other.bias)

    def wide_bias(self) -> Array:
        return np.broadcast_to(self.bias, (self.width,))

    def value(self, known: dict[Atom, Array]) -> Array:
        """In numbers (rows, width), for the atoms that come in given as (rows, their width)."""
        rows = len(next(iter(known.values())))
        total = np.zeros((rows, self.width)) + self.bias
        for atom, matrix in self.terms.items():
            if atom not in known:
                parts = [part.value(known) for part in atom.parts]
                product = parts[0] if atom.activation else parts[0] * parts[1]
                known[atom] = activate(atom.activation, product) if atom.activation else product
            total = total + (known[atom] if matrix is None else known[atom] @ matrix)
        return total
