"""From a result to JSON and back, to the terminal, to a page."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from bench_tools import timing
from rich.console import Console

from fastgru.bench.cases import Case
from fastgru.bench.measure import Plan, Ratio
from fastgru.bench.page import render_page
from fastgru.bench.problem import gru_problem
from fastgru.bench.report import print_report
from fastgru.bench.result import Result, Row
from fastgru.bench.suite import run_suite
from fastgru.bench.words import ratio_of
from fastgru.errors import InvalidModelError
from fastgru.model import Model
from fastgru.precisions import AUTO, WEIGHT_BYTES
from fastgru.terminal import time_of


def test_json_keeps_everything(result: Result) -> None:
    assert Result.from_json(result.to_json()) == result


def test_json_carries_the_derived_figures_too(result: Result) -> None:
    rows = json.loads(result.to_json())["rows"]
    assert rows[0]["ratio"] == pytest.approx(5.0)
    assert rows[0]["share"] == pytest.approx(0.5)
    assert rows[0]["best_rival"] == "onnxruntime"
    assert rows[2]["faults"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "rows": 3}', "nul", "[" * 100_000])
def test_what_is_no_result_is_refused(text: str) -> None:
    with pytest.raises(InvalidModelError, match="bench result"):
        Result.from_json(text)


def test_goals_are_judged(result: Result) -> None:
    met, _, missed, *_, block, refused = result.rows
    assert not met.faults
    assert missed.faults == ["0.50x onnxruntime, the goal is 2x"]
    assert not block.faults
    assert refused.faults == ["refused: 2 threads & more"]


@pytest.mark.parametrize(("median", "missed"), [(0.98, False), (0.9, True), (1.5, False)])
def test_no_slower_than_on_one_thread_is_judged_with_room_for_noise(
    result: Result, median: float, missed: bool
) -> None:
    case = Case("step", 1, 1, 16, 16, own_goals={2: 1.0})
    row = replace(result.rows[0], threads=2, case=case, own_ratio=Ratio(median, median, median))
    assert bool(row.faults) == missed


def test_the_terminal_shows_every_case(result: Result) -> None:
    out = io.StringIO()
    print_report(result, Console(file=out, width=200))
    text = out.getvalue()
    for row in result.rows:
        assert row.title in text
    for words in ("5.00x", "torch: not installed", "the goal is 2x", "105 ns", "50 % L2", "10 pushes", "1.01x"):
        assert words in text


def test_rows_below_float32_show_errors_and_count_rivals_in_float32_only(result: Result) -> None:
    case = Case("step", 1, 1, 64, 64, precision="int8", goals={1: 1.2}, goal_rival="fastgru bfloat16")
    names = ("onnxruntime", "fastgru float32", "fastgru bfloat16", "torch int8")
    ratios = {name: Ratio(r, r, r) for name, r in zip(names, (3.0, 0.9, 1.1, 0.5), strict=True)}
    errors = {"fastgru": 1.234e-2, **dict.fromkeys(names, 2e-7)}
    row = Row(
        case.title, case.slug, 1, case, timing("fastgru", 1e-6), {n: timing(n, 1e-6) for n in names}, ratios,
        errors=errors,
    )  # fmt: skip
    assert row.best_rival == "onnxruntime"
    assert row.faults == [
        "1.10x fastgru bfloat16, the goal is 1.2x", "0.90x our own float32: slower than it"
    ]  # fmt: skip
    shown = replace(result, rows=(row,))
    assert Result.from_json(shown.to_json()) == shown
    out = io.StringIO()
    print_report(shown, Console(file=out, width=250))
    for text in (out.getvalue(), render_page(shown)):
        assert "1e-02" in text
        assert "2e-07" in text


@pytest.mark.parametrize("asked", AUTO)
def test_a_row_of_auto_shows_what_it_came_to_beside_float32(asked: str, quick_plan: Plan) -> None:
    case = Case("sequence", 3, 2, 5, 64, precision=asked)
    (row,) = run_suite([case], rivals=(), plan=quick_plan).rows
    model = Model(gru_problem(case).graph, precision=asked)
    assert row.weights == model.weight_precisions
    (chosen,) = row.weights.values()
    assert row.title == f"{case.title} ({chosen.precision})"
    assert row.widest == chosen.precision
    assert row.bound is not None
    assert row.bound.weight_bytes == WEIGHT_BYTES[chosen.precision] * (192 * 5 + 3 * 192 * 64)
    assert "fastgru float32" in row.ratios


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1.5, "1.5 s"),
        (0.0123, "12.3 ms"),
        (1.234e-5, "12.3 us"),
        (1e-6, "1 us"),
        (2.5e-7, "250 ns"),
        (0.9999, "1000 ms"),
    ],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert time_of(seconds) == words


def test_ratios_in_words() -> None:
    assert [ratio_of(r) for r in (None, 1.234, 12.34, 123.4)] == ["-", "1.23x", "12.3x", "123x"]
