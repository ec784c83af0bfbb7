"""A model as plain data: named constants, nodes in execution order, typed inputs and outputs.

Importers and layers make graphs, `fastgru.engine` runs them, and `fastgru.reference` defines what each node means.
The operators with their inputs and attributes are those of `fastgru.reference.OPS`. All sources share this vocabulary:
a convention of a foreign format never appears here.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from types import MappingProxyType
from typing import Any, Final, Self

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import InvalidModelError
from fastgru.process import once
from fastgru.records import dataclass

__all__ = [
    "DTYPES",
    "MOST_DEPTH",
    "MOST_SIZE",
    "PRODUCT_DTYPES",
    "Array",
    "Graph",
    "Node",
    "Subgraph",
    "TensorSpec",
    "every_node",
    "inlined",
    "shape_text",
]


DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "uint16", "bool")
PRODUCT_DTYPES: Final = ("int8", "uint8")  # of the factors of an integer product
MOST_SIZE: Final = 1 << 40  # of an axis; a longer one fits no memory
MOST_DEPTH: Final = 16  # of nested graphs


def shape_text(shape: Sequence[int | str | None] | None, dims: Sequence[str | None] = ()) -> str:
    """A shape as messages print it: "(T, N, 40)", with "?" for a free dimension that has no name."""
    if shape is None:
        return "any shape"
    names = [*dims, *(None for _ in range(len(shape) - len(dims)))]
    sizes = [name or "?" if size is None else str(size) for size, name in zip(shape, names, strict=True)]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


@dataclass(frozen=True)
class TensorSpec:
    """The name, dtype and shape of an input or output. None stands for a free dimension.

    `shape` is None if a file does not give the rank. `dims` names the free dimensions that must agree between tensors
    ("batch", "T"), with None for a free dimension without a name. It is empty if nothing is named.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    dims: tuple[str | None, ...] = ()

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InvalidModelError(f"tensor {self.name!r}: dtype {self.dtype!r} is not one of {', '.join(DTYPES)}")
        sizes = [] if self.shape is None else self.shape
        if not all(n is None or (type(n) is int and 0 <= n <= MOST_SIZE) for n in sizes):
            raise InvalidModelError(f"tensor {self.name!r}: shape {self.shape!r:.80} is not a list of sizes")
        if not all(dim is None or type(dim) is str for dim in self.dims):
            raise InvalidModelError(f"tensor {self.name!r}: dims {self.dims!r:.80} is not a list of names")
        if self.dims and (self.shape is None or len(self.dims) != len(sizes)):
            raise InvalidModelError(f"tensor {self.name!r}: {len(self.dims)} dims do not fit the shape")

    def agrees(self, other: "TensorSpec") -> bool:
        """Return True if both have the same dtype, and shapes that agree as far as they are known.

        A state input and the output with its next value must agree in this way.
        """
        if self.dtype != other.dtype or self.shape is None or other.shape is None:
            return self.dtype == other.dtype
        return len(self.shape) == len(other.shape) and all(
            m is None or n is None or m == n for m, n in zip(self.shape, other.shape, strict=True)
        )


