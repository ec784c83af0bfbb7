"""The dispatch table: one native handler for each operation and dtype, compiled when a program first needs it.

A handler is `void(int64* operands, int64* bases, int64* team)`. Operands are the instruction's own words: a tensor
is two of them (index into `bases`, byte offset; a negative index means absent), the rest are sizes, strides and codes.
`bases` holds addresses: at `BASES.status` that of the status words, which a handler writes when data is wrong
(`registry.fail`), and at the names of microkernels their addresses. A microkernel is native code that several handlers
call, compiled once for all of them. `team` holds the words of the calling member (`operands.team.TEAM`).

Functions in the cache run without Numba. The modules that define handlers, by means of `kernels.registry`, are imported
only to compile, or to list all functions.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple

from fastgru.kernels.operands import gemm, lowp
from fastgru.kernels.operands.declare import places
from fastgru.modules import import_all
from fastgru.process import lock, undisturbed
from fastgru.simd import cache
from fastgru.simd.llvm import may_be_disturbed
from fastgru.simd.native import load_object
from fastgru.simd.target import FEATURES, Target

__all__ = [
    "BASES",
    "DEAD_END",
    "DIVISION_BY_ZERO",
    "FAILURES",
    "FORKED",
    "INDEX_OUT_OF_RANGE",
    "INTERRUPTED",
    "LENGTH_OUT_OF_RANGE",
    "NEGATIVE_EXPONENT",
    "PAUSED",
    "TOO_MANY_ITERATIONS",
    "Native",
    "Recipe",
    "build_only",
    "builds_only",
    "compiled",
    "compiled_by_this_process",
    "enter",
    "entries",
    "find",
    "import_kernels",
    "native",
    "table",
]  # fmt: skip

_MICROKERNELS: Final = sorted((*gemm.MICROKERNELS, *lowp.MICROKERNELS))

# The fixed places of `bases`; the addresses of buffers follow.
BASES: Final = places(f"status arena {' '.join(_MICROKERNELS)}")

INDEX_OUT_OF_RANGE: Final = 1
LENGTH_OUT_OF_RANGE: Final = 2
DIVISION_BY_ZERO: Final = 3
NEGATIVE_EXPONENT: Final = 4
INTERRUPTED: Final = 5  # a signal handler has raised an exception, which is raised in the caller
FORKED: Final = 6
TOO_MANY_ITERATIONS: Final = 7
DEAD_END: Final = 9
PAUSED: Final = 8  # a block of rows is full; the next call resumes the run
FAILURES: Final = {
    INDEX_OUT_OF_RANGE: "index {0} is out of range for {1} entries",
    LENGTH_OUT_OF_RANGE: "length {0} is not within 0 to {1}",
    DIVISION_BY_ZERO: "integer division of {0} by zero",
    NEGATIVE_EXPONENT: "an integer to the negative power {0}",
    TOO_MANY_ITERATIONS: "a loop, with the loops inside it, takes more than {0} iterations: load the model with a"
    " larger max_iterations",
    DEAD_END: "the branch that is taken cannot run for these shapes",
    FORKED: "a signal handler has forked inside a call of several threads, which cannot end in the child",
}


class Recipe(NamedTuple):
    """The way to compile a native function.

    compile: returns the object code that defines a symbol, for a level. microkernels: the names of those that it calls.
    uses: the `target.FEATURES` on which its code depends, even if only through constants.
    mark: a hash of its sources if they are not in this package ("" if they are); None if they are in no file.
    """

    compile: Callable[[str, Target], bytes]
    microkernels: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    mark: str | None = ""


class Native:
    """One native function: a handler, a microkernel, or a function without dtype that Python or native code calls."""

    def __init__(self, op: str, dtype: str = "") -> None:
        self.op, self.dtype = op, dtype
        self._found: cache.Entry | None = None
        self._address = 0
        self._compiled = False

    @property
    def name(self) -> str:
        plain = f"{self.op}_{self.dtype}" if self.dtype else self.op
        return f"{plain}_{mark}" if (mark := self._mark) else plain

    @property
    def _mark(self) -> str | None:
        recipe = _recipes.get((self.op, self.dtype))
        return "" if recipe is None else recipe.mark

    @property
    def state(self) -> str:
        """The state: "compiled" by this process, "cached" if it came from the cache, "unused" so far."""
        if not self._address:
            return "unused"
        return "compiled" if self._compiled else "cached"

    @property
    def microkernels(self) -> tuple[str, ...]:
        """The microkernels that it calls."""
        if _building:
            return undisturbed(partial(_recipe, self.op, self.dtype)).microkernels
        with lock:
            return (self.from_cache() or undisturbed(self._make)).microkernels

    @property
    def address(self) -> int:
        """The native address. The first access compiles or loads the function, unless the process only builds."""
        if not self._address:
            with lock:
                if not self._address:
                    self._address = _NOWHERE if _building else self._linked() or undisturbed(self._load)
        return self._address

    @property
    def asked_for(self) -> bool:
        """Whether its address has been asked for."""
        return bool(self._address)

    def build(self) -> None:
        """Make sure that the cache folder has the function."""
        if cache.read_kept(self.name) is None:
            entry = self.from_cache()
            if entry is None:
                undisturbed(self._make)
            else:
                cache.write(self.name, entry)

    def from_cache(self) -> cache.Entry | None:
        """Return its entry from the cache, or the one that this process has compiled; None if there is none."""
        if self._found is None and self._mark is not None:
            self._found = cache.read(self.name)
        return self._found

    def _linked(self) -> int:
        """Link the cached entry and return its address; 0 if there is none, or if no signal may interrupt linking."""
        entry = self.from_cache() if may_be_disturbed() else None
        with contextlib.suppress(RuntimeError):
            return load_object(entry.code, entry.symbol) if entry is not None else 0
        return 0

    def _load(self) -> int:
        entry = self.from_cache()
        if entry is not None:
            try:
                return load_object(entry.code, entry.symbol)
            except RuntimeError:  # a library of this process differs from the one that the valid entry needs
                kept = cache.read_kept(self.name)
                if kept is not None and kept.code != entry.code:
                    with contextlib.suppress(RuntimeError):
                        return load_object(kept.code, kept.symbol)
        entry = self._make()
        return load_object(entry.code, entry.symbol)

    @property
    def recipe(self) -> Recipe:
        """The recipe of the function. Imports Numba."""
        return _recipe(self.op, self.dtype)

    def accept(self, entry: cache.Entry) -> None:
        """Use an entry that was compiled for this process, and write it to the cache for others."""
        self._found, self._compiled = entry, True
        if self._mark is not None:
            cache.write(self.name, entry)

    def _make(self) -> cache.Entry:
        if self._found is None or not self._compiled:  # an interrupted wait may have left an accepted entry
            with cache.compilations():
                self.accept(compiled(self))
        assert self._found is not None
        return self._found


def compiled(one: Native) -> cache.Entry:
    """Compile a native function, and return its entry."""
    recipe, symbol = one.recipe, f"fastgru_{one.name}"
    return cache.Entry(symbol, recipe.microkernels, recipe.uses, recipe.compile(symbol, cache.home(recipe.uses)))


_NOWHERE: Final = 1
_building = False


def build_only() -> None:
    """Make this process one that only builds native functions, for any target, and never runs one."""
    global _building
    _building = True


def builds_only() -> bool:
    """Return whether this process only builds kernels."""
    return _building


_recipes: dict[tuple[str, str], Recipe] = {}
_natives: dict[tuple[str, str], Native] = {}


def enter(op: str, dtype: str, recipe: Recipe) -> None:
    """Put a recipe into the table. Raises `ValueError` if it uses a feature that is not one of `target.FEATURES`."""
    if unknown := set(recipe.uses) - set(FEATURES):
        raise ValueError(f"{op}: uses {', '.join(sorted(unknown))}, expected some of {', '.join(FEATURES)}")
    _recipes[op, dtype] = recipe


@functools.cache
def import_kernels() -> None:
    """Import every module of this package, which enters every recipe. Imports Numba."""
    import_all("fastgru.kernels")


def _recipe(op: str, dtype: str) -> Recipe:
    if (op, dtype) not in _recipes:
        import_kernels()
    return _recipes[op, dtype]


def native(op: str, dtype: str = "") -> Native:
    """Return the native function as `find` does, without checking that it exists."""
    return _natives.setdefault((op, dtype), Native(op, dtype))


def find(op: str, dtype: str = "") -> Native:
    """Return the native function of an operation for a dtype. Raises `KeyError` if there is none."""
    found = _natives.get((op, dtype))
    if found is None:
        found = Native(op, dtype)
        if found.from_cache() is None:
            undisturbed(partial(_recipe, op, dtype))
        found = _natives.setdefault((op, dtype), found)
    return found


def entries() -> Iterator[Native]:
    """Return an iterator over all native functions, sorted by name. Imports Numba."""
    undisturbed(import_kernels)
    return iter([native(op, dtype) for op, dtype in sorted(_recipes)])


def table() -> list[tuple[str, str, str, str]]:
    """Return (operation, dtype, the target that it is built for, state) of every handler and microkernel."""
    return [(one.op, one.dtype, cache.home(one.recipe.uses).short, one.state) for one in entries() if one.dtype]


def compiled_by_this_process() -> list[str]:
    """Return the names of native functions that this process has compiled instead of finding them in the cache."""
    return sorted(each.name for each in list(_natives.values()) if each.state == "compiled")
