"""Tensors that are put together from others: concatenations, pads, scattered blocks, copies in another order.

Such a tensor is a list of boxes until something has to read it from memory. A view that lies within one box reads the
source of the box; what nobody reads is never copied; and an instruction that computes a whole box, and that nothing has
read yet, writes it where it belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from fastgru.engine.buffers import Buffer, Region, View, contiguous_strides
from fastgru.engine.positions import expanded, inverse, positions

if TYPE_CHECKING:
    from fastgru.engine.builder import PlanBuilder

__all__ = ["assemble", "flush", "resolved"]

Box = tuple[tuple[int, ...], tuple[int, ...]]  # first corner, and the one beyond the last

_MAX_BOXES: Final = 64  # of one tensor, those of what it is made of among them; more are copied one over the other
_MAX_DEPTH: Final = 16  # of tensors that are made of tensors that are not in memory yet


def assemble(builder: PlanBuilder, shape: Sequence[int], dtype: str, regions: Sequence[Region]) -> View:
    """A tensor of `regions`, of which a later one hides the earlier ones; together they cover all of it."""
    view = builder.new(shape, dtype)
    if view.size:
        if sum(_boxes(p.source.buffer, _MAX_BOXES) for p in regions) > _MAX_BOXES:
            # Or all of them would be copied box by box, and a concat of a tensor with itself has twice as many.
            for region in regions:
                flush(builder, region.source.buffer)
        view.buffer.regions = [p for p in regions if p.source.size]
        if _depth(view.buffer) > _MAX_DEPTH or len(regions) > _MAX_BOXES:
            flush(builder, view.buffer)
    return view


def _boxes(buffer: Buffer, most: int) -> int:
    """The copies that a tensor takes that is not in memory, 1 for one that is; counts little further than `most`."""
    count = 0 if buffer.regions else 1
    for region in buffer.regions or ():
        if count > most:
            break
        count += _boxes(region.source.buffer, most - count)
    return count


def _depth(buffer: Buffer) -> int:
    """How many tensors stand behind one another that are not in memory; counts no further than the bound."""
    depth, level = 0, {buffer}
    while level and depth <= _MAX_DEPTH:
        level = {p.source.buffer for b in level for p in b.regions or () if p.source.buffer.regions is not None}
        depth += 1
    return depth


def resolved(view: View) -> View:
    """The same elements where they lie, as far as that is one view."""
    while view.buffer.regions is not None:
        further = _within_one(view, view.buffer.regions)
        if further is None:
            break
        view = further
    return view


def _within_one(view: View, regions: Sequence[Region]) -> View | None:
    where = positions(view, view.buffer.shape)
    if where is None:
        return None
    hull = (where.low, tuple(h + 1 for h in where.high))
    for region in reversed(regions):
        box = _box(region)
        common = _common(hull, box)
        if common == hull:
            return where.through(region.source, region.start)
        if common is not None:
            return None
    return None


def flush(builder: PlanBuilder, buffer: Buffer) -> None:
    """Copy a tensor together in its buffer, where it is not there yet."""
    regions, buffer.regions = buffer.regions, None
    if regions is None:
        return
    shape = buffer.shape
    with builder.ahead():
        whole = View(buffer, 0, shape, contiguous_strides(shape), regions[0].source.dtype)
        for region, (low, high) in _shown(shape, regions):
            size = tuple(h - l for l, h in zip(low, high, strict=True))
            source = region.source.subview(tuple(a - b for a, b in zip(low, region.start, strict=True)), size)
            builder.label = region.label or builder.label
            _place(builder, source, whole.subview(low, size))


def _place(builder: PlanBuilder, source: View, target: View) -> None:
    """target = source, by the instruction that computes the source if it can, by copies if not."""
    source = resolved(source)
    if source.buffer.regions is not None and _split(builder, source, target):
        return
    if source.buffer.regions is not None:
        flush(builder, source.buffer)
    if not _redirected(source, target):
        builder.copy(source, target)


def _split(builder: PlanBuilder, source: View, target: View) -> bool:
    """Copy box after box from a tensor that is not in memory itself; False where the boxes cut across the view."""
    buffer = source.buffer
    where = positions(source, buffer.shape)
    if where is None:
        return False
    source, target = expanded(source, where), expanded(target, where)
    axes = [f for factors in where.factors for f in factors]
    moving = [f.axis for f in axes if f.axis >= 0]
    if any(f.step != 1 for f in axes if f.axis >= 0) or len(set(moving)) < len(moving):
        return False
    assert buffer.regions is not None
    hull = (where.low, tuple(h + 1 for h in where.high))
    for _, box in _shown(buffer.shape, buffer.regions):
        common = _common(hull, box)
        if common is None:
            continue
        first = tuple(common[0][f.axis] - where.low[f.axis] if f.axis >= 0 else 0 for f in axes)
        size = tuple(common[1][f.axis] - common[0][f.axis] if f.axis >= 0 else f.size for f in axes)
        _place(builder, source.subview(first, size), target.subview(first, size))
    return True


def _redirected(source: View, target: View) -> bool:
    """The one instruction that fills the source fills the target instead."""
    buffer = source.buffer
    if buffer.kind != "arena" or buffer.writer is None or buffer.touches != 1:
        return False
    place = inverse(source, buffer.shape, target)
    if place is None or not buffer.writer.redirect(buffer, place):
        return False
    target.buffer.touches += 1
    buffer.regions = [Region((0,) * len(buffer.shape), place)]
    return True


def _shown(shape: tuple[int, ...], regions: Sequence[Region]) -> list[tuple[Region, Box]]:
    """What is seen of each region, as boxes that do not meet; all of every region, in order, where that is too much."""
    hidden: list[Box] = [((0,) * len(shape), shape)]  # not yet covered, from the last region on
    shown: list[tuple[Region, Box]] = []
    for region in reversed(regions):
        box = _box(region)
        shown += [(region, common) for free in hidden if (common := _common(free, box)) is not None]
        hidden = [rest for free in hidden for rest in _without(free, box)]
        if max(len(hidden), len(shown)) > _MAX_BOXES:
            return [(region, _box(region)) for region in regions]
    return shown[::-1]


def _box(region: Region) -> Box:
    return region.start, tuple(a + n for a, n in zip(region.start, region.source.shape, strict=True))


def _common(a: Box, b: Box) -> Box | None:
    low = tuple(map(max, a[0], b[0]))
    high = tuple(map(min, a[1], b[1]))
    return None if any(l >= h for l, h in zip(low, high, strict=True)) else (low, high)


def _without(box: Box, hole: Box) -> list[Box]:
    """What is left of a box outside another."""
    common = _common(box, hole)
    if common is None:
        return [box]
    rest = []
    low, high = list(box[0]), list(box[1])
    for axis, (first, last) in enumerate(zip(*common, strict=True)):
        if low[axis] < first:
            rest.append((tuple(low), (*high[:axis], first, *high[axis + 1 :])))
        if last < high[axis]:
            rest.append(((*low[:axis], last, *low[axis + 1 :]), tuple(high)))
        low[axis], high[axis] = first, last
    return rest
