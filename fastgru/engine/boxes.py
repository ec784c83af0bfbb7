"""Boxes of a tensor: the intersection of two, the rest of one outside another, the visible part of each region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastgru.engine.buffers import Region

__all__ = ["MAX_BOXES", "box_of", "common_box", "visible"]

Box = tuple[tuple[int, ...], tuple[int, ...]]  # the first corner, and the corner just beyond the last element

MAX_BOXES: Final = 64  # of one tensor, with those of its sources; beyond it, whole regions are copied one over another


def visible(shape: tuple[int, ...], regions: Sequence[Region]) -> list[tuple[Region, Box]]:
    """Return the visible part of each region, as boxes that do not overlap.

    If that takes more than `MAX_BOXES`, returns every region whole, in order.
    """
    hidden: list[Box] = [((0,) * len(shape), shape)]  # boxes that no later region covers
    seen: list[tuple[Region, Box]] = []
    for region in reversed(regions):
        box = box_of(region)
        seen += [(region, common) for free in hidden if (common := common_box(free, box)) is not None]
        hidden = [rest for free in hidden for rest in _without(free, box)]
        if max(len(hidden), len(seen)) > MAX_BOXES:
            return [(region, box_of(region)) for region in regions]
    return seen[::-1]


def box_of(region: Region) -> Box:
    """Return the box of the region in its tensor."""
    return region.start, tuple(a + n for a, n in zip(region.start, region.source.shape, strict=True))


def common_box(a: Box, b: Box) -> Box | None:
    """Return the intersection of two boxes; None if it is empty."""
    low = tuple(map(max, a[0], b[0]))
    high = tuple(map(min, a[1], b[1]))
    return None if any(l >= h for l, h in zip(low, high, strict=True)) else (low, high)


def _without(box: Box, hole: Box) -> list[Box]:
    """Return the part of a box that lies outside another, as boxes."""
    common = common_box(box, hole)
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
