"""tools/bench_goals.py: which goals a result misses, and that they are of cases that there are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from bench_tools import timing
from pages import load_tool

from fastgru.bench.cases import SUITES, Case
from fastgru.bench.measure import Ratio
from fastgru.bench.result import Result, Row

tool = load_tool("bench_goals")


def row_of(case: Case, threads: int = 1, own: float | None = None, **ratios: float) -> Row:
    found = {name.replace("_", " "): Ratio(value, value, value) for name, value in ratios.items()}
    own_ratio = None if own is None else Ratio(own, own, own)
    return Row(case.title, case.slug, threads, case, timing("fastgru", 1e-6), {}, found, own_ratio=own_ratio)


def test_goals_are_of_cases_that_are_measured() -> None:
    slugs = {case.slug for name in ("full", "precision") for case in SUITES[name]}
    assert set(tool.GOALS) | set(tool.OVER) | set(tool.OWN) <= slugs
    assert all(goal >= 1 for goals in tool.GOALS.values() for goal in goals)


@pytest.mark.parametrize(
    ("row", "missed"),
    [
        (row_of(Case("step", 1, 1, 64, 64), onnxruntime=5), []),
        (row_of(Case("step", 1, 1, 64, 64), onnxruntime=3), ["3.00x onnxruntime, the goal is 4.5x"]),
        (row_of(Case("step", 1, 1, 64, 64), 2, onnxruntime=3), []),
        (row_of(Case("step", 1, 1, 64, 64), 4, onnxruntime=0.1), []),
        (row_of(Case("step", 1, 1, 7, 7), onnxruntime=0.9), ["0.90x onnxruntime, the goal is 1x"]),
        (row_of(Case("step", 1, 1, 64, 64), 2, 0.98), []),
        (row_of(Case("step", 1, 1, 64, 64), 2, 0.9), ["0.90x our own one thread, the goal is 1x"]),
        (row_of(Case("sequence", 50, 1, 64, 64), 2, 0.9), []),
        (row_of(Case("block", 1000, 1, 8, 8), onnxruntime=60, openvino=2), []),
        (
            row_of(Case("sequence", 50, 32, 128, 128, precision="int8"), fastgru_float32=0.9, fastgru_bfloat16=1.1),
            ["1.10x fastgru bfloat16, the goal is 1.2x", "0.90x our own float32: slower than it"],
        ),
        (replace(row_of(Case("step", 1, 1, 64, 64)), ours=None, trouble="refused"), ["refused"]),
    ],
)
def test_what_misses_a_goal(row: Row, missed: list[str]) -> None:
    assert list(tool.misses(row)) == missed


def test_from_the_command_line(result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.json"
    path.write_text(result.to_json(), encoding="utf-8")
    assert tool.main([str(path)]) == 1
    assert "0.50x onnxruntime, the goal is 2.8x" in capsys.readouterr().out
    path.write_text(replace(result, rows=result.rows[:1]).to_json(), encoding="utf-8")
    assert tool.main([str(path)]) == 0
    assert tool.main([]) == tool.main([str(tmp_path / "none.json")]) == 2
