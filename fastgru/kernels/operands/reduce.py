"""The operands and codes of reductions, positions of extremes, and running sums."""

from typing import Final

from fastgru.kernels.operands.declare import Operands, codes

__all__ = ["ARG", "BOOL_CODES", "CUMSUM", "EXTREMES", "INTEGER", "REDUCE", "SUMS"]

# Each row of n elements is reduced to one number.
REDUCE: Final = Operands("x y", "rows n code")

# smallest: find the smallest element, not the largest. last: among equal ones, find the last, not the first.
ARG: Final = Operands("x y", "rows n smallest last")

# exclusive: without the element itself. reverse: from the end. product: running products, not sums.
CUMSUM: Final = Operands("x y", "rows n exclusive reverse product")

SUMS: Final = codes("sum mean l1 l2 sum_square log_sum prod")
EXTREMES: Final = codes("max min log_sum_exp")
INTEGER: Final = codes("sum l1 sum_square prod max min")
BOOL_CODES: Final = {"any": 0, "max": 0, "sum": 0, "l1": 0, "sum_square": 0, "all": 1, "min": 1, "prod": 1}
