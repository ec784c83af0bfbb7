"""A result in the terminal: a table for each number of threads, the tiny nets, the steadiness, what is absent."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, ConsoleRenderable
from rich.table import Table
from rich.text import Text

from fastgru.bench.against import print_against
from fastgru.bench.result import Result, Row
from fastgru.bench.rivals.other import OTHER
from fastgru.bench.steady_words import steady_facts, steady_tables
from fastgru.bench.words import Cell, absences, legend_of, machine_line, table_of, threads_of, tiny_lines, versions_line
from fastgru.terminal import counted, plain_table

__all__ = ["print_report"]

_STYLES = {"": "", "bad": "red", "good": "green"}


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
        for part in _steady(result.steady):
            console.print(part)
    count = f"{len(result.rows)} measurements " if result.rows else ""
    console.print(Text(f"{count}in {result.seconds:.0f} s", style="dim"))


def _table(rows: list[Row]) -> Table:
    heads, lines = table_of(rows, without=OTHER)
    title = f"{threads_of(rows)}: the time of one call, and how many times as long a rival takes"
    shown = [[_shown(cell) for cell in line] if len(line) == len(heads) else [line[0].words, "none"] for line in lines]
    return plain_table(*heads, rows=shown, right=tuple(heads[1:]), title=title)


def _shown(cell: Cell) -> Text:
    style = f"bold {_STYLES[cell.kind]}" if cell.strong else _STYLES[cell.kind]
    if not cell.more:
        return Text(cell.words, style=style)
    return Text.assemble(cell.words, " ", (f"{cell.more:>6}", style))


def _tiny(result: Result) -> Iterator[Table]:
    if tiny := tiny_lines(result):
        title = "tiny nets: nanoseconds a step in a block call, beside RTNeural's published best (desktop CPU of 2018)"
        heads = ("case", "fastgru", "RTNeural", "onnxruntime, once a sample")
        yield plain_table(*heads, rows=tiny, right=heads[1:], title=title)


def _notes(result: Result) -> Iterator[ConsoleRenderable]:
    for row in result.rows:
        if row.trouble:
            yield Text(f"{row.title}, {counted(row.threads, 'thread')}: {row.trouble}", style="red")
    for line in absences(result.rows):
        yield Text(line, style="dim")
    for name, meaning in legend_of(result.rows):
        yield Text(f"{name}: {meaning}", style="dim")


def _steady(steady: Mapping[str, Any]) -> Iterator[ConsoleRenderable]:
    for title, heads, rows in steady_tables(steady):
        yield plain_table(*heads, rows=rows, right=heads[1:], title=title)
    for name, words in steady_facts(steady):
        yield Text(f"{name}: {words}")
