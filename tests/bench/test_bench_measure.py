"""Verification before timing, turns, ratios; on contenders that only pretend."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from bench_tools import CASES, timing

from fastgru.bench.cases import Case
from fastgru.bench.contender import Contender, UnableError, ours
from fastgru.bench.measure import Plan, Timing, check_outputs, fastest, outputs_of, ratio, take_turns
from fastgru.bench.problem import Problem, gru_problem
from fastgru.bench.rivals import Rival
from fastgru.bench.suite import run_problem
from fastgru.bench.words import threads_of
from fastgru.errors import VerificationError


@pytest.fixture
def problem() -> Problem:
    return gru_problem(CASES[1])


def pretend(name: str, outputs: dict[str, np.ndarray]) -> Contender:
    return Contender(name, "", lambda: None, lambda: outputs)


def rival_of(*contenders: Contender, name: str = "rival") -> Rival:
    class Installed(Rival):
        def contenders(self, problem: Problem, threads: int) -> list[Contender]:
            if not contenders:
                raise UnableError("no reason in particular")
            return list(contenders)

    return Installed(name, name.split()[0], lambda problem, threads: [], has_isa_switch=False)


def test_a_ratio_is_taken_within_each_round() -> None:
    ours_ = replace(timing("a", 1.0), rounds=(1.0, 2.0, 4.0))
    theirs = replace(timing("b", 1.0), rounds=(3.0, 4.0, 12.0))  # the machine slows down under both
    found = ratio(ours_, theirs)
    assert (found.low, found.median, found.high) == (2.5, 3.0, 3.0)


def test_turns_alternate_and_every_round_begins_with_another(quick_plan: Plan) -> None:
    heard: list[str] = []

    def contender(name: str) -> Contender:
        @contextmanager
        def around() -> Iterator[None]:
            heard.append(name)
            yield

        return Contender(name, "s", lambda: None, dict, around=around)

    timings = take_turns([contender(n) for n in "abc"], replace(quick_plan, rounds=3))
    assert "".join(heard) == "abc" + "abc" + "bca" + "cab"  # estimates first
    assert [t.name for t in timings] == ["a", "b", "c"]
    assert all(len(t.rounds) == 3 and t.median_s > 0 and t.p99_s > 0 for t in timings)


@pytest.mark.parametrize("collect", [True, False])
def test_the_collector_is_as_the_plan_says_and_as_it_was_after(quick_plan: Plan, collect: bool) -> None:
    seen = set()
    contender = Contender("a", "", lambda: seen.add(gc.isenabled()), dict)
    assert gc.isenabled()
    take_turns([contender], replace(quick_plan, collect=collect))
    assert seen == {collect}
    assert gc.isenabled()


def test_the_fastest_is_chosen_by_its_time(quick_plan: Plan) -> None:
    quick, slow = pretend("quick", {}), Contender("slow", "", lambda: sum(range(20_000)), dict)
    assert fastest([slow, quick], quick_plan) is quick


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.slug)
def test_ours_gives_the_expected_outputs(case: Case) -> None:
    problem = gru_problem(case)
    contender = ours(problem, 1)
    for _ in range(2):  # `reset` brings the second run to where the first began
        got = outputs_of(contender, problem)
        check_outputs(got, problem.expected, who="ours", against="float64", precision="float32")


def test_a_problem_is_the_same_each_time_and_another_for_another_case() -> None:
    first, second, other = (gru_problem(c) for c in (CASES[1], CASES[1], CASES[2]))
    assert np.array_equal(first.feeds["x"], second.feeds["x"])
    assert not np.array_equal(first.feeds["x"], other.feeds["x"])


def test_present_writes_in_place() -> None:
    problem = gru_problem(CASES[0])
    array = problem.feeds["x"]
    problem.present(1)
    assert problem.feeds["x"] is array
    assert np.array_equal(array, problem.frames[1]["x"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y: y + 1e-3, "differs"),
        (np.zeros_like, "differs"),
        (lambda y: y[:-1], "differs"),
        (lambda y: np.full_like(y, np.nan), "differs"),
    ],
)
def test_outputs_that_differ_are_refused(problem: Problem, change: object, words: str) -> None:
    wrong = {"y": change(problem.expected[0]["y"]), "h_n": problem.expected[0]["h_n"]}  # type: ignore[operator]
    with pytest.raises(VerificationError, match=words):
        check_outputs([wrong], problem.expected, who="rival", against="float64", precision="float32")


def test_outputs_that_are_missing_are_refused(problem: Problem) -> None:
    with pytest.raises(VerificationError, match="expected"):
        check_outputs(
            [{"h_n": problem.expected[0]["h_n"]}], problem.expected, who="r", against="a", precision="float32"
        )


def test_a_row_times_only_those_who_give_our_numbers(problem: Problem, quick_plan: Plan) -> None:
    right = pretend("right", dict(problem.expected[0]))
    wrong = pretend("wrong", {name: a + 1 for name, a in problem.expected[0].items()})

    def fails() -> None:
        raise RuntimeError("broken\nin two lines")

    rivals = [
        rival_of(wrong, right, name="right"),
        rival_of(wrong, name="wrong"),
        rival_of(name="absent"),
        rival_of(Contender("failing", "", fails, dict), name="failing"),
    ]
    row = run_problem(problem, "a title", 1, rivals, quick_plan)
    assert row.ours is not None
    assert list(row.rivals) == ["right"]
    assert "differs from the float64 definition" in row.absent["wrong"]
    assert row.absent["absent"] == "no reason in particular"
    assert "broken in two lines" in row.absent["failing"]
    assert row.best_rival == "right"
    assert not row.trouble


def test_when_ours_is_wrong_nothing_is_timed(problem: Problem, quick_plan: Plan) -> None:
    problem.expected = [{name: a + 1 for name, a in problem.expected[0].items()}]
    right = rival_of(pretend("right", dict(problem.expected[0])))
    row = run_problem(problem, "a title", 1, [right], quick_plan)
    assert row.ours is None
    assert not row.rivals
    assert "differs" in row.trouble


def test_a_refused_number_of_threads_is_a_row(problem: Problem, quick_plan: Plan) -> None:
    problem.precision = "no such precision"
    row = run_problem(problem, "a title", 1, [], quick_plan)
    assert row.trouble.startswith("refused: ")


@pytest.mark.skipif(os.name != "posix", reason="no teams here")
def test_workers_that_look_out_are_told_of(problem: Problem, quick_plan: Plan) -> None:
    row = run_problem(problem, "a title", 2, [], replace(quick_plan, spin_us=50))
    assert row.ours is not None
    assert row.ours.setting == threads_of([row]) == "2 threads, spinning 50 us"
    assert row.own_ratio is not None


def test_a_timing_is_of_single_calls_where_they_are_long(quick_plan: Plan) -> None:
    (found,) = take_turns([Contender("a", "", lambda: sum(range(50_000)), dict)], quick_plan)
    assert isinstance(found, Timing)
    assert found.p99_s > 1e-5
