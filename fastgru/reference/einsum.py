"""Sums of products by Einstein's convention: the notation, and NumPy's own evaluation of it."""

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from fastgru.errors import InvalidModelError, ShapeError
from fastgru.reference.dims import Dim, Dims, Facts, Operand, apart, broadcast_dims, equal
from fastgru.reference.operator import Array, operator, same_dtype
from fastgru.reference.sizes import Size, multiply

__all__ = ["check_equation", "einsum", "label_sizes", "parse_equation"]

Labels = tuple[str, ...]


_TERM: Final = r"[A-Za-z]*(\.{3}[A-Za-z]*)?"
_EQUATION: Final = re.compile(rf"{_TERM}(,{_TERM})*(->{_TERM})?")


def check_equation(*, equation: str) -> None:
    """Raise `InvalidModelError` unless the equation has terms of letters, each with one ellipsis at most."""
    if not _EQUATION.fullmatch(equation.replace(" ", "")):
        raise InvalidModelError(
            f"einsum: equation is {equation!r:.200}, expected terms of letters with at most one ellipsis each"
        )


def parse_equation(equation: str, ranks: Sequence[int]) -> tuple[list[Labels], Labels]:
    """Return the labels of each operand's axes, and of the output's: letters, and "0", "1"... for the axes of "...".

    The axes of an ellipsis are counted from its right end, so that they broadcast by NumPy's rules.

    Raises `InvalidModelError` for an invalid equation, `ShapeError` for operands of other ranks.
    """
    check_equation(equation=equation)
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise InvalidModelError(f"einsum: equation {equation!r} is for {len(terms)} operands, but got {len(ranks)}")
    labels = [_term_labels(term, rank, equation) for term, rank in zip(terms, ranks, strict=True)]
    spread = max((sum(label.isdigit() for label in axes) for axes in labels), default=0)
    dots = tuple(str(i) for i in reversed(range(spread)))
    if not arrow:
        counts = [label for axes in labels for label in axes if label.isalpha()]
        return labels, (*dots, *sorted(label for label in set(counts) if counts.count(label) == 1))
    head, has_dots, tail = right.partition("...")
    if has_dots and "..." not in left:
        raise InvalidModelError(f"einsum: equation {equation!r} has an ellipsis only in its output")
    if spread and not has_dots:
        raise InvalidModelError(f"einsum: equation {equation!r} sums over the axes of its ellipsis, which is undefined")
    output = (*head, *(dots if has_dots else ()), *tail)
    known = {label for axes in labels for label in axes}
    if len(set(output)) != len(output) or not set(output) <= known:
        raise InvalidModelError(f"einsum: equation {equation!r} has an output axis that no operand has")
    return labels, output


def _term_labels(term: str, rank: int, equation: str) -> Labels:
    head, has_dots, tail = term.partition("...")
    spread = rank - len(head) - len(tail)
    if spread < 0 or (spread and not has_dots):
        raise ShapeError(f"einsum: equation {equation!r} has {term!r} for {rank} axes")
    return (*head, *(str(i) for i in reversed(range(spread))), *tail)


def label_sizes(labels: Sequence[Labels], shapes: Sequence[tuple[int, ...]]) -> dict[str, int]:
    """Return the size of every label. Axes of an ellipsis broadcast. Raises `ShapeError` if others do not agree."""
    sizes: dict[str, int] = {}
    for axes, shape in zip(labels, shapes, strict=True):
        for label, size in zip(axes, shape, strict=True):
            seen = sizes.setdefault(label, size)
            if label.isdigit() and 1 in (seen, size):
                sizes[label] = size if seen == 1 else seen
            elif seen != size:
                raise ShapeError(f"einsum: axis {label!r} is {seen} and {size} in shapes {list(shapes)}")
    return sizes


def _labelled(operands: Sequence[Operand], equation: str) -> tuple[dict[str, Dim], Labels]:
    """Return the axis that each label stands for, and the labels of the output."""
    labels, output = parse_equation(equation, [operand.rank for operand in operands])
    columns: dict[str, list[Dim]] = {}
    for axes, operand in zip(labels, operands, strict=True):
        for label, dim in zip(axes, operand.dims, strict=True):
            columns.setdefault(label, []).append(dim)
    return {
        label: broadcast_dims(*([dim] for dim in column))[0] if label.isdigit() else equal(*column)
        for label, column in columns.items()
    }, output


def _dims(*operands: Operand, equation: str) -> Dims:
    dims, output = _labelled(operands, equation)
    return [dims[label] for label in output]


def _flops(*operands: Operand, equation: str) -> Size:
    dims, _ = _labelled(operands, equation)
    return multiply(len(operands), *(dim.size for dim in dims.values()))


@operator(
    "einsum",
    Facts(
        _dims,
        ties=lambda *operands, equation: [
            (None, sorted(dim.same)) for dim in _labelled(operands, equation)[0].values()
        ],
        flops=_flops,
        mixes=apart,
    ),
    agree=check_equation,
)
def einsum(x: Array, *others: Array, equation: str) -> Array:
    """The products of the operands' elements, summed over every label that the output does not have.

    equation: as for numpy.einsum, such as "bij,bjk->bik". Without an arrow, the output has the labels that occur once,
        sorted.
    """
    arrays = (x, *others)
    same_dtype(**{f"x{i}": a for i, a in enumerate(arrays)})
    if x.dtype == np.bool_:
        raise ShapeError("einsum: got bool, expected numbers")
    labels, output = parse_equation(equation, [a.ndim for a in arrays])
    sizes = label_sizes(labels, [a.shape for a in arrays])
    numbers = {label: i for i, label in enumerate(sizes)}
    if len(numbers) > 50:
        raise ShapeError(f"einsum: equation {equation!r} has {len(numbers)} labels, expected at most 50")
    operands: list[Any] = []
    for array, axes in zip(arrays, labels, strict=True):
        operands += [array, [numbers[label] for label in axes]]
    return np.asarray(np.einsum(*operands, [numbers[label] for label in output]), dtype=x.dtype)
