"""Draws the plots of a result. A plot with too few points is ""."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from fastgru.bench.cases import Case
from fastgru.bench.contender import NAME
from fastgru.bench.measure import Timing
from fastgru.bench.plots import Bar, Series, bar_chart, line_chart, mark_chart
from fastgru.bench.result import Row
from fastgru.bench.words import name_of, ratio_of, written

__all__ = ["batch_chart", "call_chart", "long_chart", "overview_chart", "step_chart", "tail_chart"]

_COLOURS: Final = {NAME: 0, "onnxruntime": 1, "openvino": 2, "torch": 3}
_OTHER: Final = 4
_LEAST_POINTS: Final = 4
_LIMIT: Final = "the machine's limit"


def step_chart(rows: Sequence[Row], *, bound: bool = True) -> str:
    """One step of a stream, by H: a line for each contender, and with `bound` one for the machine's limit."""
    return _lines(
        _steps(rows),
        lambda case: case.H,
        lambda _, seconds: seconds,
        bound=bound,
        title="The time of one step against the number of hidden units",
        x_label="hidden units (H)",
        y_label="time of one step (lower is better)",
        y_words=written,
    )


def long_chart(rows: Sequence[Row]) -> str:
    """The time of one frame in a whole sequence of one row, by H."""
    return _lines(
        _long(rows),
        lambda case: case.H,
        lambda case, seconds: seconds / case.T,
        title="The time of a frame in a long sequence against the number of hidden units",
        x_label="hidden units (H)",
        y_label="time of one frame (lower is better)",
        y_words=written,
    )


def batch_chart(rows: Sequence[Row]) -> tuple[str, int]:
    """Frames per second of whole sequences by batch size, and their H, which is the one with the most batch sizes."""
    batches = _batches(rows)
    chart = _lines(
        batches,
        lambda case: case.N,
        lambda case, seconds: case.T * case.N / seconds,
        title="Frames a second against the batch",
        x_label="rows (N)",
        y_label="frames a second (higher is better)",
        y_words=_count,
    )
    return chart, next((row.case.H for row in batches if row.case), 0)


def _steps(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if (c := row.case) and c.kind == "step" and c.N == 1 and c.I == c.H and _is_plain(c)]


def _long(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if (c := row.case) and c.N == 1 and c.T == 100 and _is_sequence(c)]


def _batches(rows: Sequence[Row]) -> list[Row]:
    of_size: dict[int, list[Row]] = {}
    for row in rows:
        if (c := row.case) and _is_sequence(c) and c.T == 50:
            of_size.setdefault(c.H, []).append(row)
    return max(of_size.values(), key=len, default=[])


def _is_plain(case: Case) -> bool:
    return case.precision == "float32" and case.way == "bound"


def _is_sequence(case: Case) -> bool:
    is_one = case.layers == 1 and not case.bidirectional and case.reset_after and not case.lengths
    return case.kind == "sequence" and case.I == case.H and is_one and _is_plain(case)


def _lines(
    rows: Sequence[Row],
    x_of: Callable[[Case], int],
    y_of: Callable[[Case, float], float],
    *,
    bound: bool = True,
    **words: Any,
) -> str:
    """A line for each contender, and one for the machine's limit; "" for too few points."""

    def points(seconds: Callable[[Row], float | None]) -> tuple[tuple[float, float], ...]:
        found = ((row.case, seconds(row)) for row in rows)
        return tuple(sorted((float(x_of(case)), y_of(case, each)) for case, each in found if case and each))

    def timed(engine: str) -> Callable[[Row], float | None]:
        return lambda row: timing.median_s if (timing := _timings(row).get(engine)) else None

    engines = dict.fromkeys(name for row in rows for name in _timings(row))
    lines = [Series(name_of(name), _COLOURS.get(name, _OTHER), points(timed(name))) for name in engines]
    if len(rows) < _LEAST_POINTS or not lines or len(lines[0].points) < _LEAST_POINTS:
        return ""
    if bound:
        limits = points(lambda row: row.bound.seconds if row.bound else None)
        lines.append(Series(_LIMIT, _OTHER, limits, dashed=True))
    return line_chart(lines, **words)


def _timings(row: Row) -> dict[str, Timing]:
    return {} if row.ours is None else {NAME: row.ours, **row.rivals}


def _count(value: float) -> str:
    for unit, scale in (("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.3g}"


def overview_chart(rows: Sequence[Row]) -> str:
    """How many times as long as fastgru each rival takes, for the rows that no line chart shows."""
    drawn = [row for some in (_steps(rows), _long(rows), _batches(rows)) if len(some) >= _LEAST_POINTS for row in some]
    shown = [row for row in rows if row.ratios and row not in drawn]
    if len(shown) < 2:
        return ""
    marks = [(row.title, {name_of(name): found.median for name, found in row.ratios.items()}) for row in shown]
    colours = {name_of(name): _COLOURS.get(name, _OTHER) for row in shown for name in row.ratios}
    return mark_chart(
        marks, colours, title="Rivals beside fastgru", x_label="times as long as fastgru takes", x_words=ratio_of
    )


def call_chart(rows: Sequence[Row]) -> str:
    """The time of a call of each contender, for each number of threads: the median and the rounds."""
    ran = [row for row in rows if row.ours is not None]
    bars = []
    for row in ran:
        of_threads = f", {row.threads} threads" if row.threads > 1 else ", 1 thread" if len(ran) > 1 else ""
        for name, timing in _timings(row).items():
            words = f"{written(timing.median_s)} (p99 {written(timing.p99_s)})"
            colour = _COLOURS.get(name, _OTHER)
            bars.append(Bar(f"{name_of(name)}{of_threads}", timing.median_s, words, colour, timing.rounds))
    return bar_chart(bars, title="The time of one call", x_label="time of one call (lower is better)", x_words=written)


def tail_chart(steady: Mapping[str, Any]) -> str:
    """The tail of the latency: of each contender at an interval, and of ours back to back."""
    series = [
        Series(f"{name_of(name)}, every {1e3 * found['interval_s']:g} ms", _COLOURS.get(name, _OTHER), _tail(found))
        for name, found in steady.get("paced", {}).items()
    ]
    quiet = [found for found in steady.get("tails", ()) if not found["collector"]]
    series += [Series("fastgru, back to back", _OTHER, _tail(found)) for found in quiet]
    return line_chart(
        [s for s in series if len(s.points) >= _LEAST_POINTS],
        title="The tail of the latency",
        x_label="one call in so many takes longer",
        y_label="time of a call (lower is better)",
        y_words=written,
    )


def _tail(found: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    return tuple((float(n), seconds) for n, seconds in found.get("tail_s", ()))
