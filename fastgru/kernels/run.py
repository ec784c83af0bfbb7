"""One native call that carries out a whole program, alone or as one member of a team.

    words: [count, then (handler address, first operand, lane, meet) for each instruction, then the operands]

`lane` is the member that carries the instruction out, EVERYONE for one that the team shares; `meet` says that the
members wait for each other after it. The caller's addresses of inputs and outputs are written into `bases` before the
call; `bases[STATUS]` points to the status words. A run alone ends at the first instruction that fails, a team's goes
on so that nobody waits for ever; the first report stands either way.

Denormals are flushed inside a run, and the caller's mode of the floating-point unit is restored after it.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import numpy as np
from numba import njit
from numba.core import types

from fastgru.kernels.registry import STATUS, STATUS_WORDS, kernel
from fastgru.kernels.team import CORE, MEMBER_WORDS, TEAM_WORDS, barrier, keep_off
from fastgru.simd.cache import CompiledCache
from fastgru.simd.control import flush_denormals, restore_denormals
from fastgru.simd.memory import call_handler, offset, pointer
from fastgru.simd.ndarray import array_object, data_of, fits, layout_holds
from fastgru.simd.threads import CPU_WORDS, current_cpu, read_word, write_word

__all__ = [
    "ALLOWED",
    "CONTROL_WORDS",
    "EVERYONE",
    "HEAD_WORDS",
    "apart",
    "pusher",
    "putter",
    "runner",
    "team_runner",
    "worker",
]

EVERYONE: Final = -1
HEAD_WORDS: Final = 4  # of an instruction

# What a team shares: the program and its addresses, then the cores that its threads may use and room for a mask.
ALLOWED: Final = 2
_MASK: Final = ALLOWED + CPU_WORDS
CONTROL_WORDS: Final = _MASK + CPU_WORDS


@kernel
def run_member(words, bases, team):
    """Everything that falls to one member."""
    status = pointer(bases[STATUS], "int64")
    me, members = team[0], team[1]
    alone = offset(team, TEAM_WORDS)
    mode = flush_denormals()
    for i in range(words[0]):
        head = offset(words, 1 + HEAD_WORDS * i)
        operands = offset(words, head[1])
        if members == 1:
            call_handler(head[0], operands, bases, team)
            if status[0] != 0:
                status[STATUS_WORDS - 1] = i
                break
        else:
            if head[2] < 0:
                call_handler(head[0], operands, bases, team)
            elif head[2] % members == me:
                call_handler(head[0], operands, bases, alone)
            if status[0] != 0 and status[STATUS_WORDS - 1] < 0:
                status[STATUS_WORDS - 1] = i
            if head[3] != 0:
                barrier(team)
    barrier(team)
    restore_denormals(mode)


def _run_alone(words, bases):
    table = pointer(bases, "int64")
    status = pointer(table[STATUS], "int64")
    status[0] = 0
    run_member(pointer(words, "int64"), table, offset(status, STATUS_WORDS))
    return status[0]


def _run_team(words, bases, control, teams, members, wake):
    """The caller is member 0; `teams` holds the words of every member, `wake` the descriptors that wake the others."""
    table = pointer(bases, "int64")
    status = pointer(table[STATUS], "int64")
    status[0] = 0
    status[STATUS_WORDS - 1] = -1
    shared = pointer(control, "int64")
    shared[0], shared[1] = words, bases
    core = current_cpu()
    for i in range(1, members):
        member = offset(pointer(teams, "int64"), i * MEMBER_WORDS)
        keep_off(member, core, offset(shared, ALLOWED), offset(shared, _MASK))
        write_word(pointer(wake, "int64")[i], np.int64(1))
    run_member(pointer(words, "int64"), table, pointer(teams, "int64"))
    return status[0]


def _work(control, team, source):
    """The life of a worker: sleep until woken, run, sleep again; ends when there is no program or no other side."""
    shared = pointer(control, "int64")
    while read_word(source) > 0 and shared[0] != 0:
        member = pointer(team, "int64")
        member[CORE] = current_cpu()
        run_member(pointer(shared[0], "int64"), pointer(shared[1], "int64"), member)
    return 0


# Words of a ticket: the address of whose turn it is, the addresses of the bases of turn 0 and 1, the program's words,
# the bases' indices of x and of y, the addresses of what x and y must be (`simd.ndarray.expectation`), their bytes.
_TURN, _BASES, _WORDS, _X, _Y, _X_IS, _Y_IS, _X_BYTES, _Y_BYTES = 0, 1, 3, 4, 5, 6, 7, 8, 9


def _push(ticket, x, y):
    """One frame of a stream. -1 where an array is not as the ticket says, or y lies over x; nothing was done then."""
    t = pointer(ticket, "int64")
    if not fits(x, pointer(t[_X_IS], "int64")) or not fits(y, pointer(t[_Y_IS], "int64")):
        return -1
    x_at, y_at = data_of(x), data_of(y)
    if x_at < y_at + t[_Y_BYTES] and y_at < x_at + t[_X_BYTES]:
        return -1
    turn = pointer(t[_TURN], "int64")
    table = pointer(t[_BASES + turn[0]], "int64")
    table[t[_X]] = x_at
    table[t[_Y]] = y_at
    status = pointer(table[STATUS], "int64")
    status[0] = 0
    run_member(pointer(t[_WORDS], "int64"), table, offset(status, STATUS_WORDS))
    if status[0] == 0:
        turn[0] = 1 - turn[0]
    return status[0]


def _put(bases, index, expected, array):
    """bases[index] = the array's address, if the array is as expected; 1 where it is."""
    if not fits(array, pointer(expected, "int64")):
        return 0
    pointer(bases, "int64")[index] = data_of(array)
    return 1


