"""The functions of `kernels.learn`. The first use of each compiles it or reads it from the cache.

This module does not import Numba.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Final

from fastgru.kernels.compiling import ensure
from fastgru.kernels.table import Native, native
from fastgru.simd.native import python_function

__all__ = ["gru_calls", "learn_calls"]

_NAMES: Final = ("adam", "entropy", "gemm", "sums")
_PASSES: Final = ("gru_ahead", "gru_back")


@functools.cache
def learn_calls(dtype: str) -> tuple[int, dict[str, Callable[[int, int, int], int]]]:
    """Return the address of the GEMM with any strides, and the functions of (words, first, last) by name."""
    gemm = native("gemm_strided", dtype)
    functions = _functions(dtype, _NAMES, (gemm,))
    return gemm.address, functions


@functools.cache
def gru_calls(dtype: str, *, general: bool) -> dict[str, Callable[[int, int, int], int]]:
    """Return a GRU's "gru_ahead" and "gru_back". general: return those for any functions and a clip."""
    found = _functions(dtype, tuple(f"{name}{'_general' if general else ''}" for name in _PASSES))
    return dict(zip(_PASSES, found.values(), strict=True))


def _functions(dtype: str, names: Iterable[str], others: Iterable[Native] = ()) -> dict[str, Callable[..., int]]:
    each = {name: native(f"learn_{name}_{dtype}") for name in names}
    ensure([*others, *each.values()])
    return {name: python_function(one.address, one.name) for name, one in each.items()}
