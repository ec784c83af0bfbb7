"""The operands of loops and branches: instructions that say which comes next.

A loop is `loop_begin`, the instructions of its body, `loop_next`, and `land`, where it ends. A body finds what changes
from iteration to iteration through addresses in `bases` that these two set: of its states, which change places between
two banks, of the slices of its sequences, and of the rows that it stacks.
"""

from __future__ import annotations

from typing import Final

from fastgru.kernels.operands.declare import Operands, places

__all__ = ["BRANCH", "JUMP", "LAND", "LOOP", "MOVE", "RECORD", "STATE"]

# Of a loop that runs: the number of the iteration, how many there are, the work until the next look at signals, and
# the rows in the block that is being stacked.
RECORD: Final = places("iteration trips look row")

# A state: which of `bases` is that of its present and that of its next value; then where the initial value lies and
# the two banks, as an index of `bases` and bytes from there.
STATE: Final = places("now following first_base first_at even_base even_at odd_base odd_at")

# What moves: which of `bases`, where it starts, and the bytes from one iteration to the next.
MOVE: Final = places("base from_base from_at step")

# record (RECORD); limit (1) and condition (1) before the first iteration, going (1) after each. trips: at most so many,
# -1 for no bound. most: of all iterations that are counted, `counts`: whether these are; outermost: whether the count
# starts here. first, end: the instructions of the body and of the end. rows: of a block, 0 where nothing is stacked in
# blocks. work: of an iteration, as `LOOK_WORK` counts it. table: STATE for each of `states`, MOVE for each of
# `sequences` and each of `stacked`.
LOOP: Final = Operands(
    "record limit condition going",
    "trips most counts outermost first end rows work states sequences stacked",
    rest="table",
)

# condition (1): the instruction `then` comes next where it holds, else `otherwise`.
BRANCH: Final = Operands("condition", "then otherwise")
JUMP: Final = Operands("", "to")
LAND: Final = Operands("")
