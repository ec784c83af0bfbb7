"""The functions that Python calls: to run a program, on one thread or a team, and to read and write a stream's state.

A run holds the GIL while it looks at objects of Python, so that nobody changes them, and releases it while the program
runs. The arrays of a call are items of tuples that the caller holds, so they live as long as the call.
`engine.program.CallFrame` keeps everything else that a ticket names.
"""

from typing import Final

from numba.core import types

from fastgru.kernels.operands.team import CONTROL, MEMBER, STATUS, TEAM
from fastgru.kernels.operands.ticket import ARRAY, BANKS, REPORT, ROSTER, STATE, TICKET
from fastgru.kernels.registry import BASES, called_by_python, kernel, native_entry
from fastgru.kernels.run import COUNTS, HEAD, IN_USE, JUMPS, LOOKS, MEETS, MISFIT, PROGRAM
from fastgru.kernels.table import FORKED, INTERRUPTED, PAUSED
from fastgru.kernels.team import await_call, call_worker, keep_off, look_out, meet, worth_joining
from fastgru.process import EPOCH, LOOK, MAIN
from fastgru.simd.arrays import data_of, fits, holds, item_of
from fastgru.simd.compiler import RAISED
from fastgru.simd.control import PLAIN, RUNNING, exchange_mode
from fastgru.simd.interpreter import (
    acquire_gil,
    check_signals,
    nanoseconds,
    release_gil,
    thread_number,
)
from fastgru.simd.memory import address, call_handler, offset, pointer
from fastgru.simd.sizes import LATE
from fastgru.simd.threads import atomic_exchange, atomic_load, atomic_store, current_cpu

__all__ = ["run_member", "run_program"]

# Reading the clock costs 20 ns. Checking for signals needs the GIL, for which a thread may have to wait 5 ms.
_LOOK_NS: Final = 50_000_000


@native_entry("look", types.void(types.CPointer(types.int64)))
def look(status):
    """Handle signals if the last time is long enough ago. Only the thread that called may do so, during its run.

    A handler may do anything: run the same model, raise an exception, which ends the run, or fork.
    """
    now = nanoseconds()
    if status[STATUS.since] == 0:
        status[STATUS.since] = now
    if now - status[STATUS.since] < _LOOK_NS:
        return
    process = pointer(status[STATUS.process], "int64")
    epoch = process[EPOCH]
    exchange_mode(status[STATUS.mode])
    acquire_gil(status[STATUS.state])
    raised = check_signals()
    status[STATUS.state] = release_gil()
    exchange_mode(RUNNING)
    status[STATUS.since] = nanoseconds()
    team = pointer(status[STATUS.team], "int64")
    if raised != 0:
        status[STATUS.code] = INTERRUPTED
    elif process[EPOCH] != epoch and team[TEAM.members] > 1:
        status[STATUS.code] = FORKED
    if process[EPOCH] != epoch:
        team[TEAM.members] = 1  # this process has no other threads to wait for


@kernel
def run_member(words, bases, team):
    """Run the part of a program that one member carries out."""
    status = pointer(bases[BASES.status], "int64")
    me, members = team[TEAM.number], team[TEAM.members]
    alone = offset(team, MEMBER.alone)
    mode = exchange_mode(RUNNING)
    if team[TEAM.look] != 0:
        status[STATUS.mode] = mode
    i = status[STATUS.start]
    while i < words[PROGRAM.count]:
        head = offset(words, PROGRAM.heads + HEAD.words * i)
        operands = offset(words, head[HEAD.operands])
        if members == 1 or head[HEAD.member] < 0:
            call_handler(head[HEAD.handler], operands, bases, team)
        elif head[HEAD.member] % members == me and atomic_load(status, STATUS.code) == 0:
            call_handler(head[HEAD.handler], operands, bases, alone)
        if status[STATUS.code] != 0 and status[STATUS.instruction] < 0:
            status[STATUS.instruction] = i
        i += 1
        if (head[HEAD.after] & (JUMPS | COUNTS)) != 0:
            head[HEAD.count] += (head[HEAD.after] & COUNTS) // COUNTS
        if (head[HEAD.after] & JUMPS) != 0:
            i = status[STATUS.next] if me == 0 and atomic_load(status, STATUS.code) == 0 else head[HEAD.skip]
        if (head[HEAD.after] & LOOKS) != 0:
            look_out(team, bases)
        if ((head[HEAD.after] & MEETS) != 0 or members == 1) and meet(team, bases) != 0:
            break
    meet(team, bases)
    exchange_mode(mode)


