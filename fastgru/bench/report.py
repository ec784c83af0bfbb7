"""Prints a result: a table for each number of threads, the tiny nets, the steadiness, and what is absent."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Console, ConsoleRenderable
from rich.text import Text

from fastgru.bench.against import CELLS_TITLE, HEADS, cells_against, sentences, steady_against
from fastgru.bench.result import Result, Row
from fastgru.bench.rivals.other import OTHER
from fastgru.bench.steady_words import steady_facts, steady_tables
from fastgru.bench.words import Cell, absences, legend_of, machine_line, table_of, threads_of, tiny_lines, versions_line
from fastgru.terminal import counted, legend, plain_table

__all__ = ["print_report"]

_STYLES: Final = {"": "", "bad": "red", "good": "green"}
# From this width on, a rival's time is shown next to its ratio. `_SPARE` columns are left out in this order.
_WIDE: Final = 110
_SPARE: Final = ("spread", "p99", "of 1 thread", "of the limit")


def print_report(result: Result, console: Console) -> None:
    """Print everything in `result`."""
    console.print(Text(f"{machine_line(result.machine)}\n{versions_line(result.machine)}", style="dim"))
    for peaks in result.peaks:
        console.print(Text(f"measured peaks, {peaks.note}", style="dim"))
    for part in _against(result):
        console.print(part, soft_wrap=isinstance(part, Text))
    if result.sides is None or any(set(row.rivals) - {OTHER} for row in result.rows):
        for threads in sorted({row.threads for row in result.rows}):
            for part in _table([row for row in result.rows if row.threads == threads], console.width):
                console.print(part)
        for part in (*_tiny(result), *_notes(result, console)):
            console.print(part)
    if result.steady is not None and OTHER not in result.steady:
        for part in _steady(result, result.steady, console.width):
            console.print(part)
    count = f"{counted(len(result.rows), 'measurement')} " if result.rows else ""
    console.print(Text(f"{count}in {result.seconds:.0f} s", style="dim"))


def _against(result: Result) -> Iterator[ConsoleRenderable]:
    """Ours next to the fastgru of another environment; nothing if there is none."""
    if result.sides is None:
        return
    if result.rows:
        cells = [[_shown(cell) for cell in cells_against(row)] for row in result.rows]
        yield plain_table(*HEADS, rows=cells, right=HEADS[1:6], sentences=HEADS[:1], title=CELLS_TITLE)
    if result.steady is not None and OTHER in result.steady:
        title, heads, rows = steady_against(result.steady)
        yield plain_table(*heads, rows=rows, right=heads[1:], title=title)
    for line in sentences(result):
        yield Text(line)


def _table(rows: list[Row], width: int) -> Iterator[ConsoleRenderable]:
    """Return a table with as many columns as fit. On a narrow console, rivals have only their ratios."""
    heads, lines = table_of(rows, without=OTHER)
    title = f"{threads_of(rows)}: the time of one call"
    if any(set(row.rivals) - {OTHER} for row in rows):
        title += ", and how many times as long a rival takes"
    brief = width < _WIDE
    shown = [[_shown(cell, brief=brief) for cell in line] for line in lines if len(line) == len(heads)]
    shown += [[Text(line[0].words), Text("none", style="red")] for line in lines if len(line) < len(heads)]
    yield plain_table(*heads, rows=shown, right=heads[1:], sentences=heads[:1], spare=_SPARE, title=title)


def _shown(cell: Cell, *, brief: bool = False) -> Text:
    style = f"bold {_STYLES[cell.kind]}" if cell.strong else _STYLES[cell.kind]
    if not cell.more or brief:
        return Text(cell.more or cell.words, style=style)
    return Text.assemble(cell.words, " ", (f"{cell.more:>6}", style))


def _tiny(result: Result) -> Iterator[ConsoleRenderable]:
    if tiny := tiny_lines(result):
        title = "tiny nets: nanoseconds a step in a block call, beside RTNeural's published best (desktop CPU of 2018)"
        heads = ("case", "fastgru", "RTNeural", "onnxruntime, once a sample")
        yield plain_table(*heads, rows=tiny, right=heads[1:], sentences=heads[:1], title=title)


def _notes(result: Result, console: Console) -> Iterator[ConsoleRenderable]:
    for row in result.rows:
        if row.trouble:
            yield Text(f"{row.title}, {counted(row.threads, 'thread')}: {row.trouble}", style="red")
    for line in absences(result.rows):
        yield Text(line, style="dim")
    coloured = console.is_terminal and console.color_system is not None
    yield legend(legend_of(result.rows, coloured=coloured), console.width)


def _steady(result: Result, steady: Mapping[str, Any], width: int) -> Iterator[ConsoleRenderable]:
    for title, heads, rows in steady_tables(steady):
        yield plain_table(*heads, rows=rows, right=heads[1:], title=title)
    said = absences(result.rows)
    yield legend([(name, words) for name, words in steady_facts(steady) if f"{name}: {words}" not in said], width)
