"""Loops and branches within a program: see `kernels.operands.loop`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from fastgru.kernels.operands.loop import BRANCH, JUMP, LOOP, MOVE, RECORD, STATE
from fastgru.kernels.operands.team import LOOK_WORK, STATUS
from fastgru.kernels.registry import BASES, fail, handler, kernel, tensor
from fastgru.kernels.table import DEAD_END, PAUSED, TOO_MANY_ITERATIONS
from fastgru.kernels.team import spend
from fastgru.simd.memory import offset, pointer

__all__ = ["branch", "dead_end", "jump", "land", "loop_begin", "loop_next"]

AT = LOOP.at
ON, TO = BRANCH.at, JUMP.at

_ENDLESS: Final = 1 << 62


@kernel
def _place(bases, base, at):
    return bases[base] + at


@kernel
def _go_on(operands, record, bases, status):
    """Go on to the next iteration if there is one, otherwise to the end."""
    status[STATUS.next] = operands[AT.end]
    if record[RECORD.iteration] < record[RECORD.trips]:
        status[STATUS.iterations] += operands[AT.counts]
        if status[STATUS.iterations] > operands[AT.most]:
            fail(bases, TOO_MANY_ITERATIONS, operands[AT.most], 0)
        else:
            status[STATUS.next] = operands[AT.first]


@kernel
def _set_off(bases, moves, count):
    for i in range(count):
        move = offset(moves, MOVE.words * i)
        bases[move[MOVE.base]] = _place(bases, move[MOVE.from_base], move[MOVE.from_at])


@kernel
def _move_on(bases, moves, count):
    for i in range(count):
        move = offset(moves, MOVE.words * i)
        bases[move[MOVE.base]] += move[MOVE.step]


@handler("loop_begin", "int64")
def loop_begin(dtype: str) -> Any:
    """Set the number of iterations, and every address for the first one."""

    def handle(operands, bases, team):
        status, record = pointer(bases[BASES.status], "int64"), pointer(tensor(bases, operands, AT.record), "int64")
        trips = operands[AT.trips]
        if trips < 0:
            trips = np.int64(_ENDLESS)
        limit, condition = tensor(bases, operands, AT.limit), tensor(bases, operands, AT.condition)
        if limit != 0:
            trips = min(trips, max(pointer(limit, "int64")[0], 0))
        if condition != 0 and pointer(condition, "uint8")[0] == 0:
            trips = np.int64(0)
        if operands[AT.outermost] != 0:
            status[STATUS.iterations] = 0
        record[RECORD.iteration], record[RECORD.trips] = 0, trips
        record[RECORD.look], record[RECORD.row] = LOOK_WORK, 0
        table = offset(operands, AT.table)
        for i in range(operands[AT.states]):
            state = offset(table, STATE.words * i)
            bases[state[STATE.now]] = _place(bases, state[STATE.first_base], state[STATE.first_at])
            bases[state[STATE.following]] = _place(bases, state[STATE.even_base], state[STATE.even_at])
        _set_off(bases, offset(table, STATE.words * operands[AT.states]), operands[AT.sequences] + operands[AT.stacked])
        if operands[AT.rows] != 0:
            status[STATUS.rows] = 0
        _go_on(operands, record, bases, status)

    return handle


@handler("loop_next", "int64")
def loop_next(dtype: str) -> Any:
    """End an iteration: the next states become the present ones, and all moving addresses advance."""

    def handle(operands, bases, team):
        status, record = pointer(bases[BASES.status], "int64"), pointer(tensor(bases, operands, AT.record), "int64")
        left = spend(record[RECORD.look], operands[AT.work], team, bases)
        status[STATUS.next] = operands[AT.end]
        if left < 0:
            return
        record[RECORD.look] = left
        record[RECORD.iteration] += 1
        record[RECORD.row] += 1
        going = tensor(bases, operands, AT.going)
        if going != 0 and pointer(going, "uint8")[0] == 0:
            record[RECORD.trips] = record[RECORD.iteration]
        table = offset(operands, AT.table)
        for i in range(operands[AT.states]):
            state = offset(table, STATE.words * i)
            odd = _place(bases, state[STATE.odd_base], state[STATE.odd_at])
            bases[state[STATE.now]] = bases[state[STATE.following]]
            if bases[state[STATE.following]] == odd:
                odd = _place(bases, state[STATE.even_base], state[STATE.even_at])
            bases[state[STATE.following]] = odd
        if operands[AT.rows] != 0:
            status[STATUS.rows] = record[RECORD.row]
        _go_on(operands, record, bases, status)
        if status[STATUS.next] != operands[AT.first]:
            return
        moves = offset(table, STATE.words * operands[AT.states])
        stacked = offset(moves, MOVE.words * operands[AT.sequences])
        _move_on(bases, moves, operands[AT.sequences])
        if operands[AT.rows] != 0 and record[RECORD.row] == operands[AT.rows]:
            record[RECORD.row] = 0
            _set_off(bases, stacked, operands[AT.stacked])
            status[STATUS.start] = operands[AT.first]
            fail(bases, PAUSED, 0, 0)
        else:
            _move_on(bases, stacked, operands[AT.stacked])

    return handle


@handler("branch", "int64")
def branch(dtype: str) -> Any:
    """Go on to the instructions of one of two branches."""

    def handle(operands, bases, team):
        holds = pointer(tensor(bases, operands, ON.condition), "uint8")[0] != 0
        next_one = operands[ON.then] if holds else operands[ON.otherwise]
        pointer(bases[BASES.status], "int64")[STATUS.next] = next_one

    return handle


@handler("dead_end", "int64")
def dead_end(dtype: str) -> Any:
    """Fail: this stands for a branch that cannot be planned for these shapes."""

    def handle(operands, bases, team):
        fail(bases, DEAD_END, 0, 0)

    return handle


@handler("jump", "int64")
def jump(dtype: str) -> Any:
    """Go on to another instruction."""

    def handle(operands, bases, team):
        pointer(bases[BASES.status], "int64")[STATUS.next] = operands[TO.to]

    return handle


@handler("land", "int64")
def land(dtype: str) -> Any:
    """Do nothing: the instruction where a loop or a branch ends."""

    def handle(operands, bases, team):
        pass

    return handle