@kernel
def _alone(words, table, parity, look_by):
    status = pointer(table[BASES.status], "int64")
    team = offset(status, STATUS.own)
    team[TEAM.look] = look_by
    team[MEMBER.team + TEAM.parity] = team[MEMBER.alone + TEAM.parity] = parity
    status[STATUS.team] = address(team)
    run_member(words, table, team)


@kernel
def _together(words, table, parity, look_by, team, spin):
    """Run a program on a team; the caller is member 0. Return whether all others were awake."""
    control, members = pointer(team[ROSTER.control], "int64"), pointer(team[ROSTER.members], "int64")
    pointer(table[BASES.status], "int64")[STATUS.team] = address(members)
    core, awake = current_cpu(), True
    if control[CONTROL.core] != core:  # workers that spin read it, so it is written only if it changes
        control[CONTROL.core] = core
    for i in range(team[ROSTER.size]):
        member = offset(members, i * MEMBER.words)
        member[MEMBER.team + TEAM.parity] = member[MEMBER.alone + TEAM.parity] = parity
        if i == 0:
            member[MEMBER.team + TEAM.look] = member[MEMBER.alone + TEAM.look] = look_by
        else:
            member[MEMBER.program], member[MEMBER.bases] = address(words), address(table)
            member[MEMBER.spin] = spin
            keep_off(member, core, offset(control, CONTROL.allowed), offset(control, CONTROL.mask))
            if call_worker(member, team[ROSTER.locks + i]):
                awake = False
    run_member(words, table, members)
    return awake


@kernel
def run_program(words, table, parity, look_by, team, spin, sleeps, epoch):
    """Run a program on a team if it is worth joining and free, otherwise on this thread. The GIL must not be held."""
    others = pointer(team, "int64")
    joined = team != 0 and worth_joining(others, spin, sleeps)
    if joined and atomic_exchange(others, ROSTER.busy, epoch) != epoch:
        awake = _together(words, table, parity, look_by, others, spin)
        shared = pointer(pointer(others[ROSTER.members], "int64")[TEAM.shared], "int64")
        if awake and not sleeps and shared[LATE] != 0:
            atomic_store(others, ROSTER.late, nanoseconds())
        shared[LATE] = 0
        atomic_store(others, ROSTER.busy, 0)
    else:
        _alone(words, table, parity, look_by)
        if team != 0 and not sleeps:
            atomic_store(others, ROSTER.missed, nanoseconds())


@kernel
def _bind(ticket, table, inputs, outputs, process):
    """Write the addresses of arrays into `table`.

    Returns False if an array does not match the ticket, or if an output overlaps another array.
    """
    count = ticket[TICKET.inputs] + ticket[TICKET.outputs]
    if not holds(inputs, ticket[TICKET.tuple], ticket[TICKET.inputs], process):
        return False
    single = not holds(outputs, ticket[TICKET.tuple], ticket[TICKET.outputs], process)
    if single and ticket[TICKET.outputs] != 1:
        return False
    arrays = offset(ticket, TICKET.arrays)
    for i in range(count):
        about = offset(arrays, ARRAY.words * i)
        if i < ticket[TICKET.inputs]:
            array = item_of(inputs, i, process)
        else:
            array = outputs if single else item_of(outputs, i - ticket[TICKET.inputs], process)
        if not fits(array, pointer(about[ARRAY.expected], "int64"), process):
            return False
        start = data_of(array, process)
        end = start + about[ARRAY.nbytes]
        for j in range(i if i >= ticket[TICKET.inputs] else 0):
            other = offset(arrays, ARRAY.words * j)
            begins = table[other[ARRAY.base]]
            if start < end and begins < end and max(start, begins) < begins + other[ARRAY.nbytes]:
                return False
        table[about[ARRAY.base]] = start
    return True


