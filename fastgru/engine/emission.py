"""The instructions of a plan in the making: each a handler, its operands, and the node that it is for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from fastgru.engine.buffers import Buffer, View, integers
from fastgru.engine.memory import Memory, Packs
from fastgru.errors import UnsupportedModelError
from fastgru.kernels.operands.declare import Operands
from fastgru.kernels.table import Native, find

__all__ = ["Emitter", "Given", "Instruction", "Moved"]

# Tensors and words by the names of a declaration.
Given: TypeAlias = Mapping[str, View | int | Sequence[View | None] | Sequence[int] | None]
Moved: TypeAlias = Callable[[View], Mapping[str, int | Sequence[int]] | None]


@dataclass(eq=False)
class Instruction:
    """A handler, its operands and how they are declared, and the label of the node it is for.

    writes: the name of the tensor that the instruction fills and nothing else does, where it has one.
    moved: the words that change, by name, for an output with other strides; None where the handler cannot.
    group: the instructions that may run at the same time; see `Emitter.side_by_side`.
    """

    handler: Native
    operands: Operands
    tensors: list[View | None]
    words: list[int]
    label: str
    member: int
    writes: str = ""
    meets: bool = True
    group: object = None
    moved: Moved | None = None

    @property
    def target(self) -> View | None:
        """The tensor that `writes` names."""
        return self.tensors[getattr(self.operands.tensors.at, self.writes)] if self.writes else None

    def redirect(self, buffer: Buffer, place: View) -> bool:
        """Write what goes into `buffer` to `place`, of its shape, if the handler can."""
        if not self.writes:
            return False
        if not place.contiguous:
            words = None if self.moved is None else self.moved(place)
            if words is None:
                return False
            for name, word in words.items():
                self.operands.words.put(self.words, name, word)
        self.operands.tensors.put(self.tensors, self.writes, place)
        return True


class Emitter(Memory):
    """Takes down instructions over the tensors of a plan."""

    def __init__(self, float_dtype: str, packs: Packs, constant_bytes: int = 0) -> None:
        super().__init__(float_dtype, packs, constant_bytes)
        self.instructions: list[Instruction] = []
        self._together: int | None = None  # where the instructions that run side by side begin
        self._ahead = False

    def emit(
        self, op: str, dtype: str, operands: Operands, given: Given, *, member: int = 0, writes: str = ""
    ) -> Instruction:
        """Append an instruction with the operands `given` by the names of its declaration.

        member: the member of a team that carries it out, or `EVERYONE` where the handler shares it out.
        writes: the whole fresh tensor that this instruction alone fills, where there is one.
        """
        try:
            handler = find(op, dtype)
        except KeyError:
            raise UnsupportedModelError(
                f"{self.label}: there is no kernel {op!r} for {dtype}; cast the tensor to float32 before it"
            ) from None
        tensors, words = operands.encode(given)
        if not all(isinstance(view, View | None) for view in tensors) or any(isinstance(n, View) for n in words):
            raise TypeError(f"{op}: a word for a tensor, or a tensor for a word, among the operands {[*given]}")
        instruction = Instruction(handler, operands, tensors, [*integers(words)], self.label, member, writes)
        self.append(instruction)
        return instruction

    def append(self, instruction: Instruction) -> None:
        """An instruction made elsewhere."""
        for view in instruction.tensors:
            if view is not None:
                self.touch(view)
        if (target := instruction.target) is not None:
            target.buffer.writer = instruction
        if self._ahead and self._together is not None:
            self.instructions.insert(self._together, instruction)
            self._together += 1
        else:
            self.instructions.append(instruction)

    def touch(self, view: View) -> None:
        """Count that an instruction reads or writes a tensor."""
        view.buffer.touches += 1

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """What is emitted inside comes before the instructions that run side by side, whose inputs it makes."""
        before = self._ahead, self.label
        self._ahead = True
        yield
        self._ahead, self.label = before

    @contextmanager
    def side_by_side(self) -> Iterator[None]:
        """The instructions emitted inside may run at the same time, on members of their own."""
        self._together = len(self.instructions)
        yield
        together = self.instructions[self._together :]
        self._together = None
        for instruction in together:
            instruction.meets = instruction is together[-1]
            instruction.group = together[0]
