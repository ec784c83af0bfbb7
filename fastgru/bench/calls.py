"""How a problem is called: each way in which users call a model, through the public interface alone.

`fastgru.bench.worker` loads this file next to the fastgru of another environment, so the file imports only the standard
library and NumPy.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

__all__ = ["WAYS", "Calls", "aligned", "prepare", "timed"]

Arrays = dict[str, np.ndarray]

# How a model is called. "layer" is a GRU composed in Python instead. "bound" passes arrays for the outputs.
WAYS = ("bound", "push", "call", "run", "layer")


class Calls(NamedTuple):
    """One way of running a problem. results: the outputs of the last call by name. reset: sets the state to zeros."""

    call: Callable[[], object]
    results: Callable[[], Arrays]
    reset: Callable[[], None]


def prepare(model: Any, way: str, feeds: Arrays, states: Mapping[str, str], zeros: Arrays, batch: int) -> Calls:
    """Return the calls for `way`.

    states: the output that feeds each input in the next call. zeros: the first values of the states, by input.
    """
    if way == "layer":
        return _layer(model, feeds, zeros)
    if way in ("bound", "push") and states:
        return _stream(model.stream(batch, state=dict(states)), feeds, states, bound=way == "bound")
    if way == "bound":
        return _bound(model, feeds)
    return _whole(model, feeds, states, zeros, by_name=way == "run")


def aligned(array: np.ndarray) -> np.ndarray:
    """Return a copy that begins at a cache line, as the outputs do, so that all runs have the same alignment."""
    buffer = np.empty(array.nbytes + 64, np.uint8)
    begin = -buffer.ctypes.data % 64
    copy = buffer[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _stream(stream: Any, feeds: Arrays, states: Mapping[str, str], *, bound: bool) -> Calls:
    frames = tuple(feeds[name] for name in stream.inputs)
    push = stream.push
    last = push(*frames)
    several = isinstance(last, tuple)
    out = tuple(aligned(y) for y in last) if several else aligned(last)
    stream.reset()

    def call() -> None:
        nonlocal last
        last = push(*frames)

    def results() -> Arrays:
        made = out if bound else last
        after = {states[name]: np.array(array) for name, array in stream.state.items()}
        return {k: np.array(y) for k, y in zip(stream.outputs, made if several else (made,), strict=True)} | after

    return Calls(partial(push, *frames, out=out) if bound else call, results, stream.reset)


def _bound(model: Any, feeds: Arrays) -> Calls:
    named = {spec.name: feeds[spec.name] for spec in model.inputs}
    out = {name: aligned(y) for name, y in model.run(named).items()}
    return Calls(partial(model.run, named, out=out), lambda: {k: y.copy() for k, y in out.items()}, lambda: None)


def _whole(model: Any, feeds: Arrays, states: Mapping[str, str], zeros: Arrays, *, by_name: bool) -> Calls:
    named = {spec.name: {**feeds, **zeros}[spec.name] for spec in model.inputs}
    outputs = [spec.name for spec in model.outputs]
    places = [(list(named).index(source), outputs.index(target)) for source, target in states.items()]
    inputs, last = list(named.values()), None
    run = model.run

    def call() -> None:
        nonlocal last
        last = model(*inputs)
        for source, target in places:
            inputs[source] = last[target]

    def call_by_name() -> None:
        nonlocal last
        last = run(named)
        for source, target in states.items():
            named[source] = last[target]

    def results() -> Arrays:
        made: Any = last
        if isinstance(made, Mapping):
            return {name: np.array(y) for name, y in made.items()}
        return {n: np.array(y) for n, y in zip(outputs, made if isinstance(made, tuple) else (made,), strict=True)}

    def reset() -> None:
        named.update(zeros)
        inputs[:] = named.values()

    return Calls(call_by_name if by_name else call, results, reset)


def _layer(gru: Any, feeds: Arrays, zeros: Arrays) -> Calls:
    x, y, first = feeds["x"], None, zeros.get("h0")
    h = first

    def whole() -> None:
        nonlocal y, h
        y, h = gru(x)

    def step() -> None:
        nonlocal y, h
        y, h = gru(x, h)

    def reset() -> None:
        nonlocal h
        h = first

    return Calls(whole if first is None else step, lambda: {"y": np.array(y), "h_n": np.array(h)}, reset)


def timed(call: Callable[[], object], count: int) -> int:
    """Return the nanoseconds of `count` calls."""
    start = time.perf_counter_ns()
    for _ in repeat(None, count):
        call()
    return time.perf_counter_ns() - start
