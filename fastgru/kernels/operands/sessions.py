"""Words of a pool of sessions, and of a push of some of them: see `kernels.sessions`."""

from typing import Final

from fastgru.kernels.operands.declare import places
from fastgru.kernels.operands.ticket import REPORT

__all__ = ["CARRIED", "END", "POOL", "PUSH", "RUNG", "SLOT", "TEAM_OF"]

# Of a pool: the addresses of the words of the process and of a table of blocks, how many bits of a place count the
# slots of a block, the bytes of a slot and of one of its banks, how many slots there are and how many have been used,
# the first of those that were given up (its place and 1; 0: none), how many sessions are open, how many have been.
POOL: Final = places("process blocks shift slot bank slots used free open opened")

# Of a slot, before its two banks: its session (0: none), the generation of its last one, which bank holds its state,
# who uses it (the number of the process, 0: nobody; the address of a push, 0: another use), the next slot that was
# given up, and how many sessions had been opened before. A cache line.
SLOT: Final = places("session generation parity busy user next opened spare")

# Of a push: the addresses of the pool, of the status words, and of what the array of sessions must be, id(tuple), how
# many inputs, outputs, states and programs there are; the address of the addresses of the slots, how many there is room
# for and how many are held; another push that ends together with this one, from which end weights are read first; the
# `REPORT`, of which `first` is the row of a session that is refused, `rows` those of the program that failed; then
# `END` for each input and output, `CARRIED` for each state, `RUNG` for each program, the one of the fewest rows first.
PUSH: Final = places(
    "pool status sessions tuple inputs outputs states rungs rows room count chained parity report ends",
    report=REPORT.words,
    ends=0,
)

# Of an array of a push: the address of what it must be (`kernels.sessions.fits_rows`), the axis of the rows, the number
# of elements before it, the bytes of a row behind it; where the rows of one program lie that cannot lie in the array
# itself, and where that begins in this call.
END: Final = places("expected axis before nbytes staged start")

# Of a state: the elements before the axis of the rows, the bytes behind it, where it is in a bank; where the rows of
# one program lie before it and after.
CARRIED: Final = places("before nbytes at now following")

# Of a program: its rows, its words, its bases, the address of `TEAM_OF`, and that of the indices in the bases: of
# inputs, of outputs, of the present and of the next value of each state.
RUNG: Final = places("rows program table team bases")
TEAM_OF: Final = places("team spin sleeps")
