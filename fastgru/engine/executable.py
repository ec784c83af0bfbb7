"""A graph that can be run: one program for each combination of input shapes, made when it first comes."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgru.engine.builder import Packs
from fastgru.engine.passes import merge_quantised, simplify
from fastgru.engine.passes.rows import kept_rows
from fastgru.engine.plan import check_supported, make_program
from fastgru.engine.precision import FLOAT_DTYPES, PRECISIONS, SMALL, weight_precisions
from fastgru.engine.profile import Timing, profile
from fastgru.engine.program import Frame, Program, Slot
from fastgru.engine.team import check_threads
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Graph, TensorSpec
from fastgru.kernels.run import apart, putter
from fastgru.reference import bind_inputs
from fastgru.simd.ndarray import WRITEABLE, expectation

__all__ = ["PRECISIONS", "Executable", "checked_out", "typed_spec"]

_FLOATS: Final = ("float64", "float32", "float16", "bfloat16")
_MAX_PROGRAMS: Final = 64
_MAX_IDLE_FRAMES: Final = 4

Shapes = tuple[tuple[int, ...], ...]


def typed_spec(spec: TensorSpec, precision: str) -> TensorSpec:
    """The spec with the dtype that `precision` computes in for a floating-point one."""
    return replace(spec, dtype=FLOAT_DTYPES[precision]) if spec.dtype in _FLOATS else spec


class _Route:
    """A program with what a call of it needs at hand: idle frames, and what its inputs and outputs must be."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.put = putter()
        self._idle: list[Frame] = []
        self._expected: list[NDArray[Any]] = []
        self.inputs = [(name, slot.base, self._expect(slot, 0)) for name, slot in program.inputs.items()]
        self.outputs = [
            (name, slot.base, self._expect(slot, WRITEABLE), slot.shape, np.dtype(slot.dtype))
            for name, slot in program.outputs.items()
        ]

        slots = [*program.inputs.values(), *program.outputs.values()]
        sizes = [np.dtype(s.dtype).itemsize * prod(s.shape) for s in slots]
        self._slots = np.array([(s.base, size) for s, size in zip(slots, sizes, strict=True)], np.int64)
        self.apart, self.slots = apart(), (int(self._slots.ctypes.data), len(program.inputs), len(program.outputs))

    def _expect(self, slot: Slot, flags: int) -> int:
        words = expectation(np.empty(slot.shape, slot.dtype), flags)
        self._expected.append(words)
        return int(words.ctypes.data)

    def frame(self) -> Frame:
        """A frame for one call."""
        try:
            return self._idle.pop()
        except IndexError:
            return Frame(self.program)

    def give_back(self, frame: Frame) -> None:
        if len(self._idle) < _MAX_IDLE_FRAMES:
            self._idle.append(frame)


