"""The operands of loops and branches: instructions that decide which one comes next.

A loop is `loop_begin`, the instructions of its body, `loop_next`, and `land`, where it ends. `loop_begin` and
`loop_next` set the addresses in `bases` that change from iteration to iteration: those of states, which alternate
between two banks, of slices of sequences, and of the rows that are stacked.
"""

from __future__ import annotations

from typing import Final

from fastgru.kernels.operands.declare import Operands, places

__all__ = ["BRANCH", "JUMP", "LAND", "LOOP", "MOVE", "RECORD", "STATE"]

# A loop that runs: the number of the iteration, the number of iterations, the work until the next look for signals, and
# the rows in the block that is being stacked.
RECORD: Final = places("iteration trips look row")

# A state: the indices in `bases` of its present and of its next value; then the places of its initial value and of the
# two banks, each as an index in `bases` and an offset in bytes.
STATE: Final = places("now following first_base first_at even_base even_at odd_base odd_at")

# An address that moves: its index in `bases`, the place where it starts, and the bytes from one iteration to the next.
MOVE: Final = places("base from_base from_at step")

# record (RECORD); limit (1) and condition (1) are read before the first iteration, going (1) after each. trips: the
# most iterations, -1 for no bound. counts: whether the iterations of this loop are counted. most: the most iterations
# that are counted in a run. outermost: whether the count starts here. first, end: the first instruction of the body,
# and the one at the end. rows: rows of a block, 0 if nothing is stacked in blocks. work: work of an iteration, in the
# unit of `LOOK_WORK`. table: STATE for each of `states`, MOVE for each of `sequences` and each of `stacked`.
LOOP: Final = Operands(
    "record limit condition going",
    "trips most counts outermost first end rows work states sequences stacked",
    rest="table",
)

# condition (1): if it holds, instruction `then` comes next, otherwise instruction `otherwise`.
BRANCH: Final = Operands("condition", "then otherwise")
JUMP: Final = Operands("", "to")
LAND: Final = Operands("")
