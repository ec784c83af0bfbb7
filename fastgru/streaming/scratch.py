"""Memory that is used again and again: for the arrays of batches, and for copies of sequences that were read."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Final

import numpy as np

from fastgru.graph import Array
from fastgru.packing.aligned import empty

__all__ = ["Copies", "Scratch"]

_BLOCK_BYTES: Final = 4 << 20
_ALIGNMENT: Final = 64


class Scratch:
    """Arrays by name, each in memory that grows as needed."""

    def __init__(self) -> None:
        self._memory: dict[str, Array] = {}

    def take(self, name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
        """Return an array of arbitrary content. It replaces the array that was taken under this name before."""
        nbytes = prod(shape) * dtype.itemsize
        memory = self._memory.get(name)
        if memory is None or memory.nbytes < nbytes:
            memory = self._memory[name] = empty(nbytes, np.uint8)
        return memory[:nbytes].view(dtype).reshape(shape)


class Copies:
    """Copies of arrays, one after another in blocks, which are used again after `forget`.

    The first touch of a page of new memory costs more than the copy into it.
    """

    def __init__(self, most: int) -> None:
        """most: the bytes of all blocks."""
        self._block, self._blocks, self._left = min(_BLOCK_BYTES, most), list[Array](), most
        self._at, self._used = 0, 0

    def copy(self, array: Array, dtype: np.dtype[Any]) -> Array:
        """Return a copy in C order. A copy that does not fit into the blocks gets memory of its own."""
        nbytes = array.size * dtype.itemsize
        if self._used + nbytes > self._block:
            self._at, self._used = self._at + 1, 0
        if nbytes > self._block // 4 or not self._reaches(self._at):
            return np.array(array, dtype, order="C")
        made = self._blocks[self._at][self._used : self._used + nbytes].view(dtype).reshape(array.shape)
        made[...] = array
        self._used += -(-nbytes // _ALIGNMENT) * _ALIGNMENT
        return made

    def _reaches(self, at: int) -> bool:
        if at == len(self._blocks) and self._left >= self._block:
            self._blocks.append(empty(self._block, np.uint8))
            self._left -= self._block
        return at < len(self._blocks)

    def forget(self) -> None:
        """Reuse the blocks: no copy is needed any more."""
        self._at, self._used = 0, 0
