"""Numbers as people read them: the same words in the terminal, on the page and in the README."""

from collections.abc import Mapping
from typing import Any

from fastgru.bench.cases import RTNEURAL_NS
from fastgru.bench.result import Result, Row

__all__ = ["error_of", "machine_line", "percent", "ratio_of", "tiny_rows", "versions_line"]


def ratio_of(value: float | None) -> str:
    """1.234 -> "1.23x", 123.4 -> "123x"."""
    return (
        "-" if value is None else f"{value:.2f}x" if value < 10 else f"{value:.1f}x" if value < 100 else f"{value:.0f}x"
    )


def percent(share: float | None) -> str:
    """0.256 -> "26 %"; None -> "-"."""
    return "-" if share is None else f"{100 * share:.0f} %"


def error_of(row: Row, name: str) -> str:
    """The largest difference of a contender to the float64 definition, of rows where ours is below float32: "2e-03"."""
    if row.case is None or row.case.precision not in ("bfloat16", "int8") or name not in row.errors:
        return ""
    return f"{row.errors[name]:.0e}"


def machine_line(machine: Mapping[str, Any]) -> str:
    """CPU, cores, instruction set, caches and system of `fastgru.bench.machine.describe`."""
    forced = f" (forced; the kernels are built for {machine['forced']})" if machine.get("forced") else ""
    caches = machine["cache_bytes"]
    sizes = ", ".join(f"{name} {caches[key] // 1024} KiB" for name, key in (("L1", "l1d"), ("L2", "l2"), ("L3", "l3")))
    load = "" if machine["load"] is None else f"; load {machine['load']:.1f} before the run"
    return f"{machine['cpu']}, {machine['cores']} cores, {machine['isa']}{forced}; {sizes}; {machine['system']}{load}"


def versions_line(machine: Mapping[str, Any]) -> str:
    """Python and the packages that were measured, with their versions."""
    listed = ", ".join(f"{name} {version or '(absent)'}" for name, version in machine["versions"].items())
    return f"Python {machine['python']}, {listed}"


def tiny_rows(result: Result) -> list[tuple[Row, float, float | None]]:
    """(row, our nanoseconds a step, RTNeural's published best) of the block calls, on the fewest threads."""
    blocks = [row for row in result.rows if row.case is not None and row.case.kind == "block" and row.ours is not None]
    fewest = min((row.threads for row in blocks), default=1)
    found = []
    for row in blocks:
        assert row.case is not None
        assert row.ours is not None
        if row.threads == fewest:
            steps = row.case.T * row.case.N
            published = RTNEURAL_NS.get(row.case.H) if row.case.I == row.case.H else None
            found.append((row, row.ours.median_s / steps * 1e9, published))
    return found
