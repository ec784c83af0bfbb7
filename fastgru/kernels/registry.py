"""The dispatch table: one native handler an operation and dtype, compiled the first time a program needs it.

A handler is `void(int64* operands, int64* bases, int64* team)`. Operands are the instruction's own words: a tensor
is two of them (index into `bases`, byte offset; a negative index means absent), the rest are sizes, strides and codes.
`bases` holds addresses; `bases[STATUS]` that of the status words a handler writes when data is wrong (`fail`), and
`bases[PARTS[name]]` those of the parts: native functions that several handlers call, compiled once for all of them.
`team` holds the calling thread's number and the number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

from numba import njit
from numba.core import types
from numba.core.ccallback import CFunc

from fastgru.simd.cache import CompiledCache
from fastgru.simd.cpu import ISA
from fastgru.simd.memory import pointer, tensor_address

__all__ = [
    "ARENA", "DIVISION_BY_ZERO", "FAILURES", "FIRST_FREE_BASE", "INDEX_OUT_OF_RANGE", "LENGTH_OUT_OF_RANGE",
    "NEGATIVE_EXPONENT", "STATUS", "STATUS_WORDS", "Handler", "compiled_by_this_process", "entries", "fail", "find",
    "handler", "kernel", "part", "table", "tensor",
]  # fmt: skip

STATUS: Final = 0  # index into bases
ARENA: Final = 1
PARTS: Final = {"product_panel": 2, "product_gates": 3, "product_pair": 4}
FIRST_FREE_BASE: Final = 5
STATUS_WORDS: Final = 4  # code, two numbers for its message, the instruction

INDEX_OUT_OF_RANGE: Final = 1
LENGTH_OUT_OF_RANGE: Final = 2
DIVISION_BY_ZERO: Final = 3
NEGATIVE_EXPONENT: Final = 4
FAILURES: Final = {
    INDEX_OUT_OF_RANGE: "index {0} is out of range for {1} entries",
    LENGTH_OUT_OF_RANGE: "length {0} is not within 0 to {1}",
    DIVISION_BY_ZERO: "integer division of {0} by zero",
    NEGATIVE_EXPONENT: "an integer to the negative power {0}",
}

_WORDS = types.CPointer(types.int64)
_SIGNATURE = ((_WORDS, _WORDS, _WORDS), types.void)
# No nnan or ninf: NaN and infinities are data. No reassoc: sums have one order.
_OPTIONS: Final = {"nopython": True, "error_model": "numpy", "boundscheck": False, "fastmath": {"nsz"}}

kernel = njit(error_model="numpy", boundscheck=False, fastmath={"nsz"}, nogil=True)


tensor = tensor_address  # the address of the tensor whose operand words start at k; 0 where it is absent


@kernel
def fail(bases, code, first, second):
    """Record why an instruction could not be carried out; the first report of a run stands."""
    status = pointer(bases[STATUS], "int64")
    if status[0] == 0:
        status[0] = code
        status[1] = first
        status[2] = second


class Handler:
    """One entry of the table."""

    def __init__(
        self, op: str, dtype: str, factory: Callable[..., Any], *, parts: tuple[str, ...] = (), signature: Any = None
    ) -> None:
        self.op, self.dtype, self._factory, self.parts = op, dtype, factory, parts
        self.doc = (factory.__doc__ or "").strip().split("\n")[0]
        self._signature = _SIGNATURE if signature is None else signature
        self._cfunc: CFunc | None = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return f"{self.op}_{self.dtype}"

    @property
    def state(self) -> str:
        """The state: "compiled" in this process, "cached" where it came from the cache folder, "unused" so far."""
        if self._cfunc is None:
            return "unused"
        return "cached" if self._cfunc.cache_hits else "compiled"

    @property
    def address(self) -> int:
        """The native address; the first use compiles, or loads from the cache."""
        if self._cfunc is None:
            with self._lock:
                if self._cfunc is None:
                    self._cfunc = self._build()
        return int(self._cfunc.address or 0)

    def _build(self) -> CFunc:
        function = self._factory(self.dtype)
        function.__qualname__ = self.name  # the key of the cache: several handlers come from one factory
        cfunc = CFunc(function, self._signature, locals={}, options=dict(_OPTIONS))
        cfunc._cache = CompiledCache(function)
        cfunc.compile()
        return cfunc


_TABLE: dict[tuple[str, str], Handler] = {}


def handler(op: str, *dtypes: str, parts: tuple[str, ...] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a factory, called with a dtype's name, that returns the Python function of the handler.

    parts: names of `PARTS` that it calls.
    """

    def enter(factory: Callable[..., Any]) -> Callable[..., Any]:
        for dtype in dtypes:
            _TABLE[op, dtype] = Handler(op, dtype, factory, parts=parts)
        return factory

    return enter


def part(
    name: str, *dtypes: str, signature: Callable[[str], Any]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a factory of a part; `signature` gives its Numba signature for a dtype."""

    def enter(factory: Callable[..., Any]) -> Callable[..., Any]:
        for dtype in dtypes:
            _TABLE[name, dtype] = Handler(name, dtype, factory, signature=signature(dtype))
        return factory

    return enter


def find(op: str, dtype: str) -> Handler:
    """The handler of an operation for a dtype; `KeyError` where there is none."""
    return _TABLE[op, dtype]


def entries() -> Iterator[Handler]:
    """Every handler of the table, by name."""
    return iter(_TABLE[key] for key in sorted(_TABLE))


def table() -> list[tuple[str, str, str, str]]:
    """(operation, dtype, instruction set, state) of every handler: what `fastgru doctor` prints."""
    return [(h.op, h.dtype, ISA, h.state) for h in entries()]


def compiled_by_this_process() -> list[str]:
    """Names of handlers that were compiled here rather than found in the cache."""
    return [h.name for h in entries() if h.state == "compiled"]
