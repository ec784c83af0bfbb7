"""The functions that Python calls for a pool of sessions: to open, close, read, change and push sessions.

A session's state lies in a slot, in two banks. A push takes any number of sessions: it claims them and cuts them into
blocks for which there are programs. For each block it gathers states and frames, runs the program, and scatters the new
states into the other banks. At the end all sessions change banks. A block of one session runs on its state in place.
Claims are made and released under the GIL, like everything that takes little time; programs run without the GIL.

A session's number consists of its place and a generation, so the next session in a slot has another number.
"""

from typing import Final

from fastgru.kernels.entries import run_program
from fastgru.kernels.operands.sessions import CARRIED, END, POOL, PUSH, RUNG, SLOT, TEAM_OF
from fastgru.kernels.operands.team import STATUS
from fastgru.kernels.operands.ticket import REPORT
from fastgru.kernels.registry import called_by_python, kernel
from fastgru.kernels.rows import copy_row
from fastgru.kernels.run import IN_USE, MISFIT, NO_ROOM, NOT_OPEN, TWICE
from fastgru.kernels.table import INTERRUPTED
from fastgru.process import EPOCH, LOOK, MAIN
from fastgru.simd.arrays import data_of, fits_rows, holds, item_of, size_of
from fastgru.simd.compiler import RAISED
from fastgru.simd.control import exchange_mode
from fastgru.simd.interpreter import acquire_gil, release_gil, thread_number
from fastgru.simd.memory import call_native, offset, pointer, prefetch

__all__ = ["push_sessions"]

_PLACE_BITS: Final = 32  # bits of a session's number that are its place; the others are its generation
_LAST_GENERATION: Final = (1 << 31) - 1
_HEAD: Final = 8 * SLOT.words
_LINE: Final = 64


@kernel
def _slot_at(pool, place):
    block = pointer(pool[POOL.blocks], "int64")[place >> pool[POOL.shift]]
    return block + (place & ((1 << pool[POOL.shift]) - 1)) * pool[POOL.slot]


@kernel
def _slot_of(pool, session):
    """Return the address of the slot of an open session, 0 if it is not open."""
    place = session & ((1 << _PLACE_BITS) - 1)
    if session <= 0 or place >= pool[POOL.used]:
        return 0
    slot = _slot_at(pool, place)
    return slot if pointer(slot, "int64")[SLOT.session] == session else 0


