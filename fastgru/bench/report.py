"""A result in the terminal: a table for each number of threads, the tiny nets, the steadiness, what is absent."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, ConsoleRenderable
from rich.table import Table
from rich.text import Text

from fastgru.bench.against import print_against
from fastgru.bench.result import Result, Row
from fastgru.bench.rivals.other import OTHER
from fastgru.bench.words import error_of, machine_line, percent, ratio_of, tiny_rows, versions_line
from fastgru.terminal import counted, plain_table, time_of

__all__ = ["print_report", "steady_lines"]


def print_report(result: Result, console: Console) -> None:
    """Print everything of `result`."""
    console.print(Text(f"{machine_line(result.machine)}\n{versions_line(result.machine)}", style="dim"))
    for peaks in result.peaks:
        console.print(Text(f"measured peaks, {peaks.note}", style="dim"))
    if result.sides is not None:
        print_against(result, console)
    if result.sides is None or any(set(row.rivals) - {OTHER} for row in result.rows):
        for threads in sorted({row.threads for row in result.rows}):
            console.print(_table([row for row in result.rows if row.threads == threads], threads))
        for part in (_tiny(result), *_notes(result)):
            if part is not None:
                console.print(part)
    if result.steady is not None and OTHER not in result.steady:
        for line in steady_lines(result.steady):
            console.print(Text(line))
    count = f"{len(result.rows)} measurements " if result.rows else ""
    console.print(Text(f"{count}in {result.seconds:.0f} s", style="dim"))


def _table(rows: list[Row], threads: int) -> Table:
    names = dict.fromkeys(name for row in rows for name in (*row.rivals, *row.absent))
    rivals = [name for name in names if name != OTHER]
    title = f"{counted(threads, 'thread')}: time a call, and that of a rival over ours"
    own = ["over 1 thread"] if any(row.own_ratio for row in rows) else []
    error = ["error"] if any(error_of(row, "fastgru") for row in rows) else []
    heads = ["case", "fastgru", *error, "p99", "spread", *rivals, "best", "goal", *own, "of the bound"]
    table = plain_table(*heads, right=tuple(heads[1:]), title=title)
    for row in rows:
        if row.ours is None:
            table.add_row(row.title, Text("none", style="bold red"), *[""] * (len(heads) - 2))
            continue
        over = row.case.goal_rival if row.case is not None else None
        goal = "" if row.goal is None else f"{row.goal:g}x" + (f" {over}" if over else "")
        ratio = Text(ratio_of(row.ratio), style="bold red" if row.faults else "bold green" if row.ratio else "")
        table.add_row(
            row.title,
            time_of(row.ours.median_s),
            *([error_of(row, "fastgru")] if error else []),
            time_of(row.ours.p99_s),
            percent(row.ours.spread),
            *[_rival(row, name) for name in rivals],
            ratio,
            goal,
            *([ratio_of(row.own_ratio.median if row.own_ratio else None)] if own else []),
            f"{percent(row.share)} {row.bound.limit}" if row.bound else "",
        )
    return table


def _rival(row: Row, name: str) -> Text:
    timing = row.rivals.get(name)
    if timing is None:
        return Text("-", style="dim")
    return Text(f"{time_of(timing.median_s)} {ratio_of(row.ratios[name].median):>6} {error_of(row, name)}".rstrip())


def _tiny(result: Result) -> ConsoleRenderable | None:
    tiny = tiny_rows(result)
    if not tiny:
        return None
    title = "tiny nets: nanoseconds a step in a block call, beside RTNeural's published best (desktop CPU of 2018)"
    heads = ("case", "fastgru", "RTNeural", "onnxruntime, once a sample")
    table = plain_table(*heads, right=heads[1:], title=title)
    for row, ours_ns, published in tiny:
        rival = row.ratios.get("onnxruntime")
        table.add_row(
            row.title,
            f"{ours_ns:.0f} ns",
            "-" if published is None else f"{published:.0f} ns",
            ratio_of(None if rival is None else rival.median),
        )
    return table


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
    return ", ".join(parts)
