"""The functions of `kernels.learn`; the first use of each compiles it or reads it from the cache. Imports no Numba."""

import functools
from collections.abc import Callable
from typing import Final

from fastgru.kernels.compiling import ensure
from fastgru.kernels.table import native
from fastgru.simd.native import python_function

__all__ = ["learn_calls"]

_NAMES: Final = ("adam", "entropy", "gemm", "gru_ahead", "gru_back", "sums")


@functools.cache
def learn_calls(dtype: str) -> tuple[int, dict[str, Callable[[int, int, int], int]]]:
    """The address of the GEMM of matrices at any strides, and the functions of (words, first, last) by name."""
    gemm, each = native("gemm_strided", dtype), {name: native(f"learn_{name}_{dtype}") for name in _NAMES}
    ensure([gemm, *each.values()])
    return gemm.address, {name: python_function(one.address, one.name) for name, one in each.items()}
