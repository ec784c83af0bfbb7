"""The decorators that enter kernels into `kernels.table`. Importing this module imports Numba."""

from collections.abc import Callable
from typing import Any

from numba.core import types

from fastgru.kernels.operands.team import STATUS
from fastgru.kernels.table import (
    BASES,
    DIVISION_BY_ZERO,
    FAILURES,
    INDEX_OUT_OF_RANGE,
    LENGTH_OUT_OF_RANGE,
    NEGATIVE_EXPONENT,
    Recipe,
    enter,
)
from fastgru.simd import cache
from fastgru.simd.compiler import callable_kernel, compile_object, compile_python, inlined, kernel
from fastgru.simd.memory import pointer, tensor_address
from fastgru.simd.target import Target
from fastgru.simd.threads import atomic_claim

__all__ = [
    "BASES",
    "DIVISION_BY_ZERO",
    "FAILURES",
    "INDEX_OUT_OF_RANGE",
    "LENGTH_OUT_OF_RANGE",
    "NEGATIVE_EXPONENT",
    "callable_kernel",
    "called_by_python",
    "fail",
    "handler",
    "inlined",
    "kernel",
    "microkernel",
    "native_entry",
    "tensor",
]  # fmt: skip

_WORDS = types.CPointer(types.int64)

tensor = tensor_address  # the address of the tensor whose operand words start at k; 0 if it is absent


@kernel
def fail(bases, code, first, second):
    """Record why an instruction failed. Only the first report of a run is kept.

    The code is claimed atomically, because two members may fail at once. The numbers are read after all have met.
    """
    status = pointer(bases[BASES.status], "int64")
    if atomic_claim(status, STATUS.code, code):
        status[STATUS.first] = first
        status[STATUS.second] = second


def handler(
    op: str, *dtypes: str, microkernels: tuple[str, ...] = (), uses: tuple[str, ...] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a factory, called with a dtype's name, that returns the Python function of the handler.

    microkernels: the names of those that it calls. uses: the `target.FEATURES` beyond a base on which its own code
    depends, even if only through constants; features of its microkernels do not count.
    """
    return _enter(op, dtypes, microkernels, uses, lambda dtype: ((_WORDS, _WORDS, _WORDS), types.void))


def microkernel(
    name: str, *dtypes: str, signature: Callable[[str], Any], uses: tuple[str, ...] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a factory of a microkernel. signature: returns its Numba signature for a dtype."""
    return _enter(name, dtypes, (), uses, signature)


def _enter(
    op: str,
    dtypes: tuple[str, ...],
    microkernels: tuple[str, ...],
    uses: tuple[str, ...],
    signature: Callable[[str], Any],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def enter_it(factory: Callable[..., Any]) -> Callable[..., Any]:
        mark = cache.mark_of(factory)
        for dtype in dtypes:

            def make(symbol: str, target: Target, dtype: str = dtype) -> bytes:
                arguments, result = signature(dtype)
                return compile_object(factory(dtype), arguments, result, symbol, target)

            enter(op, dtype, Recipe(make, microkernels, uses, mark))
        return factory

    return enter_it


def native_entry(name: str, signature: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function without dtype that native code calls by its address. signature: Numba's."""

    def enter_it(function: Callable[..., Any]) -> Callable[..., Any]:
        arguments, result = signature.args, signature.return_type
        enter(name, "", Recipe(lambda *made: compile_object(function, arguments, result, *made)))
        return function

    return enter_it


def called_by_python(
    name: str, kinds: str, *, keep_gil: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function that Python calls. kinds: for each argument "i", a 64-bit integer, or "o", any object."""

    def enter_it(function: Callable[..., Any]) -> Callable[..., Any]:
        enter(name, "", Recipe(lambda *made: compile_python(function, kinds, *made, keep_gil=keep_gil)))
        return function

    return enter_it
