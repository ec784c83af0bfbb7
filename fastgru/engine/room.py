"""The limit on a plan's memory: its arena, its outputs, and the constants that planning makes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from numpy.typing import NDArray

from fastgru.errors import ShapeError

__all__ = ["Room"]

# A plan may take this many bytes, or this multiple of its inputs and constants: a small file must not fill the memory.
_ROOM_BYTES: Final = 1 << 30
_GROWTH: Final = 1 << 10


class Room:
    """The memory that a plan may still take.

    given: bytes of the inputs and of the constants of the graph. made: bytes of the constants made so far.
    """

    def __init__(self, given: int = 0) -> None:
        self.given, self.made = given, 0

    @property
    def left(self) -> int:
        """Bytes that the plan may still take."""
        return max(_ROOM_BYTES, _GROWTH * self.given) - self.made

    def hold(self, arrays: Iterable[NDArray[Any]], what: str) -> None:
        """Count constants that planning has made. Raises `ShapeError` if they take too much."""
        self.made += sum(array.nbytes for array in arrays)
        self.check(0, what)

    def check(self, nbytes: int, what: str) -> None:
        """Raise `ShapeError` unless there is room for `nbytes`."""
        if nbytes > self.left:
            raise ShapeError(
                f"{what} takes {nbytes} bytes, expected at most {max(self.left, 0)} for {self.given} bytes of inputs"
                f" and constants, of which computed constants already take {self.made}"
            )
