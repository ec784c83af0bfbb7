"""The facts of an operator: how it describes its outputs, and where their axes come from.

A function for `Facts.dims` takes what the definition takes, with an `Operand` in place of each array, and returns the
axes of the outputs: a list if all outputs have the same axes, otherwise a tuple with a list for each. An axis that is
passed on unchanged keeps its size and its meaning, so the list tells the rank, the sizes and the origin of each axis.

    list(x.dims)                     the same axes, in the same order
    [*x.dims[:-1], weight.dims[0]]   the last axis replaced by the first of another input
    dim.resized(size)                an axis of another size, which is still time if it was time
    Dim(size)                        a new axis
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

from fastgru.errors import ShapeError
from fastgru.reference.operand import MOST_ELEMENTS, Dim, Dims, Operand, Place, UnknownError, ValueFacts, numbers
from fastgru.reference.sizes import Size, multiply

__all__ = [
    "FIRST", "MOST_ELEMENTS", "Bodies", "Dim", "Dims", "Facts", "Operand", "Tie", "UnknownError", "along", "apart",
    "broadcast", "broadcast_dims", "changed", "equal", "from_axis", "joined", "numbers", "pairwise", "per_input",
    "reduced", "regrouped", "same",
]  # fmt: skip

FIRST: Final = slice(1)  # the first input

Tie: TypeAlias = tuple[str | None, Sequence[Place]]  # "N" (batch), "T" (time) or None, and the axes that are the same


class Bodies(NamedTuple):
    """The facts of an operator whose attributes hold graphs. All functions take the inputs as `ValueFacts`, and attrs.

    given: returns {attribute: facts of the own inputs of that body}.
    found: returns the facts of the operator's outputs. It also takes {attribute: facts of the outputs of that body}.
    times: returns how often each body runs, None if that is not known.
    """

    given: Callable[..., Mapping[str, Sequence[ValueFacts]]]
    found: Callable[..., Sequence[ValueFacts]]
    times: Callable[..., Size]


class Facts(NamedTuple):
    """Everything that is true of an operator beside its definition. The functions take what the definition takes.

    dims: the axes of the outputs.
    dtype: the dtype of every output, or a tuple with one entry for each. An entry is a name, the number of an input
        with the same dtype, or a function of the attributes that returns one of these.
    elements: the elements of the first output, if it is a small vector of integers.
    ties: axes of inputs that are the same axis, with the role that the operator gives them.
    weights: {input: axis} for the inputs that were trained. The axis is that of the outputs in a matrix that may be
        quantised, None for other inputs. A function takes the number of inputs and the attributes.
    flops: the flops for each element of the first output, or a function that returns all flops.
    bound: an upper bound on the elements of the largest array that the operator makes, if `dims` does not tell it.
    moves: the inputs whose elements make up the outputs.
    domains: {input: (meaning, size)}. The meaning of its integers or bools is "ids", "lengths" or "mask"; the size is
        that of the axis that they point into.
    bodies: the facts of an operator that holds graphs, instead of `dims`.
    mixes: {axis of the first input: whether an output reads later elements}, for the axes that an output keeps, and
        along which an element of the output depends on elements at other places. None if that may be any axis.
    """

    dims: Callable[..., Dims | tuple[Dims, ...]]
    dtype: Any = 0
    elements: Callable[..., Sequence[Size]] | None = None
    ties: Callable[..., Iterable[Tie]] | None = None
    weights: Mapping[int, int | None] | Callable[..., Mapping[int, int | None]] = MappingProxyType({})
    flops: int | Callable[..., Size] = 0
    bound: Callable[..., int] | None = None
    moves: slice | None = None
    domains: Callable[..., Mapping[int, tuple[str, Size]]] | None = None
    bodies: Bodies | None = None
    mixes: Callable[..., Mapping[int, bool]] | None = None


def apart(*_: Operand | None, **__: Any) -> Mapping[int, bool]:
    """Return the `mixes` of an operator whose output elements depend only on elements at the same place."""
    return {}


def along(_: Operand, *, axis: int, **__: Any) -> Mapping[int, bool]:
    """Return the `mixes` of an operator whose output elements depend on all elements along `axis`."""
    return {axis: True}


def from_axis(x: Operand, *_: Operand | None, axis: int, **__: Any) -> Mapping[int, bool]:
    """Return the `mixes` of an operator whose output elements depend on all elements along the axes from `axis` on."""
    return dict.fromkeys(range(x.rank)[axis:], True)


def same(x: Operand, *_: Operand | None, **__: Any) -> Dims:
    """Return the axes of the first input."""
    return list(x.dims)


def broadcast(*operands: Operand | None, **_: Any) -> Dims:
    """Return the axes of all inputs, broadcast as by `broadcast_dims`."""
    return broadcast_dims(*(operand.dims for operand in operands if operand is not None))


def broadcast_dims(*shapes: Sequence[Dim]) -> Dims:
    """Broadcast axes by NumPy's rules. An axis of a free size is taken for the output's, not for a 1 to stretch."""
    if len(shapes) == 1:
        return list(shapes[0])
    rank = max(map(len, shapes))
    return [_stretched([s[i - rank + len(s)] for s in shapes if i - rank + len(s) >= 0]) for i in range(rank)]


def _stretched(column: Sequence[Dim]) -> Dim:
    if len(column) == 1:
        return column[0]
    if all(axis.size == column[0].size for axis in column):
        return joined(column[0].size, column)
    sizes = {axis.size for axis in column} - {1}
    fixed = {size for size in sizes if isinstance(size, int)}
    if len(fixed) > 1:
        raise ShapeError(f"sizes {sorted(fixed)} do not broadcast")
    size: Size = 1 if not sizes else next(iter(fixed or sizes)) if fixed or len(sizes) == 1 else None
    return joined(size, [axis for axis in column if axis.size == size or not isinstance(axis.size, int)])


def joined(size: Size, axes: Iterable[Dim]) -> Dim:
    """Return an axis of this size that is the same as all of these."""
    found = list(axes)
    return Dim(size, frozenset().union(*[axis.same for axis in found]), frozenset().union(*[a.kin for a in found]))


def equal(*axes: Dim) -> Dim:
    """Return the one axis that these must be, with the simplest of their sizes. Raises `ShapeError` for two numbers."""
    sizes = [axis.size for axis in axes]
    fixed = {size for size in sizes if isinstance(size, int)}
    if len(fixed) > 1:
        raise ShapeError(f"got the sizes {sorted(fixed)}, expected equal ones")
    named = [size for size in sizes if isinstance(size, str)]
    return joined([*fixed, *named, *sizes][0], axes)


def per_input(count: int) -> Callable[..., Size]:
    """Return a function for `Facts.flops`: `count` flops for each element of the first input."""
    return lambda x, *_, **__: multiply(count, *x.sizes)


def pairwise(function: Callable[..., Size], *operands: Operand) -> list[Size]:
    """Apply a function to the elements of vectors or scalars, broadcast by NumPy's rules."""
    vectors = [operand.elements for operand in operands]
    count = next((len(v) for v in vectors if len(v) != 1), 1)
    if any(len(v) not in (1, count) for v in vectors):
        raise UnknownError
    return [function(*(v[i % len(v)] for v in vectors)) for i in range(count)]