class Executable:
    """Runs a graph in a precision. Safe to call from several threads at once: each call has a frame of its own.

    precision: "float32" or "float64", the dtype of every floating-point value, inputs and outputs included; or
        "bfloat16" or "int8", the precision of weights, with everything else in float32.
    overrides: other precisions for the weights of the nodes with these outputs or names.
    packs: of an executable of the same graph, to be shared.
    weight_precisions: what each node with weights got, by its first output, and why where it is not what was asked.
    threads: cores that one call may use; a program too small to gain from more than one uses one.

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
    ) -> None:
        if precision not in PRECISIONS:
            raise UnsupportedModelError(f"precision {precision!r} is not supported; there are {', '.join(PRECISIONS)}")
        check_threads(threads)
        check_supported(graph)
        self.graph = graph.validate()
        keep_rows = "int8" in (precision, *(overrides or {}).values())
        self._simplified = simplify(graph, keep_rows=keep_rows)
        self._rows = kept_rows(self._simplified) if keep_rows else {}
        self.precision, self.float_dtype = precision, FLOAT_DTYPES[precision]
        self.weight_precisions = weight_precisions(self._simplified, precision, overrides)
        if self.float_dtype == "float32":
            small = [name for name, chosen in self.weight_precisions.items() if chosen.precision in SMALL]
            self._simplified = merge_quantised(self._simplified, small)
        self.threads = threads
        self.inputs = tuple(typed_spec(spec, precision) for spec in graph.inputs)
        self.outputs = tuple(typed_spec(spec, precision) for spec in graph.outputs)
        self._packs: Packs = {} if packs is None else packs
        self._routes: OrderedDict[Shapes, _Route] = OrderedDict()
        self._last: _Route | None = None
        self._lock = threading.Lock()

    def program(self, shapes: Mapping[str, tuple[int, ...]]) -> Program:
        """The program for inputs of these shapes, planned if it is not at hand; the least used are forgotten."""
        return self._route(shapes).program

    def _route(self, shapes: Mapping[str, tuple[int, ...]]) -> _Route:
        key = tuple(tuple(shapes[spec.name]) for spec in self.inputs)
        with self._lock:
            route = self._routes.get(key)
            if route is None:
                dtypes = {spec.name: spec.dtype for spec in self.inputs}
                route = _Route(
                    make_program(
                        self._simplified,
                        shapes,
                        dtypes,
                        self.float_dtype,
                        self._packs,
                        self.threads,
                        self.weight_precisions,
                        self._rows,
                    )
                )
                self._routes[key] = route
                while len(self._routes) > _MAX_PROGRAMS:
                    self._routes.popitem(last=False)
            else:
                self._routes.move_to_end(key)
            return route

    def run(
        self, inputs: Mapping[str, ArrayLike], out: Mapping[str, NDArray[Any]] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Outputs by name.

        out: arrays to write outputs into, by name: C-contiguous, writable, of the output's exact shape and dtype. One
        may be an input, too; two of them may not overlap.

        Raises `ShapeError` where an array does not fit: the name, what came, what was expected.
        """
        if (results := self._run_again(inputs, out)) is not None:
            return results
        arrays = self.bind(inputs)
        route = self._route({name: a.shape for name, a in arrays.items()})
        program = route.program
        given = {} if out is None else checked_out(program.outputs, out)
        if given:
            # A node may write an output before another has read the input that it lies in.
            arrays = {
                name: a.copy() if any(np.may_share_memory(a, o) for o in given.values()) else a
                for name, a in arrays.items()
            }
        results = {
            name: given[name] if name in given else np.empty(slot.shape, slot.dtype)
            for name, slot in program.outputs.items()
        }
        frame = route.frame()
        bases = frame.bases
        for name, slot in program.inputs.items():
            bases[slot.base] = arrays[name].ctypes.data
        for name, slot in program.outputs.items():
            bases[slot.base] = results[name].ctypes.data
        try:
            frame.run_shared()
        finally:
            route.give_back(frame)
        self._last = route
        return results

    def _run_again(
        self, inputs: Mapping[str, ArrayLike], out: Mapping[str, NDArray[Any]] | None
    ) -> dict[str, NDArray[Any]] | None:
        """The program of the last call, if every array that is given fits it as it is; None if not."""
        route = self._last
        if route is None or route.put is None or len(inputs) != len(route.inputs):
            return None
        if out is not None and (type(out) is not dict or len(out) != len(route.outputs)):
            return None
        frame = route.frame()
        put, at = route.put, frame.bases_at
        try:
            for name, index, expected in route.inputs:
                if not put(at, index, expected, inputs[name]):
                    return None
            results = {}
            for name, index, expected, shape, dtype in route.outputs:
                results[name] = array = np.empty(shape, dtype) if out is None else out[name]
                if not put(at, index, expected, array):
                    return None
            if out is not None and not route.apart(at, *route.slots):
                return None
            frame.run_shared()
        except KeyError:
            return None
        finally:
            route.give_back(frame)
        return results

    def profile(self, inputs: Mapping[str, ArrayLike]) -> list[Timing]:
        """How long each instruction of the program for these inputs takes, in order, on one thread.

        Raises `ShapeError` where an array does not fit.
        """
        arrays = self.bind(inputs)
        frame = Frame(self.program({name: a.shape for name, a in arrays.items()}))
        program = frame.program
        results = {name: np.empty(slot.shape, slot.dtype) for name, slot in program.outputs.items()}
        for slots, bound in ((program.inputs, arrays), (program.outputs, results)):
            for name, slot in slots.items():
                frame.bases[slot.base] = bound[name].ctypes.data
        return profile(frame)

    def bind(self, inputs: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
        """The inputs as C-contiguous arrays of the dtypes that the programs read. Raises `ShapeError`."""
        bound = bind_inputs(self.inputs, inputs)
        return {
            spec.name: np.ascontiguousarray(bound[spec.name], dtype=spec.dtype).reshape(bound[spec.name].shape)
            for spec in self.inputs
        }


def checked_out(slots: Mapping[str, Slot], out: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """`out` as a dict. Raises `ShapeError` for an array that does not fit its slot, or overlaps another."""
    if not isinstance(out, Mapping):
        raise ShapeError(f"out: got {type(out).__name__}, expected arrays by output name")
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
    return dict(out)