def _apart(bases, slots, inputs, outputs):
    """1 where no output lies over another or over an input. `slots` holds (index, bytes), inputs first."""
    table, words = pointer(bases, "int64"), pointer(slots, "int64")
    count = inputs + outputs
    for i in range(inputs, count):
        start = table[words[2 * i]]
        end = start + words[2 * i + 1]
        for j in range(count):
            other = table[words[2 * j]]
            if j != i and start < other + words[2 * j + 1] and other < end:
                return 0
    return 1


def _compiled(function: Any, integers: int, *others: Any) -> Any:
    dispatcher = njit(nogil=True, error_model="numpy", boundscheck=False)(function)
    dispatcher._cache = CompiledCache(function)
    dispatcher.compile((*[types.int64] * integers, *others))
    (overload,) = dispatcher.overloads.values()
    return overload.entry_point


@functools.cache
def runner() -> Any:
    """int64(words address, bases address): the status code. Compiled or read from the cache at the first use."""
    return _compiled(_run_alone, 2)


@functools.cache
def team_runner() -> Any:
    """int64(words, bases, control, teams, members, wake): the status code."""
    return _compiled(_run_team, 6)


@functools.cache
def worker() -> Any:
    """int64(control, team, descriptor): returns when the descriptor is closed on the other side."""
    return _compiled(_work, 3)


@functools.cache
def pusher() -> Any:
    """int64(ticket address, x, y): one frame of a stream, straight from and into the caller's arrays.

    Any objects can be given for x and y: what does not fit is not touched. None where this NumPy is not laid out as
    expected.
    """
    return _compiled(_push, 1, array_object, array_object) if layout_holds() else None


@functools.cache
def putter() -> Any:
    """int64(bases address, index, address of an expectation, object): 1 where it was an array as expected, and put.

    None where this NumPy is not laid out as expected.
    """
    return _compiled(_put, 3, array_object) if layout_holds() else None


@functools.cache
def apart() -> Any:
    """int64(bases address, slots address, inputs, outputs): see `_apart`."""
    return _compiled(_apart, 4)
