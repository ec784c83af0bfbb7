"""The positions of a view's elements in the tensor that its buffer was made for, axis by axis.

They turn a view of an assembled tensor into a view of the tensor's source. A slice of a concatenation can then read the
region itself, and the instruction that computes a tensor can write its transposed copy.
"""

from __future__ import annotations

from dataclasses import replace

from fastgru.engine.buffers import View, contiguous_strides, itemsize
from fastgru.records import dataclass

__all__ = ["Factor", "Positions", "expanded", "inverse", "positions"]


@dataclass(frozen=True)
class Factor:
    """A run of `size` elements along one axis of the tensor, `step` apart; axis -1 if all are the same element."""

    size: int
    axis: int
    step: int


@dataclass(frozen=True)
class Positions:
    """The positions of a view's elements in a tensor.

    start: the first element. factors: how each axis of the view moves in the tensor, outermost factor first. low, high:
    the smallest and largest position along each axis of the tensor.
    """

    start: tuple[int, ...]
    factors: tuple[tuple[Factor, ...], ...]
    low: tuple[int, ...]
    high: tuple[int, ...]

    def through(self, source: View, origin: tuple[int, ...]) -> View | None:
        """Return a view of the same elements in `source`, which starts at `origin` of the tensor.

        Returns None if no strides express it.
        """
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
    """Return the positions of the elements of `view` in the contiguous tensor of `shape` that fills its buffer.

    Returns None if an axis of the view does not follow the axes of the tensor, or if the view is empty.
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
    """Return the view with an axis for each factor of `where`, whose factors make up the view's shape."""
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
    """Return the place of the tensor of `shape` that makes `source`, a rearrangement of all of it, lie at `target`.

    Returns None if there is none. source, target: views of the same shape.
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
