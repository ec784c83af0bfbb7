"""Indexing x[...] with integers, slices, new axes and an ellipsis."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from fastgru.importers.keras.call import Call, Tensor
from fastgru.importers.keras.registry import operation

_END: Final = int(np.iinfo(np.int64).max)
_BEGIN: Final = int(np.iinfo(np.int64).min)
_ALL: Final = slice(None)


@operation("GetItem")
def _get_item(call: Call) -> list[Tensor]:
    """Slice x, then remove axes that are indexed with an integer, then insert new axes."""
    args: Sequence[Any] = call.arguments.get("args", ())
    graph, x = call.graph, call.inputs[0]
    key = args[1] if len(args) == 2 else _ALL
    items = [_item(call, item) for item in (key if isinstance(key, list) else [key])]
    items = _spread(call, items, x.rank)
    cuts: list[tuple[int, int, int, int]] = []
    dropped, added, axis, rank = [], [], 0, 0
    for item in items:
        if item is None:
            added.append(rank)
            rank += 1
            continue
        size = x.shape[axis]
        if isinstance(item, int):
            if size is not None and not -size <= item < size:
                raise call.layer.damaged(f"the position {item} on an axis of {size}")
            dropped.append(axis)
            cuts.append((item, _END if item == -1 else item + 1, axis, 1))
        else:
            rank += 1
            if item != _ALL:
                cuts.append((*_bounds(item), axis, item.step or 1))
        axis += 1
    y = x.value
    if cuts:
        parts = zip(("from", "to", "axes", "steps"), zip(*cuts, strict=True), strict=True)
        positions = [graph.integers(list(numbers), f"{call.base}/{what}") for what, numbers in parts]
        y = graph.add("slice", [y, *positions], f"{call.base}/cut" if dropped or added else call.base)
    if dropped:
        y = graph.add("squeeze", [y], f"{call.base}/dropped" if added else call.base, {"axes": dropped})
    if added:
        y = graph.add("unsqueeze", [y], call.base, {"axes": added})
    return [Tensor(y)]


def _bounds(item: slice) -> tuple[int, int]:
    """Return where a slice begins and ends, with numbers for bounds that it leaves out."""
    begin, end = (0, _END) if (item.step or 1) > 0 else (-1, _BEGIN)
    return (begin if item.start is None else item.start), (end if item.stop is None else item.stop)


def _item(call: Call, item: Any) -> Any:
    """Return an index as None, an integer, a slice or Ellipsis. Raises `UnsupportedModelError` for any other index."""
    if item is None or (isinstance(item, int) and not isinstance(item, bool) and abs(item) < 1 << 31):
        return item
    config = item.get("config") if isinstance(item, Mapping) else None
    if isinstance(config, Mapping) and item.get("class_name") == "__ellipsis__":
        return Ellipsis
    if isinstance(config, Mapping) and item.get("class_name") == "__slice__":
        parts = [config.get(k) for k in ("start", "stop", "step")]
        if parts[2] != 0 and all(p is None or (type(p) is int and abs(p) < 1 << 31) for p in parts):
            return slice(*parts)
    if isinstance(item, slice):
        return item
    raise call.layer.unsupported(f"the subscript {item!r:.60}", "index with integers, slices, None and an ellipsis")


def _spread(call: Call, items: list[Any], rank: int) -> list[Any]:
    """Return the items with a full slice for every axis that they do not name."""
    missing = rank - sum(item is not None and item is not Ellipsis for item in items)
    if missing < 0 or items.count(Ellipsis) > 1:
        raise call.layer.unsupported(f"got {len(items)} positions for {rank} axes", "name each axis once")
    if Ellipsis not in items:
        return [*items, *[_ALL] * missing]
    at = items.index(Ellipsis)
    return [*items[:at], *[_ALL] * missing, *items[at + 1 :]]
