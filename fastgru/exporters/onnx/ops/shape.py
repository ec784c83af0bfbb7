"""Operators that put the same elements into another shape, and shapes as values."""

import numpy as np
from onnx import numpy_helper

from fastgru.exporters.onnx.writer import OnnxWriter, exporter
from fastgru.graph import Node
from fastgru.reference.operator import numpy_dtype


@exporter("reshape")
def _reshape(node: Node, write: OnnxWriter) -> None:
    write.emit("Reshape", *node.inputs, out=node.outputs[0], allowzero=int(node.attrs.get("allow_zero", False)))


@exporter("transpose")
def _transpose(node: Node, write: OnnxWriter) -> None:
    write.emit("Transpose", *node.inputs, out=node.outputs[0], perm=list(node.attrs["perm"]) or None)


@exporter("squeeze", "unsqueeze")
def _squeeze(node: Node, write: OnnxWriter) -> None:
    axes = list(node.attrs["axes"])
    where = write.integers(axes) if axes or node.op == "unsqueeze" else ""
    write.emit(node.op.title(), node.inputs[0], where, out=node.outputs[0])


@exporter("shape")
def _shape(node: Node, write: OnnxWriter) -> None:
    start = node.attrs.get("start", 0)
    write.emit("Shape", *node.inputs, out=node.outputs[0], start=start, end=node.attrs.get("end"))


@exporter("constant_of_shape")
def _constant_of_shape(node: Node, write: OnnxWriter) -> None:
    dtype = numpy_dtype(write.floats(node.attrs["dtype"]))
    value = numpy_helper.from_array(np.array([node.attrs["value"]], dtype), "value")
    write.emit("ConstantOfShape", *node.inputs, out=node.outputs[0], value=value)
