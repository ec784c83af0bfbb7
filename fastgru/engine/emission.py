"""The instructions of a plan that is being made: each has a handler, operands, and the label of its node."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from typing import Any, TypeAlias

from fastgru.engine.buffers import Buffer, View, integers
from fastgru.engine.memory import Memory, Packs
from fastgru.errors import UnsupportedModelError
from fastgru.kernels.operands.declare import Operands
from fastgru.kernels.table import Native, find
from fastgru.records import dataclass

__all__ = ["Emitter", "Given", "Instruction", "Jump", "Moved", "Scope"]

# Tensors and words by the names of a declaration.
Given: TypeAlias = Mapping[str, View | int | Sequence[View | None] | Sequence[int] | None]
Moved: TypeAlias = Callable[[View], Mapping[str, int | Sequence[int]] | None]


@dataclass(eq=False)
class Instruction:
    """A handler, its operands and their declaration, and the label of its node.

    member: the member of a team that carries it out, or `EVERYONE`. meets: whether the team may have to meet after it.
    writes: the name of the tensor that this instruction alone fills, or "".
    moved: returns the words, by name, that change for an output with other strides, or None if the handler cannot
    write with those; None if it can only write contiguous outputs.
    group: the first of the instructions that may run at the same time; see `Emitter.side_by_side`.
    block: the scope that it is in.
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
    block: Scope | None = None

    @property
    def target(self) -> View | None:
        """The tensor that `writes` names."""
        return self.tensors[getattr(self.operands.tensors.at, self.writes)] if self.writes else None

    def reaches(self) -> Iterator[View]:
        """Yield the tensors that it reads or writes."""
        return (view for view in self.tensors if view is not None)

    def redirect(self, buffer: Buffer, place: View) -> bool:
        """Write the contents of `buffer` to `place`, of the same shape, instead. Return False if the handler cannot."""
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


@dataclass(eq=False)
class Scope:
    """The whole plan, the body of a loop, or a branch, while it is emitted.

    loop: the first instruction of the loop. copies: see `LazyCopies.made_of`.
    """

    loop: Jump | None = None
    copies: dict[tuple[Any, ...], View] = field(default_factory=dict)


@dataclass(eq=False)
class Jump(Instruction):
    """An instruction of `kernels.loop`, which decides which instruction comes next.

    targets: an instruction and a distance, by the name of a word; the word is the number of the instruction that many
    places after it.
    skip: the instruction at which members of a team go on that have no part in this one.
    holds: tensors that must keep their places as if this instruction read them.
    table: further words, at the end. A buffer stands for its number among `bases`, a view for that and its offset.
    repeats: if this is the last instruction of a loop, the first one.
    """

    targets: dict[str, tuple[Instruction, int]] = field(default_factory=dict)
    skip: Instruction | None = None
    holds: Sequence[View] = ()
    table: Sequence[Buffer | View | int] = ()
    repeats: Jump | None = None

    def reaches(self) -> Iterator[View]:
        """Yield its tensors, and those that the instructions of a loop reach through addresses that move."""
        yield from super().reaches()
        yield from self.holds

    def resolve(self, numbers: Mapping[Instruction, int]) -> None:
        """Write the words that are known only when every instruction and every buffer has its place."""
        for name, (target, behind) in self.targets.items():
            self.operands.words.put(self.words, name, numbers[target] + behind)
        for entry in self.table:
            if isinstance(entry, View):
                self.words += [entry.buffer.base, entry.buffer.offset + entry.offset]
            else:
                self.words.append(entry.base if isinstance(entry, Buffer) else entry)


