"""A graph that can be run: one program for each combination of input shapes, made when it first comes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgru.budget import PLAN_BYTES, Budget
from fastgru.engine.builder import Packs
from fastgru.engine.passes import merge_quantised, simplify
from fastgru.engine.passes.rows import kept_rows
from fastgru.engine.plan import check_supported, make_program
from fastgru.engine.precision import FLOAT_DTYPES, LOWP, PRECISIONS, weight_precisions
from fastgru.engine.profile import Timing, profile
from fastgru.engine.program import Frame, Program, Slot
from fastgru.engine.threads import check_threads
from fastgru.engine.worth import Sharing
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Graph, TensorSpec
from fastgru.kernels.run import plain_mode
from fastgru.process import lock
from fastgru.reference import bind_inputs

__all__ = ["PRECISIONS", "Executable", "Route", "checked_out", "typed_spec"]

_FLOATS: Final = ("float64", "float32", "float16", "bfloat16")
_MAX_IDLE_FRAMES: Final = 4

Array = NDArray[Any]
Shapes = tuple[tuple[int, ...], ...]

_empty = np.empty


def typed_spec(spec: TensorSpec, precision: str) -> TensorSpec:
    """The spec with the dtype that `precision` computes in for a floating-point one."""
    return replace(spec, dtype=FLOAT_DTYPES[precision]) if spec.dtype in _FLOATS else spec


class Route:
    """A program with what a call of it needs at hand: the team that runs it, idle frames, how outputs are made."""

    def __init__(self, program: Program) -> None:
        self.program, self.sharing = program, Sharing(program.members, program.gain_s)
        self.inputs = tuple(program.inputs)
        self.outputs = [(name, slot.shape, np.dtype(slot.dtype)) for name, slot in program.outputs.items()]
        self._idle: list[Frame] = [Frame(program)]
        self.nbytes = program.nbytes + _MAX_IDLE_FRAMES * self._idle[0].nbytes

    def call(self, inputs: tuple[Any, ...], outputs: tuple[Any, ...]) -> bool:
        """Run on arrays of the caller; False, and nothing done, where one does not fit. Raises as `Frame.run`."""
        try:
            frame = self._idle.pop()
        except IndexError:
            frame = Frame(self.program)
        if self.sharing.members > 1:
            code = frame.call_on(self.sharing.team(partial(self.attempt, inputs)), inputs, outputs)
        else:
            code = frame.call(frame.ticket, inputs, outputs)
        if len(self._idle) < _MAX_IDLE_FRAMES:
            self._idle.append(frame)
        if code > 0:
            frame.raise_for(code)
        return code == 0

    def plain(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Arrays of the right dtypes as native code takes them: of no subclass, and with NumPy's own objects for their
        dtypes, where a pickled array has another that is equal."""
        ins = [np.dtype(slot.dtype) for slot in self.program.inputs.values()]
        return (
            tuple([np.asarray(array).view(dtype) for array, dtype in zip(inputs, ins, strict=True)]),
            tuple([np.asarray(array).view(dtype) for array, (_, _, dtype) in zip(outputs, self.outputs, strict=True)]),
        )

    def attempt(self, inputs: tuple[Any, ...], team: int) -> None:
        """Run on a team, or alone where it is 0, and throw the outputs away."""
        frame = Frame(self.program)
        frame.call_on(team, inputs, tuple([_empty(shape, dtype) for _, shape, dtype in self.outputs]))