@kernel
def _call(at, inputs, outputs, team, spin, sleeps):
    ticket = pointer(at, "int64")
    state = pointer(ticket[TICKET.state], "int64")
    parity = state[STATE.parity]
    table = pointer(ticket[TICKET.bases + parity], "int64")
    status = pointer(table[BASES.status], "int64")
    process = pointer(status[STATUS.process], "int64")
    epoch = process[EPOCH]
    if state[STATE.busy] == epoch:
        return IN_USE
    state[STATE.busy] = epoch  # the GIL makes the test above and this store one step
    if not _bind(ticket, table, inputs, outputs, process):
        state[STATE.busy] = 0
        return MISFIT
    status[STATUS.code], status[STATUS.instruction], status[STATUS.since] = 0, -1, 0
    words, look_by = pointer(ticket[TICKET.program], "int64"), 0
    if thread_number() == process[MAIN]:
        look_by = process[LOOK]
    status[STATUS.state] = release_gil()
    run_program(words, table, parity, look_by, team, spin, sleeps, epoch)
    acquire_gil(status[STATUS.state])
    code, report = status[STATUS.code], offset(ticket, TICKET.report)
    report[REPORT.rows] = status[STATUS.rows]
    if code != PAUSED:
        status[STATUS.start] = 0
    if code == 0:
        state[STATE.parity] = 1 - parity
        state[STATE.version] += 1
    elif code == INTERRUPTED:
        code = RAISED
    else:
        report[REPORT.code], report[REPORT.instruction] = code, status[STATUS.instruction]
        report[REPORT.first], report[REPORT.second] = status[STATUS.first], status[STATUS.second]
    state[STATE.busy] = 0
    return code


@called_by_python("run_alone", "ioo", keep_gil=True)
def run_alone(ticket, inputs, outputs):
    """Run a program on this thread.

    Returns 0, a code of `FAILURES`, or `IN_USE` or `MISFIT` if nothing was run. inputs: a tuple of arrays. outputs: a
    tuple of arrays, or the array itself if there is only one.
    """
    return _call(ticket, inputs, outputs, 0, 0, 0)


@called_by_python("run_team", "iiiioo", keep_gil=True)
def run_team(team, spin, sleeps, ticket, inputs, outputs):
    """Run a program as `run_alone` does, but on a team, unless another call has it.

    spin: nanoseconds for which its workers spin for the next call. sleeps: not 0 if the program gains even if workers
    have to be woken. If it is 0, they are woken only for calls in a loop.
    """
    return _call(ticket, inputs, outputs, team, spin, sleeps)


@kernel
def _exchange(state, process, arrays, version, writes):
    """Copy the present state to arrays, or from them, and return the version that it has afterwards."""
    if state[STATE.busy] == process[EPOCH]:
        return IN_USE
    if version >= 0 and state[STATE.version] != version:
        return IN_USE
    i = 0
    while state[STATE.arrays + BANKS.words * i] != 0:
        banks = offset(state, STATE.arrays + BANKS.words * i)
        own, theirs = (
            pointer(banks[BANKS.even + state[STATE.parity]], "uint8"),
            pointer(data_of(item_of(arrays, i, process), process), "uint8"),
        )
        for k in range(banks[BANKS.nbytes]):
            if writes:
                own[k] = theirs[k]
            else:
                theirs[k] = own[k]
        i += 1
    if writes:
        state[STATE.version] += 1
    return state[STATE.version]


@called_by_python("take", "iio", keep_gil=True)
def take(state, process, arrays):
    """Copy the state of a stream into a tuple of arrays of the same sizes; return its version, or `IN_USE`."""
    return _exchange(pointer(state, "int64"), pointer(process, "int64"), arrays, -1, False)


@called_by_python("put", "iioi", keep_gil=True)
def put(state, process, arrays, version):
    """Replace the state of a stream by arrays if it has this version, or any for -1; return the new, or `IN_USE`."""
    return _exchange(pointer(state, "int64"), pointer(process, "int64"), arrays, version, True)


@called_by_python("work", "iii")
def work(control, member, lock):
    """Run a worker: it sleeps until it is called, runs its part, and spins for the next call; no program ends it."""
    shared, words = pointer(control, "int64"), pointer(member, "int64")
    words[MEMBER.core] = current_cpu()
    await_call(words, shared, lock, 0)
    while words[MEMBER.program] != 0:
        spin = words[MEMBER.spin]  # read before the run ends, because the next caller may then write the words
        words[MEMBER.core] = current_cpu()
        run_member(pointer(words[MEMBER.program], "int64"), pointer(words[MEMBER.bases], "int64"), words)
        await_call(words, shared, lock, spin)
    return 0


@called_by_python("change_mode", "i", keep_gil=True)
def change_mode(mode):
    """Set the mode of the floating-point unit on this thread (-1: the plain one), and return the one before."""
    return exchange_mode(PLAIN if mode < 0 else mode)
