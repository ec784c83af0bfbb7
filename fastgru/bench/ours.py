"""This package as a contender, through its public interface."""

from __future__ import annotations

from functools import partial

import numpy as np

import fastgru
from fastgru.bench.contender import Contender, UnableError
from fastgru.bench.problem import Problem
from fastgru.errors import UnsupportedModelError
from fastgru.reference.operator import numpy_dtype

__all__ = ["NAME", "batch_size", "ours"]

NAME = "fastgru"


def ours(problem: Problem, threads: int, precision: str | None = None) -> Contender:
    """In the precision of the problem, or in another, which is then in the name.

    `Stream.push` where the problem carries a state, `Model.run` where not, each writing into arrays given to it.

    Raises `UnableError` where the model or the number of threads is refused.
    """
    setting = f"{threads} thread{'s' if threads > 1 else ''}"
    name = NAME if precision is None else f"{NAME} {precision}"
    try:
        model = fastgru.Model(problem.graph, precision=precision or problem.precision, threads=threads)
    except UnsupportedModelError as error:
        raise UnableError(str(error)) from error
    make = _stream if problem.streaming else _whole
    return make(problem, model, name, setting)


def _stream(problem: Problem, model: fastgru.Model, name: str, setting: str) -> Contender:
    stream = model.stream(batch_size(problem), state=problem.states)
    frames = tuple(problem.feeds[name] for name in stream.inputs)
    first = stream.push(*frames)
    outs = tuple(np.empty_like(y) for y in (first if isinstance(first, tuple) else (first,)))
    out = outs[0] if len(outs) == 1 else outs
    stream.reset()

    def results() -> dict[str, np.ndarray]:
        after = {problem.states[name]: array for name, array in stream.state.items()}
        return {key: y.copy() for key, y in zip(stream.outputs, outs, strict=True)} | after

    return Contender(name, setting, partial(stream.push, *frames, out=out), results, stream.reset)


def batch_size(problem: Problem) -> int:
    """The size of the first axis that the model leaves free in a state."""
    for spec in problem.graph.inputs:
        if spec.name in problem.state_arrays:
            for size, axis in zip(problem.state_arrays[spec.name].shape, spec.shape or (), strict=False):
                if axis is None:
                    return int(size)
    return 1


def _whole(problem: Problem, model: fastgru.Model, name: str, setting: str) -> Contender:
    feeds = {spec.name: problem.feeds[spec.name] for spec in model.inputs}
    outs = {
        key: np.empty(y.shape, numpy_dtype(spec.dtype))
        for spec, (key, y) in zip(model.outputs, model.run(feeds).items(), strict=True)
    }
    return Contender(
        name,
        setting,
        partial(model.run, feeds, out=outs),
        lambda: {key: y.copy() for key, y in outs.items()},
    )
