"""What the rivals share: settings, outputs in our shapes, and calls that carry a state."""

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.bench.contender import Contender, UnableError
from fastgru.bench.problem import Problem
from fastgru.terminal import counted

__all__ = ["bound", "counts", "frames_of", "like", "onnx_feeds"]

Array = NDArray[Any]
Arrays = Mapping[str, Array]


def counts(threads: int) -> list[int]:
    """Return the numbers of threads to try: all, and one."""
    return sorted({1, threads}, reverse=True)


def like(expected: Arrays, outputs: Arrays) -> dict[str, Array]:
    """Return copies in our shapes. ONNX's y has one more axis; a step that returns only h_n has y equal to it."""
    named = dict(outputs)
    if "y" in expected and "y" not in named and "h_n" in named:
        named["y"] = named["h_n"]
    return {name: np.array(a).reshape(expected[name].shape) for name, a in named.items() if name in expected}


def frames_of(problem: Problem, states: Sequence[Array]) -> dict[str, Array]:
    """Return the outputs of a block, from the state after every frame."""
    y = np.stack(states)
    return like(problem.expected[0], {"y": y, "h_n": y[-1]})


def onnx_feeds(problem: Problem) -> dict[str, Array]:
    """Return the inputs of a problem with an ONNX file. Raises `UnableError` for another problem."""
    if problem.onnx is None:
        raise UnableError("the model is not an ONNX file")
    return problem.feeds


def bound(
    problem: Problem,
    name: str,
    way: str,
    n: int,
    bind: Callable[[Arrays, Arrays], Callable[[], object]],
    outputs: Callable[[], Arrays],
) -> Contender:
    """Return a contender for a rival that binds memory once; with a state, two calls alternate between two banks.

    bind: returns the call that reads and writes the arrays (inputs, outputs). outputs: returns arrays for the outputs.
    """
    setting = f"{way}, {counted(n, 'thread')}"
    if problem.is_block:
        return _frame_by_frame(problem, name, f"once a frame, {setting}", bind)
    banks = [{key: a.copy() for key, a in problem.state_arrays.items()} for _ in range(2)]
    kept = outputs()
    targets = [{**kept, **{problem.states[key]: a for key, a in after.items()}} for after in banks[::-1]]
    calls = [bind({**problem.feeds, **before}, target) for before, target in zip(banks, targets, strict=True)]
    if not banks[0]:
        return Contender(name, setting, calls[0], lambda: like(problem.expected[0], targets[0]))
    order = cycle(zip(calls, (0, 1), strict=True))
    parity = 1  # which bank the last call read

    def call() -> None:
        nonlocal parity
        one, parity = next(order)
        one()

    def reset() -> None:
        """Start with the first call and a state of zeros."""
        if parity == 0:
            next(order)
        for bank in banks:
            for array in bank.values():
                array[...] = 0

    return Contender(name, setting, call, lambda: like(problem.expected[0], targets[parity]), reset)


def _frame_by_frame(
    problem: Problem, name: str, setting: str, bind: Callable[[Arrays, Arrays], Callable[[], object]]
) -> Contender:
    """Copy each frame into `one`, which both calls read; the state alternates between two banks."""
    x, zero = problem.feeds["x"], problem.state_arrays["h0"]
    one, banks = np.empty_like(x[:1]), [zero.copy(), zero.copy()]
    calls = [bind({"x": one, "h0": banks[k]}, {"h_n": banks[1 - k]}) for k in (0, 1)]
    y = np.zeros((len(x), *zero.shape), zero.dtype)

    def call() -> None:
        banks[0][...] = 0
        for t in range(len(x)):
            one[...] = x[t]
            calls[t % 2]()
            y[t] = banks[1 - t % 2]

    return Contender(name, setting, call, lambda: like(problem.expected[0], {"y": y, "h_n": y[-1]}))
