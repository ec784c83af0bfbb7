"""The request of `fastgru bench` and its measurement, which prints a line as soon as a case is done."""

import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from fastgru.cli.options import flags
from fastgru.records import dataclass
from fastgru.terminal import counted, progress, stderr, time_of

if TYPE_CHECKING:
    from fastgru.bench import Case, Result, Row
    from fastgru.bench.measure import Plan
    from fastgru.bench.model_file import ModelCase
    from fastgru.bench.problem import Problem

__all__ = ["RIVALS", "Request"]

# The names in `fastgru.bench.rivals.RIVALS`, whose import would need Numba.
RIVALS: Final = ("onnxruntime", "openvino", "torch")


@dataclass(frozen=True)
class Request:
    """The options of the command; None for those that are not given.

    Raises `click.UsageError` for options that contradict each other, and in `cases` for a pattern that no case matches.
    """

    model: Path | None
    suite: str
    models_dir: Path | None
    pattern: str | None
    rivals: tuple[str, ...] | None
    against: Path | None
    fail_below: float | None
    threads: tuple[int, ...]
    spin_us: float
    precisions: tuple[str, ...] | None
    shapes: tuple[str, ...]
    options: dict[str, Any]
    rounds: int | None
    turn_ms: float | None
    interval_ms: float | None
    collect: bool

    def __post_init__(self) -> None:
        for wrong, words in (
            (self.fail_below is not None and self.against is None, "--fail-below is for --against"),
            (self.shapes and self.model is None, "--shape is for a MODEL"),
            (self.spin_us and max(self.threads) == 1, "--spin-us is for several threads, as in --threads 1,2"),
            (
                self.spin_us and self.against is not None,
                "--spin-us is not for --against, whose fastgru may not know it",
            ),
            (self.interval_ms is not None and self.suite != "steady", "--interval-ms is for --suite steady"),
            (
                self.rivals and self.against is not None and self.suite == "steady" and self.model is None,
                "--rivals is not for --suite steady with --against",
            ),
            (self.options and self.model is None, f"{flags(self.options)}: only for a MODEL"),
            (
                self.model is not None and "torch" in (self.rivals or ()),
                "--rivals torch: PyTorch reads no model file; a suite times its GRU, as in "
                "`fastgru bench --case step-h64 --rivals torch`",
            ),
            (self.pattern is not None and self.model is not None, "--case and --list are for a suite, not for a MODEL"),
            (
                self.models_dir is not None and (self.model is not None or self.suite != "models"),
                "--models-dir is for --suite models",
            ),
            (
                self.suite == "steady" and len(self.precisions or ()) > (self.model is not None),
                "--precision: --suite steady measures a MODEL in one, and without a MODEL a GRU of its own in float32",
            ),
        ):
            if wrong:
                raise click.UsageError(words)
        for name in self.rivals or ():  # default rivals that are not installed are left out later
            if importlib.util.find_spec(name) is None:
                raise click.UsageError(f"--rivals {name}: it is not installed; pip install {name}")

    @property
    def cases(self) -> "Sequence[Case | ModelCase]":
        """The cases of the suite that match the pattern, in the precisions of the request."""
        from fastgru.bench.cases import SUITES, find_cases
        from fastgru.bench.model_file import model_cases

        found: Sequence[Case | ModelCase]
        if self.suite == "models":
            found = [
                case
                for each in self.precisions or (None,)
                for case in find_cases(model_cases(self.models_dir, each), self.pattern)
            ]
        else:
            plain = find_cases(SUITES.get(self.suite, ()), self.pattern)
            found = list(dict.fromkeys(replace(c, precision=p) for c in plain for p in self.precisions or ())) or plain
        if self.pattern is not None and not found:
            raise click.UsageError(f"--case {self.pattern}: no case of the suite {self.suite!r} matches; see --list")
        return found

    @property
    def asked_rivals(self) -> tuple[str, ...]:
        if self.rivals is not None:
            return self.rivals
        return RIVALS if self.against is None else ()

    @property
    def plan(self) -> "Plan":
        from fastgru.bench.measure import AGAINST, Plan

        plan = replace(Plan() if self.against is None else AGAINST, collect=self.collect, spin_us=self.spin_us)
        if self.rounds is not None:
            plan = replace(plan, rounds=self.rounds)
        return plan if self.turn_ms is None else replace(plan, turn_s=self.turn_ms / 1e3, rested_turn_s=None)

    def measure(self) -> "Result":
        """Measure the suite or the model, and for the suite "steady" its steadiness; compare with `against`."""
        from fastgru.bench.model_file import file_problem, parse_shapes
        from fastgru.bench.rivals.other import about_sides
        from fastgru.bench.suite import run_suite

        started = time.perf_counter()
        sides = None if self.against is None else about_sides(self.against)
        with progress() as tell:
            problems: list[Problem] = []
            if self.model is not None:
                shapes = parse_shapes(self.shapes)
                problems = [file_problem(self.model, shapes, p, **self.options) for p in self.precisions or (None,)]
            problem = problems[0] if problems else None
            result = run_suite(
                [_case_of(problem) for problem in problems] or self.cases,
                name=", ".join(filter(None, [self.suite, self.pattern, *(self.precisions or ())])),
                threads=self.threads,
                rivals=self.asked_rivals,
                plan=self.plan,
                against=self.against,
                progress=tell,
                on_row=_print_row,
            )
            if self.suite == "steady" and (problem is None or not any(row.trouble for row in result.rows)):
                result = replace(result, steady=self._watched(problem, tell))
        suite = result.suite if self.model is None else self.model.name
        return replace(result, suite=suite, sides=sides, seconds=time.perf_counter() - started)

    def _watched(self, problem: "Problem | None", progress: Callable[[str], None]) -> dict[str, Any]:
        from fastgru.bench.steady import Pace, compare_steadiness, measure_model, measure_steadiness

        interval_s = Pace.interval_s if self.interval_ms is None else self.interval_ms / 1e3
        if self.against is not None:
            return compare_steadiness(self.against, problem, interval_s=interval_s, progress=progress)
        pace = Pace(self.asked_rivals, interval_s, plan=self.plan)
        if problem is None:
            return measure_steadiness(pace, progress=progress)
        return measure_model(problem, pace, progress=progress)


def _case_of(problem: "Problem") -> "ModelCase":
    from fastgru.bench.model_file import ModelCase

    shown = ", ".join(f"{name} {a.shape}" for name, a in problem.feeds.items())
    title = f"{problem.name}, {'a push of' if problem.streaming else 'a run of'} {shown}"
    if problem.precision == "float32":
        return ModelCase(problem.name, title, lambda: problem)
    return ModelCase(f"{problem.name}-{problem.precision}", f"{title}, {problem.precision}", lambda: problem)


def _print_row(row: "Row") -> None:
    """Print a line as soon as a case is done. The tables come at the end."""
    from fastgru.bench.words import ratio_of

    line = row.trouble
    if row.ours is not None:
        best = f", {ratio_of(row.ratio)} {row.best_rival}" if row.best_rival else ""
        if row.other is not None:
            best = f", {row.other.ratio:.3f} {row.other.verdict}"
        line = f"{time_of(row.ours.median_s)}{best}"
    stderr().print(f"{row.title}, {counted(row.threads, 'thread')}: {line}", soft_wrap=True, markup=False)
