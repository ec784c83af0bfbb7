"""Native code on matrices of rows, which are padded to whole vectors with zeros. Threads share the calls."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import pairwise
from typing import Any, Final

import numpy as np

from fastgru.arrays import Array
from fastgru.kernels.learn_calls import learn_calls
from fastgru.kernels.operands.learn import GEMM, SUMS
from fastgru.packing.aligned import zeros
from fastgru.simd.target import LANES

__all__ = ["Native", "words_of"]

_LEAST: Final = 1 << 16  # multiplications in a share of a GEMM that is worth another thread


def words_of(places: Any, **given: Any) -> Array:
    """Return words by name. An array stands for its address."""
    words = np.zeros(places.words, np.int64)
    if wrong := given.keys() - set(places._fields):
        raise TypeError(f"words {', '.join(sorted(wrong))} are not declared")
    for name, value in given.items():
        words[getattr(places, name)] = value.ctypes.data if isinstance(value, np.ndarray) else value
    return words


class Native:
    """The native functions of a dtype, run by `threads` threads. Results do not depend on the number of threads."""

    def __init__(self, dtype: str, threads: int = 1) -> None:
        self.dtype, self.lanes, self.threads = dtype, LANES[dtype], threads
        self.gemm_address, self._calls = learn_calls(dtype)
        self._none = self.zeros(0)
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def padded(self, n: int) -> int:
        """Return n rounded up to whole vectors."""
        return -(-n // self.lanes) * self.lanes

    def zeros(self, *shape: int) -> Array:
        """Return a new aligned array of zeros."""
        return zeros(shape, self.dtype)

    def call(self, name: str, words: Array, count: int, shares: int | None = None) -> None:
        """Call a function on 0 to `count` - 1, shared between threads. shares: the largest number of shares."""
        self.share(self._calls[name], words, count, shares)

    def share(
        self, function: Callable[[int, int, int], int], words: Array, count: int, most: int | None = None
    ) -> None:
        """Call any function of (words, first, last) in the same way.

        All threads have ended their shares when this returns or raises, so the arrays of the words may be freed then.
        """
        at, shares = words.ctypes.data, min(self.threads, count, self.threads if most is None else max(most, 1))
        if shares <= 1 or self._pool is None:
            function(at, 0, count)
            return
        cuts = [count * i // shares for i in range(shares + 1)]
        waiting: list[Future[int]] = []
        try:
            for a, b in pairwise(cuts[1:]):
                waiting.append(self._pool.submit(function, at, a, b))
            function(at, cuts[0], cuts[1])
        finally:
            _wait_for(waiting)
        for each in waiting:
            each.result()

    def gemm(self, a: Array, b: Array, out: Array, start: Array | None = None, *, accumulate: bool = False) -> None:
        """Compute out = start + a b: a (M, K) with any strides, b (K, C) and out (M, C) with contiguous rows.

        C is a whole number of vectors. start: (C,), None for zeros. accumulate: start from `out` itself.
        """
        size = out.itemsize
        begin, begin_row = (out, out.strides[0] // size) if accumulate else (start, 0)
        begin = self._nothing(out.shape[1]) if begin is None else begin
        words = words_of(
            GEMM, gemm=self.gemm_address, a=a, a_row=a.strides[0] // size, a_k=a.strides[1] // size, b=b,
            b_k=b.strides[0] // size, K=a.shape[1], columns=out.shape[1],
            start=begin, start_row=begin_row, out=out, out_row=out.strides[0] // size,
        )  # fmt: skip
        self.call("gemm", words, out.shape[0], out.size * a.shape[1] // _LEAST)

    def column_sums(self, source: Array, out: Array, ids: Array | None = None, *, more: bool = False) -> None:
        """Sum the rows of source (R, C) into out (C,); with ids (R,), sum the rows of each id into out (V, C).

        more: add to the present values of `out`.
        """
        if not more:
            out[...] = 0
        size = out.itemsize
        words = words_of(
            SUMS, source=source, row=source.strides[0] // size, rows=source.shape[0], ids=0 if ids is None else ids,
            out=out, out_row=out.shape[-1],
        )  # fmt: skip
        self.call("sums", words, out.shape[-1] // self.lanes)

    def _nothing(self, columns: int) -> Array:
        if self._none.size < columns:
            self._none = self.zeros(columns)
        return self._none


def _wait_for(waiting: list[Future[int]]) -> None:
    """Wait until all have ended. If a signal handler raises meanwhile, its exception is raised after that."""
    try:
        wait(waiting)
    except BaseException:
        _wait_for(waiting)
        raise
