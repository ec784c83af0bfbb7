"""What is checked of an ONNX graph before a node is converted: who defines a name, who reads it, in what order."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from fastgru.errors import InvalidModelError
from fastgru.importers.onnx.proto import GraphProto, ModelProto, NodeProto, label, main_domain
from fastgru.importers.onnx.registry import lookup

__all__ = ["MAX_DEPTH", "check_order", "inputs_to_fix", "live_nodes", "outer_reads"]

MAX_DEPTH: Final = 32


def _body_graphs(proto: NodeProto) -> Iterator[GraphProto]:
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
    for graph in _body_graphs(proto):
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


def check_order(graph: GraphProto, given: Iterable[str]) -> None:
    """Raise `InvalidModelError` unless every name is defined once, and before it is read.

    given: the names of inputs and initializers. The message tells a missing tensor from nodes in a cycle.
    """
    defined = set(given)
    makers = {name: proto for proto in graph.node for name in proto.output if name}
    for proto in graph.node:
        for name in (*proto.input, *outer_reads(proto)):
            if name and name not in defined:
                maker = makers.get(name)
                if maker is None:
                    raise InvalidModelError(
                        f"node {label(proto)!r} ({proto.op_type}) reads {name!r}, which is missing: no input,"
                        " initializer or node defines it"
                    )
                raise InvalidModelError(
                    f"node {label(proto)!r} ({proto.op_type}) reads {name!r}, which only the later node"
                    f" {label(maker)!r} ({maker.op_type}) defines: the nodes are in a cycle or out of order"
                )
        for name in proto.output:
            if name in defined:
                raise InvalidModelError(f"node {label(proto)!r} ({proto.op_type}) defines {name!r} a second time")
            if name:
                defined.add(name)
    for output in graph.output:
        if output.name not in defined:
            raise InvalidModelError(f"output {output.name!r} is missing: no input, initializer or node defines it")


def live_nodes(graph: GraphProto) -> tuple[Sequence[NodeProto], set[str]]:
    """The nodes that an output depends on, and every name that they, their subgraphs or the outputs read."""
    wanted = {output.name for output in graph.output}
    kept = []
    for proto in reversed(graph.node):
        if any(name in wanted for name in proto.output if name):
            kept.append(proto)
            wanted.update(name for name in (*proto.input, *outer_reads(proto)) if name)
    return kept[::-1], wanted


def inputs_to_fix(model: ModelProto) -> tuple[str, ...]:
    """The graph inputs that must become constants before the model can be read, such as a GRU's weights.

    They feed, directly or through other nodes, an operand that an operator of the registry needs as a constant or
    as a size.
    """
    wanted: set[str] = set()
    for proto in reversed(model.graph.node):
        known = lookup(proto.op_type) if main_domain(proto.domain) == "" else None
        if any(name in wanted for name in proto.output if name):
            wanted.update(proto.input)
        elif known is not None:
            wanted.update(proto.input[i] for i in (*known.constants, *known.sizes) if i < len(proto.input))
    initializers = {proto.name for proto in model.graph.initializer}
    return tuple(info.name for info in model.graph.input if info.name in wanted and info.name not in initializers)
