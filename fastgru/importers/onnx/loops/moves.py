"""Affine forms of nodes that only move elements: the nodes are run on element numbers to see where each one goes."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import FastGRUError
from fastgru.graph import Node
from fastgru.graphbuilder import BuiltNode
from fastgru.importers.onnx.loops.affine import AffineForm, Atom
from fastgru.reference.evaluate import evaluate

__all__ = ["aligned", "constant_form", "moved"]


_MOST_ELEMENTS: Final = 1 << 23


def constant_form(array: Array) -> AffineForm:
    """Return the form of an array that no iteration changes."""
    return AffineForm(array.shape, None, {}, array.reshape(-1).astype(np.float64))


def moved(
    node: BuiltNode, sources: dict[int, AffineForm], arrays: Sequence[Array | None], rows: int
) -> list[AffineForm | None]:
    """Return the forms of the outputs of a node that moves elements; no form for an output that mixes rows.

    sources: the forms of the inputs whose elements move, by input index. arrays: all other inputs.
    """
    given, forms, starts, end = list(arrays), list(sources.values()), [], 1
    for i, form in sources.items():
        count = form.width * (1 if form.axis is None else rows)
        if count > _MOST_ELEMENTS or not count:
            return []
        starts.append(end)
        given[i] = end + _numbered(form, rows)
        end += count
    try:
        names = tuple("" if a is None else "x" for a in given)
        outputs = ("",) * len(node.outputs)
        results = evaluate(Node(node.op, names, outputs, node.attrs), given, max_elements=_MOST_ELEMENTS)
    except FastGRUError:
        return []
    return [_read(codes, forms, np.array(starts), rows) for codes in results]


def _numbered(form: AffineForm, rows: int) -> Array:
    """Return row times width plus column for each element of a value."""
    columns = np.arange(form.width).reshape(form.shape)
    if form.axis is None:
        return columns
    line = np.arange(rows).reshape([rows if i == form.axis else 1 for i in range(len(form.shape))])
    return line * form.width + columns


def _read(codes: Array, forms: Sequence[AffineForm], starts: Array, rows: int) -> AffineForm | None:
    """Return the form whose elements have these numbers, or None."""
    if not codes.size or codes.min() < 1:
        return None
    if len(forms) == 1:
        return _read_one(codes - starts[0], forms[0], rows)
    source = np.searchsorted(starts, codes, side="right") - 1
    widths, fixed = np.array([f.width for f in forms]), np.array([f.axis is None for f in forms])
    place = codes - starts[source]
    row, column = place // widths[source], place % widths[source]
    apart = ~fixed[source]
    axis: int | None = None
    if apart.any():
        for i in range(codes.ndim):
            line = np.arange(codes.shape[i]).reshape([-1 if j == i else 1 for j in range(codes.ndim)])
            same = all((a == a.take([0], i)).all() for a in (source, column))
            if codes.shape[i] == rows and same and (~apart | (row == line)).all():
                axis = i
                break
        else:
            return None
        source, column = source.take([0], axis), column.take([0], axis)
    return _gathered(forms, source.reshape(-1), column.reshape(-1), source.shape, axis)


def _read_one(place: Array, form: AffineForm, rows: int) -> AffineForm | None:
    """As `_read`, for elements that all come from one form. place: row times width plus column."""
    if form.axis is None:
        return form.columns(place, place.shape, None)
    for axis in range(place.ndim):
        first, line = place.take([0], axis), np.arange(place.shape[axis]) * form.width
        away = line.reshape([-1 if i == axis else 1 for i in range(place.ndim)])
        if place.shape[axis] == rows and first.max() < form.width and (place - first == away).all():
            return form.columns(first, first.shape, axis)
    return None


def _gathered(
    forms: Sequence[AffineForm], source: Array, column: Array, shape: tuple[int, ...], axis: int | None
) -> AffineForm:
    if (source == source[0]).all():
        return forms[int(source[0])].columns(column, shape, axis)
    width, terms, bias = source.size, dict[Atom, Array](), np.zeros(source.size)
    for k, form in enumerate(forms):
        at = np.flatnonzero(source == k)
        bias[at] = form.bias[column[at]]
        for atom in form.terms:
            matrix = np.zeros((atom.width, width))
            matrix[:, at] = form.matrix(atom)[:, column[at]]
            before = terms.get(atom)
            if matrix.any():
                terms[atom] = matrix if before is None else before + matrix
    return AffineForm(shape, axis, terms, bias)


def aligned(forms: Sequence[AffineForm], rows: int) -> list[AffineForm] | None:
    """Broadcast forms to a common shape by NumPy's rules; None if their batches lie on different axes."""
    like = forms[0]
    if all(f.shape == like.shape and f.axis == like.axis for f in forms):
        return list(forms)
    rank = max(len(f.shape) for f in forms)
    padded = [
        AffineForm(
            (1,) * (rank - len(f.shape)) + f.shape,
            None if f.axis is None else f.axis + rank - len(f.shape),
            f.terms,
            f.bias,
        )
        for f in forms
    ]
    axes = {f.axis for f in padded if f.axis is not None}
    if len(axes) > 1:
        return None
    axis = next(iter(axes), None)
    narrow = [_one_row(f, axis, rows) for f in padded]
    every = [f for f in narrow if f is not None]
    if len(every) != len(narrow):
        return None
    try:
        shape = np.broadcast_shapes(*(f.shape for f in every))
    except ValueError:
        return None
    return [
        AffineForm(shape, axis, f.terms, f.bias)
        if f.shape == shape
        else f.columns(np.broadcast_to(np.arange(f.width).reshape(f.shape), shape), shape, axis)
        for f in every
    ]


def _one_row(form: AffineForm, axis: int | None, rows: int) -> AffineForm | None:
    """Reduce a form without a batch axis to one row along `axis`; None if its rows differ."""
    if axis is None or form.axis is not None or form.shape[axis] == 1:
        return form
    index = np.arange(form.width).reshape(form.shape)
    first = index.take([0], axis)
    if form.terms or form.shape[axis] != rows or not (form.bias[index] == form.bias[first]).all():
        return None
    return form.columns(first, first.shape, None)
