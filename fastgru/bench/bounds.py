"""How fast this machine could be: its peaks, measured in the same run, and the bound that they set for a case.

A GRU of one direction does 6 H (I + H) operations per row and step. It reads its 3H x H recurrent weights at every step
and its 3H x I input weights once per call (at every step, if a call is one step). However well it is written, a call
takes at least the larger of

    operations / peak of multiply-adds        weights read / bandwidth of the caches they can lie in

Weights below float32 take fewer bytes, and their multiply-adds are dot products, which have peaks of their own.
A matrix that is larger than a cache is read partly from this cache, as much as fits, and partly from the next level. No
order of access does better.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field

import numpy as np

from fastgru.bench.cases import Case
from fastgru.bench.kernels import DOT_FLOPS, FMA_CHAINS, READ_VECTORS, dot_work, fma_chains, read_buffer
from fastgru.packing.aligned import empty
from fastgru.precisions import WEIGHT_BYTES
from fastgru.process import undisturbed
from fastgru.records import dataclass
from fastgru.reference.facts import ValueFacts, work
from fastgru.simd.cpu import cache_sizes
from fastgru.simd.target import LANES
from fastgru.terminal import counted

__all__ = ["Bound", "Level", "Peaks", "bound_of", "measure_peaks"]

_RUN_S, _RUNS = 0.01, 8  # of one measurement, and how many; the best one counts, because a peak is what is possible
_MEMORY_BYTES = (64 << 20, 256 << 20)  # least and most of the buffer that is too large for the caches


@dataclass(frozen=True)
class Level:
    """L1, L2, L3 or memory: its bytes for all threads together, and the bytes per second that they read from it."""

    name: str
    capacity: float
    bytes_per_s: float


@dataclass(frozen=True)
class Peaks:
    """The peaks of `threads` threads together, with a multiply-add counted as two operations.

    flops_per_s: float32. dots_per_s: operations of dot products, by the precision of their factors.
    """

    threads: int
    flops_per_s: float
    levels: tuple[Level, ...]
    dots_per_s: Mapping[str, float] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """ "1 thread: 170 GFLOP/s, bfloat16 340, int8 680; L1 400, L2 220, memory 28 GB/s"."""
        rates = ", ".join(f"{level.name} {level.bytes_per_s / 1e9:.0f}" for level in self.levels)
        dots = "".join(f", {name} {rate / 1e9:.0f}" for name, rate in self.dots_per_s.items())
        return f"{counted(self.threads, 'thread')}: {self.flops_per_s / 1e9:.0f} GFLOP/s{dots}; {rates} GB/s"

    def compute_rate(self, precision: str) -> float:
        """Return operations per second on factors of a precision; float32 stands in for dot products without a peak."""
        return self.flops_per_s / 2 if precision == "float64" else self.dots_per_s.get(precision, self.flops_per_s)

    def read_times(self, size: float) -> dict[str, float]:
        """Return for each level the seconds to read `size` bytes that were read before and lie as near as possible."""
        times, below = {}, 0.0
        for level in self.levels:
            times[level.name] = max(0.0, min(size, level.capacity) - below) / level.bytes_per_s
            below = max(below, level.capacity)
        return times

    def best_with(self, other: "Peaks") -> "Peaks":
        """Return the better of each figure of two measurements: a neighbour's load does not lower what is possible."""
        levels = tuple(
            Level(a.name, a.capacity, max(a.bytes_per_s, b.bytes_per_s))
            for a, b in zip(self.levels, other.levels, strict=True)
        )
        dots = {name: max(rate, other.dots_per_s.get(name, 0.0)) for name, rate in self.dots_per_s.items()}
        return Peaks(self.threads, max(self.flops_per_s, other.flops_per_s), levels, dots)


@dataclass(frozen=True)
class Bound:
    """The least seconds of a call, and what sets this bound.

    limit: "fma", "dot" for weights below float32, or the level that takes most of the reading time.
    """

    seconds: float
    limit: str
    flops: float
    weight_bytes: float


