"""Encode the instructions of a plan as a program: give every buffer a place and a base, then write the words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.arena import most_alive, place
from fastgru.engine.buffers import Buffer, View, itemsize
from fastgru.engine.emission import Emitter, Instruction, Jump
from fastgru.engine.memory import Memory
from fastgru.engine.program import Program, Slot
from fastgru.errors import ShapeError
from fastgru.kernels.compiling import ensure
from fastgru.kernels.run import EVERYONE, HEAD, JUMPS, LOOKS, MEETS, PROGRAM
from fastgru.kernels.table import BASES, find

__all__ = ["encode"]

# A run looks for signals each time that its instructions have read or written this many bytes.
_LOOK_BYTES: Final = 1 << 21


def encode(
    plan: Emitter, inputs: Mapping[str, View], outputs: Mapping[str, View], *, members: int, gain_s: float,
    open_ended: Sequence[str] = (),
) -> Program:  # fmt: skip
    """Return the program of a plan whose instructions are complete.

    members, gain_s, open_ended: see `Program`. Raises `ShapeError` if an instruction reaches beyond a tensor, or if the
    plan takes too much memory.
    """
    steps = plan.instructions
    for step in steps:
        if outside := next((v for v in step.tensors if v is not None and not v.inside), None):
            raise ShapeError(f"{step.label}: {step.handler.name} reaches beyond a tensor: {outside}")
    _set_lives(steps)
    arena_bytes = _placed(plan)
    bases, constants = _bases(plan)
    shared = {id(array) for array in plan.packs.values()}
    return Program(
        words=_words(steps),
        bases=bases,
        arena_bytes=arena_bytes,
        inputs={name: Slot(v.buffer.base, v.shape, v.dtype) for name, v in inputs.items()},
        outputs={name: Slot(v.buffer.base, v.shape, v.dtype) for name, v in outputs.items()},
        constants=constants,
        own_bytes=sum(array.nbytes for array in constants if id(array) not in shared),
        labels=tuple(step.label for step in steps),
        names=tuple(step.handler.name for step in steps),
        handlers=tuple(sorted({step.handler.name for step in steps})),
        members=members,
        gain_s=gain_s,
        open_ended=tuple(open_ended),
    )


def _set_lives(steps: Sequence[Instruction]) -> None:
    """Set the first and last instruction between which each buffer must keep its place."""
    groups: dict[int, list[int]] = {}
    for number, step in enumerate(steps):
        if step.group is not None:
            groups.setdefault(id(step.group), []).append(number)
    touched: dict[Buffer, list[int]] = {}
    for number, step in enumerate(steps):
        span = groups.get(id(step.group), [number])
        for view in step.reaches():
            for buffer in (view.buffer, *view.buffer.over):
                touched.setdefault(buffer, []).extend((span[0], span[-1]))
    around = _loops_around(steps)
    for buffer, where in touched.items():
        buffer.first, buffer.last = first, last = min(where), max(where)
        # A buffer that a body reads but does not fill in the same iteration must survive until the next iteration.
        for begin, end in {loop for at in where for loop in around[at]}:
            if first <= begin or last >= end:
                buffer.first, buffer.last = min(buffer.first, begin), max(buffer.last, end)


def _loops_around(steps: Sequence[Instruction]) -> list[tuple[tuple[int, int], ...]]:
    """Return, for each instruction, the first and last instruction of every loop around it."""
    begins = {step.repeats: number for number, step in enumerate(steps) if isinstance(step, Jump) and step.repeats}
    around, inside = [], list[tuple[int, int]]()
    for number, step in enumerate(steps):
        if inside and inside[-1][1] == number:
            inside.pop()
        around.append(tuple(inside))
        if isinstance(step, Jump) and step in begins:
            inside.append((number, begins[step]))
    return around


def _placed(memory: Memory) -> int:
    """Give every buffer of the arena its place, and return the bytes that they take together."""
    arena = [b for b in memory.buffers if b.kind == "arena"]
    results = sum(b.nbytes for b in memory.buffers if b.kind == "output")
    memory.room.check(results + most_alive(arena), "the plan")
    arena_bytes = place(arena)
    memory.room.check(results + arena_bytes, "the plan")
    return arena_bytes


def _bases(plan: Emitter) -> tuple[NDArray[np.int64], tuple[NDArray[Any], ...]]:
    """Return the base addresses, and the constants that some of them point to. 0: known only when the program runs."""
    ensure((step.handler for step in plan.instructions), plan.float_dtype)
    bases = [0] * BASES.words
    for step in plan.instructions:
        for name in step.handler.microkernels:
            bases[getattr(BASES, name)] = find(name, plan.float_dtype).address
    constants = []
    for buffer in plan.buffers:
        if buffer.kind == "arena":
            buffer.base = BASES.arena
            continue
        if buffer.alias is not None:
            continue
        buffer.base = len(bases)
        bases.append(0)
        if buffer.data is not None:
            constants.append(buffer.data)
            bases[-1] = buffer.data.ctypes.data
    for buffer in plan.buffers:
        if buffer.alias is not None:
            buffer.base = buffer.alias.base
    return np.array(bases, np.int64), tuple(constants)


def _words(steps: Sequence[Instruction]) -> NDArray[np.int64]:
    """Return the instructions in the words that `kernels.run` reads."""
    numbers = {step: number for number, step in enumerate(steps)}
    heads: list[int] = [len(steps)]
    operands: list[int] = []
    work, first = 0, PROGRAM.heads + HEAD.words * len(steps)
    for step, after in zip_longest(steps, steps[1:]):
        # Instructions that run side by side belong to any member, and all of them wait for what comes before.
        alone = after is not None and after.group is None and step.member == after.member != EVERYONE
        ends = after is None and not isinstance(step, Jump)  # all meet at the end of a run
        meets = step.meets and not alone and not ends
        work += 512 + sum(view.size * itemsize(view.dtype) for view in step.tensors if view is not None)
        after_it = (MEETS if meets else 0) | (LOOKS if work > _LOOK_BYTES else 0)
        work, skip = work if work <= _LOOK_BYTES else 0, 0
        if isinstance(step, Jump):
            step.resolve(numbers)
            after_it |= JUMPS if step.skip is not None else 0
            skip = 0 if step.skip is None else numbers[step.skip]
        heads += [step.handler.address, first + len(operands), step.member, after_it, skip, 0]
        for view in step.tensors:
            operands += [-1, 0] if view is None else [view.buffer.base, view.buffer.offset + view.offset]
        operands += step.words
    return np.array(heads + operands, np.int64)
