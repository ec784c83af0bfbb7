"""A result as one HTML page: plots and tables, nothing loaded from elsewhere, light or dark as the reader prefers."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from statistics import median
from typing import Any, Final

from fastgru.bench.charts import batch_chart, call_chart, long_chart, overview_chart, step_chart, tail_chart
from fastgru.bench.html import document, figures, meanings, table
from fastgru.bench.plots import check_matplotlib
from fastgru.bench.result import Result, Row
from fastgru.bench.steady_words import PACED, steady_facts, steady_tables
from fastgru.bench.words import (
    Cell,
    absences,
    legend_of,
    machine_facts,
    name_of,
    printed,
    ratio_of,
    table_of,
    threads_of,
    tiny_lines,
)
from fastgru.terminal import counted

__all__ = ["check_matplotlib", "render_page"]

_METHOD: Final = (
    "The outputs of all contenders are compared with the float64 definition of the model before anything is timed, and"
    " a contender whose outputs differ is not timed. Then they take turns of a few hundredths of a second, round after"
    " round, so that whatever else slows the machine down slows all of them. A ratio is taken within a round; what is"
    " shown is the median over the rounds. A rival runs in the fastest of its configurations."
)


def render_page(result: Result) -> str:
    """The whole page. Raises `FastGRUError` where matplotlib is missing and there is something to plot."""
    title = _title(result)
    return document(title, f"<h1>{escape(title)}</h1>{''.join(_parts(result))}")


def _title(result: Result) -> str:
    names = [name_of(name) for name in dict.fromkeys(name.split()[0] for row in result.rows for name in row.rivals)]
    others = [name for name in names if name != "fastgru"]
    words = " and ".join(filter(None, [", ".join(others[:-1]), *others[-1:]]))
    is_model = bool(result.rows) and all(row.slug == result.suite for row in result.rows)
    return (f"{result.suite}: " if is_model else "") + "fastgru" + (f" beside {words}" if words else "")


def _parts(result: Result) -> Iterator[str]:
    groups = [[row for row in result.rows if row.threads == n] for n in sorted({row.threads for row in result.rows})]
    for rows in groups:
        yield _summary(rows)
    facts = [*machine_facts(result.machine), *(("Measured peaks", peaks.note) for peaks in result.peaks)]
    command = [("Command", result.command)] if result.command else [("Suite", result.suite)]
    yield meanings((name, printed(words)) for name, words in [*command, *facts])
    if len({row.slug for row in result.rows}) == 1:
        caption = "One call: bars are medians, the ticks in them the medians of the rounds; the thin line ends at p99."
        yield figures([(call_chart(result.rows), caption)])
    for rows in groups:
        yield f"<h2>{escape(printed(threads_of(rows)).capitalize())}</h2>{_figures(rows)}{_table(rows)}"
    if result.rows:
        yield f"<h2>How to read the tables</h2>{meanings((n, printed(w)) for n, w in legend_of(result.rows))}"
    yield _tiny(result)
    if result.steady is not None:
        yield from _steadiness(result.steady)
    yield from _notes(result)


def _summary(rows: Sequence[Row]) -> str:
    found = [row.ratios[name] for row in rows if (name := row.best_rival)]
    if not found:
        return ""
    ahead, behind = (sum(test) for test in ([r.low > 1 for r in found], [r.high < 1 for r in found]))
    level = len(found) - ahead - behind
    parts = [f"faster than every rival in {ahead} of {counted(len(found), 'case')}"]
    parts += [f"level with the best in {level}"] if level else []
    parts += [f"slower than the best in {behind}"] if behind else []
    ratios = [each.median for each in found]
    spread = f"{ratio_of(min(ratios))} to {ratio_of(max(ratios))} as long, {ratio_of(median(ratios))} in the median"
    closest = spread if len(ratios) > 1 else f"{ratio_of(ratios[0])} as long"
    words = f"{counted(rows[0].threads, 'thread')}: fastgru is {', '.join(parts)}. The closest rival takes {closest}."
    return f'<p class="lead">{escape(words)}</p>'


def _figures(rows: Sequence[Row]) -> str:
    batches, H = batch_chart(rows)
    return figures(
        [
            (step_chart(rows), "One step of a stream with one row"),
            (long_chart(rows), "A frame of a sequence of 100 frames with one row, all in one call"),
            (batches, f"Sequences of 50 frames with {H} hidden units: all frames and rows in one call"),
            (overview_chart(rows), "How many times as long each rival takes as fastgru"),
        ]
    )


def _table(rows: Sequence[Row]) -> str:
    heads, lines = table_of(rows)
    return table([name_of(head) for head in heads], [[_cell(cell) for cell in line] for line in lines])


def _cell(cell: Cell) -> str:
    words = f'<span class="n">{escape(printed(cell.words))}</span>' if len(cell.words) < 20 else escape(cell.words)
    marked = cell.more or ""
    if marked:
        marked = f'<span class="n {cell.kind}">{escape(marked)}</span>'
        words += f" <b>{marked}</b>" if cell.strong else f" {marked}"
    elif cell.kind:
        words = f'<span class="{cell.kind}">{words}</span>'
    return f'<span title="{escape(printed(cell.remark), quote=True)}">{words}</span>' if cell.remark else words


def _tiny(result: Result) -> str:
    lines = [[escape(words) for words in line[:3]] for line in tiny_lines(result)]
    if not lines:
        return ""
    note = (
        "The time of one step in a block of frames. RTNeural's figures are those that its authors published in 2021,"
        " on a desktop CPU of 2018."
    )
    return f"<h2>Beside RTNeural</h2><p>{note}</p>{table(('case', 'fastgru', 'RTNeural'), lines)}"


def _steadiness(steady: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>Steadiness</h2>"
    yield figures(
        [(tail_chart(steady), "How long the slowest calls take: one in two, one in ten, one in a hundred...")]
    )
    for title, heads, rows in steady_tables(steady):
        cells = [[f'<span class="n">{escape(printed(word))}</span>' for word in row] for row in rows]
        yield f"<h3>{escape(title[0].upper() + title[1:])}</h3>{table(heads, cells)}"
        if "missed" in heads:
            yield meanings(PACED.items())
    yield meanings((name[0].upper() + name[1:], printed(words)) for name, words in steady_facts(steady))


def _notes(result: Result) -> Iterator[str]:
    settings = dict.fromkeys(f"{name_of(t.name)}: {t.setting}" for row in result.rows for t in row.rivals.values())
    if settings:
        yield f"<h2>How it was measured</h2><p>{_METHOD}</p><p>The configurations that were the fastest:</p>"
        yield f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in sorted(settings))}</ul>"
    if absent := absences(result.rows):
        yield f"<h2>Not compared</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in absent)}</ul>"
