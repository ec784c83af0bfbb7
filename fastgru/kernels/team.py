"""Sharing one instruction between the threads of a team: who does what, and where they meet."""

import numpy as np

from fastgru.kernels.operands.team import LOOK_WORK, MEMBER, STATUS, TEAM
from fastgru.kernels.registry import BASES, kernel
from fastgru.simd.memory import call_native, pointer
from fastgru.simd.sizes import COUNT, CPU_WORDS, GENERATION, VERDICT
from fastgru.simd.threads import (
    allow_cpus,
    atomic_add,
    atomic_load,
    atomic_store,
    give_way,
    relax,
)

__all__ = ["barrier", "keep_off", "look_out", "meet", "share", "spend"]

# Pauses before a waiting thread lets others run: longer than any step that keeps both cores busy should take.
_PATIENCE = 2_000


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
    """Send a sleeping worker to other cores than `core`, the caller's, if it last ran there.

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
