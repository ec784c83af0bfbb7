"""The interface of graphs that run: as one program, or with some nodes left to other runtimes."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgru.budget import PLAN_BYTES, Budget
from fastgru.engine.precision import WeightPrecision
from fastgru.engine.program import Program, Slot
from fastgru.engine.route import Route
from fastgru.engine.threads import check_threads
from fastgru.errors import ShapeError
from fastgru.graph import Graph, TensorSpec
from fastgru.modules import importing
from fastgru.precisions import Precision, float_dtype_of, split_precision
from fastgru.process import once
from fastgru.reference import bind_inputs
from fastgru.reference.operator import numpy_dtype
from fastgru.reference.python import with_named_functions

if TYPE_CHECKING:
    from fastgru.engine.profile import Timing

__all__ = ["Runnable", "checked_out", "copied_out"]

_FLOATS: Final = ("float64", "float32", "float16", "bfloat16")

Array = NDArray[Any]


class Runnable(ABC):
    """A graph that runs in a precision. Safe to call from several threads at once.

    inputs, outputs: those of the graph, with the dtypes that it computes in. budget: bytes of the plans, with their
    arenas, that are kept for shapes that have come; the least recently used are forgotten.

    Raises `UnsupportedModelError` for a precision, a number of threads or a `spin_us` that is not supported.
    """

    def __init__(
        self, graph: Graph, precision: Precision, threads: int, budget: Budget | None, spin_us: float = 0
    ) -> None:
        self.precision, _ = split_precision(precision)
        self.float_dtype, self.threads, self.spin_us = float_dtype_of(self.precision), threads, spin_us
        check_threads(threads, spin_us)
        self.budget = Budget(PLAN_BYTES) if budget is None else budget
        self._check(graph)
        self.graph = graph.validate()
        self.inputs = tuple(self._typed(spec) for spec in graph.inputs)
        self.outputs = tuple(self._typed(spec) for spec in graph.outputs)
        self._dtypes = {spec.name: numpy_dtype(spec.dtype) for spec in self.inputs}

    def _typed(self, spec: TensorSpec) -> TensorSpec:
        """Return the spec, with a floating-point dtype replaced by the one that the graph computes in."""
        return replace(spec, dtype=self.float_dtype) if spec.dtype in _FLOATS else spec

    @abstractmethod
    def _check(self, graph: Graph) -> None:
        """Raise `UnsupportedModelError` that lists every node that cannot be run."""

    @abstractmethod
    def run(self, inputs: Mapping[str, ArrayLike], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Run on the inputs, and return the outputs by name.

        out: arrays to write outputs into, by name: C-contiguous, writable, of the output's exact shape and dtype. An
        array may be an input, too; two of them may not overlap.

        Raises `ShapeError` if an array does not fit, with its name, what came and what was expected.
        """

    @abstractmethod
    def route(self, shapes: Mapping[str, tuple[int, ...]]) -> Route | None:
        """Return the program for these input shapes, ready to be called; None if no single program does the work."""

    @abstractmethod
    def plan(self, inputs: Mapping[str, ArrayLike]) -> dict[str, Array]:
        """Plan every program that a run on these inputs needs, run none, and return the outputs of the definition.

        Raises `ShapeError` if an array does not fit.
        """

    def planned(self, shapes: Mapping[str, tuple[int, ...]]) -> Program | None:
        """Return a new program for inputs of these shapes, which the caller keeps: the budget does not count it.

        Returns None if no single program does the work.
        """
        return None

    @abstractmethod
    def profile(self, inputs: Mapping[str, ArrayLike]) -> list[Timing]:
        """Time each instruction of one run on these inputs, in order, on one thread.

        Raises `ShapeError` if an input does not fit, `UnsupportedModelError` if other runtimes run some nodes.
        """

    @property
    @abstractmethod
    def weight_precisions(self) -> Mapping[str, WeightPrecision]:
        """The weight precision of each node, by its first output, with the reason unless it was asked for by name.

        Raises `UnsupportedModelError` if other runtimes run some nodes.
        """

    @abstractmethod
    def to_graph(self) -> Graph:
        """Return the graph with its weights in the precisions that they have here."""

    @once
    def fingerprint(self) -> str:
        """Return a hash of the graph and its weights, which the precision does not change; functions count by name."""
        with importing:
            import hashlib

            from fastgru.graphfile import graph_to_bytes

        return hashlib.sha256(graph_to_bytes(with_named_functions(self.graph))).hexdigest()

    def bind(self, inputs: Mapping[str, ArrayLike]) -> dict[str, Array]:
        """Return the inputs as C-contiguous arrays of the dtypes that the graph computes in. Raises `ShapeError`."""
        bound = bind_inputs(self.inputs, inputs)
        return {
            name: np.ascontiguousarray(bound[name], dtype).reshape(bound[name].shape)
            for name, dtype in self._dtypes.items()
        }


def checked_out(slots: Mapping[str, Slot], out: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return `out` as a dict. Raises `ShapeError` for an array that does not fit its slot, or overlaps another."""
    if not isinstance(out, Mapping):
        raise ShapeError(f"out: got {type(out).__name__}, expected arrays by output name")
    out = dict(out)  # the mapping may return other arrays the next time
    if unknown := [name for name in out if name not in slots]:
        raise ShapeError(f"out: got the unknown outputs {unknown}, expected some of {list(slots)}")
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
            raise ShapeError(f"out: {first!r} and {second!r} overlap, expected separate arrays")
    return out


def copied_out(results: Mapping[str, Array], out: Mapping[str, Array]) -> dict[str, Array]:
    """Copy results that are already computed into the arrays of `out` that have their names, and return all results.

    Raises as `checked_out`.
    """
    slots = {name: Slot(0, a.shape, a.dtype.name) for name, a in results.items()}
    given = checked_out(slots, out)
    for name, array in given.items():
        array[...] = results[name]
    return {**results, **given}
