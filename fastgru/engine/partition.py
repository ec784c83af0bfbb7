"""Graphs that take more than one program: those with foreign nodes, and those whose weights come with the inputs.

onnx's own implementation runs a foreign node, unless the node is a Python function of the caller. Executables run the
partitions between foreign nodes.

Between two partitions every value is an array (between two foreign nodes it may be any object of onnx). An executable
is made for each combination of input dtypes, when it first comes, and plans a program for each combination of shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from fastgru.budget import Budget
from fastgru.engine.executable import Executable
from fastgru.engine.plan import RECURRENT, check_supported, given_weights
from fastgru.engine.precision import WeightPrecision, prepare
from fastgru.engine.runnable import Runnable, copied_out
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import DTYPES, Array, Graph, Node, TensorSpec
from fastgru.precisions import Precision, split_precision
from fastgru.process import lock
from fastgru.reference.evaluate import check_node
from fastgru.reference.facts import ValueFacts, infer_graph
from fastgru.reference.foreign import OUTSIDE, check_foreign, describe_foreign, evaluate_foreign
from fastgru.reference.loop import iterations
from fastgru.reference.operator import is_floating
from fastgru.reference.python import PYTHON

if TYPE_CHECKING:
    from fastgru.engine.profile import Timing

__all__ = ["Partitioned", "Reweighted", "foreign_nodes", "make_runnable"]

_Run = Callable[[Executable, Mapping[str, Any]], dict[str, Array]]


def make_runnable(
    graph: Graph,
    *,
    precision: Precision = "float32",
    threads: int = 1,
    budget: Budget | None = None,
    spin_us: float = 0,
) -> Runnable:
    """Return the object that runs the graph, with arguments and errors as for `Executable`.

    A graph takes several programs if it has foreign nodes, if recurrent weights are computed from its inputs, or if a
    node reads the stacked output of a loop whose length is known only after it has run. Raises `UnsupportedModelError`
    for precisions of single nodes of such a graph, unless only its weights are computed.
    """
    if given := given_weights(graph):
        return Reweighted(graph, tuple(given), precision=precision, threads=threads, budget=budget, spin_us=spin_us)
    if not foreign_nodes(graph) and not open_ended(graph).intersection(name for n in graph.nodes for name in n.inputs):
        return Executable(graph, precision=precision, threads=threads, budget=budget, spin_us=spin_us)
    common, overrides = split_precision(precision)
    if overrides:
        raise UnsupportedModelError(
            "a model that is not one program, because onnx or Python runs some nodes or a loop is of unknown length,"
            " takes one precision for all the others"
        )
    return Partitioned(graph, precision=common, threads=threads, budget=budget, spin_us=spin_us)


def foreign_nodes(graph: Graph) -> tuple[Node, ...]:
    """Return the nodes that fastgru does not run itself."""
    return tuple(node for node in graph.nodes if node.op in OUTSIDE)


class Partitioned(Runnable):
    """A graph with foreign nodes, or with loops of unknown length, whose partitions run one after the other.

    Raises as `Runnable`, and `UnsupportedModelError` that lists every node that cannot be run, also foreign nodes that
    onnx does not know. `run` raises `ShapeError` that names a foreign node if the node refuses its inputs.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        precision: str = "float32",
        threads: int = 1,
        budget: Budget | None = None,
        spin_us: float = 0,
    ) -> None:
        super().__init__(graph, precision, threads, budget, spin_us)
        self._partitions = [_Partition(self, nodes, later) for nodes, later in _cut(graph)]

    def _check(self, graph: Graph) -> None:
        for node in foreign_nodes(graph.validate()):
            check_foreign(node)
        check_supported(replace(graph, nodes=tuple(node for node in graph.nodes if node.op not in OUTSIDE)))

    def run(self, inputs: Mapping[str, ArrayLike], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        results = self._outputs(inputs, Executable.run)
        return results if out is None else copied_out(results, out)

    def plan(self, inputs: Mapping[str, ArrayLike]) -> dict[str, Array]:
        return self._outputs(inputs, Executable.plan)

    def _outputs(self, inputs: Mapping[str, ArrayLike], run: _Run) -> dict[str, Array]:
        values: dict[str, Any] = {**self.graph.constants, **self.bind(inputs)}
        for partition in self._partitions:
            values.update(partition.run(values, run))
        return {spec.name: self._output(spec, values[spec.name]) for spec in self.graph.outputs}

    def _output(self, spec: TensorSpec, value: Any) -> Array:
        if not isinstance(value, np.ndarray):
            raise UnsupportedModelError(f"output {spec.name!r}: got {type(value).__name__}, expected an array")
        return np.array(value, dtype=self.float_dtype if is_floating(value.dtype) else None, order="C")

    def route(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        return None

    def profile(self, inputs: Mapping[str, ArrayLike]) -> NoReturn:
        raise UnsupportedModelError(
            "a model of which onnx or Python runs some nodes, or whose loops are of unknown length, is not one program;"
            " it has no profile"
        )

    @property
    def weight_precisions(self) -> Mapping[str, WeightPrecision]:
        if not foreign_nodes(self.graph):
            return prepare(self.graph, self.precision)[1].weights
        raise UnsupportedModelError(
            "a model of which onnx or Python runs some nodes is planned partition by partition as it runs"
        )

    def to_graph(self) -> Graph:
        return self.graph


class Reweighted(Runnable):
    """A graph that computes weights of its recurrent layers, also of those in loops and branches, from its inputs.

    given: the names of these weights. The nodes that compute them run first. The rest of the graph runs with them as
    constants. If their bytes differ from those of the last call, they are packed and planned with again: such a call
    costs as much as loading a model of that size.

    Raises as `Runnable`.
    """

    def __init__(
        self,
        graph: Graph,
        given: Sequence[str],
        *,
        precision: Precision,
        threads: int,
        budget: Budget | None,
        spin_us: float,
    ) -> None:
        super().__init__(graph, precision, threads, budget, spin_us)
        self._asked, self._given = precision, tuple(given)
        outputs = tuple(TensorSpec(name, self.float_dtype, None) for name in given)
        made = _needed(replace(graph, outputs=outputs, states={}, starts={}))
        self._team: dict[str, Any] = {"threads": threads, "spin_us": spin_us}
        self._weights = make_runnable(made, precision=self.float_dtype, budget=self.budget, **self._team)
        renamed = {name: f"{name}, given" for name in given}
        self._rest = _needed(
            replace(graph, nodes=tuple(_renamed(n, renamed) for n in graph.nodes), states={}, starts={})
        )
        self._renamed = renamed
        self._last: tuple[list[Array], Runnable] | None = None

    def _check(self, graph: Graph) -> None:
        ours = replace(graph.validate(), nodes=tuple(node for node in graph.nodes if node.op not in OUTSIDE))
        check_supported(ours)

    def run(self, inputs: Mapping[str, ArrayLike], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        bound = self.bind(inputs)
        rest = self._weighted(bound, self._weights.run)
        return rest.run({spec.name: bound[spec.name] for spec in rest.inputs}, out)

    def plan(self, inputs: Mapping[str, ArrayLike]) -> dict[str, Array]:
        bound = self.bind(inputs)
        rest = self._weighted(bound, self._weights.plan)
        return rest.plan({spec.name: bound[spec.name] for spec in rest.inputs})

    def _weighted(self, bound: Mapping[str, Array], run: Callable[[dict[str, Array]], dict[str, Array]]) -> Runnable:
        """Return the rest of the graph with the weights that `run` computes from these inputs."""
        results = run({spec.name: bound[spec.name] for spec in self._weights.inputs})
        arrays = [results[name] for name in self._given]
        last = self._last
        if last is not None and all(a.tobytes() == b.tobytes() for a, b in zip(arrays, last[0], strict=True)):
            return last[1]
        constants = {self._renamed[name]: array for name, array in zip(self._given, arrays, strict=True)}
        graph = replace(self._rest, constants={**self._rest.constants, **constants})
        # It has a budget of its own: plans in a common budget would keep the weights of earlier calls in memory.
        made = make_runnable(graph, precision=self._asked, budget=Budget(self.budget.limit), **self._team)
        self._last = arrays, made
        return made

    def route(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        return None

    def profile(self, inputs: Mapping[str, ArrayLike]) -> list[Timing]:
        bound = self.bind(inputs)
        rest = self._weighted(bound, self._weights.run)
        return rest.profile({spec.name: bound[spec.name] for spec in rest.inputs})

    @property
    def weight_precisions(self) -> Mapping[str, WeightPrecision]:
        raise UnsupportedModelError(
            f"the weights {', '.join(map(repr, self._given[:8]))} come with the inputs; none are known before a run"
        )

    def to_graph(self) -> Graph:
        return self.graph


def _renamed(node: Node, names: Mapping[str, str]) -> Node:
    """Return the node with other names for the weights that the node or one of its bodies reads."""
    captured = max((len(body.captured) for body in node.bodies.values()), default=0)
    first = 1 if node.op in RECURRENT else len(node.inputs) - captured
    inputs = tuple(names.get(name, name) if i >= first else name for i, name in enumerate(node.inputs))
    made = replace(node, inputs=inputs)
    return replace(made, attrs={**node.attrs, **{key: body.by_name(made) for key, body in node.bodies.items()}})


def _needed(graph: Graph) -> Graph:
    """Return the graph with only the nodes, inputs and constants that the outputs need."""
    needed = {spec.name for spec in graph.outputs}
    nodes = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            needed.update(name for name in node.inputs if name)
            nodes.append(node)
    return replace(
        graph,
        nodes=tuple(nodes[::-1]),
        inputs=tuple(spec for spec in graph.inputs if spec.name in needed),
        constants={name: array for name, array in graph.constants.items() if name in needed},
    )


class _Partition:
    """Nodes that fastgru runs, or one foreign node. later: the names that a later partition or an output reads."""

    def __init__(self, owner: Partitioned, nodes: Sequence[Node], later: frozenset[str]) -> None:
        self._owner, self._nodes = owner, tuple(nodes)
        made = {name for node in nodes for name in node.outputs if name}
        read = dict.fromkeys(name for node in nodes for name in node.inputs if name and name not in made)
        constants = owner.graph.constants
        self._constants = {name: constants[name] for name in read if name in constants}
        self._reads = [name for name in read if name not in constants]
        self._gives = sorted(made & later)
        self._specs = {spec.name: spec for spec in owner.graph.inputs}
        self._executables: dict[tuple[str, ...], Executable] = {}

    def run(self, values: Mapping[str, Any], run: _Run) -> dict[str, Any]:
        first = self._nodes[0]
        if first.op in OUTSIDE:
            arrays = [values[name] if name else None for name in first.inputs]
            if first.op == PYTHON:
                arrays = [self._in_precision(a) for a in arrays]
            results = evaluate_foreign(first, arrays)
            if first.op == PYTHON:
                results = tuple(map(self._in_precision, results))
            return {name: a for name, a in zip(first.outputs, results, strict=True) if name}
        if not self._gives:
            return {}
        given = {name: values[name] for name in self._reads}
        return dict(run(self._executable(given), given))

    def _in_precision(self, array: Any) -> Any:
        return array.astype(self._owner.float_dtype, copy=False) if is_floating(array.dtype) else array

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
            # The declared dtype of a partition's output is not read: the array that comes has the true one.
            outputs=tuple(TensorSpec(name, self._owner.float_dtype, None) for name in self._gives),
            nodes=self._nodes,
            constants=self._constants,
            name=self._owner.graph.name,
        )
        owner = self._owner
        return Executable(
            graph, precision=owner.precision, threads=owner.threads, budget=owner.budget, spin_us=owner.spin_us
        )


def _cut(graph: Graph) -> list[tuple[list[Node], frozenset[str]]]:
    """Cut the nodes into partitions that hold as many nodes as possible; a foreign node is a partition of its own.

    Each partition comes with the names that are read after it. The stacked outputs of a loop of unknown length can be
    read only in later partitions than its own.
    """
    known, late = {*graph.constants, *(spec.name for spec in graph.inputs)}, open_ended(graph)
    waiting = list(graph.nodes)
    partitions: list[list[Node]] = []
    while waiting:
        for foreign in (False, True):
            ready: list[Node] = []
            rest: list[Node] = []
            stacked: set[str] = set()
            for node in waiting:
                fits = (node.op in OUTSIDE) == foreign and all(name in known for name in node.inputs if name)
                ends = late.intersection(node.outputs)
                fits = fits and not (ends and stacked)  # a program has at most one such loop
                (ready if fits else rest).append(node)
                if fits:
                    stacked |= ends
                    known.update(name for name in node.outputs if name and name not in ends)
            known |= stacked
            partitions += [[node] for node in ready] if foreign else [ready] if ready else []
            waiting = rest
    sized = _of_shapes(graph)
    partitions = [_with_shapes(nodes, sized) for nodes in partitions]
    wanted = {spec.name for spec in graph.outputs}
    result = []
    for nodes in reversed(partitions):
        result.append((nodes, frozenset(wanted)))
        wanted.update(name for node in nodes for name in node.inputs if name)
    return result[::-1]


def _of_shapes(graph: Graph) -> dict[str, Node]:
    """Return the nodes that depend on shapes and constants alone, by the names of their outputs."""
    found: dict[str, Node] = {}
    for node in graph.nodes:
        known = bool(node.inputs) and all(name in found or name in graph.constants for name in node.inputs if name)
        if node.op == "shape" or (known and node.op not in OUTSIDE and not node.bodies):
            found.update(dict.fromkeys(node.outputs, node))
    return found


def _with_shapes(nodes: Sequence[Node], sized: Mapping[str, Node]) -> list[Node]:
    """Return the nodes of a partition, preceded by copies of the nodes that compute the shapes it reads.

    An input of a partition is data, but a plan must know shapes.
    """
    if nodes[0].op in OUTSIDE:
        return list(nodes)
    made = {name for node in nodes for name in node.outputs}
    before: list[Node] = []
    reading = list(nodes)
    while reading:
        missing = dict.fromkeys(name for node in reading for name in node.inputs if name in sized and name not in made)
        reading = list({id(sized[name]): sized[name] for name in missing}.values())
        made.update(name for node in reading for name in node.outputs)
        before = [*reading, *before]
    return [*before, *nodes]


def open_ended(graph: Graph) -> set[str]:
    """Return the names of the stacked outputs of loops whose number of iterations is known only after they have run.

    Raises `InvalidModelError` or `UnsupportedModelError` for a loop that is not valid.
    """
    loops = [node for node in graph.nodes if node.op == "loop"]
    for node in loops:
        check_node(node)
    facts = infer_graph(graph) if loops else {}
    return {
        name
        for node in loops
        if iterations([facts.get(n, ValueFacts()) if n else None for n in node.inputs], node.attrs) is None
        for name in node.outputs[node.attrs["states"] :]
        if name
    }
