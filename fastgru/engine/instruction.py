"""One step of a program in the making."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastgru.engine.buffers import Buffer, View
from fastgru.kernels.table import Native

__all__ = ["Instruction"]


@dataclass(eq=False)
class Instruction:
    """A handler, its operands, and the node it is for.

    writes: the tensor, by its place, that the instruction fills and nothing else does, where it has one.
    moved: the words that change, by their place, for an output with other strides; None where the handler cannot.
    group: the instructions that may run at the same time; see `PlanBuilder.side_by_side`.
    """

    handler: Native
    tensors: list[View | None]
    words: list[int]
    label: str
    member: int
    writes: int | None = None
    meets: bool = True
    group: object = None
    moved: Callable[[View], Mapping[int, int] | None] | None = None

    def redirect(self, buffer: Buffer, place: View) -> bool:
        """Write what goes into `buffer` to `place`, of its shape, if the handler can."""
        if self.writes is None:
            return False
        if not place.contiguous:
            words = None if self.moved is None else self.moved(place)
            if words is None:
                return False
            for at, word in words.items():
                self.words[at] = word
        self.tensors[self.writes] = place
        return True
