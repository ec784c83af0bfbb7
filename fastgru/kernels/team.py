"""The threads of a team: calling workers, sharing an instruction, and meeting.

A worker is called through one word of its own, `MEMBER.wake`. The caller writes the words of the call, then exchanges
this word for `CALLED`, and releases the worker's lock if the word was `ASLEEP`. A worker that has spun long enough
exchanges the word for `ASLEEP`, and sleeps on its lock unless the word was `CALLED`. Both exchange the same word, so on
any CPU one exchange comes first, and the other sees it. Either the caller finds `ASLEEP` and releases the lock, or the
worker finds `CALLED` and does not sleep. No wake-up is lost, and no lock is released twice.

A worker reads the words of the call after it has read `CALLED`, or after it has got its lock, so it reads what the
caller wrote before. It writes `AWAKE` before its last meeting of the call, and nobody calls it again before that
meeting.
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

# Pauses before a waiting thread lets others run: more than any step that keeps both cores busy should take.
_PATIENCE = 2_000
# Pauses between two readings of the clock, about half a microsecond. If they take longer than `_AWAY_NS`, another
# thread had the core meanwhile, and needs it more than a thread that waits for work.
_PAUSES, _AWAY_NS = 16, 20_000
# How long calls that want a team awake run alone after one of its members had no core: it may be away for milliseconds.
_LATE_NS = 50_000_000


@kernel
def call_worker(member, lock):
    """Call a worker, whose words are written. Return whether it had to be woken."""
    asleep = atomic_exchange(member, MEMBER.wake, CALLED) == ASLEEP
    if asleep:
        release_lock(lock)
    return asleep


@kernel
def worth_joining(team, spin, sleeps):
    """Return whether a call should use the team.

    It should if the program gains even from workers that sleep. Otherwise all workers must be awake, or calls must come
    close enough together for the next one to find them awake, and no member may have been without a core lately.
    """
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
    """Return when the worker is called: it spins for `spin` nanoseconds, and then sleeps.

    It sleeps at once if it would hold others up: if it is on the core of the last caller, which goes on there, or if
    another thread had its core meanwhile, which it records in `LATE`.
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
            if member[MEMBER.core] != core:  # the caller reads this cache line, and every write delays it
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
    """Wait until every member has come here. The last one passes told[where] on to all, as `VERDICT`."""
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
    """Wait as `barrier` does, which is faster, and return the same code to all members: not 0 if the run must end."""
    status = pointer(bases[BASES.status], "int64")
    if team[TEAM.members] == 1:
        return atomic_load(status, STATUS.code)
    _wait(team, status, STATUS.code)
    return pointer(team[TEAM.shared], "int64")[VERDICT]


@kernel
def look_out(team, bases):
    """Let Python handle signals, if this member is the one that does so. Called about every millisecond of a run."""
    if team[TEAM.look] != 0:
        call_native(team[TEAM.look], pointer(bases[BASES.status], "int64"))


@kernel
def spend(left, work, team, bases):
    """Return the work that is left until the next look for signals, after `work` more; negative if the run must end.

    It is for a member that meets no others until its instruction is done. Work is in the unit of `LOOK_WORK`, which is
    the initial value of `left`.
    """
    left -= work
    if left > 0:
        return left
    look_out(team, bases)
    return -1 if atomic_load(pointer(bases[BASES.status], "int64"), STATUS.code) != 0 else np.int64(LOOK_WORK)


@kernel
def share(count, team):
    """Return this member's part of `count` things: the first one, and the one after the last."""
    return count * team[TEAM.number] // team[TEAM.members], count * (team[TEAM.number] + 1) // team[TEAM.members]


@kernel
def keep_off(member, core, allowed, mask):
    """Keep a waiting worker off `core`, the caller's, if it last ran there.

    A scheduler wakes a thread on the core where it slept if no better one is idle at that moment. Two threads that
    share a core and meet after every step would alternate instead of working at the same time.
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
