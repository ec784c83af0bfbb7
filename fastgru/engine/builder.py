"""Assembles a program: instructions over views, then addresses for every buffer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from math import prod
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.arena import most_alive, place
from fastgru.engine.buffers import Buffer, Constant, Region, Value, View, contiguous_strides, integers, itemsize, whole
from fastgru.engine.fusion import Fusion, join
from fastgru.engine.instruction import Instruction
from fastgru.engine.lazy import assemble, flush, resolved
from fastgru.engine.precision import LOWP, WeightPrecision, node_name
from fastgru.engine.program import Program, Slot
from fastgru.engine.room import Room
from fastgru.engine.strides import LEAST_TRANSPOSED, broadcast_strides, merged_axes, nditer_words, transposing
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Node
from fastgru.kernels.operands.declare import Operands
from fastgru.kernels.run import EVERYONE, HEAD, LOOKS, MEETS, PROGRAM
from fastgru.kernels.table import BASES, find
from fastgru.packing.aligned import empty
from fastgru.reference.operator import is_floating

__all__ = ["MAX_RANK", "Packs", "PlanBuilder"]

MAX_RANK = 6  # axes that a strided copy walks

# Signals are looked for after instructions that have gone over so much, unless they do that themselves.
_LOOK_BYTES: Final = 1 << 21

Packs = dict[tuple[str, ...], NDArray[Any]]


class PlanBuilder:
    """One plan in the making.

    float_dtype: the dtype of every floating-point intermediate.
    members: threads that may run the plan together.
    packs: packed weights, shared by the plans of one executable; see `packed`.
    precisions: of the weights of nodes, see `weight_precision`.
    constant_bytes: of the constants of the graph, see `Room`.
    """

    def __init__(
        self,
        float_dtype: str,
        packs: Packs,
        members: int = 1,
        precisions: Mapping[str, WeightPrecision] = MappingProxyType({}),
        constant_bytes: int = 0,
    ) -> None:
        self.room = Room(constant_bytes)
        self.float_dtype, self.members = float_dtype, members
        self._precisions = precisions
        self.gain_s = 0.0  # seconds that the team saves, by estimate
        self._packs = packs
        self._buffers: list[Buffer] = []
        self._constants: dict[int, Buffer] = {}
        self._instructions: list[Instruction] = []
        self._copies: dict[tuple[Any, ...], View] = {}
        self._region: int | None = None  # where the instructions that run side by side begin
        self._ahead = False
        self.label = ""

    def lowp_weights(self, node: Node) -> str | None:
        """The precision of the node's weights, "bfloat16" or "int8"; None where they have the dtype of the plan."""
        chosen = self._precisions.get(node_name(node))
        return chosen.precision if chosen is not None and chosen.precision in LOWP else None

    # Values

    def input(self, name: str, shape: tuple[int, ...], dtype: str) -> View:
        """A view of memory that the caller brings."""
        buffer = self._buffer(prod(whole(shape)) * itemsize(dtype), "input", name)
        self.room.given += buffer.nbytes
        return View(buffer, 0, shape, contiguous_strides(shape), dtype)

    def new(self, shape: Sequence[int], dtype: str | None = None) -> View:
        """A fresh contiguous tensor in the arena. `ShapeError` where a plan of these inputs has no room for it."""
        shape, dtype = whole(shape), dtype or self.float_dtype
        buffer = self._buffer(self.room_for(shape, dtype), "arena")
        buffer.shape = shape
        return View(buffer, 0, shape, contiguous_strides(shape), dtype)

    def room_for(self, shape: Sequence[int], dtype: str) -> int:
        """The bytes of a tensor; `ShapeError` where they are out of all proportion to inputs and constants."""
        nbytes = prod(whole(shape)) * itemsize(dtype)
        if nbytes > self.room.left:
            self.room.check(nbytes, f"{self.label}: a tensor of shape {tuple(shape)}")
        return nbytes

    def constant(self, array: NDArray[Any]) -> View:
        """A constant as it stands: the array must be contiguous and is kept alive by the program."""
        shape = array.shape
        array = np.ascontiguousarray(array)  # which gives a number an axis
        buffer = self._constants.get(id(array))
        if buffer is None:
            buffer = self._buffer(array.nbytes, "constant")
            buffer.data = array
            self._constants[id(array)] = buffer
            self.room.hold([array], self.label)
        return View(buffer, 0, shape, contiguous_strides(shape), array.dtype.name)

    def packed(
        self, key: tuple[str, ...], make: Callable[[], NDArray[Any]], sources: Sequence[Value | None] = ()
    ) -> View:
        """A constant made once for all plans of the executable; `key` names the weights and the layout.

        sources: what it is made of. Where one is known in this plan only, the constant belongs to this plan alone.
        """
        return self.constant(self.kept(key, make, sources))

    def kept(
        self, key: tuple[str, ...], make: Callable[[], NDArray[Any]], sources: Sequence[Value | None] = ()
    ) -> NDArray[Any]:
        """As `packed`, for what planning itself reads."""
        if any(isinstance(source, Constant) and not source.name for source in sources):
            return make()
        if key not in self._packs:
            self._packs[key] = make()
        return self._packs[key]

    def view(self, value: Value) -> View:
        """A value as a tensor; a known one becomes a constant in the dtype it is computed in."""
        if isinstance(value, View):
            return resolved(value)
        return self.packed((value.name, "as it is"), lambda: self._aligned(value.array), [value])

    def floats(self, value: Value, name: str = "x") -> View:
        """A value as a tensor of floats; `ShapeError` for one of anything else."""
        if (dtype := self.dtype(value)) != self.float_dtype:
            raise ShapeError(f"{name} has dtype {dtype}, expected a float")
        return self.view(value)

    def dtype(self, value: Value) -> str:
        """The dtype in which the plan computes with a value: one for everything floating."""
        return self.float_dtype if is_floating(value.dtype) else value.dtype

    def _aligned(self, array: NDArray[Any]) -> NDArray[Any]:
        aligned = empty(array.shape, self.float_dtype if is_floating(array.dtype) else array.dtype)
        aligned[...] = array
        return aligned

    def contiguous(self, value: Value) -> View:
        """The value in C order, copied if it is not."""
        view = self.view(value)
        if view.contiguous:
            return View(view.buffer, view.offset, view.shape, contiguous_strides(view.shape), view.dtype)
        key = (view.buffer, view.offset, view.shape, view.strides, view.dtype)
        if key not in self._copies:
            self._copies[key] = self.assemble(view.shape, view.dtype, [Region((0,) * view.ndim, view, self.label)])
        return self._copies[key]

    def rows(self, value: Value) -> View:
        """The value as it lies where it lies in rows, or where bringing it into rows takes long; else copied."""
        view = self.view(value)
        if view.size < LEAST_TRANSPOSED or view.strides[-1] == 1:
            return view
        quick = transposing(list(view.shape), list(view.strides), list(contiguous_strides(view.shape)))
        return view if quick is None else self.contiguous(view)

    def broadcast_rows(self, shape: tuple[int, ...], views: Sequence[View]) -> tuple[list[View], list[int]]:
        """The views, and how a kernel goes over them as `shape`: a view that does not lie in rows is copied.

        The stride within a row is 0 or 1.
        """
        views = list(views)
        axes = merged_axes(shape, [broadcast_strides(v, shape) for v in views])
        if uneven := [k for k, step in enumerate(axes[-1][1]) if step not in (0, 1)]:
            for k in uneven:
                views[k] = self.contiguous(views[k])
            axes = merged_axes(shape, [broadcast_strides(v, shape) for v in views])
        return views, nditer_words(axes)

    def assemble(self, shape: Sequence[int], dtype: str, regions: Sequence[Region]) -> View:
        """A tensor of boxes that are views of others, copied together when an instruction reads it; a later one hides
        the earlier ones."""
        return assemble(self, shape, dtype, regions)

    def copy(self, source: View, target: View) -> None:
        """Element by element, any strides on both sides; shapes are equal."""
        if source.size == 0:
            return
        axes = merged_axes(source.shape, [source.strides, target.strides])
        shape, strides_in, strides_out = [n for n, _ in axes], [s[0] for _, s in axes], [s[1] for _, s in axes]
        if len(shape) > MAX_RANK:
            raise UnsupportedModelError(
                f"{self.label}: a copy over {len(shape)} axes; at most {MAX_RANK} are supported: merge some axes"
            )
        op, width = "copy", 8 * itemsize(source.dtype)
        if width >= 32 and source.size >= LEAST_TRANSPOSED and (order := transposing(shape, strides_in, strides_out)):
            op = "transpose"
            shape, strides_in, strides_out = ([a[i] for i in order] for a in (shape, strides_in, strides_out))
        lead = MAX_RANK - len(shape)
        words = [*[1] * lead, *shape, *[0] * lead, *strides_in, *[0] * lead, *strides_out]
        self.emit(op, f"int{width}", [source, target], words)

    # Instructions

    def emit(
        self,
        op: str,
        dtype: str,
        operands: Any,
        given: Any = (),
        rest: Sequence[int] = (),
        *,
        member: int = 0,
        writes: Any = None,
        moved: Callable[[View], Mapping[int, int] | None] | None = None,
    ) -> None:
        """Append an instruction with the operands `given` by the names of its declaration.

        rest: the words behind the named ones.
        member: the member of a team that carries it out, or `EVERYONE` where the handler shares it out.
        writes: the whole fresh tensor that this instruction alone fills, where there is one.
        moved: see `Instruction`.
        """
        try:
            handler = find(op, dtype)
        except KeyError:
            raise UnsupportedModelError(
                f"{self.label}: there is no kernel {op!r} for {dtype}; cast the tensor to float32 before it"
            ) from None
        if isinstance(operands, Operands):
            tensors, words = operands.encode(given, rest)
            writes = operands.tensor(writes) if writes else None
        else:  # an instruction that is not declared yet: tensors and words in their order
            tensors, words = list(operands), given
        self.append(Instruction(handler, tensors, [*integers(words)], self.label, member, writes, moved=moved))

    def append(self, instruction: Instruction) -> None:
        """An instruction made elsewhere."""
        for view in instruction.tensors:
            if view is not None:
                flush(self, view.buffer)
                view.buffer.touches += 1
        if instruction.writes is not None and (target := instruction.tensors[instruction.writes]) is not None:
            target.buffer.writer = instruction
        if self._ahead and self._region is not None:
            self._instructions.insert(self._region, instruction)
            self._region += 1
        else:
            self._instructions.append(instruction)

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
        self._region = len(self._instructions)
        yield
        together = self._instructions[self._region :]
        self._region = None
        for instruction in together:
            instruction.meets = instruction is together[-1]
            instruction.group = together[0]

    def _set_lives(self) -> None:
        """Between which instructions each buffer has to keep its place."""
        groups: dict[int, list[int]] = {}
        for number, instruction in enumerate(self._instructions):
            if instruction.group is not None:
                groups.setdefault(id(instruction.group), []).append(number)
        for number, instruction in enumerate(self._instructions):
            span = groups.get(id(instruction.group), [number])
            for view in instruction.tensors:
                if view is not None:
                    buffer = view.buffer
                    buffer.first = span[0] if buffer.first is None else min(buffer.first, span[0])
                    buffer.last = max(buffer.last, span[-1])

    def finish(self, inputs: dict[str, View], outputs: dict[str, Value]) -> Program:
        """Give every buffer its address and write the words."""
        finals = {name: self._as_output(name, value) for name, value in outputs.items()}
        steps, self._instructions = join(self._instructions), []
        for instruction in steps:
            if isinstance(instruction, Fusion):
                instruction.straighten(self)
            self._instructions.append(instruction)
        for instruction in self._instructions:
            if isinstance(instruction, Fusion):
                instruction.complete(self)
        for instruction in self._instructions:
            if outside := next((v for v in instruction.tensors if v is not None and not v.inside), None):
                raise ShapeError(f"{instruction.label}: {instruction.handler.name} reaches beyond a tensor: {outside}")
        self._set_lives()
        arena = [b for b in self._buffers if b.kind == "arena"]
        results = sum(b.nbytes for b in self._buffers if b.kind == "output")
        self.room.check(results + most_alive(arena), "the plan")
        arena_bytes = place(arena)
        self.room.check(results + arena_bytes, "the plan")
        bases = [0] * BASES.words
        for instruction in self._instructions:
            for name in instruction.handler.microkernels:
                bases[getattr(BASES, name)] = find(name, self.float_dtype).address
        constants = []
        for buffer in self._buffers:
            if buffer.kind == "arena":
                buffer.base = BASES.arena
                continue
            buffer.base = len(bases)
            bases.append(0)
            if buffer.data is not None:
                constants.append(buffer.data)
                bases[-1] = buffer.data.ctypes.data
        shared = {id(array) for array in self._packs.values()}
        heads: list[int] = [len(self._instructions)]
        work = 0
        operands: list[int] = []
        first = PROGRAM.heads + HEAD.words * len(self._instructions)
        for instruction, after in zip_longest(self._instructions, self._instructions[1:]):
            alone = after is not None and instruction.member == after.member != EVERYONE
            meets = instruction.meets and not alone
            work += 512 + sum(view.size * itemsize(view.dtype) for view in instruction.tensors if view is not None)
            after_it = (MEETS if meets else 0) | (LOOKS if work > _LOOK_BYTES else 0)
            work = work if work <= _LOOK_BYTES else 0
            heads += [instruction.handler.address, first + len(operands), instruction.member, after_it]
            for view in instruction.tensors:
                operands += [-1, 0] if view is None else [view.buffer.base, view.buffer.offset + view.offset]
            operands += instruction.words
        return Program(
            words=np.array(heads + operands, np.int64),
            bases=np.array(bases, np.int64),
            arena_bytes=arena_bytes,
            inputs={name: Slot(v.buffer.base, v.shape, v.dtype) for name, v in inputs.items()},
            outputs={name: Slot(v.buffer.base, v.shape, v.dtype) for name, v in finals.items()},
            constants=tuple(constants),
            own_bytes=sum(array.nbytes for array in constants if id(array) not in shared),
            labels=tuple(i.label for i in self._instructions),
            names=tuple(i.handler.name for i in self._instructions),
            handlers=tuple(sorted({i.handler.name for i in self._instructions})),
            members=self.members,
            gain_s=self.gain_s,
        )

    def _as_output(self, name: str, value: Value) -> View:
        """The value in a buffer of its own that the caller brings: the arena buffer it fills is turned into one."""
        self.label = f"output {name!r}"
        view = self.view(value)
        if not (view.whole and view.buffer.kind == "arena"):
            view = self.assemble(view.shape, view.dtype, [Region((0,) * view.ndim, view)])
        flush(self, view.buffer)
        view.buffer.kind, view.buffer.name = "output", name
        return view

    def _buffer(self, nbytes: int, kind: Any, name: str = "") -> Buffer:
        buffer = Buffer(nbytes, kind, name)
        self._buffers.append(buffer)
        return buffer
