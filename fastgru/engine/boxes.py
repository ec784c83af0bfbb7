"""Boxes of a tensor: what two have in common, what is left of one outside another, what a list of regions shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastgru.engine.buffers import Region

__all__ = ["MAX_BOXES", "box_of", "common_box", "visible"]

Box = tuple[tuple[int, ...], tuple[int, ...]]  # first corner, and the one beyond the last

MAX_BOXES: Final = 64  # of one tensor, those of what it is made of among them; more are copied one over the other


def visible(shape: tuple[int, ...], regions: Sequence[Region]) -> list[tuple[Region, Box]]:
    """What is seen of each region, as boxes that do not meet; all of every region, in order, where that is too much."""
    hidden: list[Box] = [((0,) * len(shape), shape)]  # not yet covered, from the last region on
    seen: list[tuple[Region, Box]] = []
    for region in reversed(regions):
        box = box_of(region)
        seen += [(region, common) for free in hidden if (common := common_box(free, box)) is not None]
        hidden = [rest for free in hidden for rest in _without(free, box)]
        if max(len(hidden), len(seen)) > MAX_BOXES:
            return [(region, box_of(region)) for region in regions]
    return seen[::-1]


def box_of(region: Region) -> Box:
    """Where the region lies in its tensor."""
    return region.start, tuple(a + n for a, n in zip(region.start, region.source.shape, strict=True))


def common_box(a: Box, b: Box) -> Box | None:
    """What lies in both; None where that is nothing."""
    low = tuple(map(max, a[0], b[0]))
    high = tuple(map(min, a[1], b[1]))
    return None if any(l >= h for l, h in zip(low, high, strict=True)) else (low, high)


def _without(box: Box, hole: Box) -> list[Box]:
    """What is left of a box outside another."""
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
