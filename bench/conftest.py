"""Fixtures of the benchmarks: `pytest bench/` times the cases of `fastgru.bench.cases`, each engine on its own.

For reliable ratios use `fastgru bench`, which times the engines in turns.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest

from fastgru.bench.cases import Case
from fastgru.bench.contender import NAME, Contender, UnableError, ours
from fastgru.bench.measure import Plan, check_outputs, fastest, outputs_of
from fastgru.bench.problem import Problem, gru_problem
from fastgru.bench.rivals import RIVALS


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--threads", type=int, default=1, help="threads of a call, ours and the rivals'")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" in metafunc.fixturenames:
        metafunc.parametrize("engine", [NAME, *RIVALS])


@lru_cache(maxsize=1)  # the tests of one case run one after the other
def _problem(case: Case) -> Problem:
    return gru_problem(case)


def _contender(problem: Problem, engine: str, threads: int) -> Contender:
    found = [ours(problem, threads)] if engine == NAME else RIVALS[engine].contenders(problem, threads)
    for contender in found:
        check_outputs(
            outputs_of(contender, problem),
            problem.expected,
            who=contender.label,
            against="the float64 definition",
            precision=problem.precision,
        )
    return fastest(found, Plan(rounds=3, turn_s=0.01))


@pytest.fixture
def measure(benchmark: Any, request: pytest.FixtureRequest, engine: str) -> Callable[[Case], None]:
    """Verify a case on the engine of the test, then time it. Skip the test if the engine cannot run the case."""

    def run(case: Case) -> None:
        try:
            contender = _contender(_problem(case), engine, request.config.getoption("--threads"))
        except UnableError as error:
            pytest.skip(f"{engine}: {error}")
        benchmark.group = case.title
        benchmark.extra_info["setting"] = contender.setting
        with contender.around():
            benchmark(contender.call)

    return run
