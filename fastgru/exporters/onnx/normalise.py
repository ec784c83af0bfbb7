"""Normalisation and softmax."""

from __future__ import annotations

from onnx import helper

from fastgru.exporters.onnx.registry import exporter
from fastgru.exporters.onnx.writer import Writer
from fastgru.graph import Node
from fastgru.reference.operator import numpy_dtype

__all__: list[str] = []


@exporter("layer_norm")
def _layer_norm(node: Node, write: Writer) -> None:
    x, scale, bias = (*node.inputs, "", "")[:3]
    axis = node.attrs["axis"]
    if not scale:  # ONNX demands one: ones, of a size that only x knows
        one = helper.make_tensor("one", helper.np_dtype_to_tensor_dtype(numpy_dtype(write.precision)), [1], [1.0])
        scale = write.emit("ConstantOfShape", write.emit("Shape", x, start=axis), value=one)
    epsilon = float(node.attrs["epsilon"])
    write.emit("LayerNormalization", x, scale, bias, out=node.outputs[0], axis=axis, epsilon=epsilon)


@exporter("batch_norm")
def _batch_norm(node: Node, write: Writer) -> None:
    """ONNX normalises axis 1: for any other, the axes before it become one and those after it another."""
    x, *arrays = node.inputs
    axis, epsilon = node.attrs["axis"], float(node.attrs["epsilon"])
    if axis == 1:
        write.emit("BatchNormalization", x, *arrays, out=node.outputs[0], epsilon=epsilon)
        return
    first = write.integers([0])
    wide = [
        write.emit("ReduceProd", write.emit("Shape", x, end=axis), first, keepdims=1),
        write.emit("Shape", arrays[0]),
    ]
    if axis != -1:
        wide.append(write.emit("ReduceProd", write.emit("Shape", x, start=axis + 1), first, keepdims=1))
    flat = write.emit("Reshape", x, write.emit("Concat", *wide, axis=0), allowzero=1)
    y = write.emit("BatchNormalization", flat, *arrays, epsilon=epsilon)
    write.emit("Reshape", y, write.emit("Shape", x), out=node.outputs[0], allowzero=1)


@exporter("softmax", "log_softmax")
def _softmax(node: Node, write: Writer) -> None:
    op = "Softmax" if node.op == "softmax" else "LogSoftmax"
    write.emit(op, *node.inputs, out=node.outputs[0], axis=node.attrs["axis"])
