"""The places of intermediates in the arena: buffers whose lifetimes do not overlap share memory.

The placement is greedy by size, as in "Efficient Memory Management for Deep Neural Net Inference" (Pisarchyk and Lee,
2020): the largest buffer first, each at the lowest offset that is free for its whole life.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Final

from fastgru.engine.buffers import Buffer
from fastgru.packing.aligned import ALIGNMENT

__all__ = ["most_alive", "place"]

_PART: Final = 32  # instructions
_FEW_PARTS: Final = 4


def most_alive(buffers: Sequence[Buffer]) -> int:
    """Return the most bytes that are in use at once: no placement takes less."""
    changes: dict[int, int] = {}
    for buffer in buffers:
        if buffer.first is not None:
            changes[buffer.first] = changes.get(buffer.first, 0) + buffer.nbytes
            changes[buffer.last + 1] = changes.get(buffer.last + 1, 0) - buffer.nbytes
    return max(accumulate(changes[at] for at in sorted(changes)), default=0)


def place(buffers: Sequence[Buffer]) -> int:
    """Set the offset of every buffer, and return the bytes that all of them take together."""
    placed: list[tuple[int, int, int, int]] = []  # first and last instruction, offset, end
    long: list[tuple[int, int, int, int]] = []  # those that live long
    short: dict[int, list[tuple[int, int, int, int]]] = {}  # the others, by the parts of the plan that they live in
    total = 0
    for buffer in sorted(buffers, key=lambda b: -b.nbytes):
        first, last = buffer.first, buffer.last
        if first is None:
            continue
        parts, offset = range(first // _PART, last // _PART + 1), 0
        is_short = len(parts) <= _FEW_PARTS
        others = chain(long, *(short.get(part, ()) for part in parts)) if is_short else placed
        for start, end in sorted([(p[2], p[3]) for p in others if p[0] <= last and first <= p[1]]):
            if offset + buffer.nbytes <= start:
                break
            offset = max(offset, -(-end // ALIGNMENT) * ALIGNMENT)
        buffer.offset = offset
        placed.append((first, last, offset, offset + buffer.nbytes))
        for known in [short.setdefault(part, []) for part in parts] if is_short else [long]:
            known.append(placed[-1])
        total = max(total, offset + buffer.nbytes)
    return total
