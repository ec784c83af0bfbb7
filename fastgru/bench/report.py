"""A result in the terminal: a table for each number of threads, the tiny nets, the steadiness, what is absent."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, ConsoleRenderable
from rich.table import Table
from rich.text import Text

from fastgru.bench.against import print_against
from fastgru.bench.contender import NAME
from fastgru.bench.result import Result, Row
from fastgru.bench.rivals.other import OTHER
from fastgru.bench.words import Cell, machine_line, table_of, threads_of, tiny_lines, versions_line
from fastgru.terminal import counted, plain_table, time_of

__all__ = ["print_report", "steady_lines"]

_STYLES = {"": "", "bad": "bold red", "good": "bold green"}


def print_report(result: Result, console: Console) -> None:
    """Print everything of `result`."""
    console.print(Text(f"{machine_line(result.machine)}\n{versions_line(result.machine)}", style="dim"))
    for peaks in result.peaks:
        console.print(Text(f"measured peaks, {peaks.note}", style="dim"))
    if result.sides is not None:
        print_against(result, console)
    if result.sides is None or any(set(row.rivals) - {OTHER} for row in result.rows):
        for threads in sorted({row.threads for row in result.rows}):
            console.print(_table([row for row in result.rows if row.threads == threads]))
        for part in (*_tiny(result), *_notes(result)):
            console.print(part)
    if result.steady is not None and OTHER not in result.steady:
        for line in steady_lines(result.steady):
            console.print(Text(line))
    count = f"{len(result.rows)} measurements " if result.rows else ""
    console.print(Text(f"{count}in {result.seconds:.0f} s", style="dim"))


def _table(rows: list[Row]) -> Table:
    heads, lines = table_of(rows, without=OTHER)
    title = f"{threads_of(rows)}: time a call, and that of a rival over ours"
    shown = [[_shown(cell) for cell in line] for line in lines]
    return plain_table(*heads, rows=shown, right=tuple(heads[1:]), title=title)


def _shown(cell: Cell) -> Text:
    if not cell.words:
        return Text(cell.more, style="dim")
    return Text(f"{cell.words} {cell.more}".rstrip(), style=_STYLES[cell.kind])


def _tiny(result: Result) -> Iterator[Table]:
    if tiny := tiny_lines(result):
        title = "tiny nets: nanoseconds a step in a block call, beside RTNeural's published best (desktop CPU of 2018)"
        heads = ("case", "fastgru", "RTNeural", "onnxruntime, once a sample")
        yield plain_table(*heads, rows=tiny, right=heads[1:], title=title)


def _notes(result: Result) -> Iterator[ConsoleRenderable]:
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in result.rows:
        for name, reason in row.absent.items():
            reasons.setdefault((name, reason), []).append(row.title)
    for (name, reason), titles in reasons.items():
        where = "" if len(titles) == len(result.rows) else f" ({'; '.join(dict.fromkeys(titles))})"
        yield Text(f"{name}: {reason}{where}", style="dim")
    for row in result.rows:
        for fault in row.faults:
            yield Text(f"{row.title}, {counted(row.threads, 'thread')}: {fault}", style="red")


def steady_lines(steady: Mapping[str, Any]) -> Iterator[str]:
    """What `fastgru.bench.steady` found, a sentence each."""
    if found := steady.get("allocations"):
        yield (
            f"allocations over {found['pushes']:,} pushes with out=: {found['kept_bytes']} bytes kept,"
            f" {found['numba_allocations']} by Numba; at most {found['passing_bytes']} bytes at a time come and go"
        )
    for found in steady.get("tails", ()):
        collector = "on" if found["collector"] else "off"
        yield (
            f"tail of {found['pushes']:,} pushes, collector {collector}: median {time_of(found['median_s'])},"
            f" p99 {found['p99']:.2f}x, p99.9 {found['p999']:.2f}x, worst {found['worst']:.1f}x of it"
        )
    if found := steady.get("paced"):
        every, times = f"{1e3 * found['interval_s']:g} ms", (time_of(found["median_s"]), time_of(found["p99_s"]))
        yield f"{found['pushes']:,} pushes, one every {every}: median {times[0]}, p99 {times[1]}"
    if found := steady.get("growth"):
        grown = "not told by this system" if found["bytes"] is None else f"{found['bytes'] / 1024:+.0f} KiB"
        yield f"resident memory over {found['frames']:,} calls that return new arrays: {grown}"
    if found := steady.get("denormals"):
        yield f"a step on a state of denormal numbers takes {found['ratio']:.2f}x the time of a lively one"
    if found := steady.get("cold"):
        yield f"process start to first output, cache warm: {_cold(found)}"
        if "first_compile_s" in found:
            yield f"the same with an empty cache, everything compiled: {time_of(found['first_compile_s'])}"


def _cold(found: Mapping[str, Any]) -> str:
    parts = [f"{name} {time_of(seconds)}" for name, seconds in found["medians_s"].items()]
    parts += [f"{name}: {reason}" for name, reason in found["absent"].items()]
    if "onnxruntime" in found["medians_s"]:
        shares = (found[kind][NAME] / found[kind]["onnxruntime"] for kind in ("medians_s", "least_s"))
        parts.append("{:.2f}x onnxruntime's time ({:.2f}x by the shortest of each)".format(*shares))
    return ", ".join(parts)
