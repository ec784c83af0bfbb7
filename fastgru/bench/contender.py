"""What is timed: one way of running one problem."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from fastgru.bench.calls import timed
from fastgru.errors import FastGRUError

__all__ = ["Contender", "UnableError"]


class UnableError(FastGRUError):
    """A contender cannot run a problem; the message is the reason, in a few words."""


@dataclass(frozen=True)
class Contender:
    """One engine in one configuration, ready to be called.

    name: the engine, "fastgru" or a rival's. setting: the configuration, in a few words.
    call: runs the problem once on the arrays in `Problem.feeds`; this and nothing else is timed.
    results: the outputs of the last call, by name, as arrays of their own.
    reset: sets the state that calls carry back to zeros.
    around: a context in which it has to be called; entered once a turn, outside what is timed.
    time: nanoseconds of each of so many bunches of so many calls, (calls, bunches); the clock of this process, around
    `call`, where nothing else is given.
    """

    name: str
    setting: str
    call: Callable[[], object]
    results: Callable[[], Mapping[str, NDArray[Any]]]
    reset: Callable[[], object] = lambda: None  # no state to go back to
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    time: Callable[[int, int], list[int]] | None = None

    def timed(self, calls: int, bunches: int) -> list[int]:
        if self.time is not None:
            return self.time(calls, bunches)
        return [timed(self.call, calls) for _ in range(bunches)]

    @property
    def label(self) -> str:
        return f"{self.name} ({self.setting})" if self.setting else self.name
