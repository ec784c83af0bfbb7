"""The findings of `fastgru.bench.steady` in tables and sentences: the same in the terminal and on the page."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from fastgru.bench.contender import NAME
from fastgru.bench.words import name_of
from fastgru.terminal import time_of

__all__ = ["PACED", "steady_facts", "steady_tables"]

# The meanings of the columns of paced calls.
PACED: Final = {
    "median, p99, largest": "the time of the call alone; 99 of 100 calls took at most p99",
    "missed": "calls that had not ended when the next one was due, including late wake-ups by the operating system",
    "woken late": "the longest time from when a call was due until the operating system woke the process",
}
_Rows = list[tuple[str, ...]]


def steady_tables(steady: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...], _Rows]]:
    """Yield (title, heads, rows) of the tables of the measurements."""
    if paced := steady.get("paced"):
        first = next(iter(paced.values()))
        columns: tuple[str, ...] = ("", "median", "p99", "largest", "missed", "woken late")
        rows: _Rows = [(name_of(name), *_paced_row(found)) for name, found in paced.items()]
        yield f"{first['pushes']:,} calls, one due every {1e3 * first['interval_s']:g} ms", columns, rows
    if tails := steady.get("tails"):
        columns = ("garbage collector", "median", "p99", "p99.9", "largest")
        yield f"{tails[0]['pushes']:,} calls of fastgru, back to back", columns, [_tail_row(found) for found in tails]
    if cold := steady.get("cold"):
        rows = [(name_of(name), time_of(s), time_of(cold["least_s"][name])) for name, s in cold["medians_s"].items()]
        if "first_compile_s" in cold:
            rows.append(("fastgru, with an empty cache of kernels", time_of(cold["first_compile_s"]), ""))
        yield "from the start of a process to its first output", ("", "median", "shortest"), rows


def _paced_row(found: Mapping[str, Any]) -> tuple[str, ...]:
    times = (time_of(found[key]) for key in ("median_s", "p99_s", "largest_s"))
    return (*times, f"{found['missed']:,}", time_of(found["woken_late_s"]))


def _tail_row(found: Mapping[str, Any]) -> tuple[str, ...]:
    times = (time_of(found[key] * found["median_s"]) for key in ("p99", "p999", "worst"))
    return ("on" if found["collector"] else "off", time_of(found["median_s"]), *times)


def steady_facts(steady: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the other findings: a name and a text."""
    if found := steady.get("allocations"):
        yield (
            f"memory of {found['pushes']:,} calls",
            f"{found['kept_bytes']} bytes were kept, and Numba allocated {found['numba_allocations']} blocks; at most"
            f" {found['passing_bytes']} bytes were allocated temporarily at any time",
        )
    if found := steady.get("growth"):
        grown = "this system does not report it" if found["bytes"] is None else f"{found['bytes'] / 1024:+.0f} KiB"
        yield f"growth over {found['frames']:,} calls", f"{grown} of resident memory; each call returns new arrays"
    if found := steady.get("first"):
        warmed = f"; after warm_up {time_of(found['warmed_s'])}" if "warmed_s" in found else ""
        yield (
            "first call of a process",
            f"{time_of(found['first_s'])} in the median of {found['starts']} processes, at most"
            f" {time_of(found['largest_s'])}{warmed}; later calls {time_of(found['later_s'])}",
        )
    if found := steady.get("denormals"):
        yield (
            "decayed state",
            f"a step on subnormal numbers takes {found['ratio']:.2f}x the time of one on a normal state",
        )
    cold = steady.get("cold", {})
    if "onnxruntime" in cold.get("medians_s", {}):
        shares = (cold[kind][NAME] / cold[kind]["onnxruntime"] for kind in ("medians_s", "least_s"))
        words = "{:.2f}x ONNX Runtime's time by the medians, {:.2f}x by the shortest".format(*shares)
        yield "start of a process", words
    for name, reason in {**steady.get("absent", {}), **cold.get("absent", {})}.items():
        yield name_of(name), reason
