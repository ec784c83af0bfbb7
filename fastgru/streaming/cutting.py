"""How sequences are put into batches.

The longest come first, so that those of similar lengths lie side by side and no thread has a long batch to itself at
the end. The sizes of batches are few: their rows are a power of two, and their steps one of eight sizes in each octave,
so that plans come again. A batch has as many rows as its arrays fit into the cache, but not so few that weights are
read for them alone: beyond that, more rows gain nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastgru.simd.cpu import cache_sizes
from fastgru.streaming.items import Call, Item

__all__ = ["cut", "rounded"]

_FEWEST_ROWS: Final = 8  # of a batch that is cut so that no thread is idle
_LEAST_ROWS: Final = 32  # of one that is cut so that it fits into the cache


def rounded(steps: int) -> int:
    """The steps of a batch whose longest sequence has so many."""
    grain = 1 << max(0, steps.bit_length() - 4)
    return -(-steps // grain) * grain


def cut(call: Call, group: Sequence[Item], threads: int) -> list[list[Item]]:
    """Batches of a group of sequences that may share one, of which none takes more than a thread's share."""
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
