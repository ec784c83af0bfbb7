"""Matrices of rows for native code: padded to whole vectors with zeros, and calls shared between threads."""

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

_LEAST: Final = 1 << 16  # products of a share of a GEMM that is worth another thread


def words_of(places: Any, **given: Any) -> Array:
    """Words by name: an array stands for its address."""
    words = np.zeros(places.words, np.int64)
    if wrong := given.keys() - set(places._fields):
        raise TypeError(f"words {', '.join(sorted(wrong))} are not declared")
    for name, value in given.items():
        words[getattr(places, name)] = value.ctypes.data if isinstance(value, np.ndarray) else value
    return words


class Native:
    """The native functions of a dtype, carried out by `threads` threads, whose shares do not change any bit."""

    def __init__(self, dtype: str, threads: int = 1) -> None:
        self.dtype, self.lanes, self.threads = dtype, LANES[dtype], threads
        self.gemm_address, self._calls = learn_calls(dtype)
        self._none = self.zeros(0)
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def padded(self, n: int) -> int:
        """n, up to whole vectors."""
        return -(-n // self.lanes) * self.lanes

    def zeros(self, *shape: int) -> Array:
        """A new array, aligned."""
        return zeros(shape, self.dtype)

    def call(self, name: str, words: Array, count: int, shares: int | None = None) -> None:
        """Call a function on 0 to `count` - 1, shared between threads. shares: the most there may be."""
        self.share(self._calls[name], words, count, shares)

    def share(
        self, function: Callable[[int, int, int], int], words: Array, count: int, most: int | None = None
    ) -> None:
        """The same for any function of (words, first, last).

        However this is left, no thread is in the middle of its share then: what the words point to may go.
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
        """out = start + a b: a (M, K) at any strides, b (K, C) and out (M, C) row by row, C whole vectors.

        start (C,), None for zeros. accumulate: out itself is what it starts from.
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
        """out (C,) becomes the sum of the rows of source (R, C); with ids (R,), out (V, C) those of each id.

        more: adds it to what is there.
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
    """Until all have ended; an exception that a signal handler raises meanwhile comes after that."""
    try:
        wait(waiting)
    except BaseException:
        _wait_for(waiting)
        raise
