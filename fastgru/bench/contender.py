"""The contenders: each is one way of running one problem; ours uses the public interface of this package."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from numpy.typing import NDArray

import fastgru
from fastgru.bench.calls import prepare, timed
from fastgru.bench.problem import Problem
from fastgru.errors import FastGRUError, UnsupportedModelError
from fastgru.records import dataclass
from fastgru.terminal import counted

__all__ = ["NAME", "Contender", "UnableError", "ours"]

NAME = "fastgru"


class UnableError(FastGRUError):
    """A contender cannot run a problem; the message is the reason, in a few words."""


@dataclass(frozen=True)
class Contender:
    """One engine in one configuration, ready to be called.

    name: the engine, "fastgru" or that of a rival. setting: the configuration, in a few words.
    call: runs the problem once on the arrays in `Problem.feeds`. Only this is timed.
    results: returns the outputs of the last call by name, as new arrays.
    reset: sets the state that calls carry to zeros.
    around: a context for the calls, entered once per turn and not timed.
    time: (calls, bunches) -> the nanoseconds of each bunch of so many calls. By default, this process times `call`.
    """

    name: str
    setting: str
    call: Callable[[], object]
    results: Callable[[], Mapping[str, NDArray[Any]]]
    reset: Callable[[], object] = lambda: None  # there is no state
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    time: Callable[[int, int], list[int]] | None = None

    def timed(self, calls: int, bunches: int) -> list[int]:
        return self.time(calls, bunches) if self.time else [timed(self.call, calls) for _ in range(bunches)]

    @property
    def label(self) -> str:
        return f"{self.name} ({self.setting})" if self.setting else self.name


def ours(problem: Problem, threads: int, precision: str | None = None, spin_us: float = 0) -> Contender:
    """Return our contender, in the precision of the problem or in another one, which its name then tells.

    It uses `Stream.push` if the problem carries a state and otherwise `Model.run`, both writing into given arrays, or
    the call that `Problem.way` names. spin_us: for several threads.

    Raises `UnableError` if the model or the number of threads is refused.
    """
    options: dict[str, Any] = {"precision": precision or problem.asked, "threads": threads}
    setting = counted(threads, "thread")
    if spin_us and threads > 1:
        options["spin_us"] = spin_us
        setting += f", spinning {spin_us:g} us"
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
    return Contender(name, setting, calls.call, calls.results, calls.reset)
