"""The operands of one direction of a GRU, the ways in which a team shares it, and its scratch."""

from typing import Final, NamedTuple

from fastgru.kernels.operands.declare import Operands
from fastgru.kernels.operands.recurrent import STEP_WORDS

__all__ = [
    "ALONE", "GRU", "ROWS", "UNITS", "GRURows", "GRUScratch", "InputRows", "gru_rows", "gru_scratch", "input_rows",
]  # fmt: skip

# Operands as those of `RECURRENT`. codes: of the gates and of the candidate. order: words of each member (`GRURows`),
# absent for a single step. gathered: room of each member (`InputRows`), if rows are gathered or quantised. split:
# ALONE, ROWS or UNITS.
GRU: Final = Operands(
    "x y h0 hn weight_ih weight_hh bias_x bias_n lengths mask parameters scratch order gathered",
    f"{STEP_WORDS} codes split",
    codes=2,
)

# How a team shares the instruction: one member does all, each does its rows, or each does its units.
ALONE: Final = 0
ROWS: Final = 1
UNITS: Final = 2


class GRUScratch(NamedTuple):
    """Where each region begins, in elements: the state twice, r * h (held), z (update), gate sums, input GEMM outputs.

    own_sums: elements of the sums of one member.
    """

    even: int
    odd: int
    held: int
    update: int
    sums: int
    own_sums: int
    projected: int
    total: int


def gru_scratch(N: int, padded: int, chunk: int, lanes: int, members: int, step_rows: int) -> GRUScratch:
    """Return the scratch for N rows of `padded` units. Each member has sums for `step_rows` rows at once."""
    state = N * padded
    own_sums = 3 * 4 * step_rows * lanes
    projected = 4 * state + members * own_sums
    return GRUScratch(0, state, 2 * state, 3 * state, 4 * state, own_sums, projected, projected + 3 * chunk * state)


class GRURows(NamedTuple):
    """Where the words of one member begin: its rows in order, their flags, counts by length, first rows of steps."""

    order: int
    seen: int
    counts: int
    starts: int
    total: int


def gru_rows(T: int, N: int, chunk: int) -> GRURows:
    """Return the places of the words for the rows of a batch and the steps of a chunk."""
    starts = 2 * N + T + 2
    return GRURows(0, N, 2 * N, starts, starts + chunk + 1)


class InputRows(NamedTuple):
    """Where gathered or quantised rows of one member begin, of the input and of the state, in elements."""

    inputs: int
    states: int
    total: int


def input_rows(N: int, chunk: int, input_row: int, state_row: int) -> InputRows:
    """Return the regions for rows of `input_row` and `state_row` elements."""
    inputs = chunk * N * input_row
    return InputRows(0, inputs, inputs + N * state_row)
