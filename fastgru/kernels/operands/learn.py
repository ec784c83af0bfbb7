"""The words of the functions for learning: sizes, and addresses of arrays that the caller must keep.

Rows of units are padded with zeros to whole vectors; `padded` is H with this padding.
"""

from typing import Final

from fastgru.kernels.operands.declare import places

__all__ = ["ADAM", "ENTROPY", "GEMM", "GRU_STEPS", "HIDDEN", "RESET", "SUMS"]

# out[m, u] = start[m, u] + the sum over k < K of a[m, k] b[k, u], for u < columns, which are whole vectors.
GEMM: Final = places("gemm a a_row a_k b b_k K columns start start_row out out_row")

# Steps `first` to `last` - 1 of N rows through a GRU, in descending order if `backward`.
# kept (T, N, 4, padded): n r z q of each step; for other functions than sigmoid and tanh, the inputs of the functions
# instead of n, r and z. Before the forward pass its first three are x W^T + b_ih for n, r, z, unless there is a table
# of these by id. The backward pass replaces them by da_n, da_r, da_z, and dq (q with reset before).
# source, target (T, N, padded): h before and after each step. before (T, N, padded): source with resets applied, or
# source itself. flags (T, N): `HIDDEN`, `RESET`; address 0 for none.
# weights (H, 3, padded): recurrent weights, transposed. back (3, padded, padded): recurrent weights for r, z, n, not
# transposed. bias (3, padded): recurrent bias. sums (N, 3, padded): scratch. zeros (padded,).
# carry (N, padded): dE/dh after these steps, replaced by dE/dh before them. up (T, N, up_row): dE/dy.
# gate, candidate: codes of functions. parameters: theirs, then the clip, if there is one.
GRU_STEPS: Final = places(
    "gemm first last backward N H padded reset_after kept source target before flags ids table weights back bias sums"
    " zeros carry up up_step up_row gate candidate clip parameters"
)
HIDDEN: Final = 1
RESET: Final = 2

# logits (rows, columns), whole vectors of columns; a column without a class holds a number far below all others. They
# are replaced by scale * (softmax - one-hot), or by zeros if the target is negative. The loss of a row is
# log(total) - right.
ENTROPY: Final = places("logits columns targets totals rights scale")

# out (columns,): the sum over the rows of source. With ids, out (any, out_row): a sum over the rows of each id.
SUMS: Final = places("source row rows ids out out_row")

# A step of Adam. numbers: beta1, beta2, 1 - beta1, 1 - beta2, rate / (1 - beta1^t), 1 / (1 - beta2^t), epsilon, the
# factor of the weights, the factor of the gradient, and the factor of the weights that are added to the gradient.
ADAM: Final = places("weights gradient mean square numbers")
