"""Sharing one instruction between the threads of a team: who does what, and where they meet; and how a call begins.

A worker is called through one word of its own, `MEMBER.wake`. Who calls writes what the call is about, then exchanges
the word for `CALLED`, and releases the worker's lock if the word was `ASLEEP`. A worker that has looked out for long
enough exchanges the word for `ASLEEP`, and sleeps on its lock unless the word was `CALLED`. Both are exchanges of the
same word, so one of them comes first, on any CPU, and the other one sees it: either who calls finds `ASLEEP` and
releases the lock, or the worker finds `CALLED` and does not sleep. No wake-up is lost, and no lock is released twice.
A worker reads what the call is about after it has read `CALLED`, or after it got its lock, so it reads what was written
before; it writes `AWAKE` before its last meeting of the call, and nobody calls it again before that meeting.
"""

import numpy as np

from fastgru.kernels.operands.team import ASLEEP, AWAKE, CALLED, CONTROL, LOOK_WORK, MEMBER, STATUS, TEAM
from fastgru.kernels.operands.ticket import ROSTER
from fastgru.kernels.registry import BASES, kernel
from fastgru.simd.interpreter import acquire_lock, nanoseconds, release_lock
from fastgru.simd.memory import call_native, offset, pointer
from fastgru.simd.sizes import COUNT, CPU_WORDS, GENERATION, LATE, VERDICT
from fastgru.simd.threads import (
    allow_cpus,
    atomic_add,
    atomic_exchange,
    atomic_load,
    atomic_store,
    current_cpu,
    give_way,
    relax,
)

__all__ = ["await_call", "barrier", "call_worker", "keep_off", "look_out", "meet", "share", "spend", "worth_joining"]

# Pauses before a waiting thread lets others run: longer than any step that keeps both cores busy should take.
_PATIENCE = 2_000
# Pauses between two looks at the clock, about half a microsecond; and how long they take where something else had the
# core meanwhile, which then needs it more than a thread that waits for work.
_PAUSES, _AWAY_NS = 16, 20_000
# How long calls that want a team awake do without one of which a member had no core: it may be gone for milliseconds.
_LATE_NS = 50_000_000


@kernel
def call_worker(member, lock):
    """Have a worker begin the call that its words tell of; whether it had to be woken."""
    asleep = atomic_exchange(member, MEMBER.wake, CALLED) == ASLEEP
    if asleep:
        release_lock(lock)
    return asleep


@kernel
def worth_joining(team, spin, sleeps):
    """Whether to have the team: if it gains from one that sleeps; or all are awake, or calls come close enough together
    for the next one to find it so, and no other work has kept a member from its core lately."""
    if sleeps:
        return True
    members, awake, late = pointer(team[ROSTER.members], "int64"), True, atomic_load(team, ROSTER.late)
    for i in range(1, team[ROSTER.size]):
        awake = awake and atomic_load(offset(members, i * MEMBER.words), MEMBER.wake) != ASLEEP
    if awake and late == 0:
        return True
    now = nanoseconds()
    if pointer(members[TEAM.shared], "int64")[LATE] != 0:
        late = now
        atomic_store(team, ROSTER.late, late)
        pointer(members[TEAM.shared], "int64")[LATE] = 0
    if late != 0 and now - late < _LATE_NS:
        return False
    atomic_store(team, ROSTER.late, 0)
    return awake or now - atomic_load(team, ROSTER.missed) < spin


@kernel
def await_call(member, control, lock, spin):
    """Return when the worker is called: it looks out for that for `spin` nanoseconds, and then sleeps.

    It goes to sleep at once where it would hold others up: on the core of the last caller, who goes on there, or where
    something else had the core meanwhile, which it tells.
    """
    called = False
    if spin > 0:
        now = nanoseconds()
        until = now + spin
        while not called and now < until:
            for _ in range(_PAUSES):
                if atomic_load(member, MEMBER.wake) == CALLED:
                    called = True
                    break
                relax()
            before, now, core = now, nanoseconds(), current_cpu()
            if member[MEMBER.core] != core:  # the caller looks at the line: what is written there holds him up
                member[MEMBER.core] = core
            if now - before > _AWAY_NS:
                pointer(member[TEAM.shared], "int64")[LATE] = 1
                break
            if core == control[CONTROL.core]:
                break
    if not called and atomic_exchange(member, MEMBER.wake, ASLEEP) != CALLED:
        acquire_lock(lock)
    atomic_store(member, MEMBER.wake, AWAKE)


@kernel
def _wait(team, told, where):
    """Until every member has come here; the last to come tells all of them told[where]."""
    shared = pointer(team[TEAM.shared], "int64")
    generation = atomic_load(shared, GENERATION)
    if atomic_add(shared, COUNT, 1) == team[TEAM.members] - 1:
        atomic_store(shared, COUNT, 0)
        shared[VERDICT] = atomic_load(told, where)
        atomic_store(shared, GENERATION, generation + 1)
    else:
        spins = 0
        while atomic_load(shared, GENERATION) == generation:
            relax()
            spins += 1
            if spins > _PATIENCE:
                shared[LATE] = 1
                give_way()


@kernel
def barrier(team):
    """Return when every member of the team has come here."""
    if team[TEAM.members] > 1:
        _wait(team, pointer(team[TEAM.shared], "int64"), VERDICT)


@kernel
def meet(team, bases):
    """The same; not 0 where the run is to end: all are told the same. Costs more than `barrier` in a short loop."""
    status = pointer(bases[BASES.status], "int64")
    if team[TEAM.members] == 1:
        return atomic_load(status, STATUS.code)
    _wait(team, status, STATUS.code)
    return pointer(team[TEAM.shared], "int64")[VERDICT]


@kernel
def look_out(team, bases):
    """Let signals of Python be handled, if this member is who does that; about every millisecond of a run."""
    if team[TEAM.look] != 0:
        call_native(team[TEAM.look], pointer(bases[BASES.status], "int64"))


@kernel
def spend(left, work, team, bases):
    """What is `left` of the work until the next look at signals, `work` being done; negative where the run is to end.

    For a member that meets nobody until its instruction is done. Work is counted as in `LOOK_WORK`, where it begins.
    """
    left -= work
    if left > 0:
        return left
    look_out(team, bases)
    return -1 if atomic_load(pointer(bases[BASES.status], "int64"), STATUS.code) != 0 else np.int64(LOOK_WORK)


@kernel
def share(count, team):
    """The first of `count` things of this member, and the one behind its last."""
    return count * team[TEAM.number] // team[TEAM.members], count * (team[TEAM.number] + 1) // team[TEAM.members]


@kernel
def keep_off(member, core, allowed, mask):
    """Send a worker that waits to other cores than `core`, the caller's, if it last ran there.

    A scheduler wakes a thread where it slept if nothing better is idle at that moment, and two threads that meet after
    every step on one core alternate instead of working side by side.
    """
    if core < 0 or member[MEMBER.core] != core or core >= 64 * CPU_WORDS:
        return
    left = 0
    for i in range(CPU_WORDS):
        mask[i] = allowed[i]
        if i == core // 64:
            mask[i] = allowed[i] & ~(1 << (core % 64))
        left |= mask[i]
    if left != 0:
        allow_cpus(member[MEMBER.thread], mask)
