"""What Python calls: a program run on the caller's arrays, by one thread or a team, and the state of a stream.

A run has the GIL while it looks at objects of Python, as nobody can change them then, and lets others run while the
program does. The arrays of a call are items of tuples that the caller holds, so they last as long as the call; all else
that a ticket names is kept by `engine.program.Frame`.
"""

from __future__ import annotations

from typing import Final

from numba.core import types

from fastgru.kernels.operands.team import (
    ALLOWED,
    CODE,
    FIRST,
    INSTRUCTION,
    MASK,
    MODE,
    PROCESS,
    SECOND,
    SINCE,
    STATE,
    STATUS_WORDS,
    TEAM,
)
from fastgru.kernels.operands.ticket import (
    ARRAY_WORDS,
    BANKS,
    BASES,
    BASES_INDEX,
    BUSY,
    EXPECTED,
    INPUTS,
    NBYTES,
    OUTPUTS,
    PROGRAM,
    REPORT,
    STATE_OF,
    STATE_WORDS,
    TEAM_BUSY,
    TEAM_CONTROL,
    TEAM_HEAD,
    TEAM_MEMBERS,
    TEAM_SIZE,
    TICKET_HEAD,
    TUPLE,
    TURN,
    VERSION,
)
from fastgru.kernels.registry import STATUS, called_by_python, kernel, native_entry
from fastgru.kernels.run import HEAD_WORDS, IN_USE, LOOKS, MEETS, MISFIT
from fastgru.kernels.table import FORKED, INTERRUPTED
from fastgru.kernels.team import (
    CORE,
    LOOK_BY,
    MEMBER_WORDS,
    MEMBERS,
    NUMBER,
    TEAM_WORDS,
    WALK,
    keep_off,
    look_out,
    meet,
)
from fastgru.process import EPOCH, LOOK, MAIN
from fastgru.simd.arrays import data_of, fits, holds, item_of
from fastgru.simd.compiler import RAISED
from fastgru.simd.control import PLAIN, RUNNING, exchange_mode
from fastgru.simd.interpreter import (
    acquire_gil,
    acquire_lock,
    check_signals,
    milliseconds,
    release_gil,
    release_lock,
    thread_number,
)
from fastgru.simd.memory import address, call_handler, offset, pointer
from fastgru.simd.threads import atomic_exchange, atomic_load, atomic_store, current_cpu

__all__ = ["run_member"]

# A look at the clock costs 20 ns; one for signals waits for the GIL, for which Python lets others wait 5 ms.
_LOOK_MS: Final = 50


@native_entry("look", types.void(types.CPointer(types.int64)))
def look(status):
    """Have signals handled, now and then. For the thread that called, in the middle of its run.

    A handler may do anything: run the same model, raise an exception, which ends the run, or fork.
    """
    now = milliseconds()
    if status[SINCE] == 0:
        status[SINCE] = now
    if now - status[SINCE] < _LOOK_MS:
        return
    process = pointer(status[PROCESS], "int64")
    epoch = process[EPOCH]
    exchange_mode(status[MODE])
    acquire_gil(status[STATE])
    raised = check_signals()
    status[STATE] = release_gil()
    exchange_mode(RUNNING)
    status[SINCE] = milliseconds()
    team = pointer(status[TEAM], "int64")
    if raised != 0:
        status[CODE] = INTERRUPTED
    elif process[EPOCH] != epoch and team[MEMBERS] > 1:
        status[CODE] = FORKED
    if process[EPOCH] != epoch:
        team[MEMBERS] = 1  # nobody else is in this process to be waited for


@kernel
def run_member(words, bases, team):
    """Everything that falls to one member."""
    status = pointer(bases[STATUS], "int64")
    me, members = team[NUMBER], team[MEMBERS]
    alone = offset(team, TEAM_WORDS)
    mode = exchange_mode(RUNNING)
    if team[LOOK_BY] != 0:
        status[MODE] = mode
    for i in range(words[0]):
        head = offset(words, 1 + HEAD_WORDS * i)
        operands = offset(words, head[1])
        if members == 1 or head[2] < 0:
            call_handler(head[0], operands, bases, team)
        elif head[2] % members == me and atomic_load(status, CODE) == 0:
            call_handler(head[0], operands, bases, alone)
        if status[CODE] != 0 and status[INSTRUCTION] < 0:
            status[INSTRUCTION] = i
        if (head[3] & LOOKS) != 0:
            look_out(team, bases)
        if ((head[3] & MEETS) != 0 or members == 1) and meet(team, bases) != 0:
            break
    meet(team, bases)
    exchange_mode(mode)


@kernel
def _alone(words, table, look_by):
    status = pointer(table[STATUS], "int64")
    team = offset(status, STATUS_WORDS)
    team[LOOK_BY] = look_by
    status[TEAM] = address(team)
    run_member(words, table, team)


@kernel
def _together(words, table, turn, look_by, team):
    """The caller is member 0."""
    control, members = pointer(team[TEAM_CONTROL], "int64"), pointer(team[TEAM_MEMBERS], "int64")
    control[0], control[1] = address(words), address(table)
    pointer(table[STATUS], "int64")[TEAM] = address(members)
    core = current_cpu()
    for i in range(team[TEAM_SIZE]):
        member = offset(members, i * MEMBER_WORDS)
        member[WALK] = member[TEAM_WORDS + WALK] = turn
        if i == 0:
            member[LOOK_BY] = member[TEAM_WORDS + LOOK_BY] = look_by
        else:
            keep_off(member, core, offset(control, ALLOWED), offset(control, MASK))
            release_lock(team[TEAM_HEAD + i])
    run_member(words, table, members)


