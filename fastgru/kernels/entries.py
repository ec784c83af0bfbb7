"""What Python calls: a program run alone, by a team, as a stream; see `kernels.run`."""

from __future__ import annotations

from typing import Final

import numpy as np

from fastgru.kernels.registry import STATUS, STATUS_WORDS, called_by_python, kernel
from fastgru.kernels.run import ALLOWED, HEAD_WORDS, MASK
from fastgru.kernels.team import CORE, MEMBER_WORDS, TEAM_WORDS, barrier, keep_off
from fastgru.simd.arrays import data_of, fits, holds, item_of
from fastgru.simd.control import flush_denormals, restore_denormals
from fastgru.simd.memory import call_handler, offset, pointer
from fastgru.simd.threads import current_cpu, read_word, write_word

__all__ = ["run_member"]


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


@called_by_python("run_alone", "ii")
def run_alone(words, bases):
    table = pointer(bases, "int64")
    status = pointer(table[STATUS], "int64")
    status[0] = 0
    run_member(pointer(words, "int64"), table, offset(status, STATUS_WORDS))
    return status[0]


@called_by_python("run_team", "iiiiii")
def run_team(words, bases, control, teams, members, wake):
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
        keep_off(member, core, offset(shared, ALLOWED), offset(shared, MASK))
        write_word(pointer(wake, "int64")[i], np.int64(1))
    run_member(pointer(words, "int64"), table, pointer(teams, "int64"))
    return status[0]


@called_by_python("work", "iii")
def work(control, team, source):
    """The life of a worker: sleep until woken, run, sleep again; ends when there is no program or no other side."""
    shared = pointer(control, "int64")
    while read_word(source) > 0 and shared[0] != 0:
        member = pointer(team, "int64")
        member[CORE] = current_cpu()
        run_member(pointer(shared[0], "int64"), pointer(shared[1], "int64"), member)
    return 0


# Words of a ticket: the address of whose turn it is, the addresses of the bases of turn 0 and 1, the program's words,
# id(tuple), the numbers of inputs and outputs; then for each array, inputs first, its index in the bases, the address
# of what it must be (`simd.ndarray.expectation`), and its bytes.
_TURN, _BASES, _WORDS, _TUPLE, _INPUTS, _OUTPUTS, _ARRAYS = 0, 1, 3, 4, 5, 6, 7
_ARRAY_WORDS: Final = 3


@called_by_python("push", "ioo")
def push(ticket, frames, out):
    """One frame of a stream. -1 where an array is not as the ticket says, or an output lies over another array."""
    t = pointer(ticket, "int64")
    inputs = t[_INPUTS]
    count = inputs + t[_OUTPUTS]
    if not holds(frames, t[_TUPLE], inputs):
        return -1
    single = not holds(out, t[_TUPLE], t[_OUTPUTS])
    if single and count != inputs + 1:
        return -1
    turn = pointer(t[_TURN], "int64")
    table = pointer(t[_BASES + turn[0]], "int64")
    arrays = offset(t, _ARRAYS)
    for i in range(count):
        about = offset(arrays, _ARRAY_WORDS * i)
        array = item_of(frames, i) if i < inputs else out if single else item_of(out, i - inputs)
        if not fits(array, pointer(about[1], "int64")):
            return -1
        start = data_of(array)
        for j in range(i if i >= inputs else 0):
            other = offset(arrays, _ARRAY_WORDS * j)
            if start < table[other[0]] + other[2] and table[other[0]] < start + about[2]:
                return -1
        table[about[0]] = start
    status = pointer(table[STATUS], "int64")
    status[0] = 0
    run_member(pointer(t[_WORDS], "int64"), table, offset(status, STATUS_WORDS))
    if status[0] == 0:
        turn[0] = 1 - turn[0]
    return status[0]


@called_by_python("put", "iiio", keep_gil=True)
def put(bases, index, expected, array):
    """bases[index] = the array's address, if the array is as expected; 1 where it is."""
    if not fits(array, pointer(expected, "int64")):
        return 0
    pointer(bases, "int64")[index] = data_of(array)
    return 1


@called_by_python("apart", "iiii", keep_gil=True)
def apart(bases, slots, inputs, outputs):
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
