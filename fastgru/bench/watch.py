"""Measures what calls keep, the tail of their times, and their times at an interval, as a sound card makes them.

Any call can be measured. `fastgru.bench.worker` loads this file next to the fastgru of another environment, so the file
imports only the standard library, NumPy and Numba.
"""

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np

__all__ = ["allocations", "collector_on", "paced", "tail"]

_WARM = 1000  # the most calls before the measurement
_ONE_IN = (2, 4, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)


def allocations(call: Callable[[], object], *, pushes: int) -> dict[str, Any]:
    """Return the bytes that Python keeps over so many calls, the bytes that come and go within one, and the blocks that
    Numba's runtime allocates.
    """
    _numba_allocations()  # its import must not be counted
    with collector_on(False):  # a collection empties Python's free lists, and refilling them would be counted
        tracemalloc.start()
        try:
            for _ in range(100):
                call()
            _traced(call, 1)
            # The cost of measuring, and of calling any function with these arguments.
            arguments = call if isinstance(call, partial) else partial(call)
            idle = _traced(partial(_nothing, *arguments.args, **arguments.keywords), pushes)
            numba_before = _numba_allocations()
            busy = _traced(call, pushes)
            by_numba = _numba_allocations() - numba_before
        finally:
            tracemalloc.stop()
    return {
        "pushes": pushes,
        "kept_bytes": max(0, busy[0] - idle[0]),
        "passing_bytes": max(0, busy[1] - idle[1]),
        "numba_allocations": by_numba,
    }


def _nothing(*_: object, **__: object) -> None: ...


def _traced(call: Callable[[], object], count: int) -> tuple[int, int]:
    """Return the bytes kept after `count` calls, and the peak in between."""
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    for _ in repeat(None, count):
        call()
    after, peak = tracemalloc.get_traced_memory()
    return after - before, peak - before


def _numba_allocations() -> int:
    from numba.core.runtime import _nrt_python, rtsys

    _nrt_python.memsys_enable_stats()
    stats = rtsys.get_allocation_stats()
    return int(stats.alloc + stats.mi_alloc)


def tail(call: Callable[[], object], *, pushes: int, collector: bool) -> dict[str, Any]:
    """Return p99, p99.9 and the worst of single calls as multiples of their median. collector: leave it on."""
    for _ in range(min(_WARM, pushes)):
        call()
    clock, samples = time.perf_counter_ns, np.empty(pushes, np.int64)
    with collector_on(collector):
        for k in range(pushes):
            start = clock()
            call()
            samples[k] = clock() - start
    middle, p99, p999 = np.percentile(samples, [50, 99, 99.9])
    return {
        "pushes": pushes,
        "collector": collector,
        "median_s": float(middle) * 1e-9,
        "p99": float(p99 / middle),
        "p999": float(p999 / middle),
        "worst": float(samples.max() / middle),
        "tail_s": _tail(samples),
    }


def paced(call: Callable[[], object], *, pushes: int, interval_s: float) -> dict[str, Any]:
    """Time calls that are due at an interval, as frames of audio are. The process sleeps between them.

    missed: how many had not ended when the next one was due. woken_late_s: the longest delay of a wake-up by the
        system.
    """
    for _ in range(min(_WARM, pushes)):
        call()
    clock, interval = time.perf_counter_ns, round(interval_s * 1e9)
    samples, waits, missed = np.empty(pushes, np.int64), np.empty(pushes, np.int64), 0
    due = clock()
    for k in range(pushes):
        due += interval
        time.sleep(max(0, due - clock()) * 1e-9)
        start = clock()
        call()
        end = clock()
        samples[k], waits[k] = end - start, start - due
        missed += end > due + interval
    return {
        "pushes": pushes,
        "interval_s": interval_s,
        "median_s": float(np.median(samples)) * 1e-9,
        "p99_s": float(np.percentile(samples, 99)) * 1e-9,
        "largest_s": float(samples.max()) * 1e-9,
        "missed": missed,
        "woken_late_s": float(waits.max()) * 1e-9,
        "tail_s": _tail(samples),
    }


def _tail(samples: Any) -> list[list[float]]:
    """Return pairs (n, seconds): one of n calls takes longer. The last pair has all calls and the longest time."""
    tails = [[n, float(np.percentile(samples, 100 - 100 / n)) * 1e-9] for n in _ONE_IN if n < len(samples)]
    return [*tails, [len(samples), float(samples.max()) * 1e-9]]


@contextmanager
def collector_on(on: bool) -> Iterator[None]:
    """Collect garbage, and turn the garbage collector on or off inside the block."""
    was_on = gc.isenabled()
    gc.collect()
    (gc.enable if on else gc.disable)()
    try:
        yield
    finally:
        (gc.enable if was_on else gc.disable)()
