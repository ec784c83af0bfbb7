"""A graph with foreign nodes: executables for the stretches between them, and onnx's own implementation for each.

Between two pieces every value is an array (or whatever ONNX hands on, from one foreign node to the next), with the
shape and dtype that came; an executable is made when its dtypes first come, and plans a program for each shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgru.budget import PLAN_BYTES, Budget
from fastgru.engine.executable import PRECISIONS, Executable, checked_out, typed_spec
from fastgru.engine.plan import check_supported
from fastgru.engine.precision import FLOAT_DTYPES
from fastgru.engine.program import Slot
from fastgru.engine.threads import check_threads
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import DTYPES, Graph, Node, TensorSpec
from fastgru.process import lock
from fastgru.reference import bind_inputs
from fastgru.reference.foreign import FOREIGN, check_foreign, describe_foreign, evaluate_foreign
from fastgru.reference.operator import is_floating, numpy_dtype

__all__ = ["Pieces", "foreign_nodes"]

Array = NDArray[Any]


def foreign_nodes(graph: Graph) -> tuple[Node, ...]:
    """The nodes that no engine runs."""
    return tuple(node for node in graph.nodes if node.op == FOREIGN)


class Pieces:
    """As `Executable` towards a caller, for a graph with foreign nodes. Safe to call from several threads at once.

    Raises `UnsupportedModelError` that lists every node that cannot be run, a foreign one that onnx does not know too.
    """

    def __init__(
        self, graph: Graph, *, precision: str = "float32", threads: int = 1, budget: Budget | None = None
    ) -> None:
        if precision not in PRECISIONS:
            raise UnsupportedModelError(f"precision {precision!r} is not supported; there are {', '.join(PRECISIONS)}")
        check_threads(threads)
        self.graph = graph.validate()
        for node in foreign_nodes(graph):
            check_foreign(node)
        check_supported(replace(graph, nodes=tuple(node for node in graph.nodes if node.op != FOREIGN)))
        self.precision, self.threads = precision, threads
        self.budget = Budget(PLAN_BYTES) if budget is None else budget
        self.inputs = tuple(typed_spec(spec, precision) for spec in graph.inputs)
        self.outputs = tuple(typed_spec(spec, precision) for spec in graph.outputs)
        self._pieces = [_Piece(self, nodes, later) for nodes, later in _cut(graph)]

    def run(self, inputs: Mapping[str, ArrayLike], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Outputs by name; arguments and errors as for `Executable.run`, and `ShapeError` naming a foreign node."""
        values: dict[str, Any] = {**self.graph.constants, **self.bind(inputs)}
        for piece in self._pieces:
            values.update(piece.run(values))
        results = {spec.name: self._output(spec, values[spec.name]) for spec in self.graph.outputs}
        if out is None:
            return results
        slots = {name: Slot(0, a.shape, a.dtype.name) for name, a in results.items()}
        for name, array in checked_out(slots, out).items():
            array[...] = results[name]
            results[name] = array
        return results

    def _output(self, spec: TensorSpec, value: Any) -> Array:
        if not isinstance(value, np.ndarray):
            raise UnsupportedModelError(f"output {spec.name!r}: a {type(value).__name__}, expected an array")
        return np.array(value, dtype=FLOAT_DTYPES[self.precision] if is_floating(value.dtype) else None, order="C")

    def bind(self, inputs: Mapping[str, ArrayLike]) -> dict[str, Array]:
        """The inputs as C-contiguous arrays of the dtypes that are computed in. Raises `ShapeError`."""
        bound = bind_inputs(self.inputs, inputs)
        return {
            spec.name: np.ascontiguousarray(bound[spec.name], dtype=numpy_dtype(spec.dtype)).reshape(
                bound[spec.name].shape
            )
            for spec in self.inputs
        }


class _Piece:
    """Nodes of ours, or one foreign node. later: the names that something behind it reads."""

    def __init__(self, owner: Pieces, nodes: Sequence[Node], later: frozenset[str]) -> None:
        self._owner, self._nodes = owner, tuple(nodes)
        made = {name for node in nodes for name in node.outputs if name}
        read = dict.fromkeys(name for node in nodes for name in node.inputs if name and name not in made)
        constants = owner.graph.constants
        self._constants = {name: constants[name] for name in read if name in constants}
        self._reads = [name for name in read if name not in constants]
        self._gives = sorted(made & later)
        self._specs = {spec.name: spec for spec in owner.graph.inputs}
        self._executables: dict[tuple[str, ...], Executable] = {}

    def run(self, values: Mapping[str, Any]) -> dict[str, Any]:
        first = self._nodes[0]
        if first.op == FOREIGN:
            results = evaluate_foreign(first, [values[name] if name else None for name in first.inputs])
            return {name: a for name, a in zip(first.outputs, results, strict=True) if name}
        if not self._gives:
            return {}
        given = {name: values[name] for name in self._reads}
        return dict(self._executable(given).run(given))

    def _executable(self, given: Mapping[str, Any]) -> Executable:
        dtypes = tuple(self._dtype(name, value) for name, value in given.items())
        with lock:
            if dtypes not in self._executables:
                self._executables[dtypes] = self._make(dict(zip(given, dtypes, strict=True)))
            return self._executables[dtypes]

    def _dtype(self, name: str, value: Any) -> str:
        if name in self._specs:
            return self._specs[name].dtype
        dtype = value.dtype.name if isinstance(value, np.ndarray) else type(value).__name__
        if dtype not in DTYPES:
            maker = next(n for n in self._owner.graph.nodes if name in n.outputs)
            raise ShapeError(f"{describe_foreign(maker)}: output {name!r} is {dtype}, expected {', '.join(DTYPES)}")
        return dtype

    def _make(self, dtypes: Mapping[str, str]) -> Executable:
        specs = [self._specs.get(name) or TensorSpec(name, dtype, None) for name, dtype in dtypes.items()]
        graph = Graph(
            inputs=tuple(specs),
            # Nobody reads what a piece declares of its outputs: their dtypes are those that come.
            outputs=tuple(TensorSpec(name, FLOAT_DTYPES[self._owner.precision], None) for name in self._gives),
            nodes=self._nodes,
            constants=self._constants,
            name=self._owner.graph.name,
        )
        owner = self._owner
        return Executable(graph, precision=owner.precision, threads=owner.threads, budget=owner.budget)


def _cut(graph: Graph) -> list[tuple[list[Node], frozenset[str]]]:
    """The nodes in an order in which as many of ours as possible stand together, each stretch with what is read later.

    A foreign node stands alone.
    """
    known = {*graph.constants, *(spec.name for spec in graph.inputs)}
    waiting = list(graph.nodes)
    stretches: list[list[Node]] = []
    while waiting:
        foreign = stretches != [] and stretches[-1][0].op != FOREIGN
        ready: list[Node] = []
        rest: list[Node] = []
        for node in waiting:
            fits = (node.op == FOREIGN) == foreign and all(name in known for name in node.inputs if name)
            (ready if fits else rest).append(node)
            if fits:
                known.update(name for name in node.outputs if name)
        if ready:
            stretches += [[node] for node in ready] if foreign else [ready]
        elif not foreign:
            # Nothing of ours is ready: the first that waits is foreign, for the graph is in order.
            stretches.append([rest.pop(0)])
            known.update(name for name in stretches[-1][0].outputs if name)
        waiting = rest
    wanted = {spec.name for spec in graph.outputs}
    result = []
    for nodes in reversed(stretches):
        result.append((nodes, frozenset(wanted)))
        wanted.update(name for node in nodes for name in node.inputs if name)
    return result[::-1]
