"""Element-wise operations as short programs over one shape, and the pass that joins consecutive ones.

An instruction of the handler `fusion` carries its operations as `kernels.operands.fusion` declares them. A fusion whose
only reader is another fusion becomes part of that one.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import field

import numpy as np

from fastgru.engine.buffers import Buffer, View, contiguous_strides
from fastgru.engine.emission import Instruction
from fastgru.engine.lazy import LazyCopies
from fastgru.engine.memory import Memory
from fastgru.engine.positions import positions
from fastgru.engine.strides import (
    LEAST_TRANSPOSED,
    broadcast_shape,
    broadcast_strides,
    merged_axes,
    nditer_words,
    transposing,
)
from fastgru.errors import UnsupportedModelError
from fastgru.kernels.operands.fusion import (
    ARITIES,
    CODES,
    FUSION,
    MAX_REGISTERS,
    MAX_SOURCES,
    OPERATION,
    parameters,
    scratch,
)
from fastgru.kernels.table import find
from fastgru.records import dataclass

__all__ = ["Fusion", "computed", "fuse"]

_MAX_OPERATIONS = 32


@dataclass(frozen=True)
class Operation:
    """One element-wise operation.

    kind: one of `kernels.operands.fusion.CODES`. reads: what it reads, by number (sources first, then earlier
    operations). numbers: its own constants.
    """

    kind: str
    reads: tuple[int, ...]
    numbers: tuple[float, ...]


@dataclass(eq=False)
class Fusion(Instruction):
    """An instruction whose operands are written last: until then it can absorb other fusions and move its output."""

    out: View = None  # type: ignore[assignment]
    sources: list[View] = field(default_factory=list)  # all of the shape of `out`
    operations: list[Operation] = field(default_factory=list)

    def redirect(self, buffer: Buffer, place: View) -> bool:
        """Write to `place`, whatever its strides, unless a copy that exchanges rows and columns is quicker."""
        if place.size >= LEAST_TRANSPOSED and transposing(place.shape, self.out.strides, place.strides) is not None:
            return False
        self.out = place
        self.tensors[0] = place
        return True

    def straighten(self, plan: LazyCopies) -> None:
        """Emit copies of large sources that would be read element by element."""
        for k, source in enumerate(self.sources):
            spread = any(step == 0 and size > 1 for size, step in zip(source.shape, source.strides, strict=True))
            if self.group is not None or spread or source.size < LEAST_TRANSPOSED:
                continue
            if transposing(source.shape, source.strides, self.out.strides) is not None:
                self.sources[k] = plan.new(source.shape, source.dtype)
                plan.label = self.label
                plan.copy(source, self.sources[k])
        self.tensors = [self.out, *self.sources]

    def complete(self, plan: Memory) -> None:
        """Write the operands."""
        dtype = self.out.dtype
        targets, registers = _registers(len(self.sources), self.operations)
        table: list[float] = []
        program: list[int] = []
        for operation, target in zip(self.operations, targets[len(self.sources) :], strict=True):
            reads = [targets[i] for i in operation.reads]
            a, b, c = [*reads, *[reads[0]] * (3 - len(reads))]
            program += OPERATION.encode(
                {"code": CODES[operation.kind], "target": target, "a": a, "b": b, "c": c, "numbers": len(table)}
            )
            table += operation.numbers
        key = ("numbers of a fusion", *map(repr, table))
        numbers = plan.packed(key, lambda: np.array(table or [0], dtype))
        room = plan.new((scratch(dtype, registers).total,))
        shape = self.out.shape
        axes = merged_axes(shape, [broadcast_strides(v, shape) for v in (self.out, *self.sources)])
        self.tensors, self.words = FUSION.encode({
            "y": self.out, "scratch": room, "numbers": numbers,
            "sources": [*self.sources, *[None] * (MAX_SOURCES - len(self.sources))],
            "count": len(self.sources), "operations": len(self.operations), "program": program + nditer_words(axes),
        })  # fmt: skip


def computed(plan: LazyCopies, kind: str, *views: View, **numbers: float) -> View:
    """Return a fresh tensor: the operation on the views, broadcast against each other.

    kind: one of `kernels.operands.fusion.CODES`.
    """
    assert len(views) == ARITIES[kind]
    if views[0].dtype != plan.float_dtype:
        raise UnsupportedModelError(f"{kind} of {views[0].dtype} is not implemented; cast its input to float32 first")
    shape = broadcast_shape(*(v.shape for v in views))
    order = _order(shape, views)
    if order is not None:
        y = computed(plan, kind, *(_transposed(v, shape, order) for v in views), **numbers)
        back = [order.index(axis) for axis in range(len(order))]
        return y.as_strided(shape, tuple(y.strides[i] for i in back))
    views = tuple(_straight(plan, v, shape) for v in views)
    out = plan.new(shape, views[0].dtype)
    if out.size == 0:
        return out
    sources: list[View] = []
    reads = tuple(_added(sources, v.as_strided(shape, _over(v, shape))) for v in views)
    operation = Operation(kind, reads, tuple(parameters(kind, out.dtype, **numbers)))
    handler = find("fusion", out.dtype)
    plan.append(
        Fusion(
            handler, FUSION, [out, *sources], [], plan.label, 0, "y", out=out, sources=sources, operations=[operation]
        )
    )
    return out


def _order(shape: tuple[int, ...], views: Sequence[View]) -> list[int] | None:
    """Return the order of axes that makes every operand of the result's shape contiguous.

    Returns None if they are contiguous already, or if there is no such order.
    """
    whole = [v for v in views if v.shape == shape and v.size >= LEAST_TRANSPOSED]
    if not whole or whole[0].contiguous:
        return None
    order = sorted(range(len(shape)), key=lambda axis: -whole[0].strides[axis])
    straight = contiguous_strides(tuple(shape[axis] for axis in order))
    if order == sorted(order) or any(tuple(v.strides[axis] for axis in order) != straight for v in whole):
        return None
    return order


def _transposed(view: View, shape: tuple[int, ...], order: Sequence[int]) -> View:
    strides = broadcast_strides(view, shape)
    sizes = (1,) * (len(shape) - view.ndim) + view.shape
    return view.as_strided(tuple(sizes[i] for i in order), tuple(strides[i] for i in order))


def _straight(plan: LazyCopies, view: View, shape: tuple[int, ...]) -> View:
    """Return the view, or a contiguous copy if it would be read element by element.

    The output of a fusion is not copied: the reader can absorb that fusion instead.
    """
    if view.shape != shape or view.size < LEAST_TRANSPOSED or view.contiguous or view.strides[-1] in (0, 1):
        return view
    return view if isinstance(view.buffer.writer, Fusion) else plan.contiguous(view)


def _over(view: View, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(s if n != 1 else 0 for n, s in zip(shape, broadcast_strides(view, shape), strict=True))


def _added(sources: list[View], view: View) -> int:
    """Return the number of `view` among `sources`, adding it if it is not there."""
    for i, other in enumerate(sources):
        if (other.buffer, other.offset, other.strides) == (view.buffer, view.offset, view.strides):
            return i
    sources.append(view)
    return len(sources) - 1


def _registers(sources: int, operations: Sequence[Operation]) -> tuple[list[int], int]:
    """Return the register of every value, and the number of registers: one is free again after its last reader."""
    last = {i: n for n, operation in enumerate(operations) for i in operation.reads}
    targets, free, count = list(range(sources)), list[int](), sources
    for n, operation in enumerate(operations):
        free += [targets[i] for i in set(operation.reads) if i >= sources and last[i] == n]
        if not free:
            free.append(count)
            count += 1
        targets.append(free.pop())
    return targets, count


def fuse(plan: LazyCopies) -> None:
    """Join each fusion that only one other reads, element for element, to its reader; write the operands of all."""
    steps, plan.instructions = _joined(plan.instructions), []
    for instruction in steps:
        if isinstance(instruction, Fusion):
            instruction.straighten(plan)
        plan.instructions.append(instruction)
    for instruction in plan.instructions:
        if isinstance(instruction, Fusion):
            instruction.complete(plan)


def _joined(instructions: Sequence[Instruction]) -> list[Instruction]:
    touches = Counter(buffer for i in instructions for buffer in {v.buffer: None for v in i.reaches()})
    gone: set[Instruction] = set()
    for reader in instructions:
        if not isinstance(reader, Fusion) or reader.group is not None:
            continue
        k = 0
        while k < len(reader.sources):
            view = reader.sources[k]
            writer = view.buffer.writer
            if (
                isinstance(writer, Fusion)
                and writer.group is None
                and writer is not reader
                and writer.block is reader.block
                and view.buffer.kind == "arena"
                and touches[view.buffer] == 2
                and (shared := _taken_in(reader, writer, view)) is not None
            ):
                gone.add(writer)
                touches.subtract(shared)
                k = 0
            else:
                k += 1
    return [i for i in instructions if i not in gone]


def _taken_in(reader: Fusion, writer: Fusion, view: View) -> set[Buffer] | None:
    """Join the writer of `view` to its only reader, and return the buffers that both read.

    Returns None, and changes nothing, if the two cannot be joined.
    """
    if writer.out.buffer is not view.buffer or not writer.out.whole or view.size != writer.out.size:
        return None
    if sum(s.buffer is view.buffer for s in reader.sources) > 1:
        return None
    where = positions(view, writer.out.shape)
    if where is None:
        return None
    factors = [f for of_axis in where.factors for f in of_axis]
    moving = [f.axis for f in factors if f.axis >= 0]
    if any(f.axis < 0 and f.size > 1 for f in factors) or len(set(moving)) < len(moving):
        return None
    through = [where.through(s, (0,) * writer.out.ndim) for s in writer.sources]
    if None in through:
        return None
    sources: list[View] = []
    early = [_added(sources, s) for s in through if s is not None]
    late = [-1 if s is view else _added(sources, s) for s in reader.sources]
    operations = [_renumbered(o, early, len(writer.sources), len(sources)) for o in writer.operations]
    result = len(sources) + len(operations) - 1
    late = [result if i < 0 else i for i in late]
    operations += [_renumbered(o, late, len(reader.sources), result + 1) for o in reader.operations]
    if len(sources) > MAX_SOURCES or len(operations) > _MAX_OPERATIONS:
        return None
    if _registers(len(sources), operations)[1] > MAX_REGISTERS:
        return None
    shared = {v.buffer for v in writer.sources} & {v.buffer for v in reader.sources}
    reader.sources, reader.operations = sources, operations
    reader.tensors = [reader.out, *sources]
    return shared


def _renumbered(operation: Operation, sources: Sequence[int], before: int, after: int) -> Operation:
    """Return the operation with new numbers for what it reads.

    sources: the new numbers of its sources. Operations were numbered from `before`, and are numbered from `after` now.
    """
    reads = tuple(sources[i] if i < before else i - before + after for i in operation.reads)
    return Operation(operation.kind, reads, operation.numbers)
