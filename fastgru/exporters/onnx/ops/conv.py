"""Convolutions, plain and transposed."""

from typing import Any

from fastgru.errors import UnsupportedModelError
from fastgru.exporters.onnx.writer import OnnxWriter, exporter
from fastgru.graph import Node

__all__ = ["windows"]


def windows(node: Node) -> dict[str, Any]:
    """Return the attributes of an operator whose windows slide over axes."""
    attrs, pads = {name: list(node.attrs[name]) for name in ("strides", "dilations")}, node.attrs["pads"]
    return {**attrs, "auto_pad": pads.upper()} if isinstance(pads, str) else {**attrs, "pads": list(pads)}


@exporter("conv", "conv_transpose")
def _conv(node: Node, write: OnnxWriter) -> None:
    x, weight, bias, slope = (*node.inputs, "", "")[:4]
    if slope or node.attrs.get("clamp") is not None:
        raise UnsupportedModelError(f"{node}: a clamp or slope within a convolution is written as a node after it")
    attrs = {**windows(node), "group": node.attrs["group"]}
    if node.op == "conv_transpose":
        attrs["output_padding"] = list(node.attrs["output_padding"])
        sizes = node.attrs.get("output_shape")
        attrs["output_shape"] = None if sizes is None else list(sizes)
    write.emit("Conv" if node.op == "conv" else "ConvTranspose", x, weight, bias, out=node.outputs[0], **attrs)


@exporter("conv_integer")
def _conv_integer(node: Node, write: OnnxWriter) -> None:
    write.emit("ConvInteger", *node.inputs, out=node.outputs[0], **windows(node), group=node.attrs["group"])
