"""Graphs inside nodes: what they read of the graph around them."""

from collections.abc import Iterator
from typing import Final

from fastgru.errors import InvalidModelError
from fastgru.importers.onnx.proto import GraphProto, NodeProto

__all__ = ["MAX_DEPTH", "body_graphs", "outer_reads"]

MAX_DEPTH: Final = 32


def body_graphs(proto: NodeProto) -> Iterator[GraphProto]:
    """The graphs among the attributes of a node."""
    for attribute in proto.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def outer_reads(proto: NodeProto, depth: int = 0) -> dict[str, None]:
    """The names that the subgraphs of a node read and do not define, in order.

    Raises `InvalidModelError` for graphs nested too deeply.
    """
    found: dict[str, None] = {}
    for graph in body_graphs(proto):
        if depth >= MAX_DEPTH:
            raise InvalidModelError(f"node {proto.name!r} ({proto.op_type}): subgraphs are nested too deeply")
        defined = {info.name for info in graph.input} | {tensor.name for tensor in graph.initializer}
        defined.update(tensor.values.name for tensor in graph.sparse_initializer)
        for node in graph.node:
            for name in (*node.input, *outer_reads(node, depth + 1)):
                if name and name not in defined:
                    found[name] = None
            defined.update(node.output)
        found.update((info.name, None) for info in graph.output if info.name not in defined)
    return found
