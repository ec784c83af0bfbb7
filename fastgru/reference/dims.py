"""The words in which an operator says what its outputs are, and what becomes of the axes of its inputs.

A function for `Facts.dims` takes what the definition takes, an `Operand` in the place of each array, and returns the
axes of the outputs: a list where all outputs have the same ones, a tuple of a list each where they differ. An axis
that is handed on as it is keeps its size and its meaning; that alone says rank, sizes and where each axis comes from.

    list(x.dims)                     the same axes, in the same order
    [*x.dims[:-1], weight.dims[0]]   the last one replaced by the first of another input
    dim.resized(size)                of another size, but still time where it was time
    Dim(size)                        an axis that comes from nowhere
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

FIRST: Final = slice(1)  # of the inputs

Tie: TypeAlias = tuple[str | None, Sequence[Place]]  # "N" (batch), "T" (time) or None, and the axes that are one


class Bodies(NamedTuple):
    """Of an operator whose attributes hold graphs. All functions take the inputs as `ValueFacts`, and the attributes.

    given: what is known of the own inputs of each body, by the name of its attribute. found: of the outputs of the
    operator; it takes that of the outputs of each body, too. times: how often each body runs, None where not known.
    """

    given: Callable[..., Mapping[str, Sequence[ValueFacts]]]
    found: Callable[..., Sequence[ValueFacts]]
    times: Callable[..., Size]


class Facts(NamedTuple):
    """Everything that is true of an operator beside its definition. The functions take what the definition takes.

    dims: the axes of the outputs. dtype: of every output, or a tuple of one each: a name, the number of the input that
    has the same, or a function of the attributes that gives one of these. elements: of the first output, where it is a
    small vector of integers. ties: axes of inputs that are one axis, with the role that the operator gives them.
    weights: the inputs that training made, and the axis of the outputs in those that may be quantised, else None; a
    function takes the number of inputs and the attributes. flops: for each element of the first output, or a function
    that gives them all. bound: elements of the largest array on the way, where an output is not that. moves: the inputs
    of whose elements the outputs consist. domains: by input, what its integers or bools mean, "ids", "lengths" or
    "mask", and the size of the axis that they point into. bodies: of an operator that holds graphs, and has no dims.
    mixes: the axes of the first input along which an element of the outputs depends on others than those at its own
    place, where the axis is kept, and whether on some behind it, too; None where any axis may be one of these.
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
    """An element depends on those at its own place alone, along every axis that is kept."""
    return {}


def along(_: Operand, *, axis: int, **__: Any) -> Mapping[int, bool]:
    """It depends on all along `axis`."""
    return {axis: True}


def from_axis(x: Operand, *_: Operand | None, axis: int, **__: Any) -> Mapping[int, bool]:
    """It depends on all along `axis` and those behind it."""
    return dict.fromkeys(range(x.rank)[axis:], True)


def same(x: Operand, *_: Operand | None, **__: Any) -> Dims:
    """Those of the first input."""
    return list(x.dims)


def broadcast(*operands: Operand | None, **_: Any) -> Dims:
    """As `broadcast_dims`, of all inputs."""
    return broadcast_dims(*(operand.dims for operand in operands if operand is not None))


def broadcast_dims(*shapes: Sequence[Dim]) -> Dims:
    """By NumPy's rules. An axis of a free size counts as the output's, not as one of 1 that is stretched."""
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
    """An axis of this size that is each of these."""
    found = list(axes)
    return Dim(size, frozenset().union(*[axis.same for axis in found]), frozenset().union(*[a.kin for a in found]))


def equal(*axes: Dim) -> Dim:
    """The one axis that these must be, of the plainest of their sizes."""
    sizes = [axis.size for axis in axes]
    fixed = {size for size in sizes if isinstance(size, int)}
    if len(fixed) > 1:
        raise ShapeError(f"got the sizes {sorted(fixed)}, expected equal ones")
    named = [size for size in sizes if isinstance(size, str)]
    return joined([*fixed, *named, *sizes][0], axes)


def per_input(count: int) -> Callable[..., Size]:
    """So many flops for each element of the first input."""
    return lambda x, *_, **__: multiply(count, *x.sizes)


def pairwise(function: Callable[..., Size], *operands: Operand) -> list[Size]:
    """The function of the elements of vectors or scalars, by NumPy's rules."""
    vectors = [operand.elements for operand in operands]
    count = next((len(v) for v in vectors if len(v) != 1), 1)
    if any(len(v) not in (1, count) for v in vectors):
        raise UnknownError
    return [function(*(v[i % len(v)] for v in vectors)) for i in range(count)]


def reduced(x: Operand, axes: Iterable[int], *, keepdims: bool = False) -> Dims:
    """Without these axes, or with 1 in the place of each."""
    gone = {range(x.rank)[axis] for axis in axes}
    return [Dim(1) if i in gone else axis for i, axis in enumerate(x.dims) if keepdims or i not in gone]


def changed(axes: Sequence[Dim], sizes: Mapping[int, Size]) -> Dims:
    """The axes, some of them of another size; one that keeps its size stays what it is."""
    places = {range(len(axes))[axis]: size for axis, size in sizes.items()}
    return [
        axis if i not in places or places[i] == axis.size else axis.resized(places[i]) for i, axis in enumerate(axes)
    ]


def regrouped(axes: Sequence[Dim], sizes: Sequence[Size]) -> Dims:
    """The axes of the same elements in another shape, in the same order.

    An axis before which, or after which, there are as many elements as there were is the same. Where several become
    one or others, a free one that becomes the only free one is its kin: frames that are stacked, or cut.
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
    """The product of the sizes before each."""
    start: list[Size] = [1]
    return list(accumulate([*start, *sizes], multiply))[:-1]
