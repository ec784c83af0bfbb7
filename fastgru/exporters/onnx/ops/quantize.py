"""Integers that stand for reals, and their matrix multiplications and convolutions."""

import numpy as np

from fastgru.errors import UnsupportedModelError
from fastgru.exporters.onnx.writer import OPSET, OnnxWriter, exporter
from fastgru.graph import Node

_BYTES = ("int8", "uint8")


def _refuse_wide(node: Node, write: OnnxWriter, *dtypes: str) -> None:
    if write.precision != "float32":
        raise UnsupportedModelError(f"{node}: quantised values of {write.precision} are not in ONNX; export in float32")
    if other := sorted(set(dtypes) - {*_BYTES, "int32"}):
        raise UnsupportedModelError(f"{node}: {', '.join(other)} is not in opset {OPSET}, which has 8 bits")


@exporter("quantize", "dequantize")
def _quantize(node: Node, write: OnnxWriter) -> None:
    x, scale, zero_point = (*node.inputs, "")[:3]
    if node.attrs.get("block_size"):
        raise UnsupportedModelError(f"{node}: blocks are not in opset {OPSET}; quantise by axis")
    forward = node.op == "quantize"
    dtype = node.attrs.get("to", "uint8") if forward else write.dtype(x)
    _refuse_wide(node, write, dtype)
    if forward and not zero_point:  # its dtype would be that of the output
        known = write.known(scale)
        if known is None and dtype != "uint8":
            raise UnsupportedModelError(f"{node}: {dtype} by a scale that is computed has to have a zero point in ONNX")
        zero_point = "" if known is None else write.array(np.zeros(known.shape, dtype), hint="zero_point")
    op = "QuantizeLinear" if forward else "DequantizeLinear"
    write.emit(op, x, scale, zero_point, out=node.outputs[0], axis=node.attrs.get("axis", 1))


@exporter("dynamic_quantize")
def _dynamic_quantize(node: Node, write: OnnxWriter) -> None:
    _refuse_wide(node, write)
    names = [*node.outputs, "", ""][:3]
    write.emit_all("DynamicQuantizeLinear", node.inputs, [name or write.free("unread") for name in names])
