"""That the measurements of steadiness measure; their figures are not judged here."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from bench_tools import CASES, write_model

from fastgru.bench import cold, steady, watch
from fastgru.bench.contender import ours
from fastgru.bench.measure import Plan
from fastgru.bench.model_file import file_problem
from fastgru.bench.problem import gru_problem
from fastgru.bench.rivals.other import WorkerError
from fastgru.bench.steady_words import steady_facts, steady_tables


def test_allocations_are_counted() -> None:
    found = watch.allocations(ours(gru_problem(cold.CASE), 1).call, pushes=200)
    assert found["pushes"] == 200
    assert min(found["kept_bytes"], found["passing_bytes"], found["numba_allocations"]) >= 0


def test_what_a_step_keeps_is_seen() -> None:
    kept: list[bytes] = []
    assert watch.allocations(lambda: kept.append(bytes(1000)), pushes=50)["kept_bytes"] > 50_000


def test_a_model_of_a_file_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_plan: Plan) -> None:
    heard: list[str] = []
    path = write_model(tmp_path, CASES[0])
    pace = steady.Pace(interval_s=0.001, pushes=10, plan=quick_plan)
    problem = file_problem(path, {})
    found = steady.measure_model(problem, pace, frames=500, seconds=0.05, starts=1, progress=heard.append)
    assert len(heard) == 4
    assert found["growth"]["frames"] <= 500
    assert found["growth"]["bytes"] is None or found["growth"]["bytes"] < 1 << 24
    assert found["first"]["first_s"] > 0
    assert list(found["paced"]) == ["fastgru"]
    names = [name for name, _ in steady_facts(found)]
    assert len(names) == 3
    assert len(list(steady_tables(found))) == 2
    assert "does not report" in next(steady_facts({"growth": {"frames": 1, "bytes": None}}))[1]


def test_a_tail_is_at_least_its_median() -> None:
    found = watch.tail(lambda: None, pushes=500, collector=False)
    assert found["worst"] >= found["p999"] >= found["p99"] >= 1


def test_calls_at_an_interval_are_all_made() -> None:
    made: list[int] = []
    found = watch.paced(lambda: made.append(1), pushes=5, interval_s=0.001)
    assert len(made) == 10  # five of them to warm up
    assert found["largest_s"] >= found["p99_s"] >= found["median_s"] > 0
    assert found["woken_late_s"] >= 0
    assert [n for n, _ in found["tail_s"]] == [2, 4, 5]
    assert [seconds for _, seconds in found["tail_s"]][-1] == found["largest_s"]


def test_a_call_that_takes_longer_than_the_interval_misses_its_deadline() -> None:
    found = watch.paced(lambda: time.sleep(0.003), pushes=4, interval_s=0.001)
    assert found["missed"] == 4


def test_rivals_are_paced_too_and_those_that_cannot_say_why(quick_plan: Plan) -> None:
    pytest.importorskip("onnxruntime")
    before = gru_problem(replace(cold.CASE, reset_after=False))
    pace = steady.Pace(("onnxruntime", "torch"), 0.001, 5, quick_plan)
    found = steady.paced_calls(before, pace, lambda _: None)
    assert list(found["paced"]) == ["fastgru", "onnxruntime"]
    assert list(found["absent"]) == ["torch"]


def test_denormals_are_compared(quick_plan: Plan) -> None:
    assert steady.denormals(quick_plan)["ratio"] > 0


def test_all_of_it_becomes_words(monkeypatch: pytest.MonkeyPatch, quick_plan: Plan) -> None:
    found_cold = {"medians_s": {"fastgru": 0.5}, "least_s": {"fastgru": 0.4}, "absent": {}, "first_compile_s": 5.0}
    monkeypatch.setattr(steady, "cold_start", lambda starts: found_cold)
    heard: list[str] = []
    pace = steady.Pace(interval_s=0.001, pushes=5, plan=quick_plan)
    found = steady.measure_steadiness(pace, pushes=100, starts=1, progress=heard.append)
    assert len(heard) == 4
    assert len(list(steady_tables(found))) == 3
    assert len(list(steady_facts(found))) == 3


def test_the_first_call_of_a_process_is_timed_with_and_without_a_warm_up() -> None:
    found = cold.first_calls(1, calls=5)
    assert found["largest_s"] == found["first_s"] > 0
    assert found["warmed_s"] > 0
    assert found["later_s"] > 0


def test_a_process_is_timed_to_its_first_output() -> None:
    found = cold.cold_start(1, compile_once=False)
    assert found["medians_s"]["fastgru"] > 0
    assert "first_compile_s" not in found


def test_a_process_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="no such thing"):
        cold._start(Path(sys.executable), "raise SystemExit('no such thing')", [], tmp_path)
