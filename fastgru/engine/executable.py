"""A graph that can be run: one program for each combination of input shapes, made on its first use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgru.budget import Budget
from fastgru.engine.memory import Packs
from fastgru.engine.plan import check_supported, make_program
from fastgru.engine.precision import WeightPrecision, prepare
from fastgru.engine.program import Program
from fastgru.engine.route import Route
from fastgru.engine.runnable import Runnable, checked_out, copied_out
from fastgru.errors import ShapeError
from fastgru.graph import Graph
from fastgru.kernels.run import plain_mode
from fastgru.modules import importing
from fastgru.precisions import Precision
from fastgru.process import lock
from fastgru.reference.evaluate import run_graph, with_plain_weights

if TYPE_CHECKING:
    from fastgru.engine.profile import Timing

__all__ = ["Executable"]

Array = NDArray[Any]
Shapes = tuple[tuple[int, ...], ...]

_empty = np.empty


class Executable(Runnable):
    """A graph that runs as one program. Each call has a frame of its own.

    precision: "float32" or "float64", the dtype of every floating-point value, inputs and outputs included; or
        "bfloat16" or "int8", the precision of weights, with everything else in float32; or "auto" or "auto-int8", which
        take a low precision where it is no slower on this CPU; or a mapping from outputs or names of nodes to one of
        these, in which "*" stands for all other nodes.
    packs: the packs of an executable of the same graph, to share them.
    threads: cores that one call may use; a program too small to gain from more than one uses one. spin_us: the
        microseconds for which its threads spin after a call, waiting for the next one.

    Raises as `Runnable`, and `UnsupportedModelError` that lists every node that cannot be run.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        precision: Precision = "float32",
        threads: int = 1,
        packs: Packs | None = None,
        budget: Budget | None = None,
        spin_us: float = 0,
    ) -> None:
        super().__init__(graph, precision, threads, budget, spin_us)
        with plain_mode():
            simplified, self.precisions = prepare(_with_plain_bools(graph), precision)
        self._simplified = replace(simplified, inputs=self.inputs)
        self._packs: Packs = {} if packs is None else packs
        self._routes: dict[Shapes, Route] = {}
        self._last: Route | None = None

    def _check(self, graph: Graph) -> None:
        check_supported(graph)

    @property
    def weight_precisions(self) -> Mapping[str, WeightPrecision]:
        return dict(self.precisions.weights)

    def to_graph(self) -> Graph:
        lowp = self.precisions.lowp
        if lowp == dict(self.graph.precisions):
            return self.graph
        with importing:
            from fastgru.engine.lowp_graph import with_lowp_weights

        return with_lowp_weights(self.graph, lowp) if lowp else with_plain_weights(self.graph)

    def program(self, shapes: Mapping[str, tuple[int, ...]]) -> Program:
        """Return the program for inputs of these shapes, and plan it if it is not kept yet."""
        return self._route(shapes).program

    def route(self, shapes: Mapping[str, tuple[int, ...]]) -> Route | None:
        route = self._route(shapes)
        return None if route.program.open_ended else route

    def planned(self, shapes: Mapping[str, tuple[int, ...]]) -> Program | None:
        with lock:
            program = self._made(shapes)
        return None if program.open_ended else program

    def _made(self, shapes: Mapping[str, tuple[int, ...]]) -> Program:
        with plain_mode():
            return make_program(self._simplified, shapes, self.precisions, self._packs, self.threads)

    def _route(self, shapes: Mapping[str, tuple[int, ...]]) -> Route:
        key = tuple(tuple(shapes[spec.name]) for spec in self.inputs)
        with lock:
            route = self._routes.get(key)
            if route is not None:
                self.budget.touch((id(self), key))
                return route
            route = Route(self._made(shapes), self.spin_us)
            self.budget.add((id(self), key), route.nbytes, partial(self._routes.pop, key, None))
            self._routes[key] = route
            return route

    def plan(self, inputs: Mapping[str, ArrayLike]) -> dict[str, Array]:
        arrays = self.bind(inputs)
        self._route({name: a.shape for name, a in arrays.items()})
        return run_graph(self.graph, arrays, dtype=self.float_dtype)

    def run(self, inputs: Mapping[str, ArrayLike], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        if (results := self._run_again(inputs, out)) is not None:
            return results
        arrays = self.bind(inputs)
        route = self._route({name: a.shape for name, a in arrays.items()})
        if route.program.open_ended:
            return self._run_in_blocks(route, [arrays[name] for name in route.inputs], out)
        given = {} if out is None else checked_out(route.program.outputs, out)
        # A node may write an output before another has read the input that it lies in.
        apart = [
            a.copy() if any(np.may_share_memory(a, o) for o in given.values()) else a
            for a in (arrays[name] for name in route.inputs)
        ]
        results = {name: given[name] if name in given else _empty(shape, dtype) for name, shape, dtype in route.outputs}
        if not route.call(*route.plain(apart, list(results.values()))):
            raise ShapeError("run: an array of `inputs` or `out` changed its shape or dtype during the call")
        self._last = route
        return results

    def _run_in_blocks(self, route: Route, given: list[Array], out: Mapping[str, Array] | None) -> dict[str, Array]:
        """Run a program some of whose outputs have a length that is known only after the run."""
        made = {name: _empty(shape, dtype) for name, shape, dtype in route.outputs}
        plain, targets = route.plain(given, list(made.values()))
        results = route.call_in_blocks(plain, dict(zip(made, targets, strict=True)))
        if results is None:
            raise ShapeError("run: an array of `inputs` changed its shape or dtype during the call")
        self._last = route
        return results if out is None else copied_out(results, out)

    def _run_again(self, inputs: Mapping[str, ArrayLike], out: Mapping[str, Array] | None) -> dict[str, Array] | None:
        """Run the program of the last call. Return None, without running, if an array does not fit it as it is."""
        route = self._last
        if route is None or (type(inputs) is not dict and not isinstance(inputs, Mapping)):
            return None
        if len(inputs) != len(route.inputs):
            return None
        if out is not None and (type(out) is not dict or len(out) != len(route.outputs)):
            return None
        try:
            arrays = tuple([inputs[name] for name in route.inputs])
            if out is None:
                results = {name: _empty(shape, dtype) for name, shape, dtype in route.outputs}
            else:
                results = {name: out[name] for name, _, _ in route.outputs}
        except KeyError:
            return None
        if route.program.open_ended:
            return route.call_in_blocks(arrays, results) if out is None else None
        return results if route.call(arrays, tuple(results.values())) else None

    def profile(self, inputs: Mapping[str, ArrayLike]) -> list[Timing]:
        arrays = self.bind(inputs)
        program = self.program({name: a.shape for name, a in arrays.items()})
        results = tuple([_empty(slot.shape, slot.dtype) for slot in program.outputs.values()])
        with importing:
            from fastgru.engine.profile import profile

        return profile(program, tuple([arrays[name] for name in program.inputs]), results)


def _with_plain_bools(graph: Graph) -> Graph:
    """Return the graph with every byte of its bool constants 0 or 1, as the handlers expect."""
    bools = {name: np.not_equal(a.view(np.uint8), 0) for name, a in graph.constants.items() if a.dtype == bool}
    return replace(graph, constants={**graph.constants, **bools}) if bools else graph
