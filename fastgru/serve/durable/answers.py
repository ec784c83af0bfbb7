"""The outputs of a step as bytes and back, so that every protocol can repeat an answer."""

from collections.abc import Sequence
from math import prod
from struct import pack, unpack_from
from typing import Any, Final

import numpy as np

from fastgru.graph import Array

__all__ = ["Answers"]

_KEPT: Final = 256  # how many heads of answers are cached


class Answers:
    """The answers of one model. dtypes: those of its outputs.

    An answer begins with the number of axes (one byte) and the sizes (8 bytes each) of every output. The values follow.
    """

    def __init__(self, dtypes: Sequence[np.dtype[Any]]) -> None:
        self._dtypes = tuple(dtypes)
        self._heads: dict[tuple[int, ...], bytes] = {}  # by the shape of the output; for models with only one output

    def write(self, outputs: tuple[Array, ...]) -> bytes:
        if len(outputs) == 1:
            array = outputs[0]
            head = self._heads.get(array.shape)
            if head is None:
                if len(self._heads) >= _KEPT:
                    self._heads.clear()
                head = self._heads[array.shape] = _head(array)
            return head + array.tobytes()
        return b"".join([*map(_head, outputs), *[array.tobytes() for array in outputs]])

    def read(self, text: bytes) -> tuple[Array, ...]:
        """Return the outputs that `write` was given, as writable arrays."""
        shapes, at = [], 0
        for _ in self._dtypes:
            axes = text[at]
            shapes.append(unpack_from(f"<{axes}Q", text, at + 1))
            at += 1 + 8 * axes
        arrays: list[Array] = []
        for dtype, shape in zip(self._dtypes, shapes, strict=True):
            count = prod(shape)
            arrays.append(
                np.frombuffer(text, dtype, count, at).reshape(shape).copy() if count else np.empty(shape, dtype)
            )
            at += count * dtype.itemsize
        return tuple(arrays)


def _head(array: Array) -> bytes:
    return pack(f"<B{array.ndim}Q", array.ndim, *array.shape)
