"""The operands of copies, transposes and gathers."""

from typing import Final

from fastgru.kernels.operands.declare import Operands

__all__ = ["COPY", "GATHER", "MAX_RANK"]

MAX_RANK: Final = 6  # the axes of a strided copy

# Operands of a copy and of a transpose. Strides count elements. Unused leading axes have size 1 and stride 0.
COPY: Final = Operands(
    "source target", "shape source_strides target_strides",
    shape=MAX_RANK, source_strides=MAX_RANK, target_strides=MAX_RANK,
)  # fmt: skip

# x (outer, entries, inner), ids (count), y (outer, count, inner); inner: bytes. wrap: a negative id counts from the
# end.
GATHER: Final = Operands("x ids y", "outer count entries inner wrap")
