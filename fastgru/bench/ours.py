"""This package as a contender, through its public interface."""

from typing import Any

import fastgru
from fastgru.bench.calls import prepare
from fastgru.bench.contender import Contender, UnableError
from fastgru.bench.problem import Problem
from fastgru.errors import UnsupportedModelError
from fastgru.terminal import counted

__all__ = ["NAME", "ours"]

NAME = "fastgru"


def ours(problem: Problem, threads: int, precision: str | None = None) -> Contender:
    """In the precision of the problem, or in another, which is then in the name.

    `Stream.push` where the problem carries a state, `Model.run` where not, each writing into arrays given to it; or as
    `Problem.way` says.

    Raises `UnableError` where the model or the number of threads is refused.
    """
    options: dict[str, Any] = {"precision": precision or problem.precision, "threads": threads}
    try:
        if problem.way == "layer":
            assert problem.stack is not None
            model: Any = fastgru.GRU(problem.stack.specs, problem.stack.weights, **options)
        else:
            model = fastgru.Model(problem.graph, **options)
    except UnsupportedModelError as error:
        raise UnableError(str(error)) from error
    zeros = dict(problem.state_arrays)
    calls = prepare(model, problem.way, problem.feeds, problem.carried, zeros, problem.batch_size)
    name = NAME if precision is None else f"{NAME} {precision}"
    return Contender(name, counted(threads, "thread"), calls.call, calls.results, calls.reset)
