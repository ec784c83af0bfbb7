"""Cases, one after the other, each on every number of threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from fastgru.bench.bounds import bound_of, measure_peaks
from fastgru.bench.cases import SUITES, Case, dtype_of
from fastgru.bench.contender import Contender, UnableError
from fastgru.bench.machine import describe
from fastgru.bench.measure import (
    Outputs,
    Plan,
    check_outputs,
    fastest,
    largest_difference,
    outputs_of,
    ratio,
    take_turns,
)
from fastgru.bench.ours import NAME, ours
from fastgru.bench.problem import Problem, gru_problem
from fastgru.bench.result import Result, Row
from fastgru.bench.rivals import REDUCED, RIVALS, Rival
from fastgru.errors import FastGRUError, VerificationError

__all__ = ["run_problem", "run_suite"]

Progress = Callable[[str], None]


def _silent(message: str) -> None:
    """Nobody asked."""


# How long the idle threads of a rival may go on spinning after its last call: onnxruntime's were seen to for 40 ms.
_SPINNING_S: Final = 0.08

# What ours is compared with, of its own, in a lower precision.
_WIDER: Final[Mapping[str, tuple[str, ...]]] = {"bfloat16": ("float32",), "int8": ("float32", "bfloat16")}


def run_suite(
    cases: Iterable[Case] | str,
    *,
    threads: Sequence[int] = (1,),
    rivals: Sequence[str] = tuple(RIVALS),
    plan: Plan | None = None,
    progress: Progress = _silent,
    on_row: Callable[[Row], None] | None = None,
) -> Result:
    """Measure the cases (or a suite, by name) on each number of threads, ours and the rivals in turn.

    progress is told what is going on; on_row is given each row when it is done, before its bound is known.
    """
    started = time.perf_counter()
    plan = plan or Plan()
    name = cases if isinstance(cases, str) else "chosen"
    chosen = SUITES[cases] if isinstance(cases, str) else tuple(cases)
    machine = describe(rivals)  # first, for the load is to be that of others
    progress("measuring what the machine can do")
    before = measure_peaks(threads) if chosen else []
    rows: list[Row] = []
    row_steps: list[float | None] = []
    for number, case in enumerate(chosen, 1):
        progress(f"{number} of {len(chosen)}: {case.title}")
        problem = gru_problem(case)
        for each in before:
            row = run_problem(problem, case.title, each.threads, [RIVALS[r] for r in rivals], plan)
            row_steps.append(_row_steps(problem))
            rows.append(row)
            if on_row is not None:
                on_row(row)
    progress("measuring once more what the machine can do")
    after = measure_peaks(threads) if chosen else []
    peaks = {a.threads: a.best_with(b) for a, b in zip(before, after, strict=True)}
    bounded = [
        replace(row, bound=bound_of(row.case, peaks[row.threads], steps)) if row.case is not None else row
        for row, steps in zip(rows, row_steps, strict=True)
    ]
    return Result(name, machine, tuple(peaks.values()), tuple(bounded), time.perf_counter() - started)


def run_problem(problem: Problem, title: str, threads: int, rivals: Sequence[Rival], plan: Plan) -> Row:
    """One row: who cannot run it says so in the row, who gives other numbers too, and nobody is timed before that."""
    if threads > 1:
        plan = replace(plan, settle_s=max(plan.settle_s, _SPINNING_S))
        time.sleep(_SPINNING_S)  # ours measures whether a team pays when it first runs
    fields: dict[str, Any] = {"title": title, "slug": problem.name, "threads": threads, "case": problem.case}
    errors: dict[str, float] = {}
    try:
        own = [ours(problem, n) for n in ([threads] if threads == 1 else [threads, 1])]
        for contender in own:
            made = _verified(contender, problem, problem.precision)
        errors[NAME] = largest_difference(made, problem.expected)
        wider = [ours(problem, threads, p) for p in _WIDER.get(problem.precision, ())]
        for contender, precision in zip(wider, _WIDER.get(problem.precision, ()), strict=True):
            errors[contender.name] = largest_difference(_verified(contender, problem, precision), problem.expected)
    except UnableError as error:
        return Row(**fields, ours=None, trouble=f"refused: {error}")
    except FastGRUError as error:
        return Row(**fields, ours=None, trouble=str(error))
    chosen: dict[str, Contender] = {contender.name: contender for contender in wider}
    absent: dict[str, str] = {}
    reduced = problem.precision in _WIDER
    for rival in [*rivals, *(_reduced_of(rivals) if reduced else [])]:
        precision = rival.name.partition(" ")[2] or dtype_of(problem.precision)
        try:
            contender, got = _best_configuration(rival, problem, threads, None if reduced else made, precision, plan)
        except UnableError as error:
            absent[rival.name] = str(error)
            continue
        chosen[rival.name] = replace(contender, name=rival.name)
        errors[rival.name] = largest_difference(got, problem.expected)
    timed = take_turns([*own, *chosen.values()], plan)
    first, others = timed[0], dict(zip(chosen, timed[len(own) :], strict=True))
    return Row(
        **fields,
        ours=first,
        rivals=others,
        ratios={name: ratio(first, timing) for name, timing in others.items()},
        absent=absent,
        own_ratio=ratio(first, timed[1]) if len(own) > 1 else None,
        errors=errors,
    )


def _reduced_of(rivals: Sequence[Rival]) -> list[Rival]:
    """The same engines in their lower precisions."""
    packages = {rival.package for rival in rivals}
    return [rival for rival in REDUCED.values() if rival.package in packages]


def _verified(contender: Contender, problem: Problem, precision: str) -> Outputs:
    got = outputs_of(contender, problem)
    check_outputs(got, problem.expected, who=contender.label, against="the float64 definition", precision=precision)
    return got


def _best_configuration(
    rival: Rival, problem: Problem, threads: int, made: Outputs | None, precision: str, plan: Plan
) -> tuple[Contender, Outputs]:
    """The fastest of the rival's configurations that give the definition's numbers, and ours where `made` has them."""
    equal, outputs, fault = [], [], ""
    for contender in rival.contenders(problem, threads):
        try:
            got = _verified(contender, problem, precision)
            if made is not None:
                check_outputs(got, made, who=contender.label, against=NAME, precision=problem.precision)
            equal.append(contender)
            outputs.append(got)
        except VerificationError as error:
            fault = str(error)
        except Exception as error:  # another project's code
            fault = f"{contender.label} fails: {' '.join(str(error).split())[:200]}"
    if not equal:
        raise UnableError(fault)
    best = fastest(equal, plan)
    return best, outputs[equal.index(best)]


def _row_steps(problem: Problem) -> float | None:
    lengths = problem.feeds.get("lengths")
    return None if lengths is None else float(lengths.sum())
