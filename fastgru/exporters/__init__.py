"""Writes graphs to files of other formats, without running a kernel."""

from os import PathLike

from fastgru.graph import Graph

__all__ = ["to_onnx"]


def to_onnx(graph: Graph, path: str | PathLike[str] | None = None, *, precision: str = "float32") -> bytes:
    """Return the graph as the bytes of an ONNX file. With a `path`, also write them there.

    Weights of low precision are dequantised. Raises as `fastgru.exporters.onnx.graph_to_onnx`.
    """
    from fastgru.exporters.onnx import graph_to_onnx
    from fastgru.graphfile import write_whole
    from fastgru.reference.evaluate import with_plain_weights

    data: bytes = graph_to_onnx(with_plain_weights(graph), precision=precision).SerializeToString()
    if path is not None:
        write_whole([data], path, ".onnx")
    return data
