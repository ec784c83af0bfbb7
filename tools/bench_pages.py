"""Writes the figures about speed in the documents from measurements, never by hand.

    fastgru bench --suite full --threads 1,2 --spin-us 50 --json result.json
    fastgru bench --suite steady --json steady.json
    python tools/bench_pages.py result.json steady.json

The tables of docs/pages/performance.md are between pairs of comments, and are replaced. The plot of the README is drawn
for light and dark pages: docs/pages/step-light.svg and docs/pages/step-dark.svg. A suite may be measured in parts with
`--case`: the rows of all results are merged, and must come from one machine.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from fastgru.bench.cases import SUITES
from fastgru.bench.charts import step_chart
from fastgru.bench.html import DARK, LIGHT
from fastgru.bench.plots import standalone
from fastgru.bench.result import Result, Row
from fastgru.bench.steady_words import steady_facts, steady_tables
from fastgru.bench.words import (
    error_of,
    machine_line,
    name_of,
    percent,
    printed,
    ratio_of,
    threads_of,
    tiny_lines,
    versions_line,
    written,
)
from fastgru.errors import FastGRUError, InvalidModelError
from fastgru.terminal import counted

__all__ = ["PLOTS", "SECTIONS", "begin", "end", "main", "merged", "plot", "update"]

ROOT: Final = Path(__file__).resolve().parent.parent
PAGES: Final = ROOT / "docs" / "pages"
PLOTS: Final = {"step-light.svg": LIGHT, "step-dark.svg": DARK}
_WIDTH: Final = 640
_FRAME_S: Final = 0.01

# The kinds of cases in order, with their titles.
_KINDS: Final = {
    "step": "One step of a stream",
    "sequence": "A whole sequence in one call",
    "block": "A block of frames in one push; the rivals are called once a frame",
}


def begin(name: str) -> str:
    """Return the comment before a section."""
    return f"<!-- bench: {name}; written by tools/bench_pages.py, do not edit -->"


def end(name: str) -> str:
    """Return the comment after a section."""
    return f"<!-- bench: end of {name} -->"


def merged(results: Sequence[Result]) -> Result:
    """Return one result with the rows of all, in the suite's order. The last measurement of a row counts.

    Raises `InvalidModelError` if the results are of different machines or versions.
    """
    first = results[0]
    for other in results[1:]:
        for key in ("cpu", "cores", "target", "cache_bytes", "system", "python", "versions"):
            if other.machine[key] != first.machine[key]:
                raise InvalidModelError(
                    f"{key} is {other.machine[key]!r}, and {first.machine[key]!r} in another result"
                )
    rows = {(row.threads, row.slug): row for result in results for row in result.rows}
    order = {case.slug: k for k, case in enumerate(SUITES["full"])}
    ordered = sorted(rows.values(), key=lambda row: (row.threads, order.get(row.slug, len(order))))
    suite = first.suite.partition(",")[0]
    steady = next((result.steady for result in results if result.steady), None)
    seconds = sum(result.seconds for result in results)
    return replace(first, suite=suite, rows=tuple(ordered), steady=steady, seconds=seconds)


def update(text: str, result: Result) -> str:
    """Return `text` with its sections replaced. Raises `InvalidModelError` if a comment is missing or repeated."""
    for name, write in SECTIONS.items():
        first, last = begin(name), end(name)
        if text.count(first) != 1 or text.count(last) != 1 or text.index(first) > text.index(last):
            raise InvalidModelError(f"expected one line {first!r} and after it one line {last!r}")
        before, _, rest = text.partition(first)
        section = "\n\n".join(write(result))
        text = f"{before}{first}\n{section}\n{last}{rest.partition(last)[2]}"
    return text


def plot(result: Result, colours: dict[str, str]) -> str:
    """Return a plot of one step by H, ours and the rivals, on the fewest threads of the result, as an SVG file."""
    least = min(row.threads for row in result.rows)
    chart = step_chart([row for row in result.rows if row.threads == least], bound=False)
    if not chart:
        raise InvalidModelError("no row of the result is one step of a stream: nothing to plot")
    return standalone(chart, colours, _WIDTH)


def _where(result: Result, threads: str) -> str:
    spun = re.search(r"spinning (\S+) us", threads)
    options = f" --spin-us {spun[1]}" if spun else ""
    return (
        f"{threads} on {result.machine['cpu']} ({result.machine['target']}), measured on"
        f" {result.machine['date'].split()[0]} by\n"
        f"`fastgru bench --suite {result.suite} --threads {threads.split()[0]}{options}`:"
    )


def _summary(result: Result) -> Iterator[str]:
    """One step of a stream on one thread, relative to a frame every 10 ms."""
    rows = [row for row in result.rows if (c := row.case) and row.threads == 1 and c.kind == "step" and c.I == c.H]
    rivals = _rivals(rows)
    yield _where(result, "1 thread")
    heads = ["hidden units", "one step", "of a 10 ms frame", *(f"{name_of(name)} takes" for name in rivals)]
    lines = []
    for row in rows:
        if row.ours is not None and row.case is not None:
            share = 100 * row.ours.median_s / _FRAME_S
            ratios = [ratio_of(row.ratios[n].median) if n in row.ratios else "-" for n in rivals]
            lines.append([str(row.case.H), written(row.ours.median_s), f"{share:.2g} %", *ratios])
    yield _table(heads, lines, right=len(heads))


def _steady(result: Result) -> Iterator[str]:
    """Calls at an interval, and the start of a process. Raises `InvalidModelError` if they were not measured."""
    if result.steady is None:
        raise InvalidModelError("no result is of the suite 'steady'")
    yield (
        f"{result.steady['case']} on {result.machine['cpu']} ({result.machine['target']}), measured by"
        " `fastgru bench --suite steady`:"
    )
    for title, heads, rows in steady_tables(result.steady):
        yield f"**{title[0].upper()}{title[1:]}**"
        yield _table(
            heads,
            [[printed(word) for word in row] for row in rows],
            right=len(heads) - 1,
        )
    yield "\n".join(f"- {name[0].upper()}{name[1:]}: {printed(words)}." for name, words in steady_facts(result.steady))


def _threads(result: Result) -> Iterator[str]:
    """The speed-up of one step of a stream by more threads."""
    rows = [
        row
        for row in result.rows
        if row.own_ratio and (c := row.case) and c.kind == "step" and c.I == c.H and c.H >= 64
    ]
    if not rows:
        raise InvalidModelError("no row of a result is one step of a stream on more than one thread")
    yield _where(result, threads_of(rows))
    heads = ["hidden units", *(f"{row.case.H}" for row in rows if row.case)]
    ratios = [f"{row.own_ratio.median:.1f}x" for row in rows if row.own_ratio]
    yield _table(heads, [["speed-up over one thread", *ratios]], right=len(ratios))


def _tables(result: Result) -> Iterator[str]:
    yield f"The machine: {machine_line(result.machine)}.\nThe versions: {versions_line(result.machine)}."
    for count in sorted({row.threads for row in result.rows}):
        rows = [row for row in result.rows if row.threads == count]
        rivals = _rivals(rows)
        yield f"### {counted(count, 'thread').capitalize()}"
        for kind, title in _KINDS.items():
            some = [row for row in rows if row.case is not None and row.case.kind == kind and row.ours is not None]
            if some:
                error = ["error"] if any(error_of(row, "fastgru") for row in some) else []
                heads = ["case", "fastgru", *error, *map(name_of, rivals), "of the limit"]
                yield f"**{title}.** {_where(result, threads_of(some))}"
                yield _table(heads, [_cells(row, rivals, reduced=bool(error)) for row in some], right=len(heads) - 1)
        if untimed := [row for row in rows if row.ours is None and row.case is not None]:
            lines = [f"- {row.title}: {printed(row.trouble)}." for row in untimed]
            yield "\n".join([f"Not measured on {counted(count, 'thread')}:\n", *lines])
        here = {row.slug for row in rows}
        if others := dict.fromkeys(row.title for row in result.rows if row.case and row.slug not in here):
            yield f"The results have no row on {counted(count, 'thread')} for: {'; '.join(others)}."
    if tiny := tiny_lines(result):
        yield "### Beside RTNeural"
        yield (
            "The time of one step within a block of frames. RTNeural's figures are those that its authors published in"
            " 2021, for a desktop CPU of 2018:"
        )
        yield _table(["case", "fastgru", "RTNeural"], [line[:3] for line in tiny], right=2)
    if reasons := sorted({f"{name_of(name)} ({reason})" for row in result.rows for name, reason in row.absent.items()}):
        yield f"A dash stands where a rival cannot run the case: {'; '.join(reasons)}."


SECTIONS: Final = {"summary": _summary, "threads": _threads, "steady": _steady, "tables": _tables}


def _rivals(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.rivals))


def _cells(row: Row, rivals: Sequence[str], *, reduced: bool) -> list[str]:
    assert row.ours is not None
    ratios = {name: ratio_of(row.ratios[name].median) if name in row.ratios else "-" for name in rivals}
    marked = [f"**{words}**" if name == row.best_rival else words for name, words in ratios.items()]
    share = f"{percent(row.share)} {row.bound.limit}" if row.bound else "-"
    error = [error_of(row, "fastgru")] if reduced else []
    return [row.title, written(row.ours.median_s), *error, *marked, share]


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]], *, right: int) -> str:
    """right: how many of the last columns have numbers."""
    rule = ["---"] * (len(heads) - right) + ["---:"] * right
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *lines))


def main(arguments: Sequence[str], pages: Path = PAGES) -> int:
    """Return exit status 0, or 2 with a line on standard error."""
    if not arguments or any(argument.startswith("-") for argument in arguments):
        print("usage: python tools/bench_pages.py RESULT.json...", file=sys.stderr)
        return 2
    page = pages / "performance.md"
    try:
        result = merged([Result.from_json(Path(name).read_text(encoding="utf-8")) for name in arguments])
        files = {page: update(page.read_text(encoding="utf-8"), result)}
        files |= {pages / name: plot(result, colours) for name, colours in PLOTS.items()}
    except (FastGRUError, OSError) as error:
        print(f"bench_pages: {error}", file=sys.stderr)
        return 2
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
