"""A result as one HTML page: plots and tables, nothing loaded from elsewhere, light or dark as the reader prefers."""

from collections.abc import Iterator, Sequence
from html import escape
from statistics import median

from fastgru.bench.charts import step_chart
from fastgru.bench.html import document, figure, head_row
from fastgru.bench.plots import Series, check_matplotlib, line_chart
from fastgru.bench.report import steady_lines
from fastgru.bench.result import Result, Row
from fastgru.bench.words import Cell, machine_line, ratio_of, table_of, threads_of, tiny_lines, versions_line
from fastgru.terminal import counted

__all__ = ["check_matplotlib", "render_page"]


def render_page(result: Result) -> str:
    """The whole page. Raises `FastGRUError` where matplotlib is missing and there is something to plot."""
    body = "".join(part for part in _parts(result) if part)
    return document(f"fastgru bench: {result.suite}", body)


def _parts(result: Result) -> Iterator[str]:
    yield (
        f"<h1>fastgru bench: {escape(result.suite)}</h1>"
        f"<p>{escape(machine_line(result.machine))}</p><p>{escape(versions_line(result.machine))}</p>"
        f"<p>{escape(str(result.machine['date']))}; {len(result.rows)} measurements in {result.seconds:.0f} s. "
        "Outputs are compared before anything is timed; contenders are timed in turn; a ratio is the median over rounds"
        " of a rival's time over ours in the same round.</p>"
    )
    yield "".join(f"<p>Measured peaks, {escape(p.note)}</p>" for p in result.peaks)
    yield _summary(result)
    for threads in sorted({row.threads for row in result.rows}):
        rows = [row for row in result.rows if row.threads == threads]
        count = threads_of(rows)
        yield figure(step_chart(rows), f"One step of a stream, N = 1: latency against H, {count}")
        yield figure(_throughput(rows), f"Whole sequences: frames a second against the batch, {count}")
        yield f"<h2>{count}</h2>{_table(rows)}"
    yield _tiny(result)
    if result.steady is not None:
        items = "".join(f"<li>{escape(line)}</li>" for line in steady_lines(result.steady))
        yield f"<h2>Steadiness</h2><ul>{items}</ul>"
    yield _notes(result)


def _summary(result: Result) -> str:
    ratios = [row.ratio for row in result.rows if row.ratio is not None]
    if not ratios:
        return ""
    ahead = sum(r > 1 for r in ratios)
    return (
        f"<p><strong>Ahead of the best rival in {ahead} of {len(ratios)} measurements; median"
        f" {ratio_of(median(ratios))}, least {ratio_of(min(ratios))}, most {ratio_of(max(ratios))}.</strong></p>"
    )


def _throughput(rows: Sequence[Row]) -> str:
    """Lines of the plain sequence cases of one H each, ours and the best rival's, for each H of several batches."""
    plain = [
        row
        for row in rows
        if (c := row.case) and c.kind == "sequence" and c.layers == 1 and c.directions == 1 and c.reset_after
        if not c.lengths and c.I == c.H and row.ours is not None
    ]  # fmt: skip
    series = []
    for k, H in enumerate(sorted({row.case.H for row in plain if row.case})):
        some = [(c.N, c.T * c.N, row) for row in plain if (c := row.case) and c.H == H]
        if len({N for N, _, _ in some}) < 2:
            continue
        ours = {float(N): frames / row.ours.median_s for N, frames, row in some if row.ours}
        best = {float(N): frames / row.rivals[name].median_s for N, frames, row in some if (name := row.best_rival)}
        for label, points, dashed in ((f"H={H}", ours, False), (f"H={H}, best rival", best, True)):
            series.append(Series(label, k % 5, tuple(sorted(points.items())), dashed))
    return line_chart(
        series, title="Throughput against batch", x_label="N", y_label="frames a second", y_words=_count_of
    )


def _count_of(value: float) -> str:
    for unit, scale in (("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value:.3g}"


def _table(rows: Sequence[Row]) -> str:
    heads, lines = table_of(rows)
    body = ""
    for line in lines:
        if len(line) < len(heads):
            name, fault = line
            cells = (
                f'<td>{escape(name.words)}</td><td class="bad" colspan="{len(heads) - 1}">{escape(fault.remark)}</td>'
            )
        else:
            cells = "".join(f"<td>{_cell(cell)}</td>" for cell in line)
        body += f"<tr>{cells}</tr>"
    return f'<div class="scroll"><table>{head_row(heads)}<tbody>{body}</tbody></table></div>'


def _cell(cell: Cell) -> str:
    more = f'<span class="dim">{escape(cell.more.strip())}</span>' if cell.more else ""
    words = f"{escape(cell.words)} {more}".strip()
    given = {"class": cell.kind, "title": cell.remark}
    attributes = "".join(f' {name}="{escape(value, quote=True)}"' for name, value in given.items() if value)
    return f"<span{attributes}>{words}</span>" if attributes else words


def _tiny(result: Result) -> str:
    lines = "".join(
        f"<tr>{''.join(f'<td>{escape(words)}</td>' for words in line[:3])}</tr>" for line in tiny_lines(result)
    )
    head = head_row(("case", "fastgru", "RTNeural's published best, desktop CPU of 2018"))
    return lines and f"<h2>Tiny nets in block calls, a step</h2><table>{head}<tbody>{lines}</tbody></table>"


def _notes(result: Result) -> str:
    faults = [f"{row.title}, {counted(row.threads, 'thread')}: {fault}" for row in result.rows for fault in row.faults]
    settings = sorted({f"{t.name}: {t.setting}" for row in result.rows for t in row.rivals.values()})
    absent = sorted({f"{name}: {reason}" for row in result.rows for name, reason in row.absent.items()})
    found = ""
    for title, lines in (("Goals missed", faults), ("Configurations", settings), ("Not compared", absent)):
        if lines:
            found += f"<h2>{title}</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"
    return found
