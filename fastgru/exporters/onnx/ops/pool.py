"""Pools over windows."""

from typing import Final

from fastgru.errors import UnsupportedModelError
from fastgru.exporters.onnx.ops.conv import windows
from fastgru.exporters.onnx.registry import exporter
from fastgru.exporters.onnx.writer import OnnxWriter
from fastgru.graph import Node

_KINDS: Final = {"average": "AveragePool", "max": "MaxPool"}


@exporter("pool")
def _pool(node: Node, write: OnnxWriter) -> None:
    kind = node.attrs["kind"]
    if kind not in _KINDS:
        raise UnsupportedModelError(f"{node}: kind {kind!r} has no counterpart in ONNX")
    attrs = windows(node)
    attrs["kernel_shape"] = list(node.attrs["kernel"])
    attrs["ceil_mode"] = int(node.attrs.get("ceil_mode", False))
    if kind == "average":
        attrs["count_include_pad"] = int(node.attrs.get("count_include_pad", False))
    write.emit(_KINDS[kind], node.inputs[0], out=node.outputs[0], **attrs)