def reduced(x: Operand, axes: Iterable[int], *, keepdims: bool = False) -> Dims:
    """Return the axes of x without these, or with size 1 in place of each if `keepdims`."""
    gone = {range(x.rank)[axis] for axis in axes}
    return [Dim(1) if i in gone else axis for i, axis in enumerate(x.dims) if keepdims or i not in gone]


def changed(axes: Sequence[Dim], sizes: Mapping[int, Size]) -> Dims:
    """Return the axes, with other sizes for some. An axis that keeps its size stays the same axis."""
    places = {range(len(axes))[axis]: size for axis, size in sizes.items()}
    return [
        axis if i not in places or places[i] == axis.size else axis.resized(places[i]) for i, axis in enumerate(axes)
    ]


def regrouped(axes: Sequence[Dim], sizes: Sequence[Size]) -> Dims:
    """Return the axes of the same elements, in the same order, in another shape.

    An axis is the same if it has the same size, and as many elements before or after it, as an old axis. If exactly one
    free axis is left among the old and one among the new, the new one is kin of the old one: frames stacked or cut.
    """
    found, used = [Dim(size) for size in sizes], set()
    old = [axis.size for axis in axes]
    sides = [(_running(old), _running(sizes)), (_running(old[::-1])[::-1], _running(sizes[::-1])[::-1])]
    for j, size in enumerate(sizes):
        for i in range(len(old)):
            if i not in used and old[i] == size and any(a[i] == b[j] and b[j] is not None for a, b in sides):
                found[j] = axes[i]
                used.add(i)
                break
    rest = [axis for i, axis in enumerate(axes) if i not in used and not isinstance(axis.size, int)]
    made = [j for j, axis in enumerate(found) if not axis.same and not isinstance(axis.size, int)]
    if len(rest) == len(made) == 1:
        found[made[0]] = rest[0].resized(found[made[0]].size)
    return found


def _running(sizes: Sequence[Size]) -> list[Size]:
    """Return, for each size, the product of the sizes before it."""
    start: list[Size] = [1]
    return list(accumulate([*start, *sizes], multiply))[:-1]