@dataclass(frozen=True)
class Node:
    """One operation of a graph.

    op: the name of the operator.
    inputs, outputs: the names of its values. The empty string stands for an optional value that is absent.
    attrs: the attributes, plain values that JSON can hold, and a `Subgraph` for each body of the node.
    name: the name of the node, for messages.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    def __str__(self) -> str:
        return f"{self.op} {self.name or (self.outputs[0] if self.outputs else '?')!r}"

    @once
    def bodies(self) -> "dict[str, Subgraph]":
        """The graphs inside, by the names of their attributes."""
        return {key: value for key, value in self.attrs.items() if isinstance(value, Subgraph)}


@dataclass(frozen=True)
class Subgraph:
    """A graph inside a node.

    inputs: the values that the node passes in.
    captured: the values that the nodes read from the graph around them. They are the last inputs of the node, may be
        constants, and may have the names of those inputs.
    outputs: an absent output is the empty string.

    Every other name is unique in the whole graph.
    """

    inputs: tuple[str, ...]
    captured: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]

    def by_name(self, node: Node) -> "Subgraph":
        """Return the body with its captured values renamed to their names in the graph around `node`."""
        names = dict(zip(self.captured, self.outside(node), strict=True))

        def renamed(inner: Node) -> Node:
            made = replace(inner, inputs=tuple(names.get(name, name) for name in inner.inputs))
            bodies = {key: body.by_name(made) for key, body in inner.bodies.items()}
            return replace(made, attrs={**made.attrs, **bodies}) if bodies else made

        ends = tuple(names.get(name, name) for name in self.outputs)
        return Subgraph(self.inputs, self.outside(node), ends, tuple(map(renamed, self.nodes)))

    def outside(self, node: Node) -> tuple[str, ...]:
        """The captured values, by their names in the graph around `node`."""
        return node.inputs[len(node.inputs) - len(self.captured) :] if self.captured else ()


@dataclass(frozen=True)
class Graph:
    """A network as plain data.

    inputs, outputs: one `TensorSpec` each.
    nodes: the operations, in an order in which every value is computed before it is read.
    constants: arrays by name.
    states: pairs {input: output} of the states, if the source names them. The output is the next value of the input.
    starts: the values with which states begin, by input, in a shape that broadcasts. Other states begin with zeros.
    name: the name of the network.
    meta: strings such as producer, format, version and licence. `fastgru inspect` shows them; nothing else uses them.
    precisions: the precision of the weights of a node, by one of its outputs, if it is lower than that of the others.
        The weights of such a node are bfloat16 constants, or int8 constants behind a `dequantize`.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    precisions: Mapping[str, str] = field(default_factory=dict)
    starts: Mapping[str, Array] = field(default_factory=dict)

    def validate(self) -> Self:
        """Return the graph itself if it is valid.

        Raises `InvalidModelError` for values that are undefined or defined twice, and for unknown outputs or states.
        """
        defined = set(self.constants)
        for spec in self.inputs:
            if spec.name in defined:
                raise InvalidModelError(f"graph {self.name!r}: input {spec.name!r} is defined twice")
            defined.add(spec.name)
        self._define(self.nodes, defined, set(defined), 0)
        for spec in self.outputs:
            if spec.name not in defined:
                raise InvalidModelError(f"graph {self.name!r}: no node defines output {spec.name!r}")
        names_in = {spec.name for spec in self.inputs}
        names_out = {spec.name for spec in self.outputs}
        for source, target in self.states.items():
            if source not in names_in or target not in names_out:
                pair = f"{source!r} -> {target!r}"
                raise InvalidModelError(f"graph {self.name!r}: state {pair} is not a pair of an input and an output")
        specs = {spec.name: spec for spec in self.inputs if spec.name in self.states}
        for name, start in self.starts.items():
            state = specs.get(name)
            if state is None or state.shape is None or not _begins_with(state.shape, state.dtype, start):
                raise InvalidModelError(
                    f"graph {self.name!r}: {name!r} {state and state.shape} is not a state that can begin with"
                    f" {start.dtype} {start.shape}"
                )
        if unknown := sorted(set(self.precisions) - {name for node in every_node(self.nodes) for name in node.outputs}):
            raise InvalidModelError(f"graph {self.name!r}: precisions has {unknown[:10]}, which no node computes")
        return self

    def _define(self, nodes: Iterable[Node], defined: set[str], taken: set[str], depth: int) -> None:
        """Add the outputs of `nodes` to `defined`. taken: the names of the whole graph so far."""
        if depth > MOST_DEPTH:
            raise InvalidModelError(f"graph {self.name!r}: its subgraphs are nested more than {MOST_DEPTH} deep")
        for node in nodes:
            if unknown := next((name for name in node.inputs if name and name not in defined), None):
                raise InvalidModelError(
                    f"graph {self.name!r}: {node} reads {unknown!r}, which no node before it defines"
                    " (a missing tensor, or nodes in a cycle)"
                )
            for body in node.bodies.values():
                self._define_body(node, body, taken, depth + 1)
            for name in node.outputs:
                self._take(node, name, taken)
                defined.add(name)

    def _define_body(self, node: Node, body: Subgraph, taken: set[str], depth: int) -> None:
        inner: set[str] = set()
        outside = body.outside(node)
        if len(outside) != len(body.captured):
            raise InvalidModelError(f"graph {self.name!r}: {node} has fewer inputs than one of its bodies reads")
        for name, outer in zip((*body.inputs, *body.captured), (*("" for _ in body.inputs), *outside), strict=True):
            if name in inner or not name:
                raise InvalidModelError(
                    f"graph {self.name!r}: {node}: a body has two inputs {name!r}, or an input without a name"
                )
            if name != outer:
                self._take(node, name, taken)
            inner.add(name)
        self._define(body.nodes, inner, taken, depth)
        if unknown := next((name for name in body.outputs if name and name not in inner), None):
            raise InvalidModelError(f"graph {self.name!r}: {node}: no node defines output {unknown!r} of a body")

    def _take(self, node: Node, name: str, taken: set[str]) -> None:
        if name in taken:
            raise InvalidModelError(f"graph {self.name!r}: {node} defines {name!r} a second time")
        if name:
            taken.add(name)

    def start(self, name: str, shape: Sequence[int], dtype: Any) -> Array:
        """Return the array of this shape and dtype with which the state `name` begins."""
        array = np.zeros(shape, dtype)
        if name in self.starts:
            array[...] = self.starts[name]
        return array

    @property
    def num_parameters(self) -> int:
        """The number of elements of all floating-point constants, and of integer constants that stand for floats."""
        floats = sum(int(a.size) for a in self.constants.values() if a.dtype.kind == "f" or a.dtype.name == "bfloat16")
        nodes = list(inlined(self.nodes))
        pairs = {n.inputs[:2] for n in nodes if n.op == "dequantize" and len(n.inputs) > 1}
        kept = [pair for pair in pairs if set(pair) <= set(self.constants)]
        factors = {n.inputs[1] for n in nodes if n.op in ("matmul_integer", "conv_integer")}
        products = sum(int(self.constants[name].size) for name in factors if name in self.constants)
        return floats + products + sum(int(self.constants[q].size - self.constants[scale].size) for q, scale in kept)

    def readers(self) -> Counter[str]:
        """Return how often each value is read. An output of the graph counts as one more read."""
        found = Counter(name for node in self.nodes for name in node.inputs)
        found.update(spec.name for spec in self.outputs)
        return found

    def constant(self, name: str, *, reader: str) -> Array:
        """Return the constant `name`. Raises `InvalidModelError`, which names the node `reader`, if there is none."""
        try:
            return np.asarray(self.constants[name])
        except KeyError:
            raise InvalidModelError(f"{reader}: {name!r} must be a constant") from None