@kernel
def _bind(t, table, inputs, outputs):
    """Put the addresses of arrays into `table`; False where one is not as the ticket says, or an output lies over
    another array."""
    count = t[INPUTS] + t[OUTPUTS]
    if not holds(inputs, t[TUPLE], t[INPUTS]):
        return False
    single = not holds(outputs, t[TUPLE], t[OUTPUTS])
    if single and t[OUTPUTS] != 1:
        return False
    arrays = offset(t, TICKET_HEAD)
    for i in range(count):
        about = offset(arrays, ARRAY_WORDS * i)
        if i < t[INPUTS]:
            array = item_of(inputs, i)
        else:
            array = outputs if single else item_of(outputs, i - t[INPUTS])
        if not fits(array, pointer(about[EXPECTED], "int64")):
            return False
        start = data_of(array)
        end = start + about[NBYTES]
        for j in range(i if i >= t[INPUTS] else 0):
            other = offset(arrays, ARRAY_WORDS * j)
            begins = table[other[BASES_INDEX]]
            if start < end and begins < end and max(start, begins) < begins + other[NBYTES]:
                return False
        table[about[BASES_INDEX]] = start
    return True


@kernel
def _call(ticket, inputs, outputs, team):
    t = pointer(ticket, "int64")
    state = pointer(t[STATE_OF], "int64")
    turn = state[TURN]
    table = pointer(t[BASES + turn], "int64")
    status = pointer(table[STATUS], "int64")
    process = pointer(status[PROCESS], "int64")
    epoch = process[EPOCH]
    if state[BUSY] == epoch:
        return IN_USE
    state[BUSY] = epoch  # which the GIL makes one step with the look before it
    if not _bind(t, table, inputs, outputs):
        state[BUSY] = 0
        return MISFIT
    status[CODE], status[INSTRUCTION], status[SINCE] = 0, -1, 0
    words, look_by = pointer(t[PROGRAM], "int64"), 0
    if thread_number() == process[MAIN]:
        look_by = process[LOOK]
    status[STATE] = release_gil()
    others = pointer(team, "int64")
    if team != 0 and atomic_exchange(others, TEAM_BUSY, epoch) != epoch:
        _together(words, table, turn, look_by, others)
        atomic_store(others, TEAM_BUSY, 0)
    else:
        _alone(words, table, look_by)
    acquire_gil(status[STATE])
    code = status[CODE]
    if code == 0:
        state[TURN] = 1 - turn
        state[VERSION] += 1
    elif code == INTERRUPTED:
        code = RAISED
    else:
        report = offset(t, REPORT)
        report[0], report[1], report[2], report[3] = code, status[FIRST], status[SECOND], status[INSTRUCTION]
    state[BUSY] = 0
    return code


@called_by_python("run_alone", "ioo", keep_gil=True)
def run_alone(ticket, inputs, outputs):
    """Run a program on this thread; 0, a code of `FAILURES`, or `IN_USE` or `MISFIT`, for which nothing has happened.

    inputs: a tuple of arrays. outputs: the same, or the only array.
    """
    return _call(ticket, inputs, outputs, 0)


@called_by_python("run_team", "iooi", keep_gil=True)
def run_team(ticket, inputs, outputs, team):
    """The same with a team, unless another call has it."""
    return _call(ticket, inputs, outputs, team)


@kernel
def _exchange(state, epoch, arrays, version, writes):
    """Copy the present state to arrays, or from them; the version that it has then."""
    if state[BUSY] == epoch:
        return IN_USE
    if version >= 0 and state[VERSION] != version:
        return IN_USE
    i = 0
    while state[BANKS + STATE_WORDS * i] != 0:
        about = offset(state, BANKS + STATE_WORDS * i)
        own, theirs = pointer(about[state[TURN]], "uint8"), pointer(data_of(item_of(arrays, i)), "uint8")
        for k in range(about[2]):
            if writes:
                own[k] = theirs[k]
            else:
                theirs[k] = own[k]
        i += 1
    if writes:
        state[VERSION] += 1
    return state[VERSION]


@called_by_python("take", "iio", keep_gil=True)
def take(state, process, arrays):
    """Take a copy of the state of a stream into a tuple of arrays, as large; its version, or `IN_USE`."""
    return _exchange(pointer(state, "int64"), pointer(process, "int64")[EPOCH], arrays, -1, False)


@called_by_python("put", "iioi", keep_gil=True)
def put(state, process, arrays, version):
    """Put arrays in the place of the state, if that has this version (-1: whatever it is); the new one, or `IN_USE`."""
    return _exchange(pointer(state, "int64"), pointer(process, "int64")[EPOCH], arrays, version, True)


@called_by_python("work", "iii")
def work(control, member, lock):
    """The life of a worker: sleep until woken, run, sleep again; ends when there is no program."""
    shared, words = pointer(control, "int64"), pointer(member, "int64")
    acquire_lock(lock)
    program = shared[0]
    while program != 0:
        words[CORE] = current_cpu()
        run_member(pointer(program, "int64"), pointer(shared[1], "int64"), words)
        acquire_lock(lock)
        program = shared[0]
    return 0


@called_by_python("change_mode", "i", keep_gil=True)
def change_mode(mode):
    """Set the mode of the floating-point unit (-1: the plain one) on this thread; the one before."""
    return exchange_mode(PLAIN if mode < 0 else mode)
