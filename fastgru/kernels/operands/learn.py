"""The words of what is called for learning: sizes, and addresses of arrays that whoever calls keeps.

Rows of units are padded to whole vectors with zeros; `padded` is what H comes to.
"""

from typing import Final

from fastgru.kernels.operands.declare import places

__all__ = ["ADAM", "ENTROPY", "GEMM", "GRU_STEPS", "HIDDEN", "RESET", "SUMS"]

# out[m, u] = start[m, u] + the sum over k < K of a[m, k] b[k, u], u < columns, whole vectors of them.
GEMM: Final = places("gemm a a_row a_k b b_k K columns start start_row out out_row")

# Steps `first` to `last` - 1 of N rows through a GRU, the last one first where it goes backward. kept (T, N, 4,
# padded): n r z q of each step, or with other functions than sigmoid and tanh what n, r and z are taken of; before
# going ahead its first three are x W^T + b_ih for n, r, z, unless there is a table of these by id; going back leaves
# da_n, da_r, da_z, and dq (or q with reset before) in their place. source, target (T, N, padded): h before and after
# each step; before (T, N, padded): source with resets made, or itself. flags (T, N): `HIDDEN`, `RESET`; 0 for none.
# weights (H, 3, padded): the recurrent ones transposed, back (3, padded, padded): as they are, for r, z, n; bias (3,
# padded): that of h. sums (N, 3, padded): room. zeros (padded,). carry (N, padded): dE/dh behind these steps, then
# before them; up (T, N, up_row): dE/dy. gate, candidate: codes of functions, parameters: theirs, then the clip, where
# there is one.
GRU_STEPS: Final = places(
    "gemm first last backward N H padded reset_after kept source target before flags ids table weights back bias sums"
    " zeros carry up up_step up_row gate candidate clip parameters"
)
HIDDEN: Final = 1
RESET: Final = 2

# logits (rows, columns), whole vectors of columns, far below all others where there is no class: become scale *
# (softmax - one-hot) where the target is not negative, else zeros. The loss of a row is log(total) - right.
ENTROPY: Final = places("logits columns targets totals rights scale")

# out (columns,): the sum over the rows of source; with ids, out (any, out_row): the sum of those of each id.
SUMS: Final = places("source row rows ids out out_row")

# A step of Adam. numbers: beta1, beta2, 1 - beta1, 1 - beta2, rate / (1 - beta1^t), 1 / (1 - beta2^t), epsilon, what
# the weights are multiplied with, what the gradients are, and how much of the weights is added to these.
ADAM: Final = places("weights gradient mean square numbers")
