"""The inputs on which a model is measured: data of the user, or random numbers, which include one long run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from fastgru.errors import ShapeError
from fastgru.graph import Array, Graph, TensorSpec
from fastgru.nearest import offered
from fastgru.reference import bind_inputs
from fastgru.reference.operator import as_array, numpy_dtype
from fastgru.verify.cases import Case, draw_cases, draw_long

__all__ = ["Data", "cases_from", "drawn_cases"]

Data = Mapping[str, ArrayLike] | Iterable[Mapping[str, ArrayLike]]

_LONG_STEPS: Final = 1000


def drawn_cases(graph: Graph, seed: int) -> list[Case]:
    """Return random cases; the last is the long one if the graph has steps. Raises `ShapeError` if no case runs."""
    cases = draw_cases(graph, seed=seed)
    long = draw_long(graph, steps=_LONG_STEPS, seed=seed)
    return cases if long is None else [*cases, long]


def cases_from(graph: Graph, data: Data) -> list[Case]:
    """Return the calls of `data` as one sequence of calls: arrays by input name, once or several times.

    An array with one axis more than its input holds one call in each entry of its first axis. States that are not given
    start as the model does, and carry over from call to call. A state that is given for a later call replaces the
    carried one.
    """
    given = [data] if isinstance(data, Mapping) else list(data)
    calls = [call for entry in given for call in _unrolled(graph, entry)]
    if not calls:
        raise ShapeError("data: got no calls, expected at least one")
    checked = []
    for number, call in enumerate(calls):
        states = {name: None for name in graph.states if name not in call}
        whole = call | {n: _start(spec, call, graph) for spec in graph.inputs if (n := spec.name) in states}
        bound = bind_inputs(graph.inputs, whole)
        checked.append({name: a for name, a in bound.items() if number == 0 or name not in states})
    label = "the data" if len(checked) == 1 else f"the data, {len(checked)} calls"
    return [Case(label, tuple(checked))]


def _unrolled(graph: Graph, entry: Mapping[str, ArrayLike]) -> list[dict[str, Array]]:
    if not isinstance(entry, Mapping):
        raise ShapeError(f"data: got {type(entry).__name__}, expected arrays by input name, or several such mappings")
    specs = {spec.name: spec for spec in graph.inputs}
    if unknown := sorted(str(name) for name in entry if name not in specs):
        raise ShapeError(f"data: no input is called {', '.join(unknown)}; {offered(unknown, specs)}")
    if missing := [name for name in specs if name not in entry and name not in graph.states]:
        raise ShapeError(f"data: the arrays for input {', '.join(missing)} are missing")
    arrays = {name: as_array(f"data {name!r}", value) for name, value in entry.items()}
    rows = {
        name: len(a)
        for name, a in arrays.items()
        if (shape := specs[name].shape) is not None and a.ndim == len(shape) + 1
    }
    if not rows:
        return [arrays]
    if len(set(rows.values())) > 1:
        raise ShapeError(f"data: the first axes have {rows} calls, expected the same number")
    count = next(iter(rows.values()))
    calls = [{name: a[i] if name in rows else a for name, a in arrays.items()} for i in range(count)]
    # A state that is given once is the state before the first call.
    for call in calls[1:]:
        for name in graph.states:
            if name not in rows:
                call.pop(name, None)
    return calls


def _start(spec: TensorSpec, given: Mapping[str, Array], graph: Graph) -> Array:
    """Return the first value of a state. A free dimension has the size of the input dimensions with its name, or 1."""
    sizes = {
        dim: size
        for other in graph.inputs
        if other.name in given
        for dim, size in zip(other.dims, np.shape(given[other.name]), strict=False)
        if dim is not None
    }
    names = (*spec.dims, *(None for _ in range(len(spec.shape or ()) - len(spec.dims))))
    shape = [sizes.get(n or "", 1) if s is None else s for n, s in zip(names, spec.shape or (), strict=True)]
    return graph.start(spec.name, shape, numpy_dtype(spec.dtype))
