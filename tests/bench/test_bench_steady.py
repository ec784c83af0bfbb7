"""That the measurements of steadiness measure; their figures are not judged here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fastgru.bench import cold, steady, watch
from fastgru.bench.contender import ours
from fastgru.bench.measure import Plan
from fastgru.bench.problem import gru_problem
from fastgru.bench.report import steady_lines
from fastgru.bench.rivals.other import WorkerError


def test_allocations_are_counted() -> None:
    found = watch.allocations(ours(gru_problem(cold.CASE), 1).call, pushes=200)
    assert found["pushes"] == 200
    assert min(found["kept_bytes"], found["passing_bytes"], found["numba_allocations"]) >= 0


def test_what_a_step_keeps_is_seen() -> None:
    kept: list[bytes] = []
    assert watch.allocations(lambda: kept.append(bytes(1000)), pushes=50)["kept_bytes"] > 50_000


def test_a_model_of_a_file_is_watched() -> None:
    heard: list[str] = []
    problem = gru_problem(cold.CASE)
    found = steady.measure_model(problem, frames=500, seconds=0.05, progress=heard.append)
    assert len(heard) == 3
    assert found["growth"]["frames"] <= 500
    assert found["growth"]["bytes"] is None or found["growth"]["bytes"] < 1 << 24
    lines = list(steady_lines(found))
    assert len(lines) == 4
    assert "resident memory" in lines[-1]
    assert "not told" in next(steady_lines({"growth": {"frames": 1, "bytes": None}}))


def test_a_tail_is_at_least_its_median() -> None:
    found = watch.tail(lambda: None, pushes=500, collector=False)
    assert found["worst"] >= found["p999"] >= found["p99"] >= 1


def test_calls_at_an_interval_are_all_made() -> None:
    made: list[int] = []
    found = watch.paced(lambda: made.append(1), pushes=5, interval_s=0.001)
    assert len(made) == 10  # five of them to warm up
    assert found["p99_s"] >= found["median_s"] > 0


def test_denormals_are_compared(quick_plan: Plan) -> None:
    assert steady.denormals(quick_plan)["ratio"] > 0


def test_all_of_it_becomes_lines(monkeypatch: pytest.MonkeyPatch, quick_plan: Plan) -> None:
    found_cold = {"medians_s": {"fastgru": 0.5}, "absent": {}, "first_compile_s": 5.0}
    monkeypatch.setattr(steady, "cold_start", lambda starts: found_cold)
    monkeypatch.setattr(steady, "_PACED", 3)
    heard: list[str] = []
    found = steady.measure_steadiness(pushes=100, plan=quick_plan, progress=heard.append)
    assert len(heard) == 3
    assert len(list(steady_lines(found))) == 7


def test_a_process_is_timed_to_its_first_output() -> None:
    found = cold.cold_start(1, compile_once=False)
    assert found["medians_s"]["fastgru"] > 0
    assert "first_compile_s" not in found


def test_a_process_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="no such thing"):
        cold._start(Path(sys.executable), "raise SystemExit('no such thing')", [], tmp_path)
