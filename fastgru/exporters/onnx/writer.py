"""The ONNX graph while it is being written, and the file around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from fastgru.errors import FastGRUError, UnsupportedModelError
from fastgru.exporters.onnx.registry import EXPORTERS
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference import check_node
from fastgru.reference.operator import is_floating, numpy_dtype

__all__ = ["OPSET", "Writer", "graph_to_onnx"]

Array = NDArray[Any]

OPSET: Final = 20
_IR_VERSION: Final = 9  # the first that belongs to the opset
_PROTOBUF_LIMIT: Final = (1 << 31) - 1
_OWN_META: Final = frozenset({"format", "ir_version", "opset", "producer", "domain", "description"})
_BOOLS: Final = frozenset({"compare", "logical"})
_POSITIONS: Final = frozenset({"arg", "shape"})


class Writer:
    """Collects ONNX nodes and initializers. Values keep the names they have in the graph.

    precision: the one dtype of every floating-point value of the file, as it is when a model runs.
    """

    def __init__(self, graph: Graph, precision: str) -> None:
        self.precision = precision
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._graph = graph
        self._dtypes = {spec.name: self.floats(spec.dtype) for spec in graph.inputs}
        self._dtypes.update((name, self.floats(array.dtype.name)) for name, array in graph.constants.items())
        self._used = {*self._dtypes, *(name for node in graph.nodes for name in node.outputs)}
        self._outputs = {spec.name for spec in graph.outputs}
        self._written: dict[str, str] = {}
        self._what = ""

    def floats(self, dtype: str) -> str:
        """The dtype that a value of this dtype has in the file."""
        return self.precision if is_floating(numpy_dtype(dtype)) else dtype

    def dtype(self, name: str) -> str:
        """The dtype of a value of the graph; of one of a node that was refused, something to go on with."""
        return self._dtypes.get(name, self.precision)

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

    def declare(self, node: Node) -> None:
        """What the outputs of a node are: its readers ask, even where it is not written itself."""
        for i, name in enumerate(node.outputs):
            if name:
                self._dtypes[name] = self._made(node, i)

    def write(self, node: Node) -> None:
        """Everything that a node of the graph becomes."""
        self._what = node.name or node.outputs[0]
        EXPORTERS[node.op](node, self)

    def skip(self, node: Node) -> None:
        """A node that is refused: what reads it is still looked at, so that every fault is found."""
        self._dtypes.update((name, self.precision) for name in node.outputs if name and name not in self._dtypes)

    def _made(self, node: Node, output: int) -> str:
        if node.op in _BOOLS or (node.op == "unary" and node.attrs["kind"] in ("isnan", "isinf", "not")):
            return "bool"
        if node.op in _POSITIONS:
            return "int64"
        if node.op in ("matmul_integer", "conv_integer"):
            return "int32"
        if node.op == "quantize":
            return str(node.attrs.get("to", "uint8"))
        if node.op == "dynamic_quantize" and output != 1:
            return "uint8"
        if node.op in ("cast", "constant_of_shape"):
            return self.floats(node.attrs["to" if node.op == "cast" else "dtype"])
        return self.dtype(node.inputs[1 if node.op in ("dequantize", "embedding", "where") else 0])


def graph_to_onnx(graph: Graph, *, precision: str = "float32") -> ModelProto:
    """The graph as an ONNX model of opset 20, every floating-point value in `precision`.

    Raises `UnsupportedModelError` that lists every node without a counterpart in ONNX, or names an output of which
    nothing tells the number of axes.
    """
    if precision not in ("float32", "float64"):
        raise UnsupportedModelError(f"precision {precision!r} is not exported; there are float32 and float64")
    writer = Writer(graph.validate(), precision)
    faults = []
    for node in graph.nodes:
        try:
            check_node(node)
            writer.declare(node)
            if node.op in EXPORTERS:
                writer.write(node)
            else:
                faults.append(f"{node} (operator {node.op!r})")
        except FastGRUError as error:
            writer.skip(node)
            faults.append(str(error) if str(node) in str(error) else f"{node}: {error}")
    if faults:
        raise UnsupportedModelError(
            f"{len(faults)} node(s) that have no counterpart in ONNX: {'; '.join(faults)};"
            " Model.save writes any model, for fastgru.load"
        )
    made = {name for node in writer.nodes for name in node.output}
    inputs = {spec.name for spec in graph.inputs}
    outputs = []
    for spec in graph.outputs:
        if spec.name not in made | inputs:
            # A constant: the file's output must be computed by something.
            array = writer.constant(spec.name, Node("constant", (), (spec.name,)))
            writer.nodes.append(helper.make_node("Identity", [writer.array(array)], [spec.name]))
        outputs.append(_value_info(spec, writer))
    body = helper.make_graph(
        writer.nodes,
        graph.name or "graph",
        [_value_info(spec, writer) for spec in graph.inputs],
        outputs,
        writer.initializers,
    )
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION, producer_name="fastgru"
    )
    model.doc_string = graph.meta.get("description", "")
    props = {key.removeprefix("metadata."): text for key, text in graph.meta.items() if key not in _OWN_META}
    helper.set_model_props(model, props)
    _add_shapes(model)
    if (size := model.ByteSize()) > _PROTOBUF_LIMIT:
        raise UnsupportedModelError(
            f"{size} bytes do not fit one ONNX file (at most {_PROTOBUF_LIMIT}); use Model.save"
        )
    return model


def _add_shapes(model: ModelProto) -> None:
    """The number of axes of outputs of which the graph says nothing, where it follows from the operators."""
    if all(info.type.tensor_type.HasField("shape") for info in model.graph.output):
        return
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph.output
    for info, found in zip(model.graph.output, inferred, strict=True):
        if not found.type.tensor_type.HasField("shape"):
            raise UnsupportedModelError(
                f"output {info.name!r}: its number of axes cannot be told, and an ONNX file has to say it;"
                " Model.save writes any model, for fastgru.load"
            )
        info.type.tensor_type.shape.CopyFrom(found.type.tensor_type.shape)


def _value_info(spec: TensorSpec, writer: Writer) -> Any:
    dtype = writer.dtype(spec.name)  # a graph may say less exactly what comes out
    element = TensorProto.BFLOAT16 if dtype == "bfloat16" else helper.np_dtype_to_tensor_dtype(numpy_dtype(dtype))
    if spec.shape is None:
        return helper.make_tensor_value_info(spec.name, element, None)
    names: Mapping[int, str | None] = dict(enumerate(spec.dims))
    shape = [names.get(i) if size is None else size for i, size in enumerate(spec.shape)]
    return helper.make_tensor_value_info(spec.name, element, shape)