class Executable:
    """Runs a graph in a precision. Safe to call from several threads at once: each call has a frame of its own.

    precision: "float32" or "float64", the dtype of every floating-point value, inputs and outputs included; or
        "bfloat16" or "int8", the precision of weights, with everything else in float32.
    overrides: other precisions for the weights of the nodes with these outputs or names.
    packs: of an executable of the same graph, to be shared.
    weight_precisions: what each node with weights got, by its first output, and why where it is not what was asked.
    threads: cores that one call may use; a program too small to gain from more than one uses one.
    budget: of the plans that are kept, with their arenas, for the shapes that have come; the least used are forgotten.

    Raises `UnsupportedModelError` that lists every node that cannot be run.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        precision: str = "float32",
        threads: int = 1,
        overrides: Mapping[str, str] | None = None,
        packs: Packs | None = None,
        budget: Budget | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise UnsupportedModelError(f"precision {precision!r} is not supported; there are {', '.join(PRECISIONS)}")
        check_threads(threads)
        self.budget = Budget(PLAN_BYTES) if budget is None else budget
        check_supported(graph)
        self.graph = graph.validate()
        keep_rows = "int8" in (precision, *(overrides or {}).values())
        with plain_mode():
            self._simplified = simplify(_with_plain_bools(graph), keep_rows=keep_rows)
            self._rows = kept_rows(self._simplified) if keep_rows else {}
            self.precision, self.float_dtype = precision, FLOAT_DTYPES[precision]
            self.weight_precisions = weight_precisions(self._simplified, precision, overrides)
            if self.float_dtype == "float32":
                lowp = [name for name, chosen in self.weight_precisions.items() if chosen.precision in LOWP]
                self._simplified = merge_quantised(self._simplified, lowp)
        self.threads = threads
        self.inputs = tuple(typed_spec(spec, precision) for spec in graph.inputs)
        self.outputs = tuple(typed_spec(spec, precision) for spec in graph.outputs)
        self._packs: Packs = {} if packs is None else packs
        self._routes: dict[Shapes, Route] = {}
        self._last: Route | None = None

    def program(self, shapes: Mapping[str, tuple[int, ...]]) -> Program:
        """The program for inputs of these shapes, planned if it is not at hand; the least used are forgotten."""
        return self.route(shapes).program

    def route(self, shapes: Mapping[str, tuple[int, ...]]) -> Route:
        """The program for inputs of these shapes, ready to be called."""
        key = tuple(tuple(shapes[spec.name]) for spec in self.inputs)
        with lock:
            route = self._routes.get(key)
            if route is not None:
                self.budget.touch((id(self), key))
                return route
            dtypes = {spec.name: spec.dtype for spec in self.inputs}
            with plain_mode():
                program = make_program(
                    self._simplified,
                    shapes,
                    dtypes,
                    self.float_dtype,
                    self._packs,
                    self.threads,
                    self.weight_precisions,
                    self._rows,
                )
            route = Route(program)
            self.budget.add((id(self), key), route.nbytes, partial(self._routes.pop, key, None))
            self._routes[key] = route
            return route

    def run(self, inputs: Mapping[str, ArrayLike], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Outputs by name.

        out: arrays to write outputs into, by name: C-contiguous, writable, of the output's exact shape and dtype. One
        may be an input, too; two of them may not overlap.

        Raises `ShapeError` where an array does not fit: the name, what came, what was expected.
        """
        if (results := self._run_again(inputs, out)) is not None:
            return results
        arrays = self.bind(inputs)
        route = self.route({name: a.shape for name, a in arrays.items()})
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

    def _run_again(self, inputs: Mapping[str, ArrayLike], out: Mapping[str, Array] | None) -> dict[str, Array] | None:
        """The program of the last call, if every array that is given fits it as it is; None if not."""
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
        return results if route.call(arrays, tuple(results.values())) else None

    def profile(self, inputs: Mapping[str, ArrayLike]) -> list[Timing]:
        """How long each instruction of the program for these inputs takes, in order, on one thread.

        Raises `ShapeError` where an array does not fit.
        """
        arrays = self.bind(inputs)
        program = self.program({name: a.shape for name, a in arrays.items()})
        results = tuple([_empty(slot.shape, slot.dtype) for slot in program.outputs.values()])
        return profile(program, tuple([arrays[name] for name in program.inputs]), results)

    def bind(self, inputs: Mapping[str, ArrayLike]) -> dict[str, Array]:
        """The inputs as C-contiguous arrays of the dtypes that the programs read. Raises `ShapeError`."""
        bound = bind_inputs(self.inputs, inputs)
        return {
            spec.name: np.ascontiguousarray(bound[spec.name], dtype=spec.dtype).reshape(bound[spec.name].shape)
            for spec in self.inputs
        }


def _with_plain_bools(graph: Graph) -> Graph:
    """The graph with each byte of a bool constant 0 or 1, as handlers take them."""
    bools = {name: np.not_equal(a.view(np.uint8), 0) for name, a in graph.constants.items() if a.dtype == bool}
    return replace(graph, constants={**graph.constants, **bools}) if bools else graph


def checked_out(slots: Mapping[str, Slot], out: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """`out` as a dict. Raises `ShapeError` for an array that does not fit its slot, or overlaps another."""
    if not isinstance(out, Mapping):
        raise ShapeError(f"out: got {type(out).__name__}, expected arrays by output name")
    out = dict(out)  # a mapping may answer otherwise the next time
    if unknown := [name for name in out if name not in slots]:
        raise ShapeError(f"out: unknown outputs {unknown}; expected some of {list(slots)}")
    for name, array in out.items():
        slot = slots[name]
        expected = f"expected {slot.dtype} {slot.shape}"
        if not isinstance(array, np.ndarray):
            raise ShapeError(f"out {name!r}: got {type(array).__name__}, {expected}")
        faults = "" if array.flags.c_contiguous else ", not C-contiguous"
        faults += "" if array.flags.writeable else ", not writable"
        if array.shape != slot.shape or array.dtype != slot.dtype or faults:
            raise ShapeError(f"out {name!r}: got {array.dtype} {array.shape}{faults}, {expected}")
    for (first, a), (second, b) in itertools.combinations(out.items(), 2):
        if np.may_share_memory(a, b):
            raise ShapeError(f"out: {first!r} and {second!r} overlap, expected arrays of their own")
    return out
