"""One step of a program in the making."""

from __future__ import annotations

from dataclasses import dataclass

from fastgru.engine.view import Buffer, View
from fastgru.kernels.table import Native

__all__ = ["Instruction"]


@dataclass(eq=False)
class Instruction:
    """A handler, its operands, and the node it is for.

    writes: the tensor, by its place, that the instruction fills and nothing else does, where it has one.
    group: the instructions that may run at the same time; see `Builder.side_by_side`.
    """

    handler: Native
    tensors: list[View | None]
    words: list[int]
    label: str
    lane: int
    writes: int | None = None
    meets: bool = True
    group: object = None

    def redirect(self, buffer: Buffer, place: View) -> bool:
        """Write what goes into `buffer` to `place`, of its shape, if the handler can: one that does not take strides
        for what it writes needs a contiguous one."""
        if self.writes is None or not place.contiguous:
            return False
        self.tensors[self.writes] = place
        return True
