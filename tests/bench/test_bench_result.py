"""From a result to JSON and back, to the terminal, to a page."""

from __future__ import annotations

import io
import json
import re
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
from fastgru.bench.words import absences, legend_of, ratio_of, table_of, versions_line
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


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "rows": 3}', "nul", "[" * 100_000])
def test_what_is_no_result_is_refused(text: str) -> None:
    with pytest.raises(InvalidModelError, match="bench result"):
        Result.from_json(text)


def test_the_terminal_shows_every_case(result: Result) -> None:
    out = io.StringIO()
    print_report(result, Console(file=out, width=200))
    text = out.getvalue()
    for row in result.rows:
        assert row.title in text
    for words in ("5.00x", "PyTorch: not installed", "105 ns", "50 % L2", "10 calls", "1.01x", "refused: 2 threads"):
        assert words in text
    for words in ("woken late", "20 calls, one due every 10 ms", "after warm_up 5 us", "hidden units"):
        assert words in text
    assert "goal" not in text


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_word_or_number_of_the_terminal_is_cut(result: Result, width: int) -> None:
    out = io.StringIO()
    print_report(result, Console(file=out, width=width))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width
    whole = io.StringIO()
    print_report(result, Console(file=whole, width=300))
    words = " ".join(text.split())
    text = re.sub(r"Not shown for lack of room: [^.]*\. --wide shows everything\.|─+", "", words)
    assert set(text.split()) <= set(whole.getvalue().split())
    for row in result.rows:
        assert set(row.title.split()) <= set(text.split())


def test_only_a_rival_that_is_faster_is_red(result: Result) -> None:
    (_, lines) = table_of(result.rows)
    kinds = {line[0].words: [cell.kind for cell in line if cell.more] for line in lines}
    assert kinds["step N=1 H=16"] == ["good"]
    assert kinds["step N=1 H=256"] == ["bad"]
    level = replace(result.rows[0], ratios={"onnxruntime": Ratio(1.01, 0.99, 1.02)})
    ((line,)) = table_of([level])[1]
    assert [cell.kind for cell in line if cell.more] == [""]


def test_rivals_that_are_absent_have_no_column_and_no_version(result: Result) -> None:
    heads, _ = table_of(result.rows)
    assert "onnxruntime" in heads
    assert "torch" not in heads
    assert "torch" not in versions_line(result.machine)


def test_why_a_rival_is_absent_is_said_once(result: Result) -> None:
    gone = "not installed (pip install torch)"
    absent = {"torch": gone, "torch int8": gone, "torch bfloat16": "no bfloat16 here"}
    steady = {**(result.steady or {}), "absent": {"torch": gone}}
    shown = replace(result, rows=tuple(replace(row, absent=absent) for row in result.rows), steady=steady)
    assert absences(shown.rows) == [f"PyTorch: {gone}", "PyTorch bfloat16: no bfloat16 here"]
    out = io.StringIO()
    print_report(shown, Console(file=out, width=200))
    assert out.getvalue().count(gone) == 1


def test_every_symbol_of_a_table_is_explained(result: Result) -> None:
    heads, lines = table_of(result.rows)
    explained = dict(legend_of(result.rows))
    assert set(heads) - set(explained) == {"case", "onnxruntime"}
    for line in lines[:-1]:
        assert line[0].words.split()[0] in {"step", "T=50", "block"}
    assert {"step", "T=...", "block", "T, N, I, H"} <= set(explained)


def test_rows_below_float32_show_errors_and_count_rivals_in_float32_only(result: Result) -> None:
    case = Case("step", 1, 1, 64, 64, precision="int8")
    names = ("onnxruntime", "fastgru float32", "fastgru bfloat16", "torch int8")
    ratios = {name: Ratio(r, r, r) for name, r in zip(names, (3.0, 0.9, 1.1, 0.5), strict=True)}
    errors = {"fastgru": 1.234e-2, **dict.fromkeys(names, 2e-7)}
    row = Row(
        case.title, case.slug, 1, case, timing("fastgru", 1e-6), {n: timing(n, 1e-6) for n in names}, ratios,
        errors=errors,
    )  # fmt: skip
    assert row.best_rival == "onnxruntime"
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
