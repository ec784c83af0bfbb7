"""What the adapters share: settings, outputs in our shapes, and calls that hand a state from one to the next."""

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.bench.contender import Contender, UnableError
from fastgru.bench.problem import Problem

__all__ = ["counts", "frame_by_frame", "like", "onnx_feeds", "taking_turns", "threads_of"]

Array = NDArray[Any]


def counts(threads: int) -> list[int]:
    """The numbers of threads to try: all, and one."""
    return sorted({1, threads}, reverse=True)


def threads_of(n: int) -> str:
    """ "1 thread", "2 threads"."""
    return f"{n} thread{'s' if n > 1 else ''}"


def like(expected: Mapping[str, Array], outputs: Mapping[str, Array]) -> dict[str, Array]:
    """Copies in our shapes: ONNX's y has an axis of one more, and a step that gives h_n alone gives y by it."""
    named = dict(outputs)
    if "y" in expected and "y" not in named and "h_n" in named:
        named["y"] = named["h_n"]
    return {name: np.array(a).reshape(expected[name].shape) for name, a in named.items() if name in expected}


def onnx_feeds(problem: Problem) -> dict[str, Array]:
    """The inputs of a problem that is an ONNX file. Raises `UnableError` for another."""
    if problem.onnx is None:
        raise UnableError("the model is not an ONNX file")
    return problem.feeds


def frame_by_frame(
    problem: Problem,
    name: str,
    setting: str,
    calls: Sequence[Callable[[], object]],
    one: Array,
    banks: Sequence[Array],
) -> Contender:
    """Each frame is copied into `one`, which both calls read; the state goes from one bank to the other and back."""
    x, zero = problem.feeds["x"], problem.state_arrays["h0"]
    y = np.zeros((len(x), *zero.shape), zero.dtype)

    def call() -> None:
        banks[0][...] = 0
        for t in range(len(x)):
            one[...] = x[t]
            calls[t % 2]()
            y[t] = banks[1 - t % 2]

    return Contender(name, setting, call, lambda: like(problem.expected[0], {"y": y, "h_n": y[-1]}))


def taking_turns(
    problem: Problem,
    name: str,
    setting: str,
    calls: Sequence[Callable[[], object]],
    outputs: Sequence[Mapping[str, Array]],
    banks: Sequence[Mapping[str, Array]],
) -> Contender:
    """A contender of one call, or of two that take turns; `reset` begins with the first and a state of zeros."""
    if len(calls) == 1:
        return Contender(name, setting, calls[0], lambda: like(problem.expected[0], outputs[0]))
    order = cycle(zip(calls, (0, 1), strict=True))
    parity = 1  # of the last call

    def call() -> None:
        nonlocal parity
        one, parity = next(order)
        one()

    def reset() -> None:
        if parity == 0:
            next(order)
        for bank in banks:
            for array in bank.values():
                array[...] = 0

    return Contender(name, setting, call, lambda: like(problem.expected[0], outputs[parity]), reset)
