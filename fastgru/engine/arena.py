"""Where each intermediate lies: buffers whose lifetimes do not meet share memory.

Greedy by size, as in "Efficient Memory Management for Deep Neural Net Inference" (Pisarchyk and Lee, 2020): the
largest first, each at the lowest offset that is free for its whole life.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastgru.engine.view import Buffer
from fastgru.packing.aligned import ALIGNMENT

__all__ = ["place"]


def place(buffers: Sequence[Buffer]) -> int:
    """Set the offset of every buffer; returns the bytes that all of them take together."""
    placed: list[Buffer] = []
    total = 0
    for buffer in sorted(buffers, key=lambda b: -b.nbytes):
        if buffer.first is None:
            continue
        alive = sorted(
            (b for b in placed if b.first is not None and b.first <= buffer.last and buffer.first <= b.last),
            key=lambda b: b.offset,
        )
        offset = 0
        for other in alive:
            if offset + buffer.nbytes <= other.offset:
                break
            offset = max(offset, -(-(other.offset + other.nbytes) // ALIGNMENT) * ALIGNMENT)
        buffer.offset = offset
        placed.append(buffer)
        total = max(total, offset + buffer.nbytes)
    return total
