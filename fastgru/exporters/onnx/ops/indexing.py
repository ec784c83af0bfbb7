"""Split, pad, and the last step of each row."""

from fastgru.exporters.onnx.writer import OnnxWriter, exporter
from fastgru.graph import Node


@exporter("split")
def _split(node: Node, write: OnnxWriter) -> None:
    sizes, parts = node.attrs.get("sizes"), node.attrs.get("parts")
    where = [] if sizes is None else [write.integers(list(sizes))]  # else an input, or parts
    write.emit_all("Split", [*node.inputs, *where], node.outputs, axis=node.attrs["axis"], num_outputs=parts)


@exporter("pad")
def _pad(node: Node, write: OnnxWriter) -> None:
    x, pads, value = (*node.inputs, "")[:3]
    axes = node.attrs.get("axes")
    where = "" if axes is None else write.integers(list(axes))
    write.emit("Pad", x, pads, value, where, out=node.outputs[0], mode=node.attrs["mode"])


@exporter("last")
def _last(node: Node, write: OnnxWriter) -> None:
    """Write x (N, T, C) at step max(lengths - 1, 0) of each row, by GatherElements with an index for each element."""
    x, lengths = node.inputs
    step = write.emit("Max", write.emit("Sub", lengths, write.scalar(1, lengths)), write.scalar(0, lengths))
    column = write.emit("Unsqueeze", step, write.integers([1, 2]))
    one = write.integers([1])
    row = write.emit("Concat", write.emit("Shape", x, end=1), one, write.emit("Shape", x, start=2), axis=0)
    found = write.emit("GatherElements", x, write.emit("Expand", column, row), axis=1)
    write.emit("Squeeze", found, one, out=node.outputs[0])
