"""The words of a pool of sessions, and of a push of some of its sessions: see `kernels.sessions`."""

from typing import Final

from fastgru.kernels.operands.declare import places
from fastgru.kernels.operands.ticket import REPORT

__all__ = ["CARRIED", "END", "POOL", "PUSH", "RUNG", "SLOT", "TEAM_OF"]

# A pool. process, blocks: the addresses of the process's words and of a table of blocks. shift: the bits of a place
# that number the slots of a block. slot, bank: bytes of a slot and of one of its banks. slots, used: how many slots
# there are, and how many have ever been used. free: the place of the first free slot plus 1, 0 for none. open, opened:
# how many sessions are open, and how many have been opened in all.
POOL: Final = places("process blocks shift slot bank slots used free open opened")

# A slot, a cache line before its two banks. session: 0 for none. generation: that of its last session. parity: the bank
# that holds its state. busy: the number of the process that uses it, 0 for none. user: the address of the push that
# uses it, 0 for another use. next: the next free slot. opened: how many sessions had been opened before this one.
SLOT: Final = places("session generation parity busy user next opened spare")

# A push. pool, status: addresses of the pool and of the status words. sessions: the address of what the array of
# sessions must match. tuple: id(tuple). inputs, outputs, states, rungs: their numbers; rungs are programs. rows: the
# address of the slots' addresses. room, count: how many slots it has room for, and how many are held. chained: another
# push that ends together with this one. parity: from which end weights are read first. report: `REPORT`, whose `first`
# is the row of a session that is refused, and whose `rows` are those of the program that failed. ends: `END` for each
# input and output, `CARRIED` for each state, and `RUNG` for each program, beginning with the fewest rows.
PUSH: Final = places(
    "pool status sessions tuple inputs outputs states rungs rows room count chained parity report ends",
    report=REPORT.words,
    ends=0,
)

# An array of a push. expected: the address of what it must match (`simd.arrays.fits_rows`). axis: the axis of the rows.
# before: the number of elements before it. nbytes: the bytes of a row after it. staged: where the rows of one program
# lie if they cannot lie in the array itself. start: where the array begins in this call.
END: Final = places("expected axis before nbytes staged start")

# A state. before: the elements before the axis of the rows. nbytes: the bytes after it. at: its offset in a bank. now,
# following: where the rows of one program lie before and after its run.
CARRIED: Final = places("before nbytes at now following")

# A program: its rows, the addresses of its words and bases and of `TEAM_OF`. bases: the address of indices in its
# bases: of inputs, of outputs, and of the present and the next value of each state.
RUNG: Final = places("rows program table team bases")
TEAM_OF: Final = places("team spin sleeps")
