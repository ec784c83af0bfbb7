"""Pools over windows."""

from fastgru.exporters.onnx.ops.conv import windows
from fastgru.exporters.onnx.writer import OnnxWriter, exporter, kind_of
from fastgru.graph import Node


@exporter("pool")
def _pool(node: Node, write: OnnxWriter) -> None:
    op, given = kind_of(node, {"average": "AveragePool", "max": "MaxPool"}), node.attrs
    attrs = {"kernel_shape": list(given["kernel"]), "ceil_mode": int(given.get("ceil_mode", False))}
    if op == "AveragePool":
        attrs["count_include_pad"] = int(given.get("count_include_pad", False))
    write.emit(op, node.inputs[0], out=node.outputs[0], **windows(node), **attrs)
