"""Operators that multiply one value by a constant, or sum it: they multiply the matrices of its affine form."""

from collections.abc import Callable, Sequence

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import FastGRUError
from fastgru.graphbuilder import BuiltNode
from fastgru.importers.onnx.loops.affine import AffineForm
from fastgru.reference.einsum import parse_equation

__all__ = ["contracted"]


def contracted(
    node: BuiltNode, given: Sequence[AffineForm | None], arrays: Sequence[Array | None]
) -> AffineForm | None:
    """Return the form of the output of linear (without its bias), matmul, einsum or a reduction.

    None if both factors are unknown, or if the output is not a linear function of each row by itself.
    """
    if node.op == "reduce":
        return None if given[0] is None else _summed(node, given[0], arrays)
    constant = [a if v is None or v.array is None else v.array for v, a in zip(node.inputs, arrays, strict=True)]
    for i in (0, 1):
        x, other = given[i], constant[1 - i]
        if len(node.inputs) < 2 or other is None or x is None or not x.terms or other.dtype.kind != "f":
            continue
        if other.dtype != np.float32:
            other = other.astype(np.float64)
        if node.op == "einsum":
            return _einsum(node.attrs["equation"], x, other, i) if len(node.inputs) == 2 else None
        return _matmul(x, other.T if node.op == "linear" else other, left=i == 1)
    return None


def _matmul(x: AffineForm, other: Array, *, left: bool) -> AffineForm | None:
    """Return x @ other, or other @ x if `left`."""
    if other.ndim < 1 or not x.shape:
        return None
    vector = len(x.shape) == 1
    if vector and (other.ndim != 2 or x.axis is not None):
        return None
    if vector:
        return _mapped(x, lambda a: a @ (other.T if left else other), None)
    if other.ndim == 1:
        return None
    rank = max(len(x.shape), other.ndim)
    lead = (1,) * (rank - len(x.shape))
    axis = None if x.axis is None else x.axis + len(lead)
    x = AffineForm(lead + x.shape, axis, x.terms, x.bias)
    if axis == (rank - 2 if left else rank - 1):
        return None
    place = rank - 2 if left else rank - 1
    if other.ndim == 2 and x.width == x.shape[place] == other.shape[1 if left else 0]:
        weight = other.T if left else other
        terms = {atom: _times(m, weight) for atom, m in x.terms.items()}
        shape = tuple(weight.shape[1] if k == place else n for k, n in enumerate(x.shape))
        return AffineForm(shape, axis, terms, x.bias @ weight if x.bias.any() else np.zeros(weight.shape[1]))
    at = None if axis is None else axis - (rank - other.ndim)
    if at is not None and 0 <= at < other.ndim - 2 and other.shape[at] != 1:
        return None
    return _mapped(x, (lambda a: np.matmul(other, a)) if left else (lambda a: np.matmul(a, other)), axis)


def _times(matrix: Array, weight: Array) -> Array:
    """Return matrix @ weight; if the matrix is an identity, stored as a diagonal, return the weight itself."""
    if matrix.ndim > 1:
        return np.asarray(np.matmul(matrix, weight, dtype=np.float64))
    return weight if (matrix == 1).all() else matrix[:, None] * weight


def _einsum(equation: str, x: AffineForm, other: Array, i: int) -> AffineForm | None:
    ranks = [len(x.shape), other.ndim]
    try:
        labels, out = parse_equation(equation, ranks if i == 0 else ranks[::-1])
    except FastGRUError:
        return None
    numbers = {label: k + 1 for k, label in enumerate(dict.fromkeys(label for term in labels for label in term))}
    mine, theirs, result = ([numbers[label] for label in term] for term in (labels[i], labels[1 - i], out))
    if len(set(mine)) < len(mine):
        return None
    axis = None
    if x.axis is not None:
        batch = mine[x.axis]
        if batch in theirs or batch not in result:
            return None
        axis = result.index(batch)
    return _mapped(x, lambda a: np.einsum(a, [0, *mine], other, theirs, [0, *result], optimize=True), axis)


def _summed(node: BuiltNode, x: AffineForm, arrays: Sequence[Array | None]) -> AffineForm | None:
    kind, keepdims = node.attrs["kind"], node.attrs.get("keepdims", True)
    axes, rank = node.attrs.get("axes"), len(x.shape)
    if kind not in ("sum", "mean") or not axes or any(v is not None for v in node.inputs[1:]):
        return None
    summed = tuple(a % rank + 1 for a in axes)
    if x.axis is not None and x.axis + 1 in summed:
        return None
    take = np.sum if kind == "sum" else np.mean
    axis = x.axis if x.axis is None or keepdims else x.axis - sum(a <= x.axis for a in summed)
    return _mapped(x, lambda a: take(a, axis=summed, keepdims=keepdims), axis)


def _mapped(x: AffineForm, function: Callable[[Array], Array], axis: int | None) -> AffineForm | None:
    """Apply a linear function to each row of the matrices and to the bias."""
    try:
        bias = function(x.bias.reshape((1, *x.shape)))
        terms = {}
        for atom in x.terms:
            matrix = x.matrix(atom).astype(np.float64, copy=False)
            made = function(matrix.reshape((atom.width, *x.shape))).reshape(atom.width, -1)
            if made.any():
                terms[atom] = made
    except ValueError:
        return None
    return AffineForm(bias.shape[1:], axis, terms, bias.reshape(-1))
