"""Reports a comparison with another environment's fastgru: a table of cells, the means, and the changes."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any, Final

from fastgru.bench.comparison import geometric_mean
from fastgru.bench.contender import NAME
from fastgru.bench.result import Result, Row
from fastgru.bench.rivals.other import OTHER
from fastgru.bench.words import Cell, percent
from fastgru.terminal import counted, time_of

__all__ = ["CELLS_TITLE", "HEADS", "cells_against", "changed", "failures", "mean_of", "sentences", "steady_against"]

HEADS: Final = ("cell", "threads", "theirs", "ours", "ratio", "spread", "verdict", "bits")
CELLS_TITLE: Final = "the time of one call, and theirs divided by ours: above 1, ours is faster"
_KINDS: Final = {"faster": "good", "slower": "bad"}


def cells_against(row: Row) -> list[Cell]:
    """Return the line of a row, below `HEADS`."""
    name, other, theirs = Cell(row.title), row.other, row.rivals.get(OTHER)
    if other is None or theirs is None or row.ours is None:
        return [name, Cell(f"{row.threads}"), *[Cell("")] * 4, Cell("none", kind="bad"), Cell("")]
    times = f" ({', '.join(f'{repeat.ratio:.3f}' for repeat in other.repeats)})" if len(other.repeats) > 1 else ""
    return [
        name,
        Cell(f"{row.threads}"),
        Cell(time_of(theirs.median_s)),
        Cell(time_of(row.ours.median_s)),
        Cell(f"{other.ratio:.3f}"),
        Cell(percent(other.spread)),
        Cell(f"{other.verdict}{times}", kind=_KINDS.get(other.verdict, "")),
        Cell("same" if other.same_bits else "differ"),
    ]


def sentences(result: Result) -> Iterator[str]:
    """Yield sentences about the changes, the means, and the two sides."""
    assert result.sides is not None
    yield from _lines(result, result.sides)


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
    """Group the compared rows by kind of case and number of threads; {} if there is only one group."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.other is not None:
            kind = "models" if row.case is None else f"{row.case.kind}s"
            found.setdefault(f"{kind} on {counted(row.threads, 'thread')}", []).append(row)
    return found if len(found) > 1 else {}


def changed(rows: Sequence[Row], verdict: str) -> list[Row]:
    """Return the rows with this verdict."""
    return [row for row in rows if row.other is not None and row.other.verdict == verdict]


def failures(result: Result, least: float) -> list[str]:
    """Return why ours fails: a mean below `least`, cells that are slower or not compared, a step that keeps more."""
    rows, mean = result.rows, mean_of(result.rows)
    found = [] if mean is None or mean >= least else [f"the geometric mean is {mean:.4f}, expected at least {least:g}"]
    found += [f"{_name(row)} is slower" for row in changed(rows, "slower")]
    if result.steady is not None and OTHER in result.steady:
        kept = {n: max(each["allocations"]["kept_bytes"] for each in result.steady[n]) for n in (OTHER, NAME)}
        theirs, ours = kept[OTHER], kept[NAME]
        found += [f"a step keeps {ours:g} bytes, theirs {theirs:g}"] if ours > theirs else []
    return found + [f"{_name(row)} is not compared" for row in rows if row.other is None]


def steady_against(steady: Mapping[str, Any]) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """Return the title, the heads and the rows of a table with the figures of both sides."""
    theirs, ours = ([_figures(each) for each in steady[name]] for name in (OTHER, NAME))
    rows: list[tuple[str, ...]] = []
    for name in ours[0]:
        show = time_of if name.endswith("time") else "{:,.4g}".format
        rows.append((name, *(show(median(each[name] for each in side)) for side in (theirs, ours))))
    if "cold" in steady:
        starts = steady["cold"]["medians_s"]
        rows.append(("process start to first output", time_of(starts[OTHER]), time_of(starts[NAME])))
    title = f"steadiness of {steady['case']}: the median of {len(steady[NAME])} processes"
    return title, ("", "theirs", "ours"), rows


def _figures(found: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of one process by name. Names of times end with "time"."""
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
    times = {f"{every}: {key} time": pace[f"{key}_s"] for key in ("median", "p99", "largest")}
    return {**figures, **times, f"{every}: deadlines missed": pace["missed"]}


def mean_of(rows: Sequence[Row]) -> float | None:
    """Return the geometric mean of theirs over ours, or None if nothing was compared."""
    ratios = [row.other.ratio for row in rows if row.other is not None]
    return geometric_mean(ratios) if ratios else None
