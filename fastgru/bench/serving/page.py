"""A server under load as one HTML page: the table, the tails as plots, and the findings."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from fastgru.bench.html import document, figures, table
from fastgru.bench.plots import Series, line_chart
from fastgru.bench.serving.outcome import percentile
from fastgru.bench.serving.report import findings, headings, tables
from fastgru.bench.serving.result import ServingResult, Step
from fastgru.bench.words import printed, written

__all__ = ["render_serving"]

_TAIL = (50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99)
_COLOURS = 5


def render_serving(result: ServingResult) -> str:
    """Return the whole page. Raises `FastGRUError` if matplotlib is missing."""
    return document(f"fastgru bench: {result.server.model} at {result.server.target.host}", "".join(_parts(result)))


def _parts(result: ServingResult) -> Iterator[str]:
    yield f"<h1>fastgru bench: {escape(result.server.model)} at {escape(result.server.target.host)}</h1>"
    yield "".join(f"<p>{escape(line)}</p>" for line in headings(result))
    title = result.demand.title()
    yield f"<h2>{escape(title[0].upper() + title[1:])}</h2>"
    for heads, rows in tables(result):
        unit = f'<span class="narrow"> {escape(heads[0])}</span>'  # a row that becomes a card has no head
        yield table(heads, ([escape(name) + unit, *(escape(printed(cell)) for cell in row)] for name, *row in rows))
    yield figures(
        [
            (_ramp(result), "Latency against the load that was offered"),
            (_tails(result), "How long the slowest requests take: one in two, one in ten, one in a hundred..."),
        ]
    )
    items = (f'<li class="{kind}">{escape(line)}</li>' for kind, line in findings(result))
    yield f"<h2>Findings</h2><ul>{''.join(items)}</ul>"


def _tails(result: ServingResult) -> str:
    named = [(step.words, step, False) for step in result.steps]
    named += [(f"raw TCP echo, {step.words}", step, True) for step in result.floors]
    series = []
    for k, (name, step, dashed) in enumerate(named[-2 * _COLOURS :]):
        found = ((p, percentile(step.outcome.latencies, p)) for p in _TAIL)
        points = tuple((round(100 / (100 - p), 6), value / 1e9) for p, value in found if value)
        series.append(Series(name, k % _COLOURS, points, dashed))
    x_label = "one request in so many takes longer"
    return line_chart(series, title="Tails", x_label=x_label, y_label="latency", y_words=written)


def _ramp(result: ServingResult) -> str:
    if len(result.steps) < 2:
        return ""
    x_label = "sessions" if result.demand.real_time else "requests a second"
    series = [Series(f"p{p:g}", k, _points(result.steps, p)) for k, p in enumerate((50.0, 99.0, 99.9))]
    return line_chart(series, title="Latency against load", x_label=x_label, y_label="latency", y_words=written)


def _points(steps: tuple[Step, ...], percent: float) -> tuple[tuple[float, float], ...]:
    found = {step.value: percentile(step.outcome.latencies, percent) for step in steps}
    return tuple((offered, value / 1e9) for offered, value in sorted(found.items()) if value)