@kernel
def _copy(source, target, nbytes):
    """Copy bytes from one address to another."""
    if nbytes % 4 == 0:
        copy_row(pointer(source, "float32"), pointer(target, "float32"), nbytes // 4)
    else:
        theirs, own = pointer(source, "uint8"), pointer(target, "uint8")
        for i in range(nbytes):
            own[i] = theirs[i]


@called_by_python("open_session", "io", keep_gil=True)
def open_session(at, state):
    """Open a session whose state is the bytes of an array, and return its number; 0 if no slot is free."""
    pool = pointer(at, "int64")
    place = pool[POOL.free] - 1
    if place >= 0:
        slot = pointer(_slot_at(pool, place), "int64")
        pool[POOL.free] = slot[SLOT.next]
    elif pool[POOL.used] < pool[POOL.slots]:
        place = pool[POOL.used]
        pool[POOL.used] += 1
        slot = pointer(_slot_at(pool, place), "int64")
    else:
        return 0
    slot[SLOT.generation] += 1
    slot[SLOT.session] = (slot[SLOT.generation] << _PLACE_BITS) | place
    slot[SLOT.parity], slot[SLOT.busy], slot[SLOT.user], slot[SLOT.opened] = 0, 0, 0, pool[POOL.opened]
    _copy(data_of(state, pointer(pool[POOL.process], "int64")), _slot_at(pool, place) + _HEAD, pool[POOL.bank])
    pool[POOL.open] += 1
    pool[POOL.opened] += 1
    return slot[SLOT.session]


@kernel
def _idle_slot(pool, session):
    """Return the address of the slot of an open session that nobody uses, otherwise `NOT_OPEN` or `IN_USE`."""
    slot = _slot_of(pool, session)
    if slot == 0:
        return NOT_OPEN
    if pointer(slot, "int64")[SLOT.busy] == pointer(pool[POOL.process], "int64")[EPOCH]:
        return IN_USE
    return slot


@called_by_python("close_session", "ii", keep_gil=True)
def close_session(at, session):
    """Close a session and free its slot. Return 0, `NOT_OPEN` or `IN_USE`."""
    pool = pointer(at, "int64")
    found = _idle_slot(pool, session)
    if found < 0:
        return found
    slot = pointer(found, "int64")
    slot[SLOT.session] = 0
    pool[POOL.open] -= 1
    if slot[SLOT.generation] < _LAST_GENERATION:
        slot[SLOT.next] = pool[POOL.free]
        pool[POOL.free] = (session & ((1 << _PLACE_BITS) - 1)) + 1
    return 0


@called_by_python("copy_session", "iioi", keep_gil=True)
def copy_session(at, session, state, replaces):
    """Copy the state of a session to an array of bytes, or from it if `replaces`. Return 0, `NOT_OPEN` or `IN_USE`."""
    pool = pointer(at, "int64")
    slot = _idle_slot(pool, session)
    if slot < 0:
        return slot
    words, theirs = pointer(slot, "int64"), data_of(state, pointer(pool[POOL.process], "int64"))
    if replaces != 0:
        words[SLOT.parity] = 1 - words[SLOT.parity]
    own = slot + _HEAD + words[SLOT.parity] * pool[POOL.bank]
    if replaces != 0:
        _copy(theirs, own, pool[POOL.bank])
    else:
        _copy(own, theirs, pool[POOL.bank])
    return 0


@kernel
def _settle(at, moves):
    """Release the sessions of a push. If `moves`, their new states become the present ones."""
    push = pointer(at, "int64")
    rows = pointer(push[PUSH.rows], "int64")
    for i in range(push[PUSH.count]):
        slot = pointer(rows[i], "int64")
        if slot[SLOT.user] == at:
            if moves:
                slot[SLOT.parity] = 1 - slot[SLOT.parity]
            slot[SLOT.busy], slot[SLOT.user] = 0, 0
    push[PUSH.count] = 0


@called_by_python("settle_sessions", "ii", keep_gil=True)
def settle_sessions(at, moves):
    """Release the sessions of a push that holds them, and of all pushes that are chained to it, as `_settle` does."""
    while at != 0:
        _settle(at, moves != 0)
        push = pointer(at, "int64")
        at, push[PUSH.chained] = push[PUSH.chained], 0
    return 0


@kernel
def _claim(at, push, sessions, count):
    """Claim the slots of sessions, none of which may be in use. Return 0, or the reason, and then none is claimed."""
    pool = pointer(push[PUSH.pool], "int64")
    epoch = pointer(pool[POOL.process], "int64")[EPOCH]
    rows = pointer(push[PUSH.rows], "int64")
    for i in range(count):
        slot = _slot_of(pool, sessions[i])
        why = 0
        if slot == 0:
            why = NOT_OPEN
        elif pointer(slot, "int64")[SLOT.busy] == epoch:
            why = TWICE if pointer(slot, "int64")[SLOT.user] == at else IN_USE
        if why != 0:
            _settle(at, False)
            push[PUSH.report + REPORT.first] = i
            return why
        words = pointer(slot, "int64")
        words[SLOT.busy], words[SLOT.user] = epoch, at
        rows[i] = slot
        push[PUSH.count] = i + 1
    return 0


@kernel
def _bind(push, sessions, frames, outputs, process):
    """Record where the arrays of a call begin, and return the number of sessions.

    Returns `MISFIT` if an array does not match or an output overlaps another array, and `NO_ROOM` for too many
    sessions.
    """
    expected = pointer(push[PUSH.sessions], "int64")
    count = size_of(sessions, expected[0], process)
    if count < 0 or not fits_rows(sessions, expected, 0, count, process):
        return MISFIT
    if count > push[PUSH.room]:
        return NO_ROOM
    inputs = push[PUSH.inputs]
    ends = inputs + push[PUSH.outputs]
    only_in = not holds(frames, push[PUSH.tuple], inputs, process)
    only_out = not holds(outputs, push[PUSH.tuple], ends - inputs, process)
    if (only_in and inputs != 1) or (only_out and ends - inputs != 1):
        return MISFIT
    for i in range(ends):
        end = offset(push, PUSH.ends + END.words * i)
        if i < inputs:
            array = frames if only_in else item_of(frames, i, process)
        else:
            array = outputs if only_out else item_of(outputs, i - inputs, process)
        if not fits_rows(array, pointer(end[END.expected], "int64"), end[END.axis], count, process):
            return MISFIT
        start = data_of(array, process)
        stop = start + end[END.before] * count * end[END.nbytes]
        for j in range(i if i >= inputs else 0):
            other = offset(push, PUSH.ends + END.words * j)
            begins, ends_at = other[END.start], other[END.start] + other[END.before] * count * other[END.nbytes]
            if start < stop and begins < ends_at and max(start, begins) < min(stop, ends_at):
                return MISFIT
        end[END.start] = start
    return count


@kernel
def _place_ends(push, rung, table, first, count):
    """Set the addresses of a block's arrays: parts of the call's arrays, or staging memory with copied frames."""
    block, where = rung[RUNG.rows], pointer(rung[RUNG.bases], "int64")
    for i in range(push[PUSH.inputs] + push[PUSH.outputs]):
        end = offset(push, PUSH.ends + END.words * i)
        nbytes = end[END.nbytes]
        if end[END.before] == 1 or block == count:
            table[where[i]] = end[END.start] + first * nbytes
            continue
        table[where[i]] = end[END.staged]
        if i < push[PUSH.inputs]:
            for k in range(end[END.before]):
                source = end[END.start] + (k * count + first) * nbytes
                _copy(source, end[END.staged] + k * block * nbytes, block * nbytes)


@kernel
def _take_outputs(push, block, first, count):
    """Copy outputs from staging memory to the arrays of the call, if they were written there."""
    for i in range(push[PUSH.inputs], push[PUSH.inputs] + push[PUSH.outputs]):
        end = offset(push, PUSH.ends + END.words * i)
        nbytes = end[END.nbytes]
        if end[END.before] != 1 and block != count:
            for k in range(end[END.before]):
                target = end[END.start] + (k * count + first) * nbytes
                _copy(end[END.staged] + k * block * nbytes, target, block * nbytes)


@kernel
def _move_states(push, rows, block, scatter):
    """Gather the states of a block of rows, or scatter the next states into the other banks."""
    bank = pointer(push[PUSH.pool], "int64")[POOL.bank]
    states = offset(push, PUSH.ends + END.words * (push[PUSH.inputs] + push[PUSH.outputs]))
    for r in range(block):
        slot = rows[r]
        parity = pointer(slot, "int64")[SLOT.parity]
        if scatter:
            parity = 1 - parity
        for i in range(push[PUSH.states]):
            state = offset(states, CARRIED.words * i)
            own, nbytes = slot + _HEAD + parity * bank + state[CARRIED.at], state[CARRIED.nbytes]
            theirs = (state[CARRIED.following] if scatter else state[CARRIED.now]) + r * nbytes
            for k in range(state[CARRIED.before]):
                if scatter:
                    _copy(theirs + k * block * nbytes, own + k * nbytes, nbytes)
                else:
                    _copy(own + k * nbytes, theirs + k * block * nbytes, nbytes)


@kernel
def _fetch(at, nbytes):
    """Prefetch memory that is probably not in the caches: all at once, it comes sooner than when a program reads it."""
    for i in range(0, nbytes, _LINE):
        prefetch(pointer(at, "uint8"), i)


@kernel
def _place_states(push, rung, table, slot):
    """Set the addresses of a block's states: in the slot if there is only one, otherwise in gathered memory."""
    ends = push[PUSH.inputs] + push[PUSH.outputs]
    states, count = offset(push, PUSH.ends + END.words * ends), push[PUSH.states]
    where = offset(pointer(rung[RUNG.bases], "int64"), ends)
    bank, parity = pointer(push[PUSH.pool], "int64")[POOL.bank], 0
    if rung[RUNG.rows] == 1:
        parity = pointer(slot, "int64")[SLOT.parity]
        _fetch(slot, _HEAD + 2 * bank)
    for i in range(count):
        state = offset(states, CARRIED.words * i)
        now, following = state[CARRIED.now], state[CARRIED.following]
        if rung[RUNG.rows] == 1:
            own = slot + _HEAD + state[CARRIED.at]
            now, following = own + parity * bank, own + (1 - parity) * bank
        table[where[i]], table[where[count + i]] = now, following


@kernel
def _run_block(push, rung, first, count, look_by, epoch):
    """Run the rows of one program, from row `first` on; the push has `count` rows."""
    rows, block = offset(pointer(push[PUSH.rows], "int64"), first), rung[RUNG.rows]
    table = pointer(rung[RUNG.table], "int64")
    _place_ends(push, rung, table, first, count)
    _place_states(push, rung, table, rows[0])
    if block > 1:
        _move_states(push, rows, block, False)
    status, parity = pointer(push[PUSH.status], "int64"), 1 - push[PUSH.parity]
    push[PUSH.parity] = parity
    team = pointer(rung[RUNG.team], "int64")
    run_program(
        pointer(rung[RUNG.program], "int64"),
        table,
        parity,
        look_by,
        team[TEAM_OF.team],
        team[TEAM_OF.spin],
        team[TEAM_OF.sleeps],
        epoch,
    )
    if status[STATUS.code] == 0:
        if block > 1:
            _move_states(push, rows, block, True)
        _take_outputs(push, block, first, count)


@kernel
def _run_blocks(push, count, look_by, epoch):
    """Run all rows of a push, in blocks as large as the programs allow."""
    rungs = offset(push, PUSH.ends + END.words * (push[PUSH.inputs] + push[PUSH.outputs]))
    rungs = offset(rungs, CARRIED.words * push[PUSH.states])
    status, first, k = pointer(push[PUSH.status], "int64"), 0, push[PUSH.rungs] - 1
    while first < count and k >= 0:
        while offset(rungs, RUNG.words * k)[RUNG.rows] > count - first:
            k -= 1
        rung = offset(rungs, RUNG.words * k)
        if look_by != 0 and first > 0:
            call_native(look_by, status)
            exchange_mode(status[STATUS.mode])  # `look` leaves the mode of a run
        if status[STATUS.code] == 0:
            _run_block(push, rung, first, count, look_by, epoch)
        if status[STATUS.code] != 0:
            push[PUSH.report + REPORT.rows] = rung[RUNG.rows]
            break
        first += rung[RUNG.rows]


@called_by_python("push_sessions", "iiooo", keep_gil=True)
def push_sessions(at, holds_on, sessions, frames, outputs):
    """Push a frame of each session.

    Returns 0, a code of `FAILURES`, or a negative code of `kernels.run` if nothing was run. sessions: an array. frames,
    outputs: tuples of arrays, or the array itself if there is only one. holds_on: if not 0, the sessions keep their
    present states, and stay claimed, until `settle_sessions` is called.
    """
    push = pointer(at, "int64")
    process = pointer(pointer(push[PUSH.pool], "int64")[POOL.process], "int64")
    epoch = process[EPOCH]
    count = _bind(push, sessions, frames, outputs, process)
    if count < 0:
        return count
    code = _claim(at, push, pointer(data_of(sessions, process), "int64"), count)
    if code != 0:
        return code
    status = pointer(push[PUSH.status], "int64")
    status[STATUS.code], status[STATUS.instruction], status[STATUS.since] = 0, -1, 0
    look_by = 0
    if thread_number() == process[MAIN]:
        look_by = process[LOOK]
    status[STATUS.state] = release_gil()
    _run_blocks(push, count, look_by, epoch)
    acquire_gil(status[STATUS.state])
    code, report = status[STATUS.code], offset(push, PUSH.report)
    if code != 0 or holds_on == 0:
        _settle(at, code == 0)
    if code == INTERRUPTED:
        return RAISED
    if code != 0:
        report[REPORT.code], report[REPORT.instruction] = code, status[STATUS.instruction]
        report[REPORT.first], report[REPORT.second] = status[STATUS.first], status[STATUS.second]
    return code
