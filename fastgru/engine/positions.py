"""Where the elements of a view lie in the tensor that its buffer was made for, axis by axis.

With it a view of a tensor becomes a view of what the tensor is a copy of: a slice of a concatenation reads the
region itself, and a transposed copy is written by whoever computes it.
"""

from __future__ import annotations

from dataclasses import replace

from fastgru.engine.buffers import View, contiguous_strides, itemsize
from fastgru.records import dataclass

__all__ = ["Factor", "Positions", "expanded", "inverse", "positions"]


@dataclass(frozen=True)
class Factor:
    """A run of `size` elements along one axis of the tensor, `step` apart; axis -1 where nothing moves."""

    size: int
    axis: int
    step: int


@dataclass(frozen=True)
class Positions:
    """start: the first element. factors: where each axis of the view goes, outermost first. low, high: the hull."""

    start: tuple[int, ...]
    factors: tuple[tuple[Factor, ...], ...]
    low: tuple[int, ...]
    high: tuple[int, ...]

    def through(self, source: View, origin: tuple[int, ...]) -> View | None:
        """The same elements in `source`, which starts at `origin` of the tensor; None where no strides say it."""
        strides = []
        for factors in self.factors:
            inner = factors[-1]
            stride = run = inner.step * source.strides[inner.axis] if inner.axis >= 0 else 0
            for before, after in zip(factors[-2::-1], factors[:0:-1], strict=True):
                run *= after.size
                if before.step * source.strides[before.axis] != run:
                    return None
            strides.append(stride)
        first = sum((at - o) * s for at, o, s in zip(self.start, origin, source.strides, strict=True))
        shape = tuple(_size(f) for f in self.factors)
        return View(source.buffer, source.moved(first), shape, tuple(strides), source.dtype)


def _size(factors: tuple[Factor, ...]) -> int:
    size = 1
    for factor in factors:
        size *= factor.size
    return size


def positions(view: View, shape: tuple[int, ...]) -> Positions | None:
    """Where the elements of `view` are in the contiguous tensor of `shape` that fills its buffer.

    None where an axis of the view does not follow the axes of the tensor, or the view is empty.
    """
    item = itemsize(view.dtype)
    if view.size == 0 or view.offset % item:
        return None
    steps = contiguous_strides(shape)
    rest, start = view.offset // item, []
    for step in steps:
        start.append(rest // step)
        rest %= step
    if rest or any(not 0 <= at < n for at, n in zip(start, shape, strict=True)):
        return None
    low, high = list(start), list(start)

    def along(size: int, stride: int) -> tuple[Factor, ...] | None:
        for j, step in enumerate(steps):
            if shape[j] == 1 or step > abs(stride):
                continue
            if stride % step:
                return None
            reach = (size - 1) * (stride // step)
            if low[j] + min(reach, 0) >= 0 and high[j] + max(reach, 0) < shape[j]:
                low[j] += min(reach, 0)
                high[j] += max(reach, 0)
                return (Factor(size, j, stride // step),)
            if stride != step or low[j] or high[j] or size % shape[j]:
                return None
            outer = along(size // shape[j], step * shape[j])
            high[j] = shape[j] - 1
            return None if outer is None else (*outer, Factor(shape[j], j, 1))
        return None

    factors = []
    for size, stride in zip(view.shape, view.strides, strict=True):
        found = (Factor(size, -1, 0),) if size == 1 or stride == 0 else along(size, stride)
        if found is None:
            return None
        factors.append(found)
    return Positions(tuple(start), tuple(factors), tuple(low), tuple(high))


def expanded(view: View, where: Positions) -> View:
    """The view with an axis for each factor of `where`, which has the view's shape."""
    shape: list[int] = []
    strides: list[int] = []
    for factors, stride in zip(where.factors, view.strides, strict=True):
        steps, step = [], stride
        for factor in reversed(factors):
            steps.append(step)
            step *= factor.size
        shape += [f.size for f in factors]
        strides += reversed(steps)
    return view.as_strided(tuple(shape), tuple(strides))


def inverse(source: View, shape: tuple[int, ...], target: View) -> View | None:
    """Where the tensor of `shape` lies when `source`, a rearrangement of all of it, lies in `target`; None if nowhere.

    source, target: of one shape.
    """
    where = positions(source, shape)
    if where is None or any(where.start):
        return None
    flat = replace(where, factors=tuple((f,) for factors in where.factors for f in factors))
    runs: dict[int, list[tuple[Factor, int]]] = {}
    for (factor,), stride in zip(flat.factors, expanded(target, where).strides, strict=True):
        if factor.axis >= 0:
            runs.setdefault(factor.axis, []).append((factor, stride))
        elif factor.size > 1:
            return None
    strides = []
    for axis, size in enumerate(shape):
        reached, stride = 1, 0
        for factor, step in sorted(runs.get(axis, []), key=lambda run: run[0].step):
            if factor.step != reached or (reached > 1 and step != stride * reached):
                return None
            stride = step if reached == 1 else stride
            reached *= factor.size
        if reached != size:
            return None
        strides.append(stride)
    return target.as_strided(shape, tuple(strides))
