"""Memory with fences: every intermediate of a plan in a place of its own, and nothing written between them.

Kernels check no bounds; they trust what planning worked out. Here planning shares no memory, the arena starts as NaN,
and what lies between two buffers, or around an output, must still be what it was after a run.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from fastgru.engine import encoding, program
from fastgru.errors import ShapeError
from fastgru.model import Model

__all__ = ["check_fence", "fenced", "fences", "guarded", "run_fenced"]

Array = NDArray[Any]

FENCE = 256  # bytes; a multiple of what buffers are aligned to
FIELD = 1 << 16  # behind an array, so that what goes wrong stays where it is seen
FILL = 0xFF  # of every byte: NaN in floats, -1 in integers
MOST = 1 << 30  # bytes between fences: more takes too long to look at


class Fences:
    """What was laid out last, and the arenas that were made for it."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, int]] = []
        self.arenas: list[tuple[Array, list[tuple[int, int]]]] = []

    def place(self, buffers: Sequence[Any]) -> int:
        total, self.spans = FENCE, []
        for buffer in buffers:
            if buffer.first is None:
                continue
            buffer.offset = total
            self.spans.append((total, total + buffer.nbytes))
            total += -(-buffer.nbytes // FENCE) * FENCE + FENCE
        if total > MOST:
            raise ShapeError(f"{total} bytes between fences, expected at most {MOST}")
        return total

    def arena(self, count: int, dtype: Any) -> Array:
        memory = fenced((count,), np.dtype(dtype))
        memory[...] = FILL
        self.arenas.append((memory, self.spans))
        return memory

    def check(self) -> None:
        for memory, spans in self.arenas:
            outside = np.ones(memory.size, np.bool_)
            for start, stop in spans:
                outside[start:stop] = False
            hit = np.flatnonzero(outside & (memory != FILL))
            assert not hit.size, f"{hit.size} bytes written beyond a buffer, at {hit[:4]} of {spans}"


def fenced(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array of FILL with a fence on both sides."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.full(size + 2 * FENCE + FIELD, FILL, np.uint8)
    start = -raw.ctypes.data % FENCE + FENCE
    return raw[start : start + size].view(dtype).reshape(shape)


def guarded(array: Array) -> Array:
    """A copy that ends where a page begins that nobody may read or write."""
    size = -(-array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, size + mmap.PAGESIZE)
    raw = np.frombuffer(memory, np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(raw.ctypes.data + size), mmap.PAGESIZE, 0):  # PROT_NONE
        raise OSError(ctypes.get_errno(), "mprotect")
    copy: Array = raw[size - array.nbytes : size].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def check_fence(what: str, array: Array) -> None:
    raw: Any = array
    while raw.base is not None:
        raw = raw.base
    start = array.ctypes.data - raw.ctypes.data
    around = np.concatenate([raw[:start], raw[start + array.nbytes :]])
    assert (around == FILL).all(), f"bytes written around output {what}"


@contextmanager
def fences() -> Iterator[Fences]:
    made = Fences()
    with mock.patch.object(encoding, "place", made.place), mock.patch.object(program, "zeros", made.arena):
        yield made


def run_fenced(model: Model, feeds: Mapping[str, Array], like: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs, of the shapes and types of `like`, from a plan with fences.

    `model` must not have planned for these shapes yet.
    """
    out = {name: fenced(a.shape, a.dtype) for name, a in like.items()}
    with fences() as made:
        results = model.run(feeds, out=out)
    made.check()
    for name, array in out.items():
        check_fence(name, array)
    return results
