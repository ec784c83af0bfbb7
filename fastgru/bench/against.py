"""Ours beside another environment's fastgru in the terminal: a table of cells, the means, what has changed."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastgru.bench.comparison import geometric_mean
from fastgru.bench.contender import NAME
from fastgru.bench.result import Result, Row
from fastgru.bench.rivals.other import OTHER
from fastgru.bench.words import percent
from fastgru.terminal import counted, plain_table, time_of

__all__ = ["changed", "failures", "mean_of", "print_against"]

_STYLES = {"faster": "bold green", "slower": "bold red"}


def print_against(result: Result, console: Console) -> None:
    """Print what `result` says of ours and the other fastgru."""
    assert result.sides is not None
    if result.rows:
        console.print(_cell_table(result))
    if result.steady is not None and OTHER in result.steady:
        console.print(_steady_table(result.steady))
    for line in _lines(result, result.sides):
        console.print(Text(line), soft_wrap=True)


def _cell_table(result: Result) -> Table:
    title = "time a call, and theirs over ours: above 1 ours is faster"
    numbers = ("threads", "theirs", "ours", "ratio", "spread")
    table = plain_table("cell", *numbers, "verdict", "bits", right=numbers, title=title)
    for row in result.rows:
        table.add_row(row.title, str(row.threads), *_cells(row))
    return table


def _cells(row: Row) -> list[str | Text]:
    other, theirs = row.other, row.rivals.get(OTHER)
    if other is None or theirs is None or row.ours is None:
        return ["", "", "", "", Text("none", style="bold red"), ""]
    times = f" ({', '.join(f'{repeat.ratio:.3f}' for repeat in other.repeats)})" if len(other.repeats) > 1 else ""
    return [
        time_of(theirs.median_s),
        time_of(row.ours.median_s),
        f"{other.ratio:.3f}",
        percent(other.spread),
        Text(f"{other.verdict}{times}", style=_STYLES.get(other.verdict, "")),
        "same" if other.same_bits else "differ",
    ]


def _lines(result: Result, sides: Mapping[str, Any]) -> Iterator[str]:
    for row in result.rows:
        if row.other is None:
            yield f"not compared: {_name(row)}: {row.trouble or row.absent.get(OTHER, '')}"
    for verdict in ("slower", "faster"):
        if rows := changed(result.rows, verdict):
            yield f"{verdict}: {', '.join(f'{_name(row)} {row.other.ratio:.3f}' for row in rows if row.other)}"
    mean = mean_of(result.rows)
    if mean is not None:
        for name, rows in _groups(result.rows).items():
            yield f"geometric mean of {name}: {mean_of(rows):.4f} ({len(rows)} cells)"
        count = sum(row.other is not None for row in result.rows)
        differ = len([row for row in result.rows if row.other is not None and not row.other.same_bits])
        moved = {verdict: len(changed(result.rows, verdict)) for verdict in ("slower", "faster")}
        yield (
            f"geometric mean of all: {mean:.4f} ({count} cells, {moved['slower']} slower, {moved['faster']} faster,"
            f" {differ} with other bits)"
        )
    for who, name in (("theirs", OTHER), ("ours", NAME)):
        about = sides[name]
        yield (
            f"{who}: fastgru {about['fastgru']}, sources {about['sources']}; Python {about['python']},"
            f" numpy {about['numpy']}"
        )
    if sides[OTHER]["sources"] == sides[NAME]["sources"]:
        yield "both sides are of the same sources"


def _name(row: Row) -> str:
    return f"{row.slug} on {row.threads}"


def _groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """By kind of case and by threads, those that have been compared; {} where there is one group only."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.other is not None:
            kind = "models" if row.case is None else f"{row.case.kind}s"
            found.setdefault(f"{kind} on {counted(row.threads, 'thread')}", []).append(row)
    return found if len(found) > 1 else {}


def changed(rows: Sequence[Row], verdict: str) -> list[Row]:
    """The rows of this verdict."""
    return [row for row in rows if row.other is not None and row.other.verdict == verdict]


def failures(result: Result, least: float) -> list[str]:
    """Why ours falls short: a mean below `least`, cells that are slower or not compared, a step that keeps more."""
    rows, mean = result.rows, mean_of(result.rows)
    found = [] if mean is None or mean >= least else [f"the geometric mean is {mean:.4f}, expected at least {least:g}"]
    found += [f"{_name(row)} is slower" for row in changed(rows, "slower")]
    if result.steady is not None and OTHER in result.steady:
        kept = {n: max(each["allocations"]["kept_bytes"] for each in result.steady[n]) for n in (OTHER, NAME)}
        theirs, ours = kept[OTHER], kept[NAME]
        found += [f"a step keeps {ours:g} bytes, theirs {theirs:g}"] if ours > theirs else []
    return found + [f"{_name(row)} is not compared" for row in rows if row.other is None]


def _steady_table(steady: Mapping[str, Any]) -> Table:
    title = f"steadiness of {steady['case']}: the median of {len(steady[NAME])} processes"
    table = plain_table("", "theirs", "ours", right=("theirs", "ours"), title=title)
    theirs, ours = ([_figures(each) for each in steady[name]] for name in (OTHER, NAME))
    for name in ours[0]:
        show = time_of if name.endswith("time") else "{:,.4g}".format
        table.add_row(name, *(show(median(each[name] for each in side)) for side in (theirs, ours)))
    if "cold" in steady:
        starts = steady["cold"]["medians_s"]
        table.add_row("process start to first output", time_of(starts[OTHER]), time_of(starts[NAME]))
    return table


def _figures(found: Mapping[str, Any]) -> dict[str, float]:
    """What one process gives, by name; names of times end so."""
    kept, pace = found["allocations"], found["paced"]
    figures = {
        f"bytes kept over {kept['pushes']:,} pushes": kept["kept_bytes"],
        "bytes that come and go in a push": kept["passing_bytes"],
        "blocks that Numba allocates": kept["numba_allocations"],
    }
    for tail in found["tails"]:
        collector = "on" if tail["collector"] else "off"
        figures[f"collector {collector}: time"] = tail["median_s"]
        figures |= {f"collector {collector}: {key} over median": tail[key] for key in ("p99", "p999", "worst")}
    every = f"a push every {1e3 * pace['interval_s']:g} ms"
    return {**figures, f"{every}: median time": pace["median_s"], f"{every}: p99 time": pace["p99_s"]}


def mean_of(rows: Sequence[Row]) -> float | None:
    """The geometric mean of theirs over ours, None where nothing was compared."""
    ratios = [row.other.ratio for row in rows if row.other is not None]
    return geometric_mean(ratios) if ratios else None
