"""Reshapes; free dimensions may be given by their names."""

import math
from collections.abc import Sequence
from typing import Any

from fastgru.graphbuilder import Value
from fastgru.importers.architecture.options import MOST, show
from fastgru.importers.architecture.registry import DescribedLayer, layer_type
from fastgru.records import dataclass

__all__ = ["KeptAxis", "moved", "reshaped"]


@dataclass(frozen=True)
class KeptAxis:
    """The size of an axis of the input, or of the value `of`."""

    axis: int
    of: Value | None = None


@layer_type("Reshape", options="shape", floats=False)
def _reshape(layer: DescribedLayer) -> Value:
    """Reshape x. shape: sizes, names of free dimensions, 0 for the size of the same axis, one -1 for the rest."""
    return reshaped(layer, layer.x, _sizes(layer, "shape", 0))


@layer_type("Flatten", options="start_dim end_dim", floats=False)
def _flatten(layer: DescribedLayer) -> Value:
    first, last = layer.axis("start_dim", 1), layer.axis("end_dim", -1)
    if first > last:
        raise layer.invalid(f"start_dim is {first}, expected at most end_dim, which is {last}")
    axes = range(layer.rank)
    return reshaped(layer, layer.x, [*map(KeptAxis, axes[:first]), -1, *map(KeptAxis, axes[last + 1 :])])


@layer_type("Unflatten", options="dim unflattened_size", floats=False)
def _unflatten(layer: DescribedLayer) -> Value:
    axis = layer.axis("dim")
    sizes = _sizes(layer, "unflattened_size", None)
    axes = range(layer.rank)
    return reshaped(layer, layer.x, [*map(KeptAxis, axes[:axis]), *sizes, *map(KeptAxis, axes[axis + 1 :])])


def _sizes(layer: DescribedLayer, option: str, copy: int | None) -> list[int | KeptAxis]:
    given = layer.options.raw(option)
    if not isinstance(given, list | tuple) or not given or len(given) > 16:
        raise layer.options.wrong(option, "a list of sizes")
    return [_size(layer, option, position, size, copy) for position, size in enumerate(given)]


def _size(layer: DescribedLayer, option: str, position: int, size: Any, copy: int | None) -> int | KeptAxis:
    if isinstance(size, str):
        if size in layer.x.dims:
            return KeptAxis(layer.x.dims.index(size))
        if found := layer.dimension(size):
            return KeptAxis(found[1], found[0])
        raise layer.wrong_input(f"a free dimension {size!r}, or one of this name in an input of the network")
    if isinstance(size, int) and not isinstance(size, bool):
        if size == 0 and copy == 0:
            return KeptAxis(layer.normal_axis(position, layer.rank))
        if size == -1 or 0 < size < MOST:
            return size
    raise layer.invalid(f"{option} has {show(size)}, expected sizes, names of free dimensions, and at most one -1")


def reshaped(layer: DescribedLayer, x: Value, sizes: Sequence[int | KeptAxis]) -> Value:
    """Return x in another shape. sizes: numbers, axes whose size is kept, and at most one -1 for the rest."""
    shape = x.shape
    # A kept axis of known size becomes a number; free axes that are not kept must go into the -1.
    wanted: list[int | KeptAxis] = []
    for size in sizes:
        known = shape[size.axis] if isinstance(size, KeptAxis) and size.of is None else None
        wanted.append(size if known is None else known)
    if wanted.count(-1) > 1:
        raise layer.invalid("the shape has more than one -1")
    if not any(isinstance(s, KeptAxis) and s.of for s in wanted):
        _check_fit(layer, x, wanted)
    return layer.apply("reshape", x, _target(layer, x, wanted))


def _check_fit(layer: DescribedLayer, x: Value, wanted: Sequence[int | KeptAxis]) -> None:
    """Raise `ShapeError` if x does not fit the sizes."""
    shape = x.shape
    kept = [size.axis for size in wanted if isinstance(size, KeptAxis)]
    have = math.prod(size for size in shape if size is not None)
    taken = math.prod(size for size in wanted if isinstance(size, int) and size != -1)
    if sorted(kept) == [axis for axis, size in enumerate(shape) if size is None]:
        if not taken or (have % taken if -1 in wanted else have != taken):
            raise layer.wrong_input(f"one that fits the shape {_listed(x, wanted)}")
    elif len(set(kept)) != len(kept) or -1 not in wanted:
        raise layer.wrong_input(
            f"one whose free dimensions all go into the shape {_listed(x, wanted)}, by their names or in a -1"
        )


def _listed(x: Value, wanted: Sequence[int | KeptAxis]) -> str:
    return f"({', '.join(((s.of or x).dims[s.axis] or '?') if isinstance(s, KeptAxis) else str(s) for s in wanted)})"


def _target(layer: DescribedLayer, x: Value, wanted: Sequence[int | KeptAxis]) -> Value:
    """Return the shape as an input of a reshape: 0 copies an axis that keeps its position; other sizes are computed."""
    if all(s.axis == position and s.of is None for position, s in enumerate(wanted) if isinstance(s, KeptAxis)):
        return layer.constant("shape", [0 if isinstance(s, KeptAxis) else s for s in wanted])
    sizes = [
        layer.apply("shape", s.of or x, start=s.axis, end=s.axis + 1)
        if isinstance(s, KeptAxis)
        else layer.constant(f"size_{s}", [s])
        for s in wanted
    ]
    return layer.apply("concat", *sizes, axis=0)


def moved(layer: DescribedLayer, x: Value, perm: Sequence[int]) -> Value:
    """Return x with its axes in the order `perm`."""
    return layer.apply("transpose", x, perm=list(perm))
