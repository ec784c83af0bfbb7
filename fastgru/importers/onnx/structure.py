"""What is checked of an ONNX graph before a node is converted: who defines a name, who reads it, in what order."""

from collections.abc import Iterable, Sequence

from fastgru.errors import InvalidModelError
from fastgru.importers.onnx.proto import GraphProto, ModelProto, NodeProto, label, main_domain
from fastgru.importers.onnx.registry import lookup
from fastgru.importers.onnx.subgraphs import outer_reads

__all__ = ["check_order", "inputs_to_fix", "live_nodes"]


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
