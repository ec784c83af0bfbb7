"""The ONNX graph while it is being written, and the operators that are exported.

    @exporter("softmax")
    def softmax(node, write): ...

Each operator has one function, which takes the `Node` and the `OnnxWriter`. It writes ONNX nodes that compute the same
outputs, with the output names of the node.
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
    """The ONNX nodes and initializers that are written. Values keep their names in the graph.

    precision: the dtype of every floating-point value in the file. A running model has one as well.
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
        """Return the dtype that a value of this dtype has in the file."""
        return self.precision if is_floating(numpy_dtype(dtype)) else dtype

    def dtype(self, name: str) -> str:
        """Return the dtype of a value in the file, `precision` if it is not known, as after a node that was refused."""
        dtype = self.facts(name).dtype
        return self.precision if dtype is None else self.floats(dtype)

    def facts(self, name: str) -> ValueFacts:
        """Return what is known of a value of the graph."""
        return self._facts.get(name, ValueFacts())

    def known(self, name: str) -> Array | None:
        """Return the constant with this name, None if the value is computed."""
        return np.asarray(self._graph.constants[name]) if name in self._graph.constants else None

    def constant(self, name: str, reader: Node) -> Array:
        """Return the constant with this name. Raises `UnsupportedModelError` for `reader` if the value is computed."""
        array = self.known(name)
        if array is None:
            raise UnsupportedModelError(f"{reader}: {name!r} is computed, and ONNX's operator takes it as a constant")
        return array

    def read(self, name: str) -> str:
        """Return the name of a value as an input of a written node. A constant is stored when it is first read.

        A constant that is also an output of the graph is stored under another name.
        """
        array = self.known(name) if name else None
        if array is None:
            return name
        if name not in self._written:
            self._written[name] = self._store(array, self.free(name) if name in self._outputs else name)
        return self._written[name]

    def array(self, value: ArrayLike, dtype: str | None = None, hint: str = "constant") -> str:
        """Store an array. Return the name of the new initializer."""
        return self._store(np.asarray(value, None if dtype is None else numpy_dtype(dtype)), self.free(hint))

    def integers(self, values: Sequence[int] | int) -> str:
        """Store shapes, axes or positions as int64. Return the name."""
        return self.array(values, "int64", "integers")

    def scalar(self, value: float, like: str) -> str:
        """Store a number in the dtype of the value `like`. Return the name."""
        return self.array(value, self.dtype(like), "scalar")

    def _store(self, array: Array, name: str) -> str:
        if is_floating(array.dtype):
            array = array.astype(numpy_dtype(self.precision))
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return name

    def free(self, hint: str) -> str:
        """Return a name that nothing has yet."""
        name, count = hint, 0
        while name in self._used:
            name, count = f"{hint}.{count}", count + 1
        self._used.add(name)
        return name

    def emit(self, op: str, *inputs: str, out: str | None = None, **attrs: Any) -> str:
        """Write a node with one output. Return its name: `out`, or a new one. inputs: names, "" for an absent one."""
        return self.emit_all(op, inputs, [self.free(f"{self._what}/{op}") if out is None else out], **attrs)[0]

    def emit_all(self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attrs: Any) -> list[str]:
        """Write a node and return the names of its outputs. Attributes that are None are left out."""
        names = [self.read(name) for name in inputs]
        while names and not names[-1]:
            names.pop()
        given = {key: value for key, value in attrs.items() if value is not None}
        title = self.free(f"{self._what}/{op}/node")
        self.nodes.append(helper.make_node(op, names, list(outputs), title, **given))
        return list(outputs)

    @contextmanager
    def inside(self) -> Iterator[list[NodeProto]]:
        """Collect the nodes that are written in the block, as those of a body. Constants go to the whole file."""
        around, self.nodes = self.nodes, []
        try:
            yield self.nodes
        finally:
            self.nodes = around

    def begin(self, node: Node) -> None:
        """Begin to write this node. The names of its ONNX nodes and new values begin with its name."""
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
    """Return the names of the operators of `fastgru.reference.OPS` that have a counterpart in ONNX."""
    return tuple(sorted(EXPORTERS))


def written(nodes: Iterable[Node], write: OnnxWriter) -> list[str]:
    """Write the nodes. Return a message for each node that cannot be written."""
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
    """Write the nodes of a body. Raises `UnsupportedModelError` with every node that cannot be written."""
    if faults := written(nodes, write):
        raise UnsupportedModelError("; ".join(faults))


def element_type(name: str, write: OnnxWriter) -> int:
    """Return ONNX's number for the dtype of a value."""
    dtype = write.dtype(name)
    return int(TensorProto.BFLOAT16) if dtype == "bfloat16" else helper.np_dtype_to_tensor_dtype(numpy_dtype(dtype))


def attribute(value: float, name: str, node: Node, write: OnnxWriter) -> float:
    """Return a number that ONNX stores in float32. Raises `UnsupportedModelError` if that changes a float64 model."""
    if write.precision == "float64" and float(np.float32(value)) != value:
        raise UnsupportedModelError(
            f"{node}: {name} = {value!r} does not fit float32, the type of the attribute; export in float32"
        )
    return float(value)


def kind_of(node: Node, table: Mapping[str, str]) -> str:
    """Return ONNX's operator for the node's attribute `kind`. Raises `UnsupportedModelError` if there is none."""
    kind = node.attrs["kind"]
    if kind not in table:
        raise UnsupportedModelError(f"{node}: kind {kind!r} has no counterpart in ONNX")
    return table[kind]
