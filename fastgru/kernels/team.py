"""Sharing one instruction between the threads of a team: who does what, and where they meet."""

from __future__ import annotations

from fastgru.kernels.operands.team import CORE, MEMBER_WORDS, TEAM_WORDS, THREAD
from fastgru.kernels.registry import kernel
from fastgru.simd.memory import pointer
from fastgru.simd.sizes import CPU_WORDS, GENERATION
from fastgru.simd.threads import (
    allow_cpus,
    atomic_add,
    atomic_load,
    atomic_store,
    give_way,
    relax,
)

__all__ = ["CORE", "MEMBER_WORDS", "TEAM_WORDS", "THREAD", "barrier", "keep_off", "share"]

# Pauses before a waiting thread lets others run: longer than any step that keeps both cores busy should take.
_PATIENCE = 2_000


@kernel
def barrier(team):
    """Return when every member of the team has come here."""
    if team[1] > 1:
        shared = pointer(team[2], "int64")
        generation = atomic_load(shared, GENERATION)
        if atomic_add(shared, 0, 1) == team[1] - 1:
            atomic_store(shared, 0, 0)
            atomic_store(shared, GENERATION, generation + 1)
        else:
            spins = 0
            while atomic_load(shared, GENERATION) == generation:
                relax()
                spins += 1
                if spins > _PATIENCE:
                    give_way()


@kernel
def share(count, team, parts):
    """The first of `count` things of this member, where `parts` members share them; ask for number + 1 for the end."""
    return count * team // parts


@kernel
def keep_off(member, core, allowed, mask):
    """Send a sleeping worker to other cores than `core`, the caller's, if it last ran there.

    A scheduler wakes a thread where it slept if nothing better is idle at that moment, and two threads that meet after
    every step on one core take turns instead of working side by side.
    """
    if core < 0 or member[CORE] != core or core >= 64 * CPU_WORDS:
        return
    left = 0
    for i in range(CPU_WORDS):
        mask[i] = allowed[i]
        if i == core // 64:
            mask[i] = allowed[i] & ~(1 << (core % 64))
        left |= mask[i]
    if left != 0:
        allow_cpus(member[THREAD], mask)
