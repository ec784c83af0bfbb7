"""The ONNX graph while it is being written, and the operators that are exported.

    @exporter("softmax")
    def softmax(node, write): ...

One function for each operator writes what the node means in ONNX's own operators: it takes the `Node` and the
`OnnxWriter`, and writes nodes whose last ones have the node's own outputs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from fastgru.errors import FastGRUError, UnsupportedModelError
from fastgru.graph import Graph, Node
from fastgru.modules import enter
from fastgru.reference import check_node
from fastgru.reference.facts import ValueFacts, infer_graph
from fastgru.reference.operator import is_floating, numpy_dtype

__all__ = [
    "EXPORTERS",
    "OPSET",
    "OnnxWriter",
    "attribute",
    "element_type",
    "exported",
    "exporter",
    "kind_of",
    "write_body",
    "written",
]

Array = NDArray[Any]

OPSET: Final = 20


class OnnxWriter:
    """Collects ONNX nodes and initializers. Values keep the names they have in the graph.

    precision: the one dtype of every floating-point value of the file, as it is when a model runs.
    """

    def __init__(self, graph: Graph, precision: str) -> None:
        self.precision = precision
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._graph = graph
        self._facts = infer_graph(graph)
        self._used = set(self._facts)
        self._outputs = {spec.name for spec in graph.outputs}
        self._written: dict[str, str] = {}
        self._what = ""

    def floats(self, dtype: str) -> str:
        """The dtype that a value of this dtype has in the file."""
        return self.precision if is_floating(numpy_dtype(dtype)) else dtype

    def dtype(self, name: str) -> str:
        """The dtype of a value of the graph; of one of a node that was refused, something to go on with."""
        dtype = self.facts(name).dtype
        return self.precision if dtype is None else self.floats(dtype)

    def facts(self, name: str) -> ValueFacts:
        """What is known of a value of the graph."""
        return self._facts.get(name, ValueFacts())

    def known(self, name: str) -> Array | None:
        """The constant of this name, None where it is computed."""
        return np.asarray(self._graph.constants[name]) if name in self._graph.constants else None

    def constant(self, name: str, reader: Node) -> Array:
        """The constant of this name; refuses a node whose weights are computed."""
        array = self.known(name)
        if array is None:
            raise UnsupportedModelError(f"{reader}: {name!r} is computed, and ONNX's operator takes it as a constant")
        return array

    def read(self, name: str) -> str:
        """`name` as an input of a node that is written: what is constant is stored when it is first read.

        A constant that is an output of the graph keeps its name for that, and is read under another.
        """
        array = self.known(name) if name else None
        if array is None:
            return name
        if name not in self._written:
            self._written[name] = self._store(array, self.free(name) if name in self._outputs else name)
        return self._written[name]

    def array(self, value: ArrayLike, dtype: str | None = None, hint: str = "constant") -> str:
        """The name of a new initializer."""
        return self._store(np.asarray(value, None if dtype is None else numpy_dtype(dtype)), self.free(hint))

    def integers(self, values: Sequence[int] | int) -> str:
        """int64, as shapes, axes and positions are."""
        return self.array(values, "int64", "integers")

    def scalar(self, value: float, like: str) -> str:
        """A number in the dtype of the value `like`."""
        return self.array(value, self.dtype(like), "scalar")

    def _store(self, array: Array, name: str) -> str:
        if is_floating(array.dtype):
            array = array.astype(numpy_dtype(self.precision))
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return name

    def free(self, hint: str) -> str:
        """A name that nothing has."""
        name, count = hint, 0
        while name in self._used:
            name, count = f"{hint}.{count}", count + 1
        self._used.add(name)
        return name

    def emit(self, op: str, *inputs: str, out: str | None = None, **attrs: Any) -> str:
        """A node with one output, called `out` or something new. Inputs are names of values, "" where absent."""
        return self.emit_all(op, inputs, [self.free(f"{self._what}/{op}") if out is None else out], **attrs)[0]

    def emit_all(self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attrs: Any) -> list[str]:
        """A node; attributes that are None are left out."""
        names = [self.read(name) for name in inputs]
        while names and not names[-1]:
            names.pop()
        given = {key: value for key, value in attrs.items() if value is not None}
        title = self.free(f"{self._what}/{op}/node")
        self.nodes.append(helper.make_node(op, names, list(outputs), title, **given))
        return list(outputs)

    @contextmanager
    def inside(self) -> Iterator[list[NodeProto]]:
        """The nodes that are written meanwhile, of a body; constants are those of the whole file."""
        around, self.nodes = self.nodes, []
        try:
            yield self.nodes
        finally:
            self.nodes = around

    def begin(self, node: Node) -> None:
        """What is written next belongs to this node, and has its name before its own."""
        self._what = node.name or node.outputs[0]


Export = Callable[[Node, OnnxWriter], None]

EXPORTERS: Final[dict[str, Export]] = {}


def exporter(*ops: str) -> Callable[[Export], Export]:
    """Register the decorated function for these operators."""

    def register(export: Export) -> Export:
        for op in ops:
            enter(EXPORTERS, op, export, export)
        return export

    return register


def exported() -> tuple[str, ...]:
    """The operators of `fastgru.reference.OPS` that have a counterpart, by name."""
    return tuple(sorted(EXPORTERS))


def written(nodes: Iterable[Node], write: OnnxWriter) -> list[str]:
    """Write the nodes; what is said of each that has no counterpart."""
    faults = []
    for node in nodes:
        try:
            check_node(node)
            write.begin(node)
            if node.op in EXPORTERS:
                EXPORTERS[node.op](node, write)
            else:
                faults.append(f"{node} (operator {node.op!r})")
        except FastGRUError as error:
            faults.append(str(error) if str(node) in str(error) else f"{node}: {error}")
    return faults


def write_body(nodes: Iterable[Node], write: OnnxWriter) -> None:
    """Write the nodes of a body; refuses it with all that has no counterpart."""
    if faults := written(nodes, write):
        raise UnsupportedModelError("; ".join(faults))


def element_type(name: str, write: OnnxWriter) -> int:
    """Of a value, as ONNX numbers it."""
    dtype = write.dtype(name)
    return int(TensorProto.BFLOAT16) if dtype == "bfloat16" else helper.np_dtype_to_tensor_dtype(numpy_dtype(dtype))


def attribute(value: float, name: str, node: Node, write: OnnxWriter) -> float:
    """A number that ONNX stores in float32; refused where a float64 model would compute with another one."""
    if write.precision == "float64" and float(np.float32(value)) != value:
        raise UnsupportedModelError(
            f"{node}: {name} = {value!r} does not fit float32, the type of the attribute; export in float32"
        )
    return float(value)


def kind_of(node: Node, table: Mapping[str, str]) -> str:
    """ONNX's operator for the node's attribute `kind`."""
    kind = node.attrs["kind"]
    if kind not in table:
        raise UnsupportedModelError(f"{node}: kind {kind!r} has no counterpart in ONNX")
    return table[kind]
