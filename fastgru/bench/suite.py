"""Runs cases one after the other, each on every number of threads."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from fastgru.bench.bounds import Peaks, bound_of, measure_peaks
from fastgru.bench.cases import SUITES, Case
from fastgru.bench.comparison import Comparison, Repeat
from fastgru.bench.contender import NAME, Contender, UnableError, ours
from fastgru.bench.machine import describe
from fastgru.bench.measure import (
    SPINNING_S,
    Outputs,
    Plan,
    Ratio,
    check_outputs,
    fastest,
    largest_difference,
    outputs_of,
    pooled,
    ratio,
    same_bits,
    take_turns,
)
from fastgru.bench.model_file import ModelCase
from fastgru.bench.problem import Problem, gru_problem
from fastgru.bench.result import Result, Row
from fastgru.bench.rivals import REDUCED, RIVALS, Rival
from fastgru.bench.rivals.other import OTHER, Sides, WorkerError
from fastgru.errors import FastGRUError, VerificationError

__all__ = ["best_configuration", "compare", "run_problem", "run_suite"]

# A repeat has enough pairs if the error of their median is small, or if it has taken long. Long calls vary little
# between pairs, so a smaller number of pairs is enough for them.
_LEAST_PAIRS, _LEAST_OF_LONG = 5, 3
_ERROR: Final = 0.01
_LONG_S, _MOST_S = 5.0, 15.0

Progress = Callable[[str], None]


def _silent(_: object) -> None:
    """Ignore the message."""


# The wider precisions of ours with which a lower precision is compared.
_WIDER: Final[Mapping[str, tuple[str, ...]]] = {
    "bfloat16": ("float32",),
    "int8": ("float32", "bfloat16"),
    "auto": ("float32",),
    "auto-int8": ("float32", "bfloat16"),
}


def run_suite(
    cases: Iterable[Case | ModelCase] | str,
    *,
    name: str = "chosen",
    threads: Sequence[int] = (1,),
    rivals: Sequence[str] = tuple(RIVALS),
    plan: Plan | None = None,
    against: Path | None = None,
    progress: Progress = _silent,
    on_row: Callable[[Row], None] = _silent,
) -> Result:
    """Measure the cases (or a suite, by name) on each number of threads, with ours and the rivals in turns.

    progress: called with what is going on. on_row: called with each finished row, before its bound is known. A model
    whose file is refused has a row, too.
    """
    started = time.perf_counter()
    if isinstance(cases, str):
        name, cases = cases, SUITES[cases]
    chosen = tuple(cases)
    machine = describe(rivals)  # first, because the load must be that of other processes
    has_bounds = against is None and any(isinstance(case, Case) for case in chosen)
    before = _peaks(threads, "measuring what the machine can do", progress) if has_bounds else {}
    measured: list[tuple[Row, float | None]] = []
    for number, case in enumerate(chosen, 1):
        progress(f"{number} of {len(chosen)}: {case.title}")
        for row, steps in _rows(case, threads, [RIVALS[r] for r in rivals], plan or Plan(), against):
            measured.append((row, steps))
            on_row(row)
    after = _peaks(threads, "measuring once more what the machine can do", progress) if before else {}
    peaks = {n: after[n].best_with(each) for n, each in before.items()}
    bounded = [
        replace(row, bound=bound_of(row.case, peaks[row.threads], steps, row.widest))
        if peaks and row.case is not None
        else row
        for row, steps in measured
    ]
    return Result(name, machine, tuple(peaks.values()), tuple(bounded), time.perf_counter() - started)


def _rows(
    case: Case | ModelCase, threads: Sequence[int], rivals: Sequence[Rival], plan: Plan, against: Path | None
) -> Iterator[tuple[Row, float | None]]:
    """Yield a row for each number of threads, with the sum of the steps if its rows have lengths."""
    try:
        problem = gru_problem(case) if isinstance(case, Case) else case.make()
    except FastGRUError as error:
        yield from ((Row(case.title, case.slug, n, None, None, trouble=f"refused: {error}"), None) for n in threads)
        return
    lengths = problem.feeds.get("lengths") if isinstance(case, Case) else None
    auto = ", ".join(dict.fromkeys(each.precision for each in problem.weights.values()))
    title = f"{case.title} ({auto})" if auto else case.title
    for n in threads:
        row = run_problem(problem, title, n, rivals, plan, against)
        yield replace(row, slug=case.slug), None if lengths is None else float(lengths.sum())


def _peaks(threads: Sequence[int], what: str, progress: Progress) -> dict[int, Peaks]:
    progress(what)
    return {n: measure_peaks(n) for n in threads}


def run_problem(
    problem: Problem, title: str, threads: int, rivals: Sequence[Rival], plan: Plan, against: Path | None = None
) -> Row:
    """Measure one row, which also lists the contenders that cannot run or give other numbers.

    All are checked before any timing.

    against: an interpreter with another fastgru, which is one more rival. Both then run in processes of their own.
    """
    if against is None:
        return _measured(problem, title, threads, rivals, plan)
    return compare(
        against,
        lambda sides, first: _measured(problem, title, threads, [sides.rival, *(rivals if first else ())], plan, sides),
    )


def compare(python: Path, measure: Callable[[Sides, bool], Row]) -> Row:
    """Return the row of as many pairs as the verdict needs. measure: (sides, whether it is the first) -> a row."""
    rows: list[Row] = []
    pairs: list[Comparison] = []
    repeats: list[Repeat] = []
    while not repeats or not Comparison(tuple(repeats), True).decided:
        started, begin = time.perf_counter(), len(rows)
        while not _enough([pair.ratio for pair in pairs[begin:]], time.perf_counter() - started):
            with Sides(python) as sides:
                row = measure(sides, not rows)
            if row.other is None:
                return row
            rows.append(row)
            pairs.append(row.other)
        repeats.append(Repeat(tuple(pair.ratio for pair in pairs[begin:])))
    low, middle, high = np.percentile([pair.ratio for pair in pairs], [25, 50, 75])
    return replace(
        rows[0],
        ours=pooled([row.ours for row in rows if row.ours is not None]),
        rivals={**rows[0].rivals, OTHER: pooled([row.rivals[OTHER] for row in rows])},
        ratios={**rows[0].ratios, OTHER: Ratio(float(middle), float(low), float(high))},
        other=Comparison(tuple(repeats), all(pair.same_bits for pair in pairs)),
    )


def _enough(ratios: Sequence[float], elapsed_s: float) -> bool:
    """Return True if a repeat is complete. This ignores where the ratios lie, so that no result ends it more easily."""
    if len(ratios) < (_LEAST_PAIRS if elapsed_s < _LONG_S else _LEAST_OF_LONG):
        return False
    return elapsed_s > _MOST_S or Repeat(tuple(ratios)).error <= _ERROR


def _measured(
    problem: Problem, title: str, threads: int, rivals: Sequence[Rival], plan: Plan, sides: Sides | None = None
) -> Row:
    if threads > 1:
        plan = plan.rested
        time.sleep(SPINNING_S)  # when a team first runs, ours measures whether it pays
    fields: dict[str, Any] = {"title": title, "slug": problem.name, "threads": threads, "case": problem.case}
    fields["weights"] = problem.weights
    errors: dict[str, float] = {}
    equal = False
    try:
        # Next to another fastgru, only what was asked for is timed, so that the two take turns directly.
        counts = [threads] if threads == 1 or sides is not None else [threads, 1]
        own = [ours(problem, n, None, plan.spin_us) if sides is None else sides.ours(problem, n) for n in counts]
        for contender in own:
            made = _verified(contender, problem, problem.rounding)
        errors[NAME] = largest_difference(made, problem.expected)
        precisions = _WIDER.get(problem.precision, ()) if sides is None else ()
        wider = [ours(problem, threads, p, plan.spin_us) for p in precisions]
        for contender, precision in zip(wider, precisions, strict=True):
            errors[contender.name] = largest_difference(_verified(contender, problem, precision), problem.expected)
    except FastGRUError as error:
        return Row(**fields, ours=None, trouble=f"refused: {error}" if isinstance(error, UnableError) else str(error))
    chosen: dict[str, Contender] = {contender.name: contender for contender in wider}
    absent: dict[str, str] = {}
    reduced = problem.precision in _WIDER
    packages = {rival.package for rival in rivals if reduced}  # engines that are also measured in lower precisions
    for rival in [*rivals, *(rival for rival in REDUCED.values() if rival.package in packages)]:
        precision = rival.precision_of(problem)
        try:
            contender, got = best_configuration(rival, problem, threads, None if reduced else made, precision, plan)
        except (UnableError, WorkerError) as error:
            absent[rival.name] = str(error)
            continue
        if rival.name == OTHER:
            equal = same_bits(got, made)
        chosen[rival.name] = replace(contender, name=rival.name)
        errors[rival.name] = largest_difference(got, problem.expected)
    try:
        timed = take_turns([*own, *chosen.values()], plan)
    except WorkerError as error:
        return Row(**fields, ours=None, absent=absent, trouble=str(error))
    first, others = timed[0], dict(zip(chosen, timed[len(own) :], strict=True))
    ratios = {name: ratio(first, timing) for name, timing in others.items()}
    return Row(
        **fields,
        ours=first,
        rivals=others,
        ratios=ratios,
        absent=absent,
        own_ratio=ratio(first, timed[1]) if len(own) > 1 else None,
        errors=errors,
        other=Comparison.of(ratios[OTHER].median, equal) if OTHER in ratios else None,
    )


def _verified(contender: Contender, problem: Problem, precision: str) -> Outputs:
    got = outputs_of(contender, problem)
    check_outputs(got, problem.expected, who=contender.label, against="the float64 definition", precision=precision)
    return got


def best_configuration(
    rival: Rival, problem: Problem, threads: int, made: Outputs | None, precision: str, plan: Plan
) -> tuple[Contender, Outputs]:
    """Return the rival's fastest configuration that gives the definition's numbers, and those of `made` if given."""
    able, outputs, fault = [], [], ""
    for contender in rival.contenders(problem, threads):
        try:
            got = _verified(contender, problem, precision)
            if made is not None:
                check_outputs(got, made, who=contender.label, against=NAME, precision=problem.precision)
            able.append(contender)
            outputs.append(got)
        except VerificationError as error:
            fault = str(error)
        except Exception as error:  # code of another project, which may raise anything
            fault = f"{contender.label} fails: {' '.join(str(error).split())[:200]}"
    if not able:
        raise UnableError(fault)
    best = fastest(able, plan)
    return best, outputs[able.index(best)]
