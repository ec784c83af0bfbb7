"""The operands of one direction of recurrent layers, their chunks of steps, and the scratch of LSTM and RNN.

x, y and the mask may have strides, in elements: `x_t` from step to step, `x_n` from row to row. work: the work of a
step (`operands.team.step_work`). carry: whether a hidden row shows its last output, or zeros.
"""

from typing import Final, NamedTuple

from fastgru.kernels.operands.declare import Operands
from fastgru.simd.cpu import cache_sizes

__all__ = ["RECURRENT", "STEP_ROWS", "STEP_WORDS", "RecurrentScratch", "chunk_steps", "recurrent_scratch"]

# The words that all recurrent layers have.
STEP_WORDS: Final = "T N I H x_t x_n y_t y_n mask_t mask_n reverse carry chunk work clip"

# Operands of LSTM and RNN; RNN has no c, no peephole and one code. h0, c0 (N, H), hn, cn, lengths (N,), mask and y may
# be absent. peephole: three padded vectors. visible: (2, N) int64. codes: those of `operands.activation`, in the order
# of the parameters, which the clip follows.
RECURRENT: Final = Operands(
    "x y h0 c0 hn cn weight_ih weight_hh bias peephole lengths mask parameters scratch visible",
    f"{STEP_WORDS} peepholes input_forget",
    rest="codes",
)

# Rows whose gate sums are kept between the GEMM and the tail.
STEP_ROWS: Final = 12


class RecurrentScratch(NamedTuple):
    """Where each region begins, in elements: h twice, c, the sums of a block, input GEMM outputs; and the total."""

    even: int
    odd: int
    c: int
    sums: int
    projected: int
    total: int


def recurrent_scratch(N: int, padded: int, groups: int, chunk: int, lanes: int) -> RecurrentScratch:
    """Return the scratch for N rows of `padded` units."""
    state = N * padded
    projected = 3 * state + 4 * max(groups, 2) * STEP_ROWS * lanes
    return RecurrentScratch(0, state, 2 * state, 3 * state, projected, projected + groups * chunk * state)


def chunk_steps(T: int, N: int, H: int, groups: int, itemsize: int) -> int:
    """Return the steps of one input GEMM: as many as a quarter of the L2 holds, at least one."""
    row = groups * (H + 15) * itemsize * max(N, 1)
    return max(1, min(T, cache_sizes()["l2"] // 4 // row))
