"""Whole models, one after the other: the networks of `networks`, and the files of a folder."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from fastgru.bench.machine import describe
from fastgru.bench.measure import Plan
from fastgru.bench.model_file import file_problem, model_problem
from fastgru.bench.networks import NETWORKS, Network
from fastgru.bench.problem import Problem
from fastgru.bench.result import Result, Row
from fastgru.bench.rivals import RIVALS, Rival
from fastgru.bench.suite import run_problem
from fastgru.errors import FastGRUError
from fastgru.load import load_graph

__all__ = ["ModelCase", "find_models", "model_cases", "run_models"]


@dataclass(frozen=True)
class ModelCase:
    """slug: for filters; title: for people; make: the problem, which may raise `FastGRUError`; goal: on one thread."""

    slug: str
    title: str
    make: Callable[[], Problem]
    goal: float | None = None


def model_cases(folder: Path | None = None) -> list[ModelCase]:
    """Every network of `NETWORKS`, then every ONNX file at or below `folder`, by its path."""
    found = [_network_case(network) for network in NETWORKS.values()]
    return found if folder is None else [*found, *_file_cases(folder)]


def find_models(cases: Iterable[ModelCase], pattern: str | None) -> list[ModelCase]:
    """The cases whose slug contains `pattern`, or matches it where it has wildcards; all of them for None."""
    if pattern is None:
        return list(cases)
    wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    return [case for case in cases if fnmatch(case.slug, wanted)]


def run_models(
    cases: Sequence[ModelCase],
    *,
    threads: Sequence[int] = (1,),
    rivals: Sequence[str] = tuple(RIVALS),
    plan: Plan | None = None,
    against: Path | None = None,
    progress: Callable[[str], None] = lambda message: None,
    on_row: Callable[[Row], None] | None = None,
) -> Result:
    """Measure each model on each number of threads, ours and the rivals in turn; a file that is refused is a row."""
    started = time.perf_counter()
    machine = describe(rivals)
    rows = []
    for number, case in enumerate(cases, 1):
        progress(f"{number} of {len(cases)}: {case.title}")
        for row in _rows(case, threads, [RIVALS[r] for r in rivals], plan or Plan(), against):
            rows.append(row)
            if on_row is not None:
                on_row(row)
    return Result("models", machine, (), tuple(rows), time.perf_counter() - started)


def _rows(
    case: ModelCase, threads: Sequence[int], rivals: Sequence[Rival], plan: Plan, against: Path | None
) -> Iterator[Row]:
    try:
        problem = case.make()
    except FastGRUError as error:
        yield from (Row(case.title, case.slug, n, None, None, trouble=f"refused: {error}") for n in threads)
        return
    for n in threads:
        row = run_problem(problem, case.title, n, rivals, plan, against)
        yield replace(row, slug=case.slug, least=case.goal if n == 1 else None)


def _network_case(network: Network) -> ModelCase:
    def make() -> Problem:
        data = network.build()
        return model_problem(network.slug, load_graph(data), data)

    return ModelCase(network.slug, network.title, make, network.goal)


def _file_cases(folder: Path) -> Iterator[ModelCase]:
    for path in sorted(folder.rglob("*.onnx")):
        name = path.relative_to(folder).as_posix()
        yield ModelCase(name.removesuffix(".onnx"), name, partial(file_problem, path, {}), 1.0)