class Emitter(Memory):
    """Collects instructions over the tensors of a plan."""

    def __init__(self, float_dtype: str, packs: Packs, constant_bytes: int = 0) -> None:
        super().__init__(float_dtype, packs, constant_bytes)
        self.instructions: list[Instruction] = []
        self._together: int | None = None  # where the instructions that run side by side begin
        self._ahead = False
        self.scopes = [Scope()]
        self._before: int | None = None  # the number of a scope: instructions are inserted before its loop

    def emit(
        self, op: str, dtype: str, operands: Operands, given: Given, *, member: int = 0, writes: str = ""
    ) -> Instruction:
        """Append an instruction with the operands `given`, by the names of its declaration.

        member: the member of a team that carries it out, or `EVERYONE` if the handler shares the work.
        writes: the name of the whole, fresh tensor that this instruction alone fills, or "".
        """
        try:
            handler = find(op, dtype)
        except KeyError:
            raise UnsupportedModelError(
                f"{self.label}: there is no kernel {op!r} for {dtype}; cast the tensor to float32 first"
            ) from None
        tensors, words = operands.encode(given)
        if not all(isinstance(view, View | None) for view in tensors) or any(isinstance(n, View) for n in words):
            raise TypeError(f"{op}: a word for a tensor, or a tensor for a word, among the operands {[*given]}")
        instruction = Instruction(handler, operands, tensors, [*integers(words)], self.label, member, writes)
        self.append(instruction)
        return instruction

    def jump(self, op: str, operands: Operands, given: Given | None = None) -> Jump:
        """Append an instruction that decides what comes next. given: None if the operands are set later."""
        # Members meet at the end only: until then, the others have no part in the loop or branch.
        jump = Jump(find(op, "int64"), operands, [], [], self.label, 0, meets=op == "land")
        if given is not None:
            jump.tensors, jump.words = operands.encode(given)
        self.append(jump)
        return jump

    def append(self, instruction: Instruction) -> None:
        """Append an instruction that was made elsewhere."""
        for view in instruction.tensors:
            if view is not None:
                self.touch(view)
        if (target := instruction.target) is not None:
            target.buffer.writer = instruction
        if self._before is not None and (loop := self.scopes[self._before].loop) is not None:
            instruction.block = self.scopes[self._before - 1]
            self.instructions.insert(self.place_of(loop), instruction)
            return
        instruction.block = self.scopes[-1]
        if self._ahead and self._together is not None:
            self.instructions.insert(self._together, instruction)
            self._together += 1
        else:
            self.instructions.append(instruction)

    def place_of(self, instruction: Instruction) -> int:
        """Return the index of an instruction; the search begins at the end, because most callers ask for late ones."""
        steps = self.instructions
        return next(i for i in reversed(range(len(steps))) if steps[i] is instruction)

    def touch(self, view: View) -> None:
        """Count that an instruction reads or writes a tensor."""
        view.buffer.touches += 1

    @contextmanager
    def inside(self, loop: Jump | None = None) -> Iterator[None]:
        """Emit the body of a loop, or a branch: instructions that may run many times, or not at all."""
        self.scopes.append(Scope(loop))
        self.depth += loop is not None
        yield
        self.depth -= loop is not None
        self.scopes.pop()

    @contextmanager
    def outside(self, depth: int) -> Iterator[Scope]:
        """Emit before the loops that do not enclose a value made within `depth` loops. Yields the scope there."""
        inner = [i for i, scope in enumerate(self.scopes) if scope.loop is not None][depth:]
        before, self._before, own = self._before, inner[0] if inner else None, self.depth
        self.depth = min(depth, own)
        yield self.scopes[-1 if self._before is None else self._before - 1]
        self._before, self.depth = before, own

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """Emit before the instructions that run side by side, because they read what is emitted here."""
        before = self._ahead, self.label
        self._ahead = True
        yield
        self._ahead, self.label = before

    @contextmanager
    def side_by_side(self) -> Iterator[None]:
        """Emit instructions that may run at the same time, each on its own member."""
        self._together = len(self.instructions)
        yield
        together = self.instructions[self._together :]
        self._together = None
        for instruction in together:
            instruction.meets = instruction is together[-1]
            instruction.group = together[0]