def _begins_with(shape: Sequence[int | None], dtype: str, start: Array) -> bool:
    """Return True if a state of this shape and dtype may begin with `start`."""
    floats = "float" in dtype and "float" in start.dtype.name
    sizes = list(zip(start.shape, shape, strict=False))
    return (floats or start.dtype.name == dtype) and start.ndim == len(shape) and all(m in (1, n) for m, n in sizes)


def every_node(nodes: Iterable[Node]) -> Iterator[Node]:
    """The nodes, each followed by those inside it."""
    for node in nodes:
        yield node
        for body in node.bodies.values():
            yield from every_node(body.nodes)


def inlined(nodes: Iterable[Node], names: Mapping[str, str] = MappingProxyType({})) -> Iterator[Node]:
    """Yield every node as if it stood in the outermost graph, with captured values under their outer names.

    A node with bodies comes after the nodes inside it, without its bodies. It reads the outputs of the bodies in place
    of the captured values. names: the outer name of each captured value, by its name here.
    """
    for node in nodes:
        inputs, bodies = tuple(names.get(name, name) for name in node.inputs), node.bodies
        if not bodies:
            yield replace(node, inputs=inputs) if names else node
            continue
        count = max(len(body.captured) for body in bodies.values())
        read = inputs[: len(inputs) - count]
        for body in bodies.values():
            inner = dict(zip(body.captured, inputs[len(inputs) - len(body.captured) :], strict=True))
            yield from inlined(body.nodes, inner)
            read += tuple(inner.get(name, name) for name in body.outputs)
        yield replace(node, inputs=read, attrs={k: v for k, v in node.attrs.items() if k not in bodies})
