"""That the measurements of steadiness measure; their figures are not judged here."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastgru.bench import steady
from fastgru.bench.contender import Contender
from fastgru.bench.measure import Plan
from fastgru.bench.problem import gru_problem
from fastgru.bench.report import steady_lines


def test_allocations_are_counted() -> None:
    found = steady.allocations(200)
    assert found["pushes"] == 200
    assert min(found["kept_bytes"], found["passing_bytes"], found["numba_allocations"]) >= 0


def test_what_a_step_keeps_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bytes] = []
    leaking = Contender("leaking", "", lambda: kept.append(bytes(1000)), dict)
    monkeypatch.setattr(steady, "ours", lambda problem, threads: leaking)
    assert steady.allocations(50)["kept_bytes"] > 50_000


def test_a_model_of_a_file_is_watched() -> None:
    heard: list[str] = []
    problem = gru_problem(steady._CASE)
    found = steady.measure_model(problem, frames=500, seconds=0.05, progress=heard.append)
    assert len(heard) == 3
    assert found["growth"]["frames"] <= 500
    assert found["growth"]["bytes"] is None or found["growth"]["bytes"] < 1 << 24
    lines = list(steady_lines(found))
    assert len(lines) == 4
    assert "resident memory" in lines[-1]
    assert "not told" in next(steady_lines({"growth": {"frames": 1, "bytes": None}}))


def test_a_tail_is_at_least_its_median() -> None:
    found = steady.tail(500, collector=False)
    assert found["worst"] >= found["p999"] >= found["p99"] >= 1


def test_denormals_are_compared(quick_plan: Plan) -> None:
    assert steady.denormals(quick_plan)["ratio"] > 0


def test_all_of_it_becomes_lines(monkeypatch: pytest.MonkeyPatch, quick_plan: Plan) -> None:
    cold = {"medians_s": {"fastgru": 0.5}, "absent": {}, "first_compile_s": 5.0}
    monkeypatch.setattr(steady, "cold_start", lambda starts: cold)
    heard: list[str] = []
    found = steady.measure_steadiness(pushes=100, plan=quick_plan, progress=heard.append)
    assert len(heard) == 4
    assert len(list(steady_lines(found))) == 6


def test_a_process_is_timed_to_its_first_output() -> None:
    found = steady.cold_start(1, compile_once=False)
    assert found["medians_s"]["fastgru"] > 0
    assert "first_compile_s" not in found


def test_a_process_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no such thing"):
        steady._start("raise SystemExit('no such thing')", tmp_path)
