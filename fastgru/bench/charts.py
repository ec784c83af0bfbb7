"""What the plots of a result show."""

from collections.abc import Sequence
from typing import Final

from fastgru.bench.contender import NAME
from fastgru.bench.plots import Series, line_chart
from fastgru.bench.result import Row
from fastgru.bench.words import name_of, written

__all__ = ["COLOURS", "step_chart"]

COLOURS: Final = {NAME: 0, "onnxruntime": 1, "openvino": 2, "torch": 3}
_OTHER: Final = 4


def step_chart(rows: Sequence[Row], *, bound: bool = True) -> str:
    """One step of a stream, by H: a line for each contender, and with `bound` one for the machine's limit."""
    steps = [row for row in rows if (c := row.case) and c.kind == "step" and c.N == 1 and c.I == c.H]
    series = []
    for engine in [NAME, *dict.fromkeys(name for row in steps for name in row.rivals)]:
        timings = [(row.case, row.ours if engine == NAME else row.rivals.get(engine)) for row in steps]
        points = sorted((float(case.H), timing.median_s) for case, timing in timings if case and timing)
        series.append(Series(name_of(engine), COLOURS.get(engine, _OTHER), tuple(points)))
    if bound:
        bounds = sorted((float(row.case.H), row.bound.seconds) for row in steps if row.case and row.bound)
        series.append(Series("the machine's limit", _OTHER, tuple(bounds), dashed=True))
    return line_chart(
        series,
        title="The time of one step against the number of hidden units",
        x_label="hidden units (H)",
        y_label="time of one step (lower is better)",
        y_words=written,
    )
