"""The outputs of a step as bytes, and back: what every protocol needs to say an answer again."""

from collections.abc import Sequence
from math import prod
from struct import pack, unpack_from
from typing import Any, Final

import numpy as np

from fastgru.graph import Array

__all__ = ["Answers"]

_KEPT: Final = 256  # heads of answers


class Answers:
    """Those of one model. dtypes: of its outputs.

    An answer is, of each output, the number of its axes (a byte) and its sizes (8 bytes each), then the values.
    """

    def __init__(self, dtypes: Sequence[np.dtype[Any]]) -> None:
        self._dtypes = tuple(dtypes)
        self._heads: dict[tuple[int, ...], bytes] = {}  # of the models with one output, by its shape

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
        """The inverse: arrays that can be written into."""
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
