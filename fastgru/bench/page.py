"""A result as one HTML page: plots and tables, nothing loaded from elsewhere, light or dark as the reader prefers."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from statistics import median
from typing import Any, Final

from fastgru.bench.against import CELLS_TITLE, HEADS, cells_against, sentences, steady_against
from fastgru.bench.charts import batch_chart, call_chart, long_chart, overview_chart, step_chart, tail_chart
from fastgru.bench.contender import NAME
from fastgru.bench.html import document, figures, meanings, table
from fastgru.bench.plots import check_matplotlib
from fastgru.bench.result import Result, Row
from fastgru.bench.rivals.other import OTHER
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
    " a contender whose outputs differ is not timed. The contenders then take turns of a few hundredths of a second,"
    " round after round, so that other load on the machine affects all of them equally. Each round gives a ratio, and"
    " the table shows the median over the rounds. Each rival runs in its fastest configuration."
)


def render_page(result: Result) -> str:
    """Return the whole page. Raises `FastGRUError` if there is something to plot and matplotlib is missing."""
    title = _title(result)
    return document(title, f"<h1>{escape(title)}</h1>{''.join(_parts(result))}")


def _title(result: Result) -> str:
    paced = (result.steady or {}).get("paced", {})
    engines = dict.fromkeys(name.split()[0] for row in result.rows for name in row.rivals if name != OTHER) | paced
    others = [name_of(name) for name in engines if name != NAME] + [OTHER] * (result.sides is not None)
    words = " and ".join(filter(None, [", ".join(others[:-1]), *others[-1:]]))
    is_model = bool(result.rows) and all(row.slug == result.suite for row in result.rows)
    head = f"{result.suite}: " if is_model else "Steadiness: " if result.steady else ""
    return f"{head}{NAME} beside {words}" if words else f"{head}{NAME}"


def _parts(result: Result) -> Iterator[str]:
    groups = [[row for row in result.rows if row.threads == n] for n in sorted({row.threads for row in result.rows})]
    for rows in groups:
        yield _summary(rows)
    case = [("Case", result.steady["case"])] if result.steady else []
    facts = [*case, *machine_facts(result.machine), *(("Measured peaks", peaks.note) for peaks in result.peaks)]
    command = [("Command", result.command)] if result.command else [("Suite", result.suite)]
    yield meanings((name, printed(words)) for name, words in [*command, *facts])
    if len({row.slug for row in result.rows}) == 1:
        caption = "The time of one call. A bar ends at the median of the rounds; each tick is one round."
        yield figures([(call_chart(result.rows), caption)])
    yield from _against(result)
    for rows in groups if result.sides is None or any(set(row.rivals) - {OTHER} for row in result.rows) else ():
        yield f"<h2>{escape(printed(threads_of(rows)).capitalize())}</h2>{_figures(rows)}{_table(rows)}"
    if result.rows and result.sides is None:
        yield f"<h2>How to read the tables</h2>{meanings((n, printed(w)) for n, w in legend_of(result.rows))}"
    yield _tiny(result)
    if result.steady is not None and OTHER not in result.steady:
        yield from _steadiness(result.steady)
    yield from _notes(result)


def _against(result: Result) -> Iterator[str]:
    """Ours next to the fastgru of another environment; nothing if there is none."""
    if result.sides is None:
        return
    if result.rows:
        yield f"<h2>{CELLS_TITLE[0].upper()}{CELLS_TITLE[1:]}</h2>"
        yield table(HEADS, [[_cell(cell) for cell in cells_against(row)] for row in result.rows])
    if result.steady is not None and OTHER in result.steady:
        title, heads, rows = steady_against(result.steady)
        yield f"<h2>{escape(title[0].upper() + title[1:])}</h2>"
        yield table(heads, [[escape(printed(word)) for word in row] for row in rows])
    yield f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in sentences(result))}</ul>"


def _summary(rows: Sequence[Row]) -> str:
    found = [row.ratios[name] for row in rows if (name := row.best_rival)]
    if not found:
        return ""
    ahead, behind = (sum(test) for test in ([r.low > 1 for r in found], [r.high < 1 for r in found]))
    level = len(found) - ahead - behind
    told = {"faster than every rival measured": ahead, "level with the best": level, "slower than the best": behind}
    parts = [f"{words} in {count} of {len(found)} cases" for words, count in told.items() if count]
    if len(found) == 1:
        parts = [next(words for words, count in told.items() if count)]
    ratios = [each.median for each in found]
    spread = f"{ratio_of(min(ratios))} to {ratio_of(max(ratios))} as long, {ratio_of(median(ratios))} in the median"
    closest = spread if len(ratios) > 1 else f"{ratio_of(ratios[0])} as long"
    words = f"{counted(rows[0].threads, 'thread')}: fastgru is {', '.join(parts)}. The fastest rival takes {closest}."
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
    heads, lines = table_of(rows, without=OTHER)
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
        "The time of one step in a block of frames. RTNeural's authors published its figures in 2021; they measured"
        " them on a desktop CPU from 2018."
    )
    return f"<h2>Beside RTNeural</h2><p>{note}</p>{table(('case', 'fastgru', 'RTNeural'), lines)}"


def _steadiness(steady: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>Steadiness</h2>"
    yield figures([(tail_chart(steady), "The time that one call in two, in ten, in a hundred... exceeds")])
    for title, heads, rows in steady_tables(steady):
        cells = [[escape(printed(word)) for word in row] for row in rows]
        yield f"<h3>{escape(title[0].upper() + title[1:])}</h3>{table(heads, cells)}"
        if "missed" in heads:
            yield meanings(PACED.items())
    yield meanings((name[0].upper() + name[1:], printed(words)) for name, words in steady_facts(steady))


def _notes(result: Result) -> Iterator[str]:
    settings = dict.fromkeys(f"{name_of(t.name)}: {t.setting}" for row in result.rows for t in row.rivals.values())
    if settings:
        yield f"<h2>How it was measured</h2><p>{_METHOD}</p><p>The fastest configuration of each rival:</p>"
        yield f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in sorted(settings))}</ul>"
    if absent := absences(result.rows):
        yield f"<h2>Not compared</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in absent)}</ul>"
