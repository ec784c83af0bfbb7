"""What `fastgru bench` runs: a suite or a model, with a line for whoever watches as soon as a case is done."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastgru.bench import Case, Result, Row
    from fastgru.bench.measure import Plan
    from fastgru.bench.model_suite import ModelCase

__all__ = ["measure_model", "measure_suite"]


def measure_suite(
    suite: str,
    cases: Sequence[Case],
    models: Sequence[ModelCase],
    label: str,
    rivals: tuple[str, ...],
    threads: tuple[int, ...],
    plan: Plan,
    against: Path | None,
) -> Result:
    """The cases or the models, and for the suite "steady" what that measures; beside the fastgru of `against` too."""
    import time

    from fastgru.bench.model_suite import run_models
    from fastgru.bench.steady import compare_steadiness, measure_steadiness
    from fastgru.bench.suite import run_suite
    from fastgru.cli.console import stderr

    started = time.perf_counter()
    with stderr().status("") as status:
        how: dict[str, Any] = {
            "threads": threads,
            "rivals": rivals,
            "plan": plan,
            "against": against,
            "progress": status.update,
            "on_row": _print_row,
        }
        result = run_models(models, **how) if suite == "models" else run_suite(cases, **how)
        steady: dict[str, Any] | None = None
        if suite == "steady":
            measure = measure_steadiness if against is None else partial(compare_steadiness, against)
            steady = measure(progress=status.update)
    return replace(
        result,
        suite=label,
        steady=steady,
        seconds=time.perf_counter() - started,
    )


def measure_model(
    model: Path,
    suite: str,
    shapes: tuple[str, ...],
    fallback: str | None,
    rivals: tuple[str, ...],
    threads: tuple[int, ...],
    plan: Plan,
    against: Path | None,
) -> Result:
    """A model file at `--shape` on each number of threads, and with the suite "steady" what its calls keep."""
    import time

    from fastgru.bench.machine import describe
    from fastgru.bench.model_file import file_problem, parse_shapes
    from fastgru.bench.result import Result
    from fastgru.bench.rivals import RIVALS
    from fastgru.bench.steady import compare_steadiness
    from fastgru.bench.steady import measure_model as watch_model
    from fastgru.bench.suite import run_problem
    from fastgru.cli.console import stderr

    started = time.perf_counter()
    machine = describe(rivals)
    problem = file_problem(model, parse_shapes(shapes), fallback=fallback)
    shown = ", ".join(f"{name} {a.shape}" for name, a in problem.feeds.items())
    title = f"{model.name}, {'a push of' if problem.streaming else 'a run of'} {shown}"
    with stderr().status(title) as status:
        rows = [run_problem(problem, title, n, [RIVALS[r] for r in rivals], plan, against) for n in threads]
        steady = None
        if suite == "steady" and not any(row.trouble for row in rows):
            watch = watch_model if against is None else partial(compare_steadiness, against)
            steady = watch(problem, progress=status.update)
    return Result(model.name, machine, (), tuple(rows), time.perf_counter() - started, steady)


def _print_row(row: Row) -> None:
    """A line as soon as a case is done, for whoever watches; the tables come at the end."""
    from fastgru.bench.words import ratio_of, time_of
    from fastgru.cli.console import stderr

    count = f"{row.threads} thread{'s' if row.threads > 1 else ''}"
    if row.ours is None:
        line = row.trouble
    else:
        if row.other is not None:
            best = f", {row.other.ratio:.3f} {row.other.verdict}"
        else:
            best = f", {ratio_of(row.ratio)} {row.best_rival}" if row.best_rival else ""
        line = f"{time_of(row.ours.median_s)}{best}"
    stderr().print(f"{row.title}, {count}: {line}", soft_wrap=True, markup=False)
