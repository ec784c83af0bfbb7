"""The sizes that `--shape` gives to a dimension or to an input."""

import re
from typing import Final

from fastgru.errors import ShapeError

__all__ = ["read_shape"]

_SIZES: Final = re.compile(r"[1-9]\d{0,8}([x,] *[1-9]\d{0,8})*")


def read_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """ "N=8" names one size, "x=50x1x40" or "x=50,1,40" several. Raises `ShapeError`."""
    name, _, sizes = text.rpartition("=")
    if not name:
        raise ShapeError(f"--shape {text}: expected NAME=SIZE or NAME=SIZExSIZE..., as in T=50 or x=50x1x40")
    if not _SIZES.fullmatch(sizes):
        raise ShapeError(f"--shape {text}: expected sizes of at least 1, as in T=50 or x=50x1x40")
    if "=" in name and "," in name:
        raise ShapeError(f"--shape {text}: expected one name; give --shape once for each name")
    return name, tuple(int(size) for size in re.split(r"[x,]", sizes))
