"""Cut sequences into batches.

The longest come first, so that sequences of similar lengths share a batch, and no thread runs a long batch at the end
while the others are idle. Batches have few different sizes, so that plans are used again: the rows are a power of two,
and the steps one of eight sizes in each octave. A batch has as many rows as fit into the cache with their arrays, but
enough of them to share the reading of the weights. More rows would gain nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastgru.simd.cpu import cache_sizes
from fastgru.streaming.items import Call, Item

__all__ = ["cut", "rounded"]

_FEWEST_ROWS: Final = 8  # the smallest limit on the rows of a batch that keeps all threads busy
_LEAST_ROWS: Final = 32  # the smallest limit on the rows of a batch that fits it into the cache


def rounded(steps: int) -> int:
    """Return the steps of a batch whose longest sequence has `steps`."""
    grain = 1 << max(0, steps.bit_length() - 4)
    return -(-steps // grain) * grain


def cut(call: Call, group: Sequence[Item], threads: int) -> list[list[Item]]:
    """Return a group of sequences that may share a batch, cut into batches. None takes more than a thread's share."""
    items = sorted(group, key=lambda item: -item.steps)
    even, cached = max(_FEWEST_ROWS, len(items) // (4 * threads)), cache_sizes()["l3"] // (2 * threads)
    found, begin = list[list[Item]](), 0
    while begin < len(items):
        each = max(1, items[begin].nbytes)
        wanted = max(_LEAST_ROWS, cached // each)
        rows = max(1, min(call.max_rows, even, wanted, int(call.share / (call.factor * each)), len(items) - begin))
        found.append(items[begin : begin + (1 << rows.bit_length() - 1)])
        begin += len(found[-1])
    return found
