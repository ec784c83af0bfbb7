"""Normalisation."""

from onnx import helper

from fastgru.exporters.onnx.writer import OnnxWriter, exporter
from fastgru.graph import Node
from fastgru.reference.operator import numpy_dtype


@exporter("layer_norm")
def _layer_norm(node: Node, write: OnnxWriter) -> None:
    x, scale, bias = (*node.inputs, "", "")[:3]
    axis = node.attrs["axis"]
    if not scale:  # ONNX requires a scale: write ones, with the size of x
        one = helper.make_tensor("one", helper.np_dtype_to_tensor_dtype(numpy_dtype(write.precision)), [1], [1.0])
        scale = write.emit("ConstantOfShape", write.emit("Shape", x, start=axis), value=one)
    epsilon = float(node.attrs["epsilon"])
    write.emit("LayerNormalization", x, scale, bias, out=node.outputs[0], axis=axis, epsilon=epsilon)


@exporter("batch_norm")
def _batch_norm(node: Node, write: OnnxWriter) -> None:
    """Write a BatchNormalization. ONNX normalises axis 1; for another axis, the axes before and after it are joined."""
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


@exporter("group_norm")
def _group_norm(node: Node, write: OnnxWriter) -> None:
    """Write an InstanceNormalization with the groups as its channels, then the scale and bias of the real channels."""
    x, scale, bias = node.inputs
    groups, epsilon = node.attrs.get("groups"), float(node.attrs["epsilon"])
    if groups is None:
        write.emit("InstanceNormalization", x, scale, bias, out=node.outputs[0], epsilon=epsilon)
        return
    one, zero = (write.array([value] * groups, write.precision, "each") for value in (1.0, 0.0))
    # A -1 in a shape is ambiguous if the batch is empty, so every size is computed.
    first, shape = write.integers([0]), write.emit("Shape", x)
    each = write.emit("ReduceProd", write.emit("Shape", x, start=1), first, keepdims=1)
    each = write.emit("Div", each, write.integers([groups]))
    sizes = write.emit("Concat", write.emit("Shape", x, end=1), write.integers([groups]), each, axis=0)
    rows = write.emit("Reshape", x, sizes, allowzero=1)
    rows = write.emit("InstanceNormalization", rows, one, zero, epsilon=epsilon)
    # Channels go last, so that (C,) broadcasts.
    rest = write.emit("ReduceProd", write.emit("Shape", x, start=2), first, keepdims=1)
    sizes = write.emit("Concat", write.emit("Shape", x, end=2), rest, axis=0)
    last = write.emit("Transpose", write.emit("Reshape", rows, sizes, allowzero=1), perm=[0, 2, 1])
    y = write.emit("Transpose", write.emit("Add", write.emit("Mul", last, scale), bias), perm=[0, 2, 1])
    write.emit("Reshape", y, shape, out=node.outputs[0], allowzero=1)
