"""One file of the package's own form, loaded and run between fences, its numbers held against the definition."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any
from unittest import mock

import numpy as np
from graph_check import LOWP, MOST_ERROR, SHARE, SHARE64, TIMES, TIMES64, check_callers, largest
from graph_fences import check_fence, fenced, fences, guarded
from numpy.typing import NDArray

from fastgru.engine import room
from fastgru.engine.passes import drop_dead
from fastgru.errors import FastGRUError
from fastgru.graph import Graph, TensorSpec
from fastgru.graphfile import read_graph
from fastgru.load import load
from fastgru.model import Model
from fastgru.reference import run_graph
from fastgru.reference.operator import is_floating, numpy_dtype

__all__ = ["check_native"]

Array = NDArray[Any]

ROOM = 32 << 20  # bytes of a plan, so that its fences can be looked at quickly
ONE_IN = 64  # files that have all the room that a user's have
CALLED = 8  # one in so many files is run by eight threads at once
LONGEST = 20_000  # characters of a message
LARGEST = 4000  # elements of an input of another shape
SMALL_WEIGHTS = ("bfloat16", "int8")
PRECISIONS = ("float32", "float64") * 4 + SMALL_WEIGHTS


def check_native(content: bytes, feeds: Mapping[str, Array], rng: random.Random) -> str:
    """The error it ends in, "checked", or "wild" where rounding hides the numbers. Raises `AssertionError`."""
    precision, outcome, message = rng.choice(PRECISIONS), "run", ""
    least = room._ROOM_BYTES if rng.randrange(ONE_IN) == 0 else ROOM
    with fences() as made, mock.patch.object(room, "_ROOM_BYTES", least), mock.patch.object(room, "_GROWTH", 1):
        try:
            if b'\\"precisions\\": {\\"' in content:
                model, precision = load(content, allow_unread=True, precision=None), "float32"
            else:
                model = load(content, allow_unread=True, precision=precision)
            given = {spec.name: _fitting(spec, feeds, rng) for spec in model.inputs}
            results = _run(model, given)
            _check_stream(model, given)
            if rng.randrange(CALLED) == 0:
                check_callers(model, [given], [{name: array.copy() for name, array in results.items()}])
        except FastGRUError as error:
            outcome, message = type(error).__name__, str(error)
        made.check()
    assert len(message) < LONGEST, f"a message of {len(message)} characters"
    if outcome != "run":
        return outcome
    graph = drop_dead(read_graph(content, allow_unread=True))  # what no output needs has no shapes that could be wrong
    if graph.precisions or precision in SMALL_WEIGHTS:
        return "small weights"
    return _compare(graph, given, results, precision)


def _fitting(spec: TensorSpec, feeds: Mapping[str, Array], rng: random.Random) -> Array:
    """What was there for the input before the file was spoiled, in the shape and dtype that it asks for now."""
    array = feeds.get(spec.name, np.ones((), np.float32))
    if spec.shape is not None:
        sizes = [*array.shape, *[1] * len(spec.shape)]
        wanted = tuple(sizes[i] if n is None else n for i, n in enumerate(spec.shape))
        if np.prod(wanted, dtype=object) <= LARGEST:
            array = np.resize(array, wanted)
    with np.errstate(all="ignore"):
        array = array.astype(numpy_dtype(spec.dtype))
    if array.dtype.kind == "i" and array.size and rng.random() < 0.2:
        array.reshape(-1)[rng.randrange(array.size)] = rng.choice((-1, 1, 7, 100))
    return guarded(array)


def _run(model: Model, given: Mapping[str, Array]) -> dict[str, Array]:
    """Into arrays with fences, of the shapes that the plan tells, or a run where there is no plan for all of it."""
    runnable = model._runnable
    route = runnable.route({name: a.shape for name, a in runnable.bind(given).items()})
    slots: Any = model.run(given) if route is None else route.program.outputs
    out = {name: fenced(slot.shape, np.dtype(slot.dtype)) for name, slot in slots.items()}
    results = model.run(given, out=out)
    for name, array in out.items():
        check_fence(name, array)
    return results


def _check_stream(model: Model, given: Mapping[str, Array]) -> None:
    """Where the graph has a state, the first push gives the bits of a run from zeros."""
    specs = [spec for spec in model.inputs if spec.name in model.graph.states]
    if not specs or any(spec.shape is None or None in spec.shape for spec in specs):  # a stream chooses free sizes
        return
    try:
        stream = model.stream()
    except FastGRUError:
        return
    zeros = {name: np.zeros_like(given[name]) for name in model.graph.states}
    came = stream.push(*(given[name] for name in stream.inputs))
    wanted = model.run({**given, **zeros})
    for name, array in zip(stream.outputs, came if isinstance(came, tuple) else (came,), strict=True):
        assert np.array_equal(array, wanted[name], equal_nan=array.dtype.kind == "f"), f"{name} of a stream"


def _compare(graph: Graph, feeds: Mapping[str, Array], results: Mapping[str, Array], precision: str) -> str:
    if not all(np.isfinite(a).all() for a in graph.constants.values() if is_floating(a.dtype)):
        return "wild"  # zero times infinity, or a transform of it, has no right answer
    outcome = "checked"
    with np.errstate(all="ignore"):
        # In the precision of the weights of the file, and in one that shows how much rounding matters.
        wanted = run_graph(graph, feeds)
        rough = run_graph(graph, feeds, dtype="float32")
    for name, came in results.items():
        exact, single = wanted[name], rough[name]
        assert came.shape == exact.shape, f"{name}: shape {came.shape}, expected {exact.shape}"
        if single.shape != exact.shape or not np.array_equal(np.isfinite(single), np.isfinite(exact)):
            outcome = "wild"
            continue
        if not is_floating(exact.dtype):
            assert came.dtype == exact.dtype, f"{name}: {came.dtype}, expected {exact.dtype}"
            if not np.array_equal(single, exact):
                outcome = "wild"
                continue
            assert np.array_equal(came, exact), f"{name}: {_shown(came, exact)}"
            continue
        finite = np.isfinite(exact)
        error, scale = largest(single[finite] - exact[finite]), max(largest(exact[finite]), LOWP)
        if not error <= MOST_ERROR * scale:
            outcome = "wild"
            continue
        share, times = (SHARE, TIMES) if precision == "float32" else (SHARE64, TIMES64)
        with np.errstate(all="ignore"):
            off = largest(np.asarray(came, np.float64)[finite] - exact[finite])
        assert off <= share * scale + times * error, f"{name}: off by {off:.3g}: {_shown(came, exact)}"
        strange = came[~finite].astype(np.float64)
        assert np.array_equal(strange, exact[~finite], equal_nan=True), f"{name}: {_shown(strange, exact[~finite])}"
    return outcome


def _shown(came: Array, expected: Array) -> str:
    return f"{came.dtype} {came.shape}\n{str(came)[:400]}\nexpected\n{str(expected)[:400]}"