def bound_of(case: Case, peaks: Peaks, row_steps: float | None = None, precision: str | None = None) -> Bound:
    """Return the bound of one call. row_steps: the sum of the rows' steps if they have lengths; None means T * N.

    precision: that of the weights; None means that of the case.
    """
    precision = precision or case.precision
    itemsize = WEIGHT_BYTES[precision]
    rows = case.T * case.N if row_steps is None else row_steps
    flops = weight_bytes = 0.0
    times = dict.fromkeys((level.name for level in peaks.levels), 0.0)
    for k in range(case.layers):
        I = case.I if k == 0 else case.directions * case.H
        step = work("gru", [ValueFacts("float32", (1, 1, I))], {"spec": {"input_size": I, "hidden_size": case.H}})
        assert isinstance(step.flops, int)
        flops += case.directions * step.flops * rows
        once, each = 3 * case.H * I * itemsize, 3 * case.H * case.H * itemsize
        reads = [(once + each, 1)] if case.kind == "step" else [(once, 1), (each, case.T)]
        for size, count in reads:
            weight_bytes += case.directions * size * count
            for name, seconds in peaks.read_times(size).items():
                times[name] += case.directions * seconds * count
    computing = flops / peaks.compute_rate(precision)
    reading = sum(times.values())
    if computing >= reading:
        return Bound(computing, "fma" if itemsize >= 4 else "dot", flops, weight_bytes)
    return Bound(reading, max(times, key=lambda name: times[name]), flops, weight_bytes)


def measure_peaks(n: int) -> Peaks:
    """Measure the peaks of `n` threads that run at once, in a second or two."""
    lanes = LANES["float32"]
    sizes = cache_sizes()
    ones = empty(2 * lanes, np.float32)
    ones[:lanes], ones[lanes:] = 0.5, 0.5
    flops = 2 * FMA_CHAINS * lanes * _best_rate(lambda _: lambda count: fma_chains(ones.ctypes.data, count), n)
    dots = {
        precision: each * _best_rate(lambda _, precision=precision: dot_work(precision), n)  # type: ignore[misc]
        for precision, each in DOT_FLOPS.items()
    }
    # Half of a cache's size surely lies in that cache. Each core has its L1 and L2; L3 and memory are shared.
    plan = [
        ("L1", sizes["l1d"] // 2, n * sizes["l1d"]),
        ("L2", sizes["l2"] // 2, n * sizes["l2"]),
    ]
    if sizes["l3"] > n * sizes["l2"]:
        size = min(sizes["l3"] // 2, max(4 * n * sizes["l2"], sizes["l3"] // 4)) // n
        plan.append(("L3", max(size, 2 * sizes["l2"]), sizes["l3"]))
    least, most = _MEMORY_BYTES
    plan.append(("memory", min(max(4 * sizes["l3"], least), most) // n, 1 << 50))
    levels = tuple(Level(name, float(capacity), _bandwidth(size, n)) for name, size, capacity in plan)
    return Peaks(n, flops, levels, dots)


def _bandwidth(size: int, n: int) -> float:
    step = READ_VECTORS * LANES["float32"]
    elements = size // 4 // step * step
    buffers = [empty(elements, np.float32) for _ in range(n)]
    for buffer in buffers:
        buffer[...] = 0
    rate = _best_rate(lambda i: lambda count: read_buffer(buffers[i].ctypes.data, elements, count), n)
    return 4 * elements * rate


def _best_rate(make: Callable[[int], Callable[[int], object]], n: int) -> float:
    """Return the rounds per second of n threads together, the best of several runs."""
    count = 1
    undisturbed(lambda: make(0)(1))  # compiles; LLVM calls Python back, and an exception of Ctrl-C would be lost there
    work = make(0)
    while (elapsed := min(_elapsed(work, count) for _ in range(3))) <= _RUN_S / 2:  # a pause may dominate one run
        count *= 2
    count = max(1, int(count * _RUN_S / elapsed))
    return max(_rate(make, n, count) for _ in range(_RUNS))


def _elapsed(work: Callable[[int], object], count: int) -> float:
    start = time.perf_counter()
    work(count)
    return time.perf_counter() - start


def _rate(make: Callable[[int], Callable[[int], object]], n: int, count: int) -> float:
    if n == 1:
        return count / _elapsed(make(0), count)
    barrier = threading.Barrier(n)

    def span(i: int) -> tuple[float, float]:
        work = make(i)
        barrier.wait()
        start = time.perf_counter()
        work(count)
        return start, time.perf_counter()

    with ThreadPoolExecutor(n) as pool:
        starts, ends = zip(*pool.map(span, range(n)), strict=True)
    return float(n * count / (max(ends) - min(starts)))
